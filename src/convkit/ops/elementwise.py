"""Activations, arithmetic with broadcasting, conversion of inputs, dropout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from convkit._kernels import elementwise as kernels
from convkit._kernels.core import Kernel
from convkit.ops.base import NumpyPrimitive, Primitive, Spec

# NumPy adds rows one after the other, which costs digits: of more rows than these the parts' sums are added in float64.
ROWS = 256


def like(x: Any) -> tuple[Spec, ...]:
    """The shape rule of everything that works element by element."""
    return (Spec(tuple(x.shape), x.dtype),)


# --- activations: the gradient is written in terms of the output, so that x need not be kept -----------------


@dataclass(frozen=True)
class Activation(Primitive):
    """x -> y, element by element, with a gradient that needs y alone."""

    name: ClassVar[str]
    forward: ClassVar[Callable[..., Kernel]]
    backward: ClassVar[Callable[..., Kernel]]
    in_place = (0,)
    images_in = (0,)

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return like(x)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return self.forward(inputs[0], outputs[0])

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (ActivationGrad(type(self))(outputs[0], grads[0]),)


@dataclass(frozen=True)
class ActivationGrad(Primitive):
    """(y, grad_output) -> grad_x."""

    of: type[Activation]
    in_place = (1, 0)
    images_in = (0, 1)

    def infer(self, y: Any, grad: Any) -> tuple[Spec, ...]:
        return like(grad)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return self.of.backward(inputs[0], inputs[1], outputs[0])


@dataclass(frozen=True)
class Relu(Activation):
    """max(x, 0); NaN stays NaN."""

    name = "relu"
    forward = kernels.Relu
    backward = kernels.ReluGrad


@dataclass(frozen=True)
class Tanh(Activation):
    """The hyperbolic tangent."""

    name = "tanh"
    forward = kernels.Tanh
    backward = kernels.TanhGrad


@dataclass(frozen=True)
class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    name = "sigmoid"
    forward = kernels.Sigmoid
    backward = kernels.SigmoidGrad


# --- arithmetic ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Arithmetic(Primitive):
    """(a, b) -> a combined with b, broadcast as NumPy does."""

    kernel: ClassVar[Callable[..., Kernel]]
    ufunc: ClassVar[np.ufunc]
    in_place = (0, 1)

    def infer(self, a: Any, b: Any) -> tuple[Spec, ...]:
        return (Spec(np.broadcast_shapes(a.shape, b.shape), a.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        a, b = inputs
        if a.shape == b.shape:
            return self.kernel(a, b, outputs[0])
        return BroadcastArithmetic(self.ufunc).bind(inputs, outputs)

    def by_image(self, *inputs: Any) -> tuple[int, ...]:
        return (0, 1) if inputs[0].shape == inputs[1].shape else ()


@dataclass(frozen=True)
class BroadcastArithmetic(NumpyPrimitive):
    """Arithmetic between different shapes, by NumPy."""

    ufunc: np.ufunc

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        self.ufunc(inputs[0], inputs[1], out=outputs[0])


@dataclass(frozen=True)
class Add(Arithmetic):
    kernel = kernels.Add
    ufunc = np.add

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        a, b = inputs
        return sum_to(grads[0], a.shape), sum_to(grads[0], b.shape)


@dataclass(frozen=True)
class Subtract(Arithmetic):
    kernel = kernels.Subtract
    ufunc = np.subtract

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        a, b = inputs
        return sum_to(grads[0], a.shape), Scale(-1.0)(sum_to(grads[0], b.shape))


@dataclass(frozen=True)
class Multiply(Arithmetic):
    kernel = kernels.Multiply
    ufunc = np.multiply

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        a, b = inputs
        return sum_to(Multiply()(grads[0], b), a.shape), sum_to(Multiply()(grads[0], a), b.shape)


@dataclass(frozen=True)
class Scale(Primitive):
    """x -> factor · x."""

    factor: float
    in_place = (0,)
    images_in = (0,)

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return like(x)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return kernels.Scale(inputs[0], self.factor, outputs[0])

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (Scale(self.factor)(grads[0]),)


@dataclass(frozen=True)
class Shift(Primitive):
    """x -> x + offset, or offset - x where `negative`."""

    offset: float
    negative: bool = False
    in_place = (0,)
    images_in = (0,)

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return like(x)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return kernels.Activate("shift", inputs[0], None, outputs[0], -1.0 if self.negative else 1.0, self.offset)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (Scale(-1.0)(grads[0]) if self.negative else grads[0],)


@dataclass(frozen=True)
class SumTo(NumpyPrimitive):
    """x -> x summed over the axes that broadcasting had stretched, of shape `shape`; the adjoint of broadcasting."""

    shape: tuple[int, ...]

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return (Spec(self.shape, x.dtype),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        [x], [out] = inputs, outputs
        leading = x.ndim - len(self.shape)
        stretched = tuple(
            axis for axis, size in enumerate(x.shape)
            if axis < leading or self.shape[axis - leading] == 1 != size
        )  # fmt: skip
        kept = tuple(1 if axis in stretched else size for axis, size in enumerate(x.shape))
        outer = next((axis for axis in range(x.ndim) if axis not in stretched), 0)
        count = prod(x.shape[:outer])
        if count <= ROWS:
            np.sum(x, axis=stretched, keepdims=True, out=out.reshape(kept))
            return
        rows = x.reshape(count, *x.shape[outer:])
        axes = (0, *(axis - outer + 1 for axis in stretched if axis >= outer))
        total = np.zeros(kept[outer:])
        for at in range(0, count, ROWS):
            total += np.sum(rows[at : at + ROWS], axis=axes, keepdims=True)[0]
        out[...] = total.reshape(out.shape)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (BroadcastTo(tuple(inputs[0].shape))(grads[0]),)


@dataclass(frozen=True)
class BroadcastTo(NumpyPrimitive):
    """x -> x repeated to shape `shape`."""

    shape: tuple[int, ...]

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return (Spec(self.shape, x.dtype),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        np.copyto(outputs[0], inputs[0])

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (sum_to(grads[0], tuple(inputs[0].shape)),)


def sum_to(x: Any, shape: tuple[int, ...]) -> Any:
    """`x` itself where it has that shape, else summed to it."""
    return x if tuple(x.shape) == tuple(shape) else SumTo(tuple(shape))(x)


# --- inputs and noise ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScaleImages(Primitive):
    """uint8 -> dtype, times 1/255: images with values from 0 to 1."""

    dtype: np.dtype[Any]
    images_in = (0,)
    reads_as_given = True

    def infer(self, images: Any) -> tuple[Spec, ...]:
        return (Spec(tuple(images.shape), self.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return kernels.ScaleImages(inputs[0], outputs[0], 1 / 255)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (None,)


@dataclass(frozen=True)
class Dropout(Primitive):
    """(x, state) -> x with each value zeroed with probability p, the others scaled by 1 / (1 - p).

    The mask is a function of the state (seed, step, place) and the position, so the gradient draws it again.
    """

    p: float
    in_place = (0,)

    def infer(self, x: Any, state: Any) -> tuple[Spec, ...]:
        return like(x)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return kernels.Dropout(inputs[0], outputs[0], self.p, inputs[1])

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return Dropout(self.p)(grads[0], inputs[1]), None


@dataclass(frozen=True)
class ChannelDropout(NumpyPrimitive):
    """(x (N, C, *spatial), state) -> x with each channel of each sample zeroed as a whole, as `Dropout` does values."""

    p: float
    in_place = (0,)

    def infer(self, x: Any, state: Any) -> tuple[Spec, ...]:
        return like(x)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        [x, state], [y] = inputs, outputs
        [factors] = Dropout(self.p).evaluate((np.ones(x.shape[:2], x.dtype), state))
        np.multiply(x, factors.reshape(*factors.shape, *(1,) * (x.ndim - 2)), out=y)
        y[factors == 0] = 0

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return ChannelDropout(self.p)(grads[0], inputs[1]), None
