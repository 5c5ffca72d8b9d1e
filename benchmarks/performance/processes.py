"""CPU time and memory of processes, from Linux's /proc."""

import os
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from benchmarks.performance.servers import ROOT

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
SAMPLE_SECONDS = 0.1

Result = TypeVar("Result")


def tree(process: int) -> list[int]:
    """A process and its descendants."""
    found = [process]
    for thread in Path(f"/proc/{process}/task").glob("*"):
        for child in (thread / "children").read_text().split():
            found += tree(int(child))
    return found


def cpu_seconds(processes: Iterable[int]) -> float:
    """CPU seconds used by the processes since they started."""
    # The name, in brackets, may contain spaces.
    fields = (Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in processes)
    return sum(int(one[11]) + int(one[12]) for one in fields) / TICKS


def with_cpu_seconds(process: int, load: Callable[[], Result]) -> tuple[Result, float]:
    """Calls `load`; its result, and the CPU seconds that the process and its descendants used meanwhile."""
    processes = tree(process)
    before = cpu_seconds(processes)
    result = load()
    return result, cpu_seconds(processes) - before


def resident(process: int) -> int:
    """Resident memory in bytes."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE


def peak_resident(process: int) -> int:
    """Peak resident memory in bytes."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def proportional(process: int) -> int:
    """Memory in bytes, shared pages divided among the processes that share them (PSS)."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    return int(rollup.partition("\nPss:")[2].split()[0]) * 1024


def peak_memory(command: Sequence[str], *measures: Callable[[int], int]) -> list[int]:
    """Runs a command; the peak of each measure, summed over the command and its descendants, in bytes."""
    peaks = [0] * len(measures)
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - our own commands
        while process.poll() is None:
            try:
                now = [sum(map(measure, tree(process.pid))) for measure in measures]
            except (FileNotFoundError, ProcessLookupError):
                continue  # a process has ended meanwhile
            peaks = list(map(max, peaks, now))
            time.sleep(SAMPLE_SECONDS)
    return peaks
