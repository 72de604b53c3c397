"""The folder of a run: what is in it, who may begin there, and who may go on.

``config.json`` makes a folder one run's: it appears when training begins, whole, and of two processes that want the
folder one gets it; on POSIX systems the folder is also locked while one trains there. Until the first checkpoint is
there, a run writes no more than that, ``best.safetensors`` and one line of ``log.csv``, so a folder that holds more
than these, but no checkpoint, has lost it.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convkit.cli.output import note
from convkit.files import write_new
from convkit.train.checkpoint import previous_of

if sys.platform != "win32":
    import fcntl

CONFIG = "config.json"
CHECKPOINT = "checkpoint.safetensors"
BEST = "best.safetensors"
LAST = "last.safetensors"
LOG = "log.csv"
CURVES = "curves.png"

_OVERWRITTEN = ("checkpoint*.safetensors", BEST, LAST, LOG, CURVES)


def refuse_taken(folder: Path) -> None:
    """Raise ValueError where a new run would overwrite another."""
    if (folder / CONFIG).exists():
        raise ValueError(f"--out: {folder} holds a run; --resume it, or name another folder")
    found = [path.name for pattern in _OVERWRITTEN for path in sorted(folder.glob(pattern))]
    if found:
        raise ValueError(f"--out: {folder} holds {found[0]} of a run without {CONFIG}; name another folder")


def new_folder(out: str | None, model: str) -> Path:
    """The folder asked for, or the first of runs/MODEL-1, runs/MODEL-2, … that nobody has taken."""
    if out is not None:
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    number = 1
    while True:
        folder = Path("runs", f"{model}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1


def take(folder: Path, settings: str) -> None:
    """Make a folder that of a new run, whose settings it then holds; ValueError where another was faster."""
    try:
        write_new(folder / CONFIG, settings)
    except FileExistsError:
        raise ValueError(f"--out: {folder} holds a run that was begun meanwhile; name another folder") from None


@contextmanager
def alone_in(folder: Path, option: str) -> Iterator[None]:
    """Let no other process train in a folder; the lock goes with the process, however that ends. Windows has none."""
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK:  # others come of file systems that cannot lock
                raise ValueError(f"{option}: another process is training in {folder}") from None
        yield
    finally:
        os.close(descriptor)


def refuse_lost(folder: Path) -> None:
    """Raise ValueError for a run that had checkpoints and has none any more: it would begin anew, over its results."""
    if _has_checkpoint(folder):
        return
    epochs = _epochs_in(folder / LOG)
    found = [name for name in (LAST, CURVES) if (folder / name).exists()]
    found += [f"a log of {epochs} epochs"] if epochs > 1 else []
    if found:
        raise ValueError(
            f"--resume: {folder} holds {', '.join(found)}, but no checkpoint any more: put {CHECKPOINT} back, "
            "or begin a new run in another folder"
        )


def checkpoint_in(folder: Path) -> Path | None:
    """The checkpoint of a run; None where it ended before there was one, and begins anew."""
    if _has_checkpoint(folder):
        return folder / CHECKPOINT
    note(f"{folder} holds no checkpoint: the run begins anew")
    return None


def _has_checkpoint(folder: Path) -> bool:
    path = folder / CHECKPOINT
    return path.exists() or previous_of(path).exists()


def _epochs_in(log: Path) -> int:
    return len(log.read_bytes().splitlines()) - 1 if log.exists() else 0
