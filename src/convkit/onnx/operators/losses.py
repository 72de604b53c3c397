"""Losses by class numbers, with weights, classes left out, and all three reductions."""

from __future__ import annotations

from typing import Any

from convkit import functional as F
from convkit.onnx.operators.table import operator


@operator("NegativeLogLikelihoodLoss")
def negative_log_likelihood(
    x: Any, labels: Any, weight: Any = None, *, ignore_index: int | None = None, reduction: str = "mean"
) -> Any:
    return F.nll_loss(x, labels, weight=weight, ignore_index=ignore_index, reduction=reduction)


@operator("SoftmaxCrossEntropyLoss")
def softmax_cross_entropy(
    scores: Any, labels: Any, weight: Any = None, *, ignore_index: int | None = None, reduction: str = "mean"
) -> Any:
    log_probabilities = F.log_softmax(scores, 1)
    return (
        F.nll_loss(log_probabilities, labels, weight=weight, ignore_index=ignore_index, reduction=reduction),
        log_probabilities,
    )
