"""Traces of torch.profiler (Kineto): what ran when on a GPU or CPU, and for which layer; needs no torch."""
