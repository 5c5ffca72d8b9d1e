import pytest

from benchmarks.performance.scale import KINDS, Pod, render


def test_pod_matches_the_manifests() -> None:
    assert Pod.deployed() == Pod(cores=2, target=0.7)


@pytest.mark.parametrize(
    ("load", "seconds", "busy", "pods"), [(1000, 0.0004, 0.4, 1), (1000, 0.0014, 1.4, 1), (1000, 0.003, 3, 3)]
)
def test_cores_and_pods_for_a_load(load: float, seconds: float, busy: float, pods: int) -> None:
    found = Pod(cores=2, target=0.7).needed(load, seconds)
    assert found[0] == pytest.approx(busy)
    assert found[1] == pods


def test_table_has_medians_per_kind() -> None:
    taken = {kind.title: [(0.004, 2.0**20), (0.002, 3.0 * 2**20), (0.001, 5.0 * 2**20)] for kind in KINDS}
    rows = [line for line in render(["x"], taken, Pod(2, 0.5)).splitlines() if line.startswith("| ")][1:]
    assert rows[1] == "| a JPEG photo of a megapixel | 2.00 | 500 | 500 | 3 | 2.0, 2 | 200.0, 200 |"
    assert rows[2].startswith("| 64 PNGs of 28×28, `/predict/batch` | 2.00 | 500 | 32,000 |")
    assert len(rows) == len(KINDS)
