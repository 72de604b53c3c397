"""What commands print; that it cannot be written, or that nobody reads it, ends no work under way."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TextIO


def say(text: str) -> None:
    """Print a line to standard output at once, where that is possible."""
    _print(text, sys.stdout)


def note(text: str) -> None:
    """Print a line to standard error, where that is possible."""
    _print(text, sys.stderr)


def _print(text: str, stream: TextIO | None) -> None:
    if stream is not None:  # as for pythonw, and where the shell has closed it
        with suppress(OSError):
            print(text, file=stream, flush=True)


def flush() -> None:
    """Write what has been printed; what cannot be written is let go of, or Python would try again as it ends.

    Raises
    ------
    OSError
        When standard output cannot be written; BrokenPipeError when its reader has gone.
    """
    with suppress(OSError):
        _flush(sys.stderr)
    _flush(sys.stdout)


def _flush(stream: TextIO | None) -> None:
    if stream is None:
        return
    try:
        stream.flush()
    except OSError:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
        raise


def one_line(error: Exception) -> str:
    """What an exception has to say."""
    if isinstance(error, MemoryError):
        return "out of memory" + (f": {error}" if str(error) else "")
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split())
