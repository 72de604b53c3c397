"""Files appear whole or not at all."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convkit.files import check_regular, file_path, write_whole


def test_text_and_bytes_arrive_in_folders_that_are_made(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b" / "text", "größer\n")
    write_whole(tmp_path / "bytes", b"\x00\xff")
    assert (tmp_path / "a" / "b" / "text").read_bytes() == "größer\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["text"]


@pytest.mark.parametrize("place", ["write", "fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_anywhere_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: BaseException
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail(*arguments: Any) -> None:
        raise error

    content: Any = "new"
    if place == "write":

        class Failing(str):
            def encode(self, *arguments: Any) -> bytes:  # type: ignore[override]
                raise error

        content = Failing()
    else:
        monkeypatch.setattr(os, place, fail)
    with pytest.raises(type(error)):
        write_whole(path, content)
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_new_name_is_taken_only_when_all_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    real_replace = os.replace

    def replace(source: Path, target: Path) -> None:
        assert (source.read_text(), source.parent, target.read_text()) == ("new", tmp_path, "old")
        real_replace(source, target)

    monkeypatch.setattr(os, "replace", replace)
    write_whole(path, "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("path", ["", ".", "/"])
def test_what_has_no_name_is_no_file(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(IsADirectoryError) as caught:
        write_whole(path, "x")
    assert caught.value.filename == path
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["a\0b", "\0", Path("a\0b")])
def test_no_path_holds_a_zero_byte(path: Any) -> None:
    with pytest.raises(ValueError, match=r"^save: path must be a path, not '.*\\x00"):
        file_path("save", "path", path)


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and sockets in folders are POSIX's")
def test_only_what_ends_is_a_regular_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # since names of sockets must be short
    Path("file").write_text("")
    Path("good").symlink_to("file")
    os.mkfifo("pipe")
    Path("bad").symlink_to("pipe")
    for name in ("file", "good", "."):  # a folder is refused by whoever opens it
        check_regular(name)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for path in (Path("pipe"), "bad", "socket", "/dev/zero"):
            with pytest.raises(OSError, match=f"not a regular file: '{path}'"):
                check_regular(path)
    with pytest.raises(FileNotFoundError, match="missing"):
        check_regular("missing")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes in folders are POSIX's")
def test_no_reader_waits_for_a_pipe(tmp_path: Path, run_apart: Callable[..., None]) -> None:
    (tmp_path / "a").mkdir()
    os.mkfifo(tmp_path / "a" / "x.png")
    run_apart(
        f"""
        import convkit as ck
        from convkit import data, nn, onnx
        from convkit.cli.pictures import read_pictures
        folder, pipe = {str(tmp_path)!r}, {str(tmp_path / "a" / "x.png")!r}
        pictures = data.image_folder(folder, 8).images
        readers = {{
            "weights": lambda: ck.load(nn.Linear(1, 1), pipe),
            "model": lambda: ck.load_model(pipe),
            "onnx": lambda: onnx.load(pipe),
            "idx": lambda: data.read_idx(pipe),
            "predict": lambda: read_pictures([pipe], (1, 8, 8)),
            "picture": lambda: pictures[0],
            "checksum": pictures.checksum,
            "in memory": lambda: data.image_folder(folder, 8, in_memory=True),
        }}
        for name, read in readers.items():
            try:
                read()
                raise AssertionError(name)
            except OSError as error:
                assert (error.strerror, error.filename) == ("not a regular file", pipe), (name, error)
        """,
        seconds=20,
    )
