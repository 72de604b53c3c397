"""Functions that move values without changing them, and sums over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from convkit import errors, geometry
from convkit.functional.operands import axis_of, operand, operands
from convkit.ops import shape as ops

MODES = ("reflect", "replicate", "circular")  # of padding with values of the array itself


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
        In the memory of x where this is a contiguous array, as with NumPy's ``reshape``; copy it to write to it.

    Raises
    ------
    TypeError
        For dtypes other than float32 and float64, and sizes that are no integers.
    ValueError
        Where the number of values differs.
    """
    x = operand("reshape", "x", x)
    wanted = tuple(shape) if errors.is_listing(shape) else (shape,)
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
        By default (N, C·H·W) of an x of shape (N, C, H, W). In the memory of x where this is a contiguous array,
        as with `reshape`.

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
    if not errors.is_listing(arrays):
        raise TypeError(f"{function}: arrays must be a sequence of arrays, not {errors.said(arrays)}")
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


def pad(x: Any, padding: Any, value: float = 0.0, mode: str = "constant") -> Any:
    """A border around the spatial axes of x: a constant, or values of x itself.

    Parameters
    ----------
    x : array ``(N, C, *spatial)``
        float32 or float64.
    padding : int, one for each spatial axis, or pairs (low, high) for each
    value : float
        What x is surrounded with in mode 'constant'.
    mode : {'constant', 'reflect', 'replicate', 'circular'}
        'reflect' mirrors x at its first and last values, which are not repeated (c b | a b c | b a), 'replicate'
        repeats these (a a | a b c | c c), 'circular' goes around (b c | a b c | a b).

    Returns
    -------
    array ``(N, C, *larger)``
        Each spatial axis longer by its low + high.

    Raises
    ------
    TypeError, ValueError
        For other dtypes than float32 and float64, padding that is not of this form, an unknown mode, and a border that
        needs more values than x has.
    """
    x = operand("pad", "x", x)
    pairs = _spatial_padding("pad", "x", x, padding)
    op = ops.Pad(pairs, errors.real("pad", "value", value)) if _is_constant("pad", mode) else ops.PadBy(pairs, mode)
    shape = op.infer(x)[0].shape
    _check_border("pad", mode, x.shape, pairs)
    geometry.check_volume("pad", shape, "x with this padding")
    return op(x)


def pad_backward(grad_output: Any, padding: Any, mode: str = "constant") -> Any:
    """Gradient of `pad` to x: what of grad_output lies within the padding, and with values of x the border's share.

    Parameters
    ----------
    grad_output : array ``(N, C, *larger)``
        float32 or float64.
    padding, mode : as given to `pad`

    Returns
    -------
    grad_x : array ``(N, C, *spatial)``

    Raises
    ------
    TypeError, ValueError
        As `pad`, and for more padding than `grad_output` has values.
    """
    grad = operand("pad_backward", "grad_output", grad_output)
    pairs = _spatial_padding("pad_backward", "grad_output", grad, padding)
    for n, (lo, hi) in zip(grad.shape, pairs, strict=True):
        if lo + hi > n:
            raise ValueError(
                f"pad_backward: padding {errors.said(padding)} is more than grad_output's shape {grad.shape} has"
            )
    if _is_constant("pad_backward", mode):
        return ops.Crop(pairs)(grad)
    op = ops.PadByGrad(pairs, mode)
    _check_border("pad_backward", mode, op.infer(grad)[0].shape, pairs)
    return op(grad)


def _is_constant(function: str, mode: str) -> bool:
    return errors.one_of(function, "mode", mode, ("constant", *MODES)) == "constant"


def _check_border(function: str, mode: str, shape: tuple[int, ...], pairs: geometry.Pairs) -> None:
    """Refuse a border that x has too few values for."""
    if mode == "constant":
        return
    for axis, (n, pair) in enumerate(zip(shape, pairs, strict=True)):
        most = {"reflect": n - 1, "circular": n}.get(mode, max(pair) if n else 0)
        if max(pair) > max(most, 0):
            raise geometry.GeometryError(
                f"{function}: mode '{mode}' can pad axis {axis}, which has {n} values, by at most {max(most, 0)}, "
                f"not {pair}"
            )


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
