"""Losses, as objects to hand to a trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from convkit import functional as F
from convkit.errors import converted, integer, number, numbers, share, view
from convkit.ops.base import Operand, active_recorder
from convkit.parameter import structure


class Loss:
    """What losses share: plans made before an attribute was set to something else, or deleted, are not used any more.

    What a loss notes about itself while it is traced is no such change.
    """

    if not TYPE_CHECKING:  # a checker would take it that a loss has attributes of all names

        def __getattribute__(self, name: str) -> Any:
            if active_recorder() is not None:  # what is traced may depend even on what is missing
                super().__getattribute__("__dict__")["_traced"] = True
            return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        # Of a loss that is being made, or has not been traced, no plan knows what it has not.
        present = getattr(self, name, self if "_traced" in self.__dict__ else value)
        super().__setattr__(name, value)
        if present is not value:
            _drop_plans()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        _drop_plans()


def _drop_plans() -> None:
    if active_recorder() is None:
        structure.bump()


class CrossEntropyLoss(Loss):
    """The mean over a batch of -log softmax(logits)[label]; see `convkit.functional.cross_entropy`.

    Shape: logits (N, C) or ``(N, C, *spatial)``, labels (N,) or ``(N, *spatial)``, or probabilities like logits → ().

    Parameters
    ----------
    weight : array (C,), optional
        A factor for each class; copied, and converted to the dtype of the logits.
    ignore_index : int, optional
        A label that does not count.
    label_smoothing : float
        The share of the target that is spread evenly over all classes.
    """

    def __init__(
        self,
        weight: np.ndarray | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        loss = type(self).__name__
        self.weight = None if weight is None else _class_weights(loss, weight)
        self.ignore_index = None if ignore_index is None else integer(loss, "ignore_index", ignore_index, -(2**62))
        self.label_smoothing = share(loss, "label_smoothing", label_smoothing)

    def __setstate__(self, state: Any) -> None:
        for attributes in state if isinstance(state, tuple) else (state,):  # of a subclass with __slots__ two dicts
            for name, value in (attributes or {}).items():
                object.__setattr__(self, name, value)
        weight = getattr(self, "weight", None)
        if isinstance(weight, np.ndarray):
            weight.flags.writeable = False  # which NumPy's copies do not keep

    def __call__(self, logits: Any, labels: Any) -> Any:
        logits = logits if isinstance(logits, Operand) else view(type(self).__name__, "logits", logits)
        weight = None if self.weight is None else converted(self.weight, logits.dtype)
        return F.cross_entropy(
            logits, labels, label_smoothing=self.label_smoothing, weight=weight, ignore_index=self.ignore_index
        )


def _class_weights(loss: str, weight: Any) -> np.ndarray:
    values = numbers(loss, "weight", weight)
    if values.ndim != 1:
        raise ValueError(f"{loss}: weight must have one axis (C,), not shape {values.shape}")
    values = values.copy()
    values.flags.writeable = False
    return values


class AuxiliaryCrossEntropyLoss(CrossEntropyLoss):
    """Cross-entropy of a network that returns outputs of auxiliary classifiers, too, while it is trained.

    That of the first output, plus a share of that of each other: ``L(y) + auxiliary_weight · Σ_i L(y_i)``. In
    inference such a network returns the first output alone, and this is the cross-entropy.

    Shape: logits (N, C), or a tuple of such, and labels as in `CrossEntropyLoss` → ().

    Parameters
    ----------
    auxiliary_weight : float
        0.3 in the paper.
    weight, ignore_index, label_smoothing : as in `CrossEntropyLoss`

    References
    ----------
    Szegedy et al. 2015, "Going deeper with convolutions", section 5.
    """

    def __init__(
        self,
        auxiliary_weight: float = 0.3,
        weight: np.ndarray | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, ignore_index, label_smoothing)
        self.auxiliary_weight = number("AuxiliaryCrossEntropyLoss", "auxiliary_weight", auxiliary_weight)

    def __call__(self, logits: Any, labels: Any) -> Any:
        main, *auxiliary = logits if isinstance(logits, (tuple, list)) else (logits,)
        loss = super().__call__(main, labels)
        for output in auxiliary:
            loss = F.add(loss, F.multiply(super().__call__(output, labels), self.auxiliary_weight))
        return loss


class MSELoss(Loss):
    """The mean of (prediction - target)² over all values; see `convkit.functional.mse_loss`.

    Shape: prediction and target of one shape → ().
    """

    def __call__(self, prediction: Any, target: Any) -> Any:
        return F.mse_loss(prediction, target)
