"""Files of weights without a graph: what tensors they hold, read without their numbers."""
