"""Passes that change a PyTorch model's weights, and give one."""
