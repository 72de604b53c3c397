"""Activations, arithmetic and dropout, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from convkit import errors
from convkit.functional.operands import operand, operands
from convkit.ops.base import Operand, active_recorder
from convkit.ops.elementwise import (
    Activation,
    Add,
    Arithmetic,
    ChannelDropout,
    Dropout,
    Multiply,
    Relu,
    Scale,
    Shift,
    Sigmoid,
    Subtract,
    Tanh,
)
from convkit.seeding import generator


def relu(x: Any) -> Any:
    """``max(x, 0)``; NaN stays NaN.

    Parameters
    ----------
    x : array of float32 or float64, any shape

    Returns
    -------
    array of x's shape

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64.
    """
    return Relu()(operand("relu", "x", x))


def relu_backward(grad_output: Any, x: Any) -> Any:
    """Gradient of `relu` to x: grad_output where x > 0, else 0.

    Parameters
    ----------
    grad_output : array of x's shape and dtype
    x : as given to `relu`

    Returns
    -------
    grad_x : array of x's shape

    Raises
    ------
    TypeError, ValueError
        As `relu`, for mixed dtypes, and where `grad_output` has not x's shape.
    """
    return _backward("relu_backward", Relu(), grad_output, x)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent.

    Parameters
    ----------
    x : array of float32 or float64, any shape

    Returns
    -------
    array of x's shape

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64.
    """
    return Tanh()(operand("tanh", "x", x))


def tanh_backward(grad_output: Any, x: Any) -> Any:
    """Gradient of `tanh` to x: ``grad_output · (1 - tanh²(x))``.

    Parameters
    ----------
    grad_output : array of x's shape and dtype
    x : as given to `tanh`

    Returns
    -------
    grad_x : array of x's shape

    Raises
    ------
    TypeError, ValueError
        As `tanh`, for mixed dtypes, and where `grad_output` has not x's shape.
    """
    return _backward("tanh_backward", Tanh(), grad_output, x)


def sigmoid(x: Any) -> Any:
    """The logistic function ``1 / (1 + exp(-x))``.

    Parameters
    ----------
    x : array of float32 or float64, any shape

    Returns
    -------
    array of x's shape

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64.
    """
    return Sigmoid()(operand("sigmoid", "x", x))


def sigmoid_backward(grad_output: Any, x: Any) -> Any:
    """Gradient of `sigmoid` to x: ``grad_output · σ(x) · (1 - σ(x))``.

    Parameters
    ----------
    grad_output : array of x's shape and dtype
    x : as given to `sigmoid`

    Returns
    -------
    grad_x : array of x's shape

    Raises
    ------
    TypeError, ValueError
        As `sigmoid`, for mixed dtypes, and where `grad_output` has not x's shape.
    """
    return _backward("sigmoid_backward", Sigmoid(), grad_output, x)


def _backward(function: str, op: Activation, grad: Any, x: Any) -> Any:
    grad, x = operands(function, grad_output=grad, x=x)
    errors.shape(function, "grad_output", grad, tuple(x.shape))
    [grad_x] = op.gradient((x,), (op(x),), (grad,))
    return grad_x


def add(a: Any, b: Any) -> Any:
    """``a + b``, broadcast as NumPy does; either may be a number.

    Parameters
    ----------
    a, b : arrays of one dtype, float32 or float64, or one of them a number
        A number takes the array's dtype.

    Returns
    -------
    array of the shape that a and b broadcast to

    Raises
    ------
    TypeError
        For other or mixed dtypes.
    ValueError
        For shapes that do not broadcast.
    """
    if _is_number(b):
        return Shift(errors.real("add", "b", b))(operand("add", "a", a))
    if _is_number(a):
        return Shift(errors.real("add", "a", a))(operand("add", "b", b))
    return _arithmetic("add", Add(), a, b)


def subtract(a: Any, b: Any) -> Any:
    """``a - b``, broadcast as NumPy does; either may be a number.

    Parameters
    ----------
    a, b : arrays of one dtype, float32 or float64, or one of them a number
        A number takes the array's dtype.

    Returns
    -------
    array of the shape that a and b broadcast to

    Raises
    ------
    TypeError
        For other or mixed dtypes.
    ValueError
        For shapes that do not broadcast.
    """
    if _is_number(b):
        return Shift(-errors.real("subtract", "b", b))(operand("subtract", "a", a))
    if _is_number(a):
        return Shift(errors.real("subtract", "a", a), negative=True)(operand("subtract", "b", b))
    return _arithmetic("subtract", Subtract(), a, b)


def multiply(a: Any, b: Any) -> Any:
    """``a · b``, broadcast as NumPy does; either may be a number.

    Parameters
    ----------
    a, b : arrays of one dtype, float32 or float64, or one of them a number
        A number takes the array's dtype.

    Returns
    -------
    array of the shape that a and b broadcast to

    Raises
    ------
    TypeError
        For other or mixed dtypes.
    ValueError
        For shapes that do not broadcast.
    """
    if _is_number(b):
        return Scale(errors.real("multiply", "b", b))(operand("multiply", "a", a))
    if _is_number(a):
        return Scale(errors.real("multiply", "a", a))(operand("multiply", "b", b))
    return _arithmetic("multiply", Multiply(), a, b)


def _arithmetic(function: str, op: Arithmetic, a: Any, b: Any) -> Any:
    a, b = operands(function, a=a, b=b)
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise ValueError(f"{function}: shapes {a.shape} of a and {b.shape} of b do not fit together") from None
    return op(a, b)


def _is_number(value: Any) -> bool:
    return not isinstance(value, Operand) and isinstance(value, (int, float, np.number)) and np.ndim(value) == 0


def dropout(x: Any, p: float = 0.5, *, seed: int | None = None) -> Any:
    """Zero each value with probability p and scale the others by 1 / (1 - p).

    Parameters
    ----------
    x : array of float32 or float64, any shape
    p : float
        From 0 to 1.
    seed : int, optional
        What the mask is drawn from; by default the process-wide generator.  In a `forward` it follows the seed of the
        run and the number of the step instead, and without training nothing is dropped.

    Returns
    -------
    array of x's shape

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64, and a seed that is no integer.
    ValueError
        For p outside of [0, 1], and a seed below 0.

    References
    ----------
    Srivastava et al. 2014.
    """
    return _dropout("dropout", "x", x, p, seed)


def dropout_backward(grad_output: Any, p: float = 0.5, *, seed: int) -> Any:
    """Gradient of `dropout` with the same p and seed: the same mask and scale, applied to grad_output.

    Parameters
    ----------
    grad_output : array of the shape and dtype of `dropout`'s x
    p : float
    seed : int
        The one given to `dropout`.

    Returns
    -------
    grad_x : array of grad_output's shape

    Raises
    ------
    TypeError, ValueError
        As `dropout`.
    """
    seed = errors.integer("dropout_backward", "seed", seed, 0)
    return _dropout("dropout_backward", "grad_output", grad_output, p, seed)


def dropout2d(x: Any, p: float = 0.5, *, seed: int | None = None) -> Any:
    """Zero each channel of each sample as a whole with probability p and scale the others by 1 / (1 - p).

    Parameters
    ----------
    x : array ``(N, C, *spatial)``
        float32 or float64.
    p, seed : as for `dropout`

    Returns
    -------
    array of x's shape

    Raises
    ------
    TypeError, ValueError
        As `dropout`, and for less than 3 axes.

    References
    ----------
    Tompson et al. 2015, "Efficient object localization using convolutional networks", section 3.2.
    """
    return _channel_dropout("dropout2d", "x", x, p, seed)


def dropout2d_backward(grad_output: Any, p: float = 0.5, *, seed: int) -> Any:
    """Gradient of `dropout2d` with the same p and seed: the same mask and scale, applied to grad_output.

    Parameters
    ----------
    grad_output : array of the shape and dtype of `dropout2d`'s x
    p, seed : as given to `dropout2d`

    Returns
    -------
    grad_x : array of grad_output's shape

    Raises
    ------
    TypeError, ValueError
        As `dropout2d`.
    """
    seed = errors.integer("dropout2d_backward", "seed", seed, 0)
    return _channel_dropout("dropout2d_backward", "grad_output", grad_output, p, seed)


def _channel_dropout(function: str, argument: str, x: Any, p: float, seed: int | None) -> Any:
    x = operand(function, argument, x)
    if len(x.shape) < 3:
        raise ValueError(f"{function}: {argument} must have 3 axes (N, C, L) or more, not shape {tuple(x.shape)}")
    return _dropped(function, ChannelDropout, x, p, seed)


def _dropout(function: str, argument: str, x: Any, p: float, seed: int | None) -> Any:
    return _dropped(function, Dropout, operand(function, argument, x), p, seed)


def _dropped(function: str, dropping: type[Dropout | ChannelDropout], x: Any, p: float, seed: int | None) -> Any:
    op = dropping(errors.share(function, "p", p))
    recorder = active_recorder()
    if recorder is not None:
        return op(x, recorder.random_state()) if recorder.training else x
    drawn = int(generator().integers(2**62)) if seed is None else errors.integer(function, "seed", seed, 0)
    return op(x, np.array([drawn, 0, 0], np.int64))
