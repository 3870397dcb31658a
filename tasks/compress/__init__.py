"""From a fitted model to a cheaper artifact."""
