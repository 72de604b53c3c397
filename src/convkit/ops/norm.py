"""Normalisation over the batch, and by neighbouring channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from convkit._kernels import norm as kernels
from convkit._kernels.core import Kernel, Series
from convkit.ops.base import Primitive, Spec
from convkit.ops.elementwise import like


def _channels(x: Any) -> Spec:
    return Spec((x.shape[1],), x.dtype)


@dataclass(frozen=True)
class BatchNorm(Primitive):
    """(x, weight | None, bias | None) -> (y, mean, variance): x normalised by its own moments, which come with it.

    Optionally rectified in the same pass.
    """

    eps: float
    relu: bool = False
    in_place = (0,)

    def infer(self, x: Any, weight: Any, bias: Any) -> tuple[Spec, ...]:
        return *like(x), _channels(x), _channels(x)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        x, weight, bias = inputs
        y, mean, variance = outputs
        return kernels.BatchNorm(x, weight, bias, y, mean, variance, self.eps, self.relu, False)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        x, weight, _ = inputs
        _, mean, variance = outputs
        if grads[0] is None or grads[1] is not None or grads[2] is not None:
            raise NotImplementedError("batch normalisation has no gradient through the moments that it returns")
        return BatchNormGrad(self.eps)(grads[0], x, mean, variance, weight, None)


@dataclass(frozen=True)
class Normalize(Primitive):
    """(x, mean, variance, weight | None, bias | None) -> y: x normalised by moments that are given.

    Optionally rectified in the same pass.
    """

    eps: float
    relu: bool = False
    in_place = (0,)
    images_in = (0,)

    def infer(self, x: Any, mean: Any, variance: Any, weight: Any, bias: Any) -> tuple[Spec, ...]:
        return like(x)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        x, mean, variance, weight, bias = inputs
        return kernels.BatchNorm(x, weight, bias, outputs[0], mean, variance, self.eps, self.relu, True)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        x, mean, variance, weight, _ = inputs
        grad_x, *rest = BatchNormGrad(self.eps, constant=True)(grads[0], x, mean, variance, weight, None)
        return grad_x, None, None, *rest


@dataclass(frozen=True)
class BatchNormGrad(Primitive):
    """(grad_output, x, mean, variance, weight | None, bias | None) -> (grad_x, grad_weight, grad_bias).

    The moments are those of x, or `constant`.  With `relu` the output was rectified; only then is `bias` needed.
    """

    eps: float
    constant: bool = False
    relu: bool = False
    in_place = (0, 1)
    optional = (0, 1, 2)

    def infer(self, grad: Any, x: Any, mean: Any, variance: Any, weight: Any, bias: Any) -> tuple[Spec, ...]:
        return *like(x), _channels(x), _channels(x)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        grad, x, mean, variance, weight, bias = inputs
        grad_x, grad_weight, grad_bias = outputs
        return kernels.BatchNormGrad(
            grad, x, mean, variance, weight, bias, grad_x, grad_weight, grad_bias, self.eps, self.relu, self.constant
        )


@dataclass(frozen=True)
class FollowMoments(Primitive):
    """(running_mean, running_variance, mean, variance) -> the running ones, moved towards those of a batch.

    running + momentum · (batch - running); a batch of `count` values has the unbiased variance
    count / (count - 1) · variance.
    """

    momentum: float
    count: int

    def infer(self, running_mean: Any, running_variance: Any, mean: Any, variance: Any) -> tuple[Spec, ...]:
        return *like(running_mean), *like(running_variance)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        running_mean, running_variance, mean, variance = inputs
        unbiased = self.count / (self.count - 1)
        return Series(
            [
                kernels.Follow(running_mean, mean, outputs[0], self.momentum, 1.0),
                kernels.Follow(running_variance, variance, outputs[1], self.momentum, unbiased),
            ]
        )


def values_per_channel(x: Any) -> int:
    """How many values of x (N, C, *spatial) each channel has."""
    return int(x.shape[0] * prod(x.shape[2:]))


@dataclass(frozen=True)
class LocalResponseNorm(Primitive):
    """x -> x · (k + alpha · Σ x²)^-beta, summed over channels c - size // 2 … c + (size - 1) // 2 that exist."""

    size: int
    alpha: float
    beta: float
    k: float
    images_in = (0,)

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return like(x)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        before, after = self.size // 2, (self.size - 1) // 2
        return kernels.LocalResponse(inputs[0], None, outputs[0], before, after, self.k, self.alpha, self.beta)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (LocalResponseNormGrad(self)(grads[0], inputs[0]),)


@dataclass(frozen=True)
class LocalResponseNormGrad(Primitive):
    """(grad_output, x) -> grad_x."""

    of: LocalResponseNorm
    in_place = (0,)
    images_in = (0, 1)

    def infer(self, grad: Any, x: Any) -> tuple[Spec, ...]:
        return like(x)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        grad, x = inputs
        of = self.of
        before, after = of.size // 2, (of.size - 1) // 2
        return kernels.LocalResponse(x, grad, outputs[0], before, after, of.k, of.alpha, of.beta)
