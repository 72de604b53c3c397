"""Convolutions whose padding reaches far beyond the plane, by what of them meets the plane at all.

Kernels lay images out with their padding, which takes memory and time by its square. What a window that lies in the
padding alone yields is known.
"""

from __future__ import annotations

from typing import Any

from convkit.functional.elementwise import add
from convkit.functional.shape import reshape
from convkit.geometry import Pairs, Reach
from convkit.ops.conv import ChannelSum, Convolution, ConvTranspose
from convkit.ops.shape import Crop, Pad


def conv(reach: Reach, groups: int, x: Any, weight: Any, bias: Any) -> Any:
    """As `Convolution`."""
    return _biased(_outer(reach, _convolution(reach, groups)(x, _cut(reach.taps, weight), None)), bias)


def conv_backward(reach: Reach, groups: int, grad: Any, x: Any, weight: Any) -> tuple[Any, Any, Any]:
    """Gradients of `conv` to x, weight and bias."""
    operands = x, _cut(reach.taps, weight), None
    grad_x, grad_weight, _ = _convolution(reach, groups).gradient(operands, (None,), (_inner(reach, grad),))
    return grad_x, _put(reach.taps, grad_weight), ChannelSum()(grad)


def conv_transpose(reach: Reach, groups: int, size: tuple[int, ...], x: Any, weight: Any, bias: Any) -> Any:
    """As `ConvTranspose`: what it cuts off its outputs is the padding here."""
    return _biased(ConvTranspose(reach.windows, groups, size)(_inner(reach, x), _cut(reach.taps, weight), None), bias)


def conv_transpose_backward(
    reach: Reach, groups: int, size: tuple[int, ...], grad: Any, x: Any, weight: Any
) -> tuple[Any, Any, Any]:
    """Gradients of `conv_transpose` to x, weight and bias."""
    operands = _inner(reach, x), _cut(reach.taps, weight), None
    op = ConvTranspose(reach.windows, groups, size)
    grad_x, grad_weight, _ = op.gradient(operands, (None,), (grad,))
    return _outer(reach, grad_x), _put(reach.taps, grad_weight), ChannelSum()(grad)


def _convolution(reach: Reach, groups: int) -> Convolution:
    return Convolution(reach.windows, groups, size=reach.size)


def _inner(reach: Reach, outputs: Any) -> Any:
    """The outputs that are left, of all; zeros where none counts."""
    return _put(reach.idle, _cut(reach.outputs, outputs))


def _outer(reach: Reach, outputs: Any) -> Any:
    """All outputs, of those that are left."""
    return _put(reach.outputs, _cut(reach.idle, outputs))


def _cut(pairs: Pairs, array: Any) -> Any:
    return Crop(((0, 0), (0, 0), *pairs))(array) if any(map(any, pairs)) else array


def _put(pairs: Pairs, array: Any) -> Any:
    return Pad(((0, 0), (0, 0), *pairs))(array) if any(map(any, pairs)) else array


def _biased(y: Any, bias: Any) -> Any:
    return y if bias is None else add(y, reshape(bias, (-1, *(1,) * (len(y.shape) - 2))))
