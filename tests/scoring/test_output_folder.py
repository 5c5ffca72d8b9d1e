"""The output folder of a cluster."""

import io
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from scoring.errors import ScoringError
from scoring.output_folder import Folder
from scoring.parquet import write_rows
from scoring.rows import ModelIdentity, Row

MODEL = ModelIdentity("digits", "3", "a" * 64)


def rows_of(*names: str, model: ModelIdentity = MODEL) -> bytes:
    file = io.BytesIO()
    write_rows(file, iter([Row(name, 3, 0.5, None, None, *model) for name in names]))
    return file.getvalue()


@pytest.mark.parametrize("start", ["", "file://"])
def test_files_of_rows_are_found_again(tmp_path: Path, start: str) -> None:
    path = f"{start}{tmp_path}/of/rows"
    with Folder(path) as folder:
        assert not folder.is_finished()
        assert folder.read(MODEL).missing(["a"]) == [0]
        folder.write(rows_of("a", "b"))
        folder.write(rows_of("b"))
    with Folder(path) as folder:
        completed = folder.read(MODEL)
        assert completed.outcomes == Counter({"3": 3})
        assert completed.missing(["a", "b", "b", "b", "c"]) == [3, 4]
        folder.write(rows_of("c"))
        folder.finish()
    with Folder(path) as folder:
        assert folder.is_finished()
    assert sorted(one.name for one in Path(tmp_path, "of/rows").iterdir()) == [
        "_SUCCESS",
        *(f"rows-{number:06}.parquet" for number in range(3)),
    ]
    assert pq.read_table(tmp_path / "of/rows").num_rows == 4


def test_file_that_a_killed_run_left_unfinished_is_ignored(tmp_path: Path) -> None:
    with Folder(str(tmp_path)) as folder:
        folder.write(rows_of("a"))
    (tmp_path / "_new").write_bytes(rows_of("b")[:50])
    with Folder(str(tmp_path)) as folder:
        assert folder.read(MODEL).missing(["a", "b"]) == [1]
        folder.write(rows_of("b"))
        assert not (tmp_path / "_new").exists()


def test_clear_removes_only_its_own_files(tmp_path: Path) -> None:
    (tmp_path / "mine.parquet").write_bytes(b"mine")
    with Folder(str(tmp_path)) as folder:
        folder.write(rows_of("a"))
        folder.finish()
    with Folder(str(tmp_path)) as folder:
        folder.clear()
        folder.write(rows_of("b"))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["mine.parquet", "rows-000000.parquet"]


def test_other_models_other_files_and_other_runs_are_errors(tmp_path: Path) -> None:
    with Folder(str(tmp_path)) as folder:
        folder.write(rows_of("a", model=MODEL._replace(version="2")))
        with pytest.raises(ScoringError, match="another run is writing it"), Folder(str(tmp_path)):
            pass
    with Folder(str(tmp_path)) as folder, pytest.raises(ScoringError, match="expected rows of the model digits 3"):
        folder.read(MODEL)
    (tmp_path / "rows-000000.parquet").write_bytes(b"something else")
    with Folder(str(tmp_path)) as folder, pytest.raises(ScoringError, match="expected a file of scored rows"):
        folder.read(MODEL)
    with pytest.raises(ScoringError, match="cannot be read or written"), Folder("/proc/none"):
        pass
