"""Passes from PyTorch to a runtime's own form."""
