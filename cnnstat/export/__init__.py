"""Export: any layer graph as a spec that people read, or as a PyTorch file that stands alone."""
