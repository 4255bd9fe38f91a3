"""Sweeps: many variants of models, or many models, analyzed in parallel, with one record for each.

`grid` names the points, `evaluate` computes one, `executors` runs them side by side, `point_file` keeps them as JSON
lines, `selection` filters and sorts them, and `run` puts these together.
"""
