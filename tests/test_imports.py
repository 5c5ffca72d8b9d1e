"""Imports run one way: the library knows nobody, what uses it does not know each other, and nobody knows the tests."""

import ast

import pytest

from tests.conftest import ROOT

FORBIDDEN = {
    "digits": {"service", "scoring", "training", "benchmarks", "flask", "werkzeug", "gunicorn", "torch", "onnx"},
    "service": {"scoring", "training", "benchmarks", "torch", "onnx"},
    "scoring": {"service", "training", "benchmarks", "flask", "werkzeug", "gunicorn", "torch", "onnx"},
    "training": {"service", "scoring", "benchmarks", "flask", "werkzeug", "gunicorn"},
}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        modules += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
        assert not {module.split(".")[0] for module in modules} & FORBIDDEN[package], path
