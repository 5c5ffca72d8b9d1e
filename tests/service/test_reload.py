"""Reloading the model with SIGHUP."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from service.settings import Settings
from tests.helpers.broken_models import failing_model
from tests.helpers.images import example
from tests.helpers.load import Load
from tests.helpers.processes import wait_for, worker_processes
from tests.helpers.service import request, serving


def served_versions(port: int) -> object:
    """The versions on a new connection, which a stopping worker does not accept."""
    return request(port, "GET", "/health/ready", headers={"Connection": "close"})[2].get("versions")


def test_reload_serves_the_current_versions_and_no_request_fails(tmp_path: Path) -> None:
    shutil.copytree(Settings().model_path.parent, tmp_path / "1")
    # With one worker, no other is still loading once the new one answers.
    with serving(DIGITS_MODEL=str(tmp_path)) as (port, process):
        assert served_versions(port) == ["1"]
        load = Load(port)
        try:
            shutil.copytree(tmp_path / "1", tmp_path / "2")
            (tmp_path / "3").mkdir()
            (tmp_path / "3" / "model.onnx").write_bytes(b"broken")
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: served_versions(port) == ["2", "1"])
            # No version is left on disk, so the loaded ones stay.
            for version in ("1", "2"):
                (tmp_path / version / "model.onnx").rename(tmp_path / version / "away.onnx")
            process.send_signal(signal.SIGHUP)
            time.sleep(3)
            assert served_versions(port) == ["2", "1"]
        finally:
            lost = load.end()
        assert lost.failures == []
        assert lost.answered


@pytest.mark.parametrize("content", [failing_model(), b"broken"], ids=["fails when run", "broken"])
def test_rejected_reload_changes_nothing(content: bytes, tmp_path: Path) -> None:
    shutil.copytree(Settings().model_path.parent, tmp_path / "1")
    log = tmp_path / "log"
    with serving(log=log, DIGITS_MODEL=str(tmp_path), DIGITS_WORKERS="2") as (port, process):
        wait_for(lambda: len(worker_processes(process)) == 2)
        before = worker_processes(process)
        for name in ("model.onnx", "explain.onnx"):
            (tmp_path / "1" / name).write_bytes(content)
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "the previous ones still are" in log.read_text())
        assert worker_processes(process) == before
        # Replacements for dead workers serve the files as read at the start.
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        wait_for(lambda: len(set(worker_processes(process)) - set(before)) == 2)
        for _ in range(10):
            assert request(port, "POST", "/predict", example(7))[2]["digit"] == 7
            assert request(port, "POST", "/explain", example(7))[0] == 200
        assert process.poll() is None
