"""How many processor cores this process may use."""

import math
import os
from pathlib import Path

_CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")


def available_cores(limit_file: Path = _CGROUP_LIMIT) -> int:
    """Cores this process may run on, and no more than its container's share of processor time; at least 1.

    More threads than that share are throttled all at once, in the middle of an inference.

    Args:
        limit_file: cgroup v2 `cpu.max`: allowed microseconds, or `max`, and the period they are counted in.
    """
    # Only Linux has affinity; elsewhere every core counts.
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = limit_file.read_text(encoding="ascii").split()
        share = math.ceil(int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return cores
    return max(1, min(cores, share))
