"""The wheel: what it contains, and that it works in any folder without a checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers.paths import EXAMPLES, ROOT

PACKAGES = ("cli", "digits", "scoring", "service", "training")
# Where the wheel has the folders that lie outside of the packages.
MOVED = {"models": "digits/models", "examples": "digits/examples"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files of the repository that a wheel may be made of."""
    copy = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "*.toml", "README.md", "LICENSE", *PACKAGES, *MOVED, "tests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.splitlines():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def installed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the wheel, as pip unpacks them."""
    target = tmp_path_factory.mktemp("installed")
    code = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, target], cwd=source, capture_output=True, check=True)
    [wheel] = target.glob("digits-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    wheel.unlink()
    return target


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_contains_all_code_the_models_and_the_page_but_neither_mnist_nor_tests(source: Path, installed: Path) -> None:
    expected = set()
    for name in files(source):
        top, _, rest = name.partition("/")
        if top in MOVED and name != "examples/README.md":
            expected.add(f"{MOVED[top]}/{rest}")
        elif top in PACKAGES and not name.startswith("training/data/") and not name.endswith(".md"):
            expected.add(name)
    found = {name for name in files(installed) if ".dist-info/" not in name}
    assert found == expected


def run(installed: Path, folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs `digits` of the wheel in a folder, with nothing of the checkout to be found."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DIGITS_")}
    code = f"import sys; sys.path[0] = {str(installed)!r}; from cli.__main__ import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_recognizes_digits(installed: Path, tmp_path: Path) -> None:
    assert run(installed, tmp_path, "predict", EXAMPLES / "7.png").stdout == "7\n"
    scored = run(installed, tmp_path, "score", EXAMPLES, "--output", "digits.csv", "--report", "report.html")
    assert scored.returncode == 0, scored.stderr
    assert len((tmp_path / "digits.csv").read_text(encoding="utf-8").splitlines()) == 11
    checked = run(installed, tmp_path, "serve", "--check-config")
    assert checked.returncode == 0, checked.stderr


def test_the_page_and_the_document_of_the_api_are_served(installed: Path, tmp_path: Path) -> None:
    code = (
        "from service.app import create_app; client = create_app().test_client()\n"
        "for path in ('/', '/docs', '/openapi.json', '/page/main.js'): print(client.get(path).status_code)"
    )
    environment = os.environ | {"PYTHONPATH": str(installed)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["200"] * 4


def test_trains_on_a_folder_of_images_and_names_where_it_writes(installed: Path, tmp_path: Path) -> None:
    for digit in range(10):
        (tmp_path / "data" / str(digit)).mkdir(parents=True)
        for number in range(30):
            shutil.copy(EXAMPLES / f"{digit}.png", tmp_path / "data" / str(digit) / f"{number}.png")
    formula = "INPUT 28x28x1 -> CONV 4x4x8 stride 4 -> RELU -> FC 10"
    options = ["--quick", "--epochs", "40", "--seed", "0", "--formula", formula]
    trained = run(installed, tmp_path, "train", "--data", "data", *options)
    assert trained.returncode == 0, trained.stderr
    assert f"checkpoints are written to {tmp_path / 'runs' / 'digits'}, and" in trained.stdout
    exported = run(installed, tmp_path, "export", "--data", "data")
    assert exported.returncode == 0, exported.stderr
    assert "wrote models/digits/1/model.onnx; to serve it: DIGITS_MODEL=models/digits digits serve" in exported.stdout
    assert (tmp_path / "models" / "digits" / "1" / "model.onnx").is_file()


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_without_mnist_one_sentence_says_what_to_do(command: str, installed: Path, tmp_path: Path) -> None:
    result = run(installed, tmp_path, command)
    assert result.returncode == 2
    assert "Error: MNIST is in the repository, not in the installed package: " in result.stderr
    assert "Traceback" not in result.stderr
