"""A report of a finished output, for people."""
