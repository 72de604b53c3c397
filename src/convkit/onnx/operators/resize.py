"""Resize and Upsample: every mode is a matrix for each axis, whose row i weighs the inputs that output i is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convkit import errors
from convkit.onnx.operators.table import axes_of, integers, is_float, operator
from convkit.ops import array

# What the attributes may be.
WORDS = {
    "mode": ("nearest", "linear", "cubic"),
    "coordinate_transformation_mode": (
        "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
        "tf_half_pixel_for_nn", "tf_crop_and_resize",
    ),
    "nearest_mode": ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
    "keep_aspect_ratio_policy": ("stretch", "not_larger", "not_smaller"),
}  # fmt: skip


@operator("Resize", known="roi scales sizes")
def resize(
    x: Any, roi: Any = None, scales: Any = None, sizes: Any = None, *, mode: str = "nearest", axes: Any = None,
    coordinate_transformation_mode: str = "half_pixel", nearest_mode: str = "round_prefer_floor",
    cubic_coeff_a: float = -0.75, exclude_outside: int = 0, extrapolation_value: float = 0.0, antialias: int = 0,
    keep_aspect_ratio_policy: str = "stretch", opset: int,
) -> Any:  # fmt: skip
    if opset < 11:  # (x, scales), and pixels lie at their corners
        return upsample(x, roi, mode=mode)
    given = (mode, coordinate_transformation_mode, nearest_mode, keep_aspect_ratio_policy)
    for name, word in zip(WORDS, given, strict=True):
        errors.one_of("Resize", name, word, WORDS[name])
    dtype = x.dtype
    if mode != "nearest" and not is_float(x):  # integers are rounded once, after all axes
        if dtype.kind == "b":
            raise TypeError(f"Resize: x must be numbers where mode is {mode!r}, not bool")
        x = array.cast(x, np.float64)
    chosen = tuple(range(len(x.shape))) if axes is None else axes_of(axes, len(x.shape))
    before = [x.shape[axis] for axis in chosen]
    if sizes is not None and len(sizes):
        wanted = [errors.integer("Resize", "sizes", n, 0) for n in integers(sizes)]
        factors = [m / n for m, n in zip(wanted, before, strict=True)]
        if keep_aspect_ratio_policy != "stretch":
            factors = [(min if keep_aspect_ratio_policy == "not_larger" else max)(factors)] * len(factors)
            after = [int(np.floor(n * f + 0.5)) for n, f in zip(before, factors, strict=True)]
        else:
            after = wanted
    else:
        factors = [errors.positive("Resize", "scales", float(f)) for f in np.ravel(scales)]
        after = [int(np.floor(n * f)) for n, f in zip(before, factors, strict=True)]
    crop = [(0.0, 1.0)] * len(chosen)
    if coordinate_transformation_mode == "tf_crop_and_resize":
        crop = list(zip(*np.reshape(np.asarray(roi, float), (2, -1)), strict=True))
    how = (mode, nearest_mode, cubic_coeff_a, bool(exclude_outside), bool(antialias))
    positions = [
        _positions(coordinate_transformation_mode, n, m, factor, part)
        for n, m, factor, part in zip(before, after, factors, crop, strict=True)
    ]
    for axis, n, factor, places in zip(chosen, before, factors, positions, strict=True):
        if not np.array_equal(places, np.arange(n)):
            x = _resampled(x, axis, places, factor, *how)
    if coordinate_transformation_mode == "tf_crop_and_resize":
        x = _extrapolated(x, chosen, before, positions, extrapolation_value)
    return x if x.dtype == dtype else array.rounded_to(x, dtype)


@operator("Upsample", known="scales")
def upsample(x: Any, scales: Any = None, *, mode: str = "nearest") -> Any:
    errors.one_of("Upsample", "mode", mode, ("nearest", "linear"))
    return resize(
        x, None, scales, mode=mode, coordinate_transformation_mode="asymmetric", nearest_mode="floor", opset=11
    )


def _positions(where: str, n: int, m: int, factor: float, part: tuple[float, float]) -> np.ndarray:
    """Where `m` outputs lie among `n` inputs."""
    i = np.arange(m)
    if where == "asymmetric":
        return i / factor
    if where == "tf_half_pixel_for_nn":
        return (i + 0.5) / factor
    if where == "align_corners":
        return i * ((n - 1) / (n * factor - 1)) if n * factor != 1 else np.zeros(m)
    if where == "tf_crop_and_resize":
        lo, hi = part
        return lo * (n - 1) + (i * ((hi - lo) * (n - 1) / (m - 1)) if m > 1 else np.full(m, (hi - lo) * (n - 1) / 2))
    if where == "pytorch_half_pixel" and m == 1:
        return np.zeros(m)
    offset = n / 2 * (1 - m / (n * factor)) if where == "half_pixel_symmetric" else 0.0
    return offset + (i + 0.5) / factor - 0.5


def _resampled(
    x: Any, axis: int, positions: np.ndarray, factor: float, mode: str, nearest_mode: str, a: float,
    exclude_outside: bool, antialias: bool,
) -> Any:  # fmt: skip
    n = x.shape[axis]
    if mode == "nearest":
        places = np.clip(_rounded(nearest_mode, positions), 0, n - 1)
        return array.pick(x, (*(slice(None),) * axis, places))
    # The inputs that an output is made of lie `reach` to either side; shrinking with antialiasing widens that.
    squeeze = min(factor, 1.0) if antialias else 1.0
    reach = 1 if mode == "linear" else 2
    first = int(np.floor(-reach / squeeze)) + 1
    base = np.ceil(positions).astype(int) - 1
    taps = base[:, None] + np.arange(first, first + 2 * (1 - first))
    distance = np.abs(taps - positions[:, None]) * squeeze
    weights = np.maximum(1 - distance, 0) if mode == "linear" else _cubic(distance, a)
    if exclude_outside:
        weights = np.where((taps >= 0) & (taps < n), weights, 0)
    weights /= weights.sum(1, keepdims=True)
    matrix = np.zeros((len(positions), n))
    np.add.at(matrix, (np.arange(len(positions))[:, None], np.clip(taps, 0, n - 1)), weights)
    return array.linear_along(x, matrix, axis)


def _rounded(how: str, positions: np.ndarray) -> np.ndarray:
    if how.startswith("round"):
        rounded = np.ceil(positions - 0.5) if how == "round_prefer_floor" else np.floor(positions + 0.5)
    else:
        rounded = np.floor(positions) if how == "floor" else np.ceil(positions)
    return rounded.astype(int)


def _cubic(t: np.ndarray, a: float) -> np.ndarray:
    """Keys 1981, "Cubic convolution interpolation for digital image processing", equation 4, with any a."""
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


def _extrapolated(
    x: Any, axes: Sequence[int], before: Sequence[int], positions: Sequence[np.ndarray], value: float
) -> Any:
    """x with another value wherever a position lies outside of the input on some axis."""
    inside = np.ones((1,) * len(x.shape), bool)
    for axis, n, p in zip(axes, before, positions, strict=True):
        shape = [-1 if i == axis else 1 for i in range(len(x.shape))]
        inside = inside & ((p >= 0) & (p <= n - 1)).reshape(shape)
    fill = array.rounded_to(np.asarray(value, float), x.dtype) if x.dtype.kind in "iu" else np.full((), value, x.dtype)
    return array.pointwise(np.where, inside, x, fill)
