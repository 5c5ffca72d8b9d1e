"""Line drawings that are no digits: letters, signs, symbols, small pictures, curves and scribbles, as pen strokes.

Letters and signs that many people write like a digit are left out: O, I, l, S, Z, B, b, g, q, y, β, δ, ε, θ, σ, З, Ч.
Some kinds are never trained on: they calibrate `is_digit` for what the network has not seen.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator

from training.datasets.drawn import Stroke, smooth, write

# Ways to write each, as in training.datasets.drawn.WAYS.
CAPITALS = (
    "0,100 50,0 | 100,100 ; 18,64 82,64",  # A
    "0,100 42,0 | 60,0 | 100,100 ; 14,66 86,66",
    "92,18 60,0 20,15 0,50 20,85 60,100 95,82",  # C
    "0,0 0,100 ; 0,0 60,5 95,45 60,95 0,100",  # D
    "90,0 0,0 | 0,100 | 92,100 ; 0,48 75,48",  # E
    "95,8 50,0 20,12 25,40 60,47 | 15,55 5,85 45,100 95,88",
    "92,0 0,0 | 0,100 ; 0,46 72,46",  # F
    "95,15 60,0 15,15 0,55 25,95 75,95 95,60 | 55,60",  # G
    "92,18 50,0 8,20 0,60 30,98 88,92 | 88,55 | 50,55 ; 88,55 88,105",
    "0,0 0,100 ; 95,0 95,100 ; 0,48 95,48",  # H
    "25,0 95,0 ; 68,0 68,75 45,100 8,90 0,70",  # J
    "0,0 0,100 ; 90,0 2,55 | 95,100",  # K
    "0,0 0,100 | 85,100",  # L
    "0,100 5,0 | 50,65 | 95,0 | 100,100",  # M
    "0,100 0,0 | 90,100 | 90,0",  # N
    "0,0 0,100 ; 0,2 60,0 92,25 60,50 0,52",  # P
    "50,0 15,12 0,50 15,88 50,100 85,88 98,50 85,12 50,0 ; 55,65 105,108",  # Q
    "0,0 0,100 ; 0,2 60,0 90,25 55,48 0,50 ; 40,50 95,100",  # R
    "0,0 100,0 ; 50,0 50,100",  # T
    "0,0 0,65 20,98 70,98 92,65 92,0",  # U
    "0,0 50,100 | 100,0",  # V
    "0,0 25,100 | 50,30 | 75,100 | 100,0",  # W
    "0,0 95,100 ; 95,0 0,100",  # X
    "0,0 50,50 | 100,0 ; 50,50 50,100",  # Y
)
SMALL_LETTERS = (
    "90,20 50,0 5,30 5,75 40,98 85,70 | 90,5 | 88,80 105,100",  # a
    "10,15 50,0 85,15 85,100 ; 85,45 30,45 5,75 35,100 85,80",
    "92,15 50,0 8,20 5,75 40,100 92,85",  # c
    "85,50 45,38 8,60 15,95 55,98 85,75 ; 88,0 88,100",  # d
    "8,52 92,50 85,15 45,0 8,35 12,80 55,100 95,85",  # e
    "85,10 55,0 38,20 38,100 ; 8,42 78,42",  # f
    "0,0 0,100 ; 0,60 35,38 75,45 82,100",  # h
    "70,25 70,85 40,100 0,88 ; 66,0 74,5",  # j
    "0,0 0,100 ; 70,38 5,70 | 75,100",  # k
    "0,5 0,100 ; 0,30 28,3 45,25 45,100 ; 45,30 72,3 92,25 92,100",  # m
    "0,5 0,100 ; 0,35 45,0 85,20 88,100",  # n
    "0,5 0,130 ; 0,20 50,0 90,30 75,75 20,80 0,65",  # p
    "0,5 0,100 ; 0,40 35,5 80,8",  # r
    "40,0 40,80 60,100 85,92 ; 5,30 80,30",  # t
    "0,0 5,75 40,98 80,70 ; 85,0 85,100",  # u
    "0,0 48,100 | 95,0",  # v
    "0,0 25,100 | 50,20 | 72,100 | 98,0",  # w
    "0,0 20,85 45,95 50,10 | 55,90 85,95 98,5",
    "0,0 90,100 ; 90,0 0,100",  # x
    "0,15 25,0 50,50 75,100 100,85 ; 95,5 5,95",
)
# Joined letters, as in cursive writing.
WORDS = (
    "0,60 30,20 15,5 5,60 30,90 60,30 45,5 38,60 60,90 95,40",  # ee
    "0,90 10,30 25,20 32,90 | 38,35 52,20 60,90 | 66,35 80,20 90,80 105,90",  # m
    "0,20 10,90 30,80 35,20 | 40,90 60,80 65,20 | 70,90 100,80",  # uu
    "0,80 20,10 30,10 15,90 40,60 60,5 55,95 70,60 90,40 95,90 110,80",  # lle
    "0,50 20,40 5,70 25,95 40,45 | 42,95 55,50 65,95 80,60 100,45 85,75 105,95",
)
SIGNS = (
    "5,25 30,0 75,5 85,30 50,55 48,75 ; 46,98 52,100",  # ?
    "0,70 30,100 | 100,0",  # a tick
    "30,0 20,100 ; 75,0 65,100 ; 0,35 100,35 ; 0,68 100,68",  # #
    "95,0 5,100 ; 15,5 0,20 15,35 30,20 15,5 ; 85,65 70,80 85,95 100,80 85,65",  # %
    "65,35 40,30 30,55 45,70 65,60 65,35 | 70,65 95,60 95,25 60,0 20,10 0,50 20,90 60,100 90,88",  # @
    "0,35 100,35 ; 0,65 100,65",  # =
    "0,50 100,50 ; 46,15 54,18 ; 46,82 54,85",  # ÷
    "0,60 25,30 50,50 75,70 100,40",  # ~
    "0,0 95,50 | 0,100",  # >
    "95,0 0,50 | 95,100",  # <
    "0,100 50,0 | 100,100",  # ^
    "0,0 10,40 ; 50,0 60,40",  # "
    "90,10 50,0 15,30 10,70 50,100 92,90 ; 0,40 70,40 ; 0,60 65,60",  # €
    "0,55 15,50 30,100 | 50,0 | 110,0",  # a root
    "0,45 15,10 40,20 60,80 85,90 100,55 85,15 60,20 40,80 15,90 0,45",  # infinity
    "70,0 40,5 45,40 25,50 | 45,60 40,95 70,100 ; 105,0 110,100",  # { |
    "0,0 0,100 ; 60,0 60,100 ; 0,20 60,0 ; 0,35 60,15 ; 0,90 -20,85 -25,100 0,105 ; 60,90 40,85 35,100 60,105",
    "0,0 100,0 | 0,100 | 100,100 | 0,0",  # an hourglass
    "0,20 35,20 | 50,0 | 65,20 | 100,20",
    "20,0 20,100 | 0,80 ; 20,100 40,80 ; 80,100 80,0 | 60,20 ; 80,0 100,20",
)
PICTURES = (
    "0,100 0,45 | 50,0 | 100,45 | 100,100 | 0,100 ; 40,100 40,70 | 60,70 | 60,100",  # a house
    "50,100 50,60 ; 50,60 15,55 10,25 50,0 90,25 85,55 50,60",  # a tree
    "50,100 50,0 ; 50,0 15,35 ; 50,0 85,35 ; 50,30 10,70 ; 50,30 90,70",  # a fir
    "0,10 10,90 | 70,90 | 80,10 | 0,10 ; 80,25 105,30 100,65 74,70",  # a cup
    "0,50 30,15 70,30 100,80 ; 0,50 30,85 70,70 100,20 ; 20,40 24,44",  # a fish
    "0,0 0,100 ; 0,0 90,10 | 70,28 | 90,50 | 0,45",  # a flag
    "60,0 10,55 | 50,50 | 30,100",  # lightning
    "50,95 5,45 5,10 35,0 50,25 65,0 95,10 95,45 50,95",  # a heart
    "60,0 20,15 5,50 20,85 60,100 | 40,80 35,50 40,20 60,0",  # a moon
    "0,50 10,15 50,0 90,15 100,50 | 75,42 | 50,50 | 25,42 | 0,50 ; 50,50 50,90 40,100 28,90",  # an umbrella
    "25,25 5,15 5,0 28,0 30,15 25,25 ; 25,25 95,95 ; 75,75 90,60 ; 88,88 102,75",  # a key
    "50,25 35,15 42,0 58,0 65,15 50,25 ; 50,25 50,65 ; 15,40 85,40 ; 50,65 20,100 ; 50,65 80,100",  # a stick figure
    "10,60 10,30 | 40,30 | 50,5 | 80,5 | 90,30 | 110,32 | 110,60 | 10,60 ; 30,60 22,72 32,80 40,70 30,60 ;"
    " 85,60 77,72 87,80 95,70 85,60",  # a car
    "0,60 100,60 | 80,95 | 20,95 | 0,60 ; 45,60 45,0 | 90,50 | 45,50",  # a boat
    "0,40 50,0 | 100,40 | 50,100 | 0,40 ; 0,40 100,40 ; 30,40 50,100 ; 70,40 50,100",  # a diamond
    "10,30 50,55 20,70 | 0,45 ; 50,55 90,25 100,50 | 50,55 ; 50,30 50,95",  # a butterfly
    "20,100 0,50 20,0 80,0 100,50 80,100 20,100 ; 30,35 45,50 | 30,65 ; 55,65 75,65",
    "0,40 0,100 | 70,100 | 70,40 | 0,40 ; 0,40 30,10 | 100,10 | 70,40 ; 100,10 100,70 | 70,100",  # a box
)
# Greek, Cyrillic and other scripts.
FOREIGN = (
    "100,0 60,60 30,90 5,60 30,25 60,60 100,100",  # α
    "0,10 25,10 45,60 | 45,130 ; 90,0 45,70",  # γ
    "0,5 30,0 95,100 ; 52,45 0,100",  # λ
    "0,0 0,130 ; 0,70 40,95 75,70 | 75,0 | 78,85 95,95",  # μ
    "0,20 20,5 100,5 ; 30,5 25,100 ; 70,5 72,90 90,100",  # π
    "0,15 20,5 95,5 ; 50,5 48,85 65,100",  # τ
    "0,10 0,60 30,80 80,75 95,40 75,0 45,20 45,130",  # φ
    "25,0 0,50 20,100 48,60 | 52,60 75,100 100,50 78,0",  # ω
    "90,0 0,0 | 0,100",  # Γ
    "0,100 50,0 | 100,100 | 0,100",  # Δ
    "0,0 90,0 ; 15,50 75,50 ; 0,100 90,100",  # Ξ
    "90,0 0,0 | 55,50 | 0,100 | 92,100",  # Σ
    "50,0 50,100 ; 50,20 10,30 5,60 50,78 90,65 92,32 50,20",  # Φ
    "0,100 30,100 | 10,55 25,10 75,10 90,55 | 70,100 | 100,100",  # Ω
    "50,0 50,100 ; 0,0 50,50 | 100,0 ; 0,100 50,50 | 100,100",  # Ж
    "0,0 0,100 | 85,0 | 85,100",  # И
    "0,0 0,100 ; 0,50 35,50 ; 65,0 35,30 35,70 65,100 95,70 95,30 65,0",  # Ю
    "0,30 100,30 ; 50,0 45,50 0,100 ; 50,45 100,100",  # 大
    "0,0 100,0 | 100,100 | 0,100 | 0,0 ; 50,0 50,100 ; 0,50 100,50",  # 田
    "0,25 100,25 ; 50,0 50,100 ; 50,30 0,80 ; 50,30 100,80",  # 木
    "10,10 45,20 ; 0,45 90,40 | 30,100 ; 40,60 100,100",
    "0,0 100,100 ; 100,0 70,50 ; 5,100 15,55 30,40",  # א
    "0,10 15,30 | 35,5 50,30 | 70,5 95,30 80,60 40,70 ; 45,95 52,100",  # س, ش
)
# Rarer pictures and signs.
RARE = (
    "50,20 38,8 50,0 62,8 50,20 ; 50,20 50,100 ; 30,38 70,38 ; 0,65 15,95 50,100 85,95 100,65",  # an anchor
    "0,0 30,0 | 30,30 | 60,30 | 60,60 | 90,60 | 90,95",  # stairs
    "0,100 30,40 45,65 | 70,5 | 110,100 | 0,100",  # mountains
    "50,10 60,30 80,20 75,45 100,55 75,65 80,90 55,75 35,95 32,70 5,70 25,50 5,25 35,30 50,10",  # a splash
    "0,0 100,0 | 65,45 | 65,100 | 35,100 | 35,45 | 0,0",  # a funnel
    "0,50 45,0 | 45,28 | 100,28 | 100,72 | 45,72 | 45,100 | 0,50",  # a broad arrow
    "0,0 0,100 ; 25,0 25,100 ; 50,0 50,100 ; 75,0 75,100 ; -12,85 88,15",  # a tally
    "35,0 35,35 | 0,35 | 0,65 | 35,65 | 35,100 | 65,100 | 65,65 | 100,65 | 100,35 | 65,35 | 65,0 | 35,0",
    "100,0 30,10 5,50 0,100 40,75 80,60 100,0 ; 0,100 70,30",  # a feather
    "0,55 35,60 | 50,0 | 65,60 | 100,55 | 75,80 | 80,100 | 20,100 | 25,80 | 0,55",
)

# How far points are moved, relative to the drawing's longer side.
BENT = 0.05


def _way(ways: Sequence[str]) -> Callable[[Generator], list[Stroke]]:
    def choose(random: Generator) -> list[Stroke]:
        return write(ways[int(random.integers(len(ways)))], random.uniform(0.6, 1.15), random)

    return choose


def _circle(count: int = 41, turns: float = 1.0) -> Stroke:
    around = np.linspace(0, 2 * math.pi * turns, count)
    return np.stack([np.cos(around), np.sin(around)], axis=1)


def _turned(stroke: Stroke, angle: float) -> Stroke:
    cos, sin = math.cos(angle), math.sin(angle)
    return stroke @ np.array([[cos, sin], [-sin, cos]])


def _star(random: Generator) -> list[Stroke]:
    """A star drawn in one go, or its outline."""
    points = int(random.choice([4, 5, 5, 6, 7, 8]))
    if random.random() < 0.5 and points in (5, 7):
        angles = 2 * math.pi * np.arange(points + 1) * 2 / points - math.pi / 2
        return [np.stack([np.cos(angles), np.sin(angles)], axis=1)]
    angles = math.pi * np.arange(2 * points + 1) / points - math.pi / 2
    radii = np.where(np.arange(2 * points + 1) % 2, random.uniform(0.3, 0.6), 1)[:, None]
    return [radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)]


def _polygon(random: Generator) -> list[Stroke]:
    """A triangle or a square on its tip, with unequal sides."""
    corners = int(random.choice([3, 3, 4]))
    angles = 2 * math.pi * np.arange(corners) / corners - math.pi / 2 + random.normal(0, 0.15, corners)
    outline = random.uniform(0.7, 1, (corners, 1)) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return [np.concatenate([outline, outline[:1]])]


def _spiral(random: Generator) -> list[Stroke]:
    along = np.linspace(random.uniform(0, 0.2), 1, 80)[:, None]
    angles = along[:, 0] * 2 * math.pi * random.uniform(2.0, 4.5) * random.choice([-1, 1]) + random.uniform(0, 6.3)
    return [along * np.stack([np.cos(angles), np.sin(angles)], axis=1)]


def _wave(random: Generator) -> list[Stroke]:
    """A wave, a zigzag or battlements, in any direction."""
    along = np.linspace(-1, 1, 80)
    wave = np.sin(along * math.pi * random.uniform(2, 6) + random.uniform(0, 6.3))
    wave = np.sign(wave) * np.abs(wave) ** random.uniform(0.15, 1.2)
    return [_turned(np.stack([along, wave * random.uniform(0.15, 0.6)], axis=1), random.uniform(0, math.pi))]


def _cross(random: Generator) -> list[Stroke]:
    """Strokes crossing in the middle: a plus, a cross, an asterisk, or a few at any angle."""
    count = int(random.integers(2, 6))
    angles = math.pi * np.arange(count) / count + random.choice([0, 0.25 * math.pi, random.uniform(0, math.pi)])
    if random.random() < 0.3:
        angles = angles + random.normal(0, 0.2, count)
    ends = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return [np.stack([-end, end]) for end in ends]


def _arrow(random: Generator) -> list[Stroke]:
    head, back = random.uniform(0.25, 0.6, 2)
    strokes = [np.array([[-1, 0], [1, 0.0]]), np.array([[1 - head, -back], [1, 0], [1 - head, back]])]
    match random.integers(4):
        case 0:  # a head at both ends
            strokes.append(np.array([[head - 1, -back], [-1, 0], [head - 1, back]]))
        case 1:  # a closed head
            strokes.append(np.array([[1 - head, -back], [1 - head, back]]))
        case 2:  # a bent shaft
            strokes[0] = smooth(np.array([[-1, random.uniform(-0.8, 0.8)], [0, random.uniform(-0.3, 0.3)], [1, 0]]))
    angle = random.integers(8) * math.pi / 4 + random.normal(0, 0.15)
    return [_turned(one, angle) for one in strokes]


def _face(random: Generator) -> list[Stroke]:
    circle = _circle()
    mouth = circle[2:19] * (random.uniform(0.3, 0.6), random.uniform(-0.5, 0.5)) + (0, random.uniform(0.2, 0.4))
    size = random.uniform(0.02, 0.18)
    strokes = [circle * (random.uniform(0.75, 1), 1), mouth]
    strokes += [circle * size + (place, -0.3) for place in (-0.35, 0.35)]
    if random.random() < 0.4:
        strokes.append(np.array([[0, -0.1], [random.uniform(-0.15, 0.15), 0.15]]))
    if random.random() < 0.25:  # ears or hair
        strokes += [circle * 0.25 + (place, -0.95) for place in (-0.7, 0.7)]
    return strokes if random.random() < 0.8 else strokes[1:]


def _grid(random: Generator) -> list[Stroke]:
    columns, rows = (np.linspace(-0.8, 0.8, int(count)) for count in random.integers(2, 6, 2))
    level = [np.array([[-1, place], [1, place]]) for place in rows]
    return [np.array([[place, -1], [place, 1]]) for place in columns] + level


def _hatching(random: Generator) -> list[Stroke]:
    places = np.linspace(-1, 1, int(random.integers(4, 10)))
    slant, length = random.uniform(-0.8, 0.8), random.uniform(0.5, 1)
    strokes = [np.array([[place - slant, length], [place + slant, -length]]) for place in places]
    if random.random() < 0.3:
        strokes += [one * (1, -1) for one in strokes]
    if random.random() < 0.4:  # back and forth without lifting the pen
        strokes = [np.concatenate([one[:: 1 if number % 2 else -1] for number, one in enumerate(strokes)])]
    return [_turned(one, random.uniform(0, math.pi)) for one in strokes]


def _closed_curve(random: Generator) -> list[Stroke]:
    """A closed curve with bays or corners: a leaf, a cloud, a blot."""
    around = np.linspace(0, 2 * math.pi, 61)
    radii = 1 + random.uniform(0.2, 0.45) * np.cos(random.integers(3, 9) * around + random.uniform(0, 6))
    radii += random.uniform(0, 0.2) * np.cos(random.integers(2, 6) * around + random.uniform(0, 6))
    return [_circle(61) * radii[:, None]]


def _open_curve(random: Generator) -> list[Stroke]:
    """A pen that wanders, too long to end as a digit."""
    points = random.random((random.integers(8, 16), 2)) * random.uniform(0.5, 1, 2)
    return [smooth(points) if random.random() < 0.7 else points]


def _arc(random: Generator) -> list[Stroke]:
    """Part of an ellipse that is open, in any direction, or two of them."""
    count = int(random.integers(20, 32))
    arcs = [_circle(41)[:count] * (random.uniform(0.5, 1), 1) for _ in range(random.integers(1, 3))]
    moves = [np.array([0.8 * number, 0.3 * random.normal()]) for number in range(len(arcs))]
    return [_turned(arc, random.uniform(0, 2 * math.pi)) + move for arc, move in zip(arcs, moves, strict=True)]


def _knot(random: Generator) -> list[Stroke]:
    """A closed curve that crosses itself: Lissajous's curves and roses."""
    around = np.linspace(0, 2 * math.pi, 121)
    if random.random() < 0.5:
        across, down = random.choice([1, 2, 3, 4, 5], 2, replace=False)
        curve = np.stack([np.sin(across * around), np.sin(down * around + random.uniform(0.3, 1.3))], axis=1)
    else:
        curve = _circle(121) * np.cos(random.choice([2, 3, 4, 5]) * around + random.uniform(0, 1))[:, None]
    return [_turned(curve, random.uniform(0, math.pi))]


def _loops(random: Generator) -> list[Stroke]:
    """Loops in a row, as of a pen that is tried out."""
    along = np.linspace(0, 2 * math.pi * random.uniform(2.5, 6), 120)
    curve = np.stack([np.cos(along) + random.uniform(0.1, 0.5) * along, random.uniform(0.8, 2) * np.sin(along)], axis=1)
    return [_turned(curve, random.normal(0, 0.5))]


def _scribble(random: Generator) -> list[Stroke]:
    """A patch filled with a random walk."""
    steps = random.normal(0, 1, (random.integers(20, 60), 2)).cumsum(axis=0)
    away = steps - steps.mean(axis=0)
    return [smooth(away / (1 + 0.3 * np.abs(away)), 4)]


def _radicals(random: Generator) -> list[Stroke]:
    """Level, upright and slanted strokes that cross, as in Chinese characters."""
    strokes = []
    for _ in range(random.integers(4, 9)):
        middle, half = random.uniform(0.1, 0.9, 2), random.uniform(0.2, 0.5)
        angle = random.choice([0, 0, math.pi / 2, math.pi / 2, 0.9, -0.9]) + random.normal(0, 0.06)
        along = half * np.array([math.cos(angle), math.sin(angle)])
        strokes.append(np.stack([middle - along, middle + along]))
    return strokes


def _flower(random: Generator) -> list[Stroke]:
    """Petals, rays or a wheel's spokes around a circle."""
    circle, count = _circle(), int(random.integers(4, 9))
    inner = random.uniform(0.2, 0.5)
    angles = 2 * math.pi * np.arange(count) / count + random.uniform(0, 1)
    ways = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    match random.integers(3):
        case 0:
            return [circle * inner, *(circle * 0.35 + 0.7 * way for way in ways)]
        case 1:
            return [circle * inner, *(np.stack([1.25 * inner * way, way]) for way in ways)]
        case _:
            return [circle, *(np.stack([0 * way, way]) for way in ways)]


Maker = Callable[[Generator], list[Stroke]]
# How often each kind is drawn, relative to the others.
UNLIKE_DIGITS: dict[Maker, float] = {
    _way(PICTURES): 3,
    _star: 1,
    _spiral: 1,
    _wave: 1,
    _cross: 1,
    _arrow: 1,
    _face: 1,
    _grid: 0.7,
    _hatching: 0.7,
    _closed_curve: 1,
    _knot: 0.7,
    _loops: 1,
    _scribble: 1,
}
TRAINED: dict[Maker, float] = UNLIKE_DIGITS | {
    _way(CAPITALS): 7,
    _way(SMALL_LETTERS): 7,
    _way(WORDS): 1,
    _way(SIGNS): 3,
    _polygon: 1.5,
    _open_curve: 1.5,
    _arc: 0.7,
}
HELD_OUT: dict[Maker, float] = {_way(FOREIGN): 4, _way(RARE): 2, _radicals: 1, _flower: 1}


def random_drawing(kinds: dict[Maker, float], random: Generator) -> list[Stroke]:
    """The strokes of a random drawing of one of the kinds, bent a little, each float64 [n, 2], x right and y down."""
    weights = np.array(list(kinds.values()))
    strokes = list(kinds)[random.choice(len(kinds), p=weights / weights.sum())](random)
    shape = np.diag(random.uniform(0.7, 1, 2)) @ np.array([[1, 0], [-random.normal(0, 0.12), 1]])
    return [_turned(one @ shape, random.normal(0, 0.1)) for one in _bent(strokes, random)]


def _bent(strokes: list[Stroke], random: Generator) -> list[Stroke]:
    """Moves the points smoothly, so that neighbours stay neighbours and lines do not tremble."""
    size = float(np.ptp(np.concatenate(strokes), axis=0).max())
    waves, phases = random.normal(0, 2.5 / size, (2, 2)), random.uniform(0, 2 * math.pi, 2)
    return [one + BENT * size * np.sin(one @ waves + phases) for one in strokes]
