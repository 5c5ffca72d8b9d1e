"""Trains the finder: a network that finds each digit's ink in an image of any kind."""
