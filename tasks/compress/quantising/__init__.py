"""Passes from an ONNX model to one with narrower numbers."""
