"""Minutes of hostile load, kills and reloads; longer with `--full-campaigns`."""

import http.client
import itertools
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from service.settings import Settings
from service.worker import FLUSH_SECONDS
from tests.helpers.attacks import ATTACKS, IMAGES, MEGABYTES, Attack, send
from tests.helpers.broken_models import failing_model
from tests.helpers.images import example
from tests.helpers.load import Load
from tests.helpers.processes import free_port, peak_megabytes, wait_for, worker_processes
from tests.helpers.service import samples, start, wait_until_ready

pytestmark = pytest.mark.campaign

CONNECTIONS, SENDERS = 66, 3
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--full-campaigns"))


def keep_sending(port: int, number: int, connections: int, stopped: Event) -> None:
    """Sends attack bodies over this many connections, alternating between attacks."""
    os.nice(10)
    images = [(Attack(lambda: b""), make()) for name, make in IMAGES.items() if "jpeg" in name]
    attacks = [(attack, attack.make()) for attack in ATTACKS.values()] + images
    order = itertools.cycle(attacks[number::SENDERS] + attacks)
    lock = threading.Lock()

    def sender() -> None:
        while not stopped.is_set():
            with lock:
                attack, body = next(order)
            send(port, attack, body)

    threads = [threading.Thread(target=sender) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def health_seconds(port: int, until: float) -> Iterator[float]:
    """Response times of health checks, sent ten times a second on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with closing(connection):
        while (started := time.monotonic()) < until:
            connection.request("GET", "/health/live")
            assert connection.getresponse().read()
            yield time.monotonic() - started
            time.sleep(max(0, started + 0.1 - time.monotonic()))


def test_memory_and_health_under_hostile_load(full: bool, tmp_path: Path) -> None:
    port = free_port()
    with (tmp_path / "log").open("w") as log:
        process = start(port, {"DIGITS_WORKERS": "1"}, stdout=log.fileno())
    stopped = SPAWN.Event()
    try:
        wait_until_ready(port)
        [worker] = worker_processes(process)
        senders = [
            SPAWN.Process(target=keep_sending, args=(port, number, CONNECTIONS // SENDERS, stopped))
            for number in range(SENDERS)
        ]
        for sender in senders:
            sender.start()
        # The senders build their bodies first.
        wait_for(lambda: "/v2/models/digits" in (tmp_path / "log").read_text(), 120)
        seconds = sorted(health_seconds(port, time.monotonic() + (300 if full else 20)))
        peak = peak_megabytes(worker)
        stopped.set()
        for sender in senders:
            sender.join(60)
        answered = len(re.findall("/v2/models/digits", (tmp_path / "log").read_text()))
        p99 = seconds[int(0.99 * len(seconds))]
        print(f"peak {peak:.0f} MB, {answered} V2 requests, health p99 {1000 * p99:.0f} ms, n {len(seconds)}")
        assert worker_processes(process) == [worker]
        assert answered > 50
        assert peak <= MEGABYTES
        if full:  # a short run next to other tests proves little
            assert p99 <= 0.25
        assert http_get(port, "/metrics").startswith("# HELP")
    finally:
        stopped.set()
        process.terminate()
        process.wait(timeout=60)


def http_get(port: int, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read().decode()
        assert response.status == 200, text
        return text


def wait_for_lines(log: Path, text: str, count: int) -> None:
    wait_for(lambda: log.read_text().count(text) == count)


def test_reloads_lose_no_request(tmp_path: Path) -> None:
    models, shipped = tmp_path / "models", Settings().model_path.parent
    shutil.copytree(shipped, models / "1")
    port = free_port()
    with (tmp_path / "log").open("w") as log:
        process = start(port, {"DIGITS_WORKERS": "2", "DIGITS_MODEL": str(models)}, stdout=log.fileno())
    try:
        wait_until_ready(port)
        load = Load(port)
        contents = [None, b"broken", failing_model(), None, b"only", None, b"broken", failing_model(), b"only", None]
        for number, content in enumerate(contents):
            if content == b"only":  # no version works, so the reload is rejected
                for path in models.glob("*/model.onnx"):
                    path.write_bytes(failing_model())
            elif content is None:
                shutil.copytree(shipped, models / "1", dirs_exist_ok=True)
                shutil.copytree(shipped, models / str(100 + number))
            else:
                (models / str(100 + number)).mkdir()
                (models / str(100 + number) / "model.onnx").write_bytes(content)
            before = set(worker_processes(process))
            process.send_signal(signal.SIGHUP)
            if content == b"only":
                wait_for_lines(tmp_path / "log", "the previous ones still are.", contents[: number + 1].count(b"only"))
                assert set(worker_processes(process)) == before
            else:
                wait_for(lambda before=before: not before & set(worker_processes(process)), 60)  # type: ignore[misc]
            time.sleep(0.5)
        lost = load.end()
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(timeout=60)
    print(f"{lost.answered} answered, {len(lost.failures)} lost in {len(contents)} reloads")
    assert lost.failures == []
    assert lost.answered > 100


def test_kills_decrease_no_counter_and_leave_no_files(full: bool) -> None:
    """Clients know how many of their requests succeeded; a kill loses at most the unflushed 10 ms."""
    workers, kills = 4, 1000 if full else 60
    port = free_port()
    process = start(port, {"DIGITS_WORKERS": str(workers)}, stdout=subprocess.DEVNULL)
    stopped = threading.Event()
    answered = [0] * 4
    image = example(7)

    def ask(client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with closing(connection):
            while not stopped.is_set():
                try:
                    connection.request("POST", "/predict", image)
                    response = connection.getresponse()
                    response.read()
                    answered[client] += response.status == 200
                except (OSError, http.client.HTTPException):
                    connection.close()

    def counters() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        while True:
            with suppress(OSError, http.client.HTTPException):  # the worker was killed
                found = samples(http_get(port, "/metrics"))
                return {key: value for key, value in found.items() if not key[0].endswith(("in_flight", "info"))}

    try:
        wait_until_ready(port)
        wait_for(lambda: len(worker_processes(process)) == workers)
        clients = [threading.Thread(target=ask, args=(client,)) for client in range(len(answered))]
        for client in clients:
            client.start()
        time.sleep(2)
        maps = Path(f"/proc/{worker_processes(process)[0]}/maps").read_text()
        [folder] = {Path(path) for path in re.findall(r"\S+/digits-metrics-[^/]+", maps)}
        seen, files, started = counters(), set[int](), time.monotonic()
        for number in range(kills):
            before = set(worker_processes(process))
            os.kill(min(before), signal.SIGKILL)
            wait_for(lambda before=before: len(set(worker_processes(process)) - before) == 1)  # type: ignore[misc]
            now = counters()
            fallen = {key: (value, now.get(key)) for key, value in seen.items() if now.get(key, 0) < value}
            assert fallen == {}, number
            seen = now
            files.add(len(list(folder.iterdir())))
        stopped.set()
        for client in clients:
            client.join()
        rate = sum(answered) / (time.monotonic() - started)
        time.sleep(20 * FLUSH_SECONDS)
        counted = counters()["digits_requests_total", (("route", "/predict"), ("status", "200"))]
        print(f"{kills} kills, {sum(answered)} answered, {counted:.0f} counted, files {files}")
        # Four per worker; gauge files disappear with their worker.
        assert max(files) == 4 * workers
        # An upper bound: the requests of all workers between two flushes.
        assert sum(answered) - counted <= kills * (1 + rate * FLUSH_SECONDS)
    finally:
        stopped.set()
        process.terminate()
        process.wait(timeout=60)
