import numpy as np

from digits.parts import connected


def test_connected_components() -> None:
    mask = np.array([[1, 0, 0, 1, 1], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [1, 1, 0, 1, 0], [0, 1, 1, 0, 0]], bool)
    labels, count = connected(mask)
    assert count == 3
    groups = {frozenset(map(tuple, np.argwhere(labels == label).tolist())) for label in (1, 2, 3)}
    assert groups == {
        frozenset({(0, 0), (1, 1)}),
        frozenset({(0, 3), (0, 4)}),
        frozenset({(2, 3), (3, 3), (3, 0), (3, 1), (4, 1), (4, 2)}),
    }


def test_connected_components_of_noise_match_a_flood_fill() -> None:
    mask = np.random.default_rng(1).random((40, 50)) < 0.35
    labels, count = connected(mask)
    seen = np.zeros_like(mask)
    found = 0
    for start in np.argwhere(mask):
        if seen[tuple(start)]:
            continue
        found += 1
        stack = [tuple(start)]
        while stack:
            row, column = stack.pop()
            if not (0 <= row < 40 and 0 <= column < 50) or not mask[row, column] or seen[row, column]:
                continue
            seen[row, column] = True
            assert labels[row, column] == labels[tuple(start)]
            stack += [(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    assert found == count
