"""Checks: limits on the figures of a model, absolute and against a baseline, and the verdicts on them."""
