"""IDX files: what is written is read back, and whatever is not whole and honest is refused by name."""

from __future__ import annotations

import gzip
import lzma
import struct
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convkit.data import IdxError, idx, read_idx, write_idx

Compress = Callable[[bytes], bytes]
CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(code: int, shape: tuple[int, ...], payload: bytes) -> bytes:
    return struct.pack(f">4B{len(shape)}I", 0, 0, code, len(shape), *shape) + payload


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A plain file of 2 × 3 bytes."""
    return write(tmp_path / "small", idx_bytes(0x08, (2, 3), bytes(range(6))))


# Reading ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress], ids=["plain", "gzip", "xz"])
@pytest.mark.parametrize("kind", CODES)
def test_reads_every_dtype_into_native_order(tmp_path: Path, kind: str, compress: Compress) -> None:
    expected = np.array([[0, 1, 100], [-100, 7, 127]]).astype(kind)
    content = idx_bytes(CODES[kind], (2, 3), expected.astype(">" + kind).tobytes())
    found = read_idx(write(tmp_path / "any-name", compress(content)))
    assert found.dtype == np.dtype(kind)
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 28, 28), (2, 0, 3), (1,) * 64])
def test_reads_any_number_of_axes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    content = idx_bytes(0x08, shape, bytes(int(np.prod(shape))))
    assert read_idx(write(tmp_path / "file", content)).shape == shape


def test_reads_files_larger_than_one_piece(tmp_path: Path) -> None:
    expected = np.random.default_rng(0).integers(0, 256, (3, 1 << 20), dtype=np.uint8)
    content = idx_bytes(0x08, expected.shape, expected.tobytes())
    np.testing.assert_array_equal(read_idx(write(tmp_path / "file", content)), expected)


def test_result_is_writable(small: Path) -> None:
    read_idx(str(small))[0, 0] = 9


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", range(18))
def test_truncated_anywhere_is_refused(small: Path, length: int) -> None:
    content = small.read_bytes()
    assert len(content) == 18
    small.write_bytes(content[:length])
    with pytest.raises(IdxError, match="small"):
        read_idx(small)


def test_message_names_file_shape_and_bytes(small: Path) -> None:
    small.write_bytes(small.read_bytes()[:-2])
    message = r"read_idx: .*small should hold 6 bytes of uint8 data, shape \(2, 3\), but only 4 bytes follow"
    with pytest.raises(IdxError, match=message):
        read_idx(small)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, lzma.compress], ids=["plain", "gzip", "xz"])
def test_trailing_bytes_are_refused(small: Path, compress: Compress) -> None:
    small.write_bytes(compress(small.read_bytes() + b"\0"))
    with pytest.raises(IdxError, match="but more bytes follow"):
        read_idx(small)


@pytest.mark.parametrize("start", [b"\x89PNG", b"\x00\x01\x08\x01", b"\x01\x00\x08\x01", b""])
def test_other_files_are_refused(tmp_path: Path, start: bytes) -> None:
    with pytest.raises(IdxError, match="is not an IDX file"):
        read_idx(write(tmp_path / "file", start + bytes(20)[: 20 * bool(start)]))


@pytest.mark.parametrize("code", [0x00, 0x07, 0x0A, 0x0F, 0xFF])
def test_unknown_dtype_is_refused(tmp_path: Path, code: int) -> None:
    with pytest.raises(IdxError, match=f"unknown dtype 0x{code:02X}"):
        read_idx(write(tmp_path / "file", idx_bytes(code, (1,), b"\0")))


@pytest.mark.parametrize(
    "shape",
    [
        (2**32 - 1,) * 3,
        (2**31, 2**31, 4),  # 2**64: zero in 64-bit arithmetic
        (0, 2**32 - 1, 2**32 - 1),
        (1,) * 65,
    ],
)
def test_impossible_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(IdxError, match="impossible shape"):
        read_idx(write(tmp_path / "file", idx_bytes(0x08, shape, b"\0")))


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_lying_header_allocates_nothing(tmp_path: Path, compress: Compress) -> None:
    path = write(tmp_path / "file", compress(idx_bytes(0x0E, (sys.maxsize >> 35, 2**31), bytes(8))))
    tracemalloc.start()
    try:
        with pytest.raises(IdxError, match="but only 8 bytes follow"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress], ids=["gzip", "xz"])
def test_what_is_packed_too_tightly_is_refused(
    tmp_path: Path, compress: Compress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idx, "_PACKED", 1 << 20)
    path = write(tmp_path / "file", compress(idx_bytes(0x08, (1 << 20,), bytes(1 << 20))))
    assert read_idx(path).size == 1 << 20
    path = write(tmp_path / "file", compress(idx_bytes(0x08, (1 << 24,), bytes(1 << 24))))
    with pytest.raises(IdxError, match=r"file holds more than [\d,]+ bytes, packed more tightly than data are"):
        read_idx(path)
    noise = np.random.default_rng(0).integers(0, 256, 1 << 21, dtype=np.uint8).tobytes()
    assert read_idx(write(tmp_path / "file", compress(idx_bytes(0x08, (1 << 21,), noise)))).size == 1 << 21


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress], ids=["gzip", "xz"])
def test_damaged_compression_is_refused(tmp_path: Path, compress: Compress) -> None:
    payload = np.random.default_rng(0).integers(0, 256, 4000, dtype=np.uint8).tobytes()
    good = compress(idx_bytes(0x08, (4000,), payload))
    broken = bytearray(good)
    broken[len(good) // 2] ^= 0xFF
    for content in (good[:-1], good[: len(good) // 2], good[:12], bytes(broken)):
        with pytest.raises(IdxError, match="file"):
            read_idx(write(tmp_path / "file", content))


def test_every_damaged_byte_of_a_gzip_file_is_noticed_or_harmless(tmp_path: Path) -> None:
    expected = np.random.default_rng(0).integers(0, 9, 60, dtype=np.uint8)
    good = gzip.compress(idx_bytes(0x08, (60,), expected.tobytes()), mtime=0)
    refused = 0
    for place in range(2, len(good)):
        broken = bytearray(good)
        broken[place] ^= 0xFF
        try:
            found = read_idx(write(tmp_path / "file", bytes(broken)))
        except IdxError:
            refused += 1
        else:
            np.testing.assert_array_equal(found, expected)  # a byte of gzip's own header
    assert refused > len(good) - 10


def test_gzip_checksum_is_looked_at(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(idx_bytes(0x08, (100,), bytes(100))))
    content[-8] ^= 1  # of the CRC that stands behind the data
    with pytest.raises(IdxError, match=r"is damaged: CRC"):
        read_idx(write(tmp_path / "file", bytes(content)))


def test_missing_file_is_the_usual_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "nothing")


def test_python_without_lzma_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "file", lzma.compress(idx_bytes(0x08, (1,), b"\0")))
    monkeypatch.setitem(sys.modules, "lzma", None)
    with pytest.raises(ImportError, match="file needs lzma"):
        read_idx(path)


# Writing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["file", "file.gz", "file.xz"])
@pytest.mark.parametrize("kind", CODES)
def test_written_is_read_back(tmp_path: Path, kind: str, name: str) -> None:
    values = np.arange(24).reshape(2, 3, 4).astype(kind)
    for array in (values, values.astype(values.dtype.newbyteorder()), values[::-1, :, ::2], values[0, 0, 0]):
        write_idx(tmp_path / name, array)
        np.testing.assert_array_equal(read_idx(tmp_path / name), array)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_written_bytes_are_those_of_the_format(tmp_path: Path) -> None:
    write_idx(tmp_path / "file", np.array([[1, -2]], dtype=np.int16))
    expected = b"\0\0\x0b\x02" + b"\0\0\0\x01" + b"\0\0\0\x02" + b"\0\x01" + b"\xff\xfe"
    assert (tmp_path / "file").read_bytes() == expected


def test_suffix_compresses(tmp_path: Path) -> None:
    array = np.zeros(10_000, dtype=np.uint8)
    for name, start in (("a.gz", b"\x1f\x8b"), ("a.xz", b"\xfd7zXZ")):
        write_idx(tmp_path / name, array)
        assert (tmp_path / name).read_bytes().startswith(start)


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.float16, bool, complex, object])
def test_dtypes_without_a_code_are_refused(tmp_path: Path, dtype: type) -> None:
    with pytest.raises(TypeError, match=f"not {np.dtype(dtype)}"):
        write_idx(tmp_path / "file", np.zeros(3, dtype=dtype))
    assert not list(tmp_path.iterdir())


def test_axis_too_long_for_the_header_is_refused(tmp_path: Path) -> None:
    endless = np.broadcast_to(np.uint8(0), (2**32,))
    with pytest.raises(ValueError, match="axis longer than 4294967295"):
        write_idx(tmp_path / "file", endless)


def test_failed_write_leaves_the_old_file(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = small.read_bytes()

    def fails(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fails)
    with pytest.raises(OSError, match="disk full"):
        write_idx(small, np.zeros(100, dtype=np.uint8))
    assert small.read_bytes() == before
    assert list(small.parent.iterdir()) == [small]


@pytest.mark.parametrize(
    ("work", "error", "message"),
    [
        (lambda: read_idx("a\0b"), ValueError, r"read_idx: path must be a path, not 'a\\x00b'"),
        (lambda: write_idx("a\0b", np.zeros(3)), ValueError, r"write_idx: path must be a path, not 'a\\x00b'"),
        (lambda: write_idx("", np.zeros(3)), IsADirectoryError, "Is a directory: ''"),
        (lambda: write_idx("/", np.zeros(3)), IsADirectoryError, "Is a directory: '/'"),
    ],
)
def test_paths_that_no_file_has(work: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        work()
