import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from digits.tracing import Trace
from service.metrics import Metrics, end_slot
from service.settings import Settings
from tests.helpers.images import example
from tests.helpers.paths import ROOT
from tests.helpers.processes import wait_for, worker_processes
from tests.helpers.service import metric, request, samples, serving, wait_until_ready


def test_request_metrics() -> None:
    metrics = Metrics()
    trace = Trace()
    trace.seconds["decode"] = 0.003
    trace.batch_sizes = [64, 2]
    trace.page_digits = [0, 12]
    trace.outcomes["blank"] = 5
    metrics.count([("/predict", 200, 0.02, trace)])
    metrics.model("2", True, "cpu")
    metrics.images_in_flight.inc(3)
    found = samples(metrics.text().decode())
    assert found["digits_requests_total", (("route", "/predict"), ("status", "200"))] == 1
    assert found["digits_request_seconds_sum", (("route", "/predict"),)] == 0.02
    assert found["digits_stage_seconds_bucket", (("le", "0.0025"), ("stage", "decode"))] == 0
    assert found["digits_stage_seconds_bucket", (("le", "0.005"), ("stage", "decode"))] == 1
    assert found["digits_batch_size_sum", ()] == 66
    assert found["digits_page_digits_sum", ()] == 12
    assert found["digits_page_digits_bucket", (("le", "10.0"),)] == 1
    assert found["digits_images_total", (("outcome", "blank"),)] == 5
    assert found["digits_images_in_flight", ()] == 3
    assert found["digits_model_info", (("default", "true"), ("provider", "cpu"), ("version", "2"))] == 1


def run(code: str, directory: Path) -> str:
    """Output of code run in a process of its own, with `directory` as the metrics' folder."""
    start = "import sys, os, signal, time; from pathlib import Path; from service.metrics import Metrics, end_slot\n"
    start += "from digits.tracing import Trace; directory = Path(sys.argv[1])\n"
    result = subprocess.run(
        [sys.executable, "-c", start + code, str(directory)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode in (0, -9), result.stderr
    return result.stdout


COUNT = "metrics = Metrics(directory, slot); metrics.count([('/predict', 200, 0.01, Trace())])\n"
ANSWERED = ("digits_requests_total", (("route", "/predict"), ("status", "200")))


def test_killed_worker_keeps_its_counters_but_not_its_gauges(tmp_path: Path) -> None:
    kill = "metrics.images_in_flight.inc(7); os.kill(os.getpid(), signal.SIGKILL)"
    for _ in range(3):
        run("slot = 1\n" + COUNT + kill, tmp_path)
        end_slot(tmp_path, 1)
    found = samples(run("print(Metrics(directory).text().decode())", tmp_path))
    assert found[ANSWERED] == 3
    assert found["digits_images_in_flight", ()] == 0
    # The next worker in this slot starts with nothing in flight.
    found = samples(run("slot = 1\n" + COUNT + "print(metrics.text().decode())", tmp_path))
    assert found[ANSWERED] == 4
    assert found["digits_images_in_flight", ()] == 0


def test_workers_are_summed(tmp_path: Path) -> None:
    for slot in (0, 5):
        run(f"slot = {slot}\n" + COUNT + f"metrics.images_in_flight.inc({slot + 1})", tmp_path)
    found = samples(run("print(Metrics(directory, 1).text().decode())", tmp_path))
    assert found[ANSWERED] == 2
    assert found["digits_images_in_flight", ()] == 7


WORKERS = (
    "def work(slot):\n"
    "    if not (child := os.fork()):\n"
    "        " + COUNT.strip() + "; metrics.images_in_flight.inc(); os._exit(0)\n"
    "    os.waitpid(child, 0); end_slot(directory, slot)\n"
)


def test_recycled_workers_keep_totals_and_add_no_files(tmp_path: Path) -> None:
    code = WORKERS + (
        "for _ in range(10): work(1)\n"
        "files = sorted(directory.iterdir())\n"
        "for _ in range(990): work(1)\n"
        "assert sorted(directory.iterdir()) == files\n"
        "print(Metrics(directory).text().decode())"
    )
    assert samples(run(code, tmp_path))[ANSWERED] == 1000


def test_metrics_are_read_while_workers_start_and_stop(tmp_path: Path) -> None:
    code = WORKERS + (
        "if not (master := os.fork()):\n"
        "    for number in range(150): work(number % 2 + 1)\n"
        "    os._exit(0)\n"
        "metrics = Metrics(directory)\n"
        "while os.waitpid(master, os.WNOHANG) == (0, 0): metrics.text()\n"
        "print(metrics.text().decode())"
    )
    assert samples(run(code, tmp_path))[ANSWERED] == 150


def test_totals_survive_killed_and_replaced_workers() -> None:
    def counted() -> float:
        with suppress(KeyError):  # nothing has been counted yet
            return metric(port, "digits_requests_total", route="/predict", status="200")
        return 0

    with serving(DIGITS_WORKERS="2") as (port, process):
        for _ in range(20):
            request(port, "POST", "/predict", example(3), {"Connection": "close"})
        wait_for(lambda: counted() == 20)  # a killed worker loses what it has not flushed
        killed = set(worker_processes(process))
        for worker in killed:
            os.kill(worker, signal.SIGKILL)
        wait_for(lambda: not killed & set(worker_processes(process)))
        wait_until_ready(port)
        assert counted() == 20
        for _ in range(20):
            request(port, "POST", "/predict", example(3), {"Connection": "close"})
        before = set(worker_processes(process))
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: not before & set(worker_processes(process)))
        wait_until_ready(port)
        request(port, "POST", "/predict", example(3))
        wait_for(lambda: counted() == 41)
        assert metric(port, "digits_images_in_flight") == 0
        highest = Settings().model_path.parent.name
        assert metric(port, "digits_model_info", version=highest, default="true", provider="cpu") == 1
