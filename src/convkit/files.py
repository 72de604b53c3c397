"""Files that appear whole or not at all, and JSON from files that may hold anything."""

from __future__ import annotations

import errno
import glob
import json
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from convkit.errors import said

# Temporary files of this age, in seconds, belong to nobody: whoever wrote them was killed.
_ABANDONED_AFTER = 3600

# Levels of JSON that are read. Python's parser takes ten times as many, but what then handles them may not.
_DEEPEST = 100
_TOO_DEEP = f"JSON of more than {_DEEPEST} levels"

FilePath = str | os.PathLike[str]


def file_path(function: str, argument: str, value: Any) -> str:
    """`value` as the text of a path, else raise; a number, which `open` takes for a file that is open, is none."""
    name = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(name, str):
        raise TypeError(f"{function}: {argument} must be a path, as a str or os.PathLike, not {said(value)}")
    if "\0" in name:
        raise ValueError(f"{function}: {argument} must be a path, not {said(name)}")
    return name


def check_regular(path: FilePath) -> None:
    """Refuse pipes, sockets and devices, which may never have or never end what is asked of them.

    Raises
    ------
    OSError
        When `path` is one, or a link to one, or is not there.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # of folders, opening says what they are
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))


def write_whole(path: FilePath, content: bytes | str, previous: FilePath | None = None) -> None:
    """Write a file so that whoever opens `path`, at any time, finds all of the old content or all of the new.

    The content goes to a temporary file in the same folder, reaches the disk, and takes the name in one
    move. If anything fails on the way, the old file stays and the temporary one is removed. What a process that
    was killed has left behind is removed by a later writer of the same file.

    Parameters
    ----------
    path : path
        The file; its folder is made where it is missing.
    content : bytes or str
        What it shall hold; text is written as UTF-8.
    previous : path, optional
        The name, in the same folder, that the old file takes once the new one is on the disk.

    Raises
    ------
    OSError
        When the file cannot be written; `filename` is `path`.
    """

    def take_name(temporary: Path, path: Path) -> None:
        if previous is not None and path.exists():
            _give_second_name(path, Path(previous))
        os.replace(temporary, path)

    _write(path, content, take_name)


def write_new(path: FilePath, content: bytes | str) -> None:
    """Write a file that must not be there yet, as `write_whole` does: of several processes that come at once, one can.

    Where files can have one name only, the file may be seen empty for a moment.

    Raises
    ------
    FileExistsError
        When it is there.
    OSError
        When it cannot be written; `filename` is `path`.
    """
    _write(path, content, _take_free_name)


def parse_json(text: str) -> Any:
    """Return what a text of JSON holds.

    Parameters
    ----------
    text : str
        The text, of a file that anybody may have written.

    Raises
    ------
    ValueError
        When it is no JSON, or is nested more than 100 levels deep.
    """
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    layer = [found]
    for _ in range(_DEEPEST):
        layer = [part for table in layer for part in _parts(table)]
    if layer:
        raise ValueError(_TOO_DEEP)
    return found


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def temporary_beside(path: Path) -> Path:
    """A name that nobody else uses, in the folder of `path`, so that a rename onto `path` replaces it at once."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def _write(path: FilePath, content: bytes | str, take_name: Callable[[Path, Path], None]) -> None:
    """Bring the content to the disk in a temporary file beside `path`, whose name that file takes then."""
    if not Path(path).name:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        temporary = temporary_beside(path)
        try:
            with open(temporary, "xb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            take_name(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


def _take_free_name(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # where files can have one name only
        path.open("x").close()
        os.replace(temporary, path)


def _give_second_name(path: Path, other: Path) -> None:
    """Let `other` name the file, too; where files can have one name only, let it be named so instead."""
    second = temporary_beside(path)
    try:
        os.link(path, second)
    except OSError:
        os.replace(path, other)
        return
    try:
        os.replace(second, other)
    finally:
        second.unlink(missing_ok=True)  # it is still there where both were names of one file already


def _remove_abandoned(path: Path) -> None:
    for temporary in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError):  # somebody else was faster
            if time.time() - temporary.stat().st_mtime > _ABANDONED_AFTER:
                temporary.unlink()


def _sync_folder(folder: Path) -> None:
    """Make the new name itself reach the disk, where folders can be synced (not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
