"""What all tests share: the number of random geometries, and running something on one thread and on two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import pytest

DEFAULT_GEOMETRIES = 40

Threaded: TypeAlias = Callable[[Callable[[], Any]], Any]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--geometries",
        type=int,
        default=DEFAULT_GEOMETRIES,
        metavar="N",
        help=f"random geometries for each operation (default {DEFAULT_GEOMETRIES}; a full run: 200)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `seed` runs once for each random geometry."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("geometries")))


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
