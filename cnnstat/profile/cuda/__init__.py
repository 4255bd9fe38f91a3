"""Measures on NVIDIA GPUs: CUDA-graph replay, kernels by layer (torch.profiler), energy and clocks (NVML)."""
