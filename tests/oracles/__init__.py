"""Oracles: what PyTorch itself computes, keeps and reads; each is asked in one place, whichever test needs it."""
