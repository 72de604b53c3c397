"""image_folder: which files belong to which class, what becomes of a picture, and how batches come by it."""

from __future__ import annotations

import os
import struct
import sys
import threading
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import convkit as ck
from convkit import data, models, nn, optim
from convkit.data import Batches, DataNotFound, Dataset, PictureFiles, image_folder
from convkit.data.pictures import decode

PETS = {"cat": ["a.png", "b.jpg", "c.JPEG"], "dog": ["a.png", "d.png"], "eel": ["z.png"]}


def noise(height: int, width: int, seed: int = 0, channels: int = 3) -> np.ndarray:
    """Smooth noise, uint8 (height, width, channels)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (5, 5, channels), dtype=np.uint8)
    planes = [
        Image.fromarray(coarse[..., c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(channels)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Six pictures of three classes, and much that is none."""
    folder = tmp_path / "pets"
    seed = 0
    for name, files in PETS.items():
        (folder / name).mkdir(parents=True)
        for file in files:
            Image.fromarray(noise(20, 24, seed)).save(folder / name / file, quality=95)
            seed += 1
    (folder / "cat" / ".hidden.png").write_text("")
    (folder / "cat" / "notes.txt").write_text("")
    (folder / ".thumbnails").mkdir()
    (folder / "readme.md").write_text("")
    return folder


# Files and classes --------------------------------------------------------------------------------


def test_classes_are_the_folders(pets: Path) -> None:
    found = image_folder(pets, 16)
    assert found.classes == ("cat", "dog", "eel")
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 2]
    assert found.labels.dtype == np.int64
    assert isinstance(found.images, PictureFiles)
    names = [f"{path.parent.name}/{path.name}" for path in found.images.paths]
    assert names == [f"{name}/{file}" for name, files in PETS.items() for file in files]
    assert (found.name, found.source, len(found)) == ("pets", str(pets), 6)
    assert found.images.shape == (6, 3, 16, 16)
    assert repr(found) == f"<Dataset pets: 6 images (3, 16, 16), 3 classes, from {pets}>"


def test_pictures_may_lie_deeper(pets: Path) -> None:
    (pets / "dog" / "old" / ".cache").mkdir(parents=True)
    (pets / "dog" / "d.png").rename(pets / "dog" / "old" / "d.png")
    (pets / "dog" / "old" / ".cache" / "e.png").write_text("")
    assert image_folder(pets, 16).labels.tolist() == [0, 0, 0, 1, 1, 2]


def test_classes_of_the_training_set(pets: Path) -> None:
    found = image_folder(pets, 16, classes=["ant", "eel", "dog", "cat"])
    assert found.classes == ("ant", "eel", "dog", "cat")
    assert found.labels.tolist() == [3, 3, 3, 2, 2, 1]
    with pytest.raises(ValueError, match="has a folder eel, which is none of the classes given"):
        image_folder(pets, 16, classes=["cat", "dog"])


def test_a_class_without_pictures_is_refused(pets: Path) -> None:
    (pets / "fox").mkdir()
    (pets / "fox" / "notes.txt").write_text("")
    with pytest.raises(ValueError, match=rf"{pets}/fox should hold pictures \(\.png, \.jpg, \.jpeg\), but holds none"):
        image_folder(pets, 16)


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_text("")
    with pytest.raises(ValueError, match="should hold a folder for each class, but holds none"):
        image_folder(tmp_path, 16)
    with pytest.raises(DataNotFound, match="there is no folder .*nowhere"):
        image_folder(tmp_path / "nowhere", 16)
    with pytest.raises(DataNotFound, match="there is no folder ~nobody-here/pets"):
        image_folder("~nobody-here/pets", 16)


@pytest.mark.skipif(os.name != "posix", reason="links need privileges elsewhere")
def test_links_do_no_harm(pets: Path, tmp_path: Path) -> None:
    (pets / "cat" / "again").symlink_to(pets / "cat")  # not followed
    (pets / "self").symlink_to(pets / "self")  # no folder at all
    (tmp_path / "elsewhere").mkdir()
    Image.fromarray(noise(20, 20)).save(tmp_path / "elsewhere" / "f.png")
    (pets / "fox").symlink_to(tmp_path / "elsewhere")  # a class may lie elsewhere
    assert image_folder(pets, 16).labels.tolist() == [0, 0, 0, 1, 1, 2, 3]
    (pets / "all").symlink_to(pets)
    with pytest.raises(ValueError, match=rf"{pets}/all is no class: it leads back to "):
        image_folder(pets, 16)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"size": 0}, ValueError, "size must be at least 1"),
        ({"size": 16.0}, TypeError, "size must be an integer"),
        ({"size": (16, 16, 3)}, ValueError, "size must be one integer or 2"),
        ({"size": 16, "resize": 15}, ValueError, "resize must be at least the 16 pixels of size, not 15"),
        ({"size": (8, 16), "resize": 12}, ValueError, "resize must be at least the 16 pixels of size, not 12"),
        ({"size": 16, "channels": "RGBA"}, ValueError, "channels must be 'RGB' or 'L', not 'RGBA'"),
        ({"size": 16, "channels": ["RGB"]}, ValueError, r"channels must be 'RGB' or 'L', not \['RGB'\]"),
    ],
)
def test_what_cannot_be_is_refused(pets: Path, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"image_folder: {message}"):
        image_folder(pets, **arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"paths": "cat.png"}, TypeError, "paths must be a sequence of paths, not 'cat.png'"),
        ({"paths": Path("cat.png")}, TypeError, r"paths must be a sequence of paths, not .*Path\('cat.png'\)"),
        ({"paths": b"cat.png"}, TypeError, "paths must be a sequence of paths, not b'cat.png'"),
        ({"paths": None}, TypeError, "paths must be a sequence of paths, not None"),
        ({"paths": np.array(5)}, TypeError, r"paths must be a sequence of paths, not array\(5\)"),
        ({"paths": ["a.png", 5]}, TypeError, r"paths\[1\] must be a path, as a str or os.PathLike, not 5"),
        ({"paths": ["a\0.png"]}, ValueError, r"paths\[0\] must be a path, not 'a\\x00.png'"),
        ({"crop": (4, 4), "resize": 2}, ValueError, "resize must be at least the 4 pixels of crop, not 2"),
        ({"crop": (2, 4), "resize": 3}, ValueError, "resize must be at least the 4 pixels of crop, not 3"),
        ({"resize": 5.9}, TypeError, "resize must be an integer, not 5.9"),
        ({"resize": "5"}, TypeError, "resize must be an integer, not '5'"),
        ({"resize": 0}, ValueError, "resize must be at least 1, not 0"),
        ({"crop": (2.7, 2.7)}, TypeError, "crop must be an integer, not 2.7"),
        ({"crop": ("2", "2")}, TypeError, "crop must be an integer, not '2'"),
        ({"crop": "22"}, TypeError, "crop must be an integer, not '22'"),
        ({"crop": (2,)}, ValueError, r"crop must be one integer or 2 of them, not \(2,\)"),
        ({"crop": (-2, 2)}, ValueError, "crop must be at least 1, not -2"),
        ({"crop": None}, TypeError, "crop must be an integer, not None"),
        ({"crop": 2**40}, ValueError, "the array of all images would have shape"),
        ({"channels": "X"}, ValueError, "channels must be 'RGB' or 'L', not 'X'"),
        ({"channels": ["RGB"]}, ValueError, r"channels must be 'RGB' or 'L', not \['RGB'\]"),
        ({"channels": None}, ValueError, "channels must be 'RGB' or 'L', not None"),
    ],
    ids=str,
)
def test_what_files_of_pictures_cannot_be(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^PictureFiles: {message}"):
        PictureFiles(**{"paths": ["a.png"], "crop": (4, 4), **arguments})


@pytest.mark.parametrize("crop", [4, (4, 4), [4, 4], np.array([4, 4]), np.int64(4)], ids=str)
def test_files_of_pictures_come_in_whatever_holds_paths(pets: Path, crop: Any) -> None:
    names = sorted(str(path) for path in pets.glob("*/[a-z]*.png"))
    expected = image_folder(pets, 4, resize=9).images[[0, 3, 4, 5]]
    for paths in (names, tuple(names), np.array(names), iter(names), map(Path, names)):
        found = PictureFiles(paths, crop, np.int64(9))  # type: ignore[arg-type]
        assert found.shape == (4, 3, 4, 4)
        assert (found.crop, found.resize) == ((4, 4), 9)
        np.testing.assert_array_equal(found, expected)


def test_without_pillow_the_message_names_the_command(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r'pip install "convkit\[images\]"'):
        image_folder(pets, 16)


# Resize and crop ----------------------------------------------------------------------------------


def triangle(before: int, after: int) -> np.ndarray:
    """The matrix (after, before) of linear interpolation that averages over all samples that fall into one."""
    scale = before / after
    reach = max(scale, 1.0)
    middle = (np.arange(after)[:, None] + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs(np.arange(before) + 0.5 - middle) / reach)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("shape", "size", "resize", "resized"),
    [
        ((40, 60), 16, None, (16, 24)),
        ((61, 40), 16, None, (24, 16)),
        ((40, 60), 16, 20, (20, 30)),
        ((33, 100), 24, 31, (31, 93)),
        ((10, 12), 16, None, (16, 19)),  # enlarged
        ((40, 60), (10, 24), None, (16, 24)),
        ((40, 60), (24, 10), None, (24, 36)),
        ((16, 16), 16, None, (16, 16)),
        ((7, 300), 5, None, (5, 214)),
    ],
    ids=str,
)
def test_the_shorter_side_is_resized_then_the_middle_cropped(
    tmp_path: Path, shape: tuple[int, int], size: Any, resize: int | None, resized: tuple[int, int]
) -> None:
    pixels = noise(*shape)
    (tmp_path / "x").mkdir()
    Image.fromarray(pixels).save(tmp_path / "x" / "x.png")
    image = image_folder(tmp_path, size, resize=resize).images[0]
    height, width = (size, size) if isinstance(size, int) else size
    whole = np.einsum("ih,hwc,jw->cij", triangle(shape[0], resized[0]), pixels, triangle(shape[1], resized[1]))
    top, left = round((resized[0] - height) / 2), round((resized[1] - width) / 2)
    expected = whole[:, top : top + height, left : left + width]
    assert image.shape == expected.shape
    np.testing.assert_allclose(image, expected, atol=1.1)  # rounded twice


# All kinds of pictures ----------------------------------------------------------------------------


def saved(path: Path, picture: Any, **options: Any) -> Path:
    picture.save(path, **options)
    return path


def test_modes_become_colour_and_grey(tmp_path: Path) -> None:
    grey = np.tile(np.arange(0, 240, 8, dtype=np.uint8), (30, 1))
    colour = np.stack([grey, grey.T, 255 - grey], axis=-1)
    rgb = Image.fromarray(colour)
    see_through = np.dstack([colour, np.where(np.arange(30) < 15, 0, 255)[None].repeat(30, 0).astype(np.uint8)])
    paper = np.where(see_through[..., 3:] == 0, 255, colour)
    palette = Image.fromarray((grey // 64).astype(np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    colours = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90], [100, 110, 120]], np.uint8)[grey // 64]
    cases = [
        (saved(tmp_path / "grey.png", Image.fromarray(grey)), np.dstack([grey] * 3), 0),
        (saved(tmp_path / "rgb.png", rgb), colour, 0),
        (saved(tmp_path / "rgb.jpg", rgb, quality=100, subsampling=0), colour, 4),
        (saved(tmp_path / "grey.jpg", Image.fromarray(grey), quality=100), np.dstack([grey] * 3), 2),
        (saved(tmp_path / "cmyk.jpg", rgb.convert("CMYK"), quality=100), colour, 6),
        (saved(tmp_path / "alpha.png", Image.fromarray(see_through)), paper, 0),
        (saved(tmp_path / "grey-alpha.png", Image.fromarray(see_through).convert("LA")), None, 0),
        (saved(tmp_path / "palette.png", palette), colours, 0),
        (
            saved(tmp_path / "clear-palette.png", palette, transparency=0),
            np.where(grey[..., None] < 64, 255, colours),
            0,
        ),
        (saved(tmp_path / "bits.png", Image.fromarray(grey > 100)), np.dstack([(grey > 100) * np.uint8(255)] * 3), 0),
        (saved(tmp_path / "deep.png", Image.fromarray(grey.astype(np.uint16) * 257)), np.dstack([grey] * 3), 0),
    ]
    for path, expected, tolerance in cases:
        found = np.asarray(decode(path, "RGB", ("PNG", "JPEG")))
        assert found.shape == (30, 30, 3), path
        if expected is not None:
            np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=tolerance, err_msg=str(path))
        single = np.asarray(decode(path, "L", ("PNG", "JPEG")))
        np.testing.assert_array_equal(single, np.asarray(Image.fromarray(found).convert("L")), err_msg=str(path))


def test_deep_colours_are_made_8_bits(tmp_path: Path) -> None:
    """Pillow writes no 16-bit colours: the file is put together by hand."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    pixels = (np.arange(4 * 4 * 3, dtype=np.uint16) * 1300).reshape(4, 4, 3)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    found = np.asarray(decode(tmp_path / "deep.png", "RGB")).astype(int)
    np.testing.assert_allclose(found, pixels / 257, atol=1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["rgb.jpg", "rgb.png", "deep.png"])
def test_pictures_are_turned_upright(tmp_path: Path, orientation: int, kind: str) -> None:
    """By the EXIF standard: what the picture's first row and first column are, from 1 to 8."""
    upright = noise(24, 32)[..., 0]
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: upright.T[::-1],  # turned by 90° anticlockwise, to be turned back
        7: upright.T[::-1, ::-1],
        8: upright.T[:, ::-1],
    }[orientation]
    deep = stored.astype(np.uint16) * 257
    picture = Image.fromarray(deep if kind == "deep.png" else np.dstack([stored] * 3))
    exif = picture.getexif()
    exif[0x0112] = orientation
    path = saved(tmp_path / kind, picture, exif=exif, **({"quality": 100} if kind.endswith("jpg") else {}))
    np.testing.assert_allclose(np.asarray(decode(path, "L")).astype(int), upright, atol=4)


@pytest.mark.parametrize("how", ["cut", "empty", "text", "head", "flipped"])
@pytest.mark.parametrize("name", ["b.jpg", "a.png"])
def test_a_broken_picture_is_named(pets: Path, name: str, how: str) -> None:
    path = pets / "cat" / name
    good = path.read_bytes()
    bad = {
        "cut": good[: len(good) // 2],
        "empty": b"",
        "text": b"once upon a time",
        "head": good[:30],
        "flipped": good[:8] + bytes(255 - byte for byte in good[8:]),
    }[how]
    path.write_bytes(bad)
    found = image_folder(pets, 16)
    with pytest.raises(ValueError, match=rf"{path} is (a damaged picture: |not a PNG or JPEG file)"):
        found.images[:]
    with pytest.raises(ValueError, match=str(path)):
        list(Batches(found, 2).epoch(0))


def with_exif(path: Path, pixels: np.ndarray, tag: int, kind: int, count: int) -> None:
    """A JPEG turned upside down by its EXIF, which has another tag of this type and count, too."""
    entries = struct.pack("<HHII", 0x0112, 3, 1, 3) + struct.pack("<HHII", tag, kind, count, 26)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + entries + bytes(4)
    Image.fromarray(pixels).save(path, quality=100, exif=exif)


@pytest.mark.filterwarnings("ignore:.*EXIF:UserWarning")
@pytest.mark.filterwarnings("ignore:Truncated File Read:UserWarning")
@pytest.mark.parametrize("tag", [0x010E, 0x8769, 0x8825, 0x011A, 0x9000, 0xA005, 0x0FFF], ids=hex)
def test_of_exif_only_the_orientation_counts(tmp_path: Path, tag: int) -> None:
    upright = noise(24, 32, channels=1)[..., 0]
    for kind in range(1, 14):
        for count in (1, 2, 4):
            with_exif(tmp_path / "x.jpg", upright[::-1, ::-1], tag, kind, count)
            found = np.asarray(decode(tmp_path / "x.jpg", "L")).astype(int)
            np.testing.assert_allclose(found, upright, atol=4, err_msg=f"type {kind}, {count} of it")


def test_other_formats_are_refused_by_what_they_hold(pets: Path) -> None:
    Image.fromarray(noise(20, 24)).save(pets / "cat" / "a.png", format="GIF")
    with pytest.raises(ValueError, match=r"cat/a\.png is not a PNG or JPEG file"):
        image_folder(pets, 16).images[0]


def test_a_picture_that_vanishes_is_named(pets: Path) -> None:
    found = image_folder(pets, 16)
    (pets / "eel" / "z.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"z\.png"):
        found.images[5]
    assert found.images[4].shape == (3, 16, 16)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("most", "came"), [(100, r".*480 pixels"), (479, "20 × 24 pixels, the limit being 479")])
def test_a_picture_of_too_many_pixels_is_refused(
    most: int, came: str, pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Pillow fails, and where it warns."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
    with pytest.raises(ValueError, match=rf"{pets}/cat/a\.png is too large a picture: {came}"):
        image_folder(pets, 16).images[0]


def test_a_picture_that_would_be_made_too_large_is_refused(pets: Path) -> None:
    Image.new("L", (60_000, 1)).save(pets / "cat" / "a.png")
    with pytest.raises(ValueError, match=r"cat/a\.png of 1 × 60000 pixels is too narrow: .* made 100 × 6000000$"):
        image_folder(pets, 100).images[0]


def test_pieces_of_a_picture_without_content_are_damage(pets: Path) -> None:
    content = (pets / "cat" / "a.png").read_bytes()
    piece = b"\0\0\0\0iCCP" + struct.pack(">I", zlib.crc32(b"iCCP"))  # which should hold a profile
    (pets / "cat" / "a.png").write_bytes(content[:-12] + piece + content[-12:])
    with pytest.raises(ValueError, match=r"cat/a\.png is a damaged picture: "):
        image_folder(pets, 16).images[0]


def test_a_piece_that_says_it_is_huge_takes_no_memory(pets: Path) -> None:
    path = pets / "cat" / "a.png"
    content = path.read_bytes()
    place = content.index(b"IDAT") - 4
    path.write_bytes(content[:place] + struct.pack(">I", 2**31 - 1) + content[place + 4 :])
    image_folder(pets, 16).images[1]  # whatever reading needs once
    tracemalloc.start()
    try:
        image_folder(pets, 16).images[0]
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


# An array that is not there -----------------------------------------------------------------------


def test_it_reads_like_an_array(pets: Path) -> None:
    images = image_folder(pets, (12, 16)).images
    whole = image_folder(pets, (12, 16), in_memory=True).images
    assert isinstance(whole, np.ndarray)
    assert (images.shape, images.dtype, images.ndim, images.size, len(images)) == (
        whole.shape,
        whole.dtype,
        whole.ndim,
        whole.size,
        6,
    )
    mask = np.array([True, False, True, False, False, True])
    for index in (0, -1, np.int64(2), slice(1, 4), slice(None, None, -2), [3, 0, 3], mask, [], (slice(0, 2), 0), ...):
        np.testing.assert_array_equal(images[index], whole[index], err_msg=str(index))
    np.testing.assert_array_equal(np.asarray(images, np.float32), whole.astype(np.float32))
    for index in (6, -7, [0, 6], 1.0, "a", np.ones(5, bool), (6, 0), (0, "a")):
        with pytest.raises(IndexError, match="^PictureFiles: index must choose among 6 images, but "):
            images[index]


@pytest.mark.parametrize(
    ("index", "expected"),
    [(0, [0]), (-1, [5]), (np.int64(2), [2]), (slice(1, 3), [1, 2]), ([3, 0, 3], [3, 0, 3]), ([], [])],
    ids=str,
)
def test_a_part_stays_in_its_files(pets: Path, index: Any, expected: list[int]) -> None:
    images = image_folder(pets, (12, 16), channels="L").images
    assert isinstance(images, PictureFiles)
    part = images.part(index)
    assert part.paths == [images.paths[number] for number in expected]
    assert part.shape == (len(expected), 1, 12, 16)


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (6, IndexError, "index must choose among 6 images, but index 6 is out of bounds"),
        ("a", IndexError, "index must choose among 6 images, but only integers"),
        (np.ones(5, bool), IndexError, "index must choose among 6 images, but boolean index did not match"),
        (slice("a"), TypeError, "index must choose among 6 images, but slice indices must be integers"),
        ([[0, 1]], IndexError, r"index must choose samples in one row, not of shape \(1, 2\)"),
    ],
    ids=str,
)
def test_a_part_that_cannot_be_is_named(pets: Path, index: Any, error: type[Exception], message: str) -> None:
    images = image_folder(pets, 16).images
    assert isinstance(images, PictureFiles)
    with pytest.raises(error, match=rf"^PictureFiles\.part: {message}"):
        images.part(index)


def test_only_what_is_chosen_is_decoded(pets: Path) -> None:
    found = image_folder(pets, 16)
    for name in ("b.jpg", "c.JPEG"):
        (pets / "cat" / name).write_text("broken")
    part = found[found.labels > 0]
    assert isinstance(part.images, PictureFiles)
    assert part.labels.tolist() == [1, 1, 2]
    assert part.classes == found.classes
    assert part.images[:].shape == (3, 3, 16, 16)
    np.testing.assert_array_equal(found[0].images[0], found.images[0])


def test_grey(pets: Path) -> None:
    assert image_folder(pets, 16, channels="L").images[1:3].shape == (2, 1, 16, 16)


def test_batches_are_decoded_in_the_background(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = set()
    decoded = PictureFiles._decoded

    def watched(self: PictureFiles, path: Path) -> np.ndarray:
        threads.add(threading.current_thread().name)
        return decoded(self, path)

    monkeypatch.setattr(PictureFiles, "_decoded", watched)
    found = image_folder(pets, 16)
    served = list(Batches(found, 4, seed=3).epoch(1))
    assert threads == {"convkit-batches_0"}
    assert [len(labels) for _, labels in served] == [4, 2]
    in_memory = image_folder(pets, 16, in_memory=True)
    for (x, labels), (images, expected) in zip(served, Batches(in_memory, 4, seed=3).epoch(1), strict=True):
        np.testing.assert_array_equal(x, images)
        np.testing.assert_array_equal(labels, expected)


def test_training_on_files_is_training_on_what_is_in_them(pets: Path) -> None:
    """Augmented, validated and predicted: the same bits as from memory."""

    def trained(dataset: Dataset) -> tuple[dict[str, np.ndarray], list[float], np.ndarray]:
        ck.set_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU(), nn.GlobalAvgPool(), nn.Linear(4, 3))
        trainer = ck.Trainer(model, nn.CrossEntropyLoss(), optim.Adam(1e-2), metrics=["accuracy"])
        augment = [
            data.RandomCrop(14),
            data.RandomShift(1),
            data.RandomHorizontalFlip(),
            data.RandomRotation(10),
            data.RandomErasing(),
            data.Cutout(3),
            data.MixUp(3),
        ]
        history = trainer.fit(dataset, validation=dataset, epochs=2, batch_size=4, augment=augment, verbose=0)
        return model.state_dict(), history["val_loss"], trainer.predict(dataset, batch_size=4)

    from_files, from_memory = (trained(image_folder(pets, 16, in_memory=kept)) for kept in (False, True))
    for name, value in from_files[0].items():
        np.testing.assert_array_equal(value, from_memory[0][name])
    assert from_files[1] == from_memory[1]
    np.testing.assert_array_equal(from_files[2], from_memory[2])


def test_the_whole_is_never_in_memory(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: PictureFiles, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise AssertionError("all pictures were decoded at once")

    monkeypatch.setattr(PictureFiles, "__array__", refused)
    found = image_folder(pets, 16)
    model = nn.Sequential(nn.Conv2d(3, 4, 5), nn.GlobalAvgPool(), nn.Linear(4, 3))
    trainer = ck.Trainer(model, nn.CrossEntropyLoss(), optim.Adam(1e-2))
    trainer.fit(found, validation=found[found.labels < 2], epochs=1, batch_size=4, verbose=0)
    trainer.evaluate(found, batch_size=4)
    assert trainer.predict(found, batch_size=4).shape == (6, 3)


def test_a_network_learns_from_a_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, column in (("left", 4), ("right", 20)):
        (tmp_path / name).mkdir()
        for number in range(24):
            pixels = rng.integers(0, 60, (28, 28, 3), dtype=np.uint8)
            pixels[4:24, column : column + 4] += 150
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    found = image_folder(tmp_path, 28)
    ck.set_seed(0)
    model = models.resnet20(in_channels=3, num_classes=2)
    trainer = ck.Trainer(model, nn.CrossEntropyLoss(), optim.Adam(1e-3), metrics=["accuracy"])
    history = trainer.fit(found, epochs=4, batch_size=16, verbose=0)
    assert history["accuracy"][-1] > 0.9
    assert model.classes == ["left", "right"]
