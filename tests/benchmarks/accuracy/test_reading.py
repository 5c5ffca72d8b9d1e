from benchmarks.accuracy.reading import aligned, edits_between, judged


def test_edits() -> None:
    assert edits_between("3141", "3141") == 0
    assert edits_between("3141", "341") == 1
    assert edits_between("", "27") == 2


def test_lines_are_compared_in_order() -> None:
    assert aligned(["12", "345", "6"], ["345", "66"]) == [("12", ""), ("345", "345"), ("6", "66")]


def test_a_line_that_is_read_counts_once() -> None:
    exact, wrong = judged(["1111", "1111", "23"], ["1111", "231"])
    assert sorted(exact) == [False, False, True]
    assert wrong == 5


def test_no_more_is_wrong_than_there_is() -> None:
    assert judged(["12"], ["98765", "43"]) == ([False], 2)
