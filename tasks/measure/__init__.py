"""From an artifact to a scorecard, and from scorecards to a verdict."""
