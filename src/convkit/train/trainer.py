"""The trainer: one loop over epochs and batches, with everything else hung onto it by name."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from convkit.data import Dataset
from convkit.errors import integer
from convkit.graph.step import compile_step
from convkit.graph.trace import target_input
from convkit.optim import Optimizer
from convkit.train.callbacks import Callback
from convkit.train.checkpoint import load_training, save_training
from convkit.train.feed import Feed
from convkit.train.history import History
from convkit.train.interrupt import Interruption
from convkit.train.metrics import Means, Metric, named
from convkit.train.progress import reporter

if TYPE_CHECKING:
    from convkit.nn import Module

Path = str | os.PathLike[str]


class Trainer:
    """Trains, evaluates and applies a model.

    Parameters
    ----------
    model : Module
        The network.
    loss : callable
        ``loss(outputs, *targets)``, the scalar to be made small, such as ``nn.CrossEntropyLoss()``.
    optimizer : Optimizer
        The rule by which parameters are updated.
    metrics : sequence of str or callable
        What is measured beside the loss: ``"accuracy"`` (a fraction), ``"top5"`` (any number), or callables
        ``metric(outputs, *targets)`` that return a value for each sample, or the batch's mean.
    clip_norm : float, optional
        Scale the gradient of each update down to this length where it is longer.
    accumulate : int
        Batches whose gradients are averaged into one update.

    Attributes
    ----------
    history : History
        The figures of the present or last run of `fit`.
    epoch, batch : int
        Where that run stands: epochs complete, and batches done in the one after them.

    Raises
    ------
    TypeError, ValueError
        For metrics that are neither known names nor callables, and an `accumulate` below 1.
    """

    def __init__(
        self,
        model: Module,
        loss: Callable[..., Any],
        optimizer: Optimizer,
        metrics: Sequence[str | Metric] = (),
        *,
        clip_norm: float | None = None,
        accumulate: int = 1,
    ) -> None:
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.metrics = named(metrics)
        self.clip_norm = clip_norm
        self.accumulate = integer("Trainer", "accumulate", accumulate, 1)
        self.history = History()
        self.epoch = self.batch = 0
        self._means = Means(self.metrics)
        self._step: Any = None

    def fit(
        self,
        train: Any,
        validation: Any = None,
        *,
        epochs: int,
        batch_size: int = 64,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
        checkpoint: Path | None = None,
        resume: Path | None = None,
        verbose: int = 1,
    ) -> History:
        """Train the model, from its present weights and with the optimiser as new.

        Ctrl-C ends the run after the batch under way: the model keeps what it has learnt, the checkpoint
        (where there is one) is written, and the history is returned with ``interrupted`` set. A second
        Ctrl-C raises KeyboardInterrupt at once.

        Parameters
        ----------
        train : Dataset, pair of arrays, or iterable of batches
            A data set (whose classes become the model's) or ``(x, y)``, shuffled in each epoch; or an
            iterable of ``(x, *targets)`` that can be gone through anew for each epoch, in its own order (x:
            a tuple of arrays for a model with several inputs). An object with ``epoch(number)`` is asked
            for each by number, from 0. Images: (N, C, H, W), of float or uint8 (which is scaled to [0, 1]).
        validation : the same, optional
            What loss and metrics are measured on after each epoch, with ``val_`` before their names.
        epochs : int
            How many epochs the whole run has, those before a resumed checkpoint included.
        batch_size : int
            Samples in a batch, for data sets and arrays; an epoch's last batch may be smaller.
        seed : int
            What shuffling and dropout are drawn from.
        callbacks : sequence of Callback
            What else to do on the way (see `convkit.train.callbacks`).
        checkpoint : path, optional
            A file to which the whole run is written after each epoch and after Ctrl-C.
        resume : path, optional
            Such a file: the run goes on where it was written, and ends with the same bits as one that was
            never stopped. All other arguments must be as they were (`epochs` may grow).
        verbose : int
            0: silence. 1: a bar where standard output is a terminal, else a line for each epoch. 2: lines.

        Returns
        -------
        History
            The figures of each epoch. Those of the training data are means over the epoch, taken while the
            model was learning.

        Raises
        ------
        TypeError, ValueError
            For arguments out of range, data without batches, and a checkpoint of another run.
        OSError
            When a file cannot be read or written.
        """
        integer("fit", "epochs", epochs, 1)
        batch_size, seed = integer("fit", "batch_size", batch_size, 1), integer("fit", "seed", seed, 0)
        show = reporter(verbose)
        feed = Feed("fit", train, batch_size, seed)
        held_out = None if validation is None else Feed("fit", validation, batch_size, None)
        batches = feed.batches()
        if isinstance(train, Dataset) and self.model.classes is None:
            self.model.classes = list(train.classes)
        self._begin(batches, {"seed": seed, "batch_size": batch_size}, callbacks)
        if resume is not None:
            self._resume(resume)

        with Interruption() as interruption:
            try:
                self._tell("on_fit_begin")
                while self.epoch < epochs and not self._stopping:
                    began = time.perf_counter()
                    self._tell("on_epoch_begin")
                    show.epoch_begin(self.epoch + 1, epochs, batches, self.batch)
                    for x, *targets in islice(feed.epoch(self.epoch), self.batch, None):
                        loss = self._step(x, *targets)
                        samples = _samples(x)
                        self._means.add(loss, self._step.outputs, targets, samples)
                        self.batch += 1
                        self._tell("on_batch_end", loss)
                        show.batch_end(samples, self._means)
                        interruption.check()
                    if not self.batch:
                        raise ValueError(_NO_BATCHES.format(self.epoch + 1))
                    row = {"epoch": self.epoch + 1, **self._means.result()}
                    if held_out is not None:
                        show.validating()
                        measured = self._measure(held_out, interruption.check)
                        row |= {f"val_{name}": value for name, value in measured.items()}
                    row["lr"] = self.optimizer.rate(max(self._step.count - 1, 0))
                    row["seconds"] = time.perf_counter() - began
                    self.history.rows.append(row)
                    self.epoch, self.batch, self._means = self.epoch + 1, 0, Means(self.metrics)
                    show.epoch_end(row)
                    self._tell("on_epoch_end", row)
                    if checkpoint is not None:
                        self.save_checkpoint(checkpoint)
                    interruption.check()
            except KeyboardInterrupt:
                if interruption.forced:
                    raise
                self.history.interrupted = True
                if checkpoint is not None:
                    self.save_checkpoint(checkpoint)
            finally:
                show.close()
            if self.history.interrupted:
                show.say(self._where(epochs, batches, checkpoint))
            self._tell("on_fit_end")
        return self.history

    def evaluate(self, data: Any, batch_size: int = 256) -> dict[str, float]:
        """Return the loss and the metrics of the model on data.

        Parameters
        ----------
        data : Dataset, pair of arrays, or iterable of batches
            As for `fit`.
        batch_size : int
            Samples looked at together, for data sets and arrays.

        Returns
        -------
        dict
            ``{"loss": …, "accuracy": …}``: means over all samples.

        Raises
        ------
        TypeError, ValueError
            For data of another kind, and data without batches.
        """
        return self._measure(Feed("evaluate", data, integer("evaluate", "batch_size", batch_size, 1), None))

    def predict(self, x: Any, batch_size: int = 256) -> Any:
        """Return the model's outputs for all of x.

        Parameters
        ----------
        x : ndarray (N, ...) or Dataset
            The inputs.
        batch_size : int
            Samples looked at together.

        Returns
        -------
        ndarray (N, ...)
            The outputs, in the model's dtype; a tuple of arrays for a model with several.
        """
        integer("predict", "batch_size", batch_size, 1)
        inputs = x.images if isinstance(x, Dataset) else np.asarray(x)
        starts = range(0, max(len(inputs), 1), batch_size)  # of nothing, one empty batch: it has a shape too
        parts = [self.model(inputs[start : start + batch_size]) for start in starts]
        if isinstance(parts[0], tuple):
            return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return np.concatenate(parts)

    def stop(self) -> None:
        """End the run of `fit` after the present epoch; for callbacks."""
        self._stopping = True

    def save_checkpoint(self, path: Path) -> None:
        """Write the run of `fit` as it stands to a file that `resume` takes; for callbacks, and after Ctrl-C.

        Parameters
        ----------
        path : path
            The file.

        Raises
        ------
        OSError
            When the file cannot be written; a file that was there stays as it was.
        """
        progress = {
            **self._settings,
            "epoch": self.epoch,
            "batch": self.batch,
            "means": self._means.sums,
            "history": self.history.rows,
            "callbacks": {name: callback.state_dict() for name, callback in self._named_callbacks()},
        }
        save_training(path, self.model, self._step, progress)

    def _begin(self, batches: int | None, settings: dict[str, int], callbacks: Sequence[Callback]) -> None:
        """Set everything to the beginning of a run, the optimiser included."""
        if batches is not None:
            self.optimizer.bind(batches / self.accumulate)
        self._step = None  # the step of an earlier run lets go of the parameters
        self._step = compile_step(
            self.model,
            self.loss,
            self.optimizer,
            outputs=bool(self.metrics),
            clip_norm=self.clip_norm,
            accumulate=self.accumulate,
            seed=settings["seed"],
        )
        self._settings = settings
        self._callbacks = list(callbacks)
        self._means = Means(self.metrics)
        self.history = History()
        self.epoch = self.batch = 0
        self._stopping = False

    def _resume(self, path: Path) -> None:
        progress = load_training(path, self.model, self._step)
        for name, value in self._settings.items():
            if progress[name] != value:
                raise ValueError(
                    f"fit: {name} must be {progress[name]}, as in the run of {os.fspath(path)}, not {value}"
                )
        self.epoch, self.batch = progress["epoch"], progress["batch"]
        self._means.sums = progress["means"]
        self.history = History(progress["history"])
        for name, callback in self._named_callbacks():
            if name in progress["callbacks"]:
                callback.load_state_dict(progress["callbacks"][name])

    def _named_callbacks(self) -> Iterable[tuple[str, Callback]]:
        """Callbacks with names that stay the same from run to run: class, and which of that class."""
        counts: dict[str, int] = {}
        for callback in self._callbacks:
            kind = type(callback).__name__
            counts[kind] = counts.get(kind, 0) + 1
            yield f"{kind} {counts[kind]}", callback

    def _tell(self, hook: str, *arguments: Any) -> None:
        for callback in self._callbacks:
            getattr(callback, hook)(self, *arguments)

    def _measure(self, feed: Feed, check: Callable[[], None] = lambda: None) -> dict[str, float]:
        means = Means(self.metrics)
        for x, *given in feed.epoch(0):
            targets = [target_input("evaluate", values, self.model.dtype) for values in given]
            outputs = self.model(*x) if isinstance(x, tuple) else self.model(x)
            means.add(self.loss(outputs, *targets), outputs, targets, _samples(x))
            check()
        if not means.sums:
            raise ValueError("evaluate: data has no batches")
        return means.result()

    def _where(self, epochs: int, batches: int | None, checkpoint: Path | None) -> str:
        """Where Ctrl-C ended the run, and what is left of it."""
        place = f"stopped after {self.epoch} of {epochs} epochs"
        if self.batch:
            of_all = f" of {batches}" if batches else ""
            place = f"stopped in epoch {self.epoch + 1} of {epochs}, after {self.batch}{of_all} batches"
        if checkpoint is None:
            return f"{place}; the model keeps what it has learnt"
        return f"{place}; {os.fspath(checkpoint)} holds the run, to be resumed"


def _samples(x: Any) -> int:
    return len(x[0] if isinstance(x, tuple) else x)


_NO_BATCHES = (
    "fit: epoch {} has no batches; train must be an iterable that can be gone through once for each epoch "
    "(a list, not a generator) or have a method epoch(number)"
)
