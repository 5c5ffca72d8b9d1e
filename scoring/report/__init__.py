"""The page of a finished output, for people."""
