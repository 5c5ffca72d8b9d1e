"""Schemathesis generates requests from the OpenAPI document and checks the responses."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.processes import environment, free_port
from tests.helpers.service import start, wait_until_ready


def run(tmp_path: Path, *options: str) -> None:
    port = free_port()
    program = Path(sys.executable).with_name("schemathesis")
    configuration = ["--config-file", str(ROOT / "tests" / "helpers" / "schemathesis.toml")]
    arguments = ["run", f"http://127.0.0.1:{port}/openapi.json", "--checks", "all", "--no-color", *options]
    log = tmp_path / "service.log"
    with log.open("w") as file, start(port, {"DIGITS_WORKERS": "1"}, stdout=file.fileno()) as process:
        try:
            wait_until_ready(port)
            result = subprocess.run(
                [program, *configuration, *arguments],
                cwd=tmp_path,
                env=environment(SCHEMATHESIS_HOOKS="tests.helpers.openapi_hooks", PYTHONPATH=str(ROOT)),
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            process.terminate()
    report = "\n".join([result.stdout, result.stderr, "End of the service's log:", log.read_text()[-3000:]])
    assert result.returncode == 0, report
    assert "No issues found" in result.stdout, report


def test_examples_and_coverage(tmp_path: Path) -> None:
    run(tmp_path, "--phases", "examples,coverage")


@pytest.mark.fuzz
def test_random_requests_and_sequences(tmp_path: Path) -> None:
    run(tmp_path, "--max-examples", "200")
