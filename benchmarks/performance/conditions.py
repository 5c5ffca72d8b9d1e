"""The conditions of a benchmark, as lines of text."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from benchmarks.performance.servers import ROOT
from digits.system import usable_cores

PACKAGES = ("onnxruntime", "numpy", "pillow")


def conditions(command: str) -> list[str]:
    """Date, commit and command; machine and load; versions of Python and of what all servers use."""
    describe = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
    load = os.getloadavg()[0]
    return [
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'}, `{command}`",
        f"{usable_cores()} cores of {processor()}, shared with the clients; load average at the start {load:.1f}",
        f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    ]


def processor() -> str:
    """The CPU's model name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
