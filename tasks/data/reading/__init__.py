"""From files, datasets and databases to one table of rows."""
