"""The example of a native caller, built by its own setup.py against the convkit that is tested here."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import convkit as ck
import reference as ref
from geometries import normal
from reference import assert_close

CHECKOUT = Path(__file__).resolve().parents[1]
EXAMPLE = CHECKOUT / "examples" / "native"
PACKAGE = Path(ck.__file__).resolve().parent


def missing_tool() -> str:
    """What is not here to compile with; who has built convkit in this checkout has all of it."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    tools = {module: importlib.util.find_spec(module) for module in ("Cython", "setuptools")}
    tools[f"the compiler {compiler}"] = shutil.which(compiler)
    return "" if CHECKOUT in PACKAGE.parents else ", ".join(name for name, found in tools.items() if not found)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The example's module, compiled in a process of its own as its users would."""
    missing = missing_tool()
    if missing:
        pytest.skip(f"convkit is installed from a wheel, and to compile against it there is no {missing}")
    folder = tmp_path_factory.mktemp("native") / "source"
    shutil.copytree(EXAMPLE, folder)
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent), "CFLAGS": "-O1 -g0"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    [library] = folder.glob(f"frames*{sysconfig.get_config_var('EXT_SUFFIX')}")
    spec = importlib.util.spec_from_file_location("frames", library)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module


def unpadded(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    ones = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
    return ref.conv(x, weight, None, **ones)


@pytest.mark.parametrize(
    ("size", "kernel"), [((28, 28), (5, 5)), ((9, 7), (3, 2)), ((3, 40), (3, 3)), ((1, 1), (1, 1))]
)
def test_both_ways_agree_with_the_oracle(frames: ModuleType, size: tuple[int, int], kernel: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    images, weight = normal(rng, (7, 3, *size), "float32"), normal(rng, (4, 3, *kernel), "float32")
    assert_close(frames.convolve_each(images, weight), unpadded(images, weight), np.float32)
    one_filter = unpadded(images[:, :1], weight[:1, :1])[:, 0]
    assert_close(frames.filter_each(images[:, 0], weight[0, 0]), one_filter, np.float32)


def test_an_empty_batch(frames: ModuleType) -> None:
    assert frames.convolve_each(np.zeros((0, 3, 8, 8)), np.zeros((4, 3, 3, 3))).shape == (0, 4, 6, 6)
    assert frames.filter_each(np.zeros((0, 8, 8)), np.zeros((3, 3))).shape == (0, 6, 6)


def test_python_threads_run_it_at_once(frames: ModuleType) -> None:
    """Scratch memory belongs to a thread."""
    rng = np.random.default_rng(1)
    images = [normal(rng, (200, 20, 20), "float32") for _ in range(4)]
    weight = normal(rng, (3, 3), "float32")
    results: dict[int, np.ndarray] = {}

    def work(number: int) -> None:
        results[number] = frames.filter_each(images[number], weight)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, given in enumerate(images):
        np.testing.assert_array_equal(results[number], frames.filter_each(given, weight))


def test_what_the_kernels_would_trust_is_checked_before(frames: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"^convolve_each: images \(1, 2, 5, 5\) and weight \(1, 3, 2, 2\) differ"):
        frames.convolve_each(np.zeros((1, 2, 5, 5)), np.zeros((1, 3, 2, 2)))
    with pytest.raises(ValueError, match=r"^filter_each: weight \(6, 1\) does not fit"):
        frames.filter_each(np.zeros((1, 5, 5)), np.zeros((6, 1)))
    with pytest.raises(ValueError, match=r"^filter_each: images and weight must have 3 and 2 axes"):
        frames.filter_each(np.zeros((5, 5)), np.zeros((2, 2)))


def test_headers_and_declarations_are_installed() -> None:
    folder = Path(ck.get_include())
    assert {"micro.h", "micro_tile.h", "core.pxd", "tile.pxd", "__init__.py"} <= {
        path.name for path in folder.iterdir()
    }
