import json
import os
import socket
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from service.worker import Connections
from tests.helpers.paths import ROOT
from tests.helpers.processes import environment, free_port, wait_for
from tests.helpers.service import wait_until_ready


def test_least_over_all_current_workers() -> None:
    connections = Connections()
    connections.set(1, 5)
    connections.set(2, 3)
    assert connections.least() == 3
    connections.set(2, 0)
    assert connections.least() == 0
    connections.remove(2)
    assert connections.least() == 5


def test_counts_are_shared_with_forked_processes() -> None:
    connections = Connections()
    connections.set(1, 5)
    child = os.fork()
    if not child:
        connections.set(2, 4)
        os._exit(0)
    os.waitpid(child, 0)
    assert connections.least() == 4


def test_connections_are_spread_evenly_over_workers(tmp_path: Path) -> None:
    port, rounds = free_port(), count()
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn"],
            cwd=ROOT,
            env=environment(PORT=str(port), DIGITS_WORKERS="2", DIGITS_LOG="json"),
            stdout=log,
        )

    def answered(request_id: str) -> Counter[int]:
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        return Counter(line["process"] for line in lines if line.get("request_id") == request_id)

    def ask(connections: int) -> Counter[int]:
        """How many of these concurrent connections each process answered."""
        request_id = str(next(rounds))
        with ExitStack() as stack:
            address = ("127.0.0.1", port)
            clients = [stack.enter_context(socket.create_connection(address)) for _ in range(connections)]
            for client in clients:
                client.sendall(f"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Request-ID: {request_id}\r\n\r\n".encode())
            for client in clients:
                assert client.recv(65536)
        wait_for(lambda: answered(request_id).total() == connections)
        return answered(request_id)

    try:
        wait_until_ready(port)
        wait_for(lambda: len(ask(2)) == 2)
        workers = ask(16)
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert sum(workers.values()) == 16
    assert min(workers.values()) >= 5, workers
