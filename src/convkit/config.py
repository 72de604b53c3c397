"""What this build and process run with: threads, instruction set, compiler."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np

from convkit import errors
from convkit._kernels import core
from convkit._version import __version__
from convkit.winograd import Rule

MOST_THREADS = 1024


def set_num_threads(n: int) -> None:
    """Use `n` threads in kernels from now on; results do not depend on it."""
    core.set_threads(errors.integer("set_num_threads", "n", n, 1, MOST_THREADS))


def get_num_threads() -> int:
    """Threads that a large enough kernel uses."""
    return core.effective_threads()


def set_winograd(on: bool) -> None:
    """Let functions, and plans made from now on, compute wide 3 x 3 and 5 x 5 convolutions by Winograd's F(2x2, 3x3)
    and F(2x2, 5x5), or not.

    They are faster, with rounding errors about as small as the direct sum's (see docs/performance.md).  But of outputs
    that a NaN, an infinity or a value near the dtype's largest should reach, more become NaN than with the direct sum
    (see docs/numerics.md).  On by default; the environment variable CONVKIT_WINOGRAD=0 turns it off from the start.
    """
    from convkit.parameter import structure  # half of what `import convkit` would cost beside NumPy

    Rule.enabled = bool(on)
    structure.bump()


def get_winograd() -> bool:
    """Whether Winograd's algorithm may be used."""
    return Rule.enabled


def get_include() -> str:
    """The folder of the C headers that Cython modules which `cimport convkit._kernels` are compiled with."""
    return str(Path(core.__file__).resolve().parent)


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


def _use_default_threads() -> None:
    """OMP_NUM_THREADS, else the cores that affinity, at any time, and the control group, now, give this process."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if first.isdigit() and int(first) > 0:
        core.set_default_threads(min(int(first), MOST_THREADS), affinity=False)
    else:
        most = min(os.cpu_count() or 1, _cgroup_cores() or MOST_THREADS, MOST_THREADS)
        core.set_default_threads(most, affinity=True)


def _cgroup_cores() -> int | None:
    """Whole cores in the smallest CPU quota of this process's control groups; None without one."""
    quotas = [quota for folder in _cgroup_folders() if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _cgroup_folders() -> list[Path]:
    """The folders of this process's control group and all above it, for versions 2 and 1."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            root = Path("/sys/fs/cgroup") / ("cpu" if controllers else "")
            inside = Path(path.lstrip("/"))
            folders += [root / part for part in (inside, *inside.parents)]
    return folders


def _quota(folder: Path) -> int | None:
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
    except OSError:
        return None
    return None if quota in ("max", "-1") else max(1, -(-int(quota) // int(period)))


_use_default_threads()
