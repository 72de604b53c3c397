"""Activations with constants or parameters of their own, and their gradients."""

from __future__ import annotations

from typing import Any

from convkit import errors
from convkit.functional.operands import operand, operands
from convkit.ops.activation import Map, PRelu


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """``x`` where positive, else ``negative_slope · x``; NaN stays NaN.

    Parameters
    ----------
    x : array of float32 or float64, any shape
    negative_slope : float
        Finite, and not negative.

    Returns
    -------
    array of x's shape

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64.
    ValueError
        For constants out of range.

    References
    ----------
    Maas, Hannun and Ng 2013, "Rectifier nonlinearities improve neural network acoustic models", equation 2.
    """
    return _leaky_relu("leaky_relu", negative_slope)(operand("leaky_relu", "x", x))


def leaky_relu_backward(grad_output: Any, x: Any, negative_slope: float = 0.01) -> Any:
    """Gradient of `leaky_relu` to x: ``grad_output`` where x > 0, else ``negative_slope · grad_output``.

    Parameters
    ----------
    grad_output : array of x's shape and dtype
    x, negative_slope : as given to `leaky_relu`

    Returns
    -------
    grad_x : array of x's shape

    Raises
    ------
    TypeError, ValueError
        As `leaky_relu`, for mixed dtypes, and where `grad_output` has not x's shape.
    """
    return _backward("leaky_relu_backward", _leaky_relu("leaky_relu_backward", negative_slope), grad_output, x)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """``x`` where positive, else ``alpha · (exp(x) - 1)``.

    Parameters
    ----------
    x : array of float32 or float64, any shape
    alpha : float
        Finite, and not negative.

    Returns
    -------
    array of x's shape

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64.
    ValueError
        For constants out of range.

    References
    ----------
    Clevert, Unterthiner and Hochreiter 2016, "Fast and accurate deep network learning by exponential linear
    units", equation 15.
    """
    return _elu("elu", alpha)(operand("elu", "x", x))


def elu_backward(grad_output: Any, x: Any, alpha: float = 1.0) -> Any:
    """Gradient of `elu` to x: ``grad_output`` where x > 0, else ``grad_output · alpha · exp(x)``.

    Parameters
    ----------
    grad_output : array of x's shape and dtype
    x, alpha : as given to `elu`

    Returns
    -------
    grad_x : array of x's shape

    Raises
    ------
    TypeError, ValueError
        As `elu`, for mixed dtypes, and where `grad_output` has not x's shape.
    """
    return _backward("elu_backward", _elu("elu_backward", alpha), grad_output, x)


def selu(x: Any) -> Any:
    """``λ · x`` where positive, else ``λ · α · (exp(x) - 1)``, with λ ≈ 1.0507 and α ≈ 1.6733.

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

    References
    ----------
    Klambauer et al. 2017, "Self-normalizing neural networks", equations 2 and 14.
    """
    return Map("selu")(operand("selu", "x", x))


def selu_backward(grad_output: Any, x: Any) -> Any:
    """Gradient of `selu` to x: ``λ · grad_output`` where x > 0, else ``grad_output · λ · α · exp(x)``.

    Parameters
    ----------
    grad_output : array of x's shape and dtype
    x : as given to `selu`

    Returns
    -------
    grad_x : array of x's shape

    Raises
    ------
    TypeError, ValueError
        As `selu`, for mixed dtypes, and where `grad_output` has not x's shape.
    """
    return _backward("selu_backward", Map("selu"), grad_output, x)


def silu(x: Any) -> Any:
    """``x · σ(x)``, σ the logistic function; also called swish.

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

    References
    ----------
    Elfwing, Uchibe and Doya 2018, "Sigmoid-weighted linear units", equations 3 and 5.
    """
    return Map("silu")(operand("silu", "x", x))


def silu_backward(grad_output: Any, x: Any) -> Any:
    """Gradient of `silu` to x: ``grad_output · σ(x) · (1 + x · (1 - σ(x)))``.

    Parameters
    ----------
    grad_output : array of x's shape and dtype
    x : as given to `silu`

    Returns
    -------
    grad_x : array of x's shape

    Raises
    ------
    TypeError, ValueError
        As `silu`, for mixed dtypes, and where `grad_output` has not x's shape.
    """
    return _backward("silu_backward", Map("silu"), grad_output, x)


def softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """``log(1 + exp(beta · x)) / beta``, and x itself where beta · x is above the threshold.

    Parameters
    ----------
    x : array of float32 or float64, any shape
    beta : float
        Finite, and above 0.
    threshold : float
        Finite, and not negative.

    Returns
    -------
    array of x's shape

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64.
    ValueError
        For constants out of range.

    References
    ----------
    Dugas et al. 2001, "Incorporating second-order functional knowledge for better option pricing", section 2.
    """
    return _softplus("softplus", beta, threshold)(operand("softplus", "x", x))


def softplus_backward(grad_output: Any, x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """Gradient of `softplus` to x: ``grad_output · σ(beta · x)``, and grad_output above the threshold.

    Parameters
    ----------
    grad_output : array of x's shape and dtype
    x, beta, threshold : as given to `softplus`

    Returns
    -------
    grad_x : array of x's shape

    Raises
    ------
    TypeError, ValueError
        As `softplus`, for mixed dtypes, and where `grad_output` has not x's shape.
    """
    return _backward("softplus_backward", _softplus("softplus_backward", beta, threshold), grad_output, x)


def hardsigmoid(x: Any) -> Any:
    """``min(max(x / 6 + 1/2, 0), 1)``, a sigmoid of straight lines.

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

    References
    ----------
    Howard et al. 2019, "Searching for MobileNetV3", section 5.2.
    """
    return Map("hardsigmoid")(operand("hardsigmoid", "x", x))


def hardsigmoid_backward(grad_output: Any, x: Any) -> Any:
    """Gradient of `hardsigmoid` to x: ``grad_output / 6`` where -3 < x < 3, else 0.

    Parameters
    ----------
    grad_output : array of x's shape and dtype
    x : as given to `hardsigmoid`

    Returns
    -------
    grad_x : array of x's shape

    Raises
    ------
    TypeError, ValueError
        As `hardsigmoid`, for mixed dtypes, and where `grad_output` has not x's shape.
    """
    return _backward("hardsigmoid_backward", Map("hardsigmoid"), grad_output, x)


def hardswish(x: Any) -> Any:
    """``x · hardsigmoid(x)``.

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

    References
    ----------
    Howard et al. 2019, "Searching for MobileNetV3", section 5.2.
    """
    return Map("hardswish")(operand("hardswish", "x", x))


def hardswish_backward(grad_output: Any, x: Any) -> Any:
    """Gradient of `hardswish` to x: ``grad_output · (x / 3 + 1/2)`` where -3 < x < 3, 0 below and grad_output above.

    Parameters
    ----------
    grad_output : array of x's shape and dtype
    x : as given to `hardswish`

    Returns
    -------
    grad_x : array of x's shape

    Raises
    ------
    TypeError, ValueError
        As `hardswish`, for mixed dtypes, and where `grad_output` has not x's shape.
    """
    return _backward("hardswish_backward", Map("hardswish"), grad_output, x)


def hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """``min(max(x, min_val), max_val)``.

    Parameters
    ----------
    x : array of float32 or float64, any shape
    min_val, max_val : float
        The first below the second.

    Returns
    -------
    array of x's shape

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64.
    ValueError
        For constants out of range.

    References
    ----------
    Collobert 2004, "Large scale machine learning", section 5.2.
    """
    return _hardtanh("hardtanh", min_val, max_val)(operand("hardtanh", "x", x))


def hardtanh_backward(grad_output: Any, x: Any, min_val: float = -1.0, max_val: float = 1.0) -> Any:
    """Gradient of `hardtanh` to x: ``grad_output`` where min_val < x < max_val, else 0.

    Parameters
    ----------
    grad_output : array of x's shape and dtype
    x, min_val, max_val : as given to `hardtanh`

    Returns
    -------
    grad_x : array of x's shape

    Raises
    ------
    TypeError, ValueError
        As `hardtanh`, for mixed dtypes, and where `grad_output` has not x's shape.
    """
    return _backward("hardtanh_backward", _hardtanh("hardtanh_backward", min_val, max_val), grad_output, x)


def gelu(x: Any, approximate: str = "none") -> Any:
    """``x · Φ(x)``, Φ the distribution function of the normal distribution.

    Parameters
    ----------
    x : array of float32 or float64, any shape
    approximate : {'none', 'tanh'}
        'tanh' takes ``(1 + tanh(√(2/π) · (x + 0.044715 · x³))) / 2`` for Φ.

    Returns
    -------
    array of x's shape

    Raises
    ------
    TypeError, ValueError
        For dtypes other than float32 and float64, and an unknown approximation.

    References
    ----------
    Hendrycks and Gimpel 2016, "Gaussian error linear units", section 2.
    """
    return _gelu("gelu", approximate)(operand("gelu", "x", x))


def gelu_backward(grad_output: Any, x: Any, approximate: str = "none") -> Any:
    """Gradient of `gelu` to x: ``grad_output · (Φ(x) + x · φ(x))``, φ the density; of the approximation, its own slope.

    Parameters
    ----------
    grad_output : array of x's shape and dtype
    x, approximate : as given to `gelu`

    Returns
    -------
    grad_x : array of x's shape

    Raises
    ------
    TypeError, ValueError
        As `gelu`, for mixed dtypes, and where `grad_output` has not x's shape.
    """
    return _backward("gelu_backward", _gelu("gelu_backward", approximate), grad_output, x)


def prelu(x: Any, weight: Any) -> Any:
    """``x`` where positive, else ``weight · x``, with a weight that is learned.

    Parameters
    ----------
    x : array of float32 or float64, any shape
    weight : array (1,) or (C,)
        One for all values, or one for each channel of axis 1.

    Returns
    -------
    array of x's shape

    Raises
    ------
    TypeError, ValueError
        For other or mixed dtypes, and a weight of another shape.

    References
    ----------
    He et al. 2015, "Delving deep into rectifiers", equation 1.
    """
    return PRelu()(*_prelu("prelu", x, weight))


def prelu_backward(grad_output: Any, x: Any, weight: Any) -> tuple[Any, Any]:
    """Gradients of `prelu`: ``grad · (1 or weight)`` to x, the sum of ``grad · x`` over x ≤ 0 to the weight.

    Parameters
    ----------
    grad_output : array of x's shape and dtype
    x, weight : as given to `prelu`

    Returns
    -------
    grad_x, grad_weight : arrays of the shapes of x and weight

    Raises
    ------
    TypeError, ValueError
        As `prelu`, and where `grad_output` has not x's shape.
    """
    function = "prelu_backward"
    grad = operand(function, "grad_output", grad_output)
    x, weight = _prelu(function, x, weight)
    errors.same_dtype(function, grad_output=grad, x=x)
    errors.shape(function, "grad_output", grad, tuple(x.shape))
    grad_x, grad_weight = PRelu().gradient((x, weight), (None,), (grad,))
    return grad_x, grad_weight


def _leaky_relu(function: str, negative_slope: float) -> Map:
    return Map("leaky_relu", errors.number(function, "negative_slope", negative_slope))


def _elu(function: str, alpha: float) -> Map:
    return Map("elu", errors.number(function, "alpha", alpha))


def _softplus(function: str, beta: float, threshold: float) -> Map:
    return Map("softplus", errors.positive(function, "beta", beta), errors.number(function, "threshold", threshold))


def _hardtanh(function: str, min_val: float, max_val: float) -> Map:
    return Map("hardtanh", *errors.bounds(function, min_val=min_val, max_val=max_val))


def _gelu(function: str, approximate: str) -> Map:
    errors.one_of(function, "approximate", approximate, ("none", "tanh"))
    return Map("gelu" if approximate == "none" else "gelu_tanh")


def _prelu(function: str, x: Any, weight: Any) -> tuple[Any, Any]:
    x, weight = operands(function, x=x, weight=weight)
    channels = tuple(x.shape[1:2])
    if tuple(weight.shape) not in ((1,), channels):
        expected = f"(1,) or {channels}" if channels else "(1,)"
        raise ValueError(f"{function}: weight must have shape {expected}, not {tuple(weight.shape)}")
    return x, weight


def _backward(function: str, op: Map, grad: Any, x: Any) -> Any:
    grad, x = operands(function, grad_output=grad, x=x)
    errors.shape(function, "grad_output", grad, tuple(x.shape))
    [grad_x] = op.gradient((x,), (None,), (grad,))
    return grad_x
