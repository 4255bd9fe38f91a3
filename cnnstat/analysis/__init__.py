"""Algorithms over the layer graph, one file each; none of them knows an op by name."""
