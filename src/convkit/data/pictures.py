"""Pictures in files, as images of one size that are decoded when they are asked for.

A large folder does not fit into memory, so `PictureFiles` is no array but behaves like one: what is indexed is read,
decoded, resized and cropped then and there. `convkit.data.Batches` does so in the background, a few batches ahead of
the one that is trained on. Pillow, of the extra ``images``, decodes.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from convkit.errors import require
from convkit.files import check_regular

FORMATS = ("PNG", "JPEG")
CHANNELS = {"RGB": 3, "L": 1}

# What Pillow raises for files that are not what they seem.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, LookupError, struct.error)

_MOST_PIXELS = 1 << 26  # of a picture after resizing: a line of one pixel's width would be made as long as it is wide


class PictureFiles:
    """Images in files, which read like an array of uint8 (N, C, H, W) and are decoded whenever they are indexed.

    Along the first axis, by a number, a slice, a mask or an array of indices, only those chosen are decoded; any other
    index, and ``numpy.asarray``, decodes all.

    Parameters
    ----------
    paths : sequence of path
        The files, PNG or JPEG.
    crop : (int, int)
        Height and width that are cropped from the middle.
    resize : int, optional
        What the shorter side is made first; by default as little as covers `crop`.
    channels : {"RGB", "L"}
        Three colours, or grey.

    Attributes
    ----------
    paths : list of Path
        The files.
    shape, size, dtype, ndim
        As of the array.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self, paths: Sequence[Path], crop: tuple[int, int], resize: int | None = None, channels: str = "RGB"
    ) -> None:
        self.paths = [Path(path) for path in paths]
        self.crop = int(crop[0]), int(crop[1])
        self.resize = None if resize is None else int(resize)
        self.channels = channels
        self.shape = (len(self.paths), CHANNELS[channels], *self.crop)
        self.size = prod(self.shape)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Decode those that the index chooses."""
        if isinstance(index, tuple) or index is None or index is Ellipsis:
            images: np.ndarray = np.asarray(self)[index]
            return images
        chosen = np.arange(len(self))[index]
        if chosen.ndim == 0:
            return self._decoded(self.paths[chosen])
        result = np.empty((chosen.size, *self.shape[1:]), np.uint8)
        for place, number in enumerate(chosen.flat):
            result[place] = self._decoded(self.paths[number])
        return result.reshape(*chosen.shape, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("PictureFiles: an array of what is in files is a copy")
        return self[:] if dtype is None else self[:].astype(dtype)

    def part(self, index: Any) -> PictureFiles:
        """Those that the index chooses, still in their files."""
        chosen = np.arange(len(self))[index]
        return PictureFiles([self.paths[number] for number in chosen], self.crop, self.resize, self.channels)

    def checksum(self) -> int:
        """Return a CRC-32 over the names of the files and all that is in them, in their order.

        It reads all files: little beside decoding them, which takes far longer, once for each epoch. Times, and the
        folders in which files lie, do not count: a copy elsewhere holds the same pictures.

        Raises
        ------
        OSError
            When a file cannot be read.
        """
        result = 0
        for path in self.paths:
            check_regular(path)
            content = path.read_bytes()
            result = zlib.crc32(os.fsencode(f"{path.name} {len(content)}\n"), result)
            result = zlib.crc32(content, result)
        return result

    def _decoded(self, path: Path) -> np.ndarray:
        """One image (C, H, W)."""
        picture = decode(path, self.channels, FORMATS)
        height, width = self.crop
        resized = _covering(picture.height, picture.width, self.crop, self.resize)
        if prod(resized) > _MOST_PIXELS:
            came = f"{picture.height} × {picture.width} pixels"
            raise ValueError(f"{path} of {came} is too narrow: it would have to be made {resized[0]} × {resized[1]}")
        left, top = round((resized[1] - width) / 2), round((resized[0] - height) / 2)
        bilinear = require("PIL.Image", "images", "reading pictures").Resampling.BILINEAR
        picture = picture.resize(resized[::-1], bilinear).crop((left, top, left + width, top + height))
        return np.asarray(picture).reshape(height, width, -1).transpose(2, 0, 1)


def decode(path: str | os.PathLike[str], mode: str, formats: Sequence[str] | None = None) -> Any:
    """A picture as Pillow has it, upright, opaque, 8 bits deep, in the mode "RGB" or "L".

    Parameters
    ----------
    path : path
        The file.
    mode : {"RGB", "L"}
        Three colours, or grey.
    formats : sequence of str, optional
        Pillow's names of the formats that are read; by default all.

    Raises
    ------
    OSError
        If there is no such file, or it is a pipe or a device.
    ValueError
        If it is no picture of these formats, is damaged, or has more pixels than Pillow thinks wise.
    ImportError
        If Pillow is missing; the message names the pip command.
    """
    image_module = require("PIL.Image", "images", "reading pictures")
    operations = require("PIL.ImageOps", "images", "reading pictures")
    check_regular(path)
    with open(path, "rb") as file:  # raises Python's own clear errors for what is missing, forbidden or a folder
        try:
            with image_module.open(file, formats=formats) as picture:
                most = image_module.MAX_IMAGE_PIXELS
                if most is not None and prod(picture.size) > most:  # where Pillow warns: a few bytes claim gigabytes
                    came = f"{picture.height} × {picture.width} pixels"
                    raise image_module.DecompressionBombError(f"{came}, the limit being {most} pixels")
                picture.load()
                operations.exif_transpose(picture, in_place=True)
                return _opaque(image_module, _eight_bits(image_module, picture)).convert(mode)
        except image_module.DecompressionBombError as error:
            raise ValueError(f"{os.fspath(path)} is too large a picture: {error}") from error
        except image_module.UnidentifiedImageError as error:
            kinds = f"a {' or '.join(formats)} file" if formats else "a picture that Pillow reads"
            raise ValueError(f"{os.fspath(path)} is not {kinds}") from error
        except _DAMAGE as error:
            raise ValueError(f"{os.fspath(path)} is a damaged picture: {error}") from error


def _eight_bits(image_module: Any, picture: Any) -> Any:
    """A 16-bit grey picture as an 8-bit one; Pillow's own conversion would cut its values off at 255."""
    if not picture.mode.startswith("I"):
        return picture
    return image_module.fromarray(((np.asarray(picture, np.int32) + 128) // 257).astype(np.uint8))


def _opaque(image_module: Any, picture: Any) -> Any:
    """A picture laid on white, where it is transparent."""
    if "A" not in picture.getbands() and "transparency" not in picture.info:
        return picture
    picture = picture.convert("RGBA")
    return image_module.alpha_composite(image_module.new("RGBA", picture.size, "white"), picture)


def _covering(height: int, width: int, crop: tuple[int, int], resize: int | None) -> tuple[int, int]:
    """Height and width of a picture of unchanged form, the shorter side `resize` long, or just covering `crop`."""
    least = crop if resize is None else (resize, resize)
    if least[0] * width >= least[1] * height:  # the height decides
        return least[0], max(least[1], least[0] * width // height)
    return max(least[0], least[1] * height // width), least[1]
