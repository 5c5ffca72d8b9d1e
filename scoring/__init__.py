"""Batch scoring: folders of images in, a row an image out."""
