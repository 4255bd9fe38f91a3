"""Measures a model on a device: `cnnstat.profiler.profile` returns a Profile."""
