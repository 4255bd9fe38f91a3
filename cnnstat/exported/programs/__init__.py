"""Exported PyTorch programs (.pt2) to layer graphs, without PyTorch: the archive's JSON, read as data."""
