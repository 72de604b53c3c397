"""Normalisation on arrays, and its gradients."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convkit import errors
from convkit.functional.elementwise import add, multiply
from convkit.functional.operands import operand
from convkit.functional.shape import reshape
from convkit.ops.elementwise import sum_to
from convkit.ops.norm import BatchNorm, BatchNormGrad, FollowMoments, LocalResponseNorm, Normalize, values_per_channel
from convkit.parameter import Buffer

# --- over the batch -----------------------------------------------------------------------------------------


def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Give each channel mean 0 and variance 1, then a scale and a shift that are learned.

    ``y = (x - mean) / sqrt(variance + eps) · weight + bias``

    with the moments of the batch while training (the variance divided by the number of values m) and the running
    ones else.  Training moves the running moments:
    ``running ← (1 - momentum) · running + momentum · batch``, where the batch's variance is divided by m - 1.

    Parameters
    ----------
    x : array (N, C) or ``(N, C, *spatial)``
        float32 or float64.
    running_mean, running_var : array (C,), or None while training
        Overwritten while training: arrays at once, buffers of a layer when the run is over.
    weight, bias : array (C,), optional
        Of x's dtype.
    training : bool
        Which moments to use.
    momentum : float
        From 0 to 1.
    eps : float
        Above 0.

    Returns
    -------
    y : array of x's shape

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64, or mixed ones.
    ValueError
        For shapes that do not fit together, missing running moments, numbers out of range, and less than two values
        for each channel while training.

    References
    ----------
    Ioffe and Szegedy 2015, "Batch normalization", algorithms 1 and 2.
    """
    x, weight, bias, eps = _normalized("batch_norm", x, eps, weight=weight, bias=bias)
    momentum = errors.share("batch_norm", "momentum", momentum)
    if not errors.flag("batch_norm", "training", training):
        mean, variance = _running("batch_norm", x, running_mean, running_var)
        return Normalize(eps)(x, mean, variance, weight, bias)
    _check_batch("batch_norm", x)
    y, mean, variance = BatchNorm(eps)(x, weight, bias)
    if running_mean is not None or running_var is not None:
        places = _running("batch_norm", x, running_mean, running_var, written=True)
        new = FollowMoments(momentum, values_per_channel(x))(*places, mean, variance)
        _overwrite("batch_norm", "running_mean", running_mean, new[0])
        _overwrite("batch_norm", "running_var", running_var, new[1])
    return y


def batch_norm_backward(
    grad_output: Any,
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    training: bool = False,
    eps: float = 1e-5,
) -> tuple[Any, Any, Any]:
    """Gradients of `batch_norm`, from that to its output.

    With x̂ the normalised input and sums over the m values of a channel: ``dweight = Σ grad · x̂``,
    ``dbias = Σ grad``, and ``dx = weight / sqrt(variance + eps) · (grad - dbias / m - x̂ · dweight / m)``, without the
    last two terms where the running moments were used.

    Parameters
    ----------
    grad_output : array of x's shape and dtype
    x, running_mean, running_var, weight, training, eps : as given to `batch_norm`
        The running moments are needed only where it used them.

    Returns
    -------
    grad_x, grad_weight, grad_bias : arrays of x's shape and twice (C,)
        Also where there was no weight or bias.

    Raises
    ------
    TypeError, ValueError
        As `batch_norm`, and where `grad_output` has not x's shape.
    """
    function = "batch_norm_backward"
    grad = operand(function, "grad_output", grad_output)
    x, weight, _, eps = _normalized(function, x, eps, weight=weight, bias=None)
    errors.same_dtype(function, grad_output=grad, x=x)
    errors.shape(function, "grad_output", grad, tuple(x.shape))
    training = errors.flag(function, "training", training)
    if training:
        _check_batch(function, x)
        _, mean, variance = BatchNorm(eps)(x, None, None)
    else:
        mean, variance = _running(function, x, running_mean, running_var)
    grad_x, grad_weight, grad_bias = BatchNormGrad(eps, constant=not training)(grad, x, mean, variance, weight, None)
    return grad_x, grad_weight, grad_bias


def _normalized(function: str, x: Any, eps: float, *, weight: Any, bias: Any) -> tuple[Any, Any, Any, float]:
    """The operands of a normalisation of channels, and eps, checked."""
    x = operand(function, "x", x)
    if len(x.shape) < 2:
        raise ValueError(f"{function}: x must have 2 axes (N, C) or more, not shape {tuple(x.shape)}")
    weight, bias = _optional(function, x, (x.shape[1],), weight=weight, bias=bias)
    return x, weight, bias, errors.positive(function, "eps", eps)


def _running(function: str, x: Any, mean: Any, variance: Any, written: bool = False) -> list[Any]:
    ready = []
    for name, value in (("running_mean", mean), ("running_var", variance)):
        if value is None:
            raise ValueError(f"{function}: {name} must be given here, of shape ({x.shape[1]},)")
        if written and not isinstance(value, Buffer):
            _overwritten(function, name, value)
        moment = operand(function, name, value)
        errors.same_dtype(function, x=x, **{name: moment})
        errors.shape(function, name, moment, (x.shape[1],))
        ready.append(moment)
    return ready


def _overwritten(function: str, argument: str, value: Any) -> np.ndarray:
    """The memory of a running moment that came as an array, to write to; what NumPy had to copy has none."""
    place = errors.view(function, argument, value)
    if not place.flags.writeable or (place is not value and place.flags.owndata):
        raise TypeError(f"{function}: {argument} is overwritten while training: it must be a writeable array")
    return place


def _overwrite(function: str, argument: str, place: Any, values: Any) -> None:
    if isinstance(place, Buffer):
        place.update(values)
    else:
        _overwritten(function, argument, place)[...] = values


def _check_batch(function: str, x: Any) -> None:
    if values_per_channel(x) < 2:
        raise ValueError(
            f"{function}: training needs two values or more for each channel, but x has shape {tuple(x.shape)}"
        )


# --- over parts of one sample -------------------------------------------------------------------------------


def group_norm(x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Normalise each group of channels of each sample by its own moments, then scale and shift each channel.

    ``y = (x - mean) / sqrt(variance + eps) · weight + bias``, the moments over the channels of a group and all
    positions.  One group is layer normalisation of the whole sample, C groups are instance normalisation.

    Parameters
    ----------
    x : array ``(N, C, *spatial)``
        float32 or float64.
    num_groups : int
        Divides C.
    weight, bias : array (C,), optional
        Of x's dtype.
    eps : float
        Above 0.

    Returns
    -------
    y : array of x's shape

    Raises
    ------
    TypeError, ValueError
        For other dtypes, shapes that do not fit together, and numbers out of range.

    References
    ----------
    Wu and He 2018, "Group normalization", equations 1, 2 and 7.
    """
    x, weight, bias, eps = _normalized("group_norm", x, eps, weight=weight, bias=bias)
    rows = _group_rows("group_norm", x, num_groups)
    return _affine(_standardized(x, rows, eps), _per_channel(weight, x), _per_channel(bias, x))


def group_norm_backward(
    grad_output: Any, x: Any, num_groups: int, weight: Any = None, eps: float = 1e-5
) -> tuple[Any, Any, Any]:
    """Gradients of `group_norm`: (grad_x, grad_weight, grad_bias), the last two of shape (C,).

    Parameters
    ----------
    grad_output : array of x's shape and dtype
    x, num_groups, weight, eps : as given to `group_norm`

    Returns
    -------
    grad_x, grad_weight, grad_bias : arrays of x's shape and twice (C,)
        Also where there was no weight or bias.

    Raises
    ------
    TypeError, ValueError
        As `group_norm`, and where `grad_output` has not x's shape.
    """
    function = "group_norm_backward"
    x, weight, _, eps = _normalized(function, x, eps, weight=weight, bias=None)
    rows = _group_rows(function, x, num_groups)
    shape = (1, x.shape[1], *(1,) * (len(x.shape) - 2))
    grad_x, *rest = _standardized_backward(function, grad_output, x, rows, _per_channel(weight, x), shape, eps)
    return grad_x, *(values.reshape(x.shape[1]) for values in rest)


def layer_norm(x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Normalise over the last axes by their own moments, then scale and shift each place.

    ``y = (x - mean) / sqrt(variance + eps) · weight + bias``

    Parameters
    ----------
    x : array ``(*leading, *normalized_shape)``
        float32 or float64.
    normalized_shape : int or sequence of int
        The sizes of the last axes.
    weight, bias : array of `normalized_shape`, optional
        Of x's dtype.
    eps : float
        Above 0.

    Returns
    -------
    y : array of x's shape

    Raises
    ------
    TypeError, ValueError
        For other dtypes, shapes that do not fit together, and numbers out of range.

    References
    ----------
    Ba, Kiros and Hinton 2016, "Layer normalization", equation 3.
    """
    x, weight, bias, shape, eps = _layer("layer_norm", x, normalized_shape, weight, bias, eps)
    return _affine(_standardized(x, _layer_rows(x, shape), eps), weight, bias)


def layer_norm_backward(
    grad_output: Any, x: Any, normalized_shape: Any, weight: Any = None, eps: float = 1e-5
) -> tuple[Any, Any, Any]:
    """Gradients of `layer_norm`: (grad_x, grad_weight, grad_bias), the last two of `normalized_shape`.

    Parameters
    ----------
    grad_output : array of x's shape and dtype
    x, normalized_shape, weight, eps : as given to `layer_norm`

    Returns
    -------
    grad_x, grad_weight, grad_bias : arrays of x's shape and twice `normalized_shape`
        Also where there was no weight or bias.

    Raises
    ------
    TypeError, ValueError
        As `layer_norm`, and where `grad_output` has not x's shape.
    """
    function = "layer_norm_backward"
    x, weight, _, shape, eps = _layer(function, x, normalized_shape, weight, None, eps)
    return _standardized_backward(function, grad_output, x, _layer_rows(x, shape), weight, shape, eps)


def _group_rows(function: str, x: Any, num_groups: Any) -> tuple[int, int, int]:
    groups = errors.integer(function, "num_groups", num_groups, 1)
    channels = x.shape[1]
    if channels % groups:
        raise ValueError(f"{function}: num_groups {groups} does not divide the {channels} channels of x")
    return 1, x.shape[0] * groups, channels // groups * prod(x.shape[2:])


def _layer(
    function: str, x: Any, normalized_shape: Any, weight: Any, bias: Any, eps: float
) -> tuple[Any, Any, Any, tuple[int, ...], float]:
    x = operand(function, "x", x)
    wanted = tuple(normalized_shape) if errors.is_listing(normalized_shape) else (normalized_shape,)
    shape = tuple(errors.integer(function, "normalized_shape", n, 1) for n in wanted)
    if not shape or tuple(x.shape[-len(shape) :]) != shape:
        raise ValueError(f"{function}: x must end with normalized_shape {shape}, but has shape {tuple(x.shape)}")
    weight, bias = _optional(function, x, shape, weight=weight, bias=bias)
    return x, weight, bias, shape, errors.positive(function, "eps", eps)


def _optional(function: str, x: Any, shape: tuple[int, ...], **given: Any) -> list[Any]:
    """Operands that may be None, else of this shape and x's dtype."""
    ready = {name: None if value is None else operand(function, name, value) for name, value in given.items()}
    errors.same_dtype(function, x=x, **ready)
    for name, value in ready.items():
        if value is not None:
            errors.shape(function, name, value, shape)
    return list(ready.values())


def _layer_rows(x: Any, shape: tuple[int, ...]) -> tuple[int, int, int]:
    return 1, prod(x.shape[: len(x.shape) - len(shape)]), prod(shape)


def _standardized(x: Any, rows: tuple[int, int, int], eps: float) -> Any:
    """x with mean 0 and variance 1 in each row: batch normalisation of one sample with a channel for each row."""
    y, _, _ = BatchNorm(eps)(reshape(x, rows), None, None)
    return reshape(y, tuple(x.shape))


def _affine(y: Any, weight: Any, bias: Any) -> Any:
    y = y if weight is None else multiply(y, weight)
    return y if bias is None else add(y, bias)


def _per_channel(values: Any, x: Any) -> Any:
    """(C,) as (C, 1, …), to broadcast over the positions of x."""
    return None if values is None else reshape(values, (x.shape[1], *(1,) * (len(x.shape) - 2)))


def _standardized_backward(
    function: str,
    grad_output: Any,
    x: Any,
    rows: tuple[int, int, int],
    weight: Any,
    shape: tuple[int, ...],
    eps: float,
) -> tuple[Any, Any, Any]:
    """Gradients to x, to the weight and to the bias; the last two are sums over what `shape` lacks."""
    grad = operand(function, "grad_output", grad_output)
    errors.same_dtype(function, grad_output=grad, x=x)
    errors.shape(function, "grad_output", grad, tuple(x.shape))
    x_rows = reshape(x, rows)
    y, mean, variance = BatchNorm(eps)(x_rows, None, None)
    inner = grad if weight is None else multiply(grad, weight)
    grad_x, _, _ = BatchNormGrad(eps)(reshape(inner, rows), x_rows, mean, variance, None, None)
    grad_weight = sum_to(multiply(grad, reshape(y, tuple(x.shape))), shape)
    grad_bias = sum_to(grad, shape)
    return reshape(grad_x, tuple(x.shape)), grad_weight, grad_bias if grad_bias is not grad else grad.copy()


# --- by neighbouring channels -------------------------------------------------------------------------------


def local_response_norm(
    x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, *, average: bool = True
) -> Any:
    """Divide each value by a power of what its neighbours in other channels add up to.

    ``y[c] = x[c] / (k + a · Σ_j x[j]²)^beta``, over the channels j from c - size // 2 to c + (size - 1) // 2 that
    exist, with ``a = alpha / size``; or ``a = alpha`` where not `average`.

    Parameters
    ----------
    x : array ``(N, C, *spatial)``
        float32 or float64.
    size : int
        Channels that a window spans.
    alpha, beta, k : float
        At least 0; k above 0.
    average : bool
        Whether alpha multiplies the window's mean of squares (divided by `size` at the borders too), as in PyTorch
        and ONNX, or their sum, as in the paper: there alpha is 1e-4 where these need 5e-4 for the same.

    Returns
    -------
    y : array of x's shape

    Raises
    ------
    TypeError, ValueError
        For other dtypes than float32 and float64, less than 3 axes, and numbers out of range.

    References
    ----------
    Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural networks",
    section 3.3: size 5, alpha 1e-4, beta 0.75, k 2 and the sum.
    """
    x, op = _local_response("local_response_norm", x, size, alpha, beta, k, average)
    return op(x)


def local_response_norm_backward(
    grad_output: Any,
    x: Any,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    *,
    average: bool = True,
) -> Any:
    """Gradient of `local_response_norm` to x.

    With ``d = k + a · Σ x²`` and a sum over the channels c in whose windows i lies:
    ``dx[i] = grad[i] · d[i]^-beta - 2 · a · beta · x[i] · Σ_c grad[c] · x[c] · d[c]^(-beta - 1)``.

    Parameters
    ----------
    grad_output : array of x's shape and dtype
    x, size, alpha, beta, k, average : as given to `local_response_norm`

    Returns
    -------
    grad_x : array of x's shape

    Raises
    ------
    TypeError, ValueError
        As `local_response_norm`, and where `grad_output` has not x's shape.
    """
    function = "local_response_norm_backward"
    grad = operand(function, "grad_output", grad_output)
    x, op = _local_response(function, x, size, alpha, beta, k, average)
    errors.same_dtype(function, grad_output=grad, x=x)
    errors.shape(function, "grad_output", grad, tuple(x.shape))
    [grad_x] = op.gradient((x,), (None,), (grad,))
    return grad_x


def _local_response(
    function: str, x: Any, size: Any, alpha: float, beta: float, k: float, average: bool
) -> tuple[Any, LocalResponseNorm]:
    x = operand(function, "x", x)
    if len(x.shape) < 3:
        raise ValueError(f"{function}: x must have 3 axes (N, C, L) or more, not shape {tuple(x.shape)}")
    size = errors.integer(function, "size", size, 1)
    alpha = errors.number(function, "alpha", alpha)
    factor = alpha / size if errors.flag(function, "average", average) else alpha
    beta, k = errors.number(function, "beta", beta), errors.positive(function, "k", k)
    if x.dtype.type(k) == 0:
        raise ValueError(f"{function}: k must be a number above 0 in {x.dtype}, too, not {k}")
    return x, LocalResponseNorm(size, factor, beta, k)
