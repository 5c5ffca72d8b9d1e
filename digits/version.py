"""A version of the model: the files of one folder, which decide every answer together."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from digits.session import ModelFile

# Next to the classifier: the network that finds digits, and the classifier with every layer as an output.
FINDER, EXPLANATION = "finder.onnx", "explain.onnx"


@dataclass(frozen=True)
class VersionFiles:
    """The files of a version, read once."""

    classifier: ModelFile
    finder: ModelFile
    explanation: ModelFile | None

    @classmethod
    def read(cls, model: Path) -> "VersionFiles":
        """Reads the classifier's file and those next to it. Raises ModelError."""
        explanation = ModelFile.read_if_there(model.with_name(EXPLANATION))
        return cls(ModelFile.read(model), ModelFile.read(model.with_name(FINDER)), explanation)

    @cached_property
    def sha256(self) -> str:
        """Of the finder's file followed by the classifier's."""
        return hashlib.sha256(self.finder.data + self.classifier.data).hexdigest()
