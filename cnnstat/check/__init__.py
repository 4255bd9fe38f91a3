"""Budgets: limits on a model's figures, absolute and against a baseline, and what a check of them found."""
