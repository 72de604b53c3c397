"""Metrics: how good outputs are, as functions of outputs and targets, and their means over an epoch.

A metric is any callable ``metric(outputs, *targets)`` that returns one value for each sample, or their mean
over the batch. Where the loss has an `ignore_index`, samples with that label are dropped from what metrics
return. A metric's name in the history is its attribute ``name``, or the function's own name. Where a model
returns several outputs, a metric gets the first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from convkit.errors import integer, said, view, whole_numbers

Metric = Callable[..., Any]


class TopK:
    """The fraction of samples whose label is among the k largest outputs.

    Of outputs that tie with the label's, those before it count as larger, so that k = 1 agrees with argmax.
    NaN is never right, and neither is a label that is no class.

    Parameters
    ----------
    k : int
        How many of the largest outputs are looked at; 1 is accuracy.

    Raises
    ------
    TypeError, ValueError
        For k that is no integer from 1 on.
    """

    def __init__(self, k: int) -> None:
        self.k = integer("TopK", "k", k, 1)
        self.name = f"top{self.k}"

    def __call__(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return for each sample (and each position, where there are several) whether it was right.

        Parameters
        ----------
        outputs : ndarray (N, C, ...)
            Scores of C classes.
        targets : ndarray (N, ...) of integers, or (N, C, ...) of probabilities
            The right classes; of probabilities, the largest counts.

        Returns
        -------
        ndarray of bool (N, ...)

        Raises
        ------
        TypeError
            For labels that are not integers, and outputs that are no numbers.
        ValueError
            When the shapes do not belong together, or there are fewer than k classes.
        """
        outputs, targets = view(self.name, "outputs", outputs), view(self.name, "targets", targets)
        if outputs.dtype.kind not in "biuf":
            raise TypeError(f"{self.name}: outputs must be numbers, not {outputs.dtype}")
        _check_shapes(self.name, outputs, targets)
        if self.k > outputs.shape[1]:
            least = "one class" if self.k == 1 else f"{self.k} classes"
            raise ValueError(f"{self.name}: outputs must have at least {least}, not shape {outputs.shape}")
        labels = _labels(self.name, targets, outputs.ndim)
        is_class = (labels >= 0) & (labels < outputs.shape[1])
        chosen = np.expand_dims(np.where(is_class, labels, 0), 1)
        score = np.take_along_axis(outputs, chosen, axis=1)
        before = np.arange(outputs.shape[1]).reshape(-1, *[1] * (outputs.ndim - 2)) < chosen
        ahead = (outputs > score) | ((outputs == score) & before) | np.isnan(outputs)
        return is_class & ~np.isnan(score[:, 0]) & (np.count_nonzero(ahead, axis=1) < self.k)


class Accuracy(TopK):
    """The fraction of samples whose largest output is the label's (of equal ones, the first counts)."""

    def __init__(self) -> None:
        super().__init__(1)
        self.name = "accuracy"


def _check_shapes(name: str, outputs: np.ndarray, targets: np.ndarray) -> None:
    if outputs.ndim < 2 or targets.shape not in (outputs.shape, outputs.shape[:1] + outputs.shape[2:]):
        raise ValueError(
            f"{name}: outputs must be (N, classes, ...) and targets (N, ...) or as outputs, "
            f"not {outputs.shape} and {targets.shape}"
        )


def _labels(name: str, targets: np.ndarray, axes: int) -> np.ndarray:
    """Targets as class numbers, one for each sample and position of outputs of so many axes."""
    if targets.ndim == axes:
        return targets.argmax(axis=1)
    return whole_numbers(name, "labels", targets, kinds="iub")


def named(metrics: Iterable[str | Metric]) -> dict[str, Metric]:
    """Return metrics by name.

    Parameters
    ----------
    metrics : iterable of str or callable
        ``"accuracy"``, ``"top5"`` (any number), ``"loss"`` (which is always measured), or callables.

    Raises
    ------
    ValueError, TypeError
        For an unknown name, a name that comes twice, and what is neither a name nor a callable.
    """
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise TypeError(f"Trainer: metrics must be a sequence, not {said(metrics)}")
    result: dict[str, Metric] = {}
    for given in metrics:
        if isinstance(given, str) and given == "loss":
            continue
        metric = _by_name(given) if isinstance(given, str) else given
        if isinstance(metric, type) or not callable(metric):
            raise TypeError(f"Trainer: metrics must be names or callables, not {said(metric)}")
        name = getattr(metric, "name", None) or getattr(metric, "__name__", None) or type(metric).__name__
        if name in result or name == "loss":
            raise ValueError(f"Trainer: metrics must have different names, but {name!r} comes twice")
        result[name] = metric
    return result


def _by_name(name: str) -> Metric:
    if name == "accuracy":
        return Accuracy()
    if match := re.fullmatch(r"top([1-9]\d*)", name):
        return TopK(int(match[1]))
    raise ValueError(f"Trainer: metrics must be 'accuracy', 'top5' (any number), 'loss' or callables, not {name!r}")


class Means:
    """Means of loss and metrics over the samples seen so far.

    Parameters
    ----------
    metrics : dict
        Metrics by name.
    ignore_index : int, optional
        A label of the first target whose samples (or positions within a sample) do not count; a batch in
        which none counts is passed over.
    """

    def __init__(self, metrics: dict[str, Metric], ignore_index: int | None = None) -> None:
        self._metrics = metrics
        self._ignore_index = ignore_index
        self.sums: dict[str, list[float]] = {}  # name: [sum of the values, how many]

    def add(self, loss: float, outputs: Any, targets: Sequence[Any], samples: int) -> None:
        """Take in a batch: its mean loss, its outputs (looked at only by metrics), its targets, its size."""
        counts = self._counting(targets[0])
        weight = samples if counts is None else int(np.count_nonzero(counts))
        if not weight:
            return
        self._add("loss", np.asarray(loss), weight)
        first = outputs[0] if isinstance(outputs, tuple) else outputs
        for name, metric in self._metrics.items():
            values = np.asarray(metric(first, *targets))
            if counts is not None and values.shape == counts.shape:
                values = values[counts]
            self._add(name, values, weight)

    def _counting(self, labels: Any) -> np.ndarray | None:
        """Which labels count, as an array of bool; None where there are none that might not."""
        return None if self._ignore_index is None else np.asarray(labels) != self._ignore_index

    def _add(self, name: str, values: np.ndarray, weight: int) -> None:
        # A single value is taken for the batch's mean; an array counts with every entry.
        single = values.ndim == 0
        entry = self.sums.setdefault(name, [0.0, 0])
        entry[0] += float(values) * weight if single else float(values.sum(dtype=np.float64))
        entry[1] += weight if single else values.size

    def result(self) -> dict[str, float]:
        """Return the means by name, loss first; empty before the first batch."""
        return {name: total / weight for name, (total, weight) in self.sums.items() if weight}
