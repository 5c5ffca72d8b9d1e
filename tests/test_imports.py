"""Which package may import which, and that tests import shared code from `tests.helpers` only."""

import ast
import re
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

FORBIDDEN = {
    "digits": {"service", "scoring", "training", "benchmarks", "cli", "flask", "werkzeug", "gunicorn", "torch", "onnx"},
    "service": {"scoring", "training", "benchmarks", "cli", "torch", "onnx"},
    "scoring": {"service", "training", "benchmarks", "cli", "flask", "werkzeug", "gunicorn", "torch", "onnx"},
    "training": {"service", "scoring", "benchmarks", "cli", "flask", "werkzeug", "gunicorn"},
}


def imported_modules(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    modules = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return modules | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_packages(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        assert not {module.split(".")[0] for module in imported_modules(path)} & FORBIDDEN[package], path


def test_tests_share_code_through_helpers() -> None:
    for path in (ROOT / "tests").rglob("*.py"):
        shared = [module for module in imported_modules(path) if re.search(r"^tests\..*\b(test_|conftest\b)", module)]
        assert not shared, path
