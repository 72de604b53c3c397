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
OWN_GROUPS = Path("/proc/self/cgroup")
HIERARCHIES = Path("/sys/fs/cgroup")


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

    Rule.enabled = errors.flag("set_winograd", "on", on)
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
    """OMP_NUM_THREADS, else the cores that affinity and the control group give this process at any time."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if first.isdecimal() and int(first) > 0:
        core.set_default_threads(min(int(first), MOST_THREADS), limited=False)
    else:
        core.set_default_threads(min(os.cpu_count() or 1, MOST_THREADS), limited=True)
        core.follow_group(lambda: _cgroup_cores() or MOST_THREADS)


def _cgroup_cores() -> int | None:
    """Whole cores in the smallest CPU quota of this process's control groups; None without one."""
    quotas = [quota for folder in _cgroup_folders() if (quota := _quota(folder)) is not None]
    return min(quotas, default=None)


def _cgroup_folders() -> list[Path]:
    """Where the folders of this process's control group and all above it may be, for versions 2 and 1."""
    try:
        lines = os.fsdecode(OWN_GROUPS.read_bytes()).split("\n")
    except OSError:
        return []
    folders = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            roots = ["", "unified"]  # the second beside a version 1 that has most controllers
        elif "cpu" in controllers.split(","):
            roots = list(dict.fromkeys(["cpu", controllers]))
        else:
            continue
        inside = Path(path.lstrip("/"))
        folders += [HIERARCHIES / root / part for root in roots for part in (inside, *inside.parents)]
    return folders


def _quota(folder: Path) -> int | None:
    """Whole cores of a control group's quota; None where it has none, or one that makes no sense."""
    try:
        quota, period = map(int, _quota_and_period(folder))
    except (OSError, ValueError):
        return None
    return -(-quota // period) if quota > 0 and period > 0 else None


def _quota_and_period(folder: Path) -> list[str]:
    if (folder / "cpu.max").exists():
        return (folder / "cpu.max").read_text().split()
    return [(folder / name).read_text() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]


_use_default_threads()
