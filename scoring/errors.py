"""What stops a run."""


class ScoringError(Exception):
    """The run cannot be done, or not go on; the message says what was expected, what came, and what to do."""
