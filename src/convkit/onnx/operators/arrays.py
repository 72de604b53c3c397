"""Operators that move values, make arrays, and compute shapes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from onnx import helper

from convkit import errors
from convkit import functional as F
from convkit.onnx.operators.table import axes_of, axis_of, integers, is_float, operator, pairs, single
from convkit.ops import array
from convkit.ops.shape import Reshape

# --- constants and shapes -----------------------------------------------------------------------------------


@operator("Constant")
def constant_value(*, value: Any = None, value_float: Any = None, value_floats: Any = None, value_int: Any = None,
                   value_ints: Any = None) -> Any:  # fmt: skip
    if value is not None:
        return value
    floats = value_float if value_float is not None else value_floats
    if floats is not None:
        return np.asarray(floats, np.float32)
    return np.asarray(value_int if value_int is not None else value_ints, np.int64)


@operator("ConstantOfShape", known="shape")
def constant_of_shape(shape: Any, *, value: Any = None) -> Any:
    value = np.zeros(1, np.float32) if value is None else value
    return np.full(integers(shape), value.item(), value.dtype)


@operator("Shape")
def shape_of(x: Any, *, start: int = 0, end: int | None = None) -> Any:
    return np.array(x.shape[slice(start, end)], np.int64)


@operator("Size")
def size_of(x: Any) -> Any:
    return np.array(prod(x.shape), np.int64)


@operator("Range", known="start limit delta")
def range_of(start: Any, limit: Any, delta: Any, *, stash_type: int = 1) -> Any:
    given = {"start": start, "limit": limit, "delta": delta}
    numbers: list[Any] = [single("Range", name, value)[()] for name, value in given.items()]
    return np.arange(*numbers, dtype=numbers[0].dtype)


@operator("Identity")
def identity(x: Any) -> Any:
    return x


@operator("Cast")
def cast(x: Any, *, to: int, saturate: int = 1, round_mode: str = "up") -> Any:
    dtype = helper.tensor_dtype_to_np_dtype(to)
    return x if x.dtype == dtype else array.cast(x, dtype)


@operator("CastLike")
def cast_like(x: Any, like: Any, *, saturate: int = 1, round_mode: str = "up") -> Any:
    return x if x.dtype == like.dtype else array.cast(x, like.dtype)


# --- another shape ------------------------------------------------------------------------------------------


@operator("Reshape", known="shape")
def reshape(x: Any, shape: Any, *, allowzero: int = 0) -> Any:
    wanted = [x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(integers(shape))]
    if -1 in wanted:
        wanted[wanted.index(-1)] = prod(x.shape) // max(prod(n for n in wanted if n != -1), 1)
    if min(wanted, default=0) < 0 or prod(wanted) != prod(x.shape):
        raise ValueError(f"Reshape: {prod(x.shape)} values of shape {tuple(x.shape)} do not fit into shape {wanted}")
    return Reshape(tuple(wanted))(x)


@operator("Flatten")
def flatten(x: Any, *, axis: int = 1) -> Any:
    ndim = len(x.shape)
    first = errors.integer("Flatten", "axis", axis, -ndim, ndim)
    first += ndim if first < 0 else 0
    return Reshape((prod(x.shape[:first]), prod(x.shape[first:])))(x)


@operator("Squeeze", known="axes")
def squeeze(x: Any, axes: Any = None) -> Any:
    dropped = [i for i, n in enumerate(x.shape) if n == 1] if axes is None else axes_of(axes, len(x.shape))
    if any(x.shape[i] != 1 for i in dropped):
        raise ValueError(f"Squeeze: axes must be those of size 1 of shape {tuple(x.shape)}, not {integers(axes)}")
    return Reshape(tuple(n for i, n in enumerate(x.shape) if i not in dropped))(x)


@operator("Unsqueeze", known="axes")
def unsqueeze(x: Any, axes: Any) -> Any:
    rest = iter(x.shape)
    ndim = len(x.shape) + len(integers(axes))
    added = axes_of(axes, ndim)
    return Reshape(tuple(1 if i in added else next(rest) for i in range(ndim)))(x)


@operator("Transpose")
def transpose(x: Any, *, perm: Sequence[int] | None = None) -> Any:
    return array.transpose(x, perm if perm is not None else range(len(x.shape))[::-1])


@operator("Expand", known="shape")
def expand(x: Any, shape: Any) -> Any:
    return array.broadcast_to(x, integers(shape))


@operator("Tile", known="repeats")
def tile(x: Any, repeats: Any) -> Any:
    times = integers(repeats)
    spread = Reshape(tuple(n for size in x.shape for n in (1, size)))(x)
    spread = array.broadcast_to(spread, [n for pair in zip(times, x.shape, strict=True) for n in pair])
    return Reshape(tuple(k * n for k, n in zip(times, x.shape, strict=True)))(spread)


@operator("DepthToSpace")
def depth_to_space(x: Any, *, blocksize: int, mode: str = "DCR") -> Any:
    n, c, h, w, r = _planes_and_block("DepthToSpace", x, blocksize, mode)
    if c % r**2:
        raise ValueError(f"DepthToSpace: blocksize must be one whose square divides the {c} channels of x, not {r}")
    if mode == "CRD":
        cells = array.transpose(Reshape((n, c // r**2, r, r, h, w))(x), (0, 1, 4, 2, 5, 3))
    else:
        cells = array.transpose(Reshape((n, r, r, c // r**2, h, w))(x), (0, 3, 4, 1, 5, 2))
    return Reshape((n, c // r**2, h * r, w * r))(cells)


@operator("SpaceToDepth")
def space_to_depth(x: Any, *, blocksize: int, mode: str = "DCR") -> Any:
    n, c, h, w, r = _planes_and_block("SpaceToDepth", x, blocksize, mode)
    if h % r or w % r:
        raise ValueError(f"SpaceToDepth: blocksize must divide {h} and {w}, the size of x, which {r} does not")
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    cells = array.transpose(Reshape((n, c, h // r, r, w // r, r))(x), order)
    return Reshape((n, c * r**2, h // r, w // r))(cells)


def _planes_and_block(function: str, x: Any, blocksize: Any, mode: Any) -> tuple[int, ...]:
    """The shape (N, C, H, W) of x and the size of blocks, if these and the mode are what ONNX has."""
    errors.dimensions(function, "x", x, 4, "(N, C, H, W)")
    errors.one_of(function, "mode", mode, ("DCR", "CRD"))
    return (*x.shape, errors.integer(function, "blocksize", blocksize, 1))


# --- parts and their union ----------------------------------------------------------------------------------


@operator("Concat")
def concat(*parts: Any, axis: int = 1) -> Any:
    return F.concat(parts, axis) if is_float(*parts) else array.concatenate(parts, axis)


@operator("Split", known="split")
def split(x: Any, split: Any = None, *, axis: int = 0, num_outputs: int | None = None, outputs: int) -> Any:
    axis = axis_of(axis, len(x.shape))
    n = x.shape[axis]
    if split is None:
        count = num_outputs or outputs
        chunk = -(-n // count)
        split = [min(chunk, n - i * chunk) for i in range(count)]
    parts = integers(split)
    if min(parts, default=0) < 0 or sum(parts) != n:
        raise ValueError(f"Split: split must be sizes from 0 on that make {n}, that of axis {axis}, not {parts}")
    ends = np.cumsum([0, *parts])
    before = (slice(None),) * axis
    return tuple(array.pick(x, (*before, slice(lo, hi))) for lo, hi in pairwise(ends))


@operator("Slice", known="starts ends axes steps")
def slice_of(x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    starts, ends = integers(starts), integers(ends)
    index = [slice(None)] * len(x.shape)
    chosen = range(len(starts)) if axes is None else axes_of(axes, len(x.shape))
    strides = [1] * len(starts) if steps is None else integers(steps)
    for axis, start, end, step in zip(chosen, starts, ends, strides, strict=True):
        n = x.shape[axis]
        # An end below -n is where ONNX says "all of it, backwards", which NumPy would count from the end once more.
        index[axis] = slice(start, None if step < 0 and end < -n else end, step)
    return array.pick(x, tuple(index))


@operator("Gather", known="indices")
def gather(x: Any, indices: Any, *, axis: int = 0) -> Any:
    return array.pick(x, (*(slice(None),) * axis_of(axis, len(x.shape)), np.asarray(indices)))


@operator("GatherElements")
def gather_elements(x: Any, indices: Any, *, axis: int = 0) -> Any:
    along = axis_of(axis, len(x.shape))
    n, shape = x.shape[along], tuple(indices.shape)
    if len(shape) != len(x.shape) or any(m > x.shape[i] for i, m in enumerate(shape) if i != along):
        raise ValueError(
            f"GatherElements: indices must have {len(x.shape)} axes, each but axis {along} of at most the size that it "
            f"has in {tuple(x.shape)}, not shape {shape}"
        )
    within = tuple(slice(None if i == along else m) for i, m in enumerate(shape))

    def taken(a: np.ndarray, places: np.ndarray) -> np.ndarray:
        if places.size and not -n <= places.min() <= places.max() < n:
            wrong = places.min() if places.min() < -n else places.max()
            raise ValueError(f"GatherElements: indices must be from {-n} to {n - 1}, not {wrong}")
        return np.take_along_axis(a[within], np.where(places < 0, places + n, places), along)

    return array.Apply(taken)(x, indices)


@operator("GatherND", known="indices")
def gather_nd(x: Any, indices: Any, *, batch_dims: int = 0) -> Any:
    indices = np.asarray(indices)
    batch = np.ogrid[tuple(slice(n) for n in x.shape[:batch_dims])]
    spread = [part.reshape(*part.shape, *(1,) * (indices.ndim - 1 - batch_dims)) for part in batch]
    return array.pick(x, (*spread, *np.moveaxis(indices, -1, 0)))


@operator("Pad", known="pads constant_value axes")
def pad(x: Any, pads: Any = None, constant_value: Any = None, axes: Any = None, *, mode: Any = "constant",
        value: float = 0.0) -> Any:  # fmt: skip
    errors.one_of("Pad", "mode", mode, ("constant", "reflect", "edge", "wrap"))
    padding = [(0, 0)] * len(x.shape)
    chosen = range(len(x.shape)) if axes is None else axes_of(axes, len(x.shape))
    for axis, pair in zip(chosen, pairs(integers(pads)), strict=True):
        padding[axis] = pair
    if any(max(-lo, 0) + max(-hi, 0) > n for n, (lo, hi) in zip(x.shape, padding, strict=True)):
        raise ValueError(f"Pad: pads must not remove more than x of shape {tuple(x.shape)} has, as {padding} would")
    if any(lo < 0 or hi < 0 for lo, hi in padding):
        cut = tuple(slice(max(-lo, 0), n - max(-hi, 0)) for n, (lo, hi) in zip(x.shape, padding, strict=True))
        x, padding = array.pick(x, cut), [(max(lo, 0), max(hi, 0)) for lo, hi in padding]
    if mode == "constant":
        fill = value if constant_value is None else np.asarray(constant_value).item()
        return _constant_pad(x, padding, fill)
    # A border of values of x itself is a choice of places along each axis.
    for axis, pair in enumerate(padding):
        if any(pair):
            places = np.pad(np.arange(x.shape[axis]), pair, mode=mode)
            x = array.pick(x, (*(slice(None),) * axis, places))
    return x


def _constant_pad(x: Any, padding: Sequence[tuple[int, int]], value: Any) -> Any:
    inside = tuple(slice(lo, lo + n) for n, (lo, _) in zip(x.shape, padding, strict=True))
    return array.Apply(
        lambda a: np.pad(a, padding, constant_values=value),
        lambda inputs, outputs, grads: (array.pick(grads[0], inside),),
    )(x)


# --- further ones -------------------------------------------------------------------------------------------


@operator("Trilu", known="k")
def trilu(x: Any, k: Any = 0, *, upper: int = 1) -> Any:
    diagonal = int(single("Trilu", "k", k))
    return array.Apply(lambda a: (np.triu if upper else np.tril)(a, diagonal))(x)


@operator("CumSum", known="axis")
def cum_sum(x: Any, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Any:
    along = axis_of(single("CumSum", "axis", axis), len(x.shape))

    def sums(a: np.ndarray) -> np.ndarray:
        a = np.flip(a, along) if reverse else a
        result = np.cumsum(_moved_on(a, along) if exclusive else a, along, a.dtype)
        return np.flip(result, along) if reverse else result

    return array.Apply(sums)(x)


def _moved_on(a: np.ndarray, axis: int) -> np.ndarray:
    """Each value one place further, 0 at the first, without the last."""
    moved = np.zeros(a.shape, a.dtype)
    np.moveaxis(moved, axis, 0)[1:] = np.moveaxis(a, axis, 0)[:-1]
    return moved


@operator("OneHot", known="depth")
def one_hot(indices: Any, depth: Any, values: Any, *, axis: int = -1) -> Any:
    size = int(single("OneHot", "depth", depth))

    def rows(places: np.ndarray, off_on: np.ndarray) -> np.ndarray:
        along = axis_of(axis, places.ndim + 1)
        classes = np.arange(size).reshape([-1 if i == along else 1 for i in range(places.ndim + 1)])
        hit = np.expand_dims(np.where(places < 0, places + size, places), axis) == classes
        return np.where(hit, off_on[1], off_on[0])

    return array.Apply(rows)(indices, values)


@operator("EyeLike")
def eye_like(x: Any, *, dtype: int | None = None, k: int = 0) -> Any:
    rows, columns = x.shape
    return np.eye(rows, columns, k, x.dtype if dtype is None else helper.tensor_dtype_to_np_dtype(dtype))


@operator("TopK", known="k")
def top_k(x: Any, k: Any, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> Any:
    count = int(single("TopK", "k", k))

    def best(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # Of equal values the first comes first, so the largest are sought from the end on.
        order = np.argsort(a, axis, kind="stable")
        if largest:
            order = np.flip(a.shape[axis] - 1 - np.argsort(np.flip(a, axis), axis, kind="stable"), axis)
        order = order.take(range(count), axis)
        return np.take_along_axis(a, order, axis), order

    return array.Apply(best)(x)
