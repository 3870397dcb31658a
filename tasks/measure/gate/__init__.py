"""The decision: whether what was measured shows that a candidate may be promoted, on golden rows or on live votes."""
