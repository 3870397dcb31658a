"""From a training table to a fitted model."""
