"""Where the repository and its examples are, and which model is served."""

from pathlib import Path

from digits.settings import ModelSettings

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
VERSION = ModelSettings().model_path.parent.name
