"""Frames of production rows in; drift reports and alerts out. No HTTP, no databases, no training."""
