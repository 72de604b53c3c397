"""Oracles: every operation of the library once more, slowly, from its definition, in plain NumPy, float64.

They share neither code nor ideas with the library. There is no tiling, no flipping of kernels and no
matrix of patches here: a windowed operation walks over the *taps*, the positions inside its kernel. For one
tap, the pixels that it meets in all windows form a strided view of the padded array; an operation is a sum
(or a maximum, or a copy) over such views, and its gradient writes through the very same views. Any rank
works.

Arguments are in canonical form only: one entry an axis, paddings as pairs ``((low, high), …)``. What a user
may write instead (``padding='same'``, ``stride=2``) is resolved by `geometries`, so that is checked
independently too. `test_functional_oracles.py` checks this file: against definitions written as loops,
SciPy, and finite differences.

The measures that the tests use (`relative_error`, `assert_close`, `assert_gradient`) are at the end.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.int64]
Shape: TypeAlias = tuple[int, ...]
Padding: TypeAlias = Sequence[tuple[int, int]]
Index: TypeAlias = tuple[Any, ...]


# Windows ------------------------------------------------------------------------------------------


def window_starts(size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int) -> range:
    """First pixel (counted from the first one that is no padding) of every window that fits."""
    low, high = padding
    last_start = size + high - (dilation * (kernel - 1) + 1)
    return range(-low, last_start + 1, stride)


def window_starts_ceil(size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int) -> range:
    """The same for ``ceil_mode``: windows follow until one reaches the end, perhaps hanging over it.

    The last one still starts before the right padding.
    """
    low, high = padding
    reach = dilation * (kernel - 1) + 1
    first_not_needed = size + high - reach + stride  # the window one stride before it reaches the end
    return range(-low, min(first_not_needed, size), stride)


def output_shape(
    size: Shape, kernel: Shape, stride: Shape, padding: Padding, dilation: Shape, ceil_mode: bool = False
) -> Shape:
    """How many windows there are along each axis: counted, not calculated."""
    starts = window_starts_ceil if ceil_mode else window_starts
    return tuple(len(starts(*axis)) for axis in zip(size, kernel, stride, padding, dilation, strict=True))


def taps(kernel: Shape, stride: Shape, dilation: Shape, out: Shape) -> Iterator[tuple[Index, Index]]:
    """Every tap in row-major order: its index in the kernel, and that of the padded pixels which meet it."""
    for position in itertools.product(*map(range, kernel)):
        window = tuple(
            slice(k * d, k * d + (o - 1) * s + 1, s) for k, s, d, o in zip(position, stride, dilation, out, strict=True)
        )
        yield (..., *position), (..., *window)


def pad(x: ArrayLike, padding: Padding, value: float = 0.0) -> Array:
    """`x` with its last ``len(padding)`` axes widened."""
    x = np.asarray(x, np.float64)
    leading, size = x.shape[: -len(padding)], x.shape[-len(padding) :]
    widened = np.full(leading + padded_size(size, padding), value)
    widened[inside(size, padding)] = x
    return widened


def padded_size(size: Shape, padding: Padding) -> Shape:
    """Length of every axis with its padding."""
    return tuple(n + low + high for n, (low, high) in zip(size, padding, strict=True))


def pad_backward(grad_output: ArrayLike, padding: Padding) -> Array:
    """The gradient of what was inside."""
    grad_output = np.asarray(grad_output, np.float64)
    rank = len(padding)
    size = tuple(n - low - high for n, (low, high) in zip(grad_output.shape[-rank:], padding, strict=True))
    return grad_output[inside(size, padding)].copy()


def inside(size: Shape, padding: Padding) -> Index:
    """Index of the original pixels in an array widened by `padding`."""
    return (..., *(slice(low, low + n) for n, (low, _) in zip(size, padding, strict=True)))


def split_groups(array: Array, axis: int, groups: int) -> Array:
    """Split one axis in two: group, channel inside the group."""
    shape = array.shape
    return array.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])


def flatten_pixels(array: Array, rank: int) -> Array:
    """Join the last `rank` axes (the length of an empty batch's pixels cannot be guessed by reshape)."""
    leading = array.shape[: array.ndim - rank]
    return array.reshape(*leading, int(np.prod(array.shape[array.ndim - rank :])))


# Convolution --------------------------------------------------------------------------------------


def conv(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Shape,
    padding: Padding,
    dilation: Shape,
    groups: int,
) -> Array:
    """Cross-correlation of x (N, C, *size) with weight (O, C/groups, *kernel)."""
    x, weight = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    size, kernel = x.shape[2:], weight.shape[2:]
    rank = len(size)
    out = output_shape(size, kernel, stride, padding, dilation)
    padded = split_groups(pad(x, padding), 1, groups)
    filters = split_groups(weight, 0, groups)
    y = np.zeros((x.shape[0], groups, weight.shape[0] // groups, int(np.prod(out))))
    for tap, window in taps(kernel, stride, dilation, out):
        # (groups, O/groups, C/groups) @ (N, groups, C/groups, pixels)
        y += filters[tap] @ flatten_pixels(padded[window], rank)
    y = y.reshape(x.shape[0], weight.shape[0], *out)
    if bias is not None:
        y += np.asarray(bias, np.float64).reshape(-1, *(1,) * rank)
    return y


def conv_backward(
    grad_output: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    *,
    stride: Shape,
    padding: Padding,
    dilation: Shape,
    groups: int,
) -> tuple[Array, Array, Array]:
    """Gradients of `conv` to x, weight and bias."""
    grad_output, x, weight = (np.asarray(a, np.float64) for a in (grad_output, x, weight))
    size, kernel, out = x.shape[2:], weight.shape[2:], grad_output.shape[2:]
    rank = len(size)
    padded = split_groups(pad(x, padding), 1, groups)
    filters = split_groups(weight, 0, groups)
    grad = flatten_pixels(split_groups(grad_output, 1, groups), rank)  # (N, groups, O/groups, pixels)
    grad_padded = np.zeros_like(padded)
    grad_filters = np.zeros_like(filters)
    for tap, window in taps(kernel, stride, dilation, out):
        pixels = padded[window]
        to_x = np.swapaxes(filters[tap], -1, -2) @ grad
        grad_padded[window] += to_x.reshape(pixels.shape)
        to_weight = grad @ np.swapaxes(flatten_pixels(pixels, rank), -1, -2)
        grad_filters[tap] += to_weight.sum(axis=0)
    grad_x = pad_backward(grad_padded.reshape(*x.shape[:2], *grad_padded.shape[3:]), padding)
    grad_bias = grad_output.sum(axis=(0, *range(2, 2 + rank)))
    return grad_x, grad_filters.reshape(weight.shape), grad_bias


def conv_transpose_shape(
    size: Shape, kernel: Shape, stride: Shape, padding: Padding, output_padding: Shape, dilation: Shape
) -> Shape:
    """Every pixel is spread over a dilated kernel, one stride apart; `padding` is then cut off."""
    spread = _spread_shape(size, kernel, stride, output_padding, dilation)
    return tuple(n - low - high for n, (low, high) in zip(spread, padding, strict=True))


def _spread_shape(size: Shape, kernel: Shape, stride: Shape, output_padding: Shape, dilation: Shape) -> Shape:
    axes = zip(size, kernel, stride, output_padding, dilation, strict=True)
    return tuple((n - 1) * s + d * (k - 1) + 1 + extra for n, k, s, extra, d in axes)


def conv_transpose(
    x: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Shape,
    padding: Padding,
    output_padding: Shape,
    dilation: Shape,
    groups: int,
) -> Array:
    """Spread x (N, C, *size) over weight (C, O/groups, *kernel): the adjoint of a convolution."""
    x, weight = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    size, kernel = x.shape[2:], weight.shape[2:]
    rank = len(size)
    filters = split_groups(weight, 0, groups)  # (groups, C/groups, O/groups, *kernel)
    pixels = flatten_pixels(split_groups(x, 1, groups), rank)
    spread = np.zeros(
        (x.shape[0], groups, weight.shape[1], *_spread_shape(size, kernel, stride, output_padding, dilation))
    )
    for tap, window in taps(kernel, stride, dilation, size):
        contribution = np.swapaxes(filters[tap], -1, -2) @ pixels
        spread[window] += contribution.reshape(*spread.shape[:3], *size)
    y = pad_backward(spread.reshape(x.shape[0], groups * weight.shape[1], *spread.shape[3:]), padding)
    if bias is not None:
        y += np.asarray(bias, np.float64).reshape(-1, *(1,) * rank)
    return y


def conv_transpose_backward(
    grad_output: ArrayLike,
    x: ArrayLike,
    weight: ArrayLike,
    *,
    stride: Shape,
    padding: Padding,
    dilation: Shape,
    groups: int,
) -> tuple[Array, Array, Array]:
    """Gradients of `conv_transpose` to x, weight and bias (`output_padding` shows in grad_output's shape)."""
    grad_output, x, weight = (np.asarray(a, np.float64) for a in (grad_output, x, weight))
    size, kernel = x.shape[2:], weight.shape[2:]
    rank = len(size)
    filters = split_groups(weight, 0, groups)
    pixels = flatten_pixels(split_groups(x, 1, groups), rank)
    grad_spread = split_groups(pad(grad_output, padding), 1, groups)
    grad_x = np.zeros_like(pixels)
    grad_filters = np.zeros_like(filters)
    for tap, window in taps(kernel, stride, dilation, size):
        grad = flatten_pixels(grad_spread[window], rank)  # (N, groups, O/groups, pixels)
        grad_x += filters[tap] @ grad
        grad_filters[tap] += (pixels @ np.swapaxes(grad, -1, -2)).sum(axis=0)
    grad_bias = grad_output.sum(axis=(0, *range(2, 2 + rank)))
    return grad_x.reshape(x.shape), grad_filters.reshape(weight.shape), grad_bias


def im2col(x: ArrayLike, kernel: Shape, *, stride: Shape, padding: Padding, dilation: Shape) -> Array:
    """Windows of x (N, C, *size) as columns: (N, C * taps, windows), the taps of one channel side by side."""
    x = np.asarray(x, np.float64)
    size = x.shape[2:]
    rank = len(size)
    out = output_shape(size, kernel, stride, padding, dilation)
    padded = pad(x, padding)
    rows = [flatten_pixels(padded[window], rank) for _, window in taps(kernel, stride, dilation, out)]
    n, channels = x.shape[:2]
    return np.stack(rows, axis=2).reshape(n, channels * len(rows), int(np.prod(out)))


def col2im(cols: ArrayLike, size: Shape, kernel: Shape, *, stride: Shape, padding: Padding, dilation: Shape) -> Array:
    """Add columns back to the places where `im2col` found them."""
    cols = np.asarray(cols, np.float64)
    out = output_shape(size, kernel, stride, padding, dilation)
    n, tap_count = cols.shape[0], int(np.prod(kernel))
    rows = cols.reshape(n, cols.shape[1] // tap_count, tap_count, *out)
    widened = np.zeros(rows.shape[:2] + padded_size(size, padding))
    for number, (_, window) in enumerate(taps(kernel, stride, dilation, out)):
        widened[window] += rows[:, :, number]
    return pad_backward(widened, padding)


# Pooling ------------------------------------------------------------------------------------------


def _reach(size: Shape, kernel: Shape, stride: Shape, padding: Padding, dilation: Shape, out: Shape) -> Padding:
    """`padding` with as much more on the right as the last window hangs over in ceil mode."""
    reached = []
    for n, k, s, (low, high), d, o in zip(size, kernel, stride, padding, dilation, out, strict=True):
        end = -low + (o - 1) * s + d * (k - 1) + 1
        reached.append((low, max(high, end - n)))
    return reached


def max_pool(
    x: ArrayLike, kernel: Shape, *, stride: Shape, padding: Padding, dilation: Shape, ceil_mode: bool
) -> tuple[Array, Labels]:
    """Maximum of every window and where in its plane it stands.

    The first of equal maxima wins, a NaN beats every number, padding is never chosen. A window without a
    single pixel of the plane (dilation can do that) gives −inf and index −1.
    """
    x = np.asarray(x, np.float64)
    size = x.shape[2:]
    out = output_shape(size, kernel, stride, padding, dilation, ceil_mode)
    reach = _reach(size, kernel, stride, padding, dilation, out)
    padded = pad(x, reach, -np.inf)
    places = pad(np.arange(np.prod(size)).reshape(size), reach, -1).astype(np.int64)
    best = np.full((*x.shape[:2], *out), -np.inf)
    index = np.full(best.shape, -1, np.int64)
    for _, window in taps(kernel, stride, dilation, out):
        values, where = padded[window], places[window]
        better = (index < 0) | (values > best) | (np.isnan(values) & ~np.isnan(best))
        best = np.where(better, values, best)
        index = np.where(better, where, index)
    return best, index


def max_pool_backward(grad_output: ArrayLike, index: Labels, size: Shape) -> Array:
    """Every gradient goes to the pixel that won; windows share pixels where they overlap."""
    grad_output = np.asarray(grad_output, np.float64)
    grad_x = np.zeros((*grad_output.shape[:2], int(np.prod(size))))
    for plane in np.ndindex(*grad_output.shape[:2]):
        won = index[plane] >= 0
        np.add.at(grad_x[plane], index[plane][won], grad_output[plane][won])
    return grad_x.reshape(*grad_output.shape[:2], *size)


def _avg_pool_weights(
    size: Shape,
    kernel: Shape,
    stride: Shape,
    padding: Padding,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> tuple[Shape, Padding, Array]:
    """Output shape, reach of the windows, and one over the number of pixels that count in each, or over the divisor."""
    once = (1,) * len(size)
    out = output_shape(size, kernel, stride, padding, once, ceil_mode)
    reach = _reach(size, kernel, stride, padding, once, out)
    ones = np.ones(size)
    if count_include_pad:  # declared padding counts, what hangs over in ceil mode does not
        overhang = [(0, high - declared) for (_, high), (_, declared) in zip(reach, padding, strict=True)]
        counted = pad(pad(ones, padding, 1.0), overhang, 0.0)
    else:
        counted = pad(ones, reach, 0.0)
    count = np.zeros(out)
    for _, window in taps(kernel, stride, once, out):
        count += counted[window]
    return out, reach, 1.0 / (count if divisor_override is None else np.full(out, divisor_override))


def avg_pool(
    x: ArrayLike,
    kernel: Shape,
    *,
    stride: Shape,
    padding: Padding,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None = None,
) -> Array:
    """Mean of every window."""
    x = np.asarray(x, np.float64)
    size = x.shape[2:]
    out, reach, share = _avg_pool_weights(size, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override)
    padded = pad(x, reach)
    total = np.zeros((*x.shape[:2], *out))
    for _, window in taps(kernel, stride, (1,) * len(size), out):
        total += padded[window]
    return total * share


def avg_pool_backward(
    grad_output: ArrayLike,
    size: Shape,
    kernel: Shape,
    *,
    stride: Shape,
    padding: Padding,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None = None,
) -> Array:
    """Every pixel of a window gets the same share."""
    grad_output = np.asarray(grad_output, np.float64)
    out, reach, share = _avg_pool_weights(size, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override)
    widened = np.zeros(grad_output.shape[:2] + padded_size(size, reach))
    for _, window in taps(kernel, stride, (1,) * len(size), out):
        widened[window] += grad_output * share
    return widened[inside(size, reach)].copy()


# Dense layer, activations, concatenation ----------------------------------------------------------


def linear(x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> Array:
    """x (…, inputs) times weight (outputs, inputs) transposed."""
    y = np.tensordot(np.asarray(x, np.float64), np.asarray(weight, np.float64), axes=(-1, 1))
    return y if bias is None else y + np.asarray(bias, np.float64)


def linear_backward(grad_output: ArrayLike, x: ArrayLike, weight: ArrayLike) -> tuple[Array, Array, Array]:
    """Gradients of `linear` to x, weight and bias."""
    grad_output, x, weight = (np.asarray(a, np.float64) for a in (grad_output, x, weight))
    batch_axes = tuple(range(x.ndim - 1))
    grad_x = np.tensordot(grad_output, weight, axes=(-1, 0))
    grad_weight = np.tensordot(grad_output, x, axes=(batch_axes, batch_axes))
    return grad_x, grad_weight, grad_output.sum(axis=batch_axes)


def relu(x: ArrayLike) -> Array:
    """Negative numbers become zero; NaN stays NaN."""
    x = np.asarray(x, np.float64)
    return np.where(x < 0, 0.0, x)


def relu_backward(grad_output: ArrayLike, x: ArrayLike) -> Array:
    """The slope at zero is taken as zero."""
    return np.asarray(grad_output, np.float64) * (np.asarray(x, np.float64) > 0)


def tanh(x: ArrayLike) -> Array:
    """Hyperbolic tangent."""
    return np.tanh(np.asarray(x, np.float64))


def tanh_backward(grad_output: ArrayLike, x: ArrayLike) -> Array:
    """d tanh x / dx = 1 / cosh² x, written without overflow."""
    decay = np.exp(-2.0 * np.abs(np.asarray(x, np.float64)))
    return np.asarray(grad_output, np.float64) * 4.0 * decay / (1.0 + decay) ** 2


def sigmoid(x: ArrayLike) -> Array:
    """1 / (1 + e^−x), through its logarithm."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(x, np.float64)))


def sigmoid_backward(grad_output: ArrayLike, x: ArrayLike) -> Array:
    """The slope of the logistic curve is its value at x times its value at −x."""
    x = np.asarray(x, np.float64)
    return np.asarray(grad_output, np.float64) * sigmoid(x) * sigmoid(-x)


# Functions of one number with constants, and their slopes: λ and α of SELU solve the equations of its paper.
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _normal_distribution(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def _one_plus_tanh(u: float) -> float:
    return 1 + math.tanh(u) if u > -1 else 2 * math.exp(2 * u) / (1 + math.exp(2 * u))  # where the two cancel


def _gelu_tanh(x: float) -> float:
    return 0.5 * x * _one_plus_tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def _gelu_tanh_slope(x: float) -> float:
    t = math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)


SCALAR_ACTIVATIONS: dict[str, tuple[Callable[..., float], Callable[..., float]]] = {
    "leaky_relu": (lambda x, slope=0.01: x if x > 0 else slope * x, lambda x, slope=0.01: 1.0 if x > 0 else slope),
    "elu": (
        lambda x, alpha=1.0: x if x > 0 else alpha * math.expm1(x),
        lambda x, alpha=1.0: 1.0 if x > 0 else alpha * math.exp(x),
    ),
    "selu": (
        lambda x: SELU_SCALE * (x if x > 0 else SELU_ALPHA * math.expm1(x)),
        lambda x: SELU_SCALE * (1.0 if x > 0 else SELU_ALPHA * math.exp(x)),
    ),
    "gelu": (
        lambda x: x * _normal_distribution(x),
        lambda x: _normal_distribution(x) + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi),
    ),
    "gelu_tanh": (_gelu_tanh, _gelu_tanh_slope),
    "silu": (lambda x: x * _logistic(x), lambda x: _logistic(x) * (1 + x * (1 - _logistic(x)))),
    "softplus": (
        lambda x, beta=1.0, threshold=20.0: x if beta * x > threshold else math.log1p(math.exp(beta * x)) / beta,
        lambda x, beta=1.0, threshold=20.0: 1.0 if beta * x > threshold else _logistic(beta * x),
    ),
    "hardsigmoid": (lambda x: min(max((x + 3) / 6, 0.0), 1.0), lambda x: 1 / 6 if -3 < x < 3 else 0.0),
    "hardswish": (
        lambda x: x * min(max((x + 3) / 6, 0.0), 1.0),
        lambda x: 0.0 if x <= -3 else 1.0 if x >= 3 else x / 3 + 0.5,
    ),
    "hardtanh": (
        lambda x, low=-1.0, high=1.0: min(max(x, low), high),
        lambda x, low=-1.0, high=1.0: 1.0 if low < x < high else 0.0,
    ),
}


def activation(name: str, x: ArrayLike, *constants: float) -> Array:
    """One of `SCALAR_ACTIVATIONS`, number by number."""
    function = SCALAR_ACTIVATIONS[name][0]
    return np.vectorize(lambda value: function(float(value), *constants), otypes=[np.float64])(x)


def activation_slope(name: str, x: ArrayLike, *constants: float) -> Array:
    """Its slope, number by number."""
    slope = SCALAR_ACTIVATIONS[name][1]
    return np.vectorize(lambda value: slope(float(value), *constants), otypes=[np.float64])(x)


def prelu(x: ArrayLike, weight: ArrayLike) -> Array:
    """A slope for each channel, or one for all."""
    x, weight = np.asarray(x, np.float64), np.asarray(weight, np.float64)
    return np.where(x > 0, x, x * weight.reshape(-1, *(1,) * (x.ndim - 2)))


def prelu_backward(grad_output: ArrayLike, x: ArrayLike, weight: ArrayLike) -> tuple[Array, Array]:
    """Gradients of `prelu` to x and weight."""
    grad, x, weight = (np.asarray(a, np.float64) for a in (grad_output, x, weight))
    slope = np.where(x > 0, 1.0, weight.reshape(-1, *(1,) * (x.ndim - 2)))
    each = grad * np.where(x > 0, 0.0, x)
    return grad * slope, each.sum((0, *range(2, x.ndim))) if len(weight) == x.shape[1] else each.sum(keepdims=False)[
        None
    ]


def log_softmax(x: ArrayLike, axis: int) -> Array:
    """x − log Σ exp x along one axis."""
    x = np.asarray(x, np.float64)
    return x - np.logaddexp.reduce(x, axis=axis, keepdims=True)


def softmax(x: ArrayLike, axis: int) -> Array:
    """exp x / Σ exp x along one axis."""
    return np.exp(log_softmax(x, axis))


def softmax_backward(grad_output: ArrayLike, x: ArrayLike, axis: int) -> Array:
    """Through the whole Jacobian, diag(p) − p pᵀ."""
    p = np.moveaxis(softmax(x, axis), axis, -1)
    grad = np.moveaxis(np.asarray(grad_output, np.float64), axis, -1)
    jacobian = p[..., :, None] * np.eye(p.shape[-1]) - p[..., :, None] * p[..., None, :]
    return np.moveaxis((jacobian @ grad[..., None])[..., 0], -1, axis)


def log_softmax_backward(grad_output: ArrayLike, x: ArrayLike, axis: int) -> Array:
    """Through the whole Jacobian transposed, I − p 1ᵀ."""
    p = np.moveaxis(softmax(x, axis), axis, -1)
    grad = np.moveaxis(np.asarray(grad_output, np.float64), axis, -1)
    jacobian = np.eye(p.shape[-1]) - p[..., :, None] * np.ones(p.shape[-1])
    return np.moveaxis((jacobian @ grad[..., None])[..., 0], -1, axis)


# Shared-out windows, unpooling, borders -----------------------------------------------------------


def adaptive_windows(size: Shape, out: Shape) -> Iterator[tuple[Index, Index]]:
    """Every output and the pixels it stands for: on each axis those that its share of the length touches."""
    for place in itertools.product(*map(range, out)):
        window = tuple(
            slice(math.floor(i * n / m), math.ceil((i + 1) * n / m)) for i, n, m in zip(place, size, out, strict=True)
        )
        yield (..., *place), (..., *window)


def adaptive_avg_pool(x: ArrayLike, out: Shape) -> Array:
    x = np.asarray(x, np.float64)
    y = np.empty((*x.shape[:2], *out))
    for place, window in adaptive_windows(x.shape[2:], out):
        y[place] = x[window].mean(tuple(range(2, x.ndim)))
    return y


def adaptive_avg_pool_backward(grad_output: ArrayLike, size: Shape) -> Array:
    grad = np.asarray(grad_output, np.float64)
    grad_x = np.zeros((*grad.shape[:2], *size))
    for place, window in adaptive_windows(size, grad.shape[2:]):
        count = grad_x[window][0, 0].size if grad_x.size else 1
        grad_x[window] += grad[place].reshape(*grad.shape[:2], *(1,) * len(size)) / count
    return grad_x


def adaptive_max_pool(x: ArrayLike, out: Shape) -> tuple[Array, Labels]:
    """Maxima, and the first place in the plane that has them."""
    x = np.asarray(x, np.float64)
    y, index = np.empty((*x.shape[:2], *out)), np.empty((*x.shape[:2], *out), np.int64)
    for place, window in adaptive_windows(x.shape[2:], out):
        for n, c in np.ndindex(*x.shape[:2]):
            values = x[n, c][window[1:]]
            within = np.unravel_index(values.argmax(), values.shape)
            y[n, c][place[1:]] = values[within]
            at = [axis.start + offset for axis, offset in zip(window[1:], within, strict=True)]
            index[n, c][place[1:]] = np.ravel_multi_index(at, x.shape[2:])
    return y, index


def max_unpool(x: ArrayLike, index: Labels, size: Shape) -> Array:
    """Written one after the other, so that the last stays."""
    x = np.asarray(x, np.float64)
    y = np.zeros((*x.shape[:2], *size))
    for at in np.ndindex(*x.shape):
        y[at[:2]].flat[index[at]] = x[at]
    return y


def max_unpool_backward(grad_output: ArrayLike, index: Labels) -> Array:
    """Each value's gradient stands at its place, but for values that another one overwrote."""
    grad = np.asarray(grad_output, np.float64)
    grad_x = np.zeros(index.shape)
    for plane in np.ndindex(*index.shape[:2]):
        last = {int(place): number for number, place in enumerate(index[plane].flat)}
        for place, number in last.items():
            grad_x[plane].flat[number] = grad[plane].flat[place]
    return grad_x


def border(size: int, low: int, high: int, mode: str) -> list[int]:
    """Which value of an axis stands at each place of the widened one."""
    places = []
    for at in range(-low, size + high):
        if mode == "replicate":
            at = min(max(at, 0), size - 1)
        elif mode == "circular":
            at %= size
        elif mode == "reflect":
            at = abs(at) if at < size else 2 * (size - 1) - at
        places.append(at)
    return places


def pad_by(x: ArrayLike, padding: Padding, mode: str, value: float = 0.0) -> Array:
    """`x` widened by a constant or by values of its own, axis by axis."""
    if mode == "constant":
        return pad(x, padding, value)
    y = np.asarray(x, np.float64)
    for axis, (low, high) in enumerate(padding, 2):
        y = y.take(border(y.shape[axis], low, high, mode), axis)
    return y


def pad_by_backward(grad_output: ArrayLike, padding: Padding, mode: str) -> Array:
    """Each value gets the gradients of all places where it stands."""
    grad = np.asarray(grad_output, np.float64)
    if mode == "constant":
        return pad_backward(grad, padding)
    for axis, (low, high) in enumerate(padding, 2):
        size = grad.shape[axis] - low - high
        total = np.zeros((size, *np.delete(grad.shape, axis)))
        np.add.at(total, border(size, low, high, mode), np.moveaxis(grad, axis, 0))
        grad = np.moveaxis(total, 0, axis)
    return grad


# Images of another size ---------------------------------------------------------------------------


def pixel_shuffle(x: ArrayLike, r: int) -> Array:
    """Pixel by pixel."""
    x = np.asarray(x, np.float64)
    n, channels, height, width = x.shape
    y = np.empty((n, channels // r**2, height * r, width * r))
    for c, row, column in np.ndindex(*y.shape[1:]):
        y[:, c, row, column] = x[:, c * r**2 + row % r * r + column % r, row // r, column // r]
    return y


def pixel_unshuffle(x: ArrayLike, r: int) -> Array:
    """Pixel by pixel."""
    x = np.asarray(x, np.float64)
    n, channels, height, width = x.shape
    y = np.empty((n, channels * r**2, height // r, width // r))
    for c, row, column in np.ndindex(*x.shape[1:]):
        y[:, c * r**2 + row % r * r + column % r, row // r, column // r] = x[:, c, row, column]
    return y


def interpolation(size: int, out: int, mode: str, align_corners: bool) -> Array:
    """The matrix (out, size) that resizes one axis: where each output lies, and what its neighbours weigh."""
    matrix = np.zeros((out, size))
    for i in range(out):
        if mode == "nearest":
            matrix[i, math.floor(i * size / out)] = 1
            continue
        if align_corners:
            at = i * (size - 1) / (out - 1) if out > 1 else 0.0
        else:
            at = min(max((i + 0.5) * size / out - 0.5, 0.0), size - 1.0)
        for k in range(size):
            matrix[i, k] = max(0.0, 1 - abs(at - k))
    return matrix


def interpolate(x: ArrayLike, out: Shape, mode: str, align_corners: bool) -> Array:
    """Axis by axis, by such a matrix."""
    y = np.asarray(x, np.float64)
    for axis, length in enumerate(out, 2):
        matrix = interpolation(y.shape[axis], length, mode, align_corners)
        y = np.moveaxis(np.tensordot(matrix, y, (1, axis)), 0, axis)
    return y


def interpolate_backward(grad_output: ArrayLike, size: Shape, mode: str, align_corners: bool) -> Array:
    """Axis by axis, by the same matrices transposed."""
    grad = np.asarray(grad_output, np.float64)
    for axis, length in enumerate(size, 2):
        matrix = interpolation(length, grad.shape[axis], mode, align_corners)
        grad = np.moveaxis(np.tensordot(matrix, grad, (0, axis)), 0, axis)
    return grad


# Normalisation ------------------------------------------------------------------------------------


def standardized(x: ArrayLike, axes: Shape, eps: float) -> Array:
    """Every value less the mean over these axes, divided by the deviation."""
    x = np.asarray(x, np.float64)
    mean = x.mean(axes, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(axes, keepdims=True) + eps)


def standardized_backward(grad_output: ArrayLike, x: ArrayLike, axes: Shape, eps: float) -> Array:
    """Back through the quotient, the deviation, the square and the mean, one after the other."""
    x, grad = np.asarray(x, np.float64), np.asarray(grad_output, np.float64)
    count = math.prod(x.shape[axis] for axis in axes)
    centered = x - x.mean(axes, keepdims=True)
    deviation = np.sqrt((centered**2).mean(axes, keepdims=True) + eps)
    grad_deviation = -(grad * centered).sum(axes, keepdims=True) / deviation**2
    grad_centered = grad / deviation + grad_deviation / (2 * deviation) * 2 * centered / count
    return grad_centered - grad_centered.mean(axes, keepdims=True)


def over_batch(x: ArrayLike) -> Shape:
    """All axes but that of the channels."""
    return (0, *range(2, np.ndim(x)))


def on_channels(values: ArrayLike, x: ArrayLike) -> Array:
    """One number for each channel, shaped to meet `x`."""
    return np.asarray(values, np.float64).reshape(-1, *(1,) * (np.ndim(x) - 2))


def local_response_norm(x: ArrayLike, size: int, alpha: float, beta: float, k: float, average: bool) -> Array:
    """Channel by channel, the squares of those around it."""
    x = np.asarray(x, np.float64)
    y = np.empty_like(x)
    for c in range(x.shape[1]):
        neighbours = x[:, max(0, c - size // 2) : c + (size - 1) // 2 + 1]
        total = (neighbours**2).sum(1)
        y[:, c] = x[:, c] / (k + alpha * (total / size if average else total)) ** beta
    return y


def local_response_norm_backward(
    grad_output: ArrayLike, x: ArrayLike, size: int, alpha: float, beta: float, k: float, average: bool
) -> Array:
    """Pair by pair of channels: how the output of one depends on the input of the other."""
    grad, x = np.asarray(grad_output, np.float64), np.asarray(x, np.float64)
    factor = alpha / size if average else alpha
    grad_x = np.zeros_like(x)
    for c in range(x.shape[1]):
        window = range(max(0, c - size // 2), min(x.shape[1], c + (size - 1) // 2 + 1))
        base = k + factor * sum(x[:, j] ** 2 for j in window)
        grad_x[:, c] += grad[:, c] * base**-beta
        for j in window:
            grad_x[:, j] -= grad[:, c] * x[:, c] * beta * base ** (-beta - 1) * factor * 2 * x[:, j]
    return grad_x


def concat_backward(grad_output: ArrayLike, lengths: Sequence[int], axis: int) -> list[Array]:
    """Cut the gradient where the parts were joined."""
    return np.split(np.asarray(grad_output, np.float64), np.cumsum(lengths)[:-1], axis=axis)


# Cross-entropy ------------------------------------------------------------------------------------


CROSS_ENTROPY_OPTIONS: dict[str, Any] = {"label_smoothing": 0.0, "weight": None, "ignore_index": None}


def _cross_entropy_targets(
    logits: Array,
    labels: ArrayLike,
    label_smoothing: float,
    weight: ArrayLike | None,
    ignore_index: int | None,
) -> tuple[Array, float]:
    """What each −log p is multiplied by, (N, C, …), and what the whole sum is divided by.

    With integer labels the mean is weighted: the divisor is the sum of the labels' class weights, and an
    ignored label adds to neither. With rows of probabilities it is the number of rows.
    """
    classes = logits.shape[1]
    class_weight = np.ones(classes) if weight is None else np.asarray(weight, np.float64)
    per_class = class_weight.reshape(-1, *(1,) * (logits.ndim - 2))
    labels = np.asarray(labels)
    if labels.dtype.kind == "f":
        smooth = (1 - label_smoothing) * labels.astype(np.float64) + label_smoothing / classes
        return per_class * smooth, float(logits.size // classes)
    keep = np.ones(labels.shape, bool) if ignore_index is None else labels != ignore_index
    share = np.full(logits.shape, label_smoothing / classes) * per_class
    divisor = 0.0
    for place in zip(*np.nonzero(keep), strict=True):
        label = labels[place]
        entry = (place[0], label, *place[1:])
        share[entry] += (1 - label_smoothing) * class_weight[label]
        divisor += class_weight[label]
    return share * keep[:, None], divisor


def cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    label_smoothing: float = 0.0,
    weight: ArrayLike | None = None,
    ignore_index: int | None = None,
) -> float:
    """Mean cross-entropy of logits (N, C, …) and labels (N, …), or probabilities (N, C, …)."""
    logits = np.asarray(logits, np.float64)
    target, divisor = _cross_entropy_targets(logits, labels, label_smoothing, weight, ignore_index)
    return float(-(target * log_softmax(logits, 1)).sum() / divisor)


def cross_entropy_each(logits: ArrayLike, labels: ArrayLike, **options: Any) -> Array:
    """The cross-entropy at each position, (N, …); options as those of `cross_entropy`."""
    logits = np.asarray(logits, np.float64)
    given = [options.get(name, default) for name, default in CROSS_ENTROPY_OPTIONS.items()]
    target, _ = _cross_entropy_targets(logits, labels, *given)
    return -(target * log_softmax(logits, 1)).sum(1)


def cross_entropy_backward(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    label_smoothing: float = 0.0,
    weight: ArrayLike | None = None,
    ignore_index: int | None = None,
) -> Array:
    """Gradient of `cross_entropy` to the logits."""
    logits = np.asarray(logits, np.float64)
    target, divisor = _cross_entropy_targets(logits, labels, label_smoothing, weight, ignore_index)
    return log_softmax_backward(-target / divisor, logits, 1)


def losses(
    name: str, scores: ArrayLike, labels: ArrayLike, reduction: str, **options: Any
) -> tuple[Array | float, Array]:
    """Cross-entropy of logits or likelihood of logarithms, reduced, and the gradient of their sum to the scores."""
    scores = np.asarray(scores, np.float64)
    given = [options.get(name, default) for name, default in CROSS_ENTROPY_OPTIONS.items()]
    target, divisor = _cross_entropy_targets(scores, labels, *given)
    each = -(target * (log_softmax(scores, 1) if name == "cross_entropy" else scores)).sum(1)
    grad = log_softmax_backward(-target, scores, 1) if name == "cross_entropy" else -target
    if reduction == "mean":
        return np.divide(each.sum(), divisor), grad / divisor if divisor else np.zeros_like(grad)
    return each.sum() if reduction == "sum" else each, grad


# The textbook's pair on plain signals -------------------------------------------------------------


def correlate(signal: ArrayLike, kernel: ArrayLike, mode: str, stride: int = 1) -> Array:
    """Slide the kernel over the signal and sum the products, one place at a time.

    'full' takes every place where the two overlap, 'valid' those where the kernel lies inside, 'same' as many
    as the signal is long, from the middle of 'full'; `stride` takes every stride-th of them.
    """
    signal, kernel = np.asarray(signal, np.float64), np.asarray(kernel, np.float64)
    result = np.zeros(tuple(n + m - 1 for n, m in zip(signal.shape, kernel.shape, strict=True)))
    for place in np.ndindex(*result.shape):
        start = [p - (m - 1) for p, m in zip(place, kernel.shape, strict=True)]
        result[place] = _overlap(signal, kernel, start)
    return _narrow(result, signal.shape, kernel.shape, mode, stride)


def convolve(signal: ArrayLike, kernel: ArrayLike, mode: str, stride: int = 1) -> Array:
    """Every sample of the signal sets off a copy of the kernel; the copies add up."""
    signal, kernel = np.asarray(signal, np.float64), np.asarray(kernel, np.float64)
    result = np.zeros(tuple(n + m - 1 for n, m in zip(signal.shape, kernel.shape, strict=True)))
    for place in np.ndindex(*signal.shape):
        result[tuple(slice(p, p + m) for p, m in zip(place, kernel.shape, strict=True))] += signal[place] * kernel
    return _narrow(result, signal.shape, kernel.shape, mode, stride)


def _overlap(signal: Array, kernel: Array, start: Sequence[int]) -> float:
    """Sum of the products where a kernel laid at `start` lies over the signal."""
    over, under = [], []
    for first, n, m in zip(start, signal.shape, kernel.shape, strict=True):
        low, high = max(first, 0), min(first + m, n)
        over.append(slice(low, high))
        under.append(slice(low - first, high - first))
    return float((signal[tuple(over)] * kernel[tuple(under)]).sum())


def _narrow(full: Array, size: Shape, kernel: Shape, mode: str, stride: int) -> Array:
    """Cut the full result down to `mode`, then take every stride-th place."""
    if mode == "valid":
        full = full[tuple(slice(m - 1, n) for n, m in zip(size, kernel, strict=True))]
    elif mode == "same":
        full = full[tuple(slice((m - 1) // 2, (m - 1) // 2 + n) for n, m in zip(size, kernel, strict=True))]
    return full[(slice(None, None, stride),) * full.ndim]


# Updates of a parameter ---------------------------------------------------------------------------


def sgd(
    values: ArrayLike,
    gradients: Sequence[ArrayLike],
    *,
    lr: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Array:
    """Values after a step for each gradient: v ← μ v + g, w ← w − lr·v (Nesterov: w − lr·(g + μ v))."""
    w = np.array(values, np.float64)
    velocity = np.zeros_like(w)
    for gradient in gradients:
        g = np.asarray(gradient, np.float64) + weight_decay * w
        velocity = momentum * velocity + g
        w = w - lr * (g + momentum * velocity if nesterov else velocity)
    return w


def adam(
    values: ArrayLike,
    gradients: Sequence[ArrayLike],
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> Array:
    """Values after Adam's steps (Kingma & Ba 2015, algorithm 1); `decoupled` decay makes it AdamW.

    The moments are written out as the weighted sums that their recursions stand for.
    """
    w = np.array(values, np.float64)
    seen: list[Array] = []
    for gradient in gradients:
        seen.append(np.asarray(gradient, np.float64) + (0.0 if decoupled else weight_decay * w))
        age = np.arange(len(seen))[::-1].reshape(-1, *(1,) * w.ndim)
        history = np.stack(seen)
        mean = (beta1**age * history).sum(axis=0) / (beta1**age).sum()
        square = (beta2**age * history**2).sum(axis=0) / (beta2**age).sum()
        decay = lr * weight_decay if decoupled else 0.0
        w = w - decay * w - lr * mean / (np.sqrt(square) + eps)
    return w


# Measures -----------------------------------------------------------------------------------------

TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-12}


def relative_error(actual: ArrayLike, expected: ArrayLike, scale: float = 0.0) -> float:
    """Largest difference over the whole array, divided by the largest magnitude (or `scale` if that is larger).

    So a small entry is measured by its array's scale, which is what sums in floating point can promise. Where
    both have the same infinity there is no difference, nor where both have NaN; zeros only have scale 1.
    """
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    if expected.size == 0:
        return 0.0
    with np.errstate(invalid="ignore"):
        difference = np.abs(actual - expected)
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    difference = np.where(same, 0.0, difference)
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=scale)
    worst = difference.max() / (scale or 1.0)
    return float("inf") if np.isnan(worst) else float(worst)


def assert_close(actual: Any, expected: ArrayLike, dtype: Any, *, scale: float = 0.0, what: str = "") -> None:
    """`actual` must be an array of `dtype` and of the expected shape, and as close as `dtype` promises.

    Where the result is a difference of larger numbers, `scale` is the size of these.
    """
    expected = np.asarray(expected)
    assert isinstance(actual, np.ndarray), f"{what}: {type(actual).__name__} is not an array"
    assert actual.dtype == dtype, f"{what}: dtype {actual.dtype}, expected {np.dtype(dtype)}"
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, expected {expected.shape}"
    error = relative_error(actual, expected, scale)
    limit = TOLERANCE[np.dtype(dtype)]
    assert error <= limit, f"{what}: relative error {error:.3g}, allowed {limit:.3g}"


def assert_gradient(
    function: Callable[[Array], ArrayLike],
    point: Array,
    grad_output: ArrayLike,
    gradient: ArrayLike,
    rng: np.random.Generator,
    *,
    step: float = 1.0,
    tolerance: float = 1e-10,
    what: str = "",
) -> None:
    """Compare `gradient` with a central difference of ⟨grad_output, function⟩ along a random direction.

    A wrong entry shows in any direction that is not orthogonal to the error, and a random one never is.

    A function that is linear in this argument has no truncation error: `step` may be 1, `tolerance` tight.
    The difference is measured against |gradient|·|direction|, the most that the slope could be.
    """
    gradient, grad_output = np.asarray(gradient, np.float64), np.asarray(grad_output, np.float64)
    assert gradient.shape == point.shape, f"{what}: gradient {gradient.shape} for an argument {point.shape}"
    direction = rng.standard_normal(point.shape)
    ahead = (grad_output * np.asarray(function(point + step * direction), np.float64)).sum()
    behind = (grad_output * np.asarray(function(point - step * direction), np.float64)).sum()
    slope = (ahead - behind) / (2 * step)
    bound = float(np.linalg.norm(gradient) * np.linalg.norm(direction))
    error = abs(slope - (gradient * direction).sum())
    assert error <= tolerance * (bound + 1e-3), f"{what}: slope off by {error:.3g}, scale {bound:.3g}"
