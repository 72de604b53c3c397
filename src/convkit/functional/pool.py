"""Pooling on arrays (N, C, *spatial), and its gradients."""

from __future__ import annotations

from functools import reduce
from math import prod
from typing import Any

import numpy as np

from convkit import errors, geometry
from convkit.functional.conv import LAYOUTS
from convkit.functional.elementwise import multiply
from convkit.functional.operands import operand, operands
from convkit.geometry import GeometryError, Windows
from convkit.ops.base import Operand
from convkit.ops.pool import AvgPool, AvgPoolGrad, MaxPool, MaxUnpool, MaxUnpoolGrad

# --- max pooling --------------------------------------------------------------------------------------------


def max_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window; of equal ones the first counts, and NaN is larger than any number.

    Parameters
    ----------
    x : array (N, C, H, W)
        float32 or float64.
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        By default the kernel's size.
    padding : int, (int, int) or pairs (low, high)
        Places outside x that windows may cover and that never are the largest; at most half the kernel.
    dilation : int or (int, int)
    ceil_mode : bool
        Keep a last window that is not filled, as long as it starts inside x or its low padding.
    return_indices : bool
        Also return where each maximum lies.

    Returns
    -------
    y : array (N, C, H', W')
        H' = floor((H + padding - dilation·(kh - 1) - 1) / stride) + 1, and one more where `ceil_mode` adds it.
    indices : int64 array of the same shape, only with `return_indices`
        Places counted within one plane of x, row by row.

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64.
    ValueError
        For windows that do not fit, and padding above half the kernel.
    """
    return _max_pool("max_pool2d", 2, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool1d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Max pooling of signals (N, C, L); as `max_pool2d`."""
    return _max_pool("max_pool1d", 1, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Max pooling of volumes (N, C, D, H, W); as `max_pool2d`, with indices counted within one volume of x."""
    return _max_pool("max_pool3d", 3, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d_backward(
    grad_output: Any,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Any:
    """Gradient of `max_pool2d` to x: each output's gradient goes to the place its maximum came from.

    Parameters
    ----------
    grad_output : array (N, C, H', W')
    x, kernel_size, stride, padding, dilation, ceil_mode : as given to `max_pool2d`

    Returns
    -------
    grad_x : array (N, C, H, W)

    Raises
    ------
    TypeError, ValueError
        As `max_pool2d`, and where `grad_output` has not the output's shape.
    """
    return _max_pool_backward(
        "max_pool2d_backward", 2, grad_output, x, kernel_size, stride, padding, dilation, ceil_mode
    )


def max_pool1d_backward(
    grad_output: Any,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Any:
    """Gradient of `max_pool1d` to x; as `max_pool2d_backward`."""
    return _max_pool_backward(
        "max_pool1d_backward", 1, grad_output, x, kernel_size, stride, padding, dilation, ceil_mode
    )


def max_pool3d_backward(
    grad_output: Any,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Any:
    """Gradient of `max_pool3d` to x; as `max_pool2d_backward`."""
    return _max_pool_backward(
        "max_pool3d_backward", 3, grad_output, x, kernel_size, stride, padding, dilation, ceil_mode
    )


def _max_pool(
    function: str,
    rank: int,
    x: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    x = operand(function, "x", x)
    ceil_mode = errors.flag(function, "ceil_mode", ceil_mode)
    return_indices = errors.flag(function, "return_indices", return_indices)
    windows = _windows(function, rank, x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    _check_plane(function, x)
    op = MaxPool(windows, ceil_mode, "int64" if return_indices else "int32")
    return op(x) if return_indices else op.first_output(x)


def _check_plane(function: str, x: Any) -> None:
    """Refuse planes in which places do not fit into the 32 bits that the kernel counts them with."""
    if prod(x.shape[2:]) > np.iinfo(np.int32).max:
        raise ValueError(f"{function}: x must have fewer than 2**31 values in a plane, not shape {tuple(x.shape)}")


def _max_pool_backward(
    function: str,
    rank: int,
    grad: Any,
    x: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
) -> Any:
    grad, x = operands(function, grad_output=grad, x=x)
    ceil_mode = errors.flag(function, "ceil_mode", ceil_mode)
    windows = _windows(function, rank, x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    _check_plane(function, x)
    op = MaxPool(windows, ceil_mode, "int64")
    errors.shape(function, "grad_output", grad, op.infer(x)[0].shape)
    [grad_x] = op.gradient((x,), op(x), (grad, None))
    return grad_x


# --- max pooling undone -------------------------------------------------------------------------------------


def max_unpool2d(
    x: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Any:
    """Put each value back where `max_pool2d` found its maximum, zeros elsewhere.

    ``y[n, c, indices[n, c, i, j]] = x[n, c, i, j]``, places counted within a plane.  Where windows overlapped, of
    several values for one place the last one stays.

    Parameters
    ----------
    x : array (N, C, H', W')
        float32 or float64.
    indices : integer array of x's shape
        As `max_pool2d` returns them.
    kernel_size, stride, padding : as given to `max_pool2d`
        They decide the output's size where `output_size` does not.
    output_size : (H, W), optional
        That of the plane in which the indices count; by default the least that pooling maps to x's,
        ``(H' - 1) · stride + kernel - padding``.

    Returns
    -------
    y : array (N, C, H, W)

    Raises
    ------
    TypeError, ValueError
        For shapes and dtypes other than these, and indices outside of a plane.

    References
    ----------
    Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks", section 2.1.
    """
    return _max_unpool("max_unpool2d", 2, x, indices, kernel_size, stride, padding, output_size)


def max_unpool1d(
    x: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Any:
    """Max-unpooling of signals (N, C, L); as `max_unpool2d`."""
    return _max_unpool("max_unpool1d", 1, x, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    x: Any, indices: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Any:
    """Max-unpooling of volumes (N, C, D, H, W); as `max_unpool2d`."""
    return _max_unpool("max_unpool3d", 3, x, indices, kernel_size, stride, padding, output_size)


def max_unpool2d_backward(grad_output: Any, indices: Any) -> Any:
    """Gradient of `max_unpool2d` to x: what stands at each value's place, 0 where another value took it.

    Parameters
    ----------
    grad_output : array (N, C, H, W)
    indices : as given to `max_unpool2d`

    Returns
    -------
    grad_x : array of the shape of indices

    Raises
    ------
    TypeError, ValueError
        For shapes and dtypes other than these, and indices outside of a plane.
    """
    return _max_unpool_backward("max_unpool2d_backward", 2, grad_output, indices)


def max_unpool1d_backward(grad_output: Any, indices: Any) -> Any:
    """Gradient of `max_unpool1d` to x; as `max_unpool2d_backward`."""
    return _max_unpool_backward("max_unpool1d_backward", 1, grad_output, indices)


def max_unpool3d_backward(grad_output: Any, indices: Any) -> Any:
    """Gradient of `max_unpool3d` to x; as `max_unpool2d_backward`."""
    return _max_unpool_backward("max_unpool3d_backward", 3, grad_output, indices)


def _max_unpool(
    function: str, rank: int, x: Any, indices: Any, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Any:
    x = operand(function, "x", x)
    errors.dimensions(function, "x", x, rank + 2, LAYOUTS[rank])
    indices = _indices(function, indices)
    errors.shape(function, "indices", indices, tuple(x.shape))
    kernel = errors.integers(function, "kernel_size", kernel_size, rank, 1)
    strides = kernel if stride is None else errors.integers(function, "stride", stride, rank, 1)
    windows = Windows(kernel, strides, geometry.padding_pairs(function, padding, rank), (1,) * rank)
    if output_size is None:
        size = geometry.transposed_output_size(function, tuple(x.shape[2:]), windows, (0,) * rank)
    else:
        size = errors.integers(function, "output_size", output_size, rank, 1)
    geometry.check_volume(function, (*x.shape[:2], *size), "the output for this stride or output_size")
    return MaxUnpool(size, function)(x, indices)


def _max_unpool_backward(function: str, rank: int, grad: Any, indices: Any) -> Any:
    grad = operand(function, "grad_output", grad)
    errors.dimensions(function, "grad_output", grad, rank + 2, LAYOUTS[rank])
    indices = _indices(function, indices)
    errors.dimensions(function, "indices", indices, rank + 2, LAYOUTS[rank])
    errors.shape(function, "grad_output", grad, (*indices.shape[:2], *grad.shape[2:]))
    return MaxUnpoolGrad(function)(grad, indices)


def _indices(function: str, indices: Any) -> Any:
    if not isinstance(indices, Operand):
        return errors.whole_numbers(function, "indices", errors.view(function, "indices", indices), "an integer array")
    if indices.dtype.kind not in "iu":
        raise TypeError(f"{function}: indices must be an integer array, not {indices.dtype}")
    return indices


# --- average pooling ----------------------------------------------------------------------------------------


def avg_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """The mean of each window.

    Parameters
    ----------
    x : array (N, C, H, W)
        float32 or float64.
    kernel_size : int or (int, int)
    stride : int or (int, int), optional
        By default the kernel's size.
    padding : int, (int, int) or pairs (low, high)
        Zeros around x; at most half the kernel.
    ceil_mode : bool
        Keep a last window that is not filled, as long as it starts inside x or its low padding.
    count_include_pad : bool
        Whether padding counts among the values that are averaged.
    divisor_override : int, optional
        What each window's sum is divided by instead of the number of its values; not 0.

    Returns
    -------
    y : array (N, C, H', W')
        H' = floor((H + padding - kh) / stride) + 1, and one more where `ceil_mode` adds it.

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64.
    ValueError
        For windows that do not fit, padding above half the kernel, and a divisor of 0.
    """
    return _avg_pool("avg_pool2d", 2, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool1d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Average pooling of signals (N, C, L); as `avg_pool2d`."""
    return _avg_pool("avg_pool1d", 1, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Average pooling of volumes (N, C, D, H, W); as `avg_pool2d`."""
    return _avg_pool("avg_pool3d", 3, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool2d_backward(
    grad_output: Any,
    input_shape: tuple[int, ...],
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Gradient of `avg_pool2d` to x: each output's gradient, spread evenly over its window.

    Parameters
    ----------
    grad_output : array (N, C, H', W')
    input_shape : (N, C, H, W)
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override : as given to `avg_pool2d`

    Returns
    -------
    grad_x : array (N, C, H, W)

    Raises
    ------
    TypeError, ValueError
        As `avg_pool2d`, and where `grad_output` has not the output's shape.
    """
    return _avg_pool_backward(
        "avg_pool2d_backward", 2, grad_output, input_shape, kernel_size, stride, padding, ceil_mode,
        count_include_pad, divisor_override,
    )  # fmt: skip


def avg_pool1d_backward(
    grad_output: Any,
    input_shape: tuple[int, ...],
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Gradient of `avg_pool1d` to x; as `avg_pool2d_backward`."""
    return _avg_pool_backward(
        "avg_pool1d_backward", 1, grad_output, input_shape, kernel_size, stride, padding, ceil_mode,
        count_include_pad, divisor_override,
    )  # fmt: skip


def avg_pool3d_backward(
    grad_output: Any,
    input_shape: tuple[int, ...],
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Gradient of `avg_pool3d` to x; as `avg_pool2d_backward`."""
    return _avg_pool_backward(
        "avg_pool3d_backward", 3, grad_output, input_shape, kernel_size, stride, padding, ceil_mode,
        count_include_pad, divisor_override,
    )  # fmt: skip


def _avg_pool(
    function: str,
    rank: int,
    x: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: Any,
) -> Any:
    x = operand(function, "x", x)
    ceil_mode = errors.flag(function, "ceil_mode", ceil_mode)
    count_include_pad = errors.flag(function, "count_include_pad", count_include_pad)
    windows = _windows(function, rank, x.shape, kernel_size, stride, padding, 1, ceil_mode)
    y = AvgPool(windows, ceil_mode, count_include_pad)(x)
    return _divided(function, y, tuple(x.shape[2:]), windows, count_include_pad, divisor_override)


def _avg_pool_backward(
    function: str,
    rank: int,
    grad: Any,
    input_shape: tuple[int, ...],
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: Any,
) -> Any:
    grad = operand(function, "grad_output", grad)
    shape = errors.sizes(function, "input_shape", input_shape, rank + 2)
    ceil_mode = errors.flag(function, "ceil_mode", ceil_mode)
    count_include_pad = errors.flag(function, "count_include_pad", count_include_pad)
    windows = _windows(function, rank, shape, kernel_size, stride, padding, 1, ceil_mode)
    size = geometry.output_size(function, shape[2:], windows, ceil_mode)
    errors.shape(function, "grad_output", grad, (*shape[:2], *size))
    grad = _divided(function, grad, shape[2:], windows, count_include_pad, divisor_override)
    return AvgPoolGrad(windows, count_include_pad, shape)(grad)


def _divided(
    function: str, means: Any, input_size: tuple[int, ...], windows: Windows, count_include_pad: bool, divisor: Any
) -> Any:
    """Sums of windows over a divisor, from their means; or the gradient of these."""
    if divisor is None:
        return means
    divisor = errors.integer(function, "divisor_override", divisor, -errors.LARGEST_INTEGER)
    if divisor == 0:
        raise ValueError(f"{function}: divisor_override must not be 0")
    counts = geometry.window_counts(input_size, means.shape[2:], windows, count_include_pad)
    factors = reduce(np.multiply.outer, counts) / divisor
    return multiply(means, factors.astype(means.dtype))


def _windows(
    function: str,
    rank: int,
    shape: tuple[int, ...],
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
) -> Windows:
    """The windows of a pooling of an array of this shape, every argument checked."""
    if len(shape) != rank + 2:
        raise ValueError(f"{function}: x must have {rank + 2} axes {LAYOUTS[rank]}, not shape {tuple(shape)}")
    kernel = errors.integers(function, "kernel_size", kernel_size, rank, 1)
    windows = geometry.windows(
        function, tuple(shape[2:]), kernel, kernel if stride is None else stride, padding, dilation
    )
    for axis, (pair, k) in enumerate(zip(windows.padding, kernel, strict=True)):
        if max(pair) > k // 2:
            raise GeometryError(
                f"{function}: padding {pair} on spatial axis {axis} is more than half the kernel's size {k}: "
                f"at most {k // 2} is allowed, or windows could lie outside x"
            )
    size = geometry.output_size(function, tuple(shape[2:]), windows, ceil_mode)
    geometry.check_volume(function, (*shape[:2], *size), "the output for this padding")
    return windows
