"""No kernel touches memory beside its arrays: the tests of functions, plans and optimisers between forbidden pages.

What `guard_pages` does to the library happens in processes of their own, one for each instruction set, since what it
looks for ends the process. Scratch memory is not the user's, so it is left to the builds of `tools/sanitize.py`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from convkit._kernels import core

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="lays out memory by Linux's calls"),
    pytest.mark.ordinary_build,
]

HERE = Path(__file__).parent
DEFAULT_GEOMETRIES = 2  # at each level, unless --geometries says more
LEFT_OUT = {f"test_functional_{name}.py" for name in ("arrays", "errors", "levels", "oracles", "threads")}


def between_pages(level: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a process apart, with every array between forbidden pages."""
    paths = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        env=os.environ | {"CONVKIT_ISA": level, "PYTHONPATH": paths, "OMP_WAIT_POLICY": "passive"} | environment,
        capture_output=True,
        text=True,
        timeout=1200,
    )


def bits_between_pages(level: str, side: str, place: Path, *arguments: str) -> dict[str, list[str]]:
    """Run pytest so, with what plans use at this side of a forbidden page; what each test's plans computed."""
    run = between_pages(level, "-p", "guard_pages", *arguments, GUARDED_SIDE=side, GUARDED_BITS=str(place / side))
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]
    bits: dict[str, list[str]] = json.loads((place / side).read_text())
    return bits


@pytest.mark.parametrize("level", core.isa_available())
def test_kernels_stay_within_their_arrays(level: str, pytestconfig: pytest.Config, tmp_path: Path) -> None:
    """Functions at both ends of their arrays at once, plans once for each, with the same results."""
    functions = [path for path in HERE.glob("test_functional_*.py") if path.name not in LEFT_OUT]
    plans = [*HERE.glob("test_graph*.py"), HERE / "test_optim.py"]
    geometries = f"--geometries={pytestconfig.getoption('geometries') or DEFAULT_GEOMETRIES}"
    end = bits_between_pages(level, "end", tmp_path, geometries, *map(str, sorted([*functions, *plans])))
    begin = bits_between_pages(level, "begin", tmp_path, geometries, *map(str, sorted(plans)))
    assert len(begin) > 100
    assert [test for test in begin if begin[test] != end[test]] == []


@pytest.mark.parametrize("level", core.isa_available())
def test_no_argument_leads_beyond_an_array(
    level: str, run_apart: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Axes without values among them, where a kernel's first look is already one too far."""
    monkeypatch.setenv("CONVKIT_ISA", level)
    run_apart(
        """
        import pytest, fuzz_functional, guard_pages
        guard_pages.install(pytest.MonkeyPatch())
        fuzz_functional.main()
        """,
        seconds=300,
    )


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("index", [-1, 7])
def test_a_step_beside_an_array_ends_the_process(index: int, read_only: bool, tmp_path: Path) -> None:
    """The guard itself: one value before or behind an array cannot be read, an input cannot be written."""
    touch = f"first[{0 if read_only else index}]" + (" = 1" if read_only else "")
    test = tmp_path / "test_beside.py"
    test.write_text(
        f"""
import ctypes
import numpy as np
import guard_pages

def test_beside():
    array = guard_pages.copy(np.zeros(7, np.float32), {index > 0}, guard_pages.READ)
    first = ctypes.cast(array.ctypes.data, ctypes.POINTER(ctypes.c_float))
    assert [first[i] for i in range(7)] == [0] * 7
    {touch}
"""
    )
    run = between_pages(core.isa_available()[0], "--rootdir", str(tmp_path), str(test))
    assert run.returncode == -11 and "Segmentation fault" in run.stderr, run.stdout + run.stderr


@pytest.mark.parametrize("side", ["end", "begin"])
@pytest.mark.parametrize("shift", [0, 1, -1])
@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_a_plan_that_reads_beside_its_input_ends_the_process(kind: str, shift: int, side: str, tmp_path: Path) -> None:
    """A kernel that reads an input where it lies, but from one value further on or back."""
    test = tmp_path / "test_reader.py"
    test.write_text(
        f"""
import numpy as np
from convkit import nn
from convkit._kernels import core
from convkit.graph import plan

class Memory:
    def __init__(self, array):
        address = array.ctypes.data - {shift} * array.itemsize
        self.__array_interface__ = array.__array_interface__ | {{"data": (address, False)}}

def test_reader(monkeypatch):
    shifted = []
    def shift(place, readers):
        shifted.extend(readers)
        return core.Input(np.asarray(Memory(place)), readers)
    monkeypatch.setattr(plan, "Input", shift)
    model = nn.Conv2d(1, 1, 3)
    model(np.zeros((16, 1, 31, 31), "{kind}"))
    assert shifted
"""
    )
    run = between_pages(
        core.isa_available()[0], "-p", "guard_pages", "--rootdir", str(tmp_path), str(test), GUARDED_SIDE=side
    )
    dies = shift == {"end": 1, "begin": -1}[side]
    assert run.returncode == (-11 if dies else 0), run.stdout + run.stderr
    assert ("Segmentation fault" in run.stderr) == dies


# An op that leaves the last of its outputs as it was in memory.
LAZY = """
from dataclasses import dataclass
import numpy as np
from convkit.ops.base import NumpyPrimitive, Spec

@dataclass(frozen=True)
class Lazy(NumpyPrimitive):
    def infer(self, x):
        return (Spec(x.shape, x.dtype),)

    def compute(self, inputs, outputs):
        outputs[0][:-1] = inputs[0][:-1]
"""


def test_a_plan_whose_result_is_what_was_in_memory_is_found(tmp_path: Path) -> None:
    test = tmp_path / "test_lazy.py"
    test.write_text(
        LAZY
        + """
from convkit import nn

class Model(nn.Module):
    def forward(self, x):
        return Lazy()(x)

def test_lazy():
    Model()(np.ones((5, 2), np.float32))
"""
    )
    end, begin = (
        bits_between_pages(core.isa_available()[0], side, tmp_path, "--rootdir", str(tmp_path), str(test))
        for side in ("end", "begin")
    )
    assert list(end) == list(begin)
    assert end != begin


def test_rubbish_that_is_left_in_an_output_is_found(tmp_path: Path) -> None:
    test = tmp_path / "test_lazy.py"
    test.write_text(
        LAZY
        + """
import pytest

def test_lazy():
    with pytest.raises(AssertionError, match=r"output 0 of shape \\(5,\\) depends on what .*at \\(.*4"):
        Lazy()(np.ones(5, np.float32))
"""
    )
    run = between_pages(core.isa_available()[0], "-p", "guard_pages", "--rootdir", str(tmp_path), str(test))
    assert run.returncode == 0, run.stdout + run.stderr
