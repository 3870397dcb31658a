"""From rows as they came to rows a model may learn from: named steps, each with its evidence."""
