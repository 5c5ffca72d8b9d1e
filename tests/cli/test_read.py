import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cli.read import read
from digits.decode import MAXIMUM_BYTES
from digits.recognizer import Recognizer
from tests.helpers.images import encode, written_page


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(read, arguments, env={"DIGITS_PROVIDER": "cpu", **environment})


@pytest.fixture
def page(tmp_path: Path) -> str:
    path = tmp_path / "page.png"
    path.write_bytes(encode(written_page(["12 345", "6789"], 60)))
    return str(path)


def test_page_gives_its_lines(page: str) -> None:
    result = run(page)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "12 345\n6789\n", "")


def test_uncertain_digits_are_question_marks(page: str) -> None:
    assert run(page, DIGITS_MINIMUM_CONFIDENCE="1").stdout == "?? ???\n????\n"


def test_image_without_digits_gives_nothing(tmp_path: Path) -> None:
    path = tmp_path / "blank.png"
    path.write_bytes(encode(np.full((50, 50), 255, np.uint8)))
    result = run(str(path))
    assert (result.exit_code, result.output) == (0, "")


def test_json_is_that_of_the_service(page: str, recognizer: Recognizer) -> None:
    result = run("--json", page)
    assert result.exit_code == 0
    body = json.loads(result.stdout)
    assert list(body) == ["lines", "digits", "turned", "model"]
    assert body["lines"] == ["12 345", "6789"]
    assert list(body["digits"][0]) == ["digit", "confidence", "probabilities", "reason", "box", "line", "position"]
    assert body["model"] == dict(recognizer.model)


def test_large_photo_of_a_phone(tmp_path: Path) -> None:
    path = tmp_path / "phone.jpg"
    path.write_bytes(encode(written_page(["31"], 60), "JPEG") + bytes(MAXIMUM_BYTES))
    assert run(str(path)).stdout == "31\n"


def test_file_that_cannot_be_read_or_decoded_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    for name, message in (("broken.png", "expected an image "), ("nowhere.png", "No such file or directory")):
        result = run(str(tmp_path / name))
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith(f"error: {tmp_path / name}: {message}")


def test_unusable_model_is_an_error(page: str) -> None:
    result = run(page, DIGITS_MODEL="nowhere")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
