"""Receptive fields: intervals of input positions, their algebra, and the pass over a graph."""
