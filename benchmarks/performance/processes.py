"""What processes take of the machine, as Linux tells it in /proc."""

import os
from collections.abc import Iterable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def tree(process: int) -> list[int]:
    """A process, those that it has started, and those that they have."""
    found = [process]
    for thread in Path(f"/proc/{process}/task").glob("*"):
        for child in (thread / "children").read_text().split():
            found += tree(int(child))
    return found


def processor_seconds(processes: Iterable[int]) -> float:
    """Seconds of a core that they have taken since each began."""
    # The name, in brackets, may hold spaces.
    fields = (Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in processes)
    return sum(int(one[11]) + int(one[12]) for one in fields) / TICKS


def resident(process: int) -> int:
    """Bytes of memory."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE


def most_resident(process: int) -> int:
    """The most bytes of memory that it ever had."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def proportional(process: int) -> int:
    """Bytes of memory, of what it shares with others its part."""
    rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
    return int(rollup.partition("\nPss:")[2].split()[0]) * 1024
