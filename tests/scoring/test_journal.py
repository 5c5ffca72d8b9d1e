import errno
import fcntl
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from scoring.errors import ScoringError
from scoring.inputs.images import Chunk
from scoring.journal import Journal
from scoring.rows import HEADER, ModelIdentity, Row, Scored

MODEL = ModelIdentity("digits", "3", "ab" * 32)


def rows(names: Iterable[str], model: ModelIdentity = MODEL) -> Scored:
    return Scored.from_rows([Row(name, 7, 0.9, None, None, *model) for name in names])


def remaining(journal: Journal, *chunks: Iterable[str]) -> list[str]:
    found = journal.remaining(Chunk(list(names), list(names)) for names in chunks)
    return [name for chunk in found for name in chunk.names]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.csv.partial"


def test_images_with_rows_are_not_scored_again(path: Path) -> None:
    with Journal(path, MODEL) as journal:
        assert remaining(journal, "abc") == ["a", "b", "c"]
        assert not journal.outcomes
        journal.append(rows("ab"))
    assert path.read_bytes() == HEADER + rows("ab").text
    with Journal(path, MODEL) as journal:
        assert journal.outcomes == Counter({"7": 2})
        assert remaining(journal, "abcd") == ["c", "d"]
        journal.append(rows("cd"))
    assert path.read_bytes() == HEADER + rows("abcd").text


def test_added_and_removed_images_do_not_matter(path: Path) -> None:
    with Journal(path, MODEL) as journal:
        journal.append(rows("bdgx"))
    with Journal(path, MODEL) as journal:
        assert remaining(journal, "abc", "", "ddef", "g") == ["a", "c", "d", "e", "f"]


def test_torn_rows_are_cut_off(path: Path) -> None:
    whole = HEADER + rows("ab").text
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with Journal(path, MODEL) as journal:
            names = remaining(journal, "ab")
            assert names in (["a", "b"], ["b"])
            journal.append(rows(names))
        assert path.read_bytes() == whole


def test_overwrite_discards_earlier_rows(path: Path) -> None:
    with Journal(path, MODEL) as journal:
        journal.append(rows("abc"))
    with Journal(path, MODEL, overwrite=True) as journal:
        assert remaining(journal, "abc") == ["a", "b", "c"]
        journal.append(rows("a"))
    assert path.read_bytes() == HEADER + rows("a").text


def test_rows_of_another_model_are_an_error(path: Path) -> None:
    with Journal(path, MODEL) as journal:
        journal.append(rows("a"))
    before = path.read_bytes()
    other = MODEL._replace(version="4")
    with pytest.raises(ScoringError, match=r"expected rows of the model digits 4 .*; got digits 3 .* --overwrite"):
        Journal(path, other)
    assert path.read_bytes() == before
    with Journal(path, other, overwrite=True) as journal:
        assert not journal.outcomes
        journal.append(rows("a", other))


def test_only_one_run_writes_an_output(path: Path) -> None:
    with Journal(path, MODEL) as journal:
        for overwrite in (False, True):
            with pytest.raises(ScoringError, match="another run is writing it"):
                Journal(path, MODEL, overwrite)
        journal.append(rows("a"))
    assert path.read_bytes() == HEADER + rows("a").text


def test_other_file_is_not_changed(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(ScoringError, match="expected the rows of a run; got something else"):
        Journal(path, MODEL)
    assert path.read_text() == "precious"


def test_file_system_without_locks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with Journal(path, MODEL) as journal:
        journal.append(rows("a"))
    assert path.read_bytes() == HEADER + rows("a").text


def test_run_without_rows_leaves_no_file(path: Path) -> None:
    with Journal(path, MODEL):
        pass
    assert not path.exists()


def test_names_that_are_not_utf8(path: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    with Journal(path, MODEL) as journal:
        journal.append(rows([name]))
    with Journal(path, MODEL) as journal:
        assert remaining(journal, [name, "b"]) == ["b"]
