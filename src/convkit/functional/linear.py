"""Dense layers and matrix products."""

from __future__ import annotations

from typing import Any

from convkit import errors
from convkit.functional.operands import operands
from convkit.functional.shape import reshape
from convkit.ops.linear import Linear, MatMul


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """A dense layer: ``y = x · weightᵀ + bias``.

    Parameters
    ----------
    x : array (..., I)
        float32 or float64.
    weight : array (O, I)
        Of the same dtype.
    bias : array (O,), optional

    Returns
    -------
    array (..., O)

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64, or mixed ones.
    ValueError
        For shapes that do not fit together.
    """
    x, weight, bias = operands("linear", optional="bias", x=x, weight=weight, bias=bias)
    _check("linear", x, weight)
    if bias is not None:
        errors.shape("linear", "bias", bias, (weight.shape[0],))
    if len(x.shape) == 2:
        return Linear()(x, weight, bias)
    rows = reshape(x, (_rows(x), x.shape[-1]))
    return reshape(Linear()(rows, weight, bias), (*x.shape[:-1], weight.shape[0]))


def linear_backward(grad_output: Any, x: Any, weight: Any) -> tuple[Any, Any, Any]:
    """Gradients of `linear`: ``dx = grad · weight``, ``dweight = gradᵀ · x``, ``dbias = Σ grad``.

    Parameters
    ----------
    grad_output : array (..., O)
    x, weight : as given to `linear`

    Returns
    -------
    grad_x, grad_weight, grad_bias : arrays of the shapes of x, weight and bias

    Raises
    ------
    TypeError, ValueError
        As `linear`, and where `grad_output` has not the output's shape.
    """
    grad, x, weight = operands("linear_backward", grad_output=grad_output, x=x, weight=weight)
    _check("linear_backward", x, weight)
    errors.shape("linear_backward", "grad_output", grad, (*x.shape[:-1], weight.shape[0]))
    rows = reshape(x, (_rows(x), x.shape[-1]))
    grad = reshape(grad, (_rows(grad), weight.shape[0]))
    grad_x, grad_weight, grad_bias = Linear().gradient((rows, weight, None), (None,), (grad,))
    return reshape(grad_x, x.shape), grad_weight, grad_bias


def _rows(x: Any) -> int:
    rows = 1
    for n in x.shape[:-1]:
        rows *= n
    return rows


def _check(function: str, x: Any, weight: Any) -> None:
    errors.dimensions(function, "weight", weight, 2, "(O, I)")
    if not x.shape or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"{function}: weight expects {weight.shape[1]} input features (shape {tuple(weight.shape)}) "
            f"but x has shape {tuple(x.shape)}"
        )


def matmul(a: Any, b: Any) -> Any:
    """The product of two matrices: ``y[m, n] = Σ_k a[m, k] · b[k, n]``.

    Parameters
    ----------
    a : array (M, K)
        float32 or float64.
    b : array (K, N)
        Of the same dtype.

    Returns
    -------
    array (M, N)

    Raises
    ------
    TypeError, ValueError
        For dtypes other than float32 and float64, or mixed ones, and shapes that do not fit together.
    """
    a, b = operands("matmul", a=a, b=b)
    errors.dimensions("matmul", "a", a, 2, "(M, K)")
    errors.dimensions("matmul", "b", b, 2, "(K, N)")
    if a.shape[1] != b.shape[0]:
        raise ValueError(f"matmul: a has {a.shape[1]} columns (shape {a.shape}) but b has {b.shape[0]} rows")
    return MatMul()(a, b)
