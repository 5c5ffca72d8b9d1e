"""A rolling update as Kubernetes does it, simulated with containers configured by the manifest, behind HAProxy.

HAProxy replaces the cluster's load balancing: in mode `tcp` a Service, which distributes connections, and in mode
`http` an ingress controller, which distributes requests.
"""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from service.settings import Settings
from tests.helpers.docker import docker
from tests.helpers.images import encode, example
from tests.helpers.kubernetes import container, pod, variables
from tests.helpers.load import Load, LoadResult
from tests.helpers.processes import free_port
from tests.helpers.service import receive, request, wait_until_ready

pytestmark = [pytest.mark.container, pytest.mark.xdist_group("network")]

REPLICAS = 2
SLEEP = container()["lifecycle"]["preStop"]["sleep"]["seconds"]
GRACE = pod()["spec"]["terminationGracePeriodSeconds"]
# How long the load balancer may still send requests to a terminating pod.
PROPAGATION_SECONDS = SLEEP - 1


@dataclass(frozen=True)
class PodExit:
    """The exit code, the seconds since SIGTERM and the number of answered requests."""

    exit_code: int
    seconds: float
    answered: int


@dataclass(frozen=True)
class Pod:
    """A container with the manifest's limits and security options, on its own host port."""

    identifier: str
    port: int

    def end(self, sleep: float) -> PodExit:
        """Stops the container as Kubernetes terminates a pod."""
        time.sleep(sleep)
        start = time.monotonic()
        docker("stop", "--time", str(GRACE - SLEEP), self.identifier)
        seconds = time.monotonic() - start
        exit_code = docker("inspect", "--format", "{{.State.ExitCode}}", self.identifier).stdout
        lines = [json.loads(line) for line in docker("logs", self.identifier).stdout.splitlines()]
        answered = sum(line.get("route") == "/predict" and line["status"] == 200 for line in lines)
        return PodExit(int(exit_code), seconds, answered)


@contextmanager
def started(image: str, port: int) -> Iterator[Pod]:
    own, user = container(), pod()["spec"]["securityContext"]
    limits = own["resources"]["limits"]
    options = ["--cpus", limits["cpu"], "--memory", limits["memory"].replace("i", "").lower()]
    options += ["--user", f"{user['runAsUser']}:{user['runAsGroup']}", "--read-only", "--cap-drop", "ALL"]
    options += ["--security-opt", "no-new-privileges", "--network", "host"]
    for name, value in (variables(own) | {"PORT": str(port)}).items():
        options += ["--env", f"{name}={value}"]
    identifier = docker("run", "--detach", *options, image).stdout.strip()
    try:
        wait_until_ready(port)
        yield Pod(identifier, port)
    finally:
        docker("rm", "--force", identifier)


class Proxy:
    """HAProxy with one server per port, all disabled at first, and without retries."""

    def __init__(self, mode: str, ports: list[int], directory: Path) -> None:
        self.port, self._socket = free_port(), directory / "admin"
        servers = "\n".join(f"  server {port} 127.0.0.1:{port} disabled" for port in ports)
        (directory / "haproxy.cfg").write_text(
            f"global\n  stats socket {self._socket} level admin\n"
            f"defaults\n  mode {mode}\n  retries 0\n"
            "  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
            f"listen pods\n  bind 127.0.0.1:{self.port}\n  balance roundrobin\n{servers}\n"
        )
        self._process = subprocess.Popen(["haproxy", "-db", "-f", str(directory / "haproxy.cfg")])

    def set(self, port: int, state: str) -> None:
        """`ready`, or `maint`, which only stops new connections or requests."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._socket))
            connection.sendall(f"set server pods/{port} state {state}\n".encode())
            assert receive(connection).strip() == b""

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)


def roll(image: str, mode: str, sleep: float, directory: Path) -> tuple[list[PodExit], list[PodExit], LoadResult]:
    """Replaces each pod under load once its successor is ready: exits of old and new pods, and the load's result."""
    ports = [free_port() for _ in range(2 * REPLICAS)]
    proxy = Proxy(mode, ports, directory)
    with ExitStack() as stack:
        stack.callback(proxy.stop)
        old = [stack.enter_context(started(image, port)) for port in ports[:REPLICAS]]
        for one in old:
            proxy.set(one.port, "ready")
        load = Load(proxy.port)
        time.sleep(2)
        new, ended = [], []
        for one, port in zip(old, ports[REPLICAS:], strict=True):
            new.append(stack.enter_context(started(image, port)))
            proxy.set(port, "ready")
            with ThreadPoolExecutor(1) as pool:
                end = pool.submit(one.end, sleep)
                time.sleep(PROPAGATION_SECONDS)
                proxy.set(one.port, "maint")
                ended.append(end.result())
        time.sleep(2)
        lost = load.end()
        print(f"{mode}, {sleep} s of sleep: {lost.answered} requests answered, {len(lost.failures)} failed; {ended}")
        return ended, [one.end(0) for one in new], lost


@pytest.mark.parametrize("mode", ["tcp", "http"])
def test_no_request_is_lost(mode: str, image: str, tmp_path: Path) -> None:
    old, new, lost = roll(image, mode, SLEEP, tmp_path)
    assert lost.failures == []
    assert all(one.answered > 0 for one in old + new)
    assert sum(one.answered for one in old + new) == lost.answered
    assert all(one.exit_code == 0 for one in old + new)
    assert all(one.seconds < GRACE - SLEEP for one in old + new)


def test_requests_are_lost_without_the_sleep(image: str, tmp_path: Path) -> None:
    assert roll(image, "http", 0, tmp_path)[2].failures != []


def test_slow_request_finishes_during_termination(image: str) -> None:
    """It takes longer than the service's own 8 s and less than a request's deadline."""
    body = example(7)
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with started(image, free_port()) as one, socket.create_connection(("127.0.0.1", one.port)) as client:
        client.sendall(head)
        with ThreadPoolExecutor(1) as pool:
            end = pool.submit(one.end, 1)
            for start in range(0, len(body), len(body) // 6):
                time.sleep(2)
                client.sendall(body[start : start + len(body) // 6])
            answer = receive(client)
            assert 8 < end.result().seconds < Settings().deadline
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["digit"] == 7


def test_memory_fits_concurrent_largest_images(image: str) -> None:
    """In the formats that need most memory, with every worker decoding as many as it does at once."""
    pixels = np.full((5000, 5000, 4), 255, np.uint8)
    pixels[1000:4000, 2300:2700, :3] = 0
    files = [encode(pixels, "WEBP", lossless=True, method=0), encode(pixels, "PNG")]
    files.append(encode(pixels, "TIFF", compression="tiff_deflate"))
    with started(image, free_port()) as one, ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda file: request(one.port, "POST", "/predict", file), files * 16)
        assert {(status, body["digit"]) for status, _, body in answers} == {(200, 1)}
