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
from scoring.rows import IMAGES, PAGES, ModelIdentity, Row, Scored

MODEL = ModelIdentity("digits", "3", "ab" * 32)


def rows(names: Iterable[str], model: ModelIdentity = MODEL) -> Scored:
    return Scored.from_rows([Row(name, 7, 0.9, None, None, *model) for name in names])


def remaining(journal: Journal, *chunks: Iterable[str]) -> list[str]:
    found = journal.remaining(Chunk(list(names), list(names)) for names in chunks)
    return [name for chunk in found for name in chunk.names]


def names_in(path: Path) -> list[str]:
    with Journal(path, MODEL) as journal:
        return [row.path for row in journal.rows()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "100% a?b#c.csv.partial"


def test_images_with_rows_are_not_scored_again(path: Path) -> None:
    with Journal(path, MODEL) as journal:
        assert remaining(journal, "abc") == ["a", "b", "c"]
        assert not journal.outcomes
        journal.append(rows("ab"))
    with Journal(path, MODEL) as journal:
        assert journal.outcomes == Counter({"7": 2})
        assert remaining(journal, "abcd") == ["c", "d"]
        journal.append(rows("cd"))
        assert b"".join(journal.texts()) == rows("abcd").text
    assert names_in(path) == list("abcd")
    assert list(path.parent.iterdir()) == [path]


def test_added_and_removed_images_do_not_matter(path: Path) -> None:
    with Journal(path, MODEL) as journal:
        journal.append(rows("bdgx"))
    with Journal(path, MODEL) as journal:
        assert remaining(journal, "abc", "", "ddef", "g") == ["a", "c", "d", "e", "f"]


def test_each_record_counts_for_one_image_of_its_name(path: Path) -> None:
    with Journal(path, MODEL) as journal:
        journal.append(rows("aab"))
    with Journal(path, MODEL) as journal:
        found = journal.remaining(Chunk(list(names), list(names)) for names in ("a", "aba", "b"))
        assert next(found).names == ["a"]
        journal.append(rows("a"))  # a row of this run does not count for an image that comes later
        assert [name for chunk in found for name in chunk.names] == ["b"]


def test_input_with_several_rows(path: Path) -> None:
    page = [Row("a\n", 7, 0.9, None, None, *MODEL, line, 0, 1, 2, 3, 4, 0) for line in (0, 1)]
    with Journal(path, MODEL, layout=PAGES) as journal:
        journal.append(Scored.from_rows(page, PAGES))
    with Journal(path, MODEL, layout=PAGES) as journal:
        assert list(journal.rows()) == page
        assert (journal.images, journal.outcomes) == (1, {"7": 2})
        assert remaining(journal, ["a\n", "a\n", "b"]) == ["a\n", "b"]


def test_rows_of_another_layout_are_an_error(path: Path) -> None:
    with Journal(path, MODEL) as journal:
        journal.append(rows("a"))
    with pytest.raises(ScoringError, match=r"expected rows of digits on pages; got rows of images; --read must be as"):
        Journal(path, MODEL, layout=PAGES)
    with Journal(path, MODEL, overwrite=True, layout=PAGES) as journal:
        assert not journal.images


def test_overwrite_discards_earlier_rows(path: Path) -> None:
    with Journal(path, MODEL) as journal:
        journal.append(rows("abc"))
    with Journal(path, MODEL, overwrite=True) as journal:
        assert remaining(journal, "abc") == ["a", "b", "c"]
        journal.append(rows("a"))
    assert names_in(path) == ["a"]


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
    assert names_in(path) == ["a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"precious", "expected the rows of a run; got something else"),
        (
            IMAGES.header + b"a.png,7,0.9,,,digits,3,ab\n",
            "begun by an older version .*; finish it with that version, or",
        ),
    ],
)
def test_other_file_is_not_changed(content: bytes, message: str, path: Path) -> None:
    path.write_bytes(content)
    with pytest.raises(ScoringError, match=message):
        Journal(path, MODEL)
    assert path.read_bytes() == content
    with Journal(path, MODEL, overwrite=True) as journal:
        journal.append(rows("a"))
    assert names_in(path) == ["a"]


def test_damaged_file_is_a_clear_error(path: Path) -> None:
    with Journal(path, MODEL) as journal:
        journal.append(rows("a"))
    path.write_bytes(path.read_bytes()[:16] + b"\xff" * 9000)
    with pytest.raises(ScoringError, match="cannot be read or written: "):
        Journal(path, MODEL)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_file_system_without_locks(number: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setattr(fcntl, "lockf", flock)
    with Journal(path, MODEL) as journal:
        journal.append(rows("a"))
    assert names_in(path) == ["a"]


def test_run_without_rows_leaves_no_file(path: Path) -> None:
    with Journal(path, MODEL):
        pass
    assert not path.exists()


def test_names_that_are_not_utf8(path: Path) -> None:
    path = path.with_name(os.fsdecode(b"\xff.partial"))
    name = os.fsdecode(b"\xff\r.png")
    with Journal(path, MODEL) as journal:
        journal.append(rows([name]))
    assert names_in(path) == [name]
    with Journal(path, MODEL) as journal:
        assert remaining(journal, [name, "b"]) == ["b"]
