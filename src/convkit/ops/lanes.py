"""The ops of a convolutional network on arrays in lanes: (blocks, C, *size, lanes), the image innermost.

A block holds as many images as there are values in 64 bytes.  Graphs are written and differentiated on ordinary
arrays; `graph.lanes` then puts these ops in their place, so they need no gradients of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convkit import geometry, winograd
from convkit._kernels import lanes as kernels
from convkit._kernels.core import Kernel
from convkit._kernels.wide import WideWeightGrad
from convkit._kernels.winograd import WinogradConvolution, WinogradWeightGrad
from convkit.geometry import Windows
from convkit.ops.base import Primitive, Spec
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

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return (Spec(in_lanes(x.shape, x.dtype), x.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return kernels.ToLanes(inputs[0], outputs[0])


@dataclass(frozen=True)
class FromLanes(Primitive):
    """(blocks, C, *size, lanes) -> (images, C, *size)."""

    images: int

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return (Spec((self.images, *x.shape[1:-1]), x.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return kernels.FromLanes(inputs[0], outputs[0])


@dataclass(frozen=True)
class LaneConvolution(Primitive):
    """(x, weight, bias | None) -> y: `ops.conv.Convolution` or, with `adjoint`, `ops.conv.ConvTranspose`."""

    windows: Windows
    groups: int
    size: tuple[int, ...]
    adjoint: bool = False
    relu: bool = False

    def infer(self, x: Any, weight: Any, bias: Any) -> tuple[Spec, ...]:
        channels = weight.shape[1] * self.groups if self.adjoint else weight.shape[0]
        return (Spec((x.shape[0], channels, *self.size, x.shape[-1]), x.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        x, weight, bias = inputs
        if self._suits_winograd(weight, bias):
            w = self.windows
            return WinogradConvolution(
                x, weight, bias, outputs[0], w.low, w.dilation, self.groups, self.adjoint, self.relu
            )
        most = kernels.gather_pixels(x.dtype)
        table = tap_table(self.windows, x.shape[2:-1], self.size, self.adjoint, most)
        return kernels.LaneConvolution(x, weight, bias, outputs[0], table, self.groups, self.adjoint, self.relu)

    def _suits_winograd(self, weight: Any, bias: Any) -> bool:
        outs, ins = weight.shape[0] // self.groups, weight.shape[1]
        plain = not self.adjoint or (bias is None and not self.relu)
        return plain and winograd.suits(self.windows, ins, outs, winograd.Rule.least_for_products)

    def flops(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        narrow = inputs[0] if self.adjoint else outputs[0]
        return 2 * _size(narrow) * _size(inputs[1]) // inputs[1].shape[0]


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
        if winograd.suits(w, ins, outs, winograd.Rule.least_for_sums):
            return WinogradWeightGrad(grad, x, grad_weight, grad_bias, w.low, w.dilation, self.groups)
        kernel = WideWeightGrad if ins >= LEAST_WIDE and w.rank <= 2 else kernels.LaneWeightGrad
        return kernel(grad, x, grad_weight, grad_bias, w.stride, w.low, w.dilation, self.groups)

    def flops(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        return 2 * _size(inputs[0]) * _size(outputs[0]) // outputs[0].shape[0]


@dataclass(frozen=True)
class LaneMaxPool(Primitive):
    """x -> (y, codes): a code is the number of the tap that holds the largest value, one byte."""

    windows: Windows
    size: tuple[int, ...]
    optional = (1,)

    def infer(self, x: Any) -> tuple[Spec, ...]:
        shape = (*x.shape[:2], *self.size, x.shape[-1])
        return Spec(shape, x.dtype), Spec(shape, np.dtype(np.uint8))

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        y, codes = outputs
        return kernels.LanePool(inputs[0], y, codes, inputs[0].shape[2:-1], self.size, self.windows, None)


@dataclass(frozen=True)
class LaneMaxPoolGrad(Primitive):
    """(grad_output, codes) -> grad_x of spatial size `size`."""

    windows: Windows
    size: tuple[int, ...]

    def infer(self, grad: Any, codes: Any) -> tuple[Spec, ...]:
        return (Spec((*grad.shape[:2], *self.size, grad.shape[-1]), grad.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        grad, codes = inputs
        return kernels.LanePoolGrad(grad, outputs[0], codes, self.size, grad.shape[2:-1], self.windows, None)


@dataclass(frozen=True)
class LaneAvgPool(Primitive):
    """x -> y."""

    windows: Windows
    size: tuple[int, ...]
    count_include_pad: bool

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return (Spec((*x.shape[:2], *self.size, x.shape[-1]), x.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        size = inputs[0].shape[2:-1]
        shares = _shares(size, self.size, self.windows, self.count_include_pad)
        return kernels.LanePool(inputs[0], outputs[0], None, size, self.size, self.windows, shares)


@dataclass(frozen=True)
class LaneAvgPoolGrad(Primitive):
    """grad_output -> grad_x of spatial size `size`."""

    windows: Windows
    size: tuple[int, ...]
    count_include_pad: bool

    def infer(self, grad: Any) -> tuple[Spec, ...]:
        return (Spec((*grad.shape[:2], *self.size, grad.shape[-1]), grad.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        out_size = inputs[0].shape[2:-1]
        shares = _shares(self.size, out_size, self.windows, self.count_include_pad)
        return kernels.LanePoolGrad(inputs[0], outputs[0], None, self.size, out_size, self.windows, shares)


def _shares(
    in_size: tuple[int, ...], out_size: tuple[int, ...], windows: Windows, padding_counts: bool
) -> list[np.ndarray]:
    """1 / the number of values in each window along each axis, padding counted or not."""
    return [1 / counts for counts in geometry.window_counts(in_size, out_size, windows, padding_counts)]


def _size(operand: Any) -> int:
    return int(np.prod(operand.shape, dtype=np.int64))
