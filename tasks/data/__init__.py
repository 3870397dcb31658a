"""From raw rows to the training table and the evaluation sets."""
