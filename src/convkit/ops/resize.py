"""Images of another size: pixels made of channels, and interpolation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from convkit.ops.base import NumpyPrimitive, Spec


@dataclass(frozen=True)
class PixelShuffle(NumpyPrimitive):
    """(N, C·r², H, W) -> (N, C, H·r, W·r): channel c·r² + i·r + j becomes row i and column j of each r × r cell."""

    factor: int

    def infer(self, x: Any) -> tuple[Spec, ...]:
        n, c, h, w = x.shape
        r = self.factor
        return (Spec((n, c // r**2, h * r, w * r), x.dtype),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        _cells(outputs[0], self.factor)[...] = inputs[0].reshape(_cells(outputs[0], self.factor).shape)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (PixelUnshuffle(self.factor)(grads[0]),)


@dataclass(frozen=True)
class PixelUnshuffle(NumpyPrimitive):
    """(N, C, H·r, W·r) -> (N, C·r², H, W): the inverse of `PixelShuffle`, and its adjoint."""

    factor: int

    def infer(self, x: Any) -> tuple[Spec, ...]:
        n, c, h, w = x.shape
        r = self.factor
        return (Spec((n, c * r**2, h // r, w // r), x.dtype),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        cells = _cells(inputs[0], self.factor)
        outputs[0].reshape(cells.shape)[...] = cells

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (PixelShuffle(self.factor)(grads[0]),)


def _cells(image: np.ndarray, r: int) -> np.ndarray:
    """(N, C, H·r, W·r) seen as (N, C, r, r, H, W)."""
    n, c, h, w = image.shape
    return image.reshape(n, c, h // r, r, w // r, r).transpose(0, 1, 3, 5, 2, 4)


class Taps(NamedTuple):
    """For each output of an axis: the inputs on either side of it, and the share of the second, below 1."""

    lower: np.ndarray
    upper: np.ndarray
    share: np.ndarray


def taps(size: int, out: int, linear: bool, align_corners: bool) -> Taps:
    """Where `out` outputs lie among `size` inputs."""
    if not linear:
        nearest = np.arange(out) * size // out
        return Taps(nearest, nearest, np.zeros(out))
    # Where an output lies is a fraction, of integers so that those on an input lie there exactly.
    if align_corners:
        position, scale = np.arange(out) * (size - 1), max(out - 1, 1)
    else:
        position, scale = (2 * np.arange(out) + 1) * size - out, 2 * out
    lower, rest = np.divmod(position.clip(0, (size - 1) * scale), scale)
    return Taps(lower, np.minimum(lower + 1, size - 1), rest / scale)


@dataclass(frozen=True)
class Interpolate(NumpyPrimitive):
    """x (N, C, *size) -> (N, C, *out): the nearest value, or a mean of the two on either side along each axis."""

    out: tuple[int, ...]
    linear: bool
    align_corners: bool

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return (Spec((*x.shape[:2], *self.out), x.dtype),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        values = inputs[0]
        for axis, out in enumerate(self.out, 2):
            lower, upper, share = taps(values.shape[axis], out, self.linear, self.align_corners)
            mean = values.take(lower, axis)
            if share.any():
                mean *= _on_axis(1 - share, axis, values)
                second = values.take(upper, axis)
                second *= _on_axis(share, axis, values)
                mean += second
                [met] = np.nonzero(share == 0)  # one value alone: 0 times another may be NaN
                np.moveaxis(mean, axis, -1)[..., met] = np.moveaxis(values, axis, -1)[..., lower[met]]
            values = mean
        outputs[0][...] = values

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (InterpolateGrad(tuple(inputs[0].shape[2:]), self.linear, self.align_corners)(grads[0]),)


@dataclass(frozen=True)
class InterpolateGrad(NumpyPrimitive):
    """grad_output -> grad_x of spatial size `size`: each gradient shared out among the values it was made of."""

    size: tuple[int, ...]
    linear: bool
    align_corners: bool

    def infer(self, grad: Any) -> tuple[Spec, ...]:
        return (Spec((*grad.shape[:2], *self.size), grad.dtype),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        grad = inputs[0]
        for axis, size in enumerate(self.size, 2):
            places = taps(size, grad.shape[axis], self.linear, self.align_corners)
            spread = np.zeros((*grad.shape[:axis], size, *grad.shape[axis + 1 :]), grad.dtype)
            lines, line_grads = np.moveaxis(spread, axis, 0), np.moveaxis(grad, axis, 0)
            for line, lower, upper, share in zip(line_grads, *places, strict=True):
                lines[lower] += grad.dtype.type(1 - share) * line
                if share:
                    lines[upper] += grad.dtype.type(share) * line
            grad = spread
        outputs[0][...] = grad


def _on_axis(weights: np.ndarray, axis: int, x: np.ndarray) -> np.ndarray:
    return weights.astype(x.dtype).reshape(-1, *(1,) * (x.ndim - axis - 1))
