"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_whole(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Write a file so that whoever opens `path`, at any time, finds all of the old content or all of the new.

    The content goes to a temporary file in the same folder, reaches the disk, and takes the name in one
    move. If anything fails on the way, the old file stays and the temporary one is removed.

    Parameters
    ----------
    path : path
        The file; its folder is made where it is missing.
    content : bytes or str
        What it shall hold; text is written as UTF-8.

    Raises
    ------
    OSError
        When the file cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with open(temporary, "xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def temporary_beside(path: Path) -> Path:
    """A name that nobody else uses, in the folder of `path`, so that a rename onto `path` replaces it at once."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def _sync_folder(folder: Path) -> None:
    """Make the new name itself reach the disk, where folders can be synced (not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
