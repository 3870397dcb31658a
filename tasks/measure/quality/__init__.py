"""What a model answers on an evaluation set and how right that is: row scores, metrics, slices, perturbed rows."""
