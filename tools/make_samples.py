"""Make the samples in src/convkit/data/samples from the full, published data sets.

    python tools/make_samples.py FOLDER [FOLDER ...]

The folders hold, or have folders `mnist` and `fashion-mnist` that hold, the published IDX files. Of each
class the first 600 training and the first 100 test images are taken, and kept in the order of the original
files. The outcome is always the same, to the byte where the version of liblzma is the same.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from convkit.data import DataNotFound, Dataset, write_idx
from convkit.data.collection import Collection, Split
from convkit.data.sources import COLLECTIONS, SAMPLE_FOLDER

EACH: dict[Split, int] = {"train": 600, "test": 100}


def main(folders: list[str]) -> int:
    if not folders:
        print(__doc__, file=sys.stderr)
        return 2
    for collection in filter(lambda known: known.sampled, COLLECTIONS.values()):
        for split, count in EACH.items():
            full = find([Path(folder) for folder in folders], collection, split)
            chosen = first_of_each_class(full.labels, len(full.classes), count)
            write(full[chosen], SAMPLE_FOLDER / collection.name, "train" if split == "train" else "t10k")
    return 0


def find(folders: list[Path], collection: Collection, split: Split) -> Dataset:
    """The full split, from the first folder that holds its published files."""
    for folder in folders:
        try:
            return collection.read(folder, split, published_only=True)
        except DataNotFound:
            continue
    raise SystemExit(f"no folder given holds the published {collection.name} ({split})")


def first_of_each_class(labels: np.ndarray, classes: int, count: int) -> np.ndarray:
    """The indices, ascending, of the first `count` samples of each class."""
    return np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in range(classes)]))


def write(sample: Dataset, folder: Path, prefix: str) -> None:
    """Write images and labels as xz-compressed IDX files, and print their sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, array in (
        ("images-idx3-ubyte", sample.images[:, 0]),
        ("labels-idx1-ubyte", sample.labels.astype(np.uint8)),
    ):
        path = folder / f"{prefix}-{stem}.xz"
        write_idx(path, array)
        print(f"{path}: {array.shape}, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
