"""Imports run one way."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

FLASK_MODULES = {
    "app.py",
    "bodies.py",
    "errors.py",
    "explain.py",
    "health.py",
    "master.py",
    "observe.py",
    "openapi.py",
    "page.py",
    "predict.py",
    "reference.py",
    "replies.py",
    "security.py",
    "v2.py",
    "worker.py",
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).glob("*.py"))


@pytest.mark.parametrize("path", modules("service"), ids=lambda path: path.name)
def test_service_stands_alone(path: Path) -> None:
    assert not imported(path) & {"scoring", "training", "torch", "onnx"}
    if path.name not in FLASK_MODULES:
        assert not imported(path) & {"flask", "werkzeug", "gunicorn"}


@pytest.mark.parametrize("path", modules("scoring"), ids=lambda path: path.name)
def test_scoring_needs_only_the_service(path: Path) -> None:
    assert not imported(path) & {"training", "torch", "onnx", "flask"}


@pytest.mark.parametrize("path", modules("training"), ids=lambda path: path.name)
def test_training_needs_no_flask(path: Path) -> None:
    assert not imported(path) & {"scoring", "flask"}
