"""`python -m scoring` as a process, its inputs and its rows."""

import os
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from digits.decode import GreyImage, ImageError
from scoring.inputs.images import CHUNK
from scoring.inputs.search import count_images, find_chunks
from scoring.journal import Journal
from scoring.outputs import finish, journal_path
from scoring.rows import ModelIdentity, Row, Scored
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
    with Journal(journal_path(output), MODEL) as journal:
        journal.append(Scored.from_rows(rows))
        finish(output, journal)


def rows_written(output: Path) -> int:
    """The number of rows of an unfinished run."""
    address = f"file:{journal_path(output)}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(address, uri=True)) as database:
            return sum(text.count(b"\n") for [text] in database.execute("SELECT rows FROM scored"))
    except sqlite3.Error:
        return 0


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
