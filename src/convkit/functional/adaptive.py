"""Pooling to a size that is given, and over whole planes, on arrays (N, C, *spatial), and its gradients."""

from __future__ import annotations

from typing import Any

from convkit import errors, geometry
from convkit.functional.conv import ANY_LAYOUT, LAYOUTS
from convkit.functional.operands import operand, operands
from convkit.functional.shape import reshape
from convkit.geometry import GeometryError, Windows
from convkit.ops.base import Primitive
from convkit.ops.pool import (
    AdaptiveAvgPool,
    AdaptiveAvgPoolGrad,
    AdaptiveMaxPool,
    AvgPool,
    AvgPoolGrad,
    MaxPool,
)

# --- to a given size ----------------------------------------------------------------------------------------


def adaptive_avg_pool2d(x: Any, output_size: Any) -> Any:
    """The means over windows that share the input out among an output of the given size.

    Window i of an axis with n values and m outputs goes from floor(i · n / m) to ceil((i + 1) · n / m); where m divides
    n, that is average pooling with kernel and stride n / m.  Where m is more than n, values serve more than one window.

    Parameters
    ----------
    x : array (N, C, H, W)
        float32 or float64.
    output_size : int or (int or None, int or None)
        None keeps an axis as it is.

    Returns
    -------
    y : array ``(N, C, *output_size)``

    Raises
    ------
    TypeError, ValueError
        For other dtypes, shapes and sizes than these.
    """
    return _adaptive_avg_pool("adaptive_avg_pool2d", 2, x, output_size)


def adaptive_avg_pool1d(x: Any, output_size: Any) -> Any:
    """Adaptive average pooling of signals (N, C, L); as `adaptive_avg_pool2d`."""
    return _adaptive_avg_pool("adaptive_avg_pool1d", 1, x, output_size)


def adaptive_avg_pool3d(x: Any, output_size: Any) -> Any:
    """Adaptive average pooling of volumes (N, C, D, H, W); as `adaptive_avg_pool2d`."""
    return _adaptive_avg_pool("adaptive_avg_pool3d", 3, x, output_size)


def adaptive_avg_pool2d_backward(grad_output: Any, input_shape: tuple[int, ...], output_size: Any) -> Any:
    """Gradient of `adaptive_avg_pool2d` to x: each output's gradient, spread evenly over its window.

    Parameters
    ----------
    grad_output : array ``(N, C, *output_size)``
    input_shape : (N, C, H, W)
    output_size : as given to `adaptive_avg_pool2d`

    Returns
    -------
    grad_x : array (N, C, H, W)

    Raises
    ------
    TypeError, ValueError
        As `adaptive_avg_pool2d`, and where `grad_output` has not the output's shape.
    """
    return _adaptive_avg_pool_backward("adaptive_avg_pool2d_backward", 2, grad_output, input_shape, output_size)


def adaptive_avg_pool1d_backward(grad_output: Any, input_shape: tuple[int, ...], output_size: Any) -> Any:
    """Gradient of `adaptive_avg_pool1d` to x; as `adaptive_avg_pool2d_backward`."""
    return _adaptive_avg_pool_backward("adaptive_avg_pool1d_backward", 1, grad_output, input_shape, output_size)


def adaptive_avg_pool3d_backward(grad_output: Any, input_shape: tuple[int, ...], output_size: Any) -> Any:
    """Gradient of `adaptive_avg_pool3d` to x; as `adaptive_avg_pool2d_backward`."""
    return _adaptive_avg_pool_backward("adaptive_avg_pool3d_backward", 3, grad_output, input_shape, output_size)


def adaptive_max_pool2d(x: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest values of windows that share the input out, as in `adaptive_avg_pool2d`.

    Parameters
    ----------
    x : array (N, C, H, W)
        float32 or float64.
    output_size : int or (int or None, int or None)
        None keeps an axis as it is.
    return_indices : bool
        Also return where each maximum lies.

    Returns
    -------
    y : array ``(N, C, *output_size)``
    indices : int64 array of the same shape, only with `return_indices`
        Places counted within one plane of x, row by row.

    Raises
    ------
    TypeError, ValueError
        For other dtypes, shapes and sizes than these.
    """
    return _adaptive_max_pool("adaptive_max_pool2d", 2, x, output_size, return_indices)


def adaptive_max_pool1d(x: Any, output_size: Any, return_indices: bool = False) -> Any:
    """Adaptive max pooling of signals (N, C, L); as `adaptive_max_pool2d`."""
    return _adaptive_max_pool("adaptive_max_pool1d", 1, x, output_size, return_indices)


def adaptive_max_pool3d(x: Any, output_size: Any, return_indices: bool = False) -> Any:
    """Adaptive max pooling of volumes (N, C, D, H, W); as `adaptive_max_pool2d`."""
    return _adaptive_max_pool("adaptive_max_pool3d", 3, x, output_size, return_indices)


def adaptive_max_pool2d_backward(grad_output: Any, x: Any, output_size: Any) -> Any:
    """Gradient of `adaptive_max_pool2d` to x: each output's gradient goes to the place its maximum came from.

    Parameters
    ----------
    grad_output : array ``(N, C, *output_size)``
    x, output_size : as given to `adaptive_max_pool2d`

    Returns
    -------
    grad_x : array (N, C, H, W)

    Raises
    ------
    TypeError, ValueError
        As `adaptive_max_pool2d`, and where `grad_output` has not the output's shape.
    """
    return _adaptive_max_pool_backward("adaptive_max_pool2d_backward", 2, grad_output, x, output_size)


def adaptive_max_pool1d_backward(grad_output: Any, x: Any, output_size: Any) -> Any:
    """Gradient of `adaptive_max_pool1d` to x; as `adaptive_max_pool2d_backward`."""
    return _adaptive_max_pool_backward("adaptive_max_pool1d_backward", 1, grad_output, x, output_size)


def adaptive_max_pool3d_backward(grad_output: Any, x: Any, output_size: Any) -> Any:
    """Gradient of `adaptive_max_pool3d` to x; as `adaptive_max_pool2d_backward`."""
    return _adaptive_max_pool_backward("adaptive_max_pool3d_backward", 3, grad_output, x, output_size)


def _adaptive_avg_pool(function: str, rank: int, x: Any, output_size: Any) -> Any:
    x = operand(function, "x", x)
    size = _output_size(function, rank, x.shape, output_size)
    windows = _even_windows(x.shape[2:], size)
    op: Primitive = AvgPool(windows) if windows else AdaptiveAvgPool(size)
    return op(x)


def _adaptive_avg_pool_backward(function: str, rank: int, grad: Any, input_shape: Any, output_size: Any) -> Any:
    grad = operand(function, "grad_output", grad)
    shape = errors.sizes(function, "input_shape", input_shape, rank + 2)
    size = _output_size(function, rank, shape, output_size)
    errors.shape(function, "grad_output", grad, (*shape[:2], *size))
    windows = _even_windows(shape[2:], size)
    op: Primitive = AvgPoolGrad(windows, True, shape) if windows else AdaptiveAvgPoolGrad(shape)
    return op(grad)


def _adaptive_max_pool(function: str, rank: int, x: Any, output_size: Any, return_indices: bool) -> Any:
    x = operand(function, "x", x)
    return_indices = errors.flag(function, "return_indices", return_indices)
    op = _max_pool_op(x.shape, _output_size(function, rank, x.shape, output_size))
    return op(x) if return_indices else op.first_output(x)


def _adaptive_max_pool_backward(function: str, rank: int, grad: Any, x: Any, output_size: Any) -> Any:
    grad, x = operands(function, grad_output=grad, x=x)
    size = _output_size(function, rank, x.shape, output_size)
    errors.shape(function, "grad_output", grad, (*x.shape[:2], *size))
    op = _max_pool_op(x.shape, size)
    [grad_x] = op.gradient((x,), op(x), (grad, None))
    return grad_x


def _max_pool_op(shape: tuple[int, ...], size: tuple[int, ...]) -> Primitive:
    windows = _even_windows(shape[2:], size)
    return MaxPool(windows, index_dtype="int64") if windows else AdaptiveMaxPool(size)


def _output_size(function: str, rank: int, shape: tuple[int, ...], output_size: Any) -> tuple[int, ...]:
    if len(shape) != rank + 2:
        raise ValueError(f"{function}: x must have {rank + 2} axes {LAYOUTS[rank]}, not shape {tuple(shape)}")
    if 0 in shape[2:]:
        raise GeometryError(f"{function}: x must have a value on every spatial axis, but has shape {tuple(shape)}")
    kept: Any = output_size
    if errors.is_listing(output_size) and len(output_size) == rank:
        kept = [n if wanted is None else wanted for wanted, n in zip(output_size, shape[2:], strict=True)]
    size = errors.integers(function, "output_size", kept, rank, 1)
    geometry.check_volume(function, (*shape[:2], *size), "the output of this output_size")
    return size


def _even_windows(input_size: tuple[int, ...], size: tuple[int, ...]) -> Windows | None:
    """The windows of a usual pooling that does the same, if there are."""
    if any(n % parts for n, parts in zip(input_size, size, strict=True)):
        return None
    kernel = tuple(n // parts for n, parts in zip(input_size, size, strict=True))
    return Windows(kernel, kernel, ((0, 0),) * len(kernel), (1,) * len(kernel))


# --- over whole planes --------------------------------------------------------------------------------------


def global_avg_pool(x: Any) -> Any:
    """The mean of each channel: ``y[n, c] = Σ x[n, c, …] / size``.

    Parameters
    ----------
    x : array ``(N, C, *spatial)``, of one to three spatial axes
        float32 or float64.

    Returns
    -------
    y : array (N, C)

    Raises
    ------
    TypeError, ValueError
        For other dtypes and shapes than these.

    References
    ----------
    Lin, Chen and Yan 2014, "Network in network", section 3.2.
    """
    x, rank = _planes("global_avg_pool", "x", x)
    return reshape(_adaptive_avg_pool("global_avg_pool", rank, x, 1), tuple(x.shape[:2]))


def global_avg_pool_backward(grad_output: Any, input_shape: tuple[int, ...]) -> Any:
    """Gradient of `global_avg_pool` to x: ``grad_output[n, c] / size`` everywhere.

    Parameters
    ----------
    grad_output : array (N, C)
    input_shape : ``(N, C, *spatial)``

    Returns
    -------
    grad_x : array of that shape

    Raises
    ------
    TypeError, ValueError
        As `global_avg_pool`, and where `grad_output` has not the output's shape.
    """
    function = "global_avg_pool_backward"
    grad = operand(function, "grad_output", grad_output)
    rank = len(input_shape) - 2 if errors.is_listing(input_shape) else 0
    if rank not in LAYOUTS:
        raise ValueError(f"{function}: input_shape must be {ANY_LAYOUT}, not {errors.said(input_shape)}")
    shape = errors.sizes(function, "input_shape", input_shape, rank + 2)
    errors.shape(function, "grad_output", grad, shape[:2])
    spread = reshape(grad, (*grad.shape, *(1,) * rank))
    return _adaptive_avg_pool_backward(function, rank, spread, shape, 1)


def global_max_pool(x: Any) -> Any:
    """The largest value of each channel.

    Parameters
    ----------
    x : array ``(N, C, *spatial)``, of one to three spatial axes
        float32 or float64.

    Returns
    -------
    y : array (N, C)

    Raises
    ------
    TypeError, ValueError
        For other dtypes and shapes than these.
    """
    x, rank = _planes("global_max_pool", "x", x)
    return reshape(_adaptive_max_pool("global_max_pool", rank, x, 1, False), tuple(x.shape[:2]))


def global_max_pool_backward(grad_output: Any, x: Any) -> Any:
    """Gradient of `global_max_pool` to x: each channel's gradient goes to the first place of its maximum.

    Parameters
    ----------
    grad_output : array (N, C)
    x : as given to `global_max_pool`

    Returns
    -------
    grad_x : array of x's shape

    Raises
    ------
    TypeError, ValueError
        As `global_max_pool`, and where `grad_output` has not the output's shape.
    """
    function = "global_max_pool_backward"
    grad = operand(function, "grad_output", grad_output)
    x, rank = _planes(function, "x", x)
    errors.shape(function, "grad_output", grad, tuple(x.shape[:2]))
    spread = reshape(grad, (*grad.shape, *(1,) * rank))
    return _adaptive_max_pool_backward(function, rank, spread, x, 1)


def _planes(function: str, argument: str, x: Any) -> tuple[Any, int]:
    x = operand(function, argument, x)
    rank = len(x.shape) - 2
    if rank not in LAYOUTS:
        raise ValueError(f"{function}: {argument} must be {ANY_LAYOUT}, not of shape {tuple(x.shape)}")
    return x, rank
