"""Argument checks with one voice: which function, which argument, what came, what was expected."""

from __future__ import annotations

import importlib
import math
import operator
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from convkit.interrupt import held_back

LARGEST_INTEGER = 2**63 - 1  # of an int64
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class GeometryError(ValueError):
    """A window, padding or size that does not fit; the message says what would."""


def is_figure(value: Any) -> bool:
    """Tell whether a value read from a file is a number that a float can be made of."""
    return type(value) is float or (type(value) is int and abs(value) <= LARGEST_INTEGER)


def integer(function: str, argument: str, value: Any, minimum: int, maximum: int = LARGEST_INTEGER) -> int:
    """`value` as an int from `minimum` to `maximum`; booleans and floats are refused."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{function}: {argument} must be an integer, not {said(value)}") from None
    if number < minimum:
        raise ValueError(f"{function}: {argument} must be at least {minimum}, not {said(number)}")
    if number > maximum:
        raise ValueError(f"{function}: {argument} must be at most {maximum}, not {said(number)}")
    return number


def said(value: Any) -> str:
    """A value as a message has it."""
    try:
        return repr(value)
    except ValueError:  # of integers with thousands of digits, which Python does not write out
        return f"what cannot be written out of {type(value).__name__}"


def integers(function: str, argument: str, value: Any, rank: int, minimum: int) -> tuple[int, ...]:
    """`value`, an integer or one for each of `rank` axes, as a tuple of `rank` ints."""
    if not is_listing(value):
        return (integer(function, argument, value, minimum),) * rank
    if len(value) != rank:
        expected = "one integer" if rank == 1 else f"one integer or {rank} of them"
        raise ValueError(f"{function}: {argument} must be {expected}, not {said(value)}")
    return tuple(integer(function, argument, item, minimum) for item in value)


def is_listing(value: Any) -> bool:
    """Tell whether a value holds others, one behind the other: a sequence or an array of some axes, but no text."""
    return (isinstance(value, Sequence) and not isinstance(value, (str, bytes))) or (
        isinstance(value, np.ndarray) and value.ndim > 0
    )


def sizes(function: str, argument: str, value: Any, count: int) -> tuple[int, ...]:
    """`value`, the shape of an array, as a tuple of `count` ints from 0 on."""
    if not is_listing(value):
        raise TypeError(f"{function}: {argument} must be {count} integers, not {said(value)}")
    return integers(function, argument, value, count, 0)


def axis_sizes(function: str, argument: str, value: Any, minimum: int) -> tuple[int, ...]:
    """`value`, the shape of one input of however many axes, as a tuple of ints."""
    if not is_listing(value):
        raise TypeError(f"{function}: {argument} must be the sizes of one input's axes, not {said(value)}")
    return integers(function, argument, value, len(value), minimum)


def flag(where: str, argument: str, value: Any) -> bool:
    """`value` as a bool, where it is one or the number 0 or 1."""
    if isinstance(value, (bool, np.bool_)) or (isinstance(value, (int, np.integer)) and value in (0, 1)):
        return bool(value)
    raise TypeError(f"{where}: {argument} must be True or False, not {said(value)}")


def one_of(where: str, argument: str, value: Any, known: Sequence[str]) -> str:
    """`value` if it is one of the words that are known, else raise."""
    if isinstance(value, str) and value in known:
        return value
    words = " or ".join(filter(None, [", ".join(map(repr, known[:-1])), repr(known[-1])]))
    raise ValueError(f"{where}: {argument} must be {words}, not {said(value)}")


def number(where: str, argument: str, value: Any, low: float = 0.0, below: float = math.inf) -> float:
    """Return `value` as a float if it is a finite number with ``low <= value < below``, else raise."""
    expected = f"a number >= {low:g}" if below == math.inf else f"a number in [{low:g}, {below:g})"
    return _checked(where, argument, value, expected, lambda x: low <= x < below)


def positive(where: str, argument: str, value: Any) -> float:
    """Return `value` as a float if it is a finite number above 0, else raise."""
    return _checked(where, argument, value, "a number above 0", lambda x: 0 < x < math.inf)


def share(where: str, argument: str, value: Any) -> float:
    """Return `value` as a float if it is a number from 0 to 1, else raise."""
    result = real(where, argument, value)
    if not 0 <= result <= 1:
        raise ValueError(f"{where}: {argument} must be from 0 to 1, not {said(value)}")
    return result


def real(where: str, argument: str, value: Any) -> float:
    """Return `value` as a float if it is any number at all, infinite and NaN too, else raise."""
    return _checked(where, argument, value, "a number", lambda x: True)


def bounds(where: str, **pair: Any) -> tuple[float, float]:
    """Return two numbers of which the first must be below the second, infinite ones too, else raise."""
    low, high = (real(where, argument, value) for argument, value in pair.items())
    if not low < high:
        one, other = pair
        raise ValueError(f"{where}: {one} must be below {other}, but they are {low} and {high}")
    return low, high


def _checked(where: str, argument: str, value: Any, expected: str, fits: Callable[[float], bool]) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{where}: {argument} must be {expected}, not {said(value)}")
    try:
        number = float(value)
    except OverflowError:  # of an int
        raise ValueError(f"{where}: {argument} must be {expected}, not {said(value)}") from None
    if not fits(number):
        raise ValueError(f"{where}: {argument} must be {expected}, not {said(value)}")
    return number


def view(function: str, argument: str, value: Any) -> np.ndarray:
    """`value` as an array of whatever dtype: the one place where other libraries' arrays become NumPy's.

    The same memory, where `value` has memory to show: by ``__array__``, ``__array_interface__``, the buffer protocol or
    DLPack. Numbers and lists of them become new arrays. Masked values are refused: they would count as what lies below.
    """
    if type(value) is np.ndarray:
        return value
    if isinstance(value, np.ndarray) and _has_masked(value):
        raise ValueError(f"{function}: {argument} must be an array without masked values; fill them, as by filled(0)")
    try:
        shows = hasattr(value, "__array__") or hasattr(value, "__array_interface__")
        return np.from_dlpack(value) if hasattr(value, "__dlpack__") and not shows else np.asarray(value)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:  # by which libraries say that they will not
        kind = ValueError if isinstance(error, ValueError) else TypeError
        came = type(value).__name__
        raise kind(f"{function}: {argument} must be what NumPy can read, but this {came} is not: {error}") from error


def _has_masked(array: np.ndarray) -> bool:
    """Tell whether values are masked; of records, which nothing here takes, NumPy cannot say so."""
    return isinstance(array, np.ma.MaskedArray) and array.dtype.names is None and bool(np.ma.is_masked(array))


def array(function: str, argument: str, value: Any) -> np.ndarray:
    """`value` as a float32 or float64 array in native byte order, aligned and C-contiguous."""
    result = view(function, argument, value)
    if result.dtype not in FLOATS:
        native = result.dtype.newbyteorder("=")
        if native not in FLOATS:
            raise TypeError(f"{function}: {argument} must be a float32 or float64 array, not {result.dtype}")
        result = result.astype(native)
    flags = result.flags
    return result if flags.c_contiguous and flags.aligned else np.require(result, requirements=["C", "A"])


def whole_numbers(
    function: str, argument: str, array: np.ndarray, expected: str = "integers", kinds: str = "iu"
) -> np.ndarray:
    """`array` as a contiguous one of int64; what that cannot hold is refused, since a cast would wrap around."""
    if array.dtype.kind not in kinds:
        raise TypeError(f"{function}: {argument} must be {expected}, not {array.dtype}")
    if array.dtype.kind == "u" and array.dtype.itemsize == 8 and array.size and array.max() > LARGEST_INTEGER:
        raise ValueError(f"{function}: {argument} must be at most {LARGEST_INTEGER}, not {array.max()}")
    return np.require(array, np.int64, ["C", "A"])


def numbers(function: str, argument: str, value: Any) -> np.ndarray:
    """`value` as an array of integers or floats, of whatever dtype: what can be converted to a float one."""
    result = view(function, argument, value)
    if result.dtype.kind not in "iuf":
        raise TypeError(f"{function}: {argument} must be integers or floats, not {result.dtype}")
    return result


def converted(values: Any, dtype: Any) -> np.ndarray:
    """Numbers in another dtype; those that it cannot hold are infinite there, of which NumPy would warn."""
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(dtype, copy=False)


def held(where: str, argument: str, values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """`values` in a dtype, the same array where they have it; what it cannot hold is refused, not made infinite."""
    expected = f"{where}: {argument} must be of numbers that {dtype} can hold"
    if not np.can_cast(values.dtype, dtype, "same_kind"):
        raise TypeError(f"{expected}, not {values.dtype}")
    try:
        with np.errstate(over="raise", under="ignore"):
            return values.astype(dtype, copy=False)
    except FloatingPointError:
        raise TypeError(f"{expected}, up to {np.finfo(dtype).max:.3g}, not larger ones") from None


def same_dtype(function: str, **operands: Any) -> None:
    """Refuse float32 mixed with float64 among the operands that are not None."""
    given = {name: operand.dtype for name, operand in operands.items() if operand is not None}
    if len(set(given.values())) > 1:
        listing = ", ".join(f"{name} {dtype}" for name, dtype in given.items())
        raise TypeError(f"{function}: arguments must share one dtype, but came as {listing}")


def dimensions(function: str, argument: str, operand: Any, count: int, layout: str) -> None:
    """Refuse an operand that does not have `count` axes."""
    if len(operand.shape) != count:
        raise ValueError(f"{function}: {argument} must have {count} axes {layout}, not shape {operand.shape}")


def shape(function: str, argument: str, operand: Any, expected: tuple[int, ...]) -> None:
    """Refuse an operand whose shape is not `expected`."""
    if tuple(operand.shape) != expected:
        raise ValueError(f"{function}: {argument} must have shape {expected}, not {tuple(operand.shape)}")


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional module, or say which pip command brings it; Ctrl-C waits until it is there."""
    try:
        with held_back():
            return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(f'{purpose} needs {package}: pip install "convkit[{extra}]"') from error
