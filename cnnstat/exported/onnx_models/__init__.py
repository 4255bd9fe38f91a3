"""ONNX files to layer graphs: read without weights, shapes node by node, ops of the library where they fit."""
