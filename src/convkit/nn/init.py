"""Initial values of weights, drawn from the process-wide generator.

For a weight of shape (O, I, *k), fan_in = I·prod(k) and fan_out = O·prod(k): by its axes, whatever the layer. Those of
transposed convolutions are (in_channels, out_channels / groups, *k), so that their fans change places.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf, prod, sqrt
from typing import Any

import numpy as np

from convkit.errors import converted, integer, is_listing, number, numbers, said
from convkit.geometry import check_volume
from convkit.seeding import generator

Initializer = Callable[[tuple[int, ...]], np.ndarray]


class _Allowance(threading.local):
    """How many values layers may still be given."""

    values = inf


_allowance = _Allowance()

PART = 1 << 20  # values drawn at a time


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight of this shape."""
    return _fans("fans", shape)


def _fans(function: str, shape: Any) -> tuple[int, int]:
    outputs, inputs, *kernel = _shape(function, shape, axes=2)
    field = prod(kernel)
    return inputs * field, outputs * field


def _shape(function: str, shape: Any, axes: int = 0) -> tuple[int, ...]:
    """The shape of an array that can be addressed; with `axes`, that of a weight."""
    if not is_listing(shape) or len(shape) < axes:
        expected = f"at least {axes} axes (outputs, inputs, …)" if axes else "a sequence of integers"
        raise (ValueError if is_listing(shape) else TypeError)(
            f"{function}: shape must be {expected}, not {said(shape)}"
        )
    sizes = tuple(integer(function, "shape", n, min(axes, 1)) for n in shape)
    check_volume(function, sizes, "an array of this shape")
    return sizes


def _uniform(shape: Any, limit: float) -> np.ndarray:
    return _drawn(tuple(map(int, shape)), lambda count: generator().uniform(-limit, limit, count))


def normal(shape: tuple[int, ...], deviation: float) -> np.ndarray:
    """N(0, deviation²)."""
    deviation = number("normal", "deviation", deviation)
    return _drawn(_shape("normal", shape), lambda count: generator().normal(0.0, deviation, count))


def _drawn(shape: tuple[int, ...], draw: Callable[[int], np.ndarray]) -> np.ndarray:
    """What is drawn as doubles, so many at a time: all at once would take three times the memory of a large layer."""
    values = np.empty(prod(shape), np.float32)
    for first in range(0, values.size, PART):
        part = values[first : first + PART]
        part[...] = converted(draw(part.size), part.dtype)
    return values.reshape(shape)


def zeros(shape: tuple[int, ...]) -> np.ndarray:
    """All zero."""
    return np.zeros(_shape("zeros", shape))


def glorot_uniform(shape: tuple[int, ...]) -> np.ndarray:
    """U(-a, a), a = sqrt(6 / (fan_in + fan_out)). Glorot and Bengio 2010, equation 16."""
    return _uniform(shape, sqrt(6 / sum(_fans("glorot_uniform", shape))))


def glorot_normal(shape: tuple[int, ...]) -> np.ndarray:
    """N(0, s²), s = sqrt(2 / (fan_in + fan_out)). Glorot and Bengio 2010, equation 12."""
    return normal(shape, sqrt(2 / sum(_fans("glorot_normal", shape))))


def he_uniform(shape: tuple[int, ...]) -> np.ndarray:
    """U(-a, a), a = sqrt(6 / fan_in): the variance of He et al. 2015, equation 10, for rectified layers."""
    return _uniform(shape, sqrt(6 / _fans("he_uniform", shape)[0]))


def he_normal(shape: tuple[int, ...]) -> np.ndarray:
    """N(0, s²), s = sqrt(2 / fan_in). He et al. 2015, equation 10, for rectified layers."""
    return normal(shape, sqrt(2 / _fans("he_normal", shape)[0]))


def lecun_uniform(shape: tuple[int, ...]) -> np.ndarray:
    """U(-a, a), a = sqrt(3 / fan_in): the variance of LeCun et al. 1998, "Efficient BackProp", equation 16."""
    return _uniform(shape, sqrt(3 / _fans("lecun_uniform", shape)[0]))


def lecun_normal(shape: tuple[int, ...]) -> np.ndarray:
    """N(0, s²), s = sqrt(1 / fan_in). LeCun et al. 1998, "Efficient BackProp", equation 16."""
    return normal(shape, sqrt(1 / _fans("lecun_normal", shape)[0]))


BY_NAME: dict[str, Initializer] = {
    function.__name__: function
    for function in (
        zeros, glorot_uniform, glorot_normal, he_uniform, he_normal, lecun_uniform, lecun_normal,
    )
}  # fmt: skip


@contextmanager
def at_most(count: int) -> Iterator[None]:
    """Context in which layers with more than `count` values in all are refused before memory is taken for them.

    So the arguments of an architecture that a file names can be no larger than the file.
    """
    before, _allowance.values = _allowance.values, count
    try:
        yield
    finally:
        _allowance.values = before


def initial(layer: str, init: str | Initializer, shape: tuple[int, ...], sizes: str) -> np.ndarray:
    """Values of this shape, which the arguments `sizes` ask for, from an initialiser given as a function or by name."""
    _take(layer, shape, sizes)
    if callable(init):
        values = converted(numbers(layer, "what init returns", init(shape)), np.float32)
        if values.shape != shape:
            raise ValueError(f"{layer}: init must return an array of shape {shape}, not {values.shape}")
        return values
    if not isinstance(init, str) or init not in BY_NAME:
        raise ValueError(
            f"{layer}: init must be a function of a shape or one of {', '.join(BY_NAME)}, not {said(init)}"
        )
    return BY_NAME[init](shape).astype(np.float32, copy=False)


def constant(layer: str, value: float, shape: tuple[int, ...], sizes: str) -> np.ndarray:
    """As `initial`, values that are all the same."""
    _take(layer, shape, sizes)
    return np.full(shape, converted(value, np.float32))


def _take(layer: str, shape: tuple[int, ...], sizes: str) -> None:
    """Refuse values that a file cannot hold, or that nothing can."""
    if prod(shape) > _allowance.values:
        raise ValueError(f"{layer}: values of shape {shape} are more than the file holds")
    check_volume(layer, shape, f"the parameters that {sizes} ask for")
    _allowance.values -= prod(shape)
