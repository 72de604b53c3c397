"""Array manipulation that NumPy does: what has no kernel of its own takes part in graphs by these.

Each is NumPy's function on arrays of any dtype; those that move, stretch or sum values of floats have gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convkit.ops.base import NumpyPrimitive, Spec
from convkit.ops.elementwise import Add, BroadcastTo, Multiply, Scale, sum_to
from convkit.ops.shape import Reshape

# (inputs, outputs, gradients to the outputs) -> gradients to the inputs, as `Primitive.gradient`
Derivative = Callable[[Sequence[Any], Sequence[Any], Sequence[Any]], Sequence[Any]]


@dataclass(frozen=True)
class Apply(NumpyPrimitive):
    """A function of arrays that returns a new one or a tuple of them, whose shapes must not depend on values.

    What shapes and dtypes it returns is found out by applying it to zeros.
    """

    function: Callable[..., Any]
    derivative: Derivative | None = None

    def infer(self, *inputs: Any) -> tuple[Spec, ...]:
        zeros = [None if operand is None else np.zeros(operand.shape, operand.dtype) for operand in inputs]
        return tuple(Spec(array.shape, array.dtype) for array in self.evaluate(zeros))

    def evaluate(self, arrays: Sequence[Any]) -> tuple[np.ndarray, ...]:
        with np.errstate(all="ignore"):
            results = self.function(*arrays)
        return tuple(np.ascontiguousarray(array) if np.ndim(array) else np.asarray(array) for array in _tuple(results))

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        for output, values in zip(outputs, self.evaluate(inputs), strict=True):
            np.copyto(output, values)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        if self.derivative is None:
            return super().gradient(inputs, outputs, grads)
        return self.derivative(inputs, outputs, grads)


def _tuple(results: Any) -> tuple[Any, ...]:
    return results if isinstance(results, tuple) else (results,)


# --- values moved, stretched, picked ------------------------------------------------------------------------


def transpose(x: Any, axes: Sequence[int]) -> Any:
    """The axes of x in another order."""
    order = tuple(axes)
    back = tuple(int(axis) for axis in np.argsort(order))
    return Apply(lambda a: a.transpose(order), lambda inputs, outputs, grads: (transpose(grads[0], back),))(x)


def broadcast_to(x: Any, shape: Sequence[int]) -> Any:
    """x repeated to a shape that it broadcasts to, or to which it and the shape broadcast."""
    return BroadcastTo(np.broadcast_shapes(tuple(x.shape), tuple(shape)))(x)


def pick(x: Any, index: Any) -> Any:
    """``x[index]``, for any index that NumPy takes."""

    def derivative(inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (_put(grads[0], index, tuple(inputs[0].shape)),)

    return Apply(lambda a: a[index], derivative)(x)


def _put(values: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of a shape to which values are added at an index: the adjoint of picking."""

    def put(a: np.ndarray) -> np.ndarray:
        array = np.zeros(shape, a.dtype)
        if isinstance(index, tuple) and all(isinstance(part, slice) for part in index):
            array[index] = a  # slices meet each place once
        else:
            np.add.at(array, index, a)
        return array

    return Apply(put, lambda inputs, outputs, grads: (pick(grads[0], index),))(values)


def concatenate(arrays: Sequence[Any], axis: int) -> Any:
    """Arrays of any dtype one behind the other, without a gradient."""
    return Apply(lambda *parts: np.concatenate(parts, axis))(*arrays)


def cast(x: Any, dtype: Any) -> Any:
    """x in another dtype; between floats the gradient is cast back."""
    return Apply(lambda a: a.astype(dtype), lambda inputs, outputs, grads: (cast(grads[0], inputs[0].dtype),))(x)


def rounded_to(x: Any, dtype: Any) -> Any:
    """Floats as integers, halves to even ones, and the nearest that there is where the dtype ends; no gradient."""
    limits = np.iinfo(dtype)

    def rounded(a: np.ndarray) -> np.ndarray:
        whole = np.rint(a)
        inside = np.clip(whole, limits.min, limits.max).astype(dtype)
        # Of 64 bits the largest integer is no float64, and the one above it would wrap around.
        return np.where(whole >= float(limits.max), np.asarray(limits.max, dtype), inside)

    return Apply(rounded)(x)


def linear_along(x: Any, matrix: np.ndarray, axis: int) -> Any:
    """``y[…, i, …] = Σ_j matrix[i, j] · x[…, j, …]`` along an axis of floats."""

    def product(a: np.ndarray) -> np.ndarray:
        return np.moveaxis(np.tensordot(a, matrix.astype(a.dtype), (axis, 1)), -1, axis)

    return Apply(product, lambda inputs, outputs, grads: (linear_along(grads[0], matrix.T, axis),))(x)


# --- matrices -----------------------------------------------------------------------------------------------


def matmul(a: Any, b: Any) -> Any:
    """NumPy's matrix product, of stacks of matrices that broadcast; of vectors it has no gradient."""
    stacks = len(a.shape) >= 2 and len(b.shape) >= 2
    return Apply(np.matmul, _matmul_derivative if stacks else None)(a, b)


def _matmul_derivative(inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
    (a, b), [grad] = inputs, grads
    return sum_to(matmul(grad, _turned(b)), a.shape), sum_to(matmul(_turned(a), grad), b.shape)


def _turned(x: Any) -> Any:
    return transpose(x, (*range(len(x.shape) - 2), len(x.shape) - 1, len(x.shape) - 2))


# --- reductions ---------------------------------------------------------------------------------------------


def reduce_sum(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """The sums over axes, in x's dtype."""
    return _reduction(lambda a: a.sum(axes, a.dtype, keepdims=keepdims), axes, lambda x, y, grad: grad)(x)


def reduce_mean(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """The means over axes, in x's dtype."""
    count = int(np.prod([x.shape[axis] for axis in axes]))
    return _reduction(
        lambda a: a.mean(axes, keepdims=keepdims).astype(a.dtype),
        axes,
        lambda x, y, grad: Scale(1 / max(count, 1))(grad),
    )(x)


def reduce_extreme(x: Any, largest: bool, axes: tuple[int, ...], keepdims: bool) -> Any:
    """The largest or the smallest values over axes; the gradient goes to all places that hold it."""
    function = np.max if largest else np.min
    empty = _least(x.dtype) if largest else -_least(x.dtype) if x.dtype.kind == "f" else _most(x.dtype)
    return _reduction(
        lambda a: function(a, axes, keepdims=keepdims, initial=empty),
        axes,
        lambda x, y, grad: Multiply()(grad, Apply(lambda a, b: (a == b).astype(a.dtype))(x, y)),
    )(x)


def _least(dtype: np.dtype[Any]) -> Any:
    return -np.inf if dtype.kind == "f" else False if dtype.kind == "b" else np.iinfo(dtype).min


def _most(dtype: np.dtype[Any]) -> Any:
    return True if dtype.kind == "b" else np.iinfo(dtype).max


def reduce_prod(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    """The products over axes, in x's dtype; no gradient."""
    return Apply(lambda a: np.prod(a, axes, a.dtype, keepdims=keepdims))(x)


def _reduction(function: Callable[..., Any], axes: tuple[int, ...], slope: Callable[[Any, Any, Any], Any]) -> Apply:
    """A reduction whose gradient is `slope(x, y, grad)`, y and grad repeated to x's shape."""

    def derivative(inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        [x] = inputs
        kept = tuple(1 if axis in axes else n for axis, n in enumerate(x.shape))
        y, grad = (BroadcastTo(tuple(x.shape))(Reshape(kept)(value)) for value in (outputs[0], grads[0]))
        return (slope(x, y, grad),)

    return Apply(function, derivative)


# --- element by element -------------------------------------------------------------------------------------

# function -> the gradients to its inputs, from (inputs, output, gradient to the output), before broadcasting is undone
_SLOPES: dict[Callable[..., Any], Callable[[Sequence[Any], Any, Any], Sequence[Any]]] = {
    np.exp: lambda inputs, y, grad: (grad * y,),
    np.expm1: lambda inputs, y, grad: (grad * (y + 1.0),),
    np.log: lambda inputs, y, grad: (divide(grad, inputs[0]),),
    np.sqrt: lambda inputs, y, grad: (Scale(0.5)(divide(grad, y)),),
    np.reciprocal: lambda inputs, y, grad: (Scale(-1.0)(grad * y * y),),
    np.sin: lambda inputs, y, grad: (grad * pointwise(np.cos, inputs[0]),),
    np.cos: lambda inputs, y, grad: (Scale(-1.0)(grad * pointwise(np.sin, inputs[0])),),
    np.negative: lambda inputs, y, grad: (Scale(-1.0)(grad),),
    np.abs: lambda inputs, y, grad: (grad * pointwise(np.sign, inputs[0]),),
    np.divide: lambda inputs, y, grad: (divide(grad, inputs[1]), Scale(-1.0)(divide(grad * y, inputs[1]))),
    np.maximum: lambda inputs, y, grad: _chosen(np.greater_equal, inputs, grad),
    np.minimum: lambda inputs, y, grad: _chosen(np.less_equal, inputs, grad),
    np.power: lambda inputs, y, grad: (
        grad * inputs[1] * pointwise(np.power, inputs[0], inputs[1] - 1.0),
        grad * y * pointwise(np.log, inputs[0]),
    ),
    np.where: lambda inputs, y, grad: (
        None,
        Multiply()(grad, cast(inputs[0], grad.dtype)),
        Multiply()(grad, cast(pointwise(np.logical_not, inputs[0]), grad.dtype)),
    ),
}


def pointwise(function: Callable[..., Any], *inputs: Any) -> Any:
    """A function of NumPy's that works element by element and broadcasts."""

    def derivative(inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        slopes = _SLOPES[function](inputs, outputs[0], grads[0])
        return [
            None if slope is None else sum_to(slope, tuple(operand.shape))
            for operand, slope in zip(inputs, slopes, strict=True)
        ]

    return Apply(function, derivative if function in _SLOPES else None)(*inputs)


def divide(a: Any, b: Any) -> Any:
    """``a / b``; of integers, rounded towards zero."""
    if a.dtype.kind == "f":
        return pointwise(np.divide, a, b)
    return pointwise(_towards_zero, a, b)


def _towards_zero(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    quotient, rest = np.divmod(a, b)
    return quotient + ((rest != 0) & ((a < 0) != (b < 0))).astype(quotient.dtype)


def _chosen(holds: Callable[..., Any], inputs: Sequence[Any], grad: Any) -> Sequence[Any]:
    first = Apply(lambda a, b: holds(a, b).astype(a.dtype))(*inputs)
    return Multiply()(grad, first), Add()(grad, Scale(-1.0)(Multiply()(grad, first)))
