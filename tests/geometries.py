"""Random valid geometries for the tests of windowed operations.

A case is drawn from its rank and a seed alone, so a failing test names everything needed to see it again.
Small sizes are the rule, because they hit the borders; among them are single pixels, batches of none, kernels
longer than the input, paddings longer than the kernel, and channel counts up to 40, so that every remainder
of a register tile comes up. Every case also says how a user would write it (``stride=2`` for ``(2, 2)``,
``padding='same'``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import reference
from reference import Padding, Shape

# Counts below, at and above the multiples of every register tile's rows and columns.
TILE_REMAINDERS = (*range(1, 18), 23, 24, 25, 31, 32, 33, 47, 48, 49)

# Most multiply-adds of one case. Each eighth case is larger, so that its work is worth sharing by threads.
SMALL_WORK, LARGE_WORK = 300_000, 12_000_000


@dataclass(frozen=True)
class ConvCase:
    """A convolution: canonical arguments for the oracle, `written` ones for the library."""

    batch: int
    in_channels: int
    out_channels: int
    size: Shape
    kernel: Shape
    stride: Shape
    padding: Padding
    dilation: Shape
    groups: int
    bias: bool
    written: dict[str, Any]

    @property
    def x_shape(self) -> Shape:
        return (self.batch, self.in_channels, *self.size)

    @property
    def weight_shape(self) -> Shape:
        return (self.out_channels, self.in_channels // self.groups, *self.kernel)

    @property
    def out(self) -> Shape:
        return reference.output_shape(self.size, self.kernel, self.stride, self.padding, self.dilation)

    @property
    def y_shape(self) -> Shape:
        return (self.batch, self.out_channels, *self.out)

    @property
    def canonical(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in ("stride", "padding", "dilation", "groups")}


@dataclass(frozen=True)
class TransposeCase(ConvCase):
    """A transposed convolution; its weight has the input channels first."""

    output_padding: Shape = ()

    @property
    def weight_shape(self) -> Shape:
        return (self.in_channels, self.out_channels // self.groups, *self.kernel)

    @property
    def out(self) -> Shape:
        return reference.conv_transpose_shape(
            self.size, self.kernel, self.stride, self.padding, self.output_padding, self.dilation
        )


@dataclass(frozen=True)
class PoolCase:
    """A pooling, maximum (with dilation) or average (with the two ways to count padding)."""

    batch: int
    channels: int
    size: Shape
    kernel: Shape
    stride: Shape
    padding: Padding
    dilation: Shape
    ceil_mode: bool
    count_include_pad: bool
    written: dict[str, Any]

    @property
    def x_shape(self) -> Shape:
        return (self.batch, self.channels, *self.size)

    @property
    def out(self) -> Shape:
        return reference.output_shape(self.size, self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode)

    @property
    def y_shape(self) -> Shape:
        return (self.batch, self.channels, *self.out)

    @property
    def has_blind_window(self) -> bool:
        """Whether some window has no pixel: dilation can step from padding to padding over a narrow input."""
        pixel = np.zeros((1, 1, *self.size))
        _, index = reference.max_pool(
            pixel,
            self.kernel,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            ceil_mode=self.ceil_mode,
        )
        return bool((index < 0).any())

    @property
    def written_for_max(self) -> dict[str, Any]:
        return {k: v for k, v in self.written.items() if k != "count_include_pad"}

    @property
    def written_for_average(self) -> dict[str, Any]:
        return {k: v for k, v in self.written.items() if k != "dilation"}


# Padding by name ----------------------------------------------------------------------------------


def named_padding(name: str, size: Shape, kernel: Shape, stride: Shape, dilation: Shape) -> Padding:
    """What 'valid', 'same' (TensorFlow's rule) and 'full' stand for.

    'same' promises ceil(size / stride) windows and takes the least padding that gives them, an odd pixel at
    the end.
    """
    pairs = []
    for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
        reach = d * (k - 1) + 1
        if name == "valid":
            pairs.append((0, 0))
        elif name == "full":
            pairs.append((reach - 1, reach - 1))
        else:
            total = max(0, (math.ceil(n / s) - 1) * s + reach - n)
            pairs.append((total // 2, total - total // 2))
    return tuple(pairs)


# Drawing ------------------------------------------------------------------------------------------


def conv_case(rank: int, seed: int) -> ConvCase:
    """The convolution that belongs to this rank and seed."""
    rng = np.random.default_rng([rank, seed, 0])
    limit = _work_limit(seed)
    while True:
        in_channels, out_channels, groups = _channels(rng, limit)
        kernel, stride, dilation = _kernel(rng, rank), _axes(rng, rank, 3), _axes(rng, rank, 3, usual=0.6)
        size = _size(rng, rank, limit)
        padding, written_padding = _padding(rng, size, kernel, stride, dilation)
        written = _written(rng, stride=stride, padding=written_padding, dilation=dilation, groups=groups)
        case = ConvCase(
            batch=_batch(rng),
            in_channels=in_channels,
            out_channels=out_channels,
            size=size,
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=bool(rng.random() < 0.6),
            written=written,
        )
        if _fits(case.out, math.prod(case.y_shape) * math.prod(case.weight_shape[1:]), limit):
            return case


def transpose_case(rank: int, seed: int) -> TransposeCase:
    """The transposed convolution that belongs to this rank and seed."""
    rng = np.random.default_rng([rank, seed, 1])
    limit = _work_limit(seed)
    while True:
        in_channels, out_channels, groups = _channels(rng, limit)
        kernel, stride, dilation = _kernel(rng, rank), _axes(rng, rank, 3), _axes(rng, rank, 3, usual=0.6)
        size = _size(rng, rank, limit)
        padding, written_padding = _pairs(rng, kernel, dilation)
        output_padding: Shape = (0,) * rank
        if rng.random() < 0.4:
            limits = map(max, stride, dilation)
            output_padding = tuple(int(rng.integers(limit)) for limit in limits)
        written = _written(
            rng,
            stride=stride,
            padding=written_padding,
            output_padding=output_padding,
            groups=groups,
            dilation=dilation,
        )
        case = TransposeCase(
            batch=_batch(rng),
            in_channels=in_channels,
            out_channels=out_channels,
            size=size,
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=bool(rng.random() < 0.6),
            written=written,
            output_padding=output_padding,
        )
        if _fits(case.out, math.prod(case.x_shape) * math.prod(case.weight_shape[1:]), limit):
            return case


def pool_case(rank: int, seed: int, *, dilated: bool) -> PoolCase:
    """The pooling that belongs to this rank and seed; average pooling has no dilation."""
    rng = np.random.default_rng([rank, seed, 2 + dilated])
    limit = _work_limit(seed)
    while True:
        kernel = _kernel(rng, rank)
        stride = kernel if rng.random() < 0.4 else _axes(rng, rank, 3)
        dilation = _axes(rng, rank, 3, usual=0.5) if dilated else (1,) * rank
        size = _size(rng, rank, limit)
        padding, written_padding = _pool_padding(rng, kernel)
        ceil_mode, count_include_pad = bool(rng.random() < 0.4), bool(rng.random() < 0.5)
        written: dict[str, Any] = {"kernel_size": _short(rng, kernel)}
        if stride != kernel or rng.random() < 0.5:
            written["stride"] = _short(rng, stride)
        written.update(_written(rng, padding=written_padding, dilation=dilation, ceil_mode=ceil_mode))
        written["count_include_pad"] = count_include_pad
        case = PoolCase(
            batch=_batch(rng),
            channels=int(rng.integers(1, 40)) if rng.random() < 0.3 else int(rng.integers(1, 6)),
            size=size,
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
            written=written,
        )
        filled = reference.output_shape(size, kernel, stride, padding, dilation)
        work = math.prod(case.y_shape) * math.prod(kernel)
        if min(filled) >= 1 and _fits(case.out, work, limit) and not case.has_blind_window:
            return case


def _work_limit(seed: int) -> int:
    return LARGE_WORK if seed % 8 == 7 else SMALL_WORK


def _fits(out: Shape, work: int, limit: int) -> bool:
    return min(out) >= 1 and work <= limit


def _batch(rng: np.random.Generator) -> int:
    return int(rng.choice([0, 1, 2, 3, 5, 8], p=[0.04, 0.3, 0.26, 0.2, 0.1, 0.1]))


def _channels(rng: np.random.Generator, limit: int) -> tuple[int, int, int]:
    """Input channels, output channels, groups: one, some, depthwise, and with a channel multiplier."""
    most = 40 if rng.random() < (0.8 if limit > SMALL_WORK else 0.4) else 9
    kind = rng.random()
    if kind < 0.5:
        return int(rng.integers(1, most + 1)), int(rng.integers(1, most + 1)), 1
    if kind < 0.7:
        groups = int(rng.integers(2, 6))
        per_group = [int(n) for n in rng.integers(1, most // 5 + 2, 2)]
        return groups * per_group[0], groups * per_group[1], groups
    groups = int(rng.integers(1, most + 1))
    return groups, groups * (1 if kind < 0.85 else int(rng.integers(2, 4))), groups


def _kernel(rng: np.random.Generator, rank: int) -> Shape:
    sizes = [1, 2, 3, 4, 5, 7]
    return tuple(int(k) for k in rng.choice(sizes, rank, p=[0.15, 0.2, 0.3, 0.1, 0.2, 0.05]))


def _axes(rng: np.random.Generator, rank: int, most: int, usual: float = 0.4) -> Shape:
    """One number for each axis, `usual`ly 1 everywhere."""
    if rng.random() < usual:
        return (1,) * rank
    return tuple(int(n) for n in rng.integers(1, most + 1, rank))


def _size(rng: np.random.Generator, rank: int, limit: int) -> Shape:
    """Axes from 1; longer in one dimension than in two, and longer in large cases."""
    if limit > SMALL_WORK:
        low, high = {1: (200, 1500), 2: (15, 50)}.get(rank, (6, 12))
    else:
        low, high = 1, {1: 60, 2: 17}.get(rank, 8)
    return tuple(int(n) for n in rng.integers(low, high + 1, rank))


def _pairs(rng: np.random.Generator, kernel: Shape, dilation: Shape) -> tuple[Padding, Any]:
    """Paddings as numbers, and how they are written: none, one number, one an axis, or a pair an axis."""
    kind = rng.random()
    most = max(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)) + 2
    if kind < 0.35:
        return tuple((0, 0) for _ in kernel), 0
    if kind < 0.5:
        everywhere = int(rng.integers(0, most))
        return tuple((everywhere, everywhere) for _ in kernel), everywhere
    if kind < 0.65:
        per_axis = tuple(int(p) for p in rng.integers(0, most, len(kernel)))
        return tuple((p, p) for p in per_axis), per_axis
    pairs = tuple((int(low), int(high)) for low, high in rng.integers(0, most, (len(kernel), 2)))
    return pairs, pairs


def _padding(
    rng: np.random.Generator, size: Shape, kernel: Shape, stride: Shape, dilation: Shape
) -> tuple[Padding, Any]:
    if rng.random() < 0.3:
        name = str(rng.choice(["valid", "same", "full"]))
        return named_padding(name, size, kernel, stride, dilation), name
    return _pairs(rng, kernel, dilation)


def _pool_padding(rng: np.random.Generator, kernel: Shape) -> tuple[Padding, Any]:
    """At most half of the kernel on every side."""
    if rng.random() < 0.4:
        return tuple((0, 0) for _ in kernel), 0
    per_axis = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    if rng.random() < 0.6:
        return tuple((p, p) for p in per_axis), per_axis
    pairs = tuple((int(rng.integers(0, k // 2 + 1)), int(rng.integers(0, k // 2 + 1))) for k in kernel)
    return pairs, pairs


DEFAULTS = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "output_padding": 0, "ceil_mode": False}


def _written(rng: np.random.Generator, **arguments: Any) -> dict[str, Any]:
    """Arguments as a user would write them: shortened, and left out where they are the default."""
    written = {}
    for name, value in arguments.items():
        short = _short(rng, value)
        if short != DEFAULTS[name] or rng.random() < 0.5:
            written[name] = short
    return written


def _short(rng: np.random.Generator, value: Any) -> Any:
    """One number in place of equal ones, half of the time; a list in place of a tuple now and then."""
    if not isinstance(value, tuple) or any(isinstance(entry, tuple) for entry in value):
        return value
    if len(set(value)) == 1 and rng.random() < 0.5:
        return value[0]
    return list(value) if rng.random() < 0.2 else value


# Arrays -------------------------------------------------------------------------------------------


def normal(rng: np.random.Generator, shape: Sequence[int], dtype: Any) -> Any:
    """Normal numbers that float32 holds exactly, so that both dtypes compute the same thing.

    Their mean is one half: sums of them seldom cancel to almost nothing, against which every rounding is large.
    """
    return (rng.standard_normal(tuple(shape)) + 0.5).astype(np.float32).astype(dtype)
