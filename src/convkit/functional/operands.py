"""What every function does first: take arrays, symbols and parameters alike, and check them."""

from __future__ import annotations

from typing import Any

from convkit import errors
from convkit.ops.base import Operand


def operand(function: str, argument: str, value: Any) -> Any:
    """`value` ready for an op: a symbol or parameter as it is, anything else as a contiguous float array."""
    if not isinstance(value, Operand):
        return errors.array(function, argument, value)
    if value.dtype not in errors.FLOATS:
        raise TypeError(f"{function}: {argument} must be float32 or float64, not {value.dtype}")
    return value


def operands(function: str, optional: str = "", **values: Any) -> list[Any]:
    """All values ready for an op and of one dtype; the one named `optional` may be None."""
    ready = {
        name: None if value is None and name == optional else operand(function, name, value)
        for name, value in values.items()
    }
    errors.same_dtype(function, **ready)
    return list(ready.values())


def axis_of(function: str, argument: str, axis: Any, ndim: int) -> int:
    """A possibly negative axis as one from 0 to ndim - 1."""
    number = errors.integer(function, argument, axis, -ndim)
    if number >= ndim:
        raise ValueError(f"{function}: {argument} must be below {ndim}, the number of axes, not {number}")
    return number % ndim
