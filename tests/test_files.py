"""Files appear whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from convkit.files import write_whole


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


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
