"""What answering costs, measured on the artifact in its serving runtime, several models in turn."""
