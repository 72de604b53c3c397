"""Pictures as a network wants them: from IDX files as they are, from all others by way of Pillow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convkit.data import read_idx
from convkit.data.pictures import read_picture
from convkit.files import check_regular

# How IDX files begin, plain and compressed; no picture does.
_IDX = (b"\0\0", b"\x1f\x8b", b"\xfd7zXZ\0")


def read_pictures(paths: Sequence[str], shape: tuple[int, ...], invert: bool = False) -> tuple[list[str], np.ndarray]:
    """Read pictures into one array.

    Parameters
    ----------
    paths : sequence of str
        The files. An IDX file holds one picture (H, W), many (N, H, W), or many with channels (N, C, H, W),
        of uint8 and of the right size. What Pillow reads is turned upright (by its EXIF tag), laid on white
        where it is transparent, converted to grey or to RGB, and made what `convkit.data.image_folder` makes of it:
        its shorter side resized, its middle cut out.
    shape : tuple of int
        Channels (1 or 3), height and width that the network wants.
    invert : bool
        Turn dark into light.

    Returns
    -------
    names : list of str
        The path of each picture; with its number, in brackets, where the file holds many.
    images : ndarray of uint8 (N, C, H, W)

    Raises
    ------
    OSError
        When a file cannot be read.
    ValueError
        For a file that is no picture or damaged, and an IDX file that is damaged or of another shape.
    ImportError
        For a picture, where Pillow is missing; the message names the pip command.
    """
    names: list[str] = []
    images: list[np.ndarray] = []
    for path in paths:
        check_regular(path)
        with open(path, "rb") as file:
            is_idx = file.read(6).startswith(_IDX)
        if is_idx:
            found = _from_idx(path, shape)
            names += [f"{path}[{place}]" for place in range(len(found))] if len(found) != 1 else [path]
            images.append(found)
        else:
            names.append(path)
            image = read_picture(path, (shape[1], shape[2]), None, "L" if shape[0] == 1 else "RGB")
            images.append(image[None])
    joined = np.concatenate(images)
    return names, 255 - joined if invert else joined


def _from_idx(path: str, shape: tuple[int, ...]) -> np.ndarray:
    array = read_idx(path)
    fits = array.shape == shape[1:] or array.shape[1:] in (shape, shape[1:])
    if array.dtype != np.uint8 or not fits:
        size = " × ".join(map(str, shape))
        raise ValueError(f"{path}: expected uint8 pictures of {size}, got {array.dtype} of shape {array.shape}")
    return array.reshape(-1, *shape)
