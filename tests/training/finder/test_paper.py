import numpy as np

from training.finder.paper import LOOKS, Scene, beyond_paper, image_of, texture


def scene(side: int = 120) -> Scene:
    ink = np.zeros((side, side), np.float32)
    ink[30:90, 55:65] = 1
    nothing = np.zeros_like(ink)
    return Scene(ink, nothing, nothing, beyond_paper(ink.shape, np.random.default_rng(0)) & (ink == 0), 60, 0.0)


def test_ink_is_darker_than_paper_in_every_look() -> None:
    random = np.random.default_rng(0)
    for look in LOOKS:
        darker = 0
        for _ in range(20):
            page = look(scene(), random)
            assert page.shape == (120, 120)
            assert np.isfinite(page).all()
            darker += bool(page[40:80, 57:63].mean() < page[40:80, 66:72].mean())
        assert darker >= 15


def test_images_have_the_size_asked_for_unless_enlarged() -> None:
    random = np.random.default_rng(0)
    sides = [max(image_of(scene(), 24, random).shape) for _ in range(60)]
    assert min(sides) == 24
    assert sum(side == 24 for side in sides) > 25


def test_textures_are_fields_within_limits() -> None:
    random = np.random.default_rng(0)
    for _ in range(60):
        field = texture((90, 60), random)
        assert field.shape == (90, 60)
        assert field.min() >= 0
        assert field.max() <= 1


def test_paper_ends_at_an_edge_of_the_frame() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        beyond = beyond_paper((80, 100), random)
        assert 0 < beyond.mean() < 0.8
        assert beyond[[0, -1]].any() or beyond[:, [0, -1]].any()
