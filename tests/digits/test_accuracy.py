import numpy as np

from digits.accuracy import accuracy_text, confusion_text, wilson_interval


def test_wilson_interval() -> None:
    # Newcombe 1998, table I: 81 of 263
    low, high = wilson_interval(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_share_is_printed_with_counts_and_interval() -> None:
    assert accuracy_text(81, 263) == "30.80% accuracy (81 of 263; 95 % interval 25.53% to 36.62%)"


def test_large_counts_keep_columns_separate() -> None:
    confusion = np.zeros((10, 11), np.int64)
    confusion[3, 5], confusion[3, 10] = 1_000_000, 7
    header, *rows = confusion_text(confusion)
    assert {len(line) for line in (header, *rows)} == {11 + 11 * 9}
    assert rows[3].split() == ["3", "0", "0", "0", "0", "0", "1000000", "0", "0", "0", "0", "7"]
    assert header.split()[-1] == "none"
