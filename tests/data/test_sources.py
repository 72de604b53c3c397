"""Where data sets are found, in which order, and what is believed of what is found.

The sets here are toys under the real names, with checksums of their own; the mirrors are on this machine.
"""

from __future__ import annotations

import functools
import gzip
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pooch
import pytest

from convkit.data import DataNotFound, IdxError, fashion_mnist, load, mnist, read_idx, sources, write_idx
from convkit.data.idx import encode_idx

Files = dict[str, np.ndarray]
COUNTS = {"train": 20, "t10k": 10}


def toy_files(seed: int) -> Files:
    """The four arrays of a toy set, by file name."""
    rng = np.random.default_rng(seed)
    files = {}
    for prefix, count in COUNTS.items():
        files[f"{prefix}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        files[f"{prefix}-labels-idx1-ubyte"] = rng.integers(0, 10, count, dtype=np.uint8)
    return files


DIGITS, CLOTHES, OWN = toy_files(1), toy_files(2), toy_files(3)


def lay_out(folder: Path, files: Files, suffix: str = ".gz") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, array in files.items():
        write_idx(folder / f"{stem}{suffix}", array)
    return folder


@pytest.fixture(autouse=True)
def toy_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toys in place of the published sets; no data anywhere; mirrors that refuse every connection."""
    collections = {
        name: replace(
            sources.COLLECTIONS[name],
            mirrors=("http://127.0.0.1:9/",),
            checksums={stem: sources._checksum(array) for stem, array in files.items()},
        )
        for name, files in (("mnist", DIGITS), ("fashion-mnist", CLOTHES))
    }
    published = {
        checksum: (collection.name, stem)
        for collection in collections.values()
        for stem, checksum in collection.checksums.items()
    }
    monkeypatch.setattr(sources, "COLLECTIONS", collections)
    monkeypatch.setattr(sources, "_PUBLISHED", published)
    monkeypatch.setattr(sources, "SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.delenv(sources.VARIABLE, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Where mnist is cached."""
    return tmp_path / "cache" / "convkit" / "mnist"


class Mirror(ThreadingHTTPServer):
    """Serves a folder on a free port of this machine, and keeps the paths asked for."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        self.folder = folder
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server_port}/"


class _Handler(SimpleHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def mirrors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Mirror]]:
    """Two mirrors of mnist, in the order in which they are asked."""
    served = [Mirror(lay_out(tmp_path / f"mirror{number}", DIGITS)) for number in (0, 1)]
    collection = sources.COLLECTIONS["mnist"]
    addresses = tuple(mirror.url for mirror in served)
    monkeypatch.setitem(sources.COLLECTIONS, "mnist", replace(collection, mirrors=addresses))
    for mirror in served:
        threading.Thread(target=mirror.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield served
    for mirror in served:
        mirror.shutdown()
        mirror.server_close()


def assert_digits(dataset: sources.Dataset, prefix: str = "train") -> None:
    np.testing.assert_array_equal(dataset.images[:, 0], DIGITS[f"{prefix}-images-idx3-ubyte"])
    np.testing.assert_array_equal(dataset.labels, DIGITS[f"{prefix}-labels-idx1-ubyte"])


# A folder given -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
@pytest.mark.parametrize("inner", ["", "mnist"])
def test_reads_the_folder_or_the_one_named_in_it(tmp_path: Path, inner: str, suffix: str) -> None:
    lay_out(tmp_path / "here" / inner, DIGITS, suffix)
    train = mnist("train", str(tmp_path / "here"))
    assert_digits(train)
    assert train.images.shape == (20, 1, 28, 28)
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int64
    assert train.classes == tuple("0123456789")
    assert (train.name, train.split, train.source) == ("mnist", "train", str(tmp_path / "here" / inner))
    test = mnist("test", tmp_path / "here")
    assert_digits(test, "t10k")
    assert test.split == "test"


def test_reads_names_with_a_dot(tmp_path: Path) -> None:
    dotted = {stem.replace("-idx", ".idx"): array for stem, array in DIGITS.items()}
    assert_digits(mnist("train", lay_out(tmp_path, dotted, "")))


def test_the_folder_named_in_it_comes_first(tmp_path: Path) -> None:
    lay_out(tmp_path, CLOTHES)
    lay_out(tmp_path / "mnist", DIGITS)
    assert_digits(mnist("train", tmp_path))


def test_plain_and_compressed_may_be_mixed(tmp_path: Path) -> None:
    lay_out(tmp_path, {k: v for k, v in DIGITS.items() if "images" in k}, "")
    lay_out(tmp_path, {k: v for k, v in DIGITS.items() if "labels" in k}, ".gz")
    assert_digits(mnist("train", tmp_path))


def test_folder_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(tmp_path / "digits", DIGITS)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert_digits(mnist("train", "~/digits"))


def test_a_home_that_is_nobodys_is_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataNotFound, match="mnist: source must be .* there is no folder ~nobody-here/digits"):
        mnist("train", "~nobody-here/digits")
    monkeypatch.setenv(sources.VARIABLE, "~nobody-here/digits")
    with pytest.raises(DataNotFound, match="CONVKIT_DATA: ~nobody-here/digits does not exist"):
        mnist("train")


def test_folder_given_is_the_only_place_looked_at(tmp_path: Path, mirrors: list[Mirror]) -> None:
    lay_out(tmp_path / "system" / "mnist", DIGITS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataNotFound, match=r"empty holds no train-images-idx3-ubyte and train-labels"):
        mnist("train", tmp_path / "empty")
    with pytest.raises(DataNotFound, match=r"source must be 'auto', 'sample' or a folder, .*no folder sampel"):
        mnist("train", "sampel")
    assert not mirrors[0].asked


def test_images_without_labels_are_not_enough(tmp_path: Path) -> None:
    lay_out(tmp_path, DIGITS)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataNotFound, match="train-labels"):
        mnist("train", tmp_path)
    assert_digits(mnist("test", tmp_path), "t10k")


def test_data_of_ones_own_are_taken_and_marked(tmp_path: Path) -> None:
    dataset = mnist("train", lay_out(tmp_path, OWN))
    np.testing.assert_array_equal(dataset.images[:, 0], OWN["train-images-idx3-ubyte"])
    assert dataset.source == f"{tmp_path} (not the published files)"


@pytest.mark.parametrize("part", ["images-idx3", "labels-idx1"])
def test_another_set_under_this_name_is_refused(tmp_path: Path, part: str) -> None:
    stem = f"train-{part}-ubyte"
    lay_out(tmp_path, {**DIGITS, stem: CLOTHES[stem]})
    with pytest.raises(DataNotFound, match=f"{stem}.gz is fashion-mnist {stem}, not mnist {stem}"):
        mnist("train", tmp_path)


def test_the_other_split_under_this_name_is_refused(tmp_path: Path) -> None:
    swapped = {stem.replace("t10k", "train"): DIGITS[stem] for stem in DIGITS if stem.startswith("t10k")}
    with pytest.raises(DataNotFound, match="is mnist t10k-images-idx3-ubyte, not mnist train-images"):
        mnist("train", lay_out(tmp_path, swapped))


@pytest.mark.parametrize(
    ("part", "array", "message"),
    [
        (
            "images-idx3",
            np.zeros((20, 32, 32), np.uint8),
            r"shape \(26, 28, 28\), not uint8 of \(20, 32, 32\)",
        ),
        ("images-idx3", np.zeros((20, 28, 28), np.float32), r"uint8 of shape .*, not float32"),
        ("images-idx3", np.zeros((20, 784), np.uint8), r"not uint8 of \(20, 784\)"),
        ("labels-idx1", np.zeros(19, np.uint8), r"shape \(20,\), not uint8 of \(19,\)"),
        ("labels-idx1", np.zeros(20, np.int32), r"uint8 of shape \(20,\), not int32"),
        ("labels-idx1", np.full(20, 10, np.uint8), "labels up to 9, not 10"),
    ],
)
def test_files_of_another_form_are_refused(tmp_path: Path, part: str, array: np.ndarray, message: str) -> None:
    lay_out(tmp_path, {**OWN, f"train-{part}-ubyte": array})
    with pytest.raises(IdxError, match=f"train-{part}-ubyte.gz should hold .*{message}"):
        mnist("train", tmp_path)


# The search ---------------------------------------------------------------------------------------


def test_places_in_order(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sources.VARIABLE, str(tmp_path / "mine"))
    mine = lay_out(tmp_path / "mine" / "mnist", DIGITS)
    system = lay_out(tmp_path / "system" / "mnist", DIGITS)
    lay_out(cache, DIGITS)
    for place in (mine, system, cache):
        found = mnist("train")
        assert_digits(found)
        assert found.source == str(place)
        place.rename(place.with_name("gone"))
    with pytest.raises(DataNotFound):
        mnist("train")


def test_variable_may_name_the_folder_of_one_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sources.VARIABLE, str(lay_out(tmp_path / "mine", DIGITS)))
    lay_out(tmp_path / "system" / "fashion-mnist", CLOTHES)
    assert mnist("train").source == str(tmp_path / "mine")
    assert fashion_mnist("train").source == str(tmp_path / "system" / "fashion-mnist")


def test_damaged_files_are_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sources.VARIABLE, str(lay_out(tmp_path / "mine", DIGITS)))
    lay_out(tmp_path / "system" / "mnist", DIGITS)
    images = tmp_path / "mine" / "train-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:-20])
    with pytest.raises(IdxError, match=r"mine/train-images-idx3-ubyte\.gz is damaged"):
        mnist("train")


def test_nowhere_says_where_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataNotFound) as caught:
        mnist("train")
    message = str(caught.value)
    for part in (
        "CONVKIT_DATA is not set",
        str(tmp_path / "system"),
        "http://127.0.0.1:9/train-images-idx3-ubyte.gz: ConnectionError",
        "source='sample'",
    ):
        assert part in message
    assert not list(tmp_path.rglob("*ubyte*"))


def test_nowhere_names_the_folder_of_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sources.VARIABLE, str(tmp_path / "mistyped"))
    with pytest.raises(DataNotFound, match=r"CONVKIT_DATA: .*mistyped does not exist"):
        mnist("train")


def test_nowhere_says_that_the_variable_names_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(sources.VARIABLE, str(tmp_path / "file"))
    with pytest.raises(DataNotFound, match=rf"CONVKIT_DATA: {tmp_path}/file is not a folder"):
        mnist("train")


def test_without_pooch_the_message_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DataNotFound, match=r'pip install "convkit\[data\]"'):
        mnist("train")


def test_pooch_is_not_imported_for_data_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    lay_out(tmp_path / "system" / "mnist", DIGITS)
    assert_digits(mnist("train"))


@pytest.mark.parametrize(("name", "split"), [("cifar", "train"), ("mnist", "validation"), ("mnist", "t10k")])
def test_unknown_name_or_split_is_refused(name: str, split: Any) -> None:
    with pytest.raises(ValueError, match=f"load: .*{split if name == 'mnist' else name}"):
        load(name, split)


# The download -------------------------------------------------------------------------------------


def test_downloads_all_four_files_once(cache: Path, mirrors: list[Mirror]) -> None:
    train = mnist("train")
    assert_digits(train)
    assert train.source == str(cache)
    assert sorted(path.name for path in cache.iterdir()) == sorted(f"{stem}.gz" for stem in DIGITS)
    assert_digits(mnist("test"), "t10k")
    assert len(mirrors[0].asked) == 4
    assert not mirrors[1].asked


def test_any_compression_of_the_right_bytes_will_do(cache: Path, mirrors: list[Mirror]) -> None:
    stem = "train-images-idx3-ubyte"
    (mirrors[0].folder / f"{stem}.gz").write_bytes(gzip.compress(encode_idx(DIGITS[stem]), 1, mtime=12345))
    assert_digits(mnist("train"))
    assert not mirrors[1].asked


def damaged(good: bytes, how: str) -> bytes:
    if how == "altered":
        return gzip.compress(encode_idx(OWN["train-images-idx3-ubyte"]))
    return {"cut": good[:-100], "empty": b"", "another": b"<html>moved</html>"}[how]


@pytest.mark.parametrize("how", ["altered", "cut", "empty", "another"])
def test_damaged_download_is_had_from_the_next_mirror(cache: Path, mirrors: list[Mirror], how: str) -> None:
    served = mirrors[0].folder / "train-images-idx3-ubyte.gz"
    served.write_bytes(damaged(served.read_bytes(), how))
    assert_digits(mnist("train"))
    assert mirrors[1].asked == ["/train-images-idx3-ubyte.gz"]
    assert len(list(cache.iterdir())) == 4


@pytest.mark.parametrize("how", ["altered", "cut", "empty", "another"])
def test_damaged_everywhere_leaves_nothing(cache: Path, mirrors: list[Mirror], how: str) -> None:
    for mirror in mirrors:
        served = mirror.folder / "train-images-idx3-ubyte.gz"
        served.write_bytes(damaged(served.read_bytes(), how))
    with pytest.raises(DataNotFound, match=r"train-images-idx3-ubyte\.gz: not the published file"):
        mnist("train")
    assert not list(cache.iterdir())


def test_missing_on_a_mirror_is_had_from_the_next(mirrors: list[Mirror]) -> None:
    (mirrors[0].folder / "train-labels-idx1-ubyte.gz").unlink()
    assert_digits(mnist("train"))
    assert mirrors[1].asked == ["/train-labels-idx1-ubyte.gz"]


def test_connection_that_breaks_leaves_nothing(
    cache: Path, mirrors: list[Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Any, url: str, output_file: str, pooch: Any) -> None:
        Path(output_file).write_bytes(b"\x1f\x8bhalf")
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        mnist("train")
    assert not list(cache.iterdir())


@pytest.mark.parametrize("how", ["altered", "cut", "empty", "another"])
def test_only_what_is_damaged_in_the_cache_is_fetched_again(cache: Path, mirrors: list[Mirror], how: str) -> None:
    kept = lay_out(cache, DIGITS) / "t10k-images-idx3-ubyte.gz"
    kept.write_bytes(damaged(kept.read_bytes(), how))
    assert_digits(mnist("train"))
    assert not mirrors[0].asked
    assert_digits(mnist("test"), "t10k")
    assert mirrors[0].asked == ["/t10k-images-idx3-ubyte.gz"]
    np.testing.assert_array_equal(read_idx(cache / "t10k-images-idx3-ubyte.gz"), DIGITS["t10k-images-idx3-ubyte"])


def test_cache_that_cannot_be_written_is_one_clear_error(cache: Path, mirrors: list[Mirror]) -> None:
    cache.parent.parent.mkdir()
    cache.parent.write_text("a file where a folder should be")
    with pytest.raises(DataNotFound, match=r"mnist cannot be made \((NotADirectory|FileExists)Error\)"):
        mnist("train")
    assert not mirrors[0].asked


# The sample ---------------------------------------------------------------------------------------


def test_nothing_is_searched_for_the_sample(tmp_path: Path, mirrors: list[Mirror]) -> None:
    lay_out(tmp_path / "system" / "mnist", DIGITS)
    dataset, note = load("mnist", "test", "sample")
    assert len(dataset) == 1000
    assert dataset.source == "embedded sample"
    assert note == ""
    assert not mirrors[0].asked


def test_fallback_says_so_in_one_line() -> None:
    dataset, note = load("fashion_mnist", "train", fallback_to_sample=True)
    assert (len(dataset), dataset.name, dataset.source) == (6000, "fashion-mnist", "embedded sample")
    assert note.startswith("fashion-mnist is not on this machine (")
    assert note.endswith("; using the embedded sample, 6,000 images")
    assert "\n" not in note


def test_fallback_names_the_variable_where_it_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "CONVKIT_DATA" not in load("mnist", "test", fallback_to_sample=True)[1]
    monkeypatch.setenv(sources.VARIABLE, str(tmp_path / "mistyped"))
    note = load("mnist", "test", fallback_to_sample=True)[1]
    reasons = rf"\(CONVKIT_DATA: {tmp_path}/mistyped does not exist; no download: .*\)"
    assert re.fullmatch(rf"mnist is not on this machine {reasons}; using the embedded sample, 1,000 images", note)


def test_no_fallback_where_the_set_is_found(tmp_path: Path) -> None:
    lay_out(tmp_path / "system" / "mnist", DIGITS)
    dataset, note = load("mnist", "train", fallback_to_sample=True)
    assert_digits(dataset)
    assert note == ""


def test_no_fallback_from_a_folder_given(tmp_path: Path) -> None:
    with pytest.raises(DataNotFound):
        load("mnist", "train", tmp_path, fallback_to_sample=True)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((5, "train"), ValueError, "name must be one of mnist, .*, not 5"),
        ((["mnist"], "train"), ValueError, r"name must be one of mnist, .*, not \['mnist'\]"),
        ((None, "train"), ValueError, "name must be one of mnist, .*, not None"),
        (("mnist", ["train"]), ValueError, r"split must be 'train' or 'test', not \['train'\]"),
        (("mnist", None), ValueError, "split must be 'train' or 'test', not None"),
        (("mnist", "train", 5), TypeError, "source must be a path, as a str or os.PathLike, not 5"),
        (("mnist", "train", None), TypeError, "source must be a path, as a str or os.PathLike, not None"),
        (("mnist", "train", b"x"), TypeError, "source must be a path, as a str or os.PathLike, not b'x'"),
        (("mnist", "train", np.zeros(3)), TypeError, "source must be a path, as a str or os.PathLike, not array"),
        (("mnist", "train", "a\0b"), ValueError, r"source must be a path, not 'a\\x00b'"),
    ],
    ids=str,
)
def test_arguments_that_cannot_be_are_named(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^load: {message}"):
        load(*arguments)


@pytest.mark.parametrize("function", [fashion_mnist, mnist])
def test_errors_name_the_function_that_was_called(function: Any) -> None:
    with pytest.raises(ValueError, match=f"^{function.__name__}: split must be 'train' or 'test', not 'val'$"):
        function("val")
    with pytest.raises(TypeError, match=f"^{function.__name__}: source must be a path"):
        function("train", 3)


def test_labels_that_cifar100_has_not_are_named() -> None:
    with pytest.raises(ValueError, match=r"cifar100: labels must be 'fine' or 'coarse', not array\("):
        sources.cifar100("train", labels=np.zeros(2))  # type: ignore[arg-type]
