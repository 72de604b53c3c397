"""Max and average pooling.

The maximum of a window passes the gradient to the first place that holds it; NaN counts as the largest value.
The average divides by the window's size, padding included or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convkit import geometry
from convkit._kernels import pool as kernels
from convkit._kernels.core import Kernel
from convkit.geometry import Windows
from convkit.ops.base import Primitive, Spec


def _pooled(x: Any, windows: Windows, ceil_mode: bool) -> tuple[int, ...]:
    return (*x.shape[:2], *geometry.output_size("pooling", x.shape[2:], windows, ceil_mode))


@dataclass(frozen=True)
class MaxPool(Primitive):
    """x -> (y, indices): indices count within one plane of x."""

    windows: Windows
    ceil_mode: bool = False
    index_dtype: str = "int32"
    optional = (1,)

    def infer(self, x: Any) -> tuple[Spec, ...]:
        shape = _pooled(x, self.windows, self.ceil_mode)
        return Spec(shape, x.dtype), Spec(shape, np.dtype(self.index_dtype))

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        w = self.windows
        y, indices = outputs
        return kernels.MaxPoolForward(inputs[0], y, indices, w.kernel_size, w.stride, w.low, w.dilation)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (MaxPoolGrad(inputs[0].shape)(grads[0], outputs[1]),)


@dataclass(frozen=True)
class MaxPoolGrad(Primitive):
    """(grad_output, indices) -> grad_x of shape `shape`."""

    shape: tuple[int, ...]

    def infer(self, grad: Any, indices: Any) -> tuple[Spec, ...]:
        return (Spec(self.shape, grad.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return kernels.MaxPoolBackward(inputs[0], inputs[1], outputs[0])


@dataclass(frozen=True)
class AvgPool(Primitive):
    """x -> y."""

    windows: Windows
    ceil_mode: bool = False
    count_include_pad: bool = True

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return (Spec(_pooled(x, self.windows, self.ceil_mode), x.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        w = self.windows
        return kernels.AvgPoolForward(
            inputs[0], outputs[0], w.kernel_size, w.stride, w.low, w.high, self.count_include_pad
        )

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (AvgPoolGrad(self.windows, self.count_include_pad, inputs[0].shape)(grads[0]),)


@dataclass(frozen=True)
class AvgPoolGrad(Primitive):
    """grad_output -> grad_x of shape `shape`."""

    windows: Windows
    count_include_pad: bool
    shape: tuple[int, ...]

    def infer(self, grad: Any) -> tuple[Spec, ...]:
        return (Spec(self.shape, grad.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        w = self.windows
        return kernels.AvgPoolBackward(
            inputs[0], outputs[0], w.kernel_size, w.stride, w.low, w.high, self.count_include_pad
        )
