"""PyTorch models as layer graphs, and graphs as PyTorch modules; imported only when a model asks for PyTorch."""
