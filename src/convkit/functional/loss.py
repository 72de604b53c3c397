"""Softmax, and the losses with their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from convkit import errors
from convkit.functional.operands import axis_of, operand, operands
from convkit.ops.base import Operand
from convkit.ops.loss import (
    Counted,
    CrossEntropy,
    MeanSquaredError,
    NegativeLikelihood,
    ProbabilityCrossEntropy,
    Softmax,
    check_classes,
)


def softmax(x: Any, axis: int = 1) -> Any:
    """``exp(x) / Σ exp(x)`` along an axis.

    Parameters
    ----------
    x : array of float32 or float64
    axis : int
        By default that of the classes.

    Returns
    -------
    array of x's shape

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64, and an axis that is no integer.
    ValueError
        For an axis that x has not.
    """
    return _softmax("softmax", x, axis, log=False)


def log_softmax(x: Any, axis: int = 1) -> Any:
    """``log(softmax(x))`` along an axis, exact also where softmax is almost 0.

    ``y = x - log Σ exp(x)``

    Parameters
    ----------
    x : array of float32 or float64
    axis : int
        By default that of the classes.

    Returns
    -------
    array of x's shape

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64, and an axis that is no integer.
    ValueError
        For an axis that x has not.
    """
    return _softmax("log_softmax", x, axis, log=True)


def softmax_backward(grad_output: Any, x: Any, axis: int = 1) -> Any:
    """Gradient of `softmax` to x: ``y · (grad - Σ grad · y)``.

    Parameters
    ----------
    grad_output : array of x's shape and dtype
    x, axis : as given to `softmax`

    Returns
    -------
    grad_x : array of x's shape

    Raises
    ------
    TypeError, ValueError
        As `softmax`, for mixed dtypes, and where `grad_output` has not x's shape.
    """
    return _softmax_backward("softmax_backward", grad_output, x, axis, log=False)


def log_softmax_backward(grad_output: Any, x: Any, axis: int = 1) -> Any:
    """Gradient of `log_softmax` to x: ``grad - softmax(x) · Σ grad``.

    Parameters
    ----------
    grad_output : array of x's shape and dtype
    x, axis : as given to `log_softmax`

    Returns
    -------
    grad_x : array of x's shape

    Raises
    ------
    TypeError, ValueError
        As `log_softmax`, for mixed dtypes, and where `grad_output` has not x's shape.
    """
    return _softmax_backward("log_softmax_backward", grad_output, x, axis, log=True)


def _softmax(function: str, x: Any, axis: int, log: bool) -> Any:
    x = operand(function, "x", x)
    return Softmax(axis_of(function, "axis", axis, len(x.shape)), log)(x)


def _softmax_backward(function: str, grad: Any, x: Any, axis: int, log: bool) -> Any:
    grad, x = operands(function, grad_output=grad, x=x)
    errors.shape(function, "grad_output", grad, tuple(x.shape))
    op = Softmax(axis_of(function, "axis", axis, len(x.shape)), log)
    [grad_x] = op.gradient((x,), (op(x),), (grad,))
    return grad_x


def cross_entropy(
    logits: Any,
    labels: Any,
    *,
    label_smoothing: float = 0.0,
    weight: Any = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Any:
    """The mean of ``-Σ_c q_c · log softmax(logits)_c`` over a batch.

    q is 1 for the label's class and 0 for the others, or the given row of probabilities; with label smoothing ε
    it is ``(1 - ε) q + ε / C`` (Szegedy et al. 2016, section 7).  Where q or the class's weight is 0 nothing is
    added, whatever the logit is, -∞ too: 0 · log 0 = 0.

    Parameters
    ----------
    logits : array (N, C) or ``(N, C, *spatial)``
        float32 or float64.
    labels : integer array (N,) or ``(N, *spatial)``, or array of probabilities of the shape of logits
    label_smoothing : float
        ε, from 0 to 1.
    weight : array (C,), optional
        A factor for each class; with integer labels the mean is then weighted by those of the labels.
    ignore_index : int, optional
        A label that does not count.
    reduction : {'mean', 'sum', 'none'}
        Whether the losses are averaged, added up, or returned as they are.

    Returns
    -------
    array of shape (), or with 'none' (N,) or ``(N, *spatial)``
        The mean is NaN where no label counts.

    Raises
    ------
    TypeError, ValueError
        For shapes and dtypes other than these, and labels that are no class.
    """
    function = "cross_entropy"
    op, operands = _cross_entropy(function, logits, labels, label_smoothing, weight, ignore_index)
    if _reduction(function, reduction) == "mean":
        loss, _ = op(*operands)
        return loss
    logits, labels, weight = operands
    each = NegativeLikelihood(function, reduction, op.label_smoothing, ignore_index)
    return each(Softmax(1, log=True)(_counted(each, logits, labels, weight)), labels, weight)


def cross_entropy_backward(
    logits: Any,
    labels: Any,
    *,
    label_smoothing: float = 0.0,
    weight: Any = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
    grad_output: Any = 1.0,
) -> Any:
    """Gradient of `cross_entropy` to the logits: ``grad_output · (softmax(logits) - q) / N`` without weights.

    N counts the labels that are not ignored; where the losses are not averaged it is 1.

    Parameters
    ----------
    logits, labels, label_smoothing, weight, ignore_index, reduction : as given to `cross_entropy`
    grad_output : float, or array of the loss's shape
        The gradient to the loss.

    Returns
    -------
    grad_logits : array of the shape of logits

    Raises
    ------
    TypeError, ValueError
        As `cross_entropy`, and where `grad_output` has not the loss's shape.
    """
    function = "cross_entropy_backward"
    op, operands = _cross_entropy(function, logits, labels, label_smoothing, weight, ignore_index)
    if _reduction(function, reduction) == "mean":
        results = op(*operands)
        grad_logits, *_ = op.gradient(operands, results, (_grad_of_loss(function, grad_output, results[0]), None))
        return grad_logits
    logits, labels, weight = operands
    softmax, each = Softmax(1, log=True), NegativeLikelihood(function, reduction, op.label_smoothing, ignore_index)
    x = softmax(_counted(each, logits, labels, weight))
    grad = _grad_of_loss(function, grad_output, *each.infer(x, labels, weight))
    grad_x, *_ = each.gradient((x, labels, weight), (None,), (grad,))
    [grad_logits] = softmax.gradient((logits,), (x,), (grad_x,))
    return grad_logits


def _cross_entropy(
    function: str, logits: Any, labels: Any, label_smoothing: float, weight: Any, ignore_index: int | None
) -> tuple[CrossEntropy | ProbabilityCrossEntropy, tuple[Any, Any, Any]]:
    """The op for these arguments, every one checked, and its operands."""
    logits, weight = operands(function, optional="weight", logits=logits, weight=weight)
    _check_classes(function, "logits", logits)
    label_smoothing = errors.share(function, "label_smoothing", label_smoothing)
    if weight is not None:
        errors.shape(function, "weight", weight, (logits.shape[1],))
    if not isinstance(labels, Operand):
        labels = errors.view(function, "labels", labels)
    if labels.dtype.kind == "f":
        return _with_probabilities(function, logits, labels, label_smoothing, weight, ignore_index)
    labels = _class_numbers(function, labels, logits, "integers or probabilities")
    ignored = _ignored(function, ignore_index)
    if not isinstance(labels, Operand):
        check_classes(function, labels, logits.shape[1], ignored)
    return CrossEntropy(label_smoothing, ignored), (logits, labels, weight)


def _with_probabilities(
    function: str, logits: Any, labels: Any, label_smoothing: float, weight: Any, ignore_index: int | None
) -> tuple[ProbabilityCrossEntropy, tuple[Any, Any, Any]]:
    if ignore_index is not None:
        raise ValueError(f"{function}: ignore_index needs integer labels, but labels are {labels.dtype}")
    labels = operand(function, "labels", labels)
    errors.same_dtype(function, logits=logits, labels=labels)
    errors.shape(function, "labels", labels, tuple(logits.shape))
    return ProbabilityCrossEntropy(label_smoothing), (logits, labels, weight)


def _counted(each: NegativeLikelihood, logits: Any, labels: Any, weight: Any) -> Any:
    """The logits, zeros at positions without any target: whatever stands there reaches neither loss nor gradient."""
    if weight is None and each.ignore_index is None and labels.dtype.kind != "f":
        return logits
    return Counted(each)(logits, labels, weight)


def _check_classes(function: str, argument: str, scores: Any) -> None:
    """Refuse scores without an axis of classes behind the batch's."""
    if len(scores.shape) < 2 or scores.shape[1] == 0:
        raise ValueError(f"{function}: {argument} must have shape (N, C) or (N, C, …), not {tuple(scores.shape)}")


def _class_numbers(function: str, labels: Any, scores: Any, expected: str) -> Any:
    """Integer labels ready for an op, one for each position of the scores.

    A copy: kernels trust those that were checked, and somebody may write into the caller's meanwhile.
    """
    if not isinstance(labels, Operand):
        labels = errors.whole_numbers(function, "labels", labels, expected).copy()
    elif labels.dtype.kind not in "iu":
        raise TypeError(f"{function}: labels must be {expected}, not {labels.dtype}")
    errors.shape(function, "labels", labels, (scores.shape[0], *scores.shape[2:]))
    return labels


def nll_loss(
    log_probabilities: Any,
    labels: Any,
    *,
    weight: Any = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Any:
    """The mean over a batch of ``-log_probabilities[n, labels[n]]``.

    Of ``log_softmax(logits)`` it is `cross_entropy`; of negated penalties, the mean penalty of the right class.

    Parameters
    ----------
    log_probabilities : array (N, C) or ``(N, C, *spatial)``
        float32 or float64.
    labels : integer array (N,) or ``(N, *spatial)``
    weight : array (C,), optional
        A factor for each class; the mean is then weighted by those of the labels.
    ignore_index : int, optional
        A label that does not count.
    reduction : {'mean', 'sum', 'none'}
        Whether the losses are averaged, added up, or returned as they are.

    Returns
    -------
    array of shape (), or with 'none' (N,) or ``(N, *spatial)``
        The mean is NaN where no label counts.

    Raises
    ------
    TypeError, ValueError
        For shapes and dtypes other than these, and labels that are no class.
    """
    op, operands = _likelihood("nll_loss", log_probabilities, labels, weight, ignore_index, reduction)
    return op(*operands)


def nll_loss_backward(
    log_probabilities: Any,
    labels: Any,
    *,
    weight: Any = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
    grad_output: Any = 1.0,
) -> Any:
    """Gradient of `nll_loss` to the log-probabilities: ``-grad_output / N`` at the labels, else 0, without weights.

    N counts the labels that are not ignored; where the losses are not averaged it is 1.

    Parameters
    ----------
    log_probabilities, labels, weight, ignore_index, reduction : as given to `nll_loss`
    grad_output : float, or array of the loss's shape
        The gradient to the loss.

    Returns
    -------
    array of the shape of log_probabilities

    Raises
    ------
    TypeError, ValueError
        As `nll_loss`, and where `grad_output` has not the loss's shape.
    """
    function = "nll_loss_backward"
    op, operands = _likelihood(function, log_probabilities, labels, weight, ignore_index, reduction)
    grad_x, *_ = op.gradient(operands, (None,), (_grad_of_loss(function, grad_output, *op.infer(*operands)),))
    return grad_x


def _likelihood(
    function: str, log_probabilities: Any, labels: Any, weight: Any, ignore_index: int | None, reduction: str
) -> tuple[NegativeLikelihood, tuple[Any, Any, Any]]:
    """The op for these arguments, every one checked, and its operands."""
    x, weight = operands(function, optional="weight", log_probabilities=log_probabilities, weight=weight)
    _check_classes(function, "log_probabilities", x)
    if weight is not None:
        errors.shape(function, "weight", weight, (x.shape[1],))
    if not isinstance(labels, Operand):
        labels = errors.view(function, "labels", labels)
    labels = _class_numbers(function, labels, x, "integers")
    op = NegativeLikelihood(function, _reduction(function, reduction), 0.0, _ignored(function, ignore_index))
    return op, (x, labels, weight)


def _ignored(function: str, ignore_index: Any) -> int | None:
    return None if ignore_index is None else errors.integer(function, "ignore_index", ignore_index, -(2**62))


def _reduction(function: str, reduction: str) -> str:
    return errors.one_of(function, "reduction", reduction, ("mean", "sum", "none"))


def _grad_of_loss(function: str, grad_output: Any, loss: Any) -> np.ndarray:
    """The gradient to a loss as an array of its shape and dtype; one number serves all."""
    grad = errors.numbers(function, "grad_output", grad_output)
    if grad.ndim == 0:
        return np.full(loss.shape, errors.converted(grad, loss.dtype))
    grad = errors.array(function, "grad_output", grad)
    errors.same_dtype(function, loss=loss, grad_output=grad)
    errors.shape(function, "grad_output", grad, tuple(loss.shape))
    return grad


def mse_loss(prediction: Any, target: Any) -> Any:
    """The mean of ``(prediction - target)²`` over all values, of shape ().

    Parameters
    ----------
    prediction, target : arrays of one shape and dtype, float32 or float64

    Returns
    -------
    array of shape ()
        NaN where they are empty.

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64, or mixed ones.
    ValueError
        Where the shapes differ.
    """
    prediction, target = _pair("mse_loss", prediction, target)
    return MeanSquaredError()(prediction, target)


def mse_loss_backward(prediction: Any, target: Any, *, grad_output: Any = 1.0) -> tuple[Any, Any]:
    """Gradients of `mse_loss`: ``± 2 · grad_output · (prediction - target) / size``.

    Parameters
    ----------
    prediction, target : as given to `mse_loss`
    grad_output : float or array of shape ()
        The gradient to the loss.

    Returns
    -------
    grad_prediction, grad_target : arrays of the shape of prediction
        With + and with -.

    Raises
    ------
    TypeError, ValueError
        As `mse_loss`.
    """
    prediction, target = _pair("mse_loss_backward", prediction, target)
    op = MeanSquaredError()
    grad = _grad_of_loss("mse_loss_backward", grad_output, *op.infer(prediction, target))
    grad_prediction, grad_target = op.gradient((prediction, target), (None,), (grad,))
    return grad_prediction, grad_target


def _pair(function: str, prediction: Any, target: Any) -> list[Any]:
    pair = operands(function, prediction=prediction, target=target)
    errors.shape(function, "target", pair[1], tuple(pair[0].shape))
    return pair
