"""What clients lose while workers are killed, replaced and stopped under load."""

import http.client
import json
import os
import signal
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from tests.conftest import example
from tests.service.test_gunicorn import request, serving, wait_for, worker_processes

CLIENTS = 8
# Longer than a virtual machine may stand still.
PATIENCE_SECONDS = 120


@dataclass
class Lost:
    """How many requests of a client were answered, and what came in place of an answer."""

    answered: int
    failures: list[str]


class Load:
    """Clients that ask on kept connections, each again as soon as it has its answer."""

    def __init__(self, port: int) -> None:
        self._port, self._stopped = port, threading.Event()
        self._pool = ThreadPoolExecutor(CLIENTS)
        self._clients: list[Future[Lost]] = [self._pool.submit(self._ask) for _ in range(CLIENTS)]

    def _ask(self) -> Lost:
        lost, image = Lost(0, []), example(7)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
        while not self._stopped.is_set():
            try:
                if connection.sock is None:
                    connection.connect()
            except ConnectionRefusedError:  # nobody took the request on, and the client knows
                break
            try:
                connection.request("POST", "/predict", image)
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                lost.failures.append(repr(error))
                connection.close()
                continue
            if (response.status, answer.get("digit")) == (200, 7):
                lost.answered += 1
            else:
                lost.failures.append(f"{response.status} {answer}")
        connection.close()
        return lost

    def end(self) -> Lost:
        """What all clients together have lost."""
        self._stopped.set()
        clients = [client.result(timeout=2 * PATIENCE_SECONDS) for client in self._clients]
        self._pool.shutdown()
        return Lost(sum(one.answered for one in clients), [failure for one in clients for failure in one.failures])


def test_killed_workers_lose_what_they_held_and_no_more() -> None:
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
        # Each client has one request under way, and so a worker holds one of each at most.
        assert len(lost.failures) <= kills * CLIENTS
        others = [
            one
            for one in lost.failures
            if not one.startswith(("Remote", "ConnectionReset", "BrokenPipe", "Incomplete"))
        ]
        assert others == []
        assert lost.answered > 20
        assert request(port, "POST", "/predict", example(7))[2]["digit"] == 7


def test_a_rolling_restart_loses_nothing() -> None:
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


def test_a_stop_answers_what_has_been_taken_on_and_exits_with_0() -> None:
    with serving(DIGITS_WORKERS="2") as (port, process):
        load = Load(port)
        time.sleep(2)
        process.terminate()
        assert process.wait(timeout=30) == 0
        lost = load.end()
    assert lost.failures == []
    assert lost.answered > 20
