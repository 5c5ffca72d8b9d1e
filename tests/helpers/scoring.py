"""`python -m scoring` as a process, its inputs and its rows."""

import os
import resource
import subprocess
import sys
from pathlib import Path

from digits.decode import GreyImage, ImageError
from scoring.inputs.images import CHUNK, count_images, find_chunks
from scoring.outputs import finish, journal_path
from scoring.rows import HEADER, ModelIdentity, Row, write_csv
from tests.helpers.paths import ROOT

IDX = "training/data/mnist/t10k-images-idx3-ubyte.gz"


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "scoring", *map(str, arguments)]


def score(*arguments: str | Path, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command; `limit` caps the size of every file that it writes."""
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))) if limit else None,
    )


LABELS = "training/data/mnist/t10k-labels-idx1-ubyte.gz"
MODEL = ModelIdentity("digits", "3", "ab" * 32)
ROWS = [
    Row("a, b.png", 7, 0.998, None, None, *MODEL),
    Row('"c".png', None, 0.1, "blank", None, *MODEL),
    Row("d\n.png", None, None, None, "expected better; got “worse”", *MODEL),
    Row(os.fsdecode(b"\xff\r.png"), 1, 1.0, None, None, *MODEL),
]


def write_output(output: Path, rows: list[Row] = ROWS) -> None:
    journal_path(output).write_bytes(HEADER + write_csv(rows))
    finish(output)


def load_all(*paths: Path) -> dict[str, GreyImage | str]:
    """Every image by name, or its error message."""
    found: dict[str, GreyImage | str] = {}
    for chunk in find_chunks(map(str, paths)):
        assert 1 <= len(chunk.names) <= CHUNK
        for index, name in enumerate(chunk.names):
            assert name not in found
            try:
                found[name] = chunk.load(index)
            except ImageError as error:
                found[name] = str(error)
    return found


def load_error(path: Path) -> str:
    assert count_images([str(path)]) == 1
    [(name, said)] = load_all(path).items()
    assert name == str(path)
    assert isinstance(said, str)
    return said
