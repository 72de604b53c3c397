"""Softmax, and the losses: each the mean over a batch, with its gradient.

An array (N, C, *rest) is seen as N rows of C classes with `inner` = prod(rest) positions each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from convkit._kernels import loss as kernels
from convkit._kernels.core import Kernel
from convkit.ops.base import NumpyPrimitive, Primitive, Spec
from convkit.ops.elementwise import Scale, like


def _rows(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


@dataclass(frozen=True)
class Softmax(Primitive):
    """exp(x) / Σ exp(x) along an axis, or its logarithm."""

    axis: int
    log: bool = False

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return like(x)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return kernels.SoftmaxForward(inputs[0], outputs[0], *_rows(inputs[0].shape, self.axis), self.log)

    def by_image(self, *inputs: Any) -> tuple[int, ...]:
        return (0,) if self.axis > 0 else ()

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (SoftmaxGrad(self.axis, self.log)(outputs[0], grads[0]),)


@dataclass(frozen=True)
class SoftmaxGrad(Primitive):
    """(y, grad_output) -> grad_x."""

    axis: int
    log: bool

    def infer(self, y: Any, grad: Any) -> tuple[Spec, ...]:
        return like(y)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        y, grad = inputs
        return kernels.SoftmaxGrad(y, grad, outputs[0], *_rows(y.shape, self.axis), self.log)


@dataclass(frozen=True)
class CrossEntropy(Primitive):
    """(logits, labels, weight | None) -> (loss, probabilities); labels are class numbers."""

    label_smoothing: float
    ignore_index: int | None

    def infer(self, logits: Any, labels: Any, weight: Any) -> tuple[Spec, ...]:
        return Spec((), logits.dtype), Spec(tuple(logits.shape), logits.dtype)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        logits, labels, weight = inputs
        loss, probabilities = outputs
        return kernels.CrossEntropyForward(
            logits,
            labels,
            loss,
            probabilities,
            *_rows(logits.shape, 1),
            self.label_smoothing,
            weight,
            self.ignore_index,
        )

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        _, labels, weight = inputs
        op = CrossEntropyGrad(self.label_smoothing, self.ignore_index)
        return op(outputs[1], labels, weight, grads[0]), None, None


@dataclass(frozen=True)
class CrossEntropyGrad(Primitive):
    """(probabilities, labels, weight | None, grad_loss) -> grad_logits."""

    label_smoothing: float
    ignore_index: int | None
    in_place = (0,)

    def infer(self, probabilities: Any, *others: Any) -> tuple[Spec, ...]:
        return like(probabilities)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        probabilities, labels, weight, grad = inputs
        return kernels.CrossEntropyGrad(
            probabilities,
            labels,
            grad,
            outputs[0],
            *_rows(probabilities.shape, 1),
            self.label_smoothing,
            weight,
            self.ignore_index,
        )


@dataclass(frozen=True)
class ProbabilityCrossEntropy(Primitive):
    """(logits, target probabilities, weight | None) -> (loss, probabilities)."""

    label_smoothing: float

    def infer(self, logits: Any, targets: Any, weight: Any) -> tuple[Spec, ...]:
        return Spec((), logits.dtype), Spec(tuple(logits.shape), logits.dtype)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        logits, targets, weight = inputs
        loss, probabilities = outputs
        return kernels.ProbabilityCrossEntropyForward(
            logits, targets, loss, probabilities, *_rows(logits.shape, 1), self.label_smoothing, weight
        )

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        _, targets, weight = inputs
        op = ProbabilityCrossEntropyGrad(self.label_smoothing)
        return op(outputs[1], targets, weight, grads[0]), None, None


@dataclass(frozen=True)
class ProbabilityCrossEntropyGrad(Primitive):
    """(probabilities, target probabilities, weight | None, grad_loss) -> grad_logits."""

    label_smoothing: float
    in_place = (0,)

    def infer(self, probabilities: Any, *others: Any) -> tuple[Spec, ...]:
        return like(probabilities)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        probabilities, targets, weight, grad = inputs
        return kernels.ProbabilityCrossEntropyGrad(
            probabilities, targets, grad, outputs[0], *_rows(probabilities.shape, 1), self.label_smoothing, weight
        )


@dataclass(frozen=True)
class NegativeLikelihood(NumpyPrimitive):
    """(x, labels, weight | None) -> ``-Σ_c t_c · x_c`` at each position of log-probabilities, or their sum or mean.

    t is 1 for the label's class, or the given row of probabilities, smoothed, times the weights.  A position that is
    ignored has t = 0, and where t = 0 nothing is added, whatever x and the weight are.  The mean is weighted by the
    weights of the labels.
    """

    function: str
    reduction: str = "mean"
    label_smoothing: float = 0.0
    ignore_index: int | None = None

    def infer(self, x: Any, labels: Any, weight: Any) -> tuple[Spec, ...]:
        return (Spec((x.shape[0], *x.shape[2:]) if self.reduction == "none" else (), x.dtype),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        x, labels, weight = inputs
        targets, divisor = self.targets(Spec(x.shape, x.dtype), labels, weight)
        losses = -np.multiply(targets, x, out=np.zeros_like(x), where=targets != 0).sum(1)
        if self.reduction != "none":
            losses = losses.sum(dtype=np.float64) / divisor if divisor else np.nan
        outputs[0][...] = losses

    def targets(self, x: Spec, labels: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, float]:
        """t, of x's shape, and what a sum of losses is divided by."""
        classes, even = x.shape[1], self.label_smoothing / x.shape[1]
        weights = np.ones(classes, x.dtype) if weight is None else weight
        every_class = weights.reshape(classes, *(1,) * (len(x.shape) - 2))
        if labels.dtype.kind == "f":
            shares = (1 - self.label_smoothing) * labels + even
            return np.where(shares != 0, shares * every_class, 0), 1.0
        counted = check_classes(self.function, labels, classes, self.ignore_index)
        labels = np.where(counted, labels, 0)
        shares = np.where(counted, weights[labels], 0)
        targets = np.zeros(x.shape, x.dtype)
        np.put_along_axis(targets, labels[:, None], (1 - self.label_smoothing) * shares[:, None], 1)
        if even:
            targets += np.where(counted[:, None], even * every_class, 0)
        return targets, float(shares.sum(dtype=np.float64)) if self.reduction == "mean" else 1.0

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        x, labels, weight = inputs
        return NegativeLikelihoodGrad(self, tuple(x.shape))(labels, weight, grads[0]), None, None


@dataclass(frozen=True)
class Counted(NumpyPrimitive):
    """(x, labels, weight | None) -> x, zero at each position of which `loss` has no target; its own adjoint."""

    loss: NegativeLikelihood

    def infer(self, x: Any, labels: Any, weight: Any) -> tuple[Spec, ...]:
        return like(x)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        x, labels, weight = inputs
        targets, _ = self.loss.targets(Spec(x.shape, x.dtype), labels, weight)
        outputs[0][...] = np.where((targets != 0).any(1, keepdims=True), x, 0)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return Counted(self.loss)(grads[0], *inputs[1:]), None, None


def check_classes(function: str, labels: np.ndarray, classes: int, ignore_index: int | None) -> np.ndarray:
    """Which labels count, as an array of bools; one that is no class is refused."""
    counted = np.ones(labels.shape, bool) if ignore_index is None else labels != ignore_index
    wrong = labels[counted & ((labels < 0) | (labels >= classes))]
    if wrong.size:
        raise ValueError(f"{function}: label {wrong[0]} is none of the {classes} classes")
    return counted


@dataclass(frozen=True)
class NegativeLikelihoodGrad(NumpyPrimitive):
    """(labels, weight | None, grad_loss) -> grad_x of shape `shape`; zero where there is no target."""

    loss: NegativeLikelihood
    shape: tuple[int, ...]

    def infer(self, labels: Any, weight: Any, grad: Any) -> tuple[Spec, ...]:
        return (Spec(self.shape, grad.dtype),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        labels, weight, grad = inputs
        targets, divisor = self.loss.targets(Spec(self.shape, grad.dtype), labels, weight)
        each = grad[:, None] if self.loss.reduction == "none" else grad / (divisor or 1.0)
        outputs[0].fill(0)
        np.multiply(targets, -each, out=outputs[0], where=targets != 0)


@dataclass(frozen=True)
class MeanSquaredError(Primitive):
    """(prediction, target) -> the mean of (prediction - target)² over all values."""

    def infer(self, prediction: Any, target: Any) -> tuple[Spec, ...]:
        return (Spec((), prediction.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return kernels.MeanSquaredErrorForward(inputs[0], inputs[1], outputs[0])

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        grad = MeanSquaredErrorGrad()(*inputs, grads[0])
        return grad, Scale(-1.0)(grad)


@dataclass(frozen=True)
class MeanSquaredErrorGrad(Primitive):
    """(prediction, target, grad_loss) -> grad_prediction."""

    def infer(self, prediction: Any, target: Any, grad: Any) -> tuple[Spec, ...]:
        return (Spec(tuple(prediction.shape), np.dtype(prediction.dtype)),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        prediction, target, grad = inputs
        return kernels.MeanSquaredErrorGrad(prediction, target, grad, outputs[0])
