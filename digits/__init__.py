"""The library: image files in, digits out. It needs neither Flask nor PyTorch."""

import os

__version__ = "0.1.0"

# ONNX Runtime asks for this when it is imported; without it, it reports its use to its maker and writes into the home.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
