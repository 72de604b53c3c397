"""The ops of a convolutional network on arrays in lanes: (blocks, C, *size, lanes), the image innermost.

A block holds as many images as there are values in 64 bytes.  Graphs are written and differentiated on ordinary
arrays; `graph.lanes` then puts these ops in their place, so they need no gradients of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convkit import geometry, winograd
from convkit._kernels import lanes as kernels
from convkit._kernels.core import Kernel
from convkit._kernels.row_winograd import RowWinogradConvolution
from convkit._kernels.wide import WideWeightGrad
from convkit._kernels.winograd import WinogradConvolution, WinogradWeightGrad
from convkit.geometry import Windows
from convkit.ops.base import Primitive, Spec
from convkit.ops.elementwise import Activation
from convkit.taps import tap_table


def lanes_of(dtype: Any) -> int:
    """Images in a block, for arrays of this dtype."""
    return int(kernels.lanes_of(dtype))


def in_lanes(shape: Sequence[int], dtype: Any) -> tuple[int, ...]:
    """The shape in lanes of an array (N, C, *size)."""
    lanes = lanes_of(dtype)
    return (-(-shape[0] // lanes), *shape[1:], lanes)


# Input channels from which on turning the input pays for the gradient of the weights, measured.
LEAST_WIDE = 32

# Of the lanes of the last block, this share may be empty: what is computed in them is lost.
MOST_WASTE = 0.25


def fills_lanes(images: int, dtype: Any) -> bool:
    """Whether a batch of so many images leaves few lanes empty."""
    empty = -images % lanes_of(dtype)
    return images > 0 and empty <= MOST_WASTE * (images + empty)


@dataclass(frozen=True)
class ToLanes(Primitive):
    """(N, C, *size) -> (blocks, C, *size, lanes)."""

    images_in = (0,)
    reads_as_given = True

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return (Spec(in_lanes(x.shape, x.dtype), x.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return kernels.ToLanes(inputs[0], outputs[0])


@dataclass(frozen=True)
class FromLanes(Primitive):
    """(blocks, C, *size, lanes) -> (images, C, *size)."""

    images: int
    images_in = (0,)

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return (Spec((self.images, *x.shape[1:-1]), x.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return kernels.FromLanes(inputs[0], outputs[0])


@dataclass(frozen=True)
class LaneMaxPool(Primitive):
    """x -> (y, codes): a code is the number of the tap that holds the largest value, one byte."""

    windows: Windows
    size: tuple[int, ...]
    optional = (1,)
    kind = "max"
    images_in = (0,)

    def infer(self, x: Any) -> tuple[Spec, ...]:
        shape = (*x.shape[:2], *self.size, x.shape[-1])
        return Spec(shape, x.dtype), Spec(shape, np.dtype(np.uint8))

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        y, codes = outputs
        return kernels.LanePool(inputs[0], y, codes, self.planes(inputs[0].shape[2:-1]))

    def planes(self, in_size: tuple[int, ...]) -> kernels.PoolWindows:
        """The windows in planes of this size."""
        return kernels.PoolWindows(in_size, self.size, self.windows, None)


@dataclass(frozen=True)
class LaneMaxPoolGrad(Primitive):
    """(grad_output, codes) -> grad_x of spatial size `size`."""

    windows: Windows
    size: tuple[int, ...]
    images_in = (0, 1)

    def infer(self, grad: Any, codes: Any) -> tuple[Spec, ...]:
        return (Spec((*grad.shape[:2], *self.size, grad.shape[-1]), grad.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        grad, codes = inputs
        return kernels.LanePoolGrad(
            grad, outputs[0], codes, kernels.PoolWindows(self.size, grad.shape[2:-1], self.windows, None)
        )


@dataclass(frozen=True)
class LaneAvgPool(Primitive):
    """x -> y."""

    windows: Windows
    size: tuple[int, ...]
    count_include_pad: bool
    kind = "mean"
    images_in = (0,)

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return (Spec((*x.shape[:2], *self.size, x.shape[-1]), x.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return kernels.LanePool(inputs[0], outputs[0], None, self.planes(inputs[0].shape[2:-1]))

    def planes(self, in_size: tuple[int, ...]) -> kernels.PoolWindows:
        """The windows in planes of this size."""
        shares = _shares(in_size, self.size, self.windows, self.count_include_pad)
        return kernels.PoolWindows(in_size, self.size, self.windows, shares)


@dataclass(frozen=True)
class LaneAvgPoolGrad(Primitive):
    """grad_output -> grad_x of spatial size `size`."""

    windows: Windows
    size: tuple[int, ...]
    count_include_pad: bool
    images_in = (0,)

    def infer(self, grad: Any) -> tuple[Spec, ...]:
        return (Spec((*grad.shape[:2], *self.size, grad.shape[-1]), grad.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        out_size = inputs[0].shape[2:-1]
        shares = _shares(self.size, out_size, self.windows, self.count_include_pad)
        windows = kernels.PoolWindows(self.size, out_size, self.windows, shares)
        return kernels.LanePoolGrad(inputs[0], outputs[0], None, windows)


# A convolution is pooled as it is made where a few planes of it, and the input under them, stay in the second-level
# cache, and there are tasks enough: in bytes, and in planes for one task.
MOST_PLANE_BYTES = 49152
MOST_INPUT_BYTES = 393216
LEAST_POOLED_PLANES = 32

# What Winograd's tiles of 2 × 2 outputs can be pooled by.
HALVING = Windows((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))


@dataclass(frozen=True)
class LaneConvolution(Primitive):
    """(x, weight, bias | None) -> y: `ops.conv.Convolution` or, with `adjoint`, `ops.conv.ConvTranspose`.

    With `activation`, "relu" or another's name, and then `pool`, the outputs are those of what follows.
    """

    windows: Windows
    groups: int
    size: tuple[int, ...]
    adjoint: bool = False
    activation: str | None = None
    pool: LaneMaxPool | LaneAvgPool | None = None
    optional = (1,)
    images_in = (0,)

    def infer(self, x: Any, weight: Any, bias: Any) -> tuple[Spec, ...]:
        channels = weight.shape[1] * self.groups if self.adjoint else weight.shape[0]
        made = Spec((x.shape[0], channels, *self.size, x.shape[-1]), x.dtype)
        return self.pool.infer(made) if self.pool else (made,)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        x, weight, bias = inputs
        y, codes = (*outputs, None)[:2]
        w = self.windows
        pool = self.pool.kind if self.pool else None
        if self._suits_rows(weight):
            return RowWinogradConvolution(
                x, weight, bias, y, self.size, w.low, self.groups, self.adjoint, self.activation, pool, codes
            )
        relu = self.activation == "relu"
        if self._suits_winograd(weight, bias):
            return WinogradConvolution(
                x, weight, bias, y, self.size, w.low, w.dilation, self.groups, self.adjoint, relu, pool, codes
            )
        depthwise = x.shape[1] == y.shape[1] == self.groups
        table = tap_table(w, x.shape[2:-1], self.size, self.adjoint, kernels.gather_pixels(x.dtype, depthwise))
        planes = self.pool.planes(self.size) if self.pool else None
        return kernels.LaneConvolution(x, weight, bias, y, table, self.groups, self.adjoint, relu, planes, codes)

    def followed_by(self, op: Primitive, x: Any, weight: Any, bias: Any) -> LaneConvolution | None:
        """This and the activation or pooling that follows as one, where that is better."""
        if isinstance(op, Activation) and not (self.activation or self.pool) and self._suits_rows(weight):
            return replace(self, activation=op.name)
        if isinstance(op, (LaneMaxPool, LaneAvgPool)) and not self.pool and self._can_pool(op, x, weight, bias):
            return replace(self, pool=op)
        return None

    def _can_pool(self, pool: LaneMaxPool | LaneAvgPool, x: Any, weight: Any, bias: Any) -> bool:
        """Whether pooling what this makes is better done at once."""
        halves = pool.size == tuple(n // 2 for n in self.size) and pool.windows == HALVING
        if self._suits_rows(weight):
            return halves
        if self._suits_winograd(weight, bias):
            return halves and self.windows.dilation == (1, 1) and not self.adjoint
        pixel = x.shape[-1] * x.dtype.itemsize
        channels = weight.shape[1] * self.groups if self.adjoint else weight.shape[0]
        return (
            _product(self.size) * pixel <= MOST_PLANE_BYTES
            and _product(x.shape[2:-1]) * pixel * (x.shape[1] // self.groups) <= MOST_INPUT_BYTES
            and x.shape[0] * channels >= LEAST_POOLED_PLANES
        )

    def _suits_rows(self, weight: Any) -> bool:
        outs, ins = weight.shape[0] // self.groups, weight.shape[1]
        return winograd.suits_rows(self.windows, ins, outs, self.size, self.adjoint)

    def _suits_winograd(self, weight: Any, bias: Any) -> bool:
        outs, ins = weight.shape[0] // self.groups, weight.shape[1]
        plain = not self.adjoint or (bias is None and not self.activation)
        return plain and winograd.suits(self.windows, ins, outs, winograd.Rule.least_for_products, self.size)

    def flops(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        x, weight = inputs[:2]
        channels, positions = x.shape[1], _product(x.shape[2:-1])
        if not self.adjoint:
            channels, positions = weight.shape[0], _product(self.size)
        return 2 * x.shape[0] * x.shape[-1] * channels * positions * _size(weight) // weight.shape[0]


@dataclass(frozen=True)
class LaneWeightGrad(Primitive):
    """(grad_output, x) -> (grad_weight, grad_bias) of a convolution."""

    windows: Windows
    groups: int
    optional = (1,)

    def infer(self, grad: Any, x: Any) -> tuple[Spec, ...]:
        shape = (grad.shape[1], x.shape[1] // self.groups, *self.windows.kernel_size)
        return Spec(shape, x.dtype), Spec((grad.shape[1],), x.dtype)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        grad, x = inputs
        grad_weight, grad_bias = outputs
        w = self.windows
        ins, outs = x.shape[1] // self.groups, grad.shape[1] // self.groups
        if winograd.suits(w, ins, outs, winograd.Rule.least_for_sums, grad.shape[2:-1]):
            return WinogradWeightGrad(grad, x, grad_weight, grad_bias, w.low, w.dilation, self.groups)
        kernel = WideWeightGrad if ins >= LEAST_WIDE and w.rank <= 2 else kernels.LaneWeightGrad
        return kernel(grad, x, grad_weight, grad_bias, w.stride, w.low, w.dilation, self.groups)

    def flops(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        return 2 * _size(inputs[0]) * _size(outputs[0]) // outputs[0].shape[0]


def _shares(
    in_size: tuple[int, ...], out_size: tuple[int, ...], windows: Windows, padding_counts: bool
) -> list[np.ndarray]:
    """1 / the number of values in each window along each axis, padding counted or not."""
    return [1 / counts for counts in geometry.window_counts(in_size, out_size, windows, padding_counts)]


def _product(sizes: Sequence[int]) -> int:
    return int(np.prod(sizes, dtype=np.int64))


def _size(operand: Any) -> int:
    return _product(operand.shape)
