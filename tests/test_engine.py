from pathlib import Path

import numpy as np

from scoring.engine import BATCH, Row, score
from scoring.sources import Source, find_images
from service.classifier import Classifier
from service.decode import ImageError
from service.picture import Picture
from tests.conftest import EXAMPLES, example_pixels


def broken() -> Picture:
    raise ImageError("expected better")


def test_examples(classifier: Classifier) -> None:
    rows = list(score(find_images([EXAMPLES]), classifier))
    assert [(Path(row.path).name, row.digit) for row in rows] == [(f"{digit}.png", digit) for digit in range(10)]
    assert all(row.confidence is not None and row.confidence > 0.5 and row.error is row.reason is None for row in rows)


def test_every_source_has_its_row_in_order_over_several_batches(classifier: Classifier) -> None:
    blank = np.zeros((9, 9), np.uint8)
    loads = {0: lambda: Picture(example_pixels(3)), 1: broken, 2: lambda: Picture(blank)}
    sources = (Source(str(number), loads[number % 3]) for number in range(2 * BATCH + 5))
    rows = list(score(sources, classifier))
    assert [row.path for row in rows] == [str(number) for number in range(2 * BATCH + 5)]
    assert {row.digit for row in rows[0::3]} == {3}
    assert rows[1] == Row("1", None, None, None, "expected better")
    assert {row.error for row in rows[1::3]} == {"expected better"}
    assert {(row.digit, row.reason, row.error) for row in rows[2::3]} == {(None, "blank", None)}


def test_batches_are_read_as_they_are_needed(classifier: Classifier) -> None:
    taken = 0

    def sources() -> object:
        nonlocal taken
        while True:
            taken += 1
            yield Source(str(taken), lambda: Picture(np.zeros((5, 5), np.uint8)))

    rows = score(sources(), classifier)  # type: ignore[arg-type]
    next(rows)
    assert taken <= 2 * BATCH
    rows.close()  # type: ignore[attr-defined]
