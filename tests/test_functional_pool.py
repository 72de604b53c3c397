"""Max and average pooling, forward and backward, on random geometries and where others trip."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import geometries
import reference as ref
from convkit import functional as F
from convkit import nn
from geometries import PoolCase, normal
from reference import assert_close, assert_gradient

ranks = pytest.mark.parametrize("rank", [1, 2, 3])
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def function(name: str, rank: int, backward: bool = False) -> Any:
    return getattr(F, f"{name}{rank}d" + ("_backward" if backward else ""))


def max_oracle(x: Any, case: PoolCase) -> tuple[Any, Any]:
    return ref.max_pool(
        x,
        case.kernel,
        stride=case.stride,
        padding=case.padding,
        dilation=case.dilation,
        ceil_mode=case.ceil_mode,
    )


def average_options(case: PoolCase) -> dict[str, Any]:
    names = ("stride", "padding", "ceil_mode", "count_include_pad")
    return {name: getattr(case, name) for name in names}


# Random geometries ----------------------------------------------------------------------------------


@ranks
@dtypes
def test_max_pool_matches_the_oracle(rank: int, seed: int, dtype: Any, threaded: Any) -> None:
    """Of numbers, of equal numbers, and of numbers among infinities and NaN."""
    case = geometries.pool_case(rank, seed, dilated=True)
    rng = np.random.default_rng(seed)
    x = normal(rng, case.x_shape, dtype)
    tied = np.round(x)
    wild = tied.copy()
    for value, share in [(-np.inf, 0.3), (np.inf, 0.1), (np.nan, 0.2)]:
        wild[rng.random(x.shape) < share] = value
    grad = normal(rng, case.y_shape, dtype)
    for numbers in (x, tied, wild):
        check_max_pool(numbers, grad, case, threaded)


def check_max_pool(x: Any, grad: Any, case: PoolCase, threaded: Any) -> None:
    rank, dtype = len(case.size), x.dtype
    values, index = max_oracle(x, case)
    y, indices = threaded(lambda: function("max_pool", rank)(x, return_indices=True, **case.written_for_max))
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, values)
    assert indices.dtype == np.int64
    one = ~np.isnan(values)  # which of several NaNs is chosen has a test of its own
    np.testing.assert_array_equal(indices[one], index[one])
    flat = x.reshape(*x.shape[:2], math.prod(case.size))
    chosen = np.take_along_axis(flat, indices.reshape(*y.shape[:2], math.prod(case.out)), axis=2)
    np.testing.assert_array_equal(chosen.reshape(y.shape), y)
    np.testing.assert_array_equal(function("max_pool", rank)(x, **case.written_for_max), values)
    grad_x = threaded(lambda: function("max_pool", rank, True)(grad, x, **case.written_for_max))
    assert_close(grad_x, ref.max_pool_backward(grad, indices, case.size), dtype)


@ranks
def test_max_pool_gradient_is_the_slope(rank: int, seed: int) -> None:
    case = geometries.pool_case(rank, seed, dilated=True)
    rng = np.random.default_rng(seed)
    x = rng.permutation(math.prod(case.x_shape)).reshape(case.x_shape).astype(np.float64)  # a gap of one
    max_pool = function("max_pool", rank)
    grad = rng.standard_normal(case.y_shape)
    grad_x = function("max_pool", rank, True)(grad, x, **case.written_for_max)
    assert_gradient(lambda x: max_pool(x, **case.written_for_max), x, grad, grad_x, rng, step=0.05, tolerance=1e-8)


@ranks
@dtypes
def test_avg_pool_matches_the_oracle(rank: int, seed: int, dtype: Any, threaded: Any) -> None:
    case = geometries.pool_case(rank, seed, dilated=False)
    rng = np.random.default_rng(seed)
    x, grad = normal(rng, case.x_shape, dtype), normal(rng, case.y_shape, dtype)
    y = threaded(lambda: function("avg_pool", rank)(x, **case.written_for_average))
    assert_close(y, ref.avg_pool(x, case.kernel, **average_options(case)), dtype)
    grad_x = threaded(lambda: function("avg_pool", rank, True)(grad, x.shape, **case.written_for_average))
    assert_close(grad_x, ref.avg_pool_backward(grad, case.size, case.kernel, **average_options(case)), dtype)


@ranks
@dtypes
def test_a_divisor_of_one_s_own_matches_the_oracle(rank: int, seed: int, dtype: Any) -> None:
    case = geometries.pool_case(rank, seed, dilated=False)
    rng = np.random.default_rng(seed)
    x, grad = normal(rng, case.x_shape, dtype), normal(rng, case.y_shape, dtype)
    divisor = int(rng.choice([-2, 1, 7]))
    y = function("avg_pool", rank)(x, **case.written_for_average, divisor_override=divisor)
    options = average_options(case) | {"divisor_override": divisor}
    assert_close(y, ref.avg_pool(x, case.kernel, **options), dtype)
    grad_x = function("avg_pool", rank, True)(grad, x.shape, **case.written_for_average, divisor_override=divisor)
    assert_close(grad_x, ref.avg_pool_backward(grad, case.size, case.kernel, **options), dtype)


@ranks
def test_a_divisor_of_zero_is_refused(rank: int) -> None:
    with pytest.raises(ValueError, match=f"^avg_pool{rank}d: divisor_override must not be 0"):
        function("avg_pool", rank)(np.ones((1, 1, *(4,) * rank)), 2, divisor_override=0)


def test_a_layer_divides_by_it_in_a_plan() -> None:
    x = np.random.default_rng(0).standard_normal((16, 3, 8, 8)).astype(np.float32)
    layer = nn.AvgPool2d(3, 2, 1, ceil_mode=True, divisor_override=5)
    model = nn.Sequential(nn.ReLU(), layer, nn.ReLU())
    expected = F.relu(F.avg_pool2d(F.relu(x), 3, 2, 1, ceil_mode=True, divisor_override=5))
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-6)


@ranks
def test_avg_pool_gradient_is_the_slope(rank: int, seed: int) -> None:
    case = geometries.pool_case(rank, seed, dilated=False)
    rng = np.random.default_rng(seed)
    x, grad = rng.standard_normal(case.x_shape), rng.standard_normal(case.y_shape)
    avg_pool = function("avg_pool", rank)
    grad_x = function("avg_pool", rank, True)(grad, x.shape, **case.written_for_average)
    assert_gradient(lambda x: avg_pool(x, **case.written_for_average), x, grad, grad_x, rng)


@dtypes
@pytest.mark.parametrize("width", range(1, 36))
def test_two_by_two_windows_of_every_width(width: int, dtype: Any) -> None:
    """The commonest pooling has kernels of its own, which have remainders of their own."""
    rng = np.random.default_rng(width)
    x = normal(rng, (2, 3, 4, 2 * width + 1), dtype)
    none: dict[str, Any] = {"stride": (2, 2), "padding": ((0, 0), (0, 0)), "ceil_mode": False}
    values, index = ref.max_pool(x, (2, 2), dilation=(1, 1), **none)
    np.testing.assert_array_equal(F.max_pool2d(x, 2), values)
    grad = normal(rng, values.shape, dtype)
    assert_close(F.max_pool2d_backward(grad, x, 2), ref.max_pool_backward(grad, index, x.shape[2:]), dtype)
    assert_close(F.avg_pool2d(x, 2), ref.avg_pool(x, (2, 2), count_include_pad=True, **none), dtype)
    back = ref.avg_pool_backward(grad, x.shape[2:], (2, 2), count_include_pad=True, **none)
    assert_close(F.avg_pool2d_backward(grad, x.shape, 2), back, dtype)


# What others trip over ------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("kernel", [2, 3, 4])
def test_a_nan_comes_through_from_every_place(dtype: Any, kernel: int) -> None:
    for place in np.ndindex(8, 12):
        x = np.ones((1, 1, 8, 12), dtype)
        x[0, 0][place] = np.nan
        y, indices = F.max_pool2d(x, kernel, return_indices=True)
        window = (0, 0, place[0] // kernel, place[1] // kernel)
        if window[2] < y.shape[2] and window[3] < y.shape[3]:
            assert np.isnan(y[window])
            assert indices[window] == np.ravel_multi_index(place, (8, 12))
            y[window] = 1
        assert (y == 1).all()


def test_the_first_of_equal_maxima_wins() -> None:
    x = np.zeros((1, 1, 4, 4), np.float32)
    _, indices = F.max_pool2d(x, 2, return_indices=True)
    assert indices[0, 0].tolist() == [[0, 2], [8, 10]]
    grad_x = F.max_pool2d_backward(np.ones((1, 1, 2, 2), np.float32), x, 2)
    assert grad_x[0, 0].tolist() == [[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    signed = np.array([[[0.0, -0.0, -0.0, 0.0]]])
    assert F.max_pool1d(signed, 2, return_indices=True)[1].tolist() == [[[0, 2]]]


@dtypes
@pytest.mark.parametrize("value", [-np.inf, np.nan])
@pytest.mark.parametrize("padding", [0, 1])
def test_windows_of_nothing_but_infinity_keep_a_valid_index(dtype: Any, value: float, padding: int) -> None:
    x = np.full((1, 2, 5, 5), value, dtype)
    y, indices = F.max_pool2d(x, 3, stride=1, padding=padding, return_indices=True)
    np.testing.assert_array_equal(y, np.full_like(y, value))
    assert indices.min() >= 0 and indices.max() < 25
    grad_x = F.max_pool2d_backward(np.ones_like(y), x, 3, stride=1, padding=padding)
    assert grad_x.sum() == y.size


@dtypes
@pytest.mark.parametrize("width", [1, 2, 7, 16, 33])
def test_the_first_of_several_nans_wins(dtype: Any, width: int) -> None:
    x = np.full((1, 1, 3, 3 * width), np.nan, dtype)
    _, indices = F.max_pool2d(x, 3, return_indices=True)
    assert indices[0, 0, 0].tolist() == list(range(0, 3 * width, 3))


def test_padding_never_wins_over_negative_numbers() -> None:
    x = np.full((1, 1, 3, 3), -5.0)
    np.testing.assert_array_equal(F.max_pool2d(x, 3, stride=1, padding=1), x)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 2, 1), (3, 1, 1), (5, 2, 2), (4, 3, 2), (7, 3, 3)])
def test_what_a_larger_plane_left_behind_is_not_seen(kernel: int, stride: int, padding: int) -> None:
    """Planes are copied, with a border, to memory that the call before has used."""
    F.max_pool2d(np.ones((1, 1, 60, 60), np.float32), kernel, stride, padding, return_indices=True)
    x = -1 - np.random.default_rng(2).random((2, 3, 22, 25), np.float32)
    y, indices = F.max_pool2d(x, kernel, stride, padding, return_indices=True)
    values, places = ref.max_pool(
        x, (kernel,) * 2, stride=(stride,) * 2, padding=((padding,) * 2,) * 2, dilation=(1, 1), ceil_mode=False
    )
    np.testing.assert_array_equal(y, values)
    np.testing.assert_array_equal(indices, places)


def test_a_window_may_lie_in_the_padding_alone() -> None:
    """A dilated kernel can step over a narrow input; there is no maximum then, and no gradient to give."""
    x = np.ones((1, 1, 2))
    y, indices = F.max_pool1d(x, 2, stride=1, padding=1, dilation=3, return_indices=True)
    assert y.tolist() == [[[-np.inf]]]
    assert indices.shape == (1, 1, 1)
    assert F.max_pool1d_backward(np.ones((1, 1, 1)), x, 2, 1, 1, 3).tolist() == [[[0, 0]]]


@pytest.mark.parametrize(
    ("n", "kernel", "stride", "padding", "expected"),
    [
        (5, 2, 2, 0, 3),  # a last window of one pixel
        (4, 2, 2, 0, 2),  # nothing left over
        (5, 3, 2, 1, 3),  # fits without ceil_mode
        (6, 3, 2, 1, 4),  # starts on the last pixel
        (3, 2, 2, 1, 2),  # a third one would start in the right padding: 3 + 1 + 1 − 2 over 2, rounded up
        (2, 1, 3, 0, 1),  # a second one would start behind the input
        (1, 2, 3, 1, 1),  # and so would this
    ],
)
def test_the_last_window_of_ceil_mode_starts_in_the_input(
    n: int, kernel: int, stride: int, padding: int, expected: int
) -> None:
    x = np.arange(1.0, n + 1).reshape(1, 1, n)
    largest = F.max_pool1d(x, kernel, stride, padding, ceil_mode=True)
    assert largest.shape == (1, 1, expected)
    assert largest[0, 0, -1] == min(n, (expected - 1) * stride - padding + kernel)
    for count_include_pad in (True, False):
        mean = F.avg_pool1d(x, kernel, stride, padding, ceil_mode=True, count_include_pad=count_include_pad)
        assert mean.shape == (1, 1, expected)
        assert np.isfinite(mean).all()


def test_what_hangs_over_in_ceil_mode_is_not_counted() -> None:
    x = np.ones((1, 1, 5))
    assert F.avg_pool1d(x, 2, 2, ceil_mode=True).tolist() == [[[1, 1, 1]]]
    padded = F.avg_pool1d(x, 4, 3, padding=1, ceil_mode=True)
    assert padded[0, 0].tolist() == [0.75, 0.75]  # (0, 1, 1, 1) and (1, 1, 1, 0)
    overhanging = F.avg_pool1d(np.ones((1, 1, 6)), 4, 3, padding=1, ceil_mode=True)
    assert overhanging[0, 0].tolist() == [
        0.75,
        1.0,
        0.5,
    ]  # the last: one pixel, one padding, two over the end


def test_padding_counts_or_not_as_asked() -> None:
    x = np.full((1, 1, 2, 2), 4.0)
    assert F.avg_pool2d(x, 2, 1, 1)[0, 0].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]
    assert (F.avg_pool2d(x, 2, 1, 1, count_include_pad=False) == 4).all()


@ranks
@pytest.mark.parametrize("name", ["max_pool", "avg_pool"])
def test_a_stride_not_given_is_the_kernel_size(rank: int, name: str) -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, *(9,) * rank))
    pool = function(name, rank)
    np.testing.assert_array_equal(pool(x, 3), pool(x, 3, 3))
    np.testing.assert_array_equal(pool(x, 3), pool(x, (3,) * rank, None))


@ranks
@dtypes
def test_pooling_an_empty_batch(rank: int, dtype: Any) -> None:
    x = np.empty((0, 3, *(6,) * rank), dtype)
    y, indices = function("max_pool", rank)(x, 2, return_indices=True)
    assert y.shape == indices.shape == (0, 3, *(3,) * rank)
    assert function("max_pool", rank, True)(y, x, 2).shape == x.shape
    mean = function("avg_pool", rank)(x, 2)
    assert mean.shape == y.shape and mean.dtype == dtype
    assert function("avg_pool", rank, True)(mean, x.shape, 2).shape == x.shape


@ranks
@pytest.mark.parametrize("kernel", [1, 2, 3])
def test_pooling_no_channels(rank: int, kernel: int) -> None:
    x = np.empty((2, 0, *(6,) * rank), np.float32)
    for name in ("max_pool", "avg_pool"):
        y = function(name, rank)(x, kernel, 1)
        assert y.shape == (2, 0, *(7 - kernel,) * rank)
        last = x if name == "max_pool" else x.shape
        assert function(name, rank, True)(y, last, kernel, 1).shape == x.shape


def test_a_value_whose_place_another_took_has_no_gradient_even_where_it_is_infinite() -> None:
    gradient = F.max_unpool1d_backward(np.array([[[np.inf, 1, 1, 1]]], "f4"), np.zeros((1, 1, 2), int))
    np.testing.assert_array_equal(gradient, [[[0, np.inf]]])


@pytest.mark.parametrize("kernel_size", [(2**31, 2**30, 1), (2**32, 2**32, 1), (2**62, 2**62, 2**62), (1, 1, 2**62)])
@pytest.mark.parametrize("name", ["max_pool3d", "avg_pool3d"])
def test_windows_beyond_all_bounds(name: str, kernel_size: tuple[int, ...]) -> None:
    """With `ceil_mode` one window may be larger than the plane; its taps were counted, which overflowed."""
    x = np.random.default_rng(0).standard_normal((1, 2, 30, 31, 6))
    plane = tuple(min(k, n) for k, n in zip(kernel_size, x.shape[2:], strict=True))
    pool = getattr(F, name)
    y = pool(x, kernel_size, kernel_size, ceil_mode=True)
    np.testing.assert_array_equal(y, pool(x, plane, plane, ceil_mode=True))
    if name == "avg_pool3d":
        grad = F.avg_pool3d_backward(y, x.shape, kernel_size, kernel_size, ceil_mode=True)
        np.testing.assert_array_equal(grad, F.avg_pool3d_backward(y, x.shape, plane, plane, ceil_mode=True))


@pytest.mark.parametrize("count_include_pad", [True, False])
def test_means_of_windows_larger_than_the_padded_plane(count_include_pad: bool) -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 6, 50)).astype(np.float32)
    for kernel_size, padding in (((100, 2), 0), ((100, 2), (3, 1)), ((9, 50), (4, 20))):
        options = {"stride": (100, 2), "padding": padding, "ceil_mode": True}
        y = F.avg_pool2d(x, kernel_size, **options, count_include_pad=count_include_pad)
        low = (padding,) * 2 if isinstance(padding, int) else padding
        for row in range(y.shape[3]):
            top, left = -low[0], row * 2 - low[1]
            bottom, right = min(top + kernel_size[0], 6 + low[0]), min(left + kernel_size[1], 50 + low[1])
            inside = x[..., max(top, 0) : bottom, max(left, 0) : right].astype(np.float64)
            values = (bottom - top) * (right - left) if count_include_pad else inside[0, 0].size
            np.testing.assert_allclose(y[..., 0, row], inside.sum((2, 3)) / values, rtol=1e-4, atol=1e-6)
