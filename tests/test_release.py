"""The tools of a release: the one that writes the version in the source, and the one that looks into wheels."""

from __future__ import annotations

import importlib.util
from datetime import date
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import pytest

import convkit as ck

CHECKOUT = Path(__file__).resolve().parents[1]


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, CHECKOUT / "tools" / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def release() -> ModuleType:
    return tool("release")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "src" / "convkit").mkdir(parents=True)
    (tmp_path / "src" / "convkit" / "_version.py").write_text('__version__ = "0.2.0.dev0"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n\n* New.\n\n## 0.1.0 (2020-01-01)\n\nOld.\n")
    return tmp_path


def test_the_installed_version_is_the_one_in_the_source(release: ModuleType) -> None:
    assert release.read_version(CHECKOUT) == ck.__version__


def test_new_changes_have_a_place(release: ModuleType) -> None:
    assert (CHECKOUT / "CHANGELOG.md").read_text("utf-8").count(f"\n{release.UNRELEASED}\n") == 1


def test_a_release_takes_the_unreleased_changes(release: ModuleType, copy: Path) -> None:
    release.write(copy, "0.2.0", date(2020, 2, 3))
    assert release.read_version(copy) == "0.2.0"
    text = (copy / "CHANGELOG.md").read_text()
    assert text == (
        "# Changelog\n\n## Unreleased\n\n## 0.2.0 (2020-02-03)\n\n* New.\n\n## 0.1.0 (2020-01-01)\n\nOld.\n"
    )
    assert release.main(["--check", "v0.2.0"], copy) == 0
    assert release.main(["0.3.0.dev0"], copy) == 0
    assert release.read_version(copy) == "0.3.0.dev0"
    assert (copy / "CHANGELOG.md").read_text() == text


def test_a_tag_of_another_version_is_refused(
    release: ModuleType, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert release.main(["--check", "v0.2.0"], copy) == 1
    told = capsys.readouterr().out
    assert "the tag is v0.2.0, the version 0.2.0.dev0" in told
    assert "CHANGELOG.md has no section 0.2.0.dev0 with a date" in told


@pytest.mark.parametrize("version", ["v0.2.0", "0.2", "0.2.0-rc1", "next"])
def test_what_is_no_version_is_refused(release: ModuleType, copy: Path, version: str) -> None:
    with pytest.raises(SystemExit, match="is no version"):
        release.write(copy, version, date(2020, 2, 3))
    assert release.read_version(copy) == "0.2.0.dev0"


LICENCES = {f"convkit-1.dist-info/licenses/{name}": 1 for name in ("LICENSE", "LICENSE-bundled.md")}


@pytest.mark.parametrize(
    ("files", "faults"),
    [
        ({"convkit/_kernels/core.so": 1_990_000, "convkit/data/samples/many.gz": 3_000_000, **LICENCES}, []),
        ({"convkit/_kernels/core.so": 2_000_000, **LICENCES}, ["beside the samples are more than 2,000,000"]),
        (
            {
                "convkit/_kernels/core.pyx": 1,
                "convkit/_kernels/core.c": 1,
                "convkit/_kernels/tile.inc.h": 1,
                **LICENCES,
            },
            ["holds convkit/_kernels/core.pyx", "holds convkit/_kernels/core.c", "holds convkit/_kernels/tile.inc.h"],
        ),
        ({"convkit/_kernels/micro.h": 1}, ["lacks LICENSE", "lacks LICENSE-bundled.md"]),
    ],
)
def test_a_wheel_is_small_and_holds_what_users_need(files: dict[str, int], faults: list[str], tmp_path: Path) -> None:
    wheel = tmp_path / "convkit-1-cp310-cp310-any.whl"
    with ZipFile(wheel, "w") as archive:
        for name, size in files.items():
            archive.writestr(name, bytes(size))
    check_wheel = tool("check_wheel")
    found = check_wheel.faults(wheel)
    assert [fault[-len(end) :] for fault, end in zip(found, faults, strict=True)] == faults
    assert check_wheel.main([str(wheel)]) == bool(faults)
