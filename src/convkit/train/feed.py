"""Batches, epoch by epoch, from whatever a user trains on."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any

import numpy as np

from convkit.data import Batches, Dataset
from convkit.data.augment import Augmentation, check_augment
from convkit.errors import view

Batch = tuple[Any, ...]


class Feed:
    """Batches ``(x, *targets)`` of a data set, of arrays, or of the user's own making.

    Parameters
    ----------
    function : str
        Who asks, for messages.
    source : Dataset, pair of arrays, or iterable
        A data set; inputs and targets of equal length; or an iterable of batches that can be gone through
        once for each epoch. One with a method ``epoch(number)`` is asked for each epoch by number, from 0.
    batch_size : int
        Samples in a batch, for data sets and arrays; the last one may be smaller.
    seed : int or None
        What shuffles data sets and arrays; None keeps their order.
    augment : sequence of callable
        What is done to each batch of data sets and arrays; see `Batches`.

    Raises
    ------
    TypeError
        For a source of another kind, and for augmentation of an iterable.
    """

    def __init__(
        self, function: str, source: Any, batch_size: int, seed: int | None, augment: Sequence[Augmentation] = ()
    ) -> None:
        self._function = function
        augment = check_augment(function, augment)
        self._made_here = isinstance(source, Dataset) or (isinstance(source, tuple) and _are_arrays(source))
        if self._made_here:
            shuffle, key = seed is not None, 0 if seed is None else seed
            source = Batches(source, batch_size, shuffle=shuffle, seed=key, augment=augment)
        elif augment:
            raise TypeError(
                f"{function}: augment needs a Dataset or a pair (x, y) of arrays, not {type(source).__name__}; "
                "give it to data.Batches, or augment batches as you make them"
            )
        elif not isinstance(source, Iterable) and not _is_numbered(source):
            raise TypeError(
                f"{function}: data must be a Dataset, a pair (x, y) of arrays or an iterable of batches, "
                f"not {type(source).__name__}"
            )
        self._source = source

    def comparable(self) -> Any:
        """Return what can be compared with another run's: arrays, `Batches`; None for iterables of the user's own."""
        if self._made_here:
            return self._source.arrays
        return self._source if isinstance(self._source, Batches) else None

    def batches(self) -> int | None:
        """Return the number of batches in an epoch, None where it is not known beforehand."""
        try:
            return len(self._source)
        except TypeError:
            return None

    def epoch(self, number: int) -> Generator[Batch, None, None]:
        """Return the batches of an epoch.

        Raises
        ------
        TypeError
            For a batch that is not ``(x, *targets)``.
        """
        batches = self._source.epoch(number) if _is_numbered(self._source) else self._source
        for batch in batches:
            if not isinstance(batch, (tuple, list)) or len(batch) < 2:
                raise TypeError(f"{self._function}: a batch must be (x, *targets), not {type(batch).__name__}")
            x, *targets = batch
            viewed = tuple(self._view("x", array) for array in x) if isinstance(x, tuple) else self._view("x", x)
            yield viewed, *(self._view("targets", array) for array in targets)

    def _view(self, argument: str, array: Any) -> np.ndarray:
        return view(self._function, argument, array)


def _is_numbered(source: Any) -> bool:
    """Whether a source is asked for each epoch by its number; some of others' have an attribute of that name."""
    return callable(getattr(source, "epoch", None))


def _are_arrays(source: tuple[Any, ...]) -> bool:
    return not any(isinstance(array, (tuple, list)) for array in source)
