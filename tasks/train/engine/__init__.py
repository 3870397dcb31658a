"""Running a training: the Trainer, its checkpoints, its rows and its number format."""
