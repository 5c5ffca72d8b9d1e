"""Builds the CNN: from a formula to a trained network to an ONNX file."""
