"""PyTorch models as layer graphs; the only part of the frontends that imports torch, and only when it is used."""
