"""Convolution, normalisation and dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convkit import errors
from convkit import functional as F
from convkit.onnx.operators.pooling import AUTO_PADS, windows_of
from convkit.onnx.operators.table import axes_of, axis_of, integers, of_rank, operator, pairs, single, sizes
from convkit.ops import array
from convkit.ops.base import is_training
from convkit.ops.norm import BatchNorm
from convkit.ops.shape import Reshape

# --- convolution --------------------------------------------------------------------------------------------


def _kernel_size(function: str, kernel_shape: Any, weight: Any) -> tuple[int, ...]:
    """The spatial size of a weight, if the attribute, where it is there, says the same."""
    size = sizes(weight)
    if kernel_shape and tuple(kernel_shape) != size:
        raise ValueError(f"{function}: kernel_shape must be that of the weight, {size}, not {tuple(kernel_shape)}")
    return size


@operator("Conv")
def conv(
    x: Any, weight: Any, bias: Any = None, *, kernel_shape: Any = None, strides: Any = None, pads: Any = None,
    dilations: Any = None, group: int = 1, auto_pad: str = "NOTSET",
) -> Any:  # fmt: skip
    kernel = _kernel_size("Conv", kernel_shape, weight)
    windows = windows_of("Conv", x, kernel, strides, pads, dilations, auto_pad)
    function = of_rank("conv", windows.rank)
    return function(x, weight, bias, windows.stride, windows.padding, windows.dilation, group)


@operator("ConvTranspose")
def conv_transpose(
    x: Any, weight: Any, bias: Any = None, *, kernel_shape: Any = None, strides: Any = None, pads: Any = None,
    dilations: Any = None, group: int = 1, auto_pad: str = "NOTSET", output_padding: Any = None,
    output_shape: Any = None,
) -> Any:  # fmt: skip
    errors.one_of("ConvTranspose", "auto_pad", auto_pad, AUTO_PADS)
    kernel = _kernel_size("ConvTranspose", kernel_shape, weight)
    rank = len(kernel)
    strides, dilations = tuple(strides or [1] * rank), tuple(dilations or [1] * rank)
    whole = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(sizes(x), strides, dilations, kernel, strict=True)]
    padding, extra = pairs(pads or [0] * 2 * rank), output_padding or [0] * rank
    if auto_pad.startswith("SAME") and output_shape is None:
        output_shape = [n * s for n, s in zip(sizes(x), strides, strict=True)]
    if output_shape is not None:  # padding takes away what is too much; what lacks is padding of the output
        cut = [max(n + more - m, 0) for n, more, m in zip(whole, extra, output_shape, strict=True)]
        padding = tuple((n // 2, n - n // 2) if auto_pad == "SAME_UPPER" else (n - n // 2, n // 2) for n in cut)
        extra = [m - n + less for n, m, less in zip(whole, output_shape, cut, strict=True)]
    return of_rank("conv_transpose", rank)(x, weight, bias, strides, padding, extra, group, dilations)


@operator("ConvInteger")
def conv_integer(x: Any, weight: Any, x_zero_point: Any = None, w_zero_point: Any = None, **attributes: Any) -> Any:
    # float64 holds every product and sum of 8-bit integers exactly
    return array.cast(conv(_centred(x, x_zero_point), _centred(weight, w_zero_point), **attributes), np.int32)


@operator("QLinearConv")
def quantized_conv(
    x: Any, x_scale: Any, x_zero_point: Any, weight: Any, w_scale: Any, w_zero_point: Any, y_scale: Any,
    y_zero_point: Any, bias: Any = None, **attributes: Any,
) -> Any:  # fmt: skip
    whole = conv(
        _centred(x, x_zero_point),
        _centred(weight, w_zero_point),
        None if bias is None else array.cast(bias, np.float64),
        **attributes,
    )

    def rescaled(a: np.ndarray, xs: np.ndarray, ws: np.ndarray, ys: np.ndarray, zero: np.ndarray) -> np.ndarray:
        scale = (xs * ws / ys).reshape(-1, *(1,) * (a.ndim - 2))
        limits = np.iinfo(zero.dtype)
        return np.clip(np.rint(a * scale) + zero, limits.min, limits.max).astype(zero.dtype)

    return array.Apply(rescaled)(whole, x_scale, w_scale, y_scale, y_zero_point)


def _centred(x: Any, zero_point: Any) -> Any:
    """Integers as float64, less their zero point: one number, or one for each entry of the first axis."""
    values = array.cast(x, np.float64)
    if zero_point is None:
        return values
    zero = array.cast(zero_point, np.float64)
    count = zero.size
    return F.subtract(values, Reshape(() if count == 1 else (count, *(1,) * (len(x.shape) - 1)))(zero))


@operator("Col2Im", known="image_shape block_shape")
def col2im(
    x: Any, image_shape: Any, block_shape: Any, *, dilations: Any = None, pads: Any = None, strides: Any = None
) -> Any:
    rank = len(integers(image_shape))
    padding = pairs(pads or [0] * 2 * rank)
    return F.col2im(x, integers(image_shape), integers(block_shape), strides or 1, padding, dilations or 1)


# --- normalisation ------------------------------------------------------------------------------------------


@operator("BatchNormalization", state="mean variance")
def batch_normalization(
    x: Any, scale: Any, bias: Any, mean: Any, variance: Any, *, epsilon: float = 1e-5, momentum: float = 0.9,
    training_mode: int = 0, spatial: int = 1, is_test: int = 0, consumed_inputs: Any = None, outputs: int,
) -> Any:  # fmt: skip
    if training_mode:
        for name, values in {"scale": scale, "bias": bias, "mean": mean, "variance": variance}.items():
            errors.shape("BatchNormalization", name, values, (x.shape[1],))
        y, batch_mean, batch_variance = BatchNorm(epsilon)(x, scale, bias)
        moved = [
            F.add(F.multiply(running, momentum), F.multiply(batch, 1 - momentum))
            for running, batch in ((mean, batch_mean), (variance, batch_variance))
        ]
        return (y, *moved)
    return F.batch_norm(x, mean, variance, scale, bias, is_training(), 1 - momentum, epsilon)


@operator("InstanceNormalization")
def instance_normalization(x: Any, scale: Any, bias: Any, *, epsilon: float = 1e-5, consumed_inputs: Any = None) -> Any:
    return F.group_norm(x, x.shape[1], scale, bias, epsilon)


@operator("GroupNormalization")
def group_normalization(
    x: Any, scale: Any, bias: Any, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1, opset: int
) -> Any:
    if opset < 21:  # one scale and bias for each group
        channels = (num_groups, x.shape[1] // num_groups)
        scale, bias = (
            Reshape((x.shape[1],))(array.broadcast_to(Reshape((num_groups, 1))(values), channels))
            for values in (scale, bias)
        )
    return F.group_norm(x, num_groups, scale, bias, epsilon)


@operator("LayerNormalization")
def layer_normalization(
    x: Any, scale: Any, bias: Any = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1, outputs: int
) -> Any:
    axes = tuple(range(axis_of(axis, len(x.shape)), len(x.shape)))
    y = F.multiply(F.layer_norm(x, x.shape[axes[0] :], eps=epsilon), scale)
    y = y if bias is None else F.add(y, bias)
    if outputs == 1:
        return y
    mean = array.reduce_mean(x, axes, True)
    centred = F.subtract(x, mean)
    spread = array.pointwise(np.sqrt, F.add(array.reduce_mean(F.multiply(centred, centred), axes, True), epsilon))
    return y, mean, array.pointwise(np.reciprocal, spread)


@operator("MeanVarianceNormalization")
def mean_variance_normalization(x: Any, *, axes: Sequence[int] = (0, 2, 3)) -> Any:
    along = axes_of(axes, len(x.shape))
    centred = F.subtract(x, array.reduce_mean(x, along, True))
    spread = array.pointwise(np.sqrt, array.reduce_mean(F.multiply(centred, centred), along, True))
    return array.divide(centred, F.add(spread, 1e-9))


@operator("LpNormalization")
def lp_normalization(x: Any, *, axis: int = -1, p: int = 2) -> Any:
    def normalized(a: np.ndarray) -> np.ndarray:
        length = np.linalg.norm(a, p, axis, keepdims=True)
        return np.divide(a, length, out=np.zeros_like(a), where=length != 0)

    return array.Apply(normalized)(x)


@operator("LRN")
def local_response_normalization(
    x: Any, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0
) -> Any:
    if size % 2 == 0:
        raise NotImplementedError(f"onnx.load: LRN is here for an odd size only, not {size}")
    return F.local_response_norm(x, size, alpha, beta, bias)


# --- noise --------------------------------------------------------------------------------------------------


@operator("Dropout", known="ratio training_mode")
def dropout(
    x: Any, ratio: Any = 0.5, training_mode: Any = False, *, seed: int | None = None, is_test: int = 0, outputs: int
) -> Any:
    share = float(single("Dropout", "ratio", ratio))
    if np.asarray(training_mode) and share and not is_training():
        raise NotImplementedError(
            "onnx.load: a Dropout with training_mode, but for a ratio of 0, runs in training only"
        )
    y = F.dropout(x, share) if is_training() else x
    return (y, np.ones(x.shape, bool)) if outputs > 1 else y
