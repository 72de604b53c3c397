"""The trainer: one loop over epochs and batches, with everything else hung onto it by name."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import is_dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from convkit.data import Dataset
from convkit.data.augment import Augmentation
from convkit.data.pictures import PictureFiles
from convkit.errors import LARGEST_INTEGER, integer, is_figure, said, view
from convkit.files import FilePath, file_path
from convkit.graph.diverged import Diverged
from convkit.graph.step import check_limits, compile_step
from convkit.graph.trace import target_input
from convkit.interrupt import Interruption
from convkit.nn.module import Module, check_module
from convkit.optim import Optimizer
from convkit.train.callbacks import Callback, check_callbacks
from convkit.train.checkpoint import Checkpoints
from convkit.train.feed import Feed
from convkit.train.history import History
from convkit.train.metrics import Means, Metric, named
from convkit.train.progress import Silent, reporter


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
    clip_value : float, optional
        First of all cut each entry of the gradient to at most this magnitude.
    ema_decay : float, optional
        Keep an exponential moving average of the weights with this decay, such as 0.999: validation, `BestCheckpoint`
        and what runs ``with trainer.averaged():`` use it, checkpoints hold both.
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
        For a model that is no Module, a loss that cannot be called, an optimizer that is no Optimizer, metrics that
        are neither known names nor callables, limits that are not positive, an `ema_decay` outside [0, 1), and an
        `accumulate` below 1.
    """

    def __init__(
        self,
        model: Module,
        loss: Callable[..., Any],
        optimizer: Optimizer,
        metrics: Sequence[str | Metric] = (),
        *,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        ema_decay: float | None = None,
        accumulate: int = 1,
    ) -> None:
        _check_parts(model, loss, optimizer)
        check_limits("Trainer", clip_norm, clip_value, ema_decay, accumulate)
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.metrics = named(metrics)
        self.clip_norm = clip_norm
        self.clip_value = clip_value
        self.ema_decay = ema_decay
        self.accumulate = int(accumulate)
        self.history = History()
        self.epoch = self.batch = 0
        self._means = self._no_means()
        self._step: Any = None
        self._diverged = False
        self._checkpoints = Checkpoints()

    def fit(
        self,
        train: Any,
        validation: Any = None,
        *,
        epochs: int,
        batch_size: int = 64,
        seed: int = 0,
        augment: Sequence[Augmentation] = (),
        callbacks: Sequence[Callback] = (),
        checkpoint: FilePath | None = None,
        resume: FilePath | None = None,
        verbose: int = 1,
    ) -> History:
        """Train the model, from its present weights and with the optimiser as new.

        Ctrl-C ends the run after the batch under way: the model keeps what it has learnt, the checkpoint
        (where there is one) is written, and the history is returned with ``interrupted`` set, unless that
        was the end of the run anyway. A second Ctrl-C raises KeyboardInterrupt at once.

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
            What shuffling, dropout and augmentation are drawn from, below 2**63.
        augment : sequence of callable
            What is done at random to the training images, a data set's or those of a pair, in the background:
            such as ``[data.RandomShift(2), data.RandomHorizontalFlip()]`` (see `convkit.data.augment`).
        callbacks : sequence of Callback
            What else to do on the way (see `convkit.train.callbacks`).
        checkpoint : path, optional
            A file to which the whole run is written after each epoch and after Ctrl-C. The one before it is kept
            beside it, as ``NAME.previous.safetensors``.
        resume : path, optional
            Such a file: the run goes on where it was written, and ends with the same bits as one that was
            never stopped. Where it is damaged, gone or cannot be read, the one before it is used, and a warning says
            so. All else must be as it was, but `epochs` may grow. Other settings of run, optimiser, schedule and
            loss are refused, and so are data sets and arrays with other content (of pictures in files: with other
            files, by their names and bytes, for which the first checkpoint and `resume` read them once, or other
            sizes and channels); iterables, and what functions and objects of classes of your own do, cannot be
            compared and are taken on trust.
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
        FloatingPointError
            When the loss or its gradient is infinite or NaN. It names the place and the layer in which that began;
            the model has its weights from the beginning of the epoch again, and the checkpoint is left alone.
        """
        integer("fit", "epochs", epochs, 1)
        batch_size, seed = integer("fit", "batch_size", batch_size, 1), integer("fit", "seed", seed, 0)
        for name, path in {"checkpoint": checkpoint, "resume": resume}.items():
            _check_file(name, path)
        callbacks = check_callbacks("fit", callbacks)
        show = reporter(verbose)
        feed = Feed("fit", train, batch_size, seed, augment)
        held_out = None if validation is None else Feed("fit", validation, batch_size, None)
        batches = feed.batches()
        with self._schedule_of(batches):
            with self._kept_if_refused():
                self._begin(batches, seed, batch_size, augment, callbacks)
                self._feeds = {"train": feed, "validation": held_out}
                if resume is not None:
                    self._resume(resume, epochs)
            if isinstance(train, Dataset):
                self.model.classes = list(train.classes)
            self._run(feed, held_out, epochs, batches, checkpoint, show)
        return self.history

    def _run(
        self,
        feed: Feed,
        held_out: Feed | None,
        epochs: int,
        batches: int | None,
        checkpoint: FilePath | None,
        show: Silent,
    ) -> None:
        """The epochs that are left of a run."""
        with Interruption() as interruption:
            try:
                self._tell("on_fit_begin")
                while self.epoch < epochs and not self._stopping:
                    interruption.check()
                    began = time.perf_counter()
                    self._tell("on_epoch_begin")
                    show.epoch_begin(self.epoch + 1, epochs, batches, self.batch)
                    with self._finite(checkpoint), closing(feed.epoch(self.epoch)) as served:
                        for x, *targets in islice(served, self.batch, None):
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
                        with self.averaged():
                            measured = self._measure(held_out, interruption.check)
                        row |= {f"val_{name}": value for name, value in measured.items()}
                    row["lr"] = self.optimizer.rate(max(self._step.count - 1, 0))
                    row["seconds"] = time.perf_counter() - began
                    self.history.rows.append(row)
                    self.epoch, self.batch, self._means = self.epoch + 1, 0, self._no_means()
                    show.epoch_end(row)
                    self._tell("on_epoch_end", row)
                    if checkpoint is not None:
                        self.save_checkpoint(checkpoint)
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
            ``{"loss": …, "accuracy": …}``: means over all samples, but for those whose label is the loss'
            `ignore_index`. (A loss with class weights is weighted within a batch, not between batches.)

        Raises
        ------
        TypeError, ValueError
            For data of another kind, and data without batches or without a label that counts.
        """
        return self._measure(Feed("evaluate", data, integer("evaluate", "batch_size", batch_size, 1), None))

    def predict(self, x: Any, batch_size: int = 256) -> Any:
        """Return the model's outputs for all of x.

        Parameters
        ----------
        x : ndarray (N, ...), tuple of them, or Dataset
            The inputs; a tuple for a model with several.
        batch_size : int
            Samples looked at together.

        Returns
        -------
        ndarray (N, ...)
            The outputs, in the model's dtype; a tuple of arrays for a model with several.

        Raises
        ------
        TypeError, ValueError
            For a `batch_size` below 1, and inputs of different lengths.
        """
        integer("predict", "batch_size", batch_size, 1)
        given = x if isinstance(x, tuple) else (x.images if isinstance(x, Dataset) else x,)
        inputs = [array if isinstance(array, PictureFiles) else view("predict", "x", array) for array in given]
        for array in inputs:
            if array.ndim == 0:
                raise ValueError("predict: x must be arrays with a first axis of samples, not of shape ()")
        lengths = [len(array) for array in inputs]
        if len(set(lengths)) != 1:
            raise ValueError(f"predict: x must be arrays of one length, not of {lengths}")
        starts = range(0, max(lengths[0], 1), batch_size)  # of nothing, one empty batch: it has a shape too
        parts = [self.model(*(array[start : start + batch_size] for array in inputs)) for start in starts]
        several = isinstance(parts[0], tuple)
        results = list(zip(*parts, strict=True)) if several else [parts]
        if any(array.ndim == 0 for array in results[0]):
            raise ValueError("predict: the model's outputs must have a first axis of samples, not be of shape ()")
        joined = tuple(np.concatenate(arrays) for arrays in results)
        return joined if several else joined[0]

    def averaged(self) -> AbstractContextManager[None]:
        """Let the model have the averages of its weights within a ``with`` block, where `ema_decay` was given.

        For evaluation, prediction and saving, in callbacks and after `fit`; without `ema_decay` it changes nothing.
        """
        if self.ema_decay is None or self._step is None:
            return nullcontext()
        averages: AbstractContextManager[None] = self._step.averaged()
        return averages

    def stop(self) -> None:
        """End the run of `fit` after the present epoch; for callbacks."""
        self._stopping = True

    def save_checkpoint(self, path: FilePath) -> None:
        """Write the run of `fit` as it stands to a file that `resume` takes; for callbacks, and after Ctrl-C.

        Parameters
        ----------
        path : path
            The file.

        Raises
        ------
        OSError
            When the file cannot be written; a file that was there stays as it was.
        RuntimeError
            Before `fit` has begun a run, after it has diverged, and within `averaged`.
        TypeError, ValueError
            For what a callback gave as its state, or put into the history, that `resume` could not take.
        """
        if self._step is None:
            raise RuntimeError("save_checkpoint: there is no run to save before fit has begun one")
        if self._diverged:
            raise RuntimeError(
                "save_checkpoint: the run has diverged, and ended; its last checkpoint is from before that"
            )
        if self._step.averaging:
            raise RuntimeError(
                "save_checkpoint: the model has its averages, which are not trained; leave `averaged` first"
            )
        progress = {
            "settings": self._settings | self._data_settings(),
            "epoch": self.epoch,
            "batch": self.batch,
            "means": self._means.sums,
            "history": _plain("the history", self.history.rows),
            "callbacks": {
                name: _plain(f"the state of {name}", callback.state_dict())
                for name, callback in self._named_callbacks()
            },
            "frozen": self._frozen(),
        }
        _check_position("save_checkpoint: this cannot be resumed, since the run's", progress)
        self._checkpoints.save(path, self.model, self._step, progress)

    def _begin(
        self,
        batches: int | None,
        seed: int,
        batch_size: int,
        augment: Sequence[Augmentation],
        callbacks: Sequence[Callback],
    ) -> None:
        """Set everything to the beginning of a run, the optimiser included."""
        if self._step is not None:
            self._step.let_go()
        self._step = compile_step(
            self.model,
            self.loss,
            self.optimizer,
            outputs=bool(self.metrics),
            clip_norm=self.clip_norm,
            clip_value=self.clip_value,
            ema_decay=self.ema_decay,
            accumulate=self.accumulate,
            seed=seed,
            check_finite=True,
        )
        self._settings = {
            "seed": seed,
            "batch_size": batch_size,
            "batches": batches,
            "dtype": self.model.dtype.name,
            **_settings_of("clip_norm", self.clip_norm),
            **_settings_of("clip_value", self.clip_value),
            **_settings_of("ema_decay", self.ema_decay),
            "accumulate": self.accumulate,
            **(_settings_of("frozen", tuple(frozen)) if (frozen := self._frozen()) else {}),
            **_settings_of("loss", self.loss, look_inside=True),
            **_settings_of("optimizer", self.optimizer, look_inside=True),
            **(_settings_of("augment", tuple(augment)) if augment else {}),
        }
        self._known_data: dict[str, Any] = {}
        self._checkpoints = Checkpoints()
        self._callbacks = list(callbacks)
        self._means = self._no_means()
        self.history = History()
        self.epoch = self.batch = 0
        self._stopping = self._diverged = False

    @contextmanager
    def _schedule_of(self, batches: int | None) -> Iterator[None]:
        """Let a schedule know how long epochs are, for this run alone: the optimiser may serve others."""
        given = self.optimizer.schedule
        if batches is not None:
            self.optimizer.bind(batches / self.accumulate)
        bound = self.optimizer.schedule
        try:
            yield
        finally:
            if self.optimizer.schedule is bound:
                self.optimizer.schedule = given

    @contextmanager
    def _kept_if_refused(self) -> Iterator[None]:
        """Stay with the earlier run, its history and averages, and what is frozen, where a new one cannot begin."""
        before, frozen = self.__dict__.copy(), self._frozen()
        try:
            yield
        except BaseException:
            self.__dict__.update(before)
            self._freeze(frozen)
            raise

    def _frozen(self) -> list[str]:
        return [name for name, parameter in self.model.parameters().items() if not parameter.trainable]

    def _freeze(self, names: Sequence[str]) -> None:
        """Freeze these parameters, and thaw all others."""
        for name, parameter in self.model.parameters().items():
            parameter.trainable = name not in names

    def _resume(self, path: FilePath, epochs: int) -> None:
        def check(progress: dict[str, Any]) -> None:
            stored, own = progress["settings"], self._settings | self._data_settings()
            if progress["means"]:  # of half an epoch, which goes on
                stored = {**stored, "metrics": sorted(progress["means"].keys() - {"loss"})}
                own = {**own, "metrics": sorted(self.metrics)}
            for name in {**stored, **own}:
                there, here = stored.get(name, "absent"), own.get(name, "absent")
                if there != here:
                    raise ValueError(f"fit: {name} must be {there}, as in the run of {os.fspath(path)}, not {here}")
            _check_position(f"fit: {os.fspath(path)} is no training run: its", progress)
            begun = progress["epoch"] + (progress["batch"] > 0)
            if epochs < begun:
                raise ValueError(
                    f"fit: epochs must be at least {begun}, which the run of {os.fspath(path)} has begun, not {epochs}"
                )
            self._freeze(progress.get("frozen", self._frozen()))

        progress = self._checkpoints.load(path, self.model, self._step, check)
        self.epoch, self.batch = progress["epoch"], progress["batch"]
        self._means.sums = progress["means"]
        self.history = History(progress["history"])
        for name, callback in self._named_callbacks():
            if name in progress["callbacks"]:
                try:
                    callback.load_state_dict(progress["callbacks"][name])
                except (KeyError, TypeError, ValueError) as error:
                    raise ValueError(f"fit: {os.fspath(path)} has no state of {name}: {error!r}") from error

    def _data_settings(self) -> dict[str, Any]:
        """What can be compared about the data, checksums of arrays included; found out when it is first asked for."""
        if not self._known_data:
            for name, feed in self._feeds.items():
                content = None if feed is None else feed.comparable()
                self._known_data |= _settings_of(f"{name} data", content, look_inside=True)
        return self._known_data

    @contextmanager
    def _finite(self, checkpoint: FilePath | None) -> Iterator[None]:
        """Where a step or the epoch ends with values that are not finite, give the model its weights of before back."""
        good = self.model.state_dict()
        averages = {} if self.ema_decay is None else self._step.state_dict()
        try:
            yield
            self._check_finite(good)
        except Diverged as error:
            updates = self._step.count
            self._diverged = True
            self.model.load_state_dict(good)
            if averages:
                now = self._step.state_dict()  # parameters may have been frozen or thawed meanwhile
                self._step.load_state_dict(now | {name: averages[name] for name in now.keys() & averages.keys()})
            held = ""
            if checkpoint is not None and Path(checkpoint).absolute() in self._checkpoints.own:
                held = f", and {os.fspath(checkpoint)} holds the run as it was then"
            raise FloatingPointError(
                f"fit: epoch {self.epoch + 1}, after {self.batch} batches ({updates} updates of the run): "
                f"{str(error).removeprefix('step: ')}. The model has the weights again that it had when fit came to "
                f"this epoch{held}; a lower learning rate or clip_norm may help"
            ) from error

    def _check_finite(self, good: dict[str, np.ndarray]) -> None:
        """Refuse parameters that are not finite, and buffers that were before (a constant mask need not be)."""
        for name, parameter in self.model.parameters().items():
            if parameter.trainable and not np.isfinite(parameter.value).all():
                raise Diverged(f"step: the update has left {name} not finite")
        for name, buffer in self.model.buffers().items():
            if not np.isfinite(buffer.value).all() and np.isfinite(good[name]).all():
                raise Diverged(f"step: the forward pass has left {name} not finite")

    def _named_callbacks(self) -> Iterable[tuple[str, Callback]]:
        """Callbacks with names that stay the same from run to run: class, and which of that class."""
        counts: dict[str, int] = {}
        for callback in self._callbacks:
            kind = type(callback).__name__
            counts[kind] = counts.get(kind, 0) + 1
            yield f"{kind} {counts[kind]}", callback

    def _tell(self, hook: str, *arguments: Any) -> None:
        """Call a hook of all callbacks, of those behind one that ends the run, too: what they count stays in step."""
        interrupted = None
        for callback in self._callbacks:
            try:
                getattr(callback, hook)(self, *arguments)
            except KeyboardInterrupt as error:
                interrupted = error
        if interrupted is not None:
            raise interrupted

    def _no_means(self) -> Means:
        return Means(self.metrics, getattr(self.loss, "ignore_index", None))

    def _measure(self, feed: Feed, check: Callable[[], None] = lambda: None) -> dict[str, float]:
        means = self._no_means()
        for x, *given in feed.epoch(0):
            targets = [target_input("evaluate", values, self.model.dtype) for values in given]
            outputs = self.model(*x) if isinstance(x, tuple) else self.model(x)
            means.add(self.loss(outputs, *targets), outputs, targets, _samples(x))
            check()
        if not means.sums:
            raise ValueError("evaluate: data has no batches, or no label that counts")
        return means.result()

    def _where(self, epochs: int, batches: int | None, checkpoint: FilePath | None) -> str:
        """Where Ctrl-C ended the run, and what is left of it."""
        place = f"stopped after {self.epoch} of {epochs} epochs"
        if self.batch:
            of_all = f" of {batches}" if batches else ""
            place = f"stopped in epoch {self.epoch + 1} of {epochs}, after {self.batch}{of_all} batches"
        if checkpoint is None:
            return f"{place}; the model keeps what it has learnt"
        return f"{place}; {os.fspath(checkpoint)} holds the run, to be resumed"


def _check_parts(model: Any, loss: Any, optimizer: Any) -> None:
    check_module("Trainer", model)
    if isinstance(loss, type) or not callable(loss):
        raise TypeError(f"Trainer: loss must be a function of outputs and targets, not {said(loss)}")
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"Trainer: optimizer must be an Optimizer, not {said(optimizer)}")


def _check_file(argument: str, path: FilePath | None) -> None:
    """Refuse a path that names no file, before a run is lost by it."""
    if path is not None and (Path(file_path("fit", argument, path)).name in ("", "..") or Path(path).is_dir()):
        raise ValueError(f"fit: {argument} must name a file, not {os.fspath(path)!r}")


def _plain(what: str, value: Any) -> Any:
    """A value as JSON gives it back, NumPy's numbers as Python's."""
    try:
        return json.loads(json.dumps(value, default=_of_numpy))
    except (TypeError, ValueError) as error:
        raise TypeError(f"save_checkpoint: {what} must be what JSON can hold: {error}") from error


def _of_numpy(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is neither number, text, list nor dict")


def _check_position(complaint: str, progress: dict[str, Any]) -> None:
    """Refuse a position that is none: counts below 0 or beyond counting, means and rows that are not of numbers."""

    def refuse(entry: str) -> None:
        raise ValueError(f"{complaint} {entry} cannot be {progress[entry]!r}")

    for entry in ("epoch", "batch"):
        if not 0 <= progress[entry] <= LARGEST_INTEGER:
            refuse(entry)
    for pair in progress["means"].values():
        if not (isinstance(pair, list) and len(pair) == 2 and all(map(is_figure, pair))):
            refuse("means")
    for row in progress["history"]:
        if not (isinstance(row, dict) and all(map(is_figure, row.values()))):
            refuse("history")
    if not all(isinstance(state, dict) for state in progress["callbacks"].values()):
        refuse("callbacks")
    frozen = progress.get("frozen", [])
    if not (isinstance(frozen, list) and all(isinstance(name, str) for name in frozen)):
        refuse("frozen")


def _settings_of(name: str, value: Any, look_inside: bool = False) -> dict[str, Any]:
    """What can be compared about a thing that a run depends on, by dotted names, as JSON gives it back.

    Of dataclasses (schedules and groups are) that is the class' name and the fields, of arrays a checksum, of pictures
    in files one over names and bytes, and what is made of them, of functions and other objects the name alone; of the
    thing itself, asked to `look_inside`, the attributes too.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return {name: value}
    if isinstance(value, np.ndarray):
        return {name: f"{value.dtype} array {value.shape}, checksum {_checksum(value):08x}"}
    if isinstance(value, PictureFiles):
        return {
            name: f"pictures {value.shape}",
            f"{name}.resize": value.resize,
            f"{name}.channels": value.channels,
            f"{name}.files": f"checksum {value.checksum():08x}",
        }
    if isinstance(value, (tuple, list)):
        settings: dict[str, Any] = {name: f"{len(value)} entries"}
        parts = {str(place): part for place, part in enumerate(value)}
    else:
        settings = {name: getattr(value, "__qualname__", type(value).__name__)}
        looked_into = look_inside or (is_dataclass(value) and not isinstance(value, type))
        inside = getattr(value, "__dict__", {}) if looked_into else {}
        parts = {key: part for key, part in inside.items() if not key.startswith("_")}
    for key, part in parts.items():
        settings |= _settings_of(f"{name}.{key}", part)
    return settings


def _checksum(values: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)


def _samples(x: Any) -> int:
    return len(x[0] if isinstance(x, tuple) else x)


_NO_BATCHES = (
    "fit: epoch {} has no batches; train must be an iterable that can be gone through once for each epoch "
    "(a list, not a generator) or have a method epoch(number)"
)
