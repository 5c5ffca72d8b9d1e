"""Requests lost while workers are killed, replaced and stopped under load."""

import os
import signal
import time

from tests.helpers.images import example
from tests.helpers.load import CLIENTS, Load
from tests.helpers.processes import wait_for, worker_processes
from tests.helpers.service import request, serving


def test_killed_worker_loses_only_its_own_requests() -> None:
    kills = 3
    with serving(DIGITS_WORKERS="2") as (port, process):
        wait_for(lambda: len(worker_processes(process)) == 2)
        load = Load(port)
        for _ in range(kills):
            time.sleep(1)
            killed, *_ = workers = worker_processes(process)
            os.kill(killed, signal.SIGKILL)
            wait_for(lambda workers=workers: len(set(worker_processes(process)) - set(workers)) == 1)  # type: ignore[misc]
        time.sleep(1)
        lost = load.end()
        # Each client has one request in progress, so a worker holds at most one of each.
        assert len(lost.failures) <= kills * CLIENTS
        unexpected = [
            one
            for one in lost.failures
            if not one.startswith(("Remote", "ConnectionReset", "BrokenPipe", "Incomplete"))
        ]
        assert unexpected == []
        assert lost.answered > 20
        assert request(port, "POST", "/predict", example(7))[2]["digit"] == 7


def test_rolling_restart_loses_nothing() -> None:
    with serving(DIGITS_WORKERS="2") as (port, process):
        load = Load(port)
        for _ in range(2):
            before = set(worker_processes(process))
            time.sleep(1)
            process.send_signal(signal.SIGHUP)
            wait_for(lambda before=before: not before & set(worker_processes(process)))  # type: ignore[misc]
        lost = load.end()
    assert lost.failures == []
    assert lost.answered > 20


def test_stop_finishes_accepted_requests_and_exits_with_0() -> None:
    with serving(DIGITS_WORKERS="2") as (port, process):
        load = Load(port)
        time.sleep(2)
        process.terminate()
        assert process.wait(timeout=30) == 0
        lost = load.end()
    assert lost.failures == []
    assert lost.answered > 20
