"""Batch scoring: folders of images in, one row per image out."""
