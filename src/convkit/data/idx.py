"""The IDX format: one array in one file, as MNIST and its kin are published.

A file is a magic number (two zero bytes, a code for the dtype, the number of axes), one big-endian
32-bit size per axis, then the elements, big-endian, last axis fastest. It may be compressed with gzip or xz,
which is told by its first bytes, never by its name.

Nothing in a header is believed until the bytes bear it out: the payload is read piece by piece, so a header
that promises a terabyte costs no more memory than the file really holds. A compressed file may hold a thousand times
its size: beyond a gigabyte, what is packed so much more tightly than any data is refused.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from convkit.errors import view
from convkit.files import check_regular, file_path, write_whole

# The code of each dtype in the third byte of the magic number.
_DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(">u1"),
    0x09: np.dtype(">i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_CODES = {dtype.newbyteorder("="): code for code, dtype in _DTYPES.items()}
_MAX_AXES = 64  # of a NumPy array
_MAX_SIZE = 2**32 - 1  # of an axis in an IDX header
_PIECE = 1 << 20  # bytes read at a time
_PACKED = 1 << 30  # bytes that a compressed file may hold in any case,
_TIGHTNESS = 100  # and beyond these, for each byte of its own


class IdxError(ValueError):
    """A file that is not a whole, honest IDX file; the message says which file and what is wrong."""


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Read the array of an IDX file, plain or compressed with gzip or xz.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    array : ndarray
        Of the shape in the header; uint8, int8, int16, int32, float32 or float64 in native byte order.

    Raises
    ------
    IdxError
        If the file is not IDX, has an unknown dtype, is truncated or damaged, or holds fewer or more bytes
        than its header promises; if it is compressed and promises more than a gigabyte and 100 times its size.
    TypeError, ValueError
        For a path that is none.
    OSError
        If the file cannot be opened.
    """
    file_path("read_idx", "path", path)
    opener, damage = _opener(path)
    try:
        with opener(path, "rb") as stream:
            most = sys.maxsize if opener is open else max(_PACKED, _TIGHTNESS * os.stat(path).st_size)
            return _decode(stream, f"read_idx: {os.fspath(path)}", most)
    except damage as error:
        raise IdxError(f"read_idx: {os.fspath(path)} is damaged: {error}") from error


def write_idx(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write an array as an IDX file, which appears whole or not at all.

    Parameters
    ----------
    path : str or path-like
        The file; a name that ends in ``.gz`` or ``.xz`` is compressed accordingly.
    array : ndarray
        uint8, int8, int16, int32, float32 or float64, in any byte order and memory layout.

    Raises
    ------
    TypeError
        If the format has no code for the dtype; for a path that is none.
    ValueError
        If an axis is longer than 2**32 - 1; for a path that no file can have.
    OSError
        If the file cannot be written.
    """
    suffix = Path(file_path("write_idx", "path", path)).suffix
    content = encode_idx(array)
    if suffix == ".gz":
        content = gzip.compress(content, mtime=0)  # without the time of day: same array, same file
    elif suffix == ".xz":
        content = _lzma(path).compress(content)
    write_whole(path, content)


def encode_idx(array: np.ndarray) -> bytes:
    """The uncompressed IDX file that holds `array`."""
    array = view("write_idx", "array", array)
    code = _CODES.get(array.dtype.newbyteorder("="))
    if code is None:
        raise TypeError(f"write_idx: array must be one of {', '.join(map(str, _CODES))}, not {array.dtype}")
    if max(array.shape, default=0) > _MAX_SIZE:
        raise ValueError(f"write_idx: array has an axis longer than {_MAX_SIZE} (shape {array.shape})")
    header = struct.pack(f">4B{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(_DTYPES[code], copy=False).tobytes()


def _opener(path: str | os.PathLike[str]) -> tuple[Callable[..., Any], tuple[type[Exception], ...]]:
    """What opens this file, and the exceptions by which it reports damaged compressed data."""
    check_regular(path)
    with open(path, "rb") as file:
        start = file.read(6)
    if start.startswith(b"\x1f\x8b"):
        return gzip.open, (EOFError, zlib.error, gzip.BadGzipFile)
    if start == b"\xfd7zXZ\x00":
        lzma = _lzma(path)
        return lzma.open, (EOFError, lzma.LZMAError)
    return open, ()


def _lzma(path: str | os.PathLike[str]) -> Any:
    """The standard library's lzma, which a Python built without liblzma lacks."""
    try:
        import lzma
    except ImportError as error:
        raise ImportError(f"{os.fspath(path)} needs lzma, which this Python was built without") from error
    return lzma


def _decode(stream: IO[bytes], where: str, most: int) -> np.ndarray:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\x00\x00":
        raise IdxError(f"{where} is not an IDX file: it should begin with two zero bytes, not with {magic!r}")
    code, axes = magic[2], magic[3]
    if code not in _DTYPES:
        known = ", ".join(f"0x{code:02X}" for code in _DTYPES)
        raise IdxError(f"{where} has the unknown dtype 0x{code:02X} (an IDX file has one of {known})")
    sizes = stream.read(4 * axes)
    if len(sizes) < 4 * axes:
        raise IdxError(f"{where} ends within the sizes of its {axes} axes")
    return _array(stream, struct.unpack(f">{axes}I", sizes), _DTYPES[code], where, most)


def _array(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], where: str, most: int) -> np.ndarray:
    # NumPy cannot lay out an array whose sizes overflow, not even an empty one: zeros count as ones here.
    if len(shape) > _MAX_AXES or math.prod(max(n, 1) for n in shape) * dtype.itemsize > sys.maxsize:
        raise IdxError(f"{where} claims the impossible shape {shape}")
    promised = math.prod(shape) * dtype.itemsize
    payload = _read_at_most(
        min(promised, most) + 1, stream
    )  # one more tells trailing bytes, and checks gzip's checksum
    if most < len(payload) <= promised:
        raise IdxError(f"{where} holds more than {most:,} bytes, packed more tightly than data are; unpack it first")
    if len(payload) != promised:
        claim = f"{promised:,} bytes of {dtype.name} data, shape {shape}"
        found = "more" if len(payload) > promised else f"only {len(payload):,}"
        raise IdxError(f"{where} should hold {claim}, but {found} bytes follow its header")
    return np.ndarray(shape, dtype, payload).astype(dtype.newbyteorder("="), copy=False)


def _read_at_most(limit: int, stream: IO[bytes]) -> bytearray:
    content = bytearray()
    while piece := stream.read(min(_PIECE, limit - len(content))):
        content += piece
    return content
