"""The command line as a process: ``python -m convkit``, and what the script ``convkit`` calls."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType, TracebackType

_INTERRUPTED = 130


def run() -> int:
    """Run a command and return its exit status: after Ctrl-C, whenever it comes, 130, and no traceback."""
    heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not so in the background of a script
    if heard:
        signal.signal(signal.SIGINT, _leave)
        sys.excepthook, sys.unraisablehook = _last_words, _ignored
    from convkit.cli import main

    try:
        if heard:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return main()
    except KeyboardInterrupt:  # one more, while the first was answered
        return _INTERRUPTED
    finally:
        if heard:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is written; Python's own end cannot be disturbed


def _leave(number: int, frame: FrameType | None) -> None:
    """End at once: nothing has begun yet, and imports make tracebacks."""
    os._exit(_INTERRUPTED)


def _last_words(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A Ctrl-C that comes between two lines above, where nothing catches it, has no traceback either."""
    if issubclass(kind, KeyboardInterrupt):
        os._exit(_INTERRUPTED)
    sys.__excepthook__(kind, error, trace)


def _ignored(unraisable: sys.UnraisableHookArgs) -> None:
    """One that comes while Python clears up, which would print it and go on."""
    if unraisable.exc_type is KeyboardInterrupt:
        os._exit(_INTERRUPTED)
    sys.__unraisablehook__(unraisable)


if __name__ == "__main__":
    sys.exit(run())
