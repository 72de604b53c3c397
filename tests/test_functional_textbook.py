"""The textbook's pair, correlate and convolve: narrow, wide and equal, with stride."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import reference as ref
from convkit import functional as F
from geometries import normal
from reference import assert_close

dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
names = pytest.mark.parametrize("name", ["correlate", "convolve"])
modes = pytest.mark.parametrize("mode", ["valid", "full", "same"])


@dtypes
@pytest.mark.parametrize("rank", [1, 2])
def test_pair_matches_the_oracle(rank: int, seed: int, dtype: Any) -> None:
    rng = np.random.default_rng(seed)
    kernel_shape = tuple(int(n) for n in rng.integers(1, 6, rank))
    shape = tuple(m + int(rng.integers(0, 40 if rank == 1 else 9)) for m in kernel_shape)
    stride = int(rng.integers(1, 4))
    signal, kernel = normal(rng, shape, dtype), normal(rng, kernel_shape, dtype)
    for name, mode in itertools.product(("correlate", "convolve"), ("valid", "full", "same")):
        result = getattr(F, f"{name}{rank}d")(signal, kernel, mode, stride)
        assert_close(result, getattr(ref, name)(signal, kernel, mode, stride), dtype, what=f"{name} {mode}")


@names
@modes
@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
def test_pair_matches_numpy(name: str, mode: Any, m: int) -> None:
    rng = np.random.default_rng(m)
    signal, kernel = rng.standard_normal(11), rng.standard_normal(m)
    expected = getattr(np, name)(signal, kernel, mode)
    np.testing.assert_allclose(getattr(F, f"{name}1d")(signal, kernel, mode), expected, atol=1e-12)


@names
@modes
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (3, 3), (2, 5), (4, 3)])
def test_pair_matches_scipy(name: str, mode: str, shape: tuple[int, int]) -> None:
    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(0)
    image, kernel = rng.standard_normal((9, 10)), rng.standard_normal(shape)
    expected = getattr(signal, name)(image, kernel, mode)
    np.testing.assert_allclose(getattr(F, f"{name}2d")(image, kernel, mode), expected, atol=1e-12)


@names
def test_sizes_are_narrow_wide_and_equal(name: str) -> None:
    """n − m + 1, n + m − 1 and n."""
    n, m = 12, 5
    signal, kernel = np.ones(n), np.ones(m)
    function = getattr(F, f"{name}1d")
    assert function(signal, kernel).shape == (n - m + 1,)
    assert function(signal, kernel, "valid").shape == (n - m + 1,)
    assert function(signal, kernel, "full").shape == (n + m - 1,)
    assert function(signal, kernel, "same").shape == (n,)
    assert function(signal, kernel, "valid", 3).shape == ((n - m) // 3 + 1,)


def test_convolve_flips_the_kernel_and_correlate_does_not() -> None:
    impulse, kernel = np.array([0.0, 0, 1, 0, 0]), np.array([1.0, 2, 3])
    assert F.convolve1d(impulse, kernel, "same").tolist() == [0, 1, 2, 3, 0]
    assert F.correlate1d(impulse, kernel, "same").tolist() == [0, 3, 2, 1, 0]
    image = np.zeros((3, 3))
    image[1, 1] = 1
    square = np.arange(9.0).reshape(3, 3)
    np.testing.assert_array_equal(F.convolve2d(image, square, "same"), square)
    np.testing.assert_array_equal(F.correlate2d(image, square, "same"), square[::-1, ::-1])


def test_convolution_commutes_when_full() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(9), rng.standard_normal(4)
    np.testing.assert_allclose(F.convolve1d(a, b, "full"), F.convolve1d(b, a, "full"), atol=1e-13)


@names
@pytest.mark.parametrize("mode", ["wide", "SAME", None, 1])
def test_an_unknown_mode_is_refused(name: str, mode: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=rf"{name}1d: .*mode"):
        getattr(F, f"{name}1d")(np.ones(5), np.ones(3), mode)


@names
def test_signals_of_the_wrong_rank_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}1d: "):
        getattr(F, f"{name}1d")(np.ones((5, 5)), np.ones(3))
    with pytest.raises(ValueError, match=rf"{name}2d: "):
        getattr(F, f"{name}2d")(np.ones((5, 5)), np.ones(3))
    with pytest.raises(ValueError, match=rf"{name}1d: "):
        getattr(F, f"{name}1d")(np.ones(3), np.ones(5))
