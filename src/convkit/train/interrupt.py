"""Ctrl-C between two batches, never within one."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


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
