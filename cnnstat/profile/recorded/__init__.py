"""Profiles of recordings that were made elsewhere: torch.profiler, TensorRT, ONNX Runtime; needs no torch."""
