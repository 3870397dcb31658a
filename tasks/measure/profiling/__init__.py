"""Where the time of one model goes, and what bounds it."""
