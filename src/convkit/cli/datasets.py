"""What the command line trains and tests on: published data sets by name, and folders of the user's own pictures."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

from convkit import data
from convkit.data import Dataset
from convkit.data.collection import Split
from convkit.models import ModelEntry

FOLDER = "folder"  # stands for a data set, with --data for the folder
_PARTS: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("test", "val", "valid", "validation")}


def load(
    name: str,
    split: Split,
    source: str,
    shape: Sequence[int],
    classes: Sequence[str] | None = None,
    *,
    fallback_to_sample: bool = False,
) -> tuple[Dataset, str]:
    """One split of a data set, as `convkit.data.load` gives it.

    Parameters
    ----------
    name : str
        A published data set, or "folder": then `source` has folders ``train`` and ``test`` (or ``val``), and these one
        of pictures for each class.
    split, source, fallback_to_sample
        As for `convkit.data.load`.
    shape : sequence of int
        What pictures from a folder are made to be: channels, height, width.
    classes : sequence of str, optional
        The classes of a folder, where they are known already.

    Raises
    ------
    ValueError
        For a folder that is not named, or has no part for the split.
    """
    if name == FOLDER and source in ("auto", "sample"):
        raise ValueError("--dataset folder: --data must name the folder, with folders train and test of pictures in it")
    if name != FOLDER:
        return data.load(name, split, source, fallback_to_sample=fallback_to_sample)
    for part in _PARTS[split]:
        if (place := Path(source, part)).is_dir():
            channels, height, width = shape
            mode = "L" if channels == 1 else "RGB"
            return data.image_folder(place, (height, width), channels=mode, classes=classes), ""
    raise ValueError(f"--data: {source} should hold a folder {' or '.join(_PARTS[split])}, but holds none")


def shape_of_pictures(entry: ModelEntry, size: int | None) -> tuple[int, int, int]:
    """What pictures from a folder are made for a network: of its own size or the one asked for, in colour if it can."""
    channels, height, width = entry.input_shape
    if "in_channels" in inspect.signature(entry.build).parameters:
        channels = 3
    return (channels, height, width) if size is None else (channels, size, size)
