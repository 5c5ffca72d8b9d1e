from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from scoring.inputs.labels import NONE, ListedLabels
from scoring.report.summary import BINS, ERRORS, MISTAKES, SAMPLES, UNCERTAIN, OutputSummary
from scoring.rows import Row
from tests.helpers.scoring import MODEL, ROWS


def labels_of(labels: dict[str, int], unused: int = 4) -> ListedLabels:
    given = [*labels.items(), *((f"unused {index}", 0) for index in range(unused))]
    return ListedLabels(Path("labels.csv"), lambda: ((path, digit, line) for line, (path, digit) in enumerate(given)))


def read(name: object, digit: int, confidence: float) -> Row:
    return Row(str(name), digit, confidence, None, None, *MODEL)


def test_counts() -> None:
    summary = OutputSummary(ROWS)
    assert summary.outcomes == Counter(["7", "blank", "error", "1"])
    assert summary.digits[7] == summary.digits[1] == sum(summary.digits.values()) / 2 == 1
    assert summary.reasons == {"blank": 1}
    assert list(summary.models) == [MODEL]
    assert summary.errors == [ROWS[2]]
    assert summary.grades is None


def test_bins_are_finer_near_1_and_hold_their_lower_bounds() -> None:
    summary = OutputSummary(
        [read(index, 3, confidence) for index, confidence in enumerate([*BINS, 1.0, 0.9999, 0.8999])]
    )
    assert summary.read == [1, 1, 1, 1, 1, 2, 1, 1, 1, 3]
    assert sum(summary.rejected) == sum(summary.wrong) == 0
    assert sum(OutputSummary(ROWS).rejected) == 1


def test_uncertain_images_are_sorted_by_confidence_and_then_order() -> None:
    confidences = np.random.default_rng(0).integers(0, 300, 1000) / 300
    rows = [read(index, 3, float(confidence)) for index, confidence in enumerate(confidences)]
    rows.insert(0, Row("rejected", None, 0.0, "uncertain", None, *MODEL))
    picked = [(row.confidence, int(row.path)) for row, _ in OutputSummary(rows).uncertain]
    assert picked == sorted(zip(confidences, range(1000), strict=True))[:UNCERTAIN]


def test_samples_are_reproducible_and_uniform() -> None:
    rows = [read(index, index % 2, 0.9) for index in range(400)]
    first, again = (OutputSummary(rows).samples("1") for _ in range(2))
    assert first == again
    assert len(set(first)) == SAMPLES
    assert {picked.row.digit for picked in first} == {1}
    assert OutputSummary(rows[:9]).samples("1") == [(row, NONE) for row in rows[1:9:2]]
    assert OutputSummary(rows).samples("blank") == []
    # Many reasons in one summary stand in for many summaries: each place is picked about equally often.
    many = [read(index, 0, 0.9)._replace(digit=None, reason=f"r{index % 500}") for index in range(500 * 40)]
    summary = OutputSummary(many)
    places = np.array([int(one.row.path) // 500 for kind in range(500) for one in summary.samples(f"r{kind}")])
    assert len(places) == 500 * SAMPLES
    halves = np.bincount(places // 10)
    assert np.abs(halves - 1250).max() < 130  # four standard deviations


def test_errors_are_counted_and_the_first_ones_kept() -> None:
    rows = [Row(str(index), None, None, None, "broken", *MODEL) for index in range(ERRORS + 5)]
    summary = OutputSummary(rows)
    assert summary.errors == rows[:ERRORS]
    assert summary.outcomes["error"] == ERRORS + 5


@pytest.fixture
def graded() -> OutputSummary:
    rows = [
        *(read(f"right {index}", index % 10, 0.99) for index in range(90)),
        *(read(f"wrong {index}", 5, index / 100) for index in range(50)),
        Row("rejected", None, 0.3, "uncertain", None, *MODEL),
        Row("broken", None, None, None, "expected better", *MODEL),
        read("unlabelled", 1, 0.2),
    ]
    labels = {f"right {index}": index % 10 for index in range(90)} | {f"wrong {index}": 6 for index in range(50)}
    return OutputSummary(rows, labels_of({**labels, "rejected": 2, "broken": 3}))


def test_mistakes_are_sorted_by_confidence(graded: OutputSummary) -> None:
    assert [picked.row.path for picked in graded.mistakes] == [f"wrong {49 - index}" for index in range(MISTAKES)]
    assert {picked.label for picked in graded.mistakes} == {6}
    assert graded.wrong == [40, 10, *[0] * 8]


def test_images_without_a_digit_count_as_wrong(graded: OutputSummary) -> None:
    grades = graded.grades
    assert grades is not None
    assert (grades.labelled, grades.right, grades.unread, grades.undecoded) == (142, 90, 2, 1)
    assert (grades.unlabelled, grades.unused) == (1, 4)
    assert grades.confusion.sum() == 142
    assert grades.confusion[6, 5] == 50
    assert grades.confusion[2, 10] == grades.confusion[3, 10] == 1
    text = str(grades).splitlines()
    assert text[:3] == [
        "142 images with labels: 63.38% accuracy (90 of 142; 95 % interval 55.20% to 70.85%)",
        "  140 of them read: 64.29% accuracy (90 of 140; 95 % interval 56.06% to 71.74%); 1 rejected, 1 not decoded",
        "  1 images without a label, 4 labels without an image",
    ]
    assert text[3].split() == ["true", "\\", "read", *map(str, range(10)), "none"]
    assert len(text) == 14


def test_labels_that_match_no_image() -> None:
    summary = OutputSummary(ROWS, labels_of({}))
    assert str(summary.grades) == "0 images with labels\n  4 images without a label, 4 labels without an image"
    summary = OutputSummary(ROWS[1:3], labels_of({ROWS[1].path: 1}))
    assert "0 of them read; 1 rejected, 0 not decoded" in str(summary.grades)
