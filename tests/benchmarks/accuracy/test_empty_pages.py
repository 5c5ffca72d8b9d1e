import io
from pathlib import Path

import pytest
from click import ClickException
from PIL import Image

from benchmarks.accuracy import empty_pages
from benchmarks.accuracy.empty_pages import KINDS, empty_page, measure
from digits.recognizer import Recognizer

TABLES, TEXTURES, PUNCTUATION, DRAWINGS = map(KINDS.index, ("tables", "textures", "punctuation", "drawings"))


def test_page_depends_on_its_seed_alone() -> None:
    for kind in (TABLES, TEXTURES, DRAWINGS):
        page = empty_page(kind)
        assert page == empty_page(kind) != empty_page(kind + len(KINDS))
        with Image.open(io.BytesIO(page)) as image:
            assert min(image.size) >= 32


def test_missing_font_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ClickException, match="install it with `apt install fonts-"):
        empty_page(PUNCTUATION, tmp_path)


def test_digits_are_counted_by_kind(recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = iter(range(100))
    monkeypatch.setattr(empty_pages, "empty_page", lambda *_: b"")
    monkeypatch.setattr(empty_pages, "_surely_read", lambda *_: next(seeds) % len(KINDS))
    every, *kinds = measure(recognizer, 20)
    assert every.name == "digits read at confidence 0.9 for each page without digits"
    assert (every.value, every.count, every.higher_is_better) == (2.0, 20, False)
    assert [one.value for one in kinds] == [0, 1, 2, 3, 4]
