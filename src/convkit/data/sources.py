"""MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100, from wherever they can be had.

A set is read from the folder its user names. If none is named, it is looked for in the folder of the
environment variable CONVKIT_DATA, in /usr/share/datasets (where Debian's dataset-fashion-mnist puts it) and
in the user's cache, and downloaded into that cache when it is in none of them. A small balanced part of
MNIST and of Fashion-MNIST is shipped in the package, so that there is always something real to try a network on.

The published files are known by their SHA-256, those of MNIST by that of their *uncompressed* bytes, for mirrors
compress them anew. What is downloaded, or found in the cache, must be those very bytes. A folder of the user's own may
hold other data in the same format; the dataset's `source` then says so.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from convkit.data.cifar import CIFAR10, CIFAR100, CIFAR100_COARSE
from convkit.data.collection import Collection, DataNotFound, Split, check_folder, download
from convkit.data.dataset import Dataset
from convkit.data.idx import IdxError, encode_idx, read_idx
from convkit.errors import one_of, require, said
from convkit.files import file_path

VARIABLE = "CONVKIT_DATA"
SYSTEM_FOLDER = Path("/usr/share/datasets")
SAMPLE_FOLDER = Path(__file__).parent / "samples"

_PREFIXES = {"train": "train", "test": "t10k"}
_SUFFIXES = ("", ".gz", ".xz")


@dataclass(frozen=True)
class IdxCollection(Collection):
    """MNIST, or a set in its form: four files, for each split images of 28×28 pixels and their labels.

    `checksums` gives the SHA-256 of each file's uncompressed bytes, by its name without ``.gz``.
    """

    checksums: dict[str, str]

    sampled: ClassVar[bool] = True

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(f"{stem}.gz" for stem in self.checksums)

    def read(self, folder: Path, split: Split, *, published_only: bool = False) -> Dataset:
        return read_folder(folder, self, split, published_only=published_only)

    def fetch(self, folder: Path) -> None:
        """Bring all four files, so that training and test split of one run always come from the same place."""
        for stem, checksum in self.checksums.items():
            target = folder / f"{stem}.gz"
            if not _holds(target, checksum):
                urls = [f"{mirror}{target.name}" for mirror in self.mirrors]
                download(urls, target, partial(_holds, checksum=checksum))


COLLECTIONS: dict[str, Collection] = {
    "mnist": IdxCollection(
        name="mnist",
        classes=tuple("0123456789"),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        checksums={
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    "fashion-mnist": IdxCollection(
        name="fashion-mnist",
        classes=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        mirrors=(
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        checksums={
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
    ),
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
    "cifar100-coarse": CIFAR100_COARSE,
}
_PUBLISHED = {
    checksum: (collection.name, stem)
    for collection in COLLECTIONS.values()
    if isinstance(collection, IdxCollection)
    for stem, checksum in collection.checksums.items()
}


def fashion_mnist(split: Split, source: str | os.PathLike[str] = "auto") -> Dataset:
    """Fashion-MNIST: 60,000 training and 10,000 test images of ten kinds of clothing.

    Parameters
    ----------
    split : "train" or "test"
        Which part.
    source : "auto", "sample" or a folder
        "auto" looks in ``CONVKIT_DATA``, ``/usr/share/datasets`` and the user's cache, and downloads at last;
        "sample" is the 6,000 training or 1,000 test images shipped in the package; a folder holds the IDX
        files, plain or gzipped, or has a folder ``fashion-mnist`` that does. Only "auto" ever downloads.

    Returns
    -------
    dataset : Dataset
        ``.images`` uint8 (N, 1, 28, 28), ``.labels`` int64 (N,).

    Raises
    ------
    TypeError, ValueError
        If the split is unknown, or `source` no path.
    DataNotFound
        If it is nowhere.
    IdxError
        If a file is damaged.

    References
    ----------
    Xiao, Rasul, Vollgraf 2017: Fashion-MNIST: a novel image dataset for benchmarking machine learning
    algorithms. arXiv:1708.07747.
    """
    return _loaded("fashion_mnist", "fashion-mnist", split, source)[0]


def mnist(split: Split, source: str | os.PathLike[str] = "auto") -> Dataset:
    """MNIST: 60,000 training and 10,000 test images of handwritten digits.

    Parameters
    ----------
    split : "train" or "test"
        Which part.
    source : "auto", "sample" or a folder
        As for `fashion_mnist`; the folder may have a folder ``mnist``.

    Returns
    -------
    dataset : Dataset
        ``.images`` uint8 (N, 1, 28, 28), ``.labels`` int64 (N,).

    Raises
    ------
    TypeError, ValueError
        If the split is unknown, or `source` no path.
    DataNotFound
        If it is nowhere.
    IdxError
        If a file is damaged.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner 1998: Gradient-based learning applied to document recognition,
    section III.A.
    """
    return _loaded("mnist", "mnist", split, source)[0]


def cifar10(split: Split, source: str | os.PathLike[str] = "auto") -> Dataset:
    """CIFAR-10: 50,000 training and 10,000 test images of ten kinds of animals and vehicles, in colour.

    Parameters
    ----------
    split : "train" or "test"
        Which part.
    source : "auto" or a folder
        "auto" looks in ``CONVKIT_DATA``, ``/usr/share/datasets`` and the user's cache, and downloads at last; a folder
        holds the binary files, ``data_batch_1.bin`` to ``test_batch.bin``, or their archive
        ``cifar-10-binary.tar.gz``; or it has a folder ``cifar10`` or ``cifar-10-batches-bin`` that does. Only "auto"
        ever downloads.

    Returns
    -------
    dataset : Dataset
        ``.images`` uint8 (N, 3, 32, 32), ``.labels`` int64 (N,).

    Raises
    ------
    TypeError, ValueError
        If the split is unknown, or `source` no path.
    DataNotFound
        If it is nowhere.
    CifarError
        If a file is damaged.

    References
    ----------
    Krizhevsky 2009: Learning multiple layers of features from tiny images. Technical report, University of Toronto.
    """
    return _loaded("cifar10", "cifar10", split, source)[0]


def cifar100(
    split: Split, source: str | os.PathLike[str] = "auto", *, labels: Literal["fine", "coarse"] = "fine"
) -> Dataset:
    """CIFAR-100: 50,000 training and 10,000 test images of a hundred kinds of things, in colour.

    Parameters
    ----------
    split : "train" or "test"
        Which part.
    source : "auto" or a folder
        As for `cifar10`; the files are ``train.bin`` and ``test.bin``, the archive ``cifar-100-binary.tar.gz``, the
        folder ``cifar100`` or ``cifar-100-binary``.
    labels : "fine" or "coarse"
        The hundred classes, or the twenty superclasses that they belong to.

    Returns
    -------
    dataset : Dataset
        ``.images`` uint8 (N, 3, 32, 32), ``.labels`` int64 (N,).

    Raises
    ------
    TypeError, ValueError
        If the split or `labels` are unknown, or `source` is no path.
    DataNotFound
        If it is nowhere.
    CifarError
        If a file is damaged.

    References
    ----------
    Krizhevsky 2009: Learning multiple layers of features from tiny images. Technical report, University of Toronto.
    """
    one_of("cifar100", "labels", labels, ("fine", "coarse"))
    return _loaded("cifar100", "cifar100" if labels == "fine" else "cifar100-coarse", split, source)[0]


def load(
    name: str,
    split: Split,
    source: str | os.PathLike[str] = "auto",
    *,
    fallback_to_sample: bool = False,
) -> tuple[Dataset, str]:
    """Load a data set by name, on request falling back to the embedded sample, and saying so.

    Parameters
    ----------
    name : str
        "mnist", "fashion-mnist" ("fashion_mnist" will do), "cifar10", "cifar100" or "cifar100-coarse".
    split, source
        As for `fashion_mnist`.
    fallback_to_sample : bool
        With source "auto": take the embedded sample, if there is one, when the set is nowhere, rather than raise.

    Returns
    -------
    dataset : Dataset
        The data.
    note : str
        One line for the user when the sample stands in for the set that was asked for, otherwise empty.

    Raises
    ------
    TypeError, ValueError
        If the name or the split is unknown, or `source` no path.
    DataNotFound
        If it is nowhere.
    IdxError, CifarError
        If a file is damaged.
    """
    known = name.replace("_", "-") if isinstance(name, str) else ""
    if known not in COLLECTIONS:
        raise ValueError(f"load: name must be one of {', '.join(COLLECTIONS)}, not {said(name)}")
    return _loaded("load", known, split, source, fallback_to_sample)


def _loaded(
    function: str, name: str, split: Split, source: str | os.PathLike[str], fallback_to_sample: bool = False
) -> tuple[Dataset, str]:
    """What `load` returns, for the function that was called."""
    collection = COLLECTIONS[name]
    one_of(function, "split", split, tuple(_PREFIXES))
    folder = file_path(function, "source", source)
    if source == "sample":
        return _sample(collection, split), ""
    if source != "auto":
        return _from_given(Path(os.path.expanduser(folder)), collection, split), ""
    dataset, looked = _search(collection, split)
    if dataset is not None:
        return dataset, ""
    if fallback_to_sample and collection.sampled:
        sample = _sample(collection, split)
        reasons = [looked[0], looked[-1]] if os.environ.get(VARIABLE) else looked[-1:]
        lack = f"{collection.name} is not on this machine ({'; '.join(reasons)})"
        return sample, f"{lack}; using the embedded sample, {len(sample):,} images"
    raise DataNotFound(_advice(collection, looked))


def read_folder(folder: Path, collection: IdxCollection, split: Split, *, published_only: bool = False) -> Dataset:
    """Read one split from the IDX files in a folder, or in the folder in it that bears the set's name.

    Parameters
    ----------
    folder : Path
        Where to look.
    collection : Collection
        The set.
    split : "train" or "test"
        Which part.
    published_only : bool
        Treat files other than the published ones as missing. Otherwise they are taken, and `source` says so;
        but never the files of the other split or of another set.

    Raises
    ------
    DataNotFound
        If the files are not there.
    IdxError
        If they are damaged, or do not hold 28×28 images and a label for each.
    """
    stems = [stem for stem in collection.checksums if stem.startswith(_PREFIXES[split])]
    image_path, label_path = _find(folder, collection.name, stems)
    images, labels = read_idx(image_path), read_idx(label_path)
    _check(image_path, images, (images.size // (28 * 28), 28, 28))
    _check(label_path, labels, (len(images),))
    if labels.size and labels.max() >= len(collection.classes):
        raise IdxError(f"{label_path} should hold labels up to {len(collection.classes) - 1}, not {labels.max()}")
    # Both are looked at, for either may turn out to be another set's.
    published = [
        _is_published(image_path, images, (collection.name, stems[0])),
        _is_published(label_path, labels, (collection.name, stems[1])),
    ]
    source = str(image_path.parent)
    if not all(published):
        if published_only:
            raise DataNotFound(f"{source} holds other data than the published {collection.name}")
        source += " (not the published files)"
    return Dataset(
        images[:, np.newaxis],
        labels,
        classes=collection.classes,
        name=collection.name,
        split=split,
        source=source,
    )


def _check(path: Path, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.dtype != np.uint8 or array.shape != shape:
        raise IdxError(f"{path} should hold uint8 of shape {shape}, not {array.dtype} of {array.shape}")


def _search(collection: Collection, split: Split) -> tuple[Dataset | None, list[str]]:
    """The data set from the first place that has it, and what was wrong with the places before."""
    looked: list[str] = []
    named = os.environ.get(VARIABLE)
    if named:
        try:
            return collection.read(Path(os.path.expanduser(named)), split), looked
        except DataNotFound as error:
            looked.append(f"{VARIABLE}: {error}")
    else:
        looked.append(f"{VARIABLE} is not set")
    try:
        return collection.read(SYSTEM_FOLDER, split), looked
    except DataNotFound as error:
        looked.append(str(error))
    try:
        return _from_cache(collection, split), looked
    except (DataNotFound, ImportError) as error:
        looked.append(str(error))
    return None, looked


def _advice(collection: Collection, looked: list[str]) -> str:
    places = "".join(f"\n  - {reason}" for reason in looked)
    sample = "; or use source='sample', the small part of it that comes with convkit" if collection.sampled else ""
    return (
        f"{collection.name} was found nowhere:{places}\n"
        f"Name the folder that holds {', '.join(collection.files)} as source, "
        f"or the folder above it in {VARIABLE}{sample}."
    )


def _from_given(folder: Path, collection: Collection, split: Split) -> Dataset:
    if not folder.is_dir():
        known = "'auto', 'sample' or a folder" if collection.sampled else "'auto' or a folder"
        raise DataNotFound(f"{collection.name}: source must be {known}, but there is no folder {folder}")
    return collection.read(folder, split)


def _sample(collection: Collection, split: Split) -> Dataset:
    if not collection.sampled:
        raise DataNotFound(f"{collection.name}: convkit comes with no sample of it; source must be 'auto' or a folder")
    sample = collection.read(SAMPLE_FOLDER, split)
    sample.source = "embedded sample"
    return sample


def _from_cache(collection: Collection, split: Split) -> Dataset:
    """Read the user's cache; if that does not hold the published files, bring them there first."""
    pooch = require("pooch", "data", f"downloading {collection.name}")
    folder = Path(pooch.os_cache("convkit")) / collection.folder
    with contextlib.suppress(OSError, ValueError):  # missing, or damaged
        return collection.read(folder, split, published_only=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataNotFound(f"no download: {folder} cannot be made ({type(error).__name__})") from error
    pooch.get_logger().info("Downloading %s to %s", collection.name, folder)
    collection.fetch(folder)
    return collection.read(folder, split, published_only=True)


def _find(folder: Path, name: str, stems: list[str]) -> list[Path]:
    """The files of these stems, all of them in `folder`/`name` or all in `folder`."""
    for place in (folder / name, folder):
        found = [path for stem in stems if (path := _file(place, stem))]
        if len(found) == len(stems):
            return found
    check_folder(folder)
    raise DataNotFound(f"{folder} holds no {' and '.join(stems)} (plain or .gz), nor does a folder {name} in it")


def _file(folder: Path, stem: str) -> Path | None:
    for form in (stem, stem.replace("-idx", ".idx")):  # some hand the files out with a dot there
        for suffix in _SUFFIXES:
            path = folder / (form + suffix)
            if path.is_file():
                return path
    return None


def _is_published(path: Path, array: np.ndarray, expected: tuple[str, str]) -> bool:
    """Whether these are the published bytes; an error if they are those of another file."""
    known = _PUBLISHED.get(_checksum(array))
    if known not in (None, expected):
        raise DataNotFound(f"{path} is {' '.join(known)}, not {' '.join(expected)}")
    return known == expected


def _holds(path: Path, checksum: str) -> bool:
    try:
        return _checksum(read_idx(path)) == checksum
    except (OSError, IdxError):
        return False


def _checksum(array: np.ndarray) -> str:
    return hashlib.sha256(encode_idx(array)).hexdigest()
