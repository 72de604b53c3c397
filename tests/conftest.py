"""What all tests share: the number of random geometries, running on one thread and on two, and in a process apart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import hypothesis
import numpy as np
import pytest

from interpreter import FREE_THREADED, PATIENCE, SANITIZED

DEFAULT_GEOMETRIES = 32  # a release runs 200 of them

# Properties are tried on the same few examples each time; `--hypothesis-profile long` seeks new ones for minutes.
hypothesis.settings.register_profile("few", derandomize=True, max_examples=30, deadline=None, database=None)
hypothesis.settings.register_profile("long", max_examples=1500, deadline=None, print_blob=True)
hypothesis.settings.load_profile("few")

Threaded: TypeAlias = Callable[[Callable[[], Any]], Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--geometries",
        type=int,
        metavar="N",
        help=f"random geometries for each operation (default {DEFAULT_GEOMETRIES}, fewer at lower instruction sets)",
    )


def pytest_configure() -> None:
    """Hear Ctrl-C even where a shell has started the tests in the background, which makes processes deaf to it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("slow") and not item.config.getoption("markexpr"):
        pytest.skip("takes minutes or much memory: pytest -m slow")
    if SANITIZED and item.get_closest_marker("ordinary_build"):
        pytest.skip("a sanitizer takes memory of its own, and signals for itself")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `seed` runs once for each random geometry."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("geometries") or DEFAULT_GEOMETRIES))


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Networks this small gain little from threads, and lose much on a machine that is busy."""
    import convkit as ck

    before = ck.get_num_threads()
    ck.set_num_threads(1)
    yield
    ck.set_num_threads(before)


@pytest.fixture
def threaded() -> Iterator[Threaded]:
    """Run a function on one thread and on two; its arrays must come out the same to the bit."""
    import convkit as ck

    def run(function: Callable[[], Any]) -> Any:
        ck.set_num_threads(1)
        alone = function()
        ck.set_num_threads(2)
        together = function()
        one, two = (result if isinstance(result, tuple) else (result,) for result in (alone, together))
        for a, b in zip(one, two, strict=True):
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), "two threads gave other bits than one"
        return alone

    before = ck.get_num_threads()
    yield run
    ck.set_num_threads(before)


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 300 training and 100 test images from the sample, as IDX files."""
    from convkit import data

    folder = tmp_path_factory.mktemp("data")
    for split, prefix, count in (("train", "train", 300), ("test", "t10k", 100)):
        part = data.fashion_mnist(split, "sample")[:count]  # type: ignore[arg-type]
        data.write_idx(folder / f"{prefix}-images-idx3-ubyte", part.images[:, 0])
        data.write_idx(folder / f"{prefix}-labels-idx1-ubyte", part.labels.astype(np.uint8))
    return folder


@pytest.fixture
def run_apart() -> Callable[..., None]:
    """Run a script in a process of its own, which may crash, hang or ask for all memory without harm.

    `gigabytes` is what it may take beyond the addresses that an interpreter without its lock reserves as it starts.
    """

    def run(script: str, *, gigabytes: int = 4, seconds: int = 120) -> None:
        limit = ""
        if sys.platform == "linux" and not SANITIZED:
            most = (gigabytes + FREE_THREADED) << 30
            limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({most}, {most}))\n"
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", limit + textwrap.dedent(script)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
            capture_output=True,
            text=True,
            timeout=seconds * PATIENCE,
        )
        last = done.stdout.splitlines()[-1:]
        assert done.returncode == 0, f"exit status {done.returncode} after {last}\n{done.stderr[:4000]}"

    return run
