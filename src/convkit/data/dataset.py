"""A set of labelled images: two arrays, the first of which may be in files, and where they came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convkit.data.indexing import chosen
from convkit.data.pictures import PictureFiles
from convkit.errors import said, view


class Dataset:
    """Labelled images of one split of one data set.

    Parameters
    ----------
    images : array_like of uint8, shape (N, C, H, W), or PictureFiles
        Kept as they are, in memory or in files; a model scales them to [0, 1] itself.
    labels : array_like of integers, shape (N,)
        Kept as int64; each the index of a class.
    classes : sequence of str
        The names of the classes.
    name, split, source : str
        What this is a part of ("fashion-mnist"), which part ("train"), and where it was read from.

    Raises
    ------
    TypeError
        If images are not uint8, labels not integers or classes not names.
    ValueError
        If shapes or lengths do not fit, or a label names no class.

    Examples
    --------
    >>> images = np.zeros((6, 1, 28, 28), dtype=np.uint8)
    >>> digits = Dataset(images, [0, 1, 0, 1, 1, 1], classes=["zero", "one"], name="digits", split="train")
    >>> len(digits[digits.labels == 1])
    4
    """

    __iter__ = None  # a Dataset is neither the pair (images, labels) nor an iterable of batches: see Batches

    def __init__(
        self,
        images: Any,
        labels: Any,
        *,
        classes: Sequence[str],
        name: str = "",
        split: str = "",
        source: str = "",
    ) -> None:
        self.images = _images(images)
        self.classes = class_names("Dataset", classes)
        self.labels = _labels(labels, len(self.images), len(self.classes))
        self.name = name
        self.split = split
        self.source = source

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Dataset:
        """The samples an index, slice, mask or array of indices picks out, as a Dataset.

        A slice shares memory with the whole, as slices of arrays do; any other choice is a copy. What is in files
        stays there.

        Raises
        ------
        IndexError, TypeError
            For an index that an array would not take, and one along more axes than the first.
        """
        if isinstance(index, tuple):
            raise TypeError("Dataset: an index picks samples only; index .images for anything else")
        numbers = chosen("Dataset", len(self), index)
        index = index if isinstance(index, slice) else numbers
        return Dataset(
            self.images.part(index) if isinstance(self.images, PictureFiles) else self.images[index],
            self.labels[index],
            classes=self.classes,
            name=self.name,
            split=self.split,
            source=self.source,
        )

    def __repr__(self) -> str:
        what = " ".join(word for word in ("Dataset", self.name, self.split) if word)
        where = f", from {self.source}" if self.source else ""
        shape = self.images.shape[1:]
        return f"<{what}: {len(self):,} images {shape}, {len(self.classes)} classes{where}>"


def _images(value: Any) -> np.ndarray | PictureFiles:
    if isinstance(value, PictureFiles):
        return value
    images = view("Dataset", "images", value)
    if images.dtype != np.uint8:
        raise TypeError(f"Dataset: images must be uint8, not {images.dtype}")
    if images.ndim != 4:
        raise ValueError(f"Dataset: images must have 4 axes (N, C, H, W), not shape {images.shape}")
    return images


def class_names(function: str, value: Any) -> tuple[str, ...]:
    """The names of classes as a tuple, else raise."""
    try:
        names = tuple(value)
    except TypeError:  # of what holds nothing
        names = (value,)
    if isinstance(value, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{function}: classes must be a sequence of names, not {said(value)}")
    return names


def _labels(value: Any, count: int, classes: int) -> np.ndarray:
    labels = view("Dataset", "labels", value)
    if labels.dtype.kind not in "iu" and labels.size > 0:
        raise TypeError(f"Dataset: labels must be integers, not {labels.dtype}")
    if labels.shape != (count,):
        raise ValueError(f"Dataset: labels must have shape ({count},) as there are images, not {labels.shape}")
    if count and not 0 <= labels.min() <= labels.max() < classes:
        found = f"{labels.min()} … {labels.max()}"
        raise ValueError(f"Dataset: labels must be 0 … {classes - 1} for {classes} classes, but are {found}")
    return labels.astype(np.int64, copy=False)
