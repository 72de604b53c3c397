"""Pictures in files, as images of one size that are decoded when they are asked for.

A large folder does not fit into memory, so `PictureFiles` is no array but behaves like one: what is indexed is read,
decoded, resized and cropped then and there. `convkit.data.Batches` does so in the background, a few batches ahead of
the one that is trained on. Pillow, of the extra ``images``, decodes.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from convkit.data.indexing import chosen, pick
from convkit.errors import integer, integers, one_of, require, said
from convkit.files import FilePath, check_regular, file_path
from convkit.geometry import check_volume

FORMATS = ("PNG", "JPEG")
CHANNELS = {"RGB": 3, "L": 1}

# What Pillow raises for files that are not what they seem.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, LookupError, struct.error)

_ORIENTATION = 0x0112  # the EXIF tag; what turns a picture upright, by its value
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}

_MOST_PIXELS = 1 << 26  # of a picture after resizing: a line of one pixel's width would be made as long as it is wide


class PictureFiles:
    """Images in files, which read like an array of uint8 (N, C, H, W) and are decoded whenever they are indexed.

    Along the first axis, by a number, a slice, a mask or an array of indices, only those chosen are decoded; any other
    index, and ``numpy.asarray``, decodes all.

    Parameters
    ----------
    paths : sequence of path
        The files, PNG or JPEG.
    crop : int or (int, int)
        Height and width that are cropped from the middle.
    resize : int, optional
        What the shorter side is made first, at least the longer one of `crop`; by default as little as covers it.
    channels : {"RGB", "L"}
        Three colours, or grey.

    Attributes
    ----------
    paths : list of Path
        The files.
    shape, size, dtype, ndim
        As of the array.

    Raises
    ------
    TypeError, ValueError
        For arguments that cannot be; for a picture that cannot be decoded, which is named, when it is.
    IndexError
        When indexed, for an index that an array would not take.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self,
        paths: Sequence[FilePath],
        crop: int | tuple[int, int],
        resize: int | None = None,
        channels: str = "RGB",
    ) -> None:
        self.crop, self.resize, self.channels = picture_form("PictureFiles", "crop", crop, resize, channels)
        self.paths = _paths(paths)
        self.shape = (len(self.paths), CHANNELS[self.channels], *self.crop)
        check_volume("PictureFiles", self.shape, "the array of all images")
        self.size = prod(self.shape)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Decode those that the index chooses."""
        if isinstance(index, tuple) or index is None or index is Ellipsis:
            return pick("PictureFiles", np.asarray(self), index)
        numbers = pick("PictureFiles", np.arange(len(self)), index)
        if numbers.ndim == 0:
            return self._decoded(self.paths[numbers])
        result = np.empty((numbers.size, *self.shape[1:]), np.uint8)
        for place, number in enumerate(numbers.flat):
            result[place] = self._decoded(self.paths[number])
        return result.reshape(*numbers.shape, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("PictureFiles: an array of what is in files is a copy")
        return self[:] if dtype is None else self[:].astype(dtype)

    def part(self, index: Any) -> PictureFiles:
        """Those that the index chooses, still in their files; by a number, the one."""
        paths = [self.paths[number] for number in chosen("PictureFiles.part", len(self), index)]
        return PictureFiles(paths, self.crop, self.resize, self.channels)

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
        return read_picture(path, self.crop, self.resize, self.channels, FORMATS)


def picture_form(
    function: str, argument: str, crop: Any, resize: Any, channels: Any
) -> tuple[tuple[int, int], int | None, str]:
    """What pictures are made: height and width (of `argument`), the shorter side before, and channels, else raise."""
    height, width = integers(function, argument, crop, 2, 1)
    least = max(height, width)
    if resize is not None and (resize := integer(function, "resize", resize, 1)) < least:
        raise ValueError(f"{function}: resize must be at least the {least} pixels of {argument}, not {resize}")
    return (height, width), resize, one_of(function, "channels", channels, tuple(CHANNELS))


def _paths(value: Any) -> list[Path]:
    if isinstance(value, (str, bytes, os.PathLike)) or not np.iterable(value):
        raise TypeError(f"PictureFiles: paths must be a sequence of paths, not {said(value)}")
    return [Path(file_path("PictureFiles", f"paths[{place}]", path)) for place, path in enumerate(value)]


def read_picture(
    path: str | os.PathLike[str],
    crop: tuple[int, int],
    resize: int | None,
    channels: str,
    formats: Sequence[str] | None = None,
) -> np.ndarray:
    """One image (C, H, W) of uint8: the middle of a picture whose shorter side was resized.

    Arguments as of `PictureFiles` and `decode`, errors as of `decode`, and ValueError for a picture so narrow that it
    would become huge.
    """
    picture = decode(path, channels, formats)
    height, width = crop
    resized = _covering(picture.height, picture.width, crop, resize)
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
    check_regular(path)
    content = Path(path).read_bytes()  # of which Pillow cannot ask for more than there is, whatever a header says
    try:
        with image_module.open(io.BytesIO(content), formats=formats) as picture:
            most = image_module.MAX_IMAGE_PIXELS
            if most is not None and prod(picture.size) > most:  # where Pillow warns: a few bytes claim gigabytes
                came = f"{picture.height} × {picture.width} pixels"
                raise image_module.DecompressionBombError(f"{came}, the limit being {most} pixels")
            picture.load()
            upright = _upright(image_module, picture)
            return _opaque(image_module, _eight_bits(image_module, upright)).convert(mode)
    except image_module.DecompressionBombError as error:
        raise ValueError(f"{os.fspath(path)} is too large a picture: {error}") from error
    except image_module.UnidentifiedImageError as error:
        kinds = f"a {' or '.join(formats)} file" if formats else "a picture that Pillow reads"
        raise ValueError(f"{os.fspath(path)} is not {kinds}") from error
    except _DAMAGE as error:
        raise ValueError(f"{os.fspath(path)} is a damaged picture: {error}") from error


def _upright(image_module: Any, picture: Any) -> Any:
    """A picture turned as its EXIF tag says; no other tag is looked at, which may be damaged."""
    turn = _UPRIGHT.get(picture.getexif().get(_ORIENTATION))
    return picture if turn is None else picture.transpose(image_module.Transpose[turn])


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
