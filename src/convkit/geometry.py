"""The only place where output sizes, paddings and windows are computed.

Per axis, with input size n, kernel size k, dilation d, stride s and padding p_lo + p_hi, a window covers
m = d(k - 1) + 1 values and there are

    convolution, pooling     floor((n + p_lo + p_hi - m) / s) + 1
    transposed convolution   (n - 1) s + m - p_lo - p_hi + output_padding
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from convkit.errors import GeometryError, integer, integers, is_listing, said

Sizes = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]

# No array of this many values can exist; a size beyond it is a mistake in the arguments.
LARGEST = 2**48

# Convolutions of fewer values, padding included, cost little, wherever these lie.
FAR = 2**16


@dataclass(frozen=True)
class Windows:
    """Where the windows of a convolution or a pooling lie; every field has one entry for each spatial axis."""

    kernel_size: Sizes
    stride: Sizes
    padding: Pairs
    dilation: Sizes

    @property
    def rank(self) -> int:
        return len(self.kernel_size)

    @property
    def low(self) -> Sizes:
        """Padding before the first value of each axis."""
        return tuple(lo for lo, _ in self.padding)

    @property
    def high(self) -> Sizes:
        """Padding behind the last value of each axis."""
        return tuple(hi for _, hi in self.padding)

    @property
    def extent(self) -> Sizes:
        """Values that one window spans: d(k - 1) + 1."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel_size, self.dilation, strict=True))


def windows(
    function: str,
    input_size: Sizes,
    kernel_size: Sizes,
    stride: Any,
    padding: Any,
    dilation: Any,
) -> Windows:
    """Check a window's arguments and resolve 'valid', 'same' and 'full' for an input of `input_size`."""
    rank = len(input_size)
    strides = integers(function, "stride", stride, rank, 1)
    dilations = integers(function, "dilation", dilation, rank, 1)
    extents = tuple(d * (k - 1) + 1 for k, d in zip(kernel_size, dilations, strict=True))
    padding = checked_padding(function, padding, rank)
    pairs = _resolved(padding, input_size, extents, strides) if isinstance(padding, str) else padding
    check_volume(
        function, tuple(n + lo + hi for n, (lo, hi) in zip(input_size, pairs, strict=True)), "x with this padding"
    )
    return Windows(kernel_size, strides, pairs, dilations)


def checked_padding(function: str, padding: Any, rank: int) -> str | Pairs:
    """Padding given by name as it is, anything else as pairs for each axis."""
    if not isinstance(padding, str):
        return padding_pairs(function, padding, rank)
    if padding not in ("valid", "same", "full"):
        raise ValueError(f"{function}: padding must be integers, 'valid', 'same' or 'full', not {said(padding)}")
    return padding


def _resolved(name: str, input_size: Sizes, extents: Sizes, strides: Sizes) -> Pairs:
    if name == "valid":
        return ((0, 0),) * len(extents)
    if name == "full":
        return tuple((m - 1, m - 1) for m in extents)
    # 'same' gives ceil(n / s) outputs: TensorFlow's rule, by the input size; an odd total pads more behind.
    totals = [max(0, m - (n % s or s)) for n, m, s in zip(input_size, extents, strides, strict=True)]
    return tuple((total // 2, total - total // 2) for total in totals)


def padding_pairs(function: str, padding: Any, rank: int) -> Pairs:
    """Padding given as p, (p_1, …, p_rank) or ((lo, hi), …) as pairs for each axis."""
    if is_listing(padding) and any(is_listing(item) for item in padding):
        if len(padding) != rank or any(not is_listing(item) or len(item) != 2 for item in padding):
            raise ValueError(f"{function}: padding must be {rank} pairs (low, high), not {said(padding)}")
        return tuple((integer(function, "padding", lo, 0), integer(function, "padding", hi, 0)) for lo, hi in padding)
    return tuple((p, p) for p in integers(function, "padding", padding, rank, 0))


def output_size(function: str, input_size: Sizes, windows: Windows, ceil_mode: bool = False) -> Sizes:
    """Windows that fit on each axis; with `ceil_mode` also a last one that starts inside the input or its low pad."""
    result = []
    for axis, n in enumerate(input_size):
        (lo, hi), m, s = windows.padding[axis], windows.extent[axis], windows.stride[axis]
        room = n + lo + hi - m
        count = room // s + 1
        if ceil_mode and room % s and count * s < n + lo:
            count += 1
        if count < 1 or n == 0:
            raise GeometryError(_does_not_fit(function, windows, axis, n))
        result.append(count)
    return tuple(result)


def window_counts(input_size: Sizes, size: Sizes, windows: Windows, padding_counts: bool) -> list[np.ndarray]:
    """How many values each of the `size` windows of an axis averages over, at least 1, for each axis.

    A window that hangs over the padded input's end has only what is inside; without `padding_counts`, over the
    input's ends.
    """
    counts = []
    for axis, n in enumerate(input_size):
        (lo, hi), k, s = windows.padding[axis], windows.kernel_size[axis], windows.stride[axis]
        first = np.arange(size[axis]) * s - lo
        last = np.minimum(first + k, n + (hi if padding_counts else 0))
        counts.append(np.maximum(last - (first if padding_counts else np.maximum(first, 0)), 1))
    return counts


def no_window_is_empty(input_size: Sizes, size: Sizes, windows: Windows) -> bool:
    """Whether each of the `size` windows of an axis takes a value of the input, and not of padding alone."""
    for axis, n in enumerate(input_size):
        k, s, d = windows.kernel_size[axis], windows.stride[axis], windows.dilation[axis]
        start = np.arange(size[axis]) * s - windows.low[axis]
        first, last = np.maximum(-(start // d), 0), np.minimum((n - 1 - start) // d, k - 1)  # taps inside
        if (first > last).any():
            return False
    return True


@dataclass(frozen=True)
class Reach:
    """The part of a convolution that meets its input: all else is padding alone, and zero before the bias.

    Attributes
    ----------
    windows : Windows
        Of the taps and outputs that are left.
    size : tuple of int
        How many outputs of each axis are left, at least one.
    taps, outputs : pairs
        How many are left away before and behind these.
    idle : pairs
        (0, 1) on an axis where nothing meets and the one output that is left does not count either, else (0, 0).
    """

    windows: Windows
    size: Sizes
    taps: Pairs
    outputs: Pairs
    idle: Pairs


def reach(input_size: Sizes, size: Sizes, windows: Windows) -> Reach | None:
    """What meets an input of a convolution with outputs of this size; None unless padding makes far more of it."""
    padded = prod(n + lo + hi for n, (lo, hi) in zip(input_size, windows.padding, strict=True))
    if padded < FAR or not any(map(any, windows.padding)):
        return None
    axes = [_axis_reach(input_size[i], size[i], windows, i) for i in range(windows.rank)]
    kernel, stride, padding, counts, taps, outputs, idle = zip(*axes, strict=True)
    if padded < 4 * prod(n + lo + hi for n, (lo, hi) in zip(input_size, padding, strict=True)):
        return None
    return Reach(Windows(kernel, stride, padding, windows.dilation), counts, taps, outputs, idle)


def _axis_reach(n: int, out: int, windows: Windows, axis: int) -> tuple[Any, ...]:
    """On one axis: kernel size, stride, padding, outputs; what is left away of taps, of outputs, and of those left."""
    k, d, (lo, hi) = windows.kernel_size[axis], windows.dilation[axis], windows.padding[axis]
    s = min(windows.stride[axis], n + lo + hi)  # a larger one has a single output, too, and would overflow
    before = lo - np.arange(k) * d  # of the first input under each tap; output o moves it by o s
    first, last = np.maximum(-(-before // s), 0), np.minimum((before + n - 1) // s, out - 1)
    [meeting] = np.nonzero(first <= last)
    if not len(meeting):
        return 1, s, (0, 0), 1, (0, k - 1), (0, out), (0, 1)
    tap, end = int(meeting[0]), int(meeting[-1]) + 1
    o, o_end = int(first[meeting].min()), int(last[meeting].max()) + 1
    o -= min(o, max(0, -((lo - o * s - tap * d) // s)))  # padding cannot be negative
    tap -= min(tap, max(0, -((lo - o * s - tap * d) // d)))
    low = lo - o * s - tap * d
    high = max(0, (o_end - 1 - o) * s + (end - 1 - tap) * d + 1 - n - low)
    return end - tap, s, (low, high), o_end - o, (tap, k - end), (o, out - o_end), (0, 0)


def _does_not_fit(function: str, windows: Windows, axis: int, n: int) -> str:
    (lo, hi), m = windows.padding[axis], windows.extent[axis]
    k, d = windows.kernel_size[axis], windows.dilation[axis]
    if n == 0:
        return f"{function}: x has size 0 on spatial axis {axis}; at least 1 is needed"
    missing = m - (n + lo + hi)
    return (
        f"{function}: a kernel of size {k} with dilation {d} spans {m} values, but spatial axis {axis} of x has "
        f"{n} + {lo} + {hi} (padding); a kernel of size {(n + lo + hi - 1) // d + 1} or less, "
        f"or {missing} more of padding in all, would fit"
    )


def transposed_output_size(function: str, input_size: Sizes, windows: Windows, output_padding: Sizes) -> Sizes:
    """Output size of a transposed convolution: the input size of the convolution that it is the adjoint of."""
    result = []
    for axis, n in enumerate(input_size):
        (lo, hi), m, s = windows.padding[axis], windows.extent[axis], windows.stride[axis]
        limit = max(s, windows.dilation[axis])
        if output_padding[axis] >= limit:
            raise GeometryError(
                f"{function}: output_padding {output_padding[axis]} on spatial axis {axis} must be smaller than "
                f"stride or dilation, here {limit}: beyond that it would only append empty values"
            )
        size = (n - 1) * s + m - lo - hi + output_padding[axis]
        if n == 0 or size < 1:
            raise GeometryError(
                f"{function}: spatial axis {axis} of x has {n} values, which with stride {s}, a window of {m} and "
                f"padding {lo} + {hi} would leave {size}; padding of at most {lo + hi + size - 1} in all would fit"
                if n
                else f"{function}: x has size 0 on spatial axis {axis}; at least 1 is needed"
            )
        result.append(size)
    return tuple(result)


def check_volume(function: str, shape: Sizes, what: str = "the output") -> None:
    """Refuse a shape with more values than any memory holds, or would without its axes of none."""
    volume = 1
    for size in shape:
        volume *= max(size, 1)  # NumPy, too, refuses (0, 2**62)
    if volume > LARGEST:
        raise GeometryError(f"{function}: {what} would have shape {shape}, more values than can be addressed")
