"""Pooling: in windows, over whole planes, and undone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import Any

import numpy as np

from convkit import errors, geometry
from convkit import functional as F
from convkit.geometry import Windows
from convkit.onnx.operators.table import integers, is_float, of_rank, operator, pairs, sizes
from convkit.ops import array, pool
from convkit.ops.shape import Pad, Reshape

AUTO_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")


def windows_of(
    function: str, x: Any, kernel_shape: Sequence[int], strides: Any, pads: Any, dilations: Any, auto_pad: str
) -> Windows:
    """The windows that the attributes describe; SAME_UPPER and SAME_LOWER give ceil(n / stride) outputs."""
    errors.one_of(function, "auto_pad", auto_pad, AUTO_PADS)
    rank = len(kernel_shape)
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
        padding: Any = "same"
    else:
        padding = pairs(pads) if pads and auto_pad == "NOTSET" else 0
    found = geometry.windows(function, sizes(x), tuple(kernel_shape), strides, padding, dilations)
    if auto_pad == "SAME_LOWER":
        turned = tuple((hi, lo) for lo, hi in found.padding)
        found = Windows(found.kernel_size, found.stride, turned, found.dilation)
    return found


@operator("MaxPool")
def max_pool(
    x: Any, *, kernel_shape: Sequence[int], strides: Any = None, pads: Any = None, dilations: Any = None,
    auto_pad: str = "NOTSET", ceil_mode: int = 0, storage_order: int = 0, outputs: int,
) -> Any:  # fmt: skip
    if not is_float(x):
        y, *places = max_pool(array.cast(x, np.float64), kernel_shape=kernel_shape, strides=strides, pads=pads,
                              dilations=dilations, auto_pad=auto_pad, ceil_mode=ceil_mode,
                              storage_order=storage_order, outputs=outputs)  # fmt: skip
        return (array.cast(y, x.dtype), *places)
    windows = windows_of("MaxPool", x, kernel_shape, strides, pads, dilations, auto_pad)
    _check_padding("MaxPool", windows)
    counted = "int64" if outputs > 1 or prod(sizes(x)) > np.iinfo(np.int32).max else "int32"
    y, places = pool.MaxPool(windows, bool(ceil_mode), counted)(x)
    return (y, _whole_places(places, sizes(x), storage_order)) if outputs > 1 else (y,)


def _check_padding(name: str, windows: Windows) -> None:
    for pair, extent in zip(windows.padding, windows.extent, strict=True):
        if max(pair) >= extent:
            raise ValueError(f"{name}: windows of {extent} values with padding {pair} would hold nothing but padding")


def _whole_places(places: Any, size: tuple[int, ...], storage_order: int) -> Any:
    """Places within a plane as ONNX counts them, within the whole array; with `storage_order`, columns first."""

    def whole(a: np.ndarray) -> np.ndarray:
        if storage_order:
            a = np.ravel_multi_index(np.unravel_index(a, size), size, order="F")
        planes = np.arange(prod(a.shape[:2])).reshape(*a.shape[:2], *(1,) * len(size))
        return a + planes * prod(size)

    return array.Apply(whole)(places)


@operator("MaxUnpool", known="output_shape")
def max_unpool(
    x: Any, indices: Any, output_shape: Any = None, *, kernel_shape: Sequence[int], strides: Any = None,
    pads: Any = None,
) -> Any:  # fmt: skip
    errors.shape("MaxUnpool", "indices", indices, tuple(x.shape))
    rank = len(kernel_shape)
    windows = Windows(tuple(kernel_shape), tuple(strides or [1] * rank), pairs(pads or [0] * 2 * rank), (1,) * rank)
    size = geometry.transposed_output_size("MaxUnpool", sizes(x), windows, (0,) * rank)
    shape = (*x.shape[:2], *size)
    # Places count over the whole array, which is thus one plane.
    row = Reshape((1, 1, prod(x.shape)))
    y = Reshape(shape)(pool.MaxUnpool((prod(shape),))(row(x), row(_checked_places(indices, prod(shape)))))
    if output_shape is None:
        return y
    wider = [(0, n - m) for n, m in zip(integers(output_shape), y.shape, strict=True)]
    return Pad(tuple(wider))(y)


def _checked_places(indices: Any, count: int) -> Any:
    def checked(places: np.ndarray) -> np.ndarray:
        if places.size and not 0 <= places.min() <= places.max() < count:
            wrong = places.min() if places.min() < 0 else places.max()
            raise ValueError(f"MaxUnpool: indices must be from 0 to {count - 1}, not {wrong}")
        return places

    return array.Apply(checked)(indices)


@operator("AveragePool")
def average_pool(
    x: Any, *, kernel_shape: Sequence[int], strides: Any = None, pads: Any = None, dilations: Any = None,
    auto_pad: str = "NOTSET", ceil_mode: int = 0, count_include_pad: int = 0,
) -> Any:  # fmt: skip
    windows = windows_of("AveragePool", x, kernel_shape, strides, pads, dilations, auto_pad)
    _check_padding("AveragePool", windows)
    if set(windows.dilation) == {1}:
        return pool.AvgPool(windows, bool(ceil_mode), bool(count_include_pad))(x)
    sums = _window_sums(x, windows, ceil_mode)
    return F.multiply(sums, (1 / _counts(sizes(x), sizes(sums), windows, bool(count_include_pad))).astype(x.dtype))


def _counts(size: Sequence[int], out: Sequence[int], windows: Windows, padding_counts: bool) -> np.ndarray:
    """How many values each of the `out` windows averages over, at least 1, padding among them where it counts."""
    counts = []
    for n, m, (lo, hi), k, s, d in zip(
        size, out, windows.padding, windows.kernel_size, windows.stride, windows.dilation, strict=True
    ):
        places = (np.arange(m) * s - lo)[:, None] + np.arange(k) * d
        first, end = (-lo, n + hi) if padding_counts else (0, n)
        counts.append(((places >= first) & (places < end)).sum(1))
    return np.maximum(reduce(np.multiply.outer, counts), 1)


def _window_sums(x: Any, windows: Windows, ceil_mode: int) -> Any:
    """The sum of each window: a convolution of every plane with ones."""
    size = geometry.output_size("pooling", sizes(x), windows, bool(ceil_mode))
    reached = [(n - 1) * s + m for n, s, m in zip(size, windows.stride, windows.extent, strict=True)]
    padding = [(lo, max(hi, end - lo - n)) for (lo, hi), end, n in zip(windows.padding, reached, sizes(x), strict=True)]
    planes = Reshape((x.shape[0] * x.shape[1], 1, *sizes(x)))(x)
    kernel = np.ones((1, 1, *windows.kernel_size), x.dtype)
    sums = of_rank("conv", windows.rank)(planes, kernel, None, windows.stride, padding, windows.dilation)
    return Reshape((*x.shape[:2], *sums.shape[2:]))(sums)


@operator("LpPool")
def lp_pool(
    x: Any, *, kernel_shape: Sequence[int], p: float = 2, strides: Any = None, pads: Any = None, dilations: Any = None,
    auto_pad: str = "NOTSET", ceil_mode: int = 0,
) -> Any:  # fmt: skip
    windows = windows_of("LpPool", x, kernel_shape, strides, pads, dilations, auto_pad)
    return _root(_window_sums(_to_power(x, p), windows, ceil_mode), p)


def _to_power(x: Any, p: float) -> Any:
    return (
        F.multiply(x, x) if p == 2 else array.pointwise(np.power, array.pointwise(np.abs, x), np.full((), p, x.dtype))
    )


def _root(x: Any, p: float) -> Any:
    return array.pointwise(np.sqrt, x) if p == 2 else array.pointwise(np.power, x, np.full((), 1 / p, x.dtype))


# --- over whole planes --------------------------------------------------------------------------------------


@operator("GlobalAveragePool")
def global_average_pool(x: Any) -> Any:
    return of_rank("adaptive_avg_pool", len(sizes(x)))(x, 1)


@operator("GlobalMaxPool")
def global_max_pool(x: Any) -> Any:
    return of_rank("adaptive_max_pool", len(sizes(x)))(x, 1)


@operator("GlobalLpPool")
def global_lp_pool(x: Any, *, p: float = 2) -> Any:
    return _root(array.reduce_sum(_to_power(x, p), tuple(range(2, len(x.shape))), True), p)
