"""One pixel that is not finite, or near an end of float32's range: how far it reaches through a convolution.

Winograd's transforms add up the inputs of a tile, so in the outputs of a tile that pixel meets sums that the direct
sum does not make: infinity less infinity. What must hold is that it goes no further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import convkit as ck
import reference as ref
from reference import Shape

VALUES = [np.nan, np.inf, -np.inf, 3e38, 1e-40]
PLACES = [(0, 0), (5, 6), (4, 9)]


@contextmanager
def winograd(on: bool) -> Iterator[None]:
    before = ck.get_winograd()
    ck.set_winograd(on)
    try:
        yield
    finally:
        ck.set_winograd(before)


def reading(size: int, at: int, low: int, reads: int, tile: int = 1) -> list[int]:
    """The outputs of an axis that meet the value `at`: tiles of some outputs read so many values, from `low` before."""
    return [output for output in range(size) if 0 <= at + low - output // tile * tile < reads]


def reached(size: Shape, at: tuple[int, int], kernel: int, low: int, by_rows: bool) -> Any:
    """Which of a plane's outputs may change with one input: those of its windows, or of its tiles along rows.

    In tiles of two axes, F(2x2), an input meets the outputs that it belongs to and no others; F(4, 5) mixes a tile.
    """
    plane = np.zeros(size, bool)
    rows = reading(size[0], at[0], low, kernel)
    columns = reading(size[1], at[1], low, 8, 4) if by_rows else reading(size[1], at[1], low, kernel)
    plane[np.ix_(rows, columns)] = True
    return plane


def with_pixel(x: Any, at: tuple[int, int], value: float) -> Any:
    """A copy with this value in the second image, in a channel in the middle."""
    copy = x.copy()
    copy[1, x.shape[1] // 2, at[0], at[1]] = value
    return copy


def assert_goes_no_further(
    compute: Callable[[Any], Any], x: Any, at: tuple[int, int], value: float, reach: Any, windows: Any
) -> None:
    """Other images, and outputs beyond `reach`, keep their bits; what is not finite stays so in all of its windows."""
    usual, strange = compute(x), compute(with_pixel(x, at, value))
    kept = np.broadcast_to(~reach, usual.shape).copy()
    kept[[n for n in range(len(x)) if n != 1]] = True
    assert strange[kept].tobytes() == usual[kept].tobytes()
    if not np.isfinite(value):
        assert not np.isfinite(strange[1][:, windows]).any()
    if np.isnan(value):
        assert np.isnan(strange[1][:, windows]).all()
    if abs(value) < 1:
        assert np.isfinite(strange).all()


def assert_exact_without_winograd(compute: Callable[[Any], Any], x: Any, oracle: Callable[[Any], Any]) -> None:
    """NaN and infinities where the oracle has them, which is rounded to float32 as sums near its end are."""
    with winograd(False):
        result = compute(x)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = oracle(x).astype(np.float32)
    ref.assert_close(result, expected, np.float32)
