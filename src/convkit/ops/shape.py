"""Ops that move values without changing them, and sums over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from convkit._kernels.core import Kernel, Series
from convkit._kernels.elementwise import Copy2d
from convkit._kernels.loss import SumAll
from convkit.geometry import Pairs
from convkit.ops.base import NumpyPrimitive, Primitive, Spec
from convkit.ops.elementwise import BroadcastTo, Scale


@dataclass(frozen=True)
class Reshape(Primitive):
    """The same memory under another shape: nothing is computed."""

    shape: tuple[int, ...]

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return (Spec(self.shape, x.dtype),)

    def by_image(self, *inputs: Any) -> tuple[int, ...]:
        return (0,) if inputs[0].shape[:1] == self.shape[:1] else ()

    def evaluate(self, arrays: Sequence[Any]) -> tuple[np.ndarray, ...]:
        return (arrays[0].reshape(self.shape),)

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (Reshape(tuple(inputs[0].shape))(grads[0]),)


@dataclass(frozen=True)
class Concat(Primitive):
    """Arrays, one behind the other along an axis."""

    axis: int

    def infer(self, *inputs: Any) -> tuple[Spec, ...]:
        shape = list(inputs[0].shape)
        shape[self.axis] = sum(operand.shape[self.axis] for operand in inputs)
        return (Spec(tuple(shape), inputs[0].dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return Series(
            _block(source, outputs[0], self.axis, 0, start)
            for source, start in zip(inputs, _starts(inputs, self.axis), strict=True)
        )

    def by_image(self, *inputs: Any) -> tuple[int, ...]:
        return tuple(range(len(inputs))) if self.axis > 0 else ()

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return [
            Slice(self.axis, start, operand.shape[self.axis])(grads[0])
            for operand, start in zip(inputs, _starts(inputs, self.axis), strict=True)
        ]


@dataclass(frozen=True)
class Slice(Primitive):
    """`size` entries of an axis, from `start` on."""

    axis: int
    start: int
    size: int

    def infer(self, x: Any) -> tuple[Spec, ...]:
        shape = list(x.shape)
        shape[self.axis] = self.size
        return (Spec(tuple(shape), x.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return _block(inputs[0], outputs[0], self.axis, self.start, 0)

    def by_image(self, *inputs: Any) -> tuple[int, ...]:
        return (0,) if self.axis > 0 else ()

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        padding = [(0, 0)] * len(inputs[0].shape)
        padding[self.axis] = (self.start, inputs[0].shape[self.axis] - self.start - self.size)
        return (Pad(tuple(padding))(grads[0]),)


def _starts(operands: Sequence[Any], axis: int) -> list[int]:
    sizes = [operand.shape[axis] for operand in operands]
    return [sum(sizes[:i]) for i in range(len(sizes))]


def _block(source: Any, target: Any, axis: int, source_start: int, target_start: int) -> Kernel:
    """The copy of as many entries along an axis as both have."""
    rows, inner = prod(source.shape[:axis]), prod(source.shape[axis + 1 :])
    n_source, n_target = source.shape[axis], target.shape[axis]
    return Copy2d(
        source,
        target,
        rows,
        min(n_source, n_target) * inner,
        source_start * inner,
        n_source * inner,
        target_start * inner,
        n_target * inner,
    )


@dataclass(frozen=True)
class Pad(NumpyPrimitive):
    """x with `value` around it: (low, high) for every axis."""

    padding: Pairs
    value: float = 0.0

    def infer(self, x: Any) -> tuple[Spec, ...]:
        shape = tuple(lo + n + hi for n, (lo, hi) in zip(x.shape, self.padding, strict=True))
        return (Spec(shape, x.dtype),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        outputs[0].fill(self.value)
        outputs[0][_inside(inputs[0].shape, self.padding)] = inputs[0]

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (Crop(self.padding)(grads[0]),)


@dataclass(frozen=True)
class Crop(NumpyPrimitive):
    """x without (low, high) entries at the ends of every axis: the adjoint of padding."""

    padding: Pairs

    def infer(self, x: Any) -> tuple[Spec, ...]:
        shape = tuple(n - lo - hi for n, (lo, hi) in zip(x.shape, self.padding, strict=True))
        return (Spec(shape, x.dtype),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        outputs[0][...] = inputs[0][_inside(outputs[0].shape, self.padding)]

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (Pad(self.padding)(grads[0]),)


@dataclass(frozen=True)
class PadBy(NumpyPrimitive):
    """x with its own values around it, (low, high) for every axis: which ones, `mode` says; see `border`."""

    padding: Pairs
    mode: str

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return Pad(self.padding).infer(x)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        [x], [y] = inputs, outputs
        y[_inside(x.shape, self.padding)] = x
        for axis, (pair, n) in enumerate(zip(self.padding, x.shape, strict=True)):
            lines = np.moveaxis(y, axis, 0)
            for place, source in border(self.mode, pair, n):
                lines[place] = lines[source]

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (PadByGrad(self.padding, self.mode)(grads[0]),)


@dataclass(frozen=True)
class PadByGrad(NumpyPrimitive):
    """grad_output -> grad_x: what is around is added to where it was taken from."""

    padding: Pairs
    mode: str

    def infer(self, grad: Any) -> tuple[Spec, ...]:
        return Crop(self.padding).infer(grad)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        total, [grad_x] = inputs[0].copy(), outputs
        for axis in range(total.ndim):
            lines = np.moveaxis(total, axis, 0)
            for place, source in border(self.mode, self.padding[axis], grad_x.shape[axis]):
                lines[source] += lines[place]
        grad_x[...] = total[_inside(grad_x.shape, self.padding)]


def border(mode: str, pair: tuple[int, int], n: int) -> list[tuple[int, int]]:
    """For each padded place of an axis with n values inside the place that its value is copied from.

    'reflect' mirrors at the first and the last value without repeating them (c b | a b c | b a), 'replicate' repeats
    these (a a | a b c | c c), 'circular' goes around (b c | a b c | a b).
    """
    low, high = pair
    outside = [*range(-low, 0), *range(n, n + high)]
    if mode == "reflect":
        inside = [-i if i < 0 else 2 * (n - 1) - i for i in outside]
    elif mode == "replicate":
        inside = [0 if i < 0 else n - 1 for i in outside]
    else:
        inside = [i % n for i in outside]
    return [(low + place, low + source) for place, source in zip(outside, inside, strict=True)]


def _inside(shape: tuple[int, ...], padding: Pairs) -> tuple[slice, ...]:
    return tuple(slice(lo, lo + n) for n, (lo, _) in zip(shape, padding, strict=True))


@dataclass(frozen=True)
class Scatter(NumpyPrimitive):
    """x -> `size` entries along the first axis: those of x at `places`, all different, and zeros elsewhere."""

    places: tuple[int, ...]
    size: int

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return (Spec((self.size, *x.shape[1:]), x.dtype),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        outputs[0].fill(0)
        outputs[0][list(self.places)] = inputs[0]

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (Gather(self.places)(grads[0]),)


@dataclass(frozen=True)
class Gather(NumpyPrimitive):
    """x -> its entries at `places` of the first axis, all different: the adjoint of scattering."""

    places: tuple[int, ...]

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return (Spec((len(self.places), *x.shape[1:]), x.dtype),)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        np.take(inputs[0], self.places, axis=0, out=outputs[0])

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (Scatter(self.places, inputs[0].shape[0])(grads[0]),)


@dataclass(frozen=True)
class Sum(Primitive):
    """The sum of all values, shape (), in an order that does not depend on the number of threads."""

    def infer(self, x: Any) -> tuple[Spec, ...]:
        return (Spec((), x.dtype),)

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        return SumAll(inputs[0], outputs[0])

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        return (BroadcastTo(tuple(inputs[0].shape))(grads[0]),)


def mean(x: Any) -> Any:
    """The mean of all values, shape ()."""
    return Scale(1.0 / max(prod(x.shape), 1))(Sum()(x))
