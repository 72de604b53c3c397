"""Functions that move values without changing them, and sums over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from convkit import errors, geometry
from convkit.functional.operands import axis_of, operand, operands
from convkit.ops import shape as ops


def reshape(x: Any, shape: Any) -> Any:
    """The same values, in the same order, under another shape.

    Parameters
    ----------
    x : array of float32 or float64, any shape
    shape : int or sequence of int
        One size may be -1: it follows from the others.

    Returns
    -------
    array of that shape

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64, and sizes that are no integers.
    ValueError
        Where the number of values differs.
    """
    x = operand("reshape", "x", x)
    wanted = (shape,) if not isinstance(shape, Sequence) else tuple(shape)
    sizes = [errors.integer("reshape", "shape", n, -1) for n in wanted]
    total, known = prod(x.shape), prod(n for n in sizes if n != -1)
    if sizes.count(-1) == 1 and known and total % known == 0:
        sizes[sizes.index(-1)] = total // known
    if -1 in sizes or prod(sizes) != total:
        raise ValueError(f"reshape: {total} values of shape {tuple(x.shape)} do not fit into shape {wanted}")
    return ops.Reshape(tuple(sizes))(x)


def flatten(x: Any, start_dim: int = 1, end_dim: int = -1) -> Any:
    """Axes from `start_dim` to `end_dim` made one; by default all but the batch's.

    Parameters
    ----------
    x : array of float32 or float64, any shape of one axis or more
    start_dim, end_dim : int
        First and last of the axes; negative ones count from the end.

    Returns
    -------
    array
        By default (N, C·H·W) of an x of shape (N, C, H, W).

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64, and axes that are no integers.
    ValueError
        For axes that x has not, or in the wrong order.
    """
    x = operand("flatten", "x", x)
    first = axis_of("flatten", "start_dim", start_dim, len(x.shape))
    last = axis_of("flatten", "end_dim", end_dim, len(x.shape))
    if first > last:
        raise ValueError(f"flatten: start_dim {start_dim} lies behind end_dim {end_dim} (shape {tuple(x.shape)})")
    joined = prod(x.shape[first : last + 1])
    return ops.Reshape((*x.shape[:first], joined, *x.shape[last + 1 :]))(x)


def concat(arrays: Sequence[Any], axis: int = 1) -> Any:
    """Arrays put one behind the other along an axis, by default that of the channels.

    Parameters
    ----------
    arrays : sequence of arrays
        One or more, all float32 or all float64, that differ in shape along `axis` alone.
    axis : int

    Returns
    -------
    array
        Of their shape, but along `axis` as long as all of them together.

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64, or mixed ones.
    ValueError
        For shapes that do not fit together, an axis that they have not, and no array at all.
    """
    ready, axis = _concatenable("concat", arrays, axis)
    return ops.Concat(axis)(*ready)


def concat_backward(grad_output: Any, arrays: Sequence[Any], axis: int = 1) -> tuple[Any, ...]:
    """Gradients of `concat` to each array: the parts of grad_output that belong to it.

    Parameters
    ----------
    grad_output : array of the shape and dtype of `concat`'s result
    arrays, axis : as given to `concat`

    Returns
    -------
    tuple of arrays of the shapes of `arrays`

    Raises
    ------
    TypeError, ValueError
        As `concat`, and where `grad_output` has not the output's shape and dtype.
    """
    ready, axis = _concatenable("concat_backward", arrays, axis)
    grad = operand("concat_backward", "grad_output", grad_output)
    errors.same_dtype("concat_backward", grad_output=grad, arrays=ready[0])
    op = ops.Concat(axis)
    errors.shape("concat_backward", "grad_output", grad, op.infer(*ready)[0].shape)
    return tuple(op.gradient(ready, (None,), (grad,)))


def _concatenable(function: str, arrays: Sequence[Any], axis: int) -> tuple[list[Any], int]:
    """The arrays ready for an op, checked to fit together along the axis, and that axis counted from the front."""
    if len(arrays) == 0:
        raise ValueError(f"{function}: arrays must hold one array or more")
    ready = operands(function, **{f"arrays[{i}]": item for i, item in enumerate(arrays)})
    axis = axis_of(function, "axis", axis, len(ready[0].shape))
    for i, item in enumerate(ready):
        if not _equal_but_for(axis, item.shape, ready[0].shape):
            raise ValueError(
                f"{function}: arrays[{i}] has shape {tuple(item.shape)}, which differs from {tuple(ready[0].shape)} "
                f"in more than axis {axis}"
            )
    return ready, axis


def _equal_but_for(axis: int, a: Sequence[int], b: Sequence[int]) -> bool:
    return len(a) == len(b) and all(i == axis or m == n for i, (m, n) in enumerate(zip(a, b, strict=True)))


def pad(x: Any, padding: Any, value: float = 0.0) -> Any:
    """A constant around the spatial axes of x.

    Parameters
    ----------
    x : array (N, C, *spatial)
        float32 or float64.
    padding : int, one for each spatial axis, or pairs (low, high) for each
    value : float
        What x is surrounded with.

    Returns
    -------
    array (N, C, *larger)
        Each spatial axis longer by its low + high.

    Raises
    ------
    TypeError, ValueError
        For other dtypes than float32 and float64, and padding that is not of this form.
    """
    x = operand("pad", "x", x)
    op = ops.Pad(_spatial_padding("pad", "x", x, padding), float(value))
    geometry.check_volume("pad", op.infer(x)[0].shape)
    return op(x)


def pad_backward(grad_output: Any, padding: Any) -> Any:
    """Gradient of `pad` to x: what of grad_output lies within the padding.

    Parameters
    ----------
    grad_output : array (N, C, *larger)
        float32 or float64.
    padding : as given to `pad`

    Returns
    -------
    grad_x : array (N, C, *spatial)

    Raises
    ------
    TypeError, ValueError
        As `pad`, and for more padding than `grad_output` has values.
    """
    grad = operand("pad_backward", "grad_output", grad_output)
    pairs = _spatial_padding("pad_backward", "grad_output", grad, padding)
    for n, (lo, hi) in zip(grad.shape, pairs, strict=True):
        if lo + hi > n:
            raise ValueError(f"pad_backward: padding {padding!r} is more than grad_output's shape {grad.shape} has")
    return ops.Crop(pairs)(grad)


def _spatial_padding(function: str, argument: str, x: Any, padding: Any) -> geometry.Pairs:
    rank = len(x.shape) - 2
    if rank < 1:
        raise ValueError(f"{function}: {argument} must have 3 axes (N, C, L) or more, not shape {tuple(x.shape)}")
    return ((0, 0), (0, 0), *geometry.padding_pairs(function, padding, rank))


def sum(x: Any) -> Any:
    """The sum of all values, of shape ().

    Parameters
    ----------
    x : array of float32 or float64, any shape

    Returns
    -------
    array of shape (), of x's dtype

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64.
    """
    return ops.Sum()(operand("sum", "x", x))


def mean(x: Any) -> Any:
    """The mean of all values, of shape ().

    Parameters
    ----------
    x : array of float32 or float64, any shape

    Returns
    -------
    array of shape (), of x's dtype
        0 where x is empty.

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64.
    """
    return ops.mean(operand("mean", "x", x))
