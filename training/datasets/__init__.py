"""Images to train on, each with its label."""
