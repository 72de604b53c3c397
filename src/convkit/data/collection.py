"""What a published data set is to those who look for it, and how its files are downloaded."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from convkit.data.dataset import Dataset
from convkit.errors import require
from convkit.files import temporary_beside

_PIECE = 1 << 16  # bytes asked of a mirror at a time
_TIMEOUT = (5, 60)  # seconds to connect to a mirror, and to wait for its next bytes

Split = Literal["train", "test"]


class DataNotFound(FileNotFoundError):
    """A data set that is in none of the places looked at; the message names them, and says what to do."""


@dataclass(frozen=True)
class Collection(ABC):
    """A published data set: its name, its classes, and the addresses to put before the name of one of its files."""

    name: str
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]

    sampled: ClassVar[bool] = False  # whether a part of it is shipped in the package

    @property
    def folder(self) -> str:
        """The name of its folder, in `CONVKIT_DATA` and in the user's cache."""
        return self.name

    @property
    @abstractmethod
    def files(self) -> tuple[str, ...]:
        """The names of the files that are downloaded."""

    @abstractmethod
    def read(self, folder: Path, split: Split, *, published_only: bool = False) -> Dataset:
        """One split from the files in a folder, or in the folder in it that bears the set's name.

        Raises
        ------
        DataNotFound
            If the files are not there; with `published_only` also if they are others than the published ones.
        ValueError
            If they are damaged.
        """

    @abstractmethod
    def fetch(self, folder: Path) -> None:
        """Bring those files into a folder that are not there, or are not the published ones.

        Raises
        ------
        DataNotFound
            If no mirror gives them.
        """


def check_folder(folder: Path) -> None:
    """Raise DataNotFound for what is not there, or is no folder."""
    if not folder.is_dir():
        raise DataNotFound(f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}")


def download(urls: Sequence[str], target: Path, is_right: Callable[[Path], bool]) -> None:
    """Bring a file from the first address that gives the right bytes; it appears whole or not at all.

    Raises
    ------
    DataNotFound
        If none does; the message says of each why.
    ImportError
        If pooch is missing.
    """
    pooch = require("pooch", "data", f"downloading {target.name}")
    fetch = pooch.HTTPDownloader(chunk_size=_PIECE, timeout=_TIMEOUT)
    failures = []
    for url in urls:
        unfinished = temporary_beside(target)
        try:
            fetch(url, str(unfinished), None)
            if is_right(unfinished):
                os.replace(unfinished, target)
                return
            failures.append(f"{url}: not the published file")
        except OSError as error:  # of the file system, and all of the network's
            failures.append(f"{url}: {type(error).__name__}")
        finally:
            unfinished.unlink(missing_ok=True)
    raise DataNotFound(f"no download: {', '.join(failures)}")
