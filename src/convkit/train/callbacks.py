"""Callbacks: what else should happen while a network trains.

A callback is an object of a subclass of `Callback`; it overrides the hooks it cares for. In `Trainer.fit`
they are called in the order of the list::

    on_fit_begin(trainer)
        on_epoch_begin(trainer)
            on_batch_end(trainer, loss)     once for each batch
        on_epoch_end(trainer, row)          row: this epoch's line of the history, validation included
    on_fit_end(trainer)                     also after Ctrl-C

A hook reads ``trainer.model``, ``trainer.history``, ``trainer.epoch`` (epochs complete) and ``trainer.batch``
(batches done in the epoch under way), ends the run after the present epoch with ``trainer.stop()``, and at
once, as Ctrl-C does, by raising KeyboardInterrupt. What a callback must remember for a run to be resumed it
returns from `state_dict`, as plain numbers, strings, lists and dicts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from convkit.errors import integer, is_figure, number, said
from convkit.files import FilePath, file_path
from convkit.train.checkpoint import save
from convkit.train.history import Row

if TYPE_CHECKING:
    from convkit.train.trainer import Trainer


class Callback:
    """The base of all callbacks: hooks that do nothing."""

    def on_fit_begin(self, trainer: Trainer) -> None:
        """Do something before the first batch (after a checkpoint to resume from has been read)."""

    def on_epoch_begin(self, trainer: Trainer) -> None:
        """Do something before an epoch's first batch (or, resumed in the middle, the first that is left)."""

    def on_batch_end(self, trainer: Trainer, loss: float) -> None:
        """Do something after a batch whose mean loss is given."""

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        """Do something after an epoch and its validation; `row` is its line of the history."""

    def on_fit_end(self, trainer: Trainer) -> None:
        """Do something after the last epoch, or after the batch at which Ctrl-C ended the run."""

    def state_dict(self) -> dict[str, Any]:
        """Return what must outlast a stop and a resume."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""


def check_callbacks(function: str, callbacks: Any) -> tuple[Callback, ...]:
    """Callbacks as a tuple, else raise."""
    if not isinstance(callbacks, Iterable):
        raise TypeError(f"{function}: callbacks must be a sequence of Callback objects, not {said(callbacks)}")
    given = tuple(callbacks)
    for place, callback in enumerate(given):
        if not isinstance(callback, Callback):
            raise TypeError(f"{function}: callbacks[{place}] must be a Callback, not {said(callback)}")
    return given


class _Watch(Callback):
    """What callbacks share that follow one figure and know when it is better than ever before."""

    def __init__(self, monitor: str, mode: str | None, min_delta: float = 0.0) -> None:
        name = type(self).__name__
        if mode not in ("min", "max", None):
            raise ValueError(f"{name}: mode must be 'min', 'max' or None, not {mode!r}")
        if not isinstance(monitor, str):
            raise TypeError(f"{name}: monitor must be the name of a figure, not {said(monitor)}")
        self.monitor = monitor
        self.mode = mode or ("min" if "loss" in monitor or "error" in monitor else "max")
        self.min_delta = number(name, "min_delta", min_delta)
        self.best: float | None = None

    def on_fit_begin(self, trainer: Trainer) -> None:
        if not len(trainer.history):
            self.best = None

    def improved(self, row: Row) -> bool:
        """Tell whether the figure is better than ever before, and remember it if so; NaN never is."""
        if self.monitor not in row:
            raise ValueError(
                f"{type(self).__name__}: monitor must be one of {', '.join(row)}, not {self.monitor!r}"
                + (" (fit was given no validation data)" if self.monitor.startswith("val_") else "")
            )
        value = row[self.monitor]
        gain = math.inf if self.best is None else (self.best - value) * (1 if self.mode == "min" else -1)
        if math.isnan(value) or not gain > self.min_delta:
            return False
        self.best = value
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        best = state["best"]
        if best is not None and not is_figure(best):
            raise TypeError(f"{type(self).__name__}: best must be a number, not {best!r}")
        self.best = best


class BestCheckpoint(_Watch):
    """Save the model whenever a figure is better than ever before in the run.

    With averaged weights where the trainer keeps averages (`ema_decay`).

    Parameters
    ----------
    path : path
        The weights' file, rewritten at each improvement; `convkit.load` and `convkit.load_model` read it.
    monitor : str
        Which figure of the history's rows decides.
    mode : {"min", "max"}, optional
        Which way is better; by default down for names with "loss" or "error" in them, up for others.

    Attributes
    ----------
    best : float or None
        The best figure so far.

    Raises
    ------
    TypeError, ValueError
        For a path that is none and an unknown `mode`; at the end of the first epoch, for a figure that is not measured.
    """

    def __init__(self, path: FilePath, monitor: str = "val_loss", mode: str | None = None) -> None:
        super().__init__(monitor, mode)
        file_path("BestCheckpoint", "path", path)
        self.path = path

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        if self.improved(row):
            with trainer.averaged():  # which is what was validated
                save(trainer.model, self.path)


class EarlyStopping(_Watch):
    """End the run when a figure has not improved for some epochs.

    A run that it ended stays ended when resumed, unless patience is larger then.

    Parameters
    ----------
    monitor : str
        Which figure of the history's rows is watched.
    patience : int
        Epochs without improvement after which the run ends.
    min_delta : float
        What an improvement must exceed to count.
    mode : {"min", "max"}, optional
        Which way is better; by default down for names with "loss" or "error" in them, up for others.

    Attributes
    ----------
    best : float or None
        The best figure so far.
    waited : int
        Epochs since then.

    Raises
    ------
    TypeError, ValueError
        For values out of range; at the end of the first epoch, for a figure that is not measured.
    """

    def __init__(
        self, monitor: str = "val_loss", patience: int = 5, min_delta: float = 0.0, mode: str | None = None
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = integer("EarlyStopping", "patience", patience, 1)
        self.waited = 0

    def on_fit_begin(self, trainer: Trainer) -> None:
        super().on_fit_begin(trainer)
        if not len(trainer.history):
            self.waited = 0
        self._stop_if_waited_enough(trainer)

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        self.waited = 0 if self.improved(row) else self.waited + 1
        self._stop_if_waited_enough(trainer)

    def _stop_if_waited_enough(self, trainer: Trainer) -> None:
        if self.waited >= self.patience:
            trainer.stop()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.waited = integer("EarlyStopping", "waited", state["waited"], 0)


class CSVLog(Callback):
    """Keep the history in a CSV file, a line for each epoch.

    The file is written anew after each epoch, so it is whole at any time, and a resumed run's holds the
    epochs before the stop too.

    Parameters
    ----------
    path : path
        The file.

    Raises
    ------
    TypeError
        For a path that is none.
    """

    def __init__(self, path: FilePath) -> None:
        file_path("CSVLog", "path", path)
        self.path = path

    def on_epoch_end(self, trainer: Trainer, row: Row) -> None:
        trainer.history.to_csv(self.path)
