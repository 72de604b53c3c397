"""Arrays cut into batches, shuffled so that any epoch can be had again from its number alone.

The order is a function of (seed, epoch, number of samples) and of nothing else: Philox, a counter-based
generator (Salmon, Moraes, Dror, Shaw 2011), is keyed with seed and epoch and gives each sample a 64-bit
number, and the samples are taken in the order of their numbers. So a run that stops and goes on later needs
no generator state. Only Philox's raw bits are used, which NumPy promises never to change.

Augmentation is a function of (seed, epoch, number of the batch) in the same way: the generator of a batch has the
key of the order and a counter of its own. It draws other distributions, too, which have the same bits as long as
NumPy's version is the same. Batches that are augmented, or read from pictures in files, are made by a thread in the
background, a few ahead of the one that is asked for: NumPy and Pillow work without the interpreter's lock where there
is much to do, as the kernels do.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from convkit.data.augment import Augmentation, apply, check_augment
from convkit.data.dataset import Dataset
from convkit.data.pictures import PictureFiles
from convkit.errors import flag, integer, view
from convkit.seeding import LARGEST_KEY

_AHEAD = 2  # batches that wait, made, while one is trained on

Batch = tuple[np.ndarray, ...]


class Batches:
    """The batches of each epoch.

    Parameters
    ----------
    data : Dataset or tuple of array_like
        A Dataset, or the pair (x, y): arrays of any dtype whose first axes, the samples, are equally long.
        More than two are batched alike.
    batch_size : int
        Samples in a batch; the last one holds what is left over.
    shuffle : bool
        Whether each epoch has an order of its own. Otherwise the samples come as they lie.
    seed : int
        From 0 to 2**64 - 1. The same seed gives the same orders, on any machine.
    drop_last : bool
        Leave out the last batch if it is smaller than the others.
    augment : sequence of callable
        What is done to each batch in turn: ``step(images, labels, generator) -> (images, labels)``, such as
        `RandomShift` and the others of `convkit.data`. Functions of your own run in a thread in the background.

    Raises
    ------
    TypeError
        If data is neither a Dataset nor a tuple of arrays, a number is not an integer, a flag neither True nor False,
        or augment holds what cannot be called.
    ValueError
        If the arrays differ in length or do not fill a single batch, or are not two where they are augmented.

    Examples
    --------
    >>> x, y = np.arange(10.0).reshape(5, 2), np.arange(5)
    >>> batches = Batches((x, y), batch_size=2, seed=1)
    >>> [len(labels) for inputs, labels in batches.epoch(0)]
    [2, 2, 1]
    """

    def __init__(
        self,
        data: Dataset | tuple[Any, ...],
        batch_size: int = 64,
        *,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        augment: Sequence[Augmentation] = (),
    ) -> None:
        self.arrays = _arrays(data)
        self.size = len(self.arrays[0])
        self.batch_size = integer("Batches", "batch_size", batch_size, 1)
        self.shuffle = flag("Batches", "shuffle", shuffle)
        self.seed = integer("Batches", "seed", seed, 0, LARGEST_KEY)
        self.drop_last = flag("Batches", "drop_last", drop_last)
        self.augment = check_augment("Batches", augment)
        if self.augment and len(self.arrays) != 2:
            raise ValueError(f"Batches: augment needs the pair (images, labels), not {len(self.arrays)} arrays")
        if len(self) == 0:
            least = self.batch_size if drop_last else 1
            raise ValueError(f"Batches: data must hold at least {least} samples, not {self.size}")

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        full, rest = divmod(self.size, self.batch_size)
        return full if self.drop_last or not rest else full + 1

    def order(self, epoch: int) -> np.ndarray:
        """The sample indices of an epoch in the order they are served, int64 of shape (size,)."""
        epoch = integer("Batches", "epoch", epoch, 0, LARGEST_KEY)
        if not self.shuffle:
            return np.arange(self.size)
        numbers = np.random.Philox(key=np.array([self.seed, epoch], dtype=np.uint64)).random_raw(self.size)
        return np.argsort(numbers, kind="stable")

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Serve the batches of one epoch.

        Parameters
        ----------
        epoch : int
            Its number, from 0. Epochs can be had in any order, and repeatedly.

        Yields
        ------
        batch : tuple of ndarray
            (images, labels), or one array for each given; each a copy, the caller's own.

        Raises
        ------
        TypeError, ValueError
            For a number out of range; when a batch is asked for, what its augmentation raises.
        """
        # Checked and drawn here, not in the generator, so that a bad number is refused by this very call.
        order = self.order(epoch)
        in_files = any(isinstance(array, PictureFiles) for array in self.arrays)
        return self._ahead(epoch, order) if self.augment or in_files else self._plain(order)

    def _plain(self, order: np.ndarray) -> Iterator[Batch]:
        for batch in range(len(self)):
            yield self._take(order, batch)

    def _ahead(self, epoch: int, order: np.ndarray) -> Iterator[Batch]:
        """Batches made in the background; its thread ends when the last is served or the iterator closed.

        A forked process has the iterator but not the thread, and may find its locks held: it makes batches itself.
        """
        process = os.getpid()
        worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="convkit-batches")
        waiting: deque[Future[Batch]] = deque()
        try:
            for batch in range(len(self)):
                if os.getpid() != process:
                    yield self._made(epoch, order, batch)
                    continue
                for later in range(batch + len(waiting), min(batch + _AHEAD + 1, len(self))):
                    waiting.append(worker.submit(self._made, epoch, order, later))
                yield waiting.popleft().result()
        finally:
            if os.getpid() == process:
                worker.shutdown(cancel_futures=True)

    def _made(self, epoch: int, order: np.ndarray, batch: int) -> Batch:
        taken = self._take(order, batch)
        if not self.augment:
            return taken
        images, labels = taken
        # The order of the epoch has the same key, and counters whose upper half is zero.
        key, counter = np.array([self.seed, epoch], np.uint64), np.array([0, 0, batch, 1], np.uint64)
        generator = np.random.Generator(np.random.Philox(key=key, counter=counter))
        return apply("Batches", self.augment, images, labels, generator)

    def _take(self, order: np.ndarray, batch: int) -> Batch:
        chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
        return tuple(array[chosen] for array in self.arrays)


def _arrays(data: Dataset | tuple[Any, ...]) -> tuple[np.ndarray | PictureFiles, ...]:
    if isinstance(data, Dataset):
        return data.images, data.labels
    if not isinstance(data, tuple) or not data:
        came = type(data).__name__
        raise TypeError(f"Batches: data must be a Dataset or a tuple of arrays (x, y), not {came}")
    arrays = tuple(view("Batches", f"data[{place}]", array) for place, array in enumerate(data))
    for place, array in enumerate(arrays):
        if array.ndim == 0 or array.dtype == object:
            came = f"shape {array.shape} and dtype {array.dtype}"
            raise TypeError(f"Batches: data[{place}] must be an array with a first axis of samples, not {came}")
    if len({len(array) for array in arrays}) > 1:
        lengths = ", ".join(str(len(array)) for array in arrays)
        raise ValueError(f"Batches: the arrays of data must hold equally many samples, but hold {lengths}")
    return arrays
