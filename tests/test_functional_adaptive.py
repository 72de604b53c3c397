"""Pooling to a given size and over whole planes, max pooling undone, borders of an array's own values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convkit as ck
import reference as ref
from convkit import functional as F
from convkit import nn
from geometries import normal, pool_case
from reference import assert_close, assert_gradient

dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
ranks = pytest.mark.parametrize("rank", [1, 2, 3])


def drawn(rank: int, seed: int, dtype: Any) -> tuple[Any, tuple[int, ...]]:
    """x, and a size to pool it to, which every second time divides its own."""
    rng = np.random.default_rng([rank, seed, 8])
    out = tuple(int(n) for n in rng.integers(1, 7, rank))
    size = tuple(m * int(rng.integers(1, 4)) if seed % 2 else max(1, m + int(rng.integers(-3, 12))) for m in out)
    x = normal(rng, (int(rng.integers(1, 4)), int(rng.integers(1, 5)), *size), dtype)
    return np.round(x) if seed % 3 == 0 else x, out


@ranks
@dtypes
def test_adaptive_pooling_matches_the_oracle(rank: int, seed: int, dtype: Any, threaded: Any) -> None:
    x, out = drawn(rank, seed, dtype)
    average, largest = getattr(F, f"adaptive_avg_pool{rank}d"), getattr(F, f"adaptive_max_pool{rank}d")
    assert_close(threaded(lambda: average(x, out)), ref.adaptive_avg_pool(x, out), dtype)
    y, index = threaded(lambda: largest(x, out, return_indices=True))
    expected, expected_index = ref.adaptive_max_pool(x, out)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(index, expected_index)
    np.testing.assert_array_equal(largest(x, out), y)
    grad = normal(np.random.default_rng(seed), y.shape, dtype)
    grad_x = getattr(F, f"adaptive_avg_pool{rank}d_backward")(grad, x.shape, out)
    assert_close(grad_x, ref.adaptive_avg_pool_backward(grad, x.shape[2:]), dtype)
    grad_x = getattr(F, f"adaptive_max_pool{rank}d_backward")(grad, x, out)
    assert_close(grad_x, ref.max_pool_backward(grad, index, x.shape[2:]), dtype)


def test_adaptive_average_gradient_is_the_slope(seed: int) -> None:
    x, out = drawn(2, seed, np.float64)
    rng = np.random.default_rng(seed)
    grad = rng.standard_normal((*x.shape[:2], *out))
    gradient = F.adaptive_avg_pool2d_backward(grad, x.shape, out)
    assert_gradient(lambda x: F.adaptive_avg_pool2d(x, out), x, grad, gradient, rng)


def test_none_keeps_an_axis_and_one_number_serves_all() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 5))
    np.testing.assert_array_equal(F.adaptive_avg_pool2d(x, (None, 1)), x.mean(3, keepdims=True))
    assert F.adaptive_max_pool2d(x, 2).shape == (2, 3, 2, 2)


@pytest.mark.parametrize("name", ["adaptive_avg_pool2d", "adaptive_max_pool2d"])
def test_sizes_that_do_not_fit_are_refused(name: str) -> None:
    function = getattr(F, name)
    for size, message in [
        (2**40, "the output of this output_size would have shape"),
        (0, "output_size must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=f"^{name}: {message}"):
            function(np.zeros((1, 1, 4, 9)), size)
    with pytest.raises(ValueError, match=f"^{name}: x must have a value on every spatial axis"):
        function(np.zeros((1, 1, 0, 9)), 1)


def test_a_nan_is_the_largest_value() -> None:
    x = np.arange(15.0).reshape(1, 1, 3, 5)
    x[0, 0, 1, 2] = np.nan
    y, index = F.adaptive_max_pool2d(x, (2, 2), return_indices=True)
    assert np.isnan(y).all() and (index == 7).all()


@pytest.mark.parametrize("shape", [(3, 4, 7), (3, 4, 5, 6), (3, 4, 5, 2, 3)])
def test_global_pooling(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, grad, axes = rng.standard_normal(shape), rng.standard_normal(shape[:2]), tuple(range(2, len(shape)))
    np.testing.assert_allclose(F.global_avg_pool(x), x.mean(axes), rtol=1e-12)
    np.testing.assert_array_equal(F.global_max_pool(x), x.max(axes))
    assert_gradient(F.global_avg_pool, x, grad, F.global_avg_pool_backward(grad, x.shape), rng)
    gradient = F.global_max_pool_backward(grad, x)
    assert_gradient(F.global_max_pool, x, grad, gradient, rng, step=1e-6, tolerance=1e-7)
    np.testing.assert_allclose(nn.GlobalAvgPool().astype("float64")(x.astype("f4")), x.mean(axes), rtol=1e-5)


# Max pooling undone ---------------------------------------------------------------------------------


@ranks
@dtypes
def test_unpooling_matches_the_oracle(rank: int, seed: int, dtype: Any) -> None:
    case = pool_case(rank, seed, dilated=False)
    rng = np.random.default_rng(seed)
    x = normal(rng, case.x_shape, dtype)
    y, index = getattr(F, f"max_pool{rank}d")(x, **case.written_for_max, return_indices=True)
    values = normal(rng, y.shape, dtype)
    unpool, backward = getattr(F, f"max_unpool{rank}d"), getattr(F, f"max_unpool{rank}d_backward")
    back = unpool(values, index, case.kernel, case.stride, case.padding, case.size)
    np.testing.assert_array_equal(back, ref.max_unpool(values, index, case.size))
    assert back.dtype == dtype
    restored = unpool(y, index, case.kernel, output_size=case.size)
    np.testing.assert_array_equal(restored[restored != 0], x[restored != 0])
    if dtype is np.float64 and values.size:
        grad = rng.standard_normal(back.shape)
        gradient = backward(grad, index)
        assert_gradient(lambda v: unpool(v, index, 1, output_size=case.size), values, grad, gradient, rng)


def test_unpooling_without_a_size_takes_the_smallest() -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 9, 6))
    y, index = F.max_pool2d(x, (3, 2), return_indices=True)
    assert F.max_unpool2d(y, index, (3, 2)).shape == (1, 2, 9, 6)
    y, index = F.max_pool2d(x[..., :5], 3, 2, 1, return_indices=True)
    assert F.max_unpool2d(y, index, 3, 2, 1).shape == (1, 2, 9, 5)


def test_places_outside_of_a_plane_are_refused() -> None:
    for index in (-1, 4):
        with pytest.raises(ValueError, match="^max_unpool1d(_backward)?: indices must be from 0 to 3"):
            F.max_unpool1d(np.ones((1, 1, 1)), np.full((1, 1, 1), index), 4)
        with pytest.raises(ValueError, match="^max_unpool1d(_backward)?: indices must be from 0 to 3"):
            F.max_unpool1d_backward(np.ones((1, 1, 4)), np.full((1, 1, 1), index))
    with pytest.raises(TypeError, match="^max_unpool1d: indices must be an integer array, not float64"):
        F.max_unpool1d(np.ones((1, 1, 1)), np.ones((1, 1, 1)), 4)


def test_pooling_and_unpooling_are_layers() -> None:
    class Through(nn.Module):
        def __init__(self) -> None:
            self.pool, self.unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

        def forward(self, x: Any) -> Any:
            y, indices = self.pool(x)
            return self.unpool(y, indices)

    x = np.random.default_rng(0).standard_normal((2, 3, 6, 4)).astype("f4")
    y, index = F.max_pool2d(x, 2, return_indices=True)
    np.testing.assert_array_equal(Through()(x), F.max_unpool2d(y, index, 2))
    target = np.zeros_like(x)
    _, _, grad_x = ck.value_and_grad(Through(), nn.MSELoss(), inputs=True)(x, target)
    np.testing.assert_allclose(grad_x, 2 * F.max_unpool2d(y, index, 2) / x.size, rtol=1e-6)


# Borders --------------------------------------------------------------------------------------------

NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
modes = pytest.mark.parametrize("mode", NUMPY_MODES)


def bordered(seed: int, mode: str) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    rng = np.random.default_rng([seed, 17])
    size = tuple(int(n) for n in rng.integers(1, 9, 1 + seed % 3))
    most = {"reflect": -1, "circular": 0, "replicate": 3}[mode]
    padding = tuple((int(rng.integers(0, n + most + 1)), int(rng.integers(0, n + most + 1))) for n in size)
    return (2, 3, *size), padding


@modes
@dtypes
def test_borders_are_numpy_s(mode: str, seed: int, dtype: Any) -> None:
    shape, padding = bordered(seed, mode)
    x = normal(np.random.default_rng(seed), shape, dtype)
    y = F.pad(x, padding, mode=mode)
    np.testing.assert_array_equal(y, np.pad(x, ((0, 0), (0, 0), *padding), NUMPY_MODES[mode]))
    assert y.dtype == dtype


@modes
def test_border_gradients_are_slopes(mode: str, seed: int) -> None:
    shape, padding = bordered(seed, mode)
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    grad = rng.standard_normal(F.pad(x, padding).shape)
    assert_gradient(lambda x: F.pad(x, padding, mode=mode), x, grad, F.pad_backward(grad, padding, mode), rng)


def test_borders_that_need_more_than_there_is_are_refused() -> None:
    x = np.zeros((1, 1, 4))
    for mode, most in [("reflect", 3), ("circular", 4)]:
        assert F.pad(x, most, mode=mode).shape == (1, 1, 4 + 2 * most)
        with pytest.raises(ValueError, match=rf"^pad: mode '{mode}' can pad axis 2, which has 4 values, by at most"):
            F.pad(x, most + 1, mode=mode)
    with pytest.raises(ValueError, match="^pad: mode must be 'constant', 'reflect', 'replicate' or 'circular'"):
        F.pad(x, 1, mode="zero")


@modes
@pytest.mark.parametrize("padding", [1, ((2, 0), (1, 1)), "same"])
def test_convolutional_layers_pad_by_mode(mode: str, padding: Any) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 8)).astype("f4")
    layer = nn.Conv2d(3, 4, 3, padding=padding, padding_mode=mode)
    pairs = ((2, 0), (1, 1)) if isinstance(padding, tuple) else 1
    widened = F.pad(x, pairs, mode=mode)
    np.testing.assert_array_equal(layer(x), F.conv2d(widened, layer.weight.value, layer.bias.value))
    assert mode in repr(layer)
    with pytest.raises(
        ValueError, match="Conv2d: padding_mode must be 'zeros', 'reflect', 'replicate' or 'circular', not 'mirror'"
    ):
        nn.Conv2d(3, 4, 3, padding_mode="mirror")
