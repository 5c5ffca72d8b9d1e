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


ONE, TWO = "rows-0a1b-0.parquet", "rows-0a1b-1.parquet"


@pytest.mark.parametrize("start", ["", "file://"])
def test_files_of_rows_are_found_again(tmp_path: Path, start: str) -> None:
    path = f"{start}{tmp_path}/of/rows"
    with Folder(path) as folder:
        assert not folder.is_finished()
        assert not folder.names
        folder.write(ONE, rows_of("a", "b"))
    with Folder(path) as folder:
        assert folder.names == {ONE}
        assert folder.read(ONE, MODEL) == (2, Counter({"3": 2}))
        folder.write(TWO, rows_of("c"))
        folder.finish()
    with Folder(path) as folder:
        assert folder.is_finished()
    assert sorted(one.name for one in Path(tmp_path, "of/rows").iterdir()) == ["_SUCCESS", ONE, TWO]
    assert pq.read_table(tmp_path / "of/rows").num_rows == 3


def test_file_that_a_killed_run_left_unfinished_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "_new").write_bytes(rows_of("b")[:50])
    with Folder(str(tmp_path)) as folder:
        assert not folder.names
        folder.write(ONE, rows_of("b"))
        assert not (tmp_path / "_new").exists()


def test_only_its_own_files_are_removed(tmp_path: Path) -> None:
    (tmp_path / "mine.parquet").write_bytes(b"mine")
    with Folder(str(tmp_path)) as folder:
        folder.write(ONE, rows_of("a"))
        folder.write(TWO, rows_of("b"))
        folder.finish()
    with Folder(str(tmp_path)) as folder:
        folder.delete({ONE})
        assert folder.names == {TWO}
        folder.delete(folder.names)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["mine.parquet"]


def test_other_models_other_files_and_other_runs_are_errors(tmp_path: Path) -> None:
    with Folder(str(tmp_path)) as folder:
        folder.write(ONE, rows_of("a", model=MODEL._replace(version="2")))
        with pytest.raises(ScoringError, match="another run is writing it"), Folder(str(tmp_path)):
            pass
        with pytest.raises(ScoringError, match="expected rows of the model digits 3"):
            folder.read(ONE, MODEL)
        folder.write(TWO, b"something else")
        with pytest.raises(ScoringError, match="expected a file of scored rows"):
            folder.read(TWO, MODEL)
    with pytest.raises(ScoringError, match="cannot be read or written"), Folder("/proc/none"):
        pass
