"""Data: IDX files, MNIST, Fashion-MNIST and CIFAR, batches, augmentation, and the samples shipped in the package."""

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
from convkit.data.cifar import CifarError
from convkit.data.collection import DataNotFound
from convkit.data.dataset import Dataset
from convkit.data.idx import IdxError, read_idx, write_idx
from convkit.data.sources import cifar10, cifar100, fashion_mnist, load, mnist

__all__ = [
    "Batches",
    "CifarError",
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
    "cifar10",
    "cifar100",
    "fashion_mnist",
    "load",
    "mnist",
    "read_idx",
    "write_idx",
]
