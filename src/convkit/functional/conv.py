"""Convolution and transposed convolution on arrays (N, C, *spatial), their gradients, their windows as columns, and
the matrix that a convolution multiplies by."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convkit import errors, geometry
from convkit.functional import far
from convkit.functional.operands import operand, operands
from convkit.geometry import Windows
from convkit.ops.base import Operand, Spec
from convkit.ops.conv import Col2im, Convolution, ConvTranspose, Im2col

# By the number of spatial axes, from signals to volumes.
LAYOUTS = {1: "(N, C, L)", 2: "(N, C, H, W)", 3: "(N, C, D, H, W)"}
WEIGHTS = {1: "(O, I, k)", 2: "(O, I, kh, kw)", 3: "(O, I, kd, kh, kw)"}
ANY_LAYOUT = " or ".join(LAYOUTS.values())


# --- convolution --------------------------------------------------------------------------------------------


def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Convolve images with a bank of kernels: cross-correlation, as in every framework.

    ``y[n, o, p, q] = bias[o] + Σ_{i,u,v} weight[o, i, u, v] · x[n, i, s·p + d·u - pad, s·q + d·v - pad]``

    Parameters
    ----------
    x : array (N, C, H, W)
        float32 or float64.
    weight : array (O, C / groups, kh, kw)
        Of the same dtype.
    bias : array (O,), optional
    stride, dilation : int or (int, int)
    padding : int, (int, int), ((low, high), (low, high)), 'valid', 'same' or 'full'
        Zeros around x. 'same' gives ceil(H / stride) rows, by TensorFlow's rule; 'full' every place where kernel
        and image touch.
    groups : int
        Split channels into groups that do not see each other; C groups are a depthwise convolution.

    Returns
    -------
    array (N, O, H', W')
        H' = floor((H + padding - dilation·(kh - 1) - 1) / stride) + 1.

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64, or mixed ones.
    ValueError
        For shapes that do not fit together, and a kernel larger than the padded image.
    """
    return _conv("conv2d", 2, x, weight, bias, stride, padding, dilation, groups)


def conv1d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Convolve signals (N, C, L) with kernels (O, C / groups, k); all else as in `conv2d`."""
    return _conv("conv1d", 1, x, weight, bias, stride, padding, dilation, groups)


def conv3d(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Convolve volumes (N, C, D, H, W) with kernels (O, C / groups, kd, kh, kw); all else as in `conv2d`."""
    return _conv("conv3d", 3, x, weight, bias, stride, padding, dilation, groups)


def conv2d_backward(
    grad_output: Any,
    x: Any,
    weight: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Any, Any, Any]:
    """Gradients of `conv2d`, from that to its output.

    ``dx = Σ_o weight[o]ᵀ grad[o]`` (a transposed convolution), ``dweight[o, i] = x[i] ⋆ grad[o]``,
    ``dbias[o] = Σ grad[o]``.

    Parameters
    ----------
    grad_output : array (N, O, H', W')
    x, weight, stride, padding, dilation, groups : as given to `conv2d`

    Returns
    -------
    grad_x, grad_weight, grad_bias : arrays of the shapes of x, weight and bias

    Raises
    ------
    TypeError, ValueError
        As `conv2d`, and where `grad_output` has not the output's shape.
    """
    return _conv_backward("conv2d_backward", 2, grad_output, x, weight, stride, padding, dilation, groups)


def conv1d_backward(
    grad_output: Any, x: Any, weight: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> tuple[Any, Any, Any]:
    """Gradients of `conv1d`: (grad_x, grad_weight, grad_bias); as `conv2d_backward`."""
    return _conv_backward("conv1d_backward", 1, grad_output, x, weight, stride, padding, dilation, groups)


def conv3d_backward(
    grad_output: Any, x: Any, weight: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> tuple[Any, Any, Any]:
    """Gradients of `conv3d`: (grad_x, grad_weight, grad_bias); as `conv2d_backward`."""
    return _conv_backward("conv3d_backward", 3, grad_output, x, weight, stride, padding, dilation, groups)


def _conv(
    function: str,
    rank: int,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
) -> Any:
    x, weight, bias = operands(function, optional="bias", x=x, weight=weight, bias=bias)
    op = _convolution(function, rank, x, weight, stride, padding, dilation, groups)
    if bias is not None:
        errors.shape(function, "bias", bias, (weight.shape[0],))
    reach = geometry.reach(x.shape[2:], op.infer(x, weight, bias)[0].shape[2:], op.windows)
    return op(x, weight, bias) if reach is None else far.conv(reach, op.groups, x, weight, bias)


def _conv_backward(
    function: str,
    rank: int,
    grad: Any,
    x: Any,
    weight: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
) -> tuple[Any, Any, Any]:
    grad, x, weight = operands(function, grad_output=grad, x=x, weight=weight)
    op = _convolution(function, rank, x, weight, stride, padding, dilation, groups)
    errors.shape(function, "grad_output", grad, op.infer(x, weight, None)[0].shape)
    reach = geometry.reach(x.shape[2:], grad.shape[2:], op.windows)
    if reach is not None:
        return far.conv_backward(reach, op.groups, grad, x, weight)
    grad_x, grad_weight, grad_bias = op.gradient((x, weight, None), (None,), (grad,))
    return grad_x, grad_weight, grad_bias


def _convolution(
    function: str, rank: int, x: Any, weight: Any, stride: Any, padding: Any, dilation: Any, groups: Any
) -> Convolution:
    """The op for these operands, every argument checked."""
    errors.dimensions(function, "x", x, rank + 2, LAYOUTS[rank])
    errors.dimensions(function, "weight", weight, rank + 2, WEIGHTS[rank])
    groups = errors.integer(function, "groups", groups, 1)
    _check_kernel(function, weight)
    if x.shape[1] != weight.shape[1] * groups:
        in_groups = f" in {groups} groups" if groups > 1 else ""
        raise ValueError(
            f"{function}: weight expects {weight.shape[1] * groups} input channels{in_groups} "
            f"(shape {tuple(weight.shape)}) but x has {x.shape[1]} (shape {tuple(x.shape)})"
        )
    if weight.shape[0] % groups:
        raise ValueError(
            f"{function}: weight has {weight.shape[0]} output channels (shape {tuple(weight.shape)}), "
            f"which are not divisible by groups {groups}"
        )
    windows = geometry.windows(function, x.shape[2:], weight.shape[2:], stride, padding, dilation)
    size = geometry.output_size(function, x.shape[2:], windows)
    geometry.check_volume(function, (x.shape[0], weight.shape[0], *size), "the output for this padding")
    return Convolution(windows, groups)


def _check_kernel(function: str, weight: Any) -> None:
    if 0 in weight.shape:
        raise ValueError(f"{function}: weight must not be empty, but has shape {tuple(weight.shape)}")


# --- transposed convolution ---------------------------------------------------------------------------------


def conv_transpose2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """The adjoint of `conv2d` with the same weight: multiplication by Cᵀ where a convolution multiplies by C.

    Parameters
    ----------
    x : array (N, I, H, W)
        float32 or float64.
    weight : array (I, O / groups, kh, kw)
        Of the same dtype.
    bias : array (O,), optional
    stride, dilation : int or (int, int)
    padding : int, (int, int) or ((low, high), (low, high))
        That of the convolution whose adjoint this is: what is cut off the output.
    output_padding : int or (int, int)
        Values appended to the output, fewer than stride or dilation, to choose among the sizes that the
        convolution maps to the same one.
    groups : int

    Returns
    -------
    array (N, O, H', W')
        H' = (H - 1)·stride + dilation·(kh - 1) + 1 - padding + output_padding.

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64, or mixed ones.
    ValueError
        For shapes that do not fit together, an empty output, and too large an output_padding.

    References
    ----------
    Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", section 4.
    """
    return _conv_transpose("conv_transpose2d", 2, x, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """The adjoint of `conv1d`: x (N, I, L), weight (I, O / groups, k); all else as in `conv_transpose2d`."""
    return _conv_transpose("conv_transpose1d", 1, x, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    """The adjoint of `conv3d`: x (N, I, D, H, W), weight (I, O / groups, kd, kh, kw); as `conv_transpose2d`."""
    return _conv_transpose("conv_transpose3d", 3, x, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d_backward(
    grad_output: Any,
    x: Any,
    weight: Any,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> tuple[Any, Any, Any]:
    """Gradients of `conv_transpose2d`, from that to its output.

    Parameters
    ----------
    grad_output : array (N, O, H', W')
    x, weight, stride, padding, output_padding, groups, dilation : as given to `conv_transpose2d`

    Returns
    -------
    grad_x, grad_weight, grad_bias : arrays of the shapes of x, weight and bias

    Raises
    ------
    TypeError, ValueError
        As `conv_transpose2d`, and where `grad_output` has not the output's shape.
    """
    return _conv_transpose_backward(
        "conv_transpose2d_backward", 2, grad_output, x, weight, stride, padding, output_padding, groups, dilation
    )


def conv_transpose1d_backward(
    grad_output: Any,
    x: Any,
    weight: Any,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> tuple[Any, Any, Any]:
    """Gradients of `conv_transpose1d`: (grad_x, grad_weight, grad_bias); as `conv_transpose2d_backward`."""
    return _conv_transpose_backward(
        "conv_transpose1d_backward", 1, grad_output, x, weight, stride, padding, output_padding, groups, dilation
    )


def conv_transpose3d_backward(
    grad_output: Any,
    x: Any,
    weight: Any,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> tuple[Any, Any, Any]:
    """Gradients of `conv_transpose3d`: (grad_x, grad_weight, grad_bias); as `conv_transpose2d_backward`."""
    return _conv_transpose_backward(
        "conv_transpose3d_backward", 3, grad_output, x, weight, stride, padding, output_padding, groups, dilation
    )


def _conv_transpose(
    function: str,
    rank: int,
    x: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: Any,
    dilation: Any,
) -> Any:
    x, weight, bias = operands(function, optional="bias", x=x, weight=weight, bias=bias)
    op = _transposed(function, rank, x, weight, stride, padding, output_padding, groups, dilation)
    if bias is not None:
        errors.shape(function, "bias", bias, (weight.shape[1] * op.groups,))
    reach = geometry.reach(op.size, x.shape[2:], op.windows)
    return op(x, weight, bias) if reach is None else far.conv_transpose(reach, op.groups, op.size, x, weight, bias)


def _conv_transpose_backward(
    function: str,
    rank: int,
    grad: Any,
    x: Any,
    weight: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: Any,
    dilation: Any,
) -> tuple[Any, Any, Any]:
    grad, x, weight = operands(function, grad_output=grad, x=x, weight=weight)
    op = _transposed(function, rank, x, weight, stride, padding, output_padding, groups, dilation)
    errors.shape(function, "grad_output", grad, op.infer(x, weight, None)[0].shape)
    reach = geometry.reach(op.size, x.shape[2:], op.windows)
    if reach is not None:
        return far.conv_transpose_backward(reach, op.groups, op.size, grad, x, weight)
    grad_x, grad_weight, grad_bias = op.gradient((x, weight, None), (None,), (grad,))
    return grad_x, grad_weight, grad_bias


def _transposed(
    function: str,
    rank: int,
    x: Any,
    weight: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: Any,
    dilation: Any,
) -> ConvTranspose:
    """The op for these operands, every argument checked."""
    errors.dimensions(function, "x", x, rank + 2, LAYOUTS[rank])
    errors.dimensions(function, "weight", weight, rank + 2, WEIGHTS[rank].replace("O, I", "I, O"))
    groups = errors.integer(function, "groups", groups, 1)
    _check_kernel(function, weight)
    if x.shape[1] != weight.shape[0]:
        raise ValueError(
            f"{function}: weight expects {weight.shape[0]} input channels (shape {tuple(weight.shape)}) "
            f"but x has {x.shape[1]} (shape {tuple(x.shape)})"
        )
    if weight.shape[0] % groups:
        raise ValueError(
            f"{function}: weight has {weight.shape[0]} input channels (shape {tuple(weight.shape)}), "
            f"which are not divisible by groups {groups}"
        )
    if isinstance(padding, str):
        raise ValueError(f"{function}: padding must be integers or pairs (low, high), not {errors.said(padding)}")
    windows = geometry.windows(function, x.shape[2:], weight.shape[2:], stride, padding, dilation)
    extra = errors.integers(function, "output_padding", output_padding, rank, 0)
    size = geometry.transposed_output_size(function, x.shape[2:], windows, extra)
    geometry.check_volume(
        function, (x.shape[0], weight.shape[1] * groups, *size), "the output for this stride and dilation"
    )
    return ConvTranspose(windows, groups, size)


# --- windows as columns -------------------------------------------------------------------------------------


def im2col(x: Any, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Any:
    """Lay out every window of a batch as a column of a matrix.

    A convolution is then ``weight.reshape(O, -1) @ columns``.

    Parameters
    ----------
    x : array ``(N, C, *size)``
        float32 or float64, with one to three spatial axes.
    kernel_size : int or one for each spatial axis
    stride, padding, dilation : as in `conv2d`

    Returns
    -------
    array (N, C·prod(kernel_size), prod(out))
        Rows run over channel and place in the window, columns over windows.

    Raises
    ------
    TypeError, ValueError
        For dtypes other than float32 and float64, and windows that do not fit.
    """
    x = operand("im2col", "x", x)
    if len(x.shape) - 2 not in LAYOUTS:
        raise ValueError(f"im2col: x must have axes {ANY_LAYOUT}, not shape {tuple(x.shape)}")
    windows = _windows("im2col", x.shape[2:], kernel_size, stride, padding, dilation)
    size = geometry.output_size("im2col", x.shape[2:], windows)
    geometry.check_volume(
        "im2col", (*x.shape[:2], *windows.kernel_size, *size), "the output for this kernel_size and padding"
    )
    return Im2col(windows)(x)


def col2im(cols: Any, output_size: Any, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1) -> Any:
    """Add columns up where their windows lie: the adjoint of `im2col` (not its inverse where windows overlap).

    Parameters
    ----------
    cols : array (N, C·prod(kernel_size), prod(out))
        float32 or float64.
    output_size : tuple of one to three int
        Spatial size of the result.
    kernel_size, stride, padding, dilation : as in `im2col`

    Returns
    -------
    array ``(N, C, *output_size)``

    Raises
    ------
    TypeError, ValueError
        For dtypes other than float32 and float64, and shapes that no such `im2col` returns.
    """
    cols = operand("col2im", "cols", cols)
    errors.dimensions("col2im", "cols", cols, 3, "(N, C·prod(kernel_size), prod(out))")
    rank = len(output_size) if errors.is_listing(output_size) else 1
    if rank not in LAYOUTS:
        raise ValueError(f"col2im: output_size must have one to three entries, not {errors.said(output_size)}")
    size = errors.integers("col2im", "output_size", output_size, rank, 1)
    windows = _windows("col2im", size, kernel_size, stride, padding, dilation)
    out = geometry.output_size("col2im", size, windows)
    places = prod(windows.kernel_size)
    if cols.shape[1] % places or cols.shape[2] != prod(out):
        raise ValueError(
            f"col2im: cols must have shape (N, C·{places}, {prod(out)}) for output_size {size}, not {tuple(cols.shape)}"
        )
    geometry.check_volume("col2im", (cols.shape[0], cols.shape[1] // places, *size), "the output of this output_size")
    return Col2im(windows, size)(cols)


def _windows(
    function: str, size: tuple[int, ...], kernel_size: Any, stride: Any, padding: Any, dilation: Any
) -> Windows:
    kernel = errors.integers(function, "kernel_size", kernel_size, len(size), 1)
    return geometry.windows(function, size, kernel, stride, padding, dilation)


# --- a convolution as a matrix ------------------------------------------------------------------------------


def convolution_matrix(
    weight: Any, input_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> np.ndarray:
    """The matrix C of a convolution, which is linear: output = C · input, and Cᵀ is the transposed convolution.

    ``C @ x.reshape(-1)`` is ``conv2d(x[None], weight, …).reshape(-1)``, and ``C.T @ y.reshape(-1)`` is
    ``conv_transpose2d(y[None], weight, …).reshape(-1)``.  Row (o, p, q) holds weight[o] where its window lies, and
    zeros elsewhere: at most prod(weight.shape[1:]) of its values differ from zero, and all rows share these.

    Parameters
    ----------
    weight : array (O, I, k), (O, I, kh, kw) or (O, I, kd, kh, kw)
        float32 or float64; I is the number of input channels over `groups`.
    input_size : int or one for each axis
        Spatial size of the input, L, (H, W) or (D, H, W).
    stride, padding, dilation, groups : as in `conv2d`

    Returns
    -------
    array (O·prod(out), I·groups·prod(input_size))
        Dense, to look at and to check by; it grows with the square of the image.  Rows and columns run over
        channels and places, as the values of an array do.

    Raises
    ------
    TypeError, ValueError
        As `conv2d`.

    References
    ----------
    Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", section 4.1.
    """
    function = "convolution_matrix"
    if isinstance(weight, Operand):
        raise TypeError(f"{function}: weight must be an array; of a parameter, give its value")
    weight = errors.array(function, "weight", weight)
    rank = weight.ndim - 2
    if rank not in WEIGHTS:
        raise ValueError(f"{function}: weight must have axes {' or '.join(WEIGHTS.values())}, not shape {weight.shape}")
    size = errors.integers(function, "input_size", input_size, rank, 1)
    groups = errors.integer(function, "groups", groups, 1)
    x = Spec((1, weight.shape[1] * groups, *size), weight.dtype)
    op = _convolution(function, rank, x, weight, stride, padding, dilation, groups)
    outputs, inputs = prod(geometry.output_size(function, size, op.windows)), prod(x.shape)
    geometry.check_volume(function, (weight.shape[0] * outputs, inputs), "the matrix for this input_size and padding")

    # met: (groups, outputs, I·kh·kw), the number of the input under each place of each window; 0 is padding
    numbers = np.arange(1.0, inputs + 1).reshape(x.shape)
    met = Im2col(op.windows)(numbers).reshape(groups, -1, outputs).swapaxes(1, 2).astype(np.int64)
    filters = weight.reshape(groups, weight.shape[0] // groups, -1)
    matrix = np.zeros((*filters.shape[:2], outputs, inputs), weight.dtype)
    group, output, place = np.nonzero(met)
    matrix[group, :, output, met[group, output, place] - 1] = filters[group, :, place]
    return matrix.reshape(-1, inputs)
