"""Max and average pooling.

The maximum of a window passes the gradient to the first place that holds it; NaN counts as the largest value.
The average divides by the window's size, padding included or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convkit import geometry
from convkit._kernels import pool as kernels
from convkit._kernels.core import Kernel, Series
from convkit.geometry import Windows
from convkit.ops.base import NumpyPrimitive, Primitive, Spec


def _pooled(x: Any, windows: Windows, ceil_mode: bool) -> tuple[int, ...]:
    return (*x.shape[:2], *geometry.output_size("pooling", x.shape[2:], windows, ceil_mode))


@dataclass(frozen=True)
class MaxPool(Primitive):
    """x -> (y, indices): indices count within one plane of x."""

    windows: Windows
    ceil_mode: bool = False
    index_dtype: str = "int32"
    optional = (1,)

    def infer(self, x: Any) -> tuple[Spec, ...]:
        shape = _pooled(x, self.windows, self.ceil_mode)
        return Spec(shape, x.dtype), Spec(shape, np.dtype(self.index_dtype))

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        w = self.windows
        y, indices = outputs
        return kernels.MaxPoolForward(inputs[0], y, indices, w.kernel_size, w.stride, w.low, w.dilation)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (MaxPoolGrad(inputs[0].shape)(grads[0], outputs[1]),)


@dataclass(frozen=True)
class MaxPoolGrad(Primitive):
    """(grad_output, indices) -> grad_x of shape `shape`."""

    shape: tuple[int, ...]

    def infer(self, grad: Any, indices: Any) -> tuple[Spec, ...]:
        return (Spec(self.shape, grad.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return kernels.MaxPoolBackward(inputs[0], inputs[1], outputs[0])


@dataclass(frozen=True)
class AvgPool(Primitive):
    """x -> y."""

    windows: Windows
    ceil_mode: bool = False
    count_include_pad: bool = True

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return (Spec(_pooled(x, self.windows, self.ceil_mode), x.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        w = self.windows
        if not inputs[0].shape[1]:
            return Series(())  # no channels to divide the work by
        return kernels.AvgPoolForward(
            inputs[0], outputs[0], w.kernel_size, w.stride, w.low, w.high, self.count_include_pad
        )

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (AvgPoolGrad(self.windows, self.count_include_pad, inputs[0].shape)(grads[0]),)


@dataclass(frozen=True)
class AvgPoolGrad(Primitive):
    """grad_output -> grad_x of shape `shape`."""

    windows: Windows
    count_include_pad: bool
    shape: tuple[int, ...]

    def infer(self, grad: Any) -> tuple[Spec, ...]:
        return (Spec(self.shape, grad.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        w = self.windows
        if not inputs[0].shape[1]:
            return Series(())
        return kernels.AvgPoolBackward(
            inputs[0], outputs[0], w.kernel_size, w.stride, w.low, w.high, self.count_include_pad
        )


# --- windows that share an axis out -------------------------------------------------------------------------


def shares(size: int, parts: int) -> list[slice]:
    """`parts` windows over `size` values: from floor(i · size / parts) to ceil((i + 1) · size / parts)."""
    return [slice(i * size // parts, -(-(i + 1) * size // parts)) for i in range(parts)]


def windows_by_length(size: int, parts: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same windows, those of one length together: their numbers, and a row of places for each."""
    numbers = np.arange(parts)
    starts, stops = numbers * size // parts, -(-(numbers + 1) * size // parts)
    for length in np.unique(stops - starts):
        [members] = np.nonzero(stops - starts == length)
        yield members, starts[members, None] + np.arange(length)


def _along(ndim: int, axis: int, index: Any) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, index, *(slice(None),) * (ndim - axis - 1))


@dataclass(frozen=True)
class AdaptiveAvgPool(NumpyPrimitive):
    """x (N, C, *size) -> the means over windows that share each axis out among `output_size` outputs."""

    output_size: tuple[int, ...]

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return (Spec((*x.shape[:2], *self.output_size), x.dtype),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        pooled = inputs[0]
        for axis, parts in enumerate(self.output_size, 2):
            means = np.empty((*pooled.shape[:axis], parts, *pooled.shape[axis + 1 :]), pooled.dtype)
            for numbers, places in windows_by_length(pooled.shape[axis], parts):
                means[_along(means.ndim, axis, numbers)] = pooled.take(places, axis).mean(axis + 1)
            pooled = means
        outputs[0][...] = pooled

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (AdaptiveAvgPoolGrad(tuple(inputs[0].shape))(grads[0]),)


@dataclass(frozen=True)
class AdaptiveAvgPoolGrad(NumpyPrimitive):
    """grad_output -> grad_x of shape `shape`."""

    shape: tuple[int, ...]

    def infer(self, grad: Any) -> tuple[Spec, ...]:
        return (Spec(self.shape, grad.dtype),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        grad = inputs[0]
        for axis in range(2, grad.ndim):
            grad = self._spread(grad, axis)
        outputs[0][...] = grad

    def _spread(self, grad: np.ndarray, axis: int) -> np.ndarray:
        """The gradient to what is averaged along one axis."""
        size, parts = self.shape[axis], grad.shape[axis]
        spread = np.zeros((*grad.shape[:axis], size, *grad.shape[axis + 1 :]), grad.dtype)
        if parts > size:  # many windows share each value, which outputs see that are neighbours
            each = np.empty_like(grad)
            for numbers, places in windows_by_length(size, parts):
                chosen = _along(grad.ndim, axis, numbers)
                each[chosen] = grad[chosen] / grad.dtype.type(places.shape[1])
            for i, outputs in enumerate(shares(parts, size)):  # i·parts < (o + 1)·size and o·size < (i + 1)·parts
                spread[_along(grad.ndim, axis, i)] = each[_along(grad.ndim, axis, outputs)].sum(axis)
            return spread
        for i, window in enumerate(shares(size, parts)):
            share = grad[_along(grad.ndim, axis, slice(i, i + 1))] / grad.dtype.type(window.stop - window.start)
            spread[_along(grad.ndim, axis, window)] += share
        return spread


@dataclass(frozen=True)
class AdaptiveMaxPool(NumpyPrimitive):
    """x (N, C, *size) -> (y, indices): the largest values of such windows, and their places within a plane."""

    output_size: tuple[int, ...]

    def infer(self, x: Any) -> tuple[Spec, ...]:
        shape = (*x.shape[:2], *self.output_size)
        return Spec(shape, x.dtype), Spec(shape, np.dtype(np.int64))

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        [values] = inputs
        plane = np.arange(int(np.prod(values.shape[2:]))).reshape(values.shape[2:])
        places = np.broadcast_to(plane, values.shape)
        for axis, parts in reversed(list(enumerate(self.output_size, 2))):  # so of equal ones the first counts
            values, places = self._largest(values, places, axis, parts)
        outputs[0][...], outputs[1][...] = values, places

    def _largest(self, values: np.ndarray, places: np.ndarray, axis: int, parts: int) -> tuple[np.ndarray, np.ndarray]:
        """The largest values of the windows along one axis, and their places."""
        shape = (*values.shape[:axis], parts, *values.shape[axis + 1 :])
        largest, where = np.empty(shape, values.dtype), np.empty(shape, np.int64)
        for numbers, window in windows_by_length(values.shape[axis], parts):
            seen = values.take(window, axis)
            first = np.expand_dims(seen.argmax(axis + 1), axis + 1)  # of a NaN, if there is one
            chosen = _along(values.ndim, axis, numbers)
            largest[chosen] = np.take_along_axis(seen, first, axis + 1).squeeze(axis + 1)
            where[chosen] = np.take_along_axis(places.take(window, axis), first, axis + 1).squeeze(axis + 1)
        return largest, where

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (MaxPoolGrad(inputs[0].shape)(grads[0], outputs[1]),)


# --- max pooling undone -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MaxUnpool(NumpyPrimitive):
    """(x, indices) -> zeros of spatial size `size` with each value of x at its place within its plane.

    Of several values for one place the last one stays, and it alone has a gradient.
    """

    size: tuple[int, ...]
    function: str = "max_unpool"

    def infer(self, x: Any, indices: Any) -> tuple[Spec, ...]:
        return (Spec((*x.shape[:2], *self.size), x.dtype),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        x, indices, y = (_planes(array) for array in (*inputs, outputs[0]))
        _check_places(self.function, indices, y.shape[1])
        y.fill(0)
        np.put_along_axis(y, indices, x, 1)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return MaxUnpoolGrad(self.function)(grads[0], inputs[1]), None


@dataclass(frozen=True)
class MaxUnpoolGrad(NumpyPrimitive):
    """(grad_output, indices) -> grad_x."""

    function: str = "max_unpool"

    def infer(self, grad: Any, indices: Any) -> tuple[Spec, ...]:
        return (Spec(tuple(indices.shape), grad.dtype),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        grad, indices, grad_x = (_planes(array) for array in (*inputs, outputs[0]))
        _check_places(self.function, indices, grad.shape[1])
        number = np.broadcast_to(np.arange(indices.shape[1]), indices.shape)
        last = np.zeros(grad.shape, np.int64)
        np.put_along_axis(last, indices, number, 1)
        stays = np.take_along_axis(last, indices, 1) == number
        grad_x[...] = np.where(stays, np.take_along_axis(grad, indices, 1), 0)


def _check_places(function: str, indices: np.ndarray, size: int) -> None:
    if indices.size and (indices.min() < 0 or indices.max() >= size):
        raise ValueError(f"{function}: indices must be from 0 to {size - 1}, the last place of a plane")


def _planes(array: np.ndarray) -> np.ndarray:
    """(N, C, *size) as (N·C, prod(size)), the same memory."""
    return array.reshape(array.shape[0] * array.shape[1], int(np.prod(array.shape[2:])))
