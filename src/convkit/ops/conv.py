"""Convolution and its adjoint, the transposed convolution; their gradients are one another.

With a weight W of shape (O, I/groups, *k), the convolution is y = C(W) x for a sparse matrix C(W)
(Dumoulin & Visin 2016, section 4); then dL/dx = C(W)ᵀ dL/dy is a transposed convolution, and dL/dW correlates
the windows of x with dL/dy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convkit import geometry, winograd
from convkit._kernels import conv as kernels
from convkit._kernels.core import Kernel
from convkit._kernels.direct import DirectConvolution, run_length
from convkit._kernels.winograd import WinogradConvolution, WinogradWeightGrad
from convkit.geometry import Windows
from convkit.ops.base import Primitive, Spec
from convkit.ops.phases import Phases, convolution_of_phases, phases_of, weight_grad_of_phases


@dataclass(frozen=True)
class Convolution(Primitive):
    """(x, weight, bias | None) -> y, optionally rectified in the same pass.

    With `size` only the first windows of each axis are computed, so many that y has that spatial size.
    """

    windows: Windows
    groups: int = 1
    relu: bool = False
    size: tuple[int, ...] | None = None

    def infer(self, x: Any, weight: Any, bias: Any) -> tuple[Spec, ...]:
        size = self.size or geometry.output_size("convolution", x.shape[2:], self.windows)
        return (Spec((x.shape[0], weight.shape[0], *size), x.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        x, weight, bias = inputs
        w = self.windows
        in_place = _suits_direct(w, weight.shape[1], weight.shape[0] // self.groups, outputs[0])
        if _suits_winograd(w, weight, self.groups, outputs[0], in_place):
            return WinogradConvolution(
                x, weight, bias, outputs[0], outputs[0].shape[2:], w.low, w.dilation, self.groups, False, self.relu
            )  # fmt: skip
        phases = _suitable_phases(w, weight, self.groups, x, outputs[0])
        if phases:
            return convolution_of_phases(phases, x, weight, bias, outputs[0], self.groups, False, self.relu)
        if in_place:
            return DirectConvolution(x, weight, bias, outputs[0], w.stride, w.low, w.dilation, self.groups, self.relu)
        return kernels.ConvForward(x, weight, bias, outputs[0], w.stride, w.low, w.dilation, self.groups, self.relu)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        x, weight, _ = inputs
        [grad] = grads
        grad_x = ConvTranspose(self.windows, self.groups, x.shape[2:])(grad, weight, None)
        return (grad_x, *ConvolutionWeightGrad(self.windows, self.groups)(grad, x))

    def flops(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        return 2 * _size(outputs[0]) * _size(inputs[1]) // inputs[1].shape[0]


def _suits_winograd(windows: Windows, weight: Any, groups: int, y: Any, in_place: bool = False) -> bool:
    outs, ins = weight.shape[0] // groups, weight.shape[1]
    return winograd.suits_planes(windows, ins, outs, y, in_place)


def _suitable_phases(windows: Windows, weight: Any, groups: int, x: Any, y: Any) -> Phases | None:
    return phases_of(windows, weight.shape[1], weight.shape[0] // groups, x, y.shape[2:])


def _suits_direct(windows: Windows, ins: int, outs: int, y: Any) -> bool:
    """Whether reading rows in place beats packing panels: few output channels to share one, few outputs done twice."""
    run, width = run_length(y.dtype), y.shape[-1]
    computed = -(-width // run) * run
    most = 1.6 if outs <= 16 else 1.25
    few = outs <= 32 and ins * outs > 1  # of one channel each, groups are the depthwise kernel's
    return windows.stride[-1] == 1 and width >= run and computed <= most * width and few


@dataclass(frozen=True)
class ConvTranspose(Primitive):
    """(x, weight, bias | None) -> y of spatial size `size`: the adjoint of the convolution with these windows."""

    windows: Windows
    groups: int
    size: tuple[int, ...]
    relu: bool = False

    def infer(self, x: Any, weight: Any, bias: Any) -> tuple[Spec, ...]:
        return (Spec((x.shape[0], weight.shape[1] * self.groups, *self.size), x.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        x, weight, bias = inputs
        w = self.windows
        if _suits_winograd(w, weight, self.groups, outputs[0]):
            return WinogradConvolution(
                x, weight, bias, outputs[0], outputs[0].shape[2:], w.low, w.dilation, self.groups, True, self.relu
            )  # fmt: skip
        phases = _suitable_phases(w, weight, self.groups, x, outputs[0])
        if phases and bias is None and not self.relu:
            return convolution_of_phases(phases, x, weight, bias, outputs[0], self.groups, True, self.relu)
        return kernels.ConvInputGrad(x, weight, outputs[0], w.stride, w.low, w.dilation, self.groups, bias, self.relu)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        x, weight, _ = inputs
        [grad] = grads
        grad_x = Convolution(self.windows, self.groups, size=tuple(x.shape[2:]))(grad, weight, None)
        grad_weight, _ = ConvolutionWeightGrad(self.windows, self.groups)(x, grad)
        return grad_x, grad_weight, ChannelSum()(grad)

    def flops(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        return 2 * _size(inputs[0]) * _size(inputs[1]) // inputs[1].shape[0]


@dataclass(frozen=True)
class ConvolutionWeightGrad(Primitive):
    """(grad_output, x) -> (grad_weight, grad_bias) of a convolution."""

    windows: Windows
    groups: int
    optional = (0, 1)

    def infer(self, grad: Any, x: Any) -> tuple[Spec, ...]:
        shape = (grad.shape[1], x.shape[1] // self.groups, *self.windows.kernel_size)
        return Spec(shape, x.dtype), Spec((grad.shape[1],), x.dtype)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        grad, x = inputs
        grad_weight, grad_bias = outputs
        if grad_weight is None:
            return kernels.ChannelSum(grad, grad_bias)
        w = self.windows
        outs, ins = grad_weight.shape[0] // self.groups, grad_weight.shape[1]
        if winograd.suits_plane_sums(w, ins, outs, grad):
            return WinogradWeightGrad(grad, x, grad_weight, grad_bias, w.low, w.dilation, self.groups)
        phases = phases_of(w, ins, outs, x, grad.shape[2:])
        if phases:
            return weight_grad_of_phases(phases, grad, x, grad_weight, grad_bias, self.groups)
        return kernels.ConvWeightGrad(grad, x, grad_weight, grad_bias, w.stride, w.low, w.dilation, self.groups)

    def flops(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        return 2 * _size(inputs[0]) * _size(outputs[0]) // outputs[0].shape[0]


@dataclass(frozen=True)
class ChannelSum(Primitive):
    """(N, C, *spatial) -> (C,): the gradient of a bias."""

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return (Spec((x.shape[1],), x.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return kernels.ChannelSum(inputs[0], outputs[0])


@dataclass(frozen=True)
class Im2col(Primitive):
    """(N, C, *size) -> (N, C·prod(k), prod(out)): every window as a column."""

    windows: Windows

    def infer(self, x: Any) -> tuple[Spec, ...]:
        size = geometry.output_size("im2col", x.shape[2:], self.windows)
        rows = x.shape[1] * int(np.prod(self.windows.kernel_size))
        return (Spec((x.shape[0], rows, int(np.prod(size))), x.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        w = self.windows
        size = geometry.output_size("im2col", inputs[0].shape[2:], w)
        return kernels.Im2col(inputs[0], outputs[0], w.kernel_size, w.stride, w.low, w.dilation, size)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (Col2im(self.windows, inputs[0].shape[2:])(grads[0]),)


@dataclass(frozen=True)
class Col2im(Primitive):
    """(N, C·prod(k), prod(out)) -> (N, C, *size): columns added up where their windows lie; the adjoint of im2col."""

    windows: Windows
    size: tuple[int, ...]

    def infer(self, columns: Any) -> tuple[Spec, ...]:
        channels = columns.shape[1] // int(np.prod(self.windows.kernel_size))
        return (Spec((columns.shape[0], channels, *self.size), columns.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        w = self.windows
        size = geometry.output_size("col2im", self.size, w)
        return kernels.Col2im(inputs[0], outputs[0], w.kernel_size, w.stride, w.low, w.dilation, size)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (Im2col(self.windows)(grads[0]),)


def _size(operand: Any) -> int:
    return int(np.prod(operand.shape, dtype=np.int64))
