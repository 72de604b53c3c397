"""Data sets of one's own: a folder with a folder of pictures for each class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from convkit.data.collection import DataNotFound
from convkit.data.dataset import Dataset, class_names
from convkit.data.pictures import PictureFiles, picture_form
from convkit.errors import require
from convkit.files import file_path

ENDINGS = (".png", ".jpg", ".jpeg")


def image_folder(
    path: str | os.PathLike[str],
    size: int | tuple[int, int],
    *,
    resize: int | None = None,
    channels: str = "RGB",
    classes: Sequence[str] | None = None,
    in_memory: bool = False,
) -> Dataset:
    """Labelled images from a folder that has a folder for each class.

    Files that end in .png, .jpg or .jpeg belong to the class in whose folder, or in a folder in it, they are; others,
    and whatever is hidden, are passed over. A picture is turned upright (by its EXIF tag), laid on white where it is
    transparent, made 8 bits deep, converted to colours or grey, resized with bilinear interpolation over all pixels
    that come together in one, and cropped in the middle.

    Parameters
    ----------
    path : path
        The folder.
    size : int or (int, int)
        Height and width of the images.
    resize : int, optional
        The length that the shorter side of a picture is given before `size` is cut from its middle: 256 with a `size`
        of 224, for example. By default as little as covers `size`.
    channels : {"RGB", "L"}
        Three channels, or one of grey.
    classes : sequence of str, optional
        The classes, in their order; those of the training set, for a test set that may lack some. By default the names
        of the folders, sorted.
    in_memory : bool
        Decode all pictures at once and keep them, H·W·C bytes each. Otherwise they are decoded whenever they are used,
        in the background while a network trains.

    Returns
    -------
    Dataset
        ``.images`` uint8 (N, C, H, W): an array, or `PictureFiles`, which read like one. ``.labels`` int64 (N,).

    Raises
    ------
    DataNotFound
        If there is no such folder.
    TypeError, ValueError
        For arguments that cannot be, a folder without classes and a class without pictures; for a picture that cannot
        be decoded, which is named, when it is.
    ImportError
        If Pillow is missing; the message names the pip command.

    Examples
    --------
    >>> train = data.image_folder("pets/train", 128)
    >>> test = data.image_folder("pets/test", 128, classes=train.classes)
    >>> trainer.fit(train, validation=test, epochs=10, augment=[data.RandomHorizontalFlip()])
    """
    form = picture_form("image_folder", "size", size, resize, channels)
    folder = Path(os.path.expanduser(file_path("image_folder", "path", path)))
    given = None if classes is None else class_names("image_folder", classes)
    require("PIL.Image", "images", "image_folder")
    folders = _class_folders(folder)
    names = [one.name for one in folders] if given is None else list(given)
    if unknown := [one.name for one in folders if one.name not in names]:
        raise ValueError(f"image_folder: {folder} has a folder {unknown[0]}, which is none of the classes given")
    paths: list[Path] = []
    labels: list[int] = []
    for one in folders:
        found = _pictures(one)
        paths += found
        labels += [names.index(one.name)] * len(found)
    images = PictureFiles(paths, *form)
    return Dataset(
        np.asarray(images) if in_memory else images,
        np.array(labels, np.int64),
        classes=names,
        name=folder.name,
        source=str(folder),
    )


def _class_folders(folder: Path) -> list[Path]:
    """The folders in a folder that are not hidden, by name."""
    if not folder.is_dir():
        raise DataNotFound(f"image_folder: there is no folder {folder}")
    found = sorted(one for one in folder.iterdir() if not one.name.startswith(".") and os.path.isdir(one))
    if not found:
        raise ValueError(f"image_folder: {folder} should hold a folder for each class, but holds none")
    for one in found:
        if folder.resolve().is_relative_to(one.resolve()):
            raise ValueError(f"image_folder: {one} is no class: it leads back to {one.resolve()}")
    return found


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a class, in the order of their names; links to further folders are not followed."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        named = sorted(name for name in files if not name.startswith(".") and name.lower().endswith(ENDINGS))
        found += [Path(place, name) for name in named]
    if not found:
        raise ValueError(f"image_folder: {folder} should hold pictures ({', '.join(ENDINGS)}), but holds none")
    return found
