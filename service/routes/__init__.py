"""What the service answers, a file a group of paths."""
