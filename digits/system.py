"""The number of cores this process may use, by its CPU affinity and its cgroups' quotas."""

import math
import os
from pathlib import Path


def usable_cores(cgroup: Path = Path("/sys/fs/cgroup"), own_cgroup: Path = Path("/proc/self/cgroup")) -> int:
    """Cores, rounded up, at least 1; Python's own counts ignore a container's quota."""
    quotas = [quota for directory in _directories(cgroup, own_cgroup) if (quota := _quota(directory)) is not None]
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min([*quotas, float(affinity)])))


def _directories(cgroup: Path, own_cgroup: Path) -> list[Path]:
    """The process's cgroup and its ancestors, in v2 and in v1's `cpu` controller; the lowest quota applies."""
    # In a container, the host's path may not exist under the mount, whose root is then the container's cgroup.
    directories = [cgroup, cgroup / "cpu"]
    for line in own_cgroup.read_text().splitlines() if own_cgroup.exists() else []:
        _, controllers, path = line.split(":", 2)
        roots = [cgroup / controllers, cgroup / "cpu"] if "cpu" in controllers.split(",") else []
        for root in roots if controllers else [cgroup]:
            own = root / path.lstrip("/")
            directories += [own, *(parent for parent in own.parents if parent.is_relative_to(root))]
    return directories


def _quota(directory: Path) -> float | None:
    """Cores by `cpu.max` (v2) or `cpu.cfs_quota_us` (v1); None if there is no limit."""
    try:
        if (v2 := directory / "cpu.max").exists():
            quota, period = v2.read_text().split()
        else:
            quota = (directory / "cpu.cfs_quota_us").read_text().strip()
            period = (directory / "cpu.cfs_period_us").read_text().strip()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None
