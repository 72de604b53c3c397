"""What a run shows while it goes on: a bar on a terminal, a line for each epoch elsewhere, or nothing."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import Any

from convkit.train.history import Row
from convkit.train.metrics import Means

# The bar is redrawn this often at most, in seconds: a step of a small network takes less than the drawing.
REDRAW_EVERY = 0.1


class Silent:
    """Shows nothing; the base of the other two."""

    def epoch_begin(self, epoch: int, epochs: int, batches: int | None, done: int) -> None:
        """Begin to show an epoch, of whose `batches` (None: unknown) `done` are behind us already."""

    def batch_end(self, samples: int, means: Means) -> None:
        """Show that a batch of so many samples is done, and the means of the epoch so far."""

    def validating(self) -> None:
        """Show that the epoch's training is done and its validation begins."""

    def epoch_end(self, row: Row) -> None:
        """Show an epoch's line of the history."""

    def say(self, text: str) -> None:
        """Show a message."""

    def close(self) -> None:
        """Leave the terminal as it was; called in the end whatever happened."""


class Lines(Silent):
    """One plain line for each epoch."""

    def __init__(self) -> None:
        self._epoch = self._epochs = self._samples = 0

    def epoch_begin(self, epoch: int, epochs: int, batches: int | None, done: int) -> None:
        self._epoch, self._epochs, self._samples = epoch, epochs, 0

    def batch_end(self, samples: int, means: Means) -> None:
        self._samples += samples

    def epoch_end(self, row: Row) -> None:
        self.say(f"epoch {self._epoch:{len(str(self._epochs))}d}/{self._epochs}  {_figures(row)}")

    def say(self, text: str) -> None:
        with suppress(OSError):  # whoever read has read enough, or a disk is full; training is not to end for that
            print(text, flush=True)


class Bar(Lines):
    """A bar that fills as the epoch goes on, and the plain line in its place when the epoch is done."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        super().__init__()
        self._columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
        )
        self._console = Console(highlight=False)
        self._progress_type = Progress
        self._progress: Any = None
        self._task: Any = None
        self._pending = 0
        self._began = self._drawn = 0.0

    def epoch_begin(self, epoch: int, epochs: int, batches: int | None, done: int) -> None:
        super().epoch_begin(epoch, epochs, batches, done)
        self._progress = self._progress_type(*self._columns, console=self._console, transient=True)
        self._task = self._progress.add_task(
            f"epoch {epoch}/{epochs}", total=batches, completed=done, rate="", figures=""
        )
        with suppress(OSError):
            self._progress.start()
        self._began = self._drawn = time.perf_counter()
        self._pending = 0

    def batch_end(self, samples: int, means: Means) -> None:
        super().batch_end(samples, means)
        self._pending += 1
        now = time.perf_counter()
        if now - self._drawn >= REDRAW_EVERY:
            rate = f"{self._samples / (now - self._began):,.0f} samples/s"
            self._progress.update(self._task, advance=self._pending, rate=rate, figures=_figures(means.result()))
            self._pending, self._drawn = 0, now

    def validating(self) -> None:
        self._progress.update(self._task, advance=self._pending, figures="validating")
        self._pending = 0

    def epoch_end(self, row: Row) -> None:
        self.close()
        super().epoch_end(row)

    def close(self) -> None:
        if self._progress is not None:
            with suppress(OSError):
                self._progress.stop()
            self._progress = None


def reporter(verbose: int) -> Silent:
    """Return what suits the level and the place.

    Parameters
    ----------
    verbose : int
        0: nothing. 1: a bar where standard output is a terminal, else lines. 2: lines.
    """
    if verbose not in (0, 1, 2):
        raise ValueError(f"fit: verbose must be 0 (silent), 1 (bar or lines) or 2 (lines), not {verbose!r}")
    if verbose == 0:
        return Silent()
    on_terminal = sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return Bar() if verbose == 1 and on_terminal else Lines()


def _figures(row: Row) -> str:
    """Figures by name in one line, each as precise as it is interesting."""
    parts = []
    for name, value in row.items():
        if name == "seconds":
            parts.append(f"{value:.1f} s")
        elif name == "lr":
            parts.append(f"lr {value:.3g}")
        elif name != "epoch":
            parts.append(f"{name} {value:.4f}")
    return "  ".join(parts)
