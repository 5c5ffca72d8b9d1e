"""The comparison of servers: parsing of its clients' output, tables, and a short run."""

import os
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.performance import memory, serving, start
from benchmarks.performance.drivers import parse_log
from benchmarks.performance.processes import cpu_seconds, peak_memory, peak_resident, proportional, resident, tree
from benchmarks.performance.report import Results, Run, first_table, render, scenario_table, summary
from benchmarks.performance.servers import PEERS, SERVERS, form, http, v2_binary_tensors, v2_json
from benchmarks.performance.serving import PAGE, RESULTS, chosen, main
from service.app import create_app
from service.settings import Settings
from tests.helpers.images import example
from tests.helpers.processes import wait_for

RUNS = [
    Run("png", "ours", 3000, 400e-6, 0.005, 0.010),
    Run("png", "peer", 2000, 300e-6, 0.004, 0.020),
    Run("png", "ours", 1000, 600e-6, 0.015, 0.030),
    Run("png", "peer", 1000, 500e-6, 0.006, 0.040, failed=3),
    Run("photo", "ours", 100, 0.01, 0.05, 0.1),
    Run("open", "ours", 500, 500e-6, 0.002, 0.005),
    Run("png", "bare", 9000, 70e-6, None, None),
    Run("png", "bare", 8000, 70e-6, None, None),
]
RESULTS_OF_RUNS = Results(["a day"], {"ours": "**digits**", "peer": "Peer", "bare": "network"}, {"png": 16}, RUNS)


def test_docs_show_the_published_table() -> None:
    published = first_table(RESULTS.read_text(encoding="utf-8"))
    assert published.count("\n") > 3
    assert published in PAGE.read_text(encoding="utf-8")


def test_scenario_table_has_medians_and_ratios_within_rounds() -> None:
    assert scenario_table(RESULTS_OF_RUNS, "png").splitlines() == [
        "| server | requests/s | server CPU µs per request | p50 ms | p99 ms | digits ÷ it |",
        "|---|---|---|---|---|---|",
        "| **digits** | 2,000 | 500 | 10.0 | 20.0 |  |",
        "| Peer (3 requests failed) | 1,500 | 400 | 5.0 | 30.0 | 1.25 (1.00 to 1.50) |",
        "| network | 8,500 | 70 |  |  | 0.23 (0.12 to 0.33) |",
    ]
    assert (
        scenario_table(RESULTS_OF_RUNS, "open").splitlines()[2]
        == "| **digits** | 500 | 500 | 2.0 | 5.0 | 2.50 (2.50 to 2.50) |"
    )


def test_summary_comes_first_and_omits_scenarios_without_runs() -> None:
    text = render(RESULTS_OF_RUNS)
    assert first_table(text) == summary(RESULTS_OF_RUNS) + "\n"
    assert "| **digits** | 2,000 | 500 | 20.0 | 100 | 10.0 | 100.0 |" in text
    assert "| Peer | 1,500 | 400 | 30.0 |  |  |  |" in text
    assert "## One 28×28 PNG per request, 16 connections" in text
    assert "V2" not in text


def test_h2load_log_is_parsed() -> None:
    log = "1700000000000001\t200\t1500\n1700000000500000\t-1\t20\t0\n"
    assert parse_log(log) == [(1700000000.000001, 200, 0.0015), (1700000000.5, -1, 0.00002)]


def test_every_peer_has_locked_requirements() -> None:
    for server in SERVERS.values():
        if server.environment:
            asked = (PEERS / server.environment / "requirements.in").read_text().splitlines()
            locked = (PEERS / server.environment / "requirements.txt").read_text()
            assert all(f"{line} " in locked for line in asked if not line.startswith("#")), server.environment
            assert all(f"\n{name}==" in f"\n{locked}" for name in server.packages), server.environment


def test_chosen_names_keep_their_order() -> None:
    assert chosen("b,a", ["a", "b", "c"]) == ["a", "b"]
    assert chosen(None, ["a", "b"]) == ["a", "b"]
    result = CliRunner().invoke(main, ["--peers", "ours,ruby"])
    assert result.exit_code == 1
    assert "expected one of ours, fastapi" in result.output


def test_service_reads_the_benchmarks_requests() -> None:
    client = create_app(Settings(provider="cpu")).test_client()
    content_type, body = form(example(3))
    assert client.post("/predict", data=body, content_type=content_type).get_json()["digit"] == 3
    content_type, body = v2_json(example(3))
    answer = client.post("/v2/models/digits-image/infer", data=body, content_type=content_type)
    assert answer.get_json()["outputs"][0]["data"] == [3]
    path, content_type, body, headers = v2_binary_tensors(np.zeros((2, 28, 28), np.uint8))
    answer = client.post(path, data=body, content_type=content_type, headers=headers)
    assert len(answer.data) == int(answer.headers["Inference-Header-Content-Length"]) + 2 * (10 + 1) * 4


def test_raw_request_has_headers_and_body() -> None:
    head, body = http("/predict", "image/png", b"\r\n\r\nimage", {"X": "y"}).split(b"\r\n\r\n", 1)
    assert head.decode().splitlines()[0] == "POST /predict HTTP/1.1"
    assert "Content-Length: 9" in head.decode().splitlines()
    assert body == b"\r\n\r\nimage"


def test_import_times_are_summed_per_package() -> None:
    text = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:       100 |        100 |   _io\n"
        "import time:      2000 |       3000 |     numpy.linalg\n"
        "import time:      1000 |       9000 | numpy\n"
    )
    assert start.packages(text) == {"Python's own": pytest.approx(0.0001), "numpy": pytest.approx(0.003)}


def test_mixture_has_a_thousand_files_of_all_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "photo_of_a_digit", lambda pixels=1000, number=0: b"%d" % pixels)
    files = memory.mixture()
    assert len(files) == 1000
    assert files.count(b"1000") == memory.PHOTOS
    assert {b"%d" % side for side in memory.LARGE_SIDES} < set(files)


def test_measurements_include_child_processes() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait"]) as shell:
        try:
            wait_for(lambda: len(tree(shell.pid)) == 2)
            assert cpu_seconds(tree(shell.pid)) < 1
            assert 0 < resident(shell.pid) <= peak_resident(shell.pid)
        finally:
            for process in tree(shell.pid):
                os.kill(process, signal.SIGKILL)


def test_peak_memory_includes_child_processes() -> None:
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(0.5)'])"
    of_all, pss = peak_memory([sys.executable, "-c", child], resident, proportional)
    assert of_all > pss > 0


@pytest.mark.load
def test_short_run_of_all_scenarios(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the servers that need no installation."""
    if not (shutil.which("wrk") and shutil.which("h2load")):
        pytest.skip("no wrk or no h2load")
    monkeypatch.setattr(serving, "FIRST_PORT", 8400)
    result = CliRunner().invoke(main, ["--peers", "ours,empty,network", "--rounds", "1", "--seconds", "1"])
    assert result.exit_code == 0, result.output
    assert result.output.count("\n| **digits**") == 1 + 4
    assert result.output.count("\n| an empty") == 1 + 2
    assert result.output.count("\n| digits' network alone") == 1 + 2
    assert "failed" not in result.output


@pytest.mark.load
def test_start_is_timed() -> None:
    result = CliRunner().invoke(start.main, ["--times", "1", "--port", "8411"])
    assert result.exit_code == 0, result.output
    assert re.search(r"\n\| `gunicorn` \| [0-9.]+ \|", result.output)
    assert re.search(r"\n\| numpy \| [0-9]+ \|", result.output)


@pytest.mark.load
def test_memory_is_measured_after_every_tenth() -> None:
    if not shutil.which("wrk"):
        pytest.skip("no wrk")
    result = CliRunner().invoke(memory.main, ["--requests", "1000", "--port", "8412"])
    assert result.exit_code == 0, result.output
    assert len(re.findall(r"^\| [0-9,]+ \|", result.output, re.MULTILINE)) == 11
