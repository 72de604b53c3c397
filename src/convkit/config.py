"""What this build and process run with: threads, instruction set, compiler."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np

from convkit import errors
from convkit._kernels import core
from convkit._version import __version__


def set_num_threads(n: int) -> None:
    """Use `n` threads in kernels from now on; results do not depend on it."""
    core.set_threads(errors.integer("set_num_threads", "n", n, 1))


def get_num_threads() -> int:
    """Threads that a large enough kernel uses."""
    return core.effective_threads()


def show_config() -> str:
    """Print, and return, the version, the compiler, OpenMP, the instruction sets and the number of threads."""
    lines = [
        f"convkit        {__version__}",
        f"Python         {platform.python_version()}",
        f"NumPy          {np.__version__}",
        f"compiler       {core.compiler()}",
        f"OpenMP         {'yes' if core.has_openmp() else 'no: this build is serial'}",
        f"instructions   {core.isa_chosen()} (available: {', '.join(core.isa_available())})",
        f"threads        {get_num_threads()}",
    ]
    text = "\n".join(lines)
    print(text)
    return text


def _default_threads() -> int:
    """OMP_NUM_THREADS, else the cores that affinity and the control group give this process."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if first.isdigit() and int(first) > 0:
        return int(first)
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores, _cgroup_cores() or cores))


def _cgroup_cores() -> int | None:
    """Whole cores in the CPU quota of this process's control group (version 2, then 1); None without one."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text().strip()
            period = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text().strip()
        except OSError:
            return None
    if quota in ("max", "-1"):
        return None
    return max(1, -(-int(quota) // int(period)))


core.set_threads(_default_threads())
