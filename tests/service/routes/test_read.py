import base64
import io

import numpy as np
from flask.testing import FlaskClient

from tests.helpers.client import assert_error
from tests.helpers.images import encode, example, example_pixels, png_of_size


def test_one_digit(client: FlaskClient) -> None:
    response = client.post("/read", data=example(7))
    assert response.status_code == 200
    body = response.json
    assert body is not None
    assert list(body) == ["lines", "digits", "turned", "model"]
    assert body["lines"] == ["7"]
    [digit] = body["digits"]
    assert list(digit) == ["digit", "confidence", "probabilities", "reason", "box", "line", "position"]
    assert (digit["digit"], digit["reason"], digit["line"]) == (7, None, 0)
    assert set(digit["box"]) == {"left", "top", "width", "height"}


def test_several_digits_in_every_way_that_predict_takes(client: FlaskClient) -> None:
    page = encode(np.hstack([example_pixels(digit) for digit in (1, 2, 3)]))
    ways = (
        {"data": page},
        {"data": {"image": (io.BytesIO(page), "page.png")}},
        {"json": {"image": base64.b64encode(page).decode()}},
        {"data": encode(np.hstack([example_pixels(digit) for digit in (1, 2, 3)]), "PPM")},
    )
    for way in ways:
        body = client.post("/read", **way).json
        assert body is not None
        assert body["lines"] == ["123"]
        assert [one["box"]["left"] // 280 for one in body["digits"]] == [0, 1, 2]


def test_images_of_each_digit_if_requested(client: FlaskClient) -> None:
    page = encode(np.hstack([example_pixels(digit) for digit in (1, 2, 3)]))
    body = client.post("/read?show=images", data=page).json
    assert body is not None
    assert [one["digit"] for one in body["digits"]] == [1, 2, 3]
    for one in body["digits"]:
        image = np.frombuffer(base64.b64decode(one["image"]), np.uint8).reshape(28, 28)
        [alone] = client.post("/read", data=encode(image)).json["lines"]  # type: ignore[index]
        assert alone == str(one["digit"])


def test_image_without_digits(client: FlaskClient) -> None:
    body = client.post("/read", data=encode(np.full((100, 100), 255, np.uint8))).json
    assert body is not None
    assert (body["lines"], body["digits"]) == ([], [])


def broken(client: FlaskClient) -> float:
    """How many broken images the service has counted."""
    metrics = client.get("/metrics").get_data(as_text=True)
    return sum(
        float(line.split()[-1])
        for line in metrics.splitlines()
        if line.startswith("digits_images_total{") and "broken image" in line
    )


def test_errors(client: FlaskClient) -> None:
    before = broken(client)
    assert_error(client.post("/read", data=b"no image"), 400, "expected an image")
    assert_error(client.post("/read", data=b""), 400, "got no bytes")
    assert broken(client) == before + 2
    assert_error(client.post("/read", data=png_of_size(6000, 6000)), 413, "pixels")
    assert_error(client.post("/read?show=image", data=example(1)), 400, "expected show=images")
    assert_error(client.post("/read?version=99", data=example(1)), 404, "99")
