"""Data: published sets, folders of pictures, batches, augmentation, and the samples shipped in the package."""

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
from convkit.data.folder import image_folder
from convkit.data.idx import IdxError, read_idx, write_idx
from convkit.data.pictures import PictureFiles
from convkit.data.sources import cifar10, cifar100, fashion_mnist, load, mnist

__all__ = [
    "Batches",
    "CifarError",
    "Cutout",
    "DataNotFound",
    "Dataset",
    "IdxError",
    "MixUp",
    "PictureFiles",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "RandomRotation",
    "RandomShift",
    "cifar10",
    "cifar100",
    "fashion_mnist",
    "image_folder",
    "load",
    "mnist",
    "read_idx",
    "write_idx",
]
