"""The guard: what a snapshot must keep to before anything is trained on it."""
