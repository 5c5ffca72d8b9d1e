import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from service.metrics import Metrics
from service.record import Record
from tests.conftest import ROOT


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Values by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_request_is_counted_with_its_stages_and_images() -> None:
    metrics = Metrics()
    record = Record()
    record.seconds["decode"] = 0.003
    record.batch_sizes = [64, 2]
    record.outcomes["blank"] = 5
    metrics.count([("/predict", 200, 0.02, record)])
    metrics.model("2", True, "cpu")
    metrics.images_in_flight.inc(3)
    found = samples(metrics.text().decode())
    assert found["digits_requests_total", (("route", "/predict"), ("status", "200"))] == 1
    assert found["digits_request_seconds_sum", (("route", "/predict"),)] == 0.02
    assert found["digits_stage_seconds_bucket", (("le", "0.0025"), ("stage", "decode"))] == 0
    assert found["digits_stage_seconds_bucket", (("le", "0.005"), ("stage", "decode"))] == 1
    assert found["digits_batch_size_sum", ()] == 66
    assert found["digits_images_total", (("outcome", "blank"),)] == 5
    assert found["digits_images_in_flight", ()] == 3
    assert found["digits_model_info", (("default", "true"), ("provider", "cpu"), ("version", "2"))] == 1


def run(code: str, directory: Path) -> str:
    """Runs code in a process of its own, in which `metrics` is a worker's."""
    start = "import sys, os, signal, time; from pathlib import Path; from service.metrics import Metrics\n"
    start += "from service.record import Record; directory = Path(sys.argv[1])\n"
    result = subprocess.run(
        [sys.executable, "-c", start + code, str(directory)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode in (0, -9), result.stderr
    return result.stdout


COUNT = "metrics = Metrics(directory); metrics.count([('/predict', 200, 0.01, Record())])\n"


def test_a_killed_worker_leaves_what_it_counted_and_not_what_it_was_doing(tmp_path: Path) -> None:
    kill = "metrics.images_in_flight.inc(7); os.kill(os.getpid(), signal.SIGKILL)"
    for _ in range(3):
        run(COUNT + kill, tmp_path)
    # The slot is free: nothing is in flight.
    text = run("from service.metrics import _Slots; from prometheus_client import *; r = CollectorRegistry()\n"
               "r.register(_Slots(directory)); print(generate_latest(r).decode())", tmp_path)  # fmt: skip
    assert samples(text)["digits_requests_total", (("route", "/predict"), ("status", "200"))] == 3
    assert not any(name == "digits_images_in_flight" for name, _ in samples(text))
    # The next to take it begins with nothing in flight too.
    found = samples(run(COUNT + "print(metrics.text().decode())", tmp_path))
    assert found["digits_requests_total", (("route", "/predict"), ("status", "200"))] == 4
    assert found["digits_images_in_flight", ()] == 0


def test_workers_side_by_side_are_summed(tmp_path: Path) -> None:
    code = COUNT + (
        "metrics.images_in_flight.inc(2)\n"
        "if not os.fork():\n"
        "    os.execv(sys.executable, [sys.executable, '-c', CHILD, sys.argv[1]])\n"
        "os.wait()"
    )
    child = (
        "import sys; from pathlib import Path; from service.metrics import Metrics; from service.record import Record\n"
        "directory = Path(sys.argv[1])\n" + COUNT + "metrics.images_in_flight.inc(1); print(metrics.text().decode())"
    )
    found = samples(run(f"CHILD = {child!r}\n" + code, tmp_path))
    assert found["digits_requests_total", (("route", "/predict"), ("status", "200"))] == 2
    assert found["digits_images_in_flight", ()] == 3


def test_a_thousand_recycled_workers_leave_the_totals_right_and_no_more_files(tmp_path: Path) -> None:
    code = (
        "def scrape():\n"
        "    metrics = Metrics(directory); start = time.perf_counter(); text = metrics.text()\n"
        "    return time.perf_counter() - start, text\n"
        "def recycle(count):\n"
        "    for _ in range(count):\n"
        "        if not os.fork():\n"
        "            " + COUNT.strip() + "; os._exit(0)\n"
        "        os.wait()\n"
        "def in_child(read):\n"
        "    r, w = os.pipe()\n"
        "    if not os.fork():\n"
        "        times = sorted(scrape()[0] for _ in range(1)) ; os.write(w, repr(times[0]).encode()); os._exit(0)\n"
        "    os.wait(); return float(os.read(r, 100))\n"
        "recycle(10); before = min(in_child(0) for _ in range(9)); files = len(list(directory.iterdir()))\n"
        "recycle(990); after = min(in_child(0) for _ in range(9))\n"
        "assert len(list(directory.iterdir())) == files, files\n"
        "print(before, after); print(scrape()[1].decode())"
    )
    output = run(code, tmp_path)
    times, _, text = output.partition("\n")
    before, after = map(float, times.split())
    assert after < 3 * before
    assert samples(text)["digits_requests_total", (("route", "/predict"), ("status", "200"))] == 1000
