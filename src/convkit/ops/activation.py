"""Activations with constants or parameters of their own; their gradients need the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convkit._kernels import elementwise as kernels
from convkit._kernels.core import Kernel
from convkit.ops.base import NumpyPrimitive, Primitive, Spec
from convkit.ops.elementwise import like


@dataclass(frozen=True)
class Map(Primitive):
    """x -> f(x; p, q), element by element; `name` is the function's, as in `convkit.functional`."""

    name: str
    p: float = 0.0
    q: float = 0.0
    in_place = (0,)
    images_in = (0,)

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return like(x)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return kernels.Activate(self.name, inputs[0], None, outputs[0], self.p, self.q)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (MapGrad(self)(inputs[0], grads[0]),)


@dataclass(frozen=True)
class MapGrad(Primitive):
    """(x, grad_output) -> grad_x."""

    of: Map
    in_place = (1, 0)
    images_in = (0, 1)

    def infer(self, x: Any, grad: Any) -> tuple[Spec, ...]:
        return like(grad)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        x, grad = inputs
        return kernels.Activate(self.of.name, x, grad, outputs[0], self.of.p, self.of.q)


@dataclass(frozen=True)
class PRelu(NumpyPrimitive):
    """(x, weight) -> x where positive, else weight · x; one weight, or one for each channel of axis 1."""

    in_place = (0,)

    def infer(self, x: Any, weight: Any) -> tuple[Spec, ...]:
        return like(x)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        x, weight = inputs
        np.multiply(x, _on_channels(weight, x), out=outputs[0], where=~(x > 0))
        np.copyto(outputs[0], x, where=x > 0)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return PReluGrad()(grads[0], *inputs)


@dataclass(frozen=True)
class PReluGrad(NumpyPrimitive):
    """(grad_output, x, weight) -> (grad_x, grad_weight)."""

    def infer(self, grad: Any, x: Any, weight: Any) -> tuple[Spec, ...]:
        return *like(x), *like(weight)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        grad, x, weight = inputs
        grad_x, grad_weight = outputs
        np.multiply(grad, np.where(x > 0, x.dtype.type(1), _on_channels(weight, x)), out=grad_x)
        product = np.where(x > 0, x.dtype.type(0), grad * x)
        axes = tuple(axis for axis in range(x.ndim) if axis != 1 or weight.size == 1)
        grad_weight[...] = product.sum(axes)


def _on_channels(weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    return weight.reshape(()) if weight.size == 1 else weight.reshape(-1, *(1,) * (x.ndim - 2))
