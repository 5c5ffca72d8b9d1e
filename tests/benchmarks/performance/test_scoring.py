from pathlib import Path

import pytest

from benchmarks.performance import scoring
from tests.helpers.images import write_idx
from training.datasets.mnist import Dataset, load_test


def test_tables_of_speed_and_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_test()
    monkeypatch.setattr(scoring, "load_training", lambda: Dataset(data.images[:300], data.labels[:300]))
    monkeypatch.setattr(scoring, "IDX", tmp_path / "images-idx3-ubyte")
    write_idx(tmp_path / "images-idx3-ubyte", data.images[:300])
    monkeypatch.setattr(scoring, "LEAST", 300)
    monkeypatch.setattr(scoring, "MOST", 600)
    monkeypatch.setattr(scoring, "IMAGES_PER_FOLDER", 100)
    scoring.write_files(tmp_path / "images")
    *_, png, idx = scoring.measure_speed(1, tmp_path / "images", tmp_path).splitlines()
    assert png.startswith("| 300 PNG files | ")
    assert idx.startswith("| the IDX file of 300 | ")
    assert png.count("%") == 6
    *_, least, most = scoring.measure_memory(tmp_path / "images", tmp_path).splitlines()
    for row, start in [(least, "| 300 |"), (most, "| 600 |")]:
        assert row.startswith(start)
        proportional, resident = (int(cell) for cell in row.strip("| ").split(" | ")[1:])
        assert 20 < proportional < resident
