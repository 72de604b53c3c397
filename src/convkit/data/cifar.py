"""CIFAR-10 and CIFAR-100 in their binary form.

A file is a row of records without a header: a label of one byte (in CIFAR-100 two: the superclass, then the class), and
3,072 bytes of pixels, the red ones of 32 rows first, then the green and the blue.

The published archive is read as it is, where its files are not beside it: nothing is unpacked to the disk.

References
----------
Krizhevsky 2009: Learning multiple layers of features from tiny images. Technical report, University of Toronto.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from convkit.data.collection import Collection, DataNotFound, Split, check_folder, download
from convkit.data.dataset import Dataset

SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
_LARGEST = 1 << 28  # bytes of a file in an archive; the largest published one has 154 million
_LARGEST_ARCHIVE = 1 << 29  # bytes of an unzipped archive; the larger published one has 186 million
_PIECE = 1 << 20  # bytes that a checksum is computed of at a time

# What comes of archives that are not what they seem; ValueError and RecursionError of tarfile, for pax headers.
_DAMAGE = (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, ValueError, OverflowError, RecursionError)


class CifarError(ValueError):
    """A file that is not a whole, honest file of CIFAR; the message says which one and what is wrong."""


@dataclass(frozen=True)
class CifarCollection(Collection):
    """CIFAR-10 or CIFAR-100.

    `checksums` gives the SHA-256 of each file, `archive` and `archive_checksum` the file that holds them, in a folder
    `inner`. A record has `label_bytes`, of which the one at `label` counts.
    """

    inner: str
    archive: str
    archive_checksum: str
    checksums: Mapping[Split, Mapping[str, str]]
    label_bytes: int = 1
    label: int = 0

    @property
    def folder(self) -> str:
        return self.name.removesuffix("-coarse")  # other labels of the same files

    @property
    def files(self) -> tuple[str, ...]:
        return (self.archive,)

    def read(self, folder: Path, split: Split, *, published_only: bool = False) -> Dataset:
        """One split from the files in a folder, in the one in it that bears the set's name, or in their archive."""
        names = tuple(self.checksums[split])
        source, contents = self._contents(folder, names)
        if published_only and not (source.name == self.archive and self._is_archive(source)):
            raise DataNotFound(f"{source} is not the published archive of {self.folder}")
        published = [self._is_published(source, name, split, contents[name]) for name in names]
        images, labels = zip(*[self._records(f"{source / name}", contents[name]) for name in names], strict=True)
        return Dataset(
            np.concatenate(images),
            np.concatenate(labels),
            classes=self.classes,
            name=self.name,
            split=split,
            source=str(source) if all(published) else f"{source} (not the published files)",
        )

    def fetch(self, folder: Path) -> None:
        download([f"{mirror}{self.archive}" for mirror in self.mirrors], folder / self.archive, self._is_archive)

    def _contents(self, folder: Path, names: tuple[str, ...]) -> tuple[Path, dict[str, np.ndarray]]:
        """The bytes of files, by name, and the folder or the archive that has them."""
        for parent in (folder / self.folder, folder):
            for place in (parent, parent / self.inner):
                if all((place / name).is_file() for name in names):
                    return place, {name: _plain(place / name) for name in names}
            if (parent / self.archive).is_file():
                return parent / self.archive, self._unpacked(parent / self.archive, names)
        check_folder(folder)
        raise DataNotFound(
            f"{folder} holds neither {', '.join(names)} nor {self.archive}, nor does a folder {self.folder} or "
            f"{self.inner} in it"
        )

    def _unpacked(self, archive: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        """The bytes of files in an archive, whatever else it holds."""
        wanted = {PurePosixPath(self.inner, name): name for name in names}
        contents: dict[str, np.ndarray] = {}
        try:
            with _Unzipped(archive) as unzipped, tarfile.open(fileobj=unzipped, mode="r|") as files:
                for member in files:
                    name = wanted.get(PurePosixPath(member.name))
                    stream = files.extractfile(member) if name and member.isfile() else None
                    if name and stream:
                        contents[name] = np.frombuffer(stream.read(_LARGEST + 1), np.uint8)
        except _DAMAGE as error:
            raise CifarError(f"{archive} is damaged: {error}") from error
        for name, content in contents.items():
            _not_too_large(f"{archive / name}", content)
        if missing := [str(path) for path, name in wanted.items() if name not in contents]:
            raise CifarError(f"{archive} should hold {', '.join(missing)}, but does not")
        return contents

    def _records(self, where: str, content: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (N, 3, 32, 32) and labels (N,) of a file."""
        size = self.label_bytes + _PIXELS
        if not content.size or content.size % size:
            raise CifarError(f"{where} should hold records of {size:,} bytes each, but has {content.size:,} bytes")
        records = content.reshape(-1, size)
        labels = records[:, self.label]
        if labels.max() >= len(self.classes):
            place = int(np.argmax(labels >= len(self.classes)))
            most, found = len(self.classes) - 1, labels[place]
            raise CifarError(f"{where} should hold labels up to {most}, but that of record {place} is {found}")
        return records[:, self.label_bytes :].reshape(-1, *SHAPE), labels

    def _is_published(self, source: Path, name: str, split: Split, content: np.ndarray) -> bool:
        """Whether these are the published bytes; an error if they are those of another of the set's files."""
        checksum = hashlib.sha256(content.data).hexdigest()
        known = {value: other for files in self.checksums.values() for other, value in files.items()}
        if known.get(checksum, name) != name:
            raise DataNotFound(f"{source / name} is {known[checksum]}, not {name}")
        return self.checksums[split][name] == checksum

    def _is_archive(self, path: Path) -> bool:
        checksum = hashlib.sha256()
        with open(path, "rb") as file:
            while piece := file.read(_PIECE):
                checksum.update(piece)
        return checksum.hexdigest() == self.archive_checksum


class _Unzipped(gzip.GzipFile):
    """An archive without its compression, of at most `_LARGEST_ARCHIVE` bytes.

    Where a size in the archive lies, tarfile reads on and on behind the end: that is an error here.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "rb")
        self._left, self._at_end = _LARGEST_ARCHIVE, 0

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        self._left -= len(content)
        self._at_end += not content
        if self._left < 0:
            raise EOFError(f"it holds more than {_LARGEST_ARCHIVE:,} bytes")
        if self._at_end > 2:
            raise EOFError("it ends before the files that it claims to hold")
        return content


def _plain(path: Path) -> np.ndarray:
    return _not_too_large(f"{path}", np.fromfile(path, np.uint8, _LARGEST + 1))


def _not_too_large(where: str, content: np.ndarray) -> np.ndarray:
    if content.size > _LARGEST:
        raise CifarError(f"{where} should hold at most {_LARGEST:,} bytes, but has more")
    return content


_MIRRORS = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")

CIFAR10 = CifarCollection(
    name="cifar10",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    mirrors=_MIRRORS,
    inner="cifar-10-batches-bin",
    archive="cifar-10-binary.tar.gz",
    archive_checksum="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    checksums={
        "train": {
            "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
            "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
            "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
            "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
            "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        },
        "test": {"test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b"},
    },
)

_FINE = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster
    man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
    pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
    skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger
    tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
_COARSE = """
    aquatic_mammals fish flowers food_containers fruit_and_vegetables household_electrical_devices household_furniture
    insects large_carnivores large_man-made_outdoor_things large_natural_outdoor_scenes large_omnivores_and_herbivores
    medium_mammals non-insect_invertebrates people reptiles small_mammals trees vehicles_1 vehicles_2
"""


def _cifar100(name: str, classes: str, label: int) -> CifarCollection:
    return CifarCollection(
        name=name,
        classes=tuple(classes.split()),
        mirrors=_MIRRORS,
        inner="cifar-100-binary",
        archive="cifar-100-binary.tar.gz",
        archive_checksum="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        checksums={
            "train": {"train.bin": "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29"},
            "test": {"test.bin": "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a"},
        },
        label_bytes=2,
        label=label,
    )


CIFAR100 = _cifar100("cifar100", _FINE, label=1)
CIFAR100_COARSE = _cifar100("cifar100-coarse", _COARSE, label=0)
