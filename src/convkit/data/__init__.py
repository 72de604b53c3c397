"""Data: IDX files, MNIST and Fashion-MNIST, batches, augmentation, and the samples shipped in the package."""

from convkit.data.augment import (
    Cutout,
    MixUp,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomRotation,
    RandomShift,
)
from convkit.data.batches import Batches
from convkit.data.dataset import Dataset
from convkit.data.idx import IdxError, read_idx, write_idx
from convkit.data.sources import DataNotFound, fashion_mnist, load, mnist

__all__ = [
    "Batches",
    "Cutout",
    "DataNotFound",
    "Dataset",
    "IdxError",
    "MixUp",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomShift",
    "fashion_mnist",
    "load",
    "mnist",
    "read_idx",
    "write_idx",
]
