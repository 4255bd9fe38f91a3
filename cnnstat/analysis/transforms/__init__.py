"""Transforms: from a graph to another graph, before the passes."""
