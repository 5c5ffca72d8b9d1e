import subprocess
import sys
from pathlib import Path

from digits.tracing import Trace
from service.metrics import Metrics, end_slot
from tests.helpers.paths import ROOT
from tests.helpers.service import samples


def test_a_request_is_counted_with_its_stages_and_images() -> None:
    metrics = Metrics()
    record = Trace()
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
    start = "import sys, os, signal, time; from pathlib import Path; from service.metrics import Metrics, end_slot\n"
    start += "from digits.tracing import Trace; directory = Path(sys.argv[1])\n"
    result = subprocess.run(
        [sys.executable, "-c", start + code, str(directory)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode in (0, -9), result.stderr
    return result.stdout


COUNT = "metrics = Metrics(directory, slot); metrics.count([('/predict', 200, 0.01, Trace())])\n"
ANSWERED = ("digits_requests_total", (("route", "/predict"), ("status", "200")))


def test_a_killed_worker_leaves_what_it_counted_and_not_what_it_was_doing(tmp_path: Path) -> None:
    kill = "metrics.images_in_flight.inc(7); os.kill(os.getpid(), signal.SIGKILL)"
    for _ in range(3):
        run("slot = 1\n" + COUNT + kill, tmp_path)
        end_slot(tmp_path, 1)
    found = samples(run("print(Metrics(directory).text().decode())", tmp_path))
    assert found[ANSWERED] == 3
    assert found["digits_images_in_flight", ()] == 0
    # The next to take it begins with nothing in flight too.
    found = samples(run("slot = 1\n" + COUNT + "print(metrics.text().decode())", tmp_path))
    assert found[ANSWERED] == 4
    assert found["digits_images_in_flight", ()] == 0


def test_workers_side_by_side_are_summed(tmp_path: Path) -> None:
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


def test_a_thousand_recycled_workers_leave_the_totals_right_and_no_more_files(tmp_path: Path) -> None:
    code = WORKERS + (
        "for _ in range(10): work(1)\n"
        "files = sorted(directory.iterdir())\n"
        "for _ in range(990): work(1)\n"
        "assert sorted(directory.iterdir()) == files\n"
        "print(Metrics(directory).text().decode())"
    )
    assert samples(run(code, tmp_path))[ANSWERED] == 1000


def test_metrics_are_read_while_workers_come_and_go(tmp_path: Path) -> None:
    code = WORKERS + (
        "if not (master := os.fork()):\n"
        "    for number in range(150): work(number % 2 + 1)\n"
        "    os._exit(0)\n"
        "metrics = Metrics(directory)\n"
        "while os.waitpid(master, os.WNOHANG) == (0, 0): metrics.text()\n"
        "print(metrics.text().decode())"
    )
    assert samples(run(code, tmp_path))[ANSWERED] == 150
