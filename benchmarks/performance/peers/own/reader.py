"""The library of this repository."""

from pathlib import Path

from benchmarks.performance.peers.reading import serve
from digits.recognizer import Recognizer
from digits.settings import ModelSettings

recognizer = Recognizer(ModelSettings().model_path, "cpu")
serve(lambda path: recognizer.read(Path(path).read_bytes()).lines)
