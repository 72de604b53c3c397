"""Dense layers: matrix products, with bias and rectifier in the same pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from convkit._kernels import gemm as kernels
from convkit._kernels.core import Kernel
from convkit.ops.base import Primitive, Spec


@dataclass(frozen=True)
class Linear(Primitive):
    """(x (N, I), weight (O, I), bias (O,) | None) -> x · weightᵀ + bias, optionally rectified in the same pass."""

    relu: bool = False
    images_in = (0,)

    def infer(self, x: Any, weight: Any, bias: Any) -> tuple[Spec, ...]:
        return (Spec((x.shape[0], weight.shape[0]), x.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        x, weight, bias = inputs
        return kernels.Gemm(x, weight, outputs[0], False, True, bias, self.relu)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        x, weight, _ = inputs
        [grad] = grads
        return MatMul()(grad, weight), MatMul(trans_a=True)(grad, x), ColumnSum()(grad)

    def flops(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        return int(2 * outputs[0].shape[0] * inputs[1].shape[0] * inputs[1].shape[1])


@dataclass(frozen=True)
class MatMul(Primitive):
    """(a, b) -> op(a) · op(b) for matrices, where op may transpose."""

    trans_a: bool = False
    trans_b: bool = False

    def infer(self, a: Any, b: Any) -> tuple[Spec, ...]:
        return (Spec((a.shape[1 if self.trans_a else 0], b.shape[0 if self.trans_b else 1]), a.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return kernels.Gemm(inputs[0], inputs[1], outputs[0], self.trans_a, self.trans_b)

    def by_image(self, *inputs: Any) -> tuple[int, ...]:
        return () if self.trans_a else (0,)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        a, b = inputs
        [grad] = grads
        ta, tb = self.trans_a, self.trans_b
        grad_a = MatMul(tb, True)(b, grad) if ta else MatMul(False, not tb)(grad, b)
        grad_b = MatMul(True, ta)(grad, a) if tb else MatMul(not ta, False)(a, grad)
        return grad_a, grad_b

    def flops(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        rows, columns = outputs[0].shape
        return int(2 * rows * columns * inputs[0].shape[0 if self.trans_a else 1])


@dataclass(frozen=True)
class ColumnSum(Primitive):
    """(N, F) -> (F,): the gradient of a bias."""

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return (Spec((x.shape[1],), x.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return kernels.ColumnSum(inputs[0], outputs[0])
