"""The package as a whole: what importing it brings in, what it says of itself, how it chooses threads and levels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import convkit as ck
from convkit import config, errors
from convkit._kernels import core


def in_fresh_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_importing_brings_in_numpy_alone() -> None:
    code = "import sys, convkit; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = set(in_fresh_process(code).stdout.split())
    assert {"convkit", "numpy"} <= loaded
    assert not loaded & {"rich", "safetensors", "PIL", "matplotlib", "pooch", "torch", "scipy", "onnx"}


def test_every_public_name_exists_and_is_documented() -> None:
    for module in (ck, ck.functional, ck.nn, ck.optim, ck.data, ck.models, ck.plot, ck.onnx):
        for name in module.__all__:
            value = getattr(module, name)
            if callable(value):
                assert value.__doc__, f"{module.__name__}.{name} has no docstring"


def test_show_config_tells_what_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text = ck.show_config()
    assert capsys.readouterr().out == text + "\n"
    for part in (ck.__version__, np.__version__, core.isa_chosen(), "OpenMP", "threads"):
        assert part in text


@pytest.mark.parametrize("level", core.isa_available())
def test_a_lower_instruction_set_can_be_asked_for(level: str) -> None:
    code = "from convkit._kernels import core; print(core.isa_chosen())"
    assert in_fresh_process(code, CONVKIT_ISA=level).stdout.strip() == level


def test_an_instruction_set_that_is_not_there_is_refused() -> None:
    failed = in_fresh_process("import convkit", CONVKIT_ISA="avx9000")
    assert failed.returncode == 1
    assert "CONVKIT_ISA is 'avx9000', but this machine and build have baseline" in failed.stderr


@pytest.mark.skipif("CIBUILDWHEEL" not in os.environ, reason="what is built from source may be serial")
def test_a_wheel_has_openmp() -> None:
    assert core.has_openmp()


def test_threads_follow_the_environment() -> None:
    code = "import convkit; print(convkit.get_num_threads())"
    expected = "3" if core.has_openmp() else "1"
    assert in_fresh_process(code, OMP_NUM_THREADS="3").stdout.strip() == expected


def test_threads_follow_affinity_and_the_control_group(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, bool]] = []
    given: list[int] = []
    monkeypatch.setattr(core, "set_default_threads", lambda most, limited: asked.append((most, limited)))
    monkeypatch.setattr(core, "follow_group", lambda count: given.append(count()))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for quota in (None, 3):
        monkeypatch.setattr(config, "_cgroup_cores", lambda quota=quota: quota)
        config._use_default_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "5,2")
    config._use_default_threads()
    monkeypatch.setattr(config, "_cgroup_cores", lambda: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "²")
    config._use_default_threads()
    assert asked == [(8, True), (8, True), (5, False), (8, True)]
    assert given == [config.MOST_THREADS, 3, config.MOST_THREADS]


@pytest.mark.parametrize(
    ("content", "cores"), [("150000 100000\n", 2), ("100000 100000\n", 1), ("max 100000\n", None), ("5000 100000\n", 1)]
)
def test_the_quota_of_a_control_group_is_read_in_whole_cores(
    content: str, cores: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "cpu.max").write_text(content)
    (inner / "cpu.max").write_text("max 100000\n")
    monkeypatch.setattr(config, "_cgroup_folders", lambda: [inner, tmp_path, tmp_path / "missing"])
    assert config._cgroup_cores() == cores


@pytest.mark.parametrize(
    ("quota", "period", "cores"), [("250000", "100000", 3), ("-1", "100000", None), ("1", "0", None)]
)
def test_the_older_form_of_a_quota_is_read(quota: str, period: str, cores: int | None, tmp_path: Path) -> None:
    (tmp_path / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu.cfs_period_us").write_text(f"{period}\n")
    assert config._quota(tmp_path) == cores


@pytest.mark.parametrize(
    "content", ["", "max", "100000", "a b", "1 2 3", "100000 0", "-5 100000", "0 100000", "1 -1", "é"]
)
def test_a_quota_that_makes_no_sense_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_bytes(content.encode("latin-1"))
    assert config._quota(tmp_path) is None


@pytest.mark.parametrize(
    ("line", "file"),
    [
        ("0::/a/b", "a/cpu.max"),
        ("0::/a/b", "unified/a/b/cpu.max"),
        ("0::/a:b", "a:b/cpu.max"),
        ("0::/..", "cpu.max"),
        ("4:cpu:/a", "cpu/a/cpu.cfs_quota_us"),
        ("4:cpu,cpuacct:/a", "cpu,cpuacct/cpu.cfs_quota_us"),
        ("4:cpuacct,cpu:/a", "cpu/a/cpu.cfs_quota_us"),
    ],
)
def test_control_groups_are_found_in_every_kind_of_hierarchy(
    line: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also among lines that nobody understands, with names that are no UTF-8."""
    group = tmp_path / "group"
    group.write_bytes(b"\n1:\nodd\n3:memory:/m\n5:name=cpu:/\xff\n" + line.encode() + b"\n0::/\xff\xfe\n")
    monkeypatch.setattr(config, "OWN_GROUPS", group)
    monkeypatch.setattr(config, "HIERARCHIES", tmp_path)
    assert config._cgroup_cores() is None
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("150000" + " 100000" * (path.name == "cpu.max"))
    path.with_name("cpu.cfs_period_us").write_text("100000")
    assert config._cgroup_cores() == 2


@pytest.mark.parametrize("n", [0, -1])
def test_a_number_of_threads_below_one_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"set_num_threads: n must be at least 1, not {n}"):
        ck.set_num_threads(n)


def test_a_missing_extra_names_the_command_that_brings_it() -> None:
    with pytest.raises(ImportError, match=r'drawing needs no_such_module: pip install "convkit\[plot\]"'):
        errors.require("no_such_module.part", "plot", "drawing")
