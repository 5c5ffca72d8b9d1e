from pathlib import Path

from benchmarks.performance.reading import READERS, scored
from tests.helpers.images import encode, written_page


def test_own_reader_is_scored(tmp_path: Path) -> None:
    [own] = [one for one in READERS if one.module == "own"]
    page = encode(written_page(["314", "27"], 60))
    score = scored(own, [(page, ["314", "27"]), (page, ["3144", "9"])], tmp_path)
    assert (score.digits, score.edits, score.lines, score.exact) == (10, 3, 4, 2)
    assert len(score.seconds) == 2
    assert min(score.seconds) > 0
    assert 50e6 < score.peak < 500e6
