"""The library: image files in, digits out. It needs neither Flask nor PyTorch."""

import os

__version__ = "0.1.0"

# ONNX Runtime reads this on import; without it, it sends telemetry and writes to the home directory.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
