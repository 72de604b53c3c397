"""When Ctrl-C is heard: between two batches, never within one, and not while modules are imported."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


@contextmanager
def held_back() -> Iterator[None]:
    """A context at whose end Ctrl-C is heard that came within.

    For imports: an extension module that is stopped while it initialises says that it cannot be imported, and not
    always why. Outside the main thread, where Python delivers no signals, and where Ctrl-C is ignored, nothing is
    changed.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    presses: list[FrameType | None] = []
    signal.signal(signal.SIGINT, lambda number, frame: presses.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        for frame in presses:
            handler(signal.SIGINT, frame)


class Interruption:
    """A context in which Ctrl-C waits for the next `check`, so that no update is cut in half.

    A second Ctrl-C raises KeyboardInterrupt at once, as usual; `forced` then tells so. Outside the main
    thread, where Python delivers no signals, and where someone else handles them, nothing is changed.
    """

    def __init__(self) -> None:
        self.requested = False
        self.forced = False
        self._previous: Any = None

    def __enter__(self) -> Interruption:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._previous = signal.signal(signal.SIGINT, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            self.forced = True
            raise KeyboardInterrupt
        self.requested = True

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C has come since the context began."""
        if self.requested:
            raise KeyboardInterrupt
