import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from cli.predict import predict
from digits.recognizer import Recognizer
from tests.helpers.images import encode
from tests.helpers.paths import EXAMPLES

SEVEN = str(EXAMPLES / "7.png")


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(predict, arguments, env={"DIGITS_PROVIDER": "cpu", **environment})


@pytest.fixture
def blank(tmp_path: Path) -> str:
    path = tmp_path / "blank.png"
    path.write_bytes(encode(np.full((50, 50), 255, np.uint8)))
    return str(path)


def test_one_image_gives_its_digit() -> None:
    result = run(SEVEN)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "7\n", "")


def test_several_images_give_one_line_each(blank: str) -> None:
    result = run(SEVEN, blank, str(EXAMPLES / "3.png"))
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f"{SEVEN}: 7", f"{blank}: none (blank)", f"{EXAMPLES / '3.png'}: 3"]


def test_no_digit_gives_the_reason(blank: str) -> None:
    assert run(blank).stdout == "none (blank)\n"
    assert run(SEVEN, DIGITS_MINIMUM_CONFIDENCE="1").stdout == "none (uncertain)\n"


def test_files_that_cannot_be_read_or_decoded_are_errors_and_the_others_are_printed(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    result = run(str(broken), str(tmp_path), "nowhere.png", SEVEN)
    assert result.exit_code == 1
    assert result.stdout == f"{SEVEN}: 7\n"
    first, second, third = result.stderr.splitlines()
    assert first.startswith(f"error: {broken}: expected an image ")
    assert (second, third) == (f"error: {tmp_path}: Is a directory", "error: nowhere.png: No such file or directory")


def test_json_has_one_object_per_image(blank: str, recognizer: Recognizer) -> None:
    result = run("--json", SEVEN, blank, "nowhere.png")
    assert (result.exit_code, result.stderr) == (1, "")
    seven, none, missing = map(json.loads, result.stdout.splitlines())
    [prediction] = recognizer.recognize([Path(SEVEN).read_bytes()])
    assert seven == {
        "path": SEVEN,
        **json.loads(json.dumps(vars(prediction))),
        "error": None,
        "model": recognizer.model,
    }
    assert list(seven) == ["path", "digit", "confidence", "probabilities", "reason", "error", "model"]
    assert (none["digit"], none["reason"], none["error"]) == (None, "blank", None)
    assert missing == dict.fromkeys(seven) | {
        "path": "nowhere.png",
        "error": "No such file or directory",
        "model": recognizer.model,
    }


def test_a_name_that_is_not_text_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "\udcff.png"
    path.write_bytes(Path(SEVEN).read_bytes())
    assert run("--json", str(path)).exit_code == 0
    assert run(str(path), SEVEN).exit_code == 0


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"DIGITS_PROVIDER": "none"}, "error: DIGITS_PROVIDER: expected one of auto, cpu, cuda; got 'none'"),
        ({"DIGITS_MODEL": "nowhere.onnx"}, "error: nowhere.onnx: expected an ONNX model; got: No such file"),
    ],
)
def test_without_a_model_the_command_cannot_run(environment: dict[str, str], message: str) -> None:
    result = run(SEVEN, **environment)
    assert result.exit_code == 2
    assert result.stderr.startswith(message)
