"""New training rows made from old ones, each with its provenance."""
