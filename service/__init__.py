"""Reads handwritten digits: decodes and prepares images, classifies them, answers HTTP."""
