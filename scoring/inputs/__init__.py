"""Which images are scored, and their labels."""
