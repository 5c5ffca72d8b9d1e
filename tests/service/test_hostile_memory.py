"""Peak memory of a real worker under the worst requests, against the README's promise."""

import gzip
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.attacks import ATTACKS, IMAGES, LARGEST, MEGABYTES, Attack, send
from tests.helpers.images import encode, written_page
from tests.helpers.processes import peak_megabytes, reset_peak, worker_processes
from tests.helpers.service import serving

AT_ONCE = 8
GZIP = {"Content-Encoding": "gzip"}


@pytest.fixture(scope="module")
def service() -> Iterator[tuple[int, subprocess.Popen[str]]]:
    with serving() as service:
        yield service


@pytest.mark.parametrize("name", IMAGES)
def test_images(name: str, service: tuple[int, subprocess.Popen[str]]) -> None:
    assert_peak(service, Attack(lambda: b"", statuses=(200, 503)), IMAGES[name](), 512 if name == "webp" else MEGABYTES)


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", ATTACKS)
def test_bodies(name: str, compressed: bool, service: tuple[int, subprocess.Popen[str]]) -> None:
    attack, body = ATTACKS[name], ATTACKS[name].make()
    assert len(body) <= LARGEST
    if compressed:
        attack, body = replace(attack, headers=attack.headers | GZIP), gzip.compress(body, 1)
    assert_peak(service, attack, body, MEGABYTES)


def test_page_of_far_too_many_digits(service: tuple[int, subprocess.Popen[str]]) -> None:
    page = np.tile(written_page(["31415926"], 60, gap=0.2), (100, 100))[:4000, :5000]
    attack = Attack(lambda: b"", "/read", statuses=(413, 503))
    assert_peak(service, attack, encode(page), MEGABYTES)


def assert_peak(service: tuple[int, subprocess.Popen[str]], attack: Attack, body: bytes, most_megabytes: int) -> None:
    port, master = service
    [worker] = worker_processes(master)
    reset_peak(worker)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        statuses = set(pool.map(lambda _: send(port, attack, body), range(AT_ONCE)))
    print(f"PEAK {peak_megabytes(worker):.0f} {statuses}")
    assert worker_processes(master) == [worker]
    assert statuses <= {*attack.statuses, None}
    assert statuses & {200, 400, 413}
    assert peak_megabytes(worker) <= most_megabytes
