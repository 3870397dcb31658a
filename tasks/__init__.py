"""The work of an iteration: data, training, compression, measuring, the registry. No HTTP, no flow control."""
