"""Optional dependencies that are not installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT


@pytest.mark.parametrize(
    ("package", "arguments", "message"),
    [
        (
            "ray",
            ["examples", "--engine", "ray"],
            "--engine ray: the package ray is missing; pip install '.[ray]'",
        ),
        ("pyarrow", ["s3://bucket/folder"], "remote paths: the package pyarrow is missing; pip install '.[parquet]'"),
    ],
)
def test_missing_package_is_named_with_its_extra(
    package: str, arguments: list[str], message: str, tmp_path: Path
) -> None:
    (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError(name={package!r})")
    command = [sys.executable, "-m", "scoring", *arguments, "--output", str(tmp_path / "rows.csv")]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {message}")
