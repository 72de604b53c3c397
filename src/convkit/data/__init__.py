"""Data: IDX files, MNIST and Fashion-MNIST, batches, and the samples shipped in the package."""

from convkit.data.batches import Batches
from convkit.data.dataset import Dataset
from convkit.data.idx import IdxError, read_idx, write_idx
from convkit.data.sources import DataNotFound, fashion_mnist, load, mnist

__all__ = [
    "Batches",
    "DataNotFound",
    "Dataset",
    "IdxError",
    "fashion_mnist",
    "load",
    "mnist",
    "read_idx",
    "write_idx",
]
