"""Softmax, and the losses with their gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from convkit import errors
from convkit.functional.operands import axis_of, operand, operands
from convkit.ops.base import Operand
from convkit.ops.loss import CrossEntropy, MeanSquaredError, NegativeLikelihood, ProbabilityCrossEntropy, Softmax


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
) -> Any:
    """The mean of ``-Σ_c q_c · log softmax(logits)_c`` over a batch.

    q is 1 for the label's class and 0 for the others, or the given row of probabilities; with label smoothing ε
    it is ``(1 - ε) q + ε / C`` (Szegedy et al. 2016, section 7).

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

    Returns
    -------
    array of shape ()
        NaN where no label counts.

    Raises
    ------
    TypeError, ValueError
        For shapes and dtypes other than these, and labels that are no class.
    """
    op, operands = _cross_entropy("cross_entropy", logits, labels, label_smoothing, weight, ignore_index)
    loss, _ = op(*operands)
    return loss


def cross_entropy_backward(
    logits: Any,
    labels: Any,
    *,
    label_smoothing: float = 0.0,
    weight: Any = None,
    ignore_index: int | None = None,
    grad_output: Any = 1.0,
) -> Any:
    """Gradient of `cross_entropy` to the logits: ``grad_output · (softmax(logits) - q) / N`` without weights.

    N counts the labels that are not ignored.

    Parameters
    ----------
    logits, labels, label_smoothing, weight, ignore_index : as given to `cross_entropy`
    grad_output : float or array of shape ()
        The gradient to the loss.

    Returns
    -------
    grad_logits : array of the shape of logits

    Raises
    ------
    TypeError, ValueError
        As `cross_entropy`.
    """
    op, operands = _cross_entropy("cross_entropy_backward", logits, labels, label_smoothing, weight, ignore_index)
    grad = _of_the_loss("cross_entropy_backward", grad_output, operands[0].dtype)
    grad_logits, *_ = op.gradient(operands, op(*operands), (grad, None))
    return grad_logits


def _cross_entropy(
    function: str, logits: Any, labels: Any, label_smoothing: float, weight: Any, ignore_index: int | None
) -> tuple[CrossEntropy | ProbabilityCrossEntropy, tuple[Any, Any, Any]]:
    """The op for these arguments, every one checked, and its operands."""
    logits, weight = operands(function, optional="weight", logits=logits, weight=weight)
    _check_classes(function, "logits", logits)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{function}: label_smoothing must be from 0 to 1, not {label_smoothing}")
    if weight is not None:
        errors.shape(function, "weight", weight, (logits.shape[1],))
    if not isinstance(labels, Operand):
        labels = errors.view(function, "labels", labels)
    if labels.dtype.kind == "f":
        return _with_probabilities(function, logits, labels, label_smoothing, weight, ignore_index)
    labels = _class_numbers(function, labels, logits, "integers or probabilities")
    if ignore_index is not None:
        ignore_index = errors.integer(function, "ignore_index", ignore_index, -(2**62))
    return CrossEntropy(float(label_smoothing), ignore_index), (logits, labels, weight)


def _of_the_loss(function: str, grad_output: Any, dtype: Any) -> np.ndarray:
    """The gradient to a loss, ready for an op."""
    return errors.view(function, "grad_output", grad_output).astype(dtype).reshape(())


def _with_probabilities(
    function: str, logits: Any, labels: Any, label_smoothing: float, weight: Any, ignore_index: int | None
) -> tuple[ProbabilityCrossEntropy, tuple[Any, Any, Any]]:
    if ignore_index is not None:
        raise ValueError(f"{function}: ignore_index needs integer labels, but labels are {labels.dtype}")
    labels = operand(function, "labels", labels)
    errors.same_dtype(function, logits=logits, labels=labels)
    errors.shape(function, "labels", labels, tuple(logits.shape))
    return ProbabilityCrossEntropy(float(label_smoothing)), (logits, labels, weight)


def _check_classes(function: str, argument: str, scores: Any) -> None:
    """Refuse scores without an axis of classes behind the batch's."""
    if len(scores.shape) < 2 or scores.shape[1] == 0:
        raise ValueError(f"{function}: {argument} must have shape (N, C) or (N, C, …), not {tuple(scores.shape)}")


def _class_numbers(function: str, labels: Any, scores: Any, expected: str) -> Any:
    """Integer labels ready for an op, one for each position of the scores."""
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{function}: labels must be {expected}, not {labels.dtype}")
    if not isinstance(labels, Operand):
        labels = np.ascontiguousarray(labels, np.int64)
    errors.shape(function, "labels", labels, (scores.shape[0], *scores.shape[2:]))
    return labels


def nll_loss(log_probabilities: Any, labels: Any) -> Any:
    """The mean over a batch of ``-log_probabilities[n, labels[n]]``, of shape ().

    Of ``log_softmax(logits)`` it is `cross_entropy`; of negated penalties, the mean penalty of the right class.

    Parameters
    ----------
    log_probabilities : array (N, C) or ``(N, C, *spatial)``
        float32 or float64.
    labels : integer array (N,) or ``(N, *spatial)``

    Returns
    -------
    array of shape ()
        NaN for an empty batch.

    Raises
    ------
    TypeError, ValueError
        For shapes and dtypes other than these, and labels that are no class.
    """
    return NegativeLikelihood()(*_scores_and_labels("nll_loss", log_probabilities, labels))


def nll_loss_backward(log_probabilities: Any, labels: Any, *, grad_output: Any = 1.0) -> Any:
    """Gradient of `nll_loss` to the log-probabilities: ``-grad_output / N`` at the labels, else 0.

    N is the number of labels.

    Parameters
    ----------
    log_probabilities, labels : as given to `nll_loss`
    grad_output : float or array of shape ()
        The gradient to the loss.

    Returns
    -------
    array of the shape of log_probabilities

    Raises
    ------
    TypeError, ValueError
        As `nll_loss`.
    """
    x, labels = _scores_and_labels("nll_loss_backward", log_probabilities, labels)
    op = NegativeLikelihood()
    grad = _of_the_loss("nll_loss_backward", grad_output, x.dtype)
    grad_x, _ = op.gradient((x, labels), (op(x, labels),), (grad,))
    return grad_x


def _scores_and_labels(function: str, log_probabilities: Any, labels: Any) -> tuple[Any, Any]:
    x = operand(function, "log_probabilities", log_probabilities)
    _check_classes(function, "log_probabilities", x)
    if not isinstance(labels, Operand):
        labels = errors.view(function, "labels", labels)
    return x, _class_numbers(function, labels, x, "integers")


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
    grad = _of_the_loss("mse_loss_backward", grad_output, prediction.dtype)
    grad_prediction, grad_target = MeanSquaredError().gradient((prediction, target), (None,), (grad,))
    return grad_prediction, grad_target


def _pair(function: str, prediction: Any, target: Any) -> list[Any]:
    pair = operands(function, prediction=prediction, target=target)
    errors.shape(function, "target", pair[1], tuple(pair[0].shape))
    return pair
