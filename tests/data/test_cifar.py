"""CIFAR-10 and CIFAR-100 from files, archives and mirrors; toys in the published form, with checksums of their own."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pooch
import pytest

from convkit.data import CifarError, DataNotFound, cifar, cifar10, cifar100, load, sources

Files = dict[str, bytes]
COUNT = 4  # records in a file

NAMES = {
    "cifar10": [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"],
    "cifar100": ["train.bin", "test.bin"],
}
INNER = {"cifar10": "cifar-10-batches-bin", "cifar100": "cifar-100-binary"}
ARCHIVES = {"cifar10": "cifar-10-binary.tar.gz", "cifar100": "cifar-100-binary.tar.gz"}


def record(labels: list[int], image: np.ndarray) -> bytes:
    return bytes(labels) + image.tobytes()


def toy_files(name: str, seed: int) -> Files:
    """A few records under the published names."""
    rng = np.random.default_rng(seed)

    def labels() -> list[int]:
        return [int(rng.integers(10))] if name == "cifar10" else [int(rng.integers(20)), int(rng.integers(100))]

    def image() -> np.ndarray:
        return rng.integers(0, 256, (3, 32, 32), dtype=np.uint8)

    return {file: b"".join(record(labels(), image()) for _ in range(COUNT)) for file in NAMES[name]}


def packed(files: Files, inner: str) -> bytes:
    """The archive of files, and of a text beside them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in {"readme.html": b"<html>", **files}.items():
            member = tarfile.TarInfo(f"{inner}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


TOYS = {name: toy_files(name, seed) for seed, name in enumerate(NAMES)}
PACKED = {name: packed(TOYS[name], INNER[name]) for name in NAMES}


def lay_out(folder: Path, files: Files) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(autouse=True)
def toy_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toys in place of the published sets; no data anywhere; mirrors that refuse every connection."""
    for name in ("cifar10", "cifar100", "cifar100-coarse"):
        collection = sources.COLLECTIONS[name]
        assert isinstance(collection, cifar.CifarCollection)
        files = TOYS[collection.folder]
        toy = replace(
            collection,
            mirrors=("http://127.0.0.1:9/",),
            archive_checksum=hashlib.sha256(PACKED[collection.folder]).hexdigest(),
            checksums={
                split: {file: hashlib.sha256(files[file]).hexdigest() for file in known}
                for split, known in collection.checksums.items()
            },
        )
        monkeypatch.setitem(sources.COLLECTIONS, name, toy)
    monkeypatch.setattr(sources, "SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.delenv(sources.VARIABLE, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def assert_is(dataset: sources.Dataset, files: list[bytes], label_bytes: int, label: int) -> None:
    """Compare with the files read byte by byte, as the description of the format has it."""
    place = 0
    for content in files:
        for begin in range(0, len(content), label_bytes + 3072):
            one = content[begin : begin + label_bytes + 3072]
            assert dataset.labels[place] == one[label]
            for channel, row, column in ((0, 0, 0), (0, 0, 31), (1, 5, 7), (2, 31, 30)):
                expected = one[label_bytes + 1024 * channel + 32 * row + column]
                assert dataset.images[place, channel, row, column] == expected
            place += 1
    assert len(dataset) == place
    assert dataset.images.shape == (place, 3, 32, 32)
    assert dataset.images.dtype == np.uint8
    assert dataset.labels.dtype == np.int64


# Files in a folder --------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", ["", "cifar10", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin"])
def test_cifar10_from_files(tmp_path: Path, inner: str) -> None:
    files = TOYS["cifar10"]
    place = lay_out(tmp_path / "here" / inner, files)
    train, test = cifar10("train", tmp_path / "here"), cifar10("test", str(tmp_path / "here"))
    assert_is(train, [files[f"data_batch_{number}.bin"] for number in range(1, 6)], 1, 0)
    assert_is(test, [files["test_batch.bin"]], 1, 0)
    assert (train.name, train.split, train.source) == ("cifar10", "train", str(place))
    assert train.classes[3] == "cat"
    assert len(train.classes) == 10


def test_cifar100_has_two_kinds_of_labels(tmp_path: Path) -> None:
    files = TOYS["cifar100"]
    lay_out(tmp_path / "cifar100", files)
    fine, coarse = cifar100("train", tmp_path), cifar100("train", tmp_path, labels="coarse")
    assert_is(fine, [files["train.bin"]], 2, 1)
    assert_is(coarse, [files["train.bin"]], 2, 0)
    assert_is(cifar100("test", tmp_path), [files["test.bin"]], 2, 1)
    assert (len(fine.classes), len(coarse.classes)) == (100, 20)
    assert (fine.classes[0], fine.classes[99], coarse.classes[19]) == ("apple", "worm", "vehicles_2")
    assert list(fine.classes) == sorted(set(fine.classes))
    assert (coarse.name, coarse.source) == ("cifar100-coarse", str(tmp_path / "cifar100"))
    with pytest.raises(ValueError, match="cifar100: labels must be 'fine' or 'coarse', not 'superclass'"):
        cifar100("train", tmp_path, labels="superclass")  # type: ignore[arg-type]


def test_data_of_ones_own_are_taken_and_marked(tmp_path: Path) -> None:
    lay_out(tmp_path, toy_files("cifar10", 7))
    assert cifar10("test", tmp_path).source == f"{tmp_path} (not the published files)"


def test_another_file_under_this_name_is_refused(tmp_path: Path) -> None:
    files = {**TOYS["cifar10"], "data_batch_3.bin": TOYS["cifar10"]["test_batch.bin"]}
    with pytest.raises(DataNotFound, match=r"data_batch_3\.bin is test_batch\.bin, not data_batch_3\.bin"):
        cifar10("train", lay_out(tmp_path, files))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "should hold records of 3,073 bytes each, but has 0 bytes"),
        (bytes(3072), "should hold records of 3,073 bytes each, but has 3,072 bytes"),
        (bytes(3 * 3073 + 1), "should hold records of 3,073 bytes each, but has 9,220 bytes"),
        (bytes(3073) + b"\n" + bytes(3072), "should hold labels up to 9, but that of record 1 is 10"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    lay_out(tmp_path, {**TOYS["cifar10"], "data_batch_4.bin": content})
    with pytest.raises(CifarError, match=rf"{tmp_path}/data_batch_4\.bin {message}"):
        cifar10("train", tmp_path)
    assert len(cifar10("test", tmp_path)) == COUNT


def test_cifar100_checks_the_label_that_counts(tmp_path: Path) -> None:
    lay_out(tmp_path, {"train.bin": record([20, 99], np.zeros((3, 32, 32), np.uint8))})
    assert cifar100("train", tmp_path).labels.tolist() == [99]
    with pytest.raises(CifarError, match="labels up to 19, but that of record 0 is 20"):
        cifar100("train", tmp_path, labels="coarse")


def test_what_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar, "_LARGEST", 5000)
    with pytest.raises(CifarError, match=r"data_batch_1\.bin should hold at most 5,000 bytes"):
        cifar10("train", lay_out(tmp_path / "plain", TOYS["cifar10"]))
    with pytest.raises(CifarError, match=r"cifar-10-binary\.tar\.gz/data_batch_1\.bin should hold at most 5,000"):
        cifar10("train", lay_out(tmp_path / "packed", {ARCHIVES["cifar10"]: PACKED["cifar10"]}))
    monkeypatch.setattr(cifar, "_LARGEST", 10**6)
    monkeypatch.setattr(cifar, "_LARGEST_ARCHIVE", 20_000)
    with pytest.raises(CifarError, match=r"cifar-10-binary\.tar\.gz is damaged: it holds more than 20,000 bytes"):
        cifar10("train", tmp_path / "packed")


@pytest.mark.parametrize("size", [b"77777777777\0", b"\x80" + b"\x0f" * 11])
def test_an_archive_whose_sizes_lie_is_refused_at_once(tmp_path: Path, size: bytes) -> None:
    content = bytearray(gzip.decompress(PACKED["cifar10"]))
    content[124:136] = size
    content[148:156] = b" " * 8  # the checksum counts as spaces
    content[148:156] = b"%06o\0 " % sum(content[:512])
    lay_out(tmp_path, {ARCHIVES["cifar10"]: gzip.compress(bytes(content))})
    with pytest.raises(CifarError, match=r"tar\.gz is damaged: it ends before the files that it claims to hold"):
        cifar10("train", tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    lay_out(tmp_path / "cifar10", TOYS["cifar10"])
    (tmp_path / "cifar10" / "data_batch_5.bin").unlink()
    with pytest.raises(
        DataNotFound, match=r"holds neither data_batch_1\.bin, .*nor cifar-10-binary\.tar\.gz, nor does"
    ):
        cifar10("train", tmp_path)
    with pytest.raises(DataNotFound, match="there is no folder .*nowhere"):
        cifar10("train", tmp_path / "nowhere")


def test_a_variable_that_names_a_file_is_said_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(sources.VARIABLE, str(tmp_path / "file"))
    with pytest.raises(DataNotFound, match=rf"CONVKIT_DATA: {tmp_path}/file is not a folder"):
        cifar10("train")


def pax(**headers: str) -> bytes:
    """A test set whose file has these headers in front."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        member.size = 3073
        member.pax_headers = {name.replace("_", "."): value for name, value in headers.items()}
        archive.addfile(member, io.BytesIO(bytes(3073)))
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        pax(GNU_sparse_map="0,x"),
        pax(GNU_sparse_size="x"),
        pax(GNU_sparse_realsize="9" * 5000),
        pax(GNU_sparse_major="1", GNU_sparse_minor="0", GNU_sparse_realsize="5"),
        pax(comment="x")[:1024] * 3000 + pax(),
    ],
    ids=["map", "size", "digits", "version", "headers"],
)
def test_headers_that_lie_are_damage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ARCHIVES["cifar10"]).write_bytes(gzip.compress(content))
    with pytest.raises(CifarError, match=rf"{tmp_path}/cifar-10-binary\.tar\.gz is damaged: "):
        cifar10("test", tmp_path)


def test_there_is_no_sample() -> None:
    with pytest.raises(DataNotFound, match="cifar10: convkit comes with no sample of it"):
        cifar10("train", "sample")
    with pytest.raises(DataNotFound, match="cifar10 was found nowhere") as caught:
        load("cifar10", "train", fallback_to_sample=True)
    assert "cifar-10-binary.tar.gz" in str(caught.value)
    assert "source='sample'" not in str(caught.value)


# The archive --------------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", ["", "cifar100"])
def test_the_archive_is_read_as_it_is(tmp_path: Path, inner: str) -> None:
    folder = lay_out(tmp_path / inner, {ARCHIVES["cifar100"]: PACKED["cifar100"]})
    train = cifar100("train", tmp_path)
    assert_is(train, [TOYS["cifar100"]["train.bin"]], 2, 1)
    assert train.source == str(folder / ARCHIVES["cifar100"])
    assert [path.name for path in folder.iterdir()] == [ARCHIVES["cifar100"]]


def test_an_archive_writes_nothing_anywhere(tmp_path: Path) -> None:
    """Names that climb out of the folder, links and devices: none is followed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name in ("../train.bin", f"{tmp_path}/absolute", "cifar-100-binary/../../up"):
            member = tarfile.TarInfo(name)
            member.size = 5
            archive.addfile(member, io.BytesIO(b"harm!"))
        link = tarfile.TarInfo("cifar-100-binary/train.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    folder = lay_out(tmp_path / "a" / "b", {ARCHIVES["cifar100"]: buffer.getvalue()})
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CifarError, match=r"should hold cifar-100-binary/train\.bin, but does not"):
        cifar100("train", folder)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("how", ["cut", "half", "no gzip", "no tar", "flipped"])
def test_a_damaged_archive_is_refused(tmp_path: Path, how: str) -> None:
    good = PACKED["cifar10"]
    middle = len(good) // 2
    bad = {
        "cut": good[:-1000],
        "half": good[:middle],
        "no gzip": b"<html>moved</html>",
        "no tar": gzip.compress(bytes(range(256)) * 40),
        "flipped": good[:middle] + bytes(255 - byte for byte in good[middle : middle + 64]) + good[middle + 64 :],
    }[how]
    folder = lay_out(tmp_path / how, {ARCHIVES["cifar10"]: bad})
    try:
        dataset = cifar10("train", folder)
    except CifarError as error:
        assert ARCHIVES["cifar10"] in str(error)
    else:  # bytes changed, but still an archive of whole records
        assert how == "flipped" and dataset.source.endswith("(not the published files)")


# The search and the download ----------------------------------------------------------------------


def test_places_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sources.VARIABLE, str(tmp_path / "mine"))
    mine = lay_out(tmp_path / "mine" / "cifar10", TOYS["cifar10"])
    system = lay_out(tmp_path / "system" / "cifar10", TOYS["cifar10"])
    cache = lay_out(tmp_path / "cache" / "convkit" / "cifar10", {ARCHIVES["cifar10"]: PACKED["cifar10"]})
    for place in (mine, system, cache):
        assert cifar10("train").source.startswith(str(place))
        place.rename(place.with_name("gone"))
    with pytest.raises(DataNotFound, match=r"http://127\.0\.0\.1:9/cifar-10-binary\.tar\.gz: ConnectionError"):
        cifar10("train")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, list[str]]]:
    """A folder that is served on this machine as the sets' only mirror, and the paths asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *arguments: Any) -> None:
            pass

    folder = lay_out(tmp_path / "mirror", {ARCHIVES[name]: PACKED[name] for name in NAMES})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    for name in ("cifar10", "cifar100", "cifar100-coarse"):
        here = replace(sources.COLLECTIONS[name], mirrors=(f"http://127.0.0.1:{server.server_port}/",))
        monkeypatch.setitem(sources.COLLECTIONS, name, here)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield folder, asked
    server.shutdown()
    server.server_close()


def test_downloads_the_archive_once_for_both_kinds_of_labels(tmp_path: Path, mirror: tuple[Path, list[str]]) -> None:
    train = cifar100("train")
    assert_is(train, [TOYS["cifar100"]["train.bin"]], 2, 1)
    cached = tmp_path / "cache" / "convkit" / "cifar100" / ARCHIVES["cifar100"]
    assert train.source == str(cached)
    assert cifar100("test", labels="coarse").source == str(cached)
    assert mirror[1] == ["/cifar-100-binary.tar.gz"]
    assert [path.name for path in cached.parent.iterdir()] == [cached.name]


def test_what_is_damaged_in_the_cache_is_fetched_again(tmp_path: Path, mirror: tuple[Path, list[str]]) -> None:
    cache = lay_out(tmp_path / "cache" / "convkit" / "cifar10", {ARCHIVES["cifar10"]: PACKED["cifar10"][:-500]})
    assert len(cifar10("train")) == 5 * COUNT
    other = packed(toy_files("cifar10", 9), INNER["cifar10"])  # whole, but not what was published
    (cache / ARCHIVES["cifar10"]).write_bytes(other)
    assert cifar10("test").source == str(cache / ARCHIVES["cifar10"])
    assert len(mirror[1]) == 2


def test_a_mirror_that_gives_something_else_is_not_believed(tmp_path: Path, mirror: tuple[Path, list[str]]) -> None:
    (mirror[0] / ARCHIVES["cifar10"]).write_bytes(packed(toy_files("cifar10", 9), INNER["cifar10"]))
    with pytest.raises(DataNotFound, match=r"cifar-10-binary\.tar\.gz: not the published file"):
        cifar10("train")
    assert not list((tmp_path / "cache" / "convkit" / "cifar10").iterdir())


@pytest.mark.parametrize("function", [cifar10, cifar100])
def test_errors_say_which_set_and_what_there_is_of_it(function: Any) -> None:
    with pytest.raises(ValueError, match=f"^{function.__name__}: split must be 'train' or 'test', not 'val'$"):
        function("val")
    with pytest.raises(DataNotFound, match=r": source must be 'auto' or a folder, but there is no folder sampel$"):
        function("train", "sampel")
