"""The search over sequences of passes."""
