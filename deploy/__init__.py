"""Deployment files, packaged so that `ratchet init` and `ratchet up` find them. No Python logic."""
