"""Losses by class numbers, with weights, classes left out, and all three reductions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convkit import functional as F
from convkit.onnx.operators.table import operator
from convkit.ops import array


@operator("NegativeLogLikelihoodLoss")
def negative_log_likelihood(
    x: Any, labels: Any, weight: Any = None, *, ignore_index: int | None = None, reduction: str = "mean"
) -> Any:
    """``-Σ weight[label] · x[label]``, divided by the weights' sum where the mean is asked for."""

    def picked(labels: np.ndarray, weight: np.ndarray | None, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
        """Each position's class, and what it counts."""
        counts = np.ones(labels.shape, dtype) if ignore_index is None else (labels != ignore_index).astype(dtype)
        classes = np.where(counts > 0, labels, 0)
        return classes, counts if weight is None else counts * weight[classes]

    def loss(x: np.ndarray, labels: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        classes, counts = picked(labels, weight, x.dtype)
        losses = -np.take_along_axis(x, np.expand_dims(classes, 1), 1)[:, 0] * counts
        if reduction == "none":
            return losses
        return np.asarray(losses.sum() / (counts.sum() if reduction == "mean" else 1), x.dtype)

    def slope(grad: np.ndarray, x: np.ndarray, labels: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
        classes, counts = picked(labels, weight, x.dtype)
        shares = -counts * grad / (counts.sum() if reduction == "mean" else 1)
        result = np.zeros_like(x)
        np.put_along_axis(result, np.expand_dims(classes, 1), np.expand_dims(shares, 1), 1)
        return result

    def derivative(inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return array.Apply(slope)(grads[0], *inputs), None, None

    return array.Apply(loss, derivative)(x, labels, weight)


@operator("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(
    scores: Any, labels: Any, weight: Any = None, *, ignore_index: int | None = None, reduction: str = "mean"
) -> Any:
    log_probabilities = F.log_softmax(scores, 1)
    return (
        negative_log_likelihood(log_probabilities, labels, weight, ignore_index=ignore_index, reduction=reduction),
        log_probabilities,
    )
