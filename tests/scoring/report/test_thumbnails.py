import base64
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from digits.decode import ImageError
from scoring.report.thumbnails import (
    PAGE_SIDE,
    SIDE,
    Picture,
    Thumbnails,
    load_pictures,
    load_places,
    load_thumbnails,
)
from scoring.rows import Row
from tests.helpers.finding import preprocess
from tests.helpers.images import encode, example, example_pixels, write_idx
from tests.helpers.paths import EXAMPLES
from tests.helpers.scoring import MODEL
from training.datasets.mnist import load_test


def shown(uri: str) -> Image.Image:
    kind, _, data = uri.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert kind == f"data:image/{str(image.format).lower()}"
    return image


def row_of(name: str | Path) -> Row:
    return Row(str(name), 7, 0.9, None, None, *MODEL)


def thumbnails(*names: str | Path) -> list[Thumbnails]:
    rows = list(map(row_of, names))
    found = load_thumbnails(rows)
    assert list(found) == list(dict.fromkeys(rows))
    assert all(isinstance(one, Thumbnails) for one in found.values()), found
    return [one for one in found.values() if isinstance(one, Thumbnails)]


def test_thumbnails_of_a_file() -> None:
    [view] = thumbnails(EXAMPLES / "3.png", EXAMPLES / "3.png")
    original = shown(view.original)
    assert original.size == (SIDE, SIDE)
    small = np.asarray(Image.fromarray(example_pixels(3)).resize((SIDE, SIDE)), np.float32)
    assert np.abs(np.asarray(original) - small).mean() < 5
    assert (np.asarray(shown(view.preprocessed)) == preprocess(example_pixels(3)).image).all()


def test_thumbnails_from_idx_and_parquet_files(tmp_path: Path) -> None:
    images = load_test().images[:300]
    write_idx(tmp_path / "some-idx3-ubyte", images)
    pq.write_table(pa.table({"image": [example(digit) for digit in range(10)]}), tmp_path / "some.parquet")
    names = [tmp_path / f"some-idx3-ubyte#{index}" for index in (7, 299)]
    *tiny, seven = thumbnails(*names, tmp_path / "some.parquet#7")
    for view, image in zip(tiny, images[[7, 299]], strict=True):
        # Enlarged by a whole number, so that the pixels stay sharp.
        assert (np.asarray(shown(view.original)) == image.repeat(3, axis=0).repeat(3, axis=1)).all()
        assert (np.asarray(shown(view.preprocessed)) == preprocess(image).image).all()
    assert (np.asarray(shown(seven.preprocessed)) == preprocess(example_pixels(7)).image).all()


def test_thumbnail_of_a_photo_is_small_and_keeps_its_aspect_ratio(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (600, 300)).astype(np.uint8)
    (tmp_path / "1.png").write_bytes(encode(noise))
    (tmp_path / "2.png").write_bytes(encode(np.full((1, 3000), 255, np.uint8)))
    photo, line = thumbnails(tmp_path / "1.png", tmp_path / "2.png")
    assert shown(photo.original).size == (SIDE // 2, SIDE)
    assert len(photo.original) < 6000
    assert shown(line.original).size == (SIDE, 1)


def test_places_of_digits_on_pages(tmp_path: Path) -> None:
    page = np.full((900, 700), 255, np.uint8)
    page[300:500, 200:260] = 0
    (tmp_path / "1.png").write_bytes(encode(page))
    digit = row_of(tmp_path / "1.png")._replace(line=0, position=0, left=200, top=300, width=60, height=200, turned=0)
    nothing = row_of(tmp_path / "1.png")._replace(digit=None, reason="blank", turned=0)
    views = load_places([digit, nothing])
    place, whole = views[digit], views[nothing]
    assert isinstance(place, Thumbnails)
    assert isinstance(whole, Thumbnails)
    pixels = np.asarray(shown(place.original))
    assert pixels.shape == (SIDE, 54)  # 60 pixels more on each side: 320 by 180
    assert abs(float((pixels < 128).mean()) - 60 * 200 / (320 * 180)) < 0.02
    assert shown(whole.original).size == (75, SIDE)
    picture = load_pictures([digit])[digit]
    assert isinstance(picture, Picture)
    assert shown(picture.uri).size == (622, PAGE_SIDE)
    assert (picture.width, picture.height) == (700, 900)


def test_missing_and_changed_images_give_errors(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "a#1").write_bytes(example(3))
    write_idx(tmp_path / "some-idx3-ubyte", load_test().images[:3])
    gone = [
        tmp_path / one for one in ("gone.png", "text.png", "some-idx3-ubyte#3", "gone-idx3-ubyte#0", "gone.parquet#1")
    ]
    found = load_thumbnails(map(row_of, [*gone, tmp_path / "a#1", tmp_path / "some-idx3-ubyte#2"]))
    there = {row.path for row, one in found.items() if isinstance(one, Thumbnails)}
    assert there == {str(tmp_path / "a#1"), str(tmp_path / "some-idx3-ubyte#2")}
    said = [str(found[row_of(one)]) for one in gone]
    assert "No such file" in said[0]
    assert "unknown format" in said[1]
    assert "the image is no longer there" in said[2]
    assert "the image is no longer there" in said[3]
    assert "the image is no longer there" in said[4]
    assert {type(found[row_of(one)]) for one in gone} == {ImageError}
