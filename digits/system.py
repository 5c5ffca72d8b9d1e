"""How many cores this process may really use: the least of its affinity and its cgroup's CPU quota."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")


def usable_cores(cgroup: Path = CGROUP, own_cgroup: Path = OWN_CGROUP) -> int:
    """Cores, rounded up, at least 1; Python's own counts know nothing of a container's quota."""
    quotas = [quota for directory in _directories(cgroup, own_cgroup) if (quota := _quota(directory)) is not None]
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min([*quotas, float(affinity)])))


def _directories(cgroup: Path, own_cgroup: Path) -> list[Path]:
    """The process's cgroup and all above it, of v2 and of v1's `cpu` controller; a quota on any of them binds."""
    directories = []
    try:
        lines = own_cgroup.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            roots = [cgroup]
        elif "cpu" in controllers.split(","):
            roots = [cgroup / controllers, cgroup / "cpu"]
        else:
            continue
        for root in roots:
            own = root / path.lstrip("/")
            directories += [own, *(parent for parent in own.parents if parent.is_relative_to(root))]
    # In a container the host's path need not exist below its own mount, whose root is then the container's cgroup.
    return [*directories, cgroup, cgroup / "cpu"]


def _quota(directory: Path) -> float | None:
    """Cores by `cpu.max` (v2) or `cpu.cfs_quota_us` (v1); None where there is no limit."""
    try:
        if (v2 := directory / "cpu.max").exists():
            quota, period = v2.read_text().split()
        else:
            quota = (directory / "cpu.cfs_quota_us").read_text().strip()
            period = (directory / "cpu.cfs_period_us").read_text().strip()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
