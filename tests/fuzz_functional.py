"""Replace arguments of every function by rubbish; only errors that speak of the arguments may come of it.

Run in a process of its own (by `test_functional_errors.py`), because what it looks for may end the interpreter:
a crash, or a call that takes seconds, at which an alarm ends the process. Sizes are either small or beyond any
memory, so nothing honest takes long.
"""

from __future__ import annotations

import itertools
import signal
import sys
from typing import Any

import numpy as np

from functional_calls import Call, calls

ALLOWED = (ValueError, TypeError, MemoryError)
SECONDS = 10
HUGE = [2**31 - 1, 2**31, 2**32, 2**45, 2**61, 2**62, 2**63 - 1, 2**63, 2**64, 2**100]
NUMBERS: list[Any] = [None, True, -1, 0, 1, 2, 3, 7, -(2**63), 1.5, float("nan"), float("inf"), 1j]
SEQUENCES: list[Any] = [
    "",
    "same",
    "full",
    "x",
    b"1",
    (),
    [],
    (0, 0),
    (1, 2),
    (3, 1),
    (1, 2, 3),
    {1: 2},
    {3, 4},
]
NESTED: list[Any] = [
    ((1, 2), (3, 4)),
    ((0, 5), (4, 0)),
    ((1, 2),),
    ((1,), (2,)),
    ((), ()),
    (None, 1),
    ("a", 1),
]
OTHERS: list[Any] = [
    object(),
    int,
    np.int8(2),
    np.uint64(2**64 - 1),
    np.array(2),
    np.array([1, 2]),
    slice(None),
]


def shapes(array: Any) -> list[Any]:
    """Arrays unlike one that belongs there: other ranks, empty axes, axes too long or too short."""
    dtype = array.dtype
    bare = [np.zeros(shape, dtype) for shape in [(), (0,), (1,), (7,), (0, 0), (2, 3, 4, 5, 6), (1,) * 32]]
    cut = [array.take(range(n - 1), axis) for axis, n in enumerate(array.shape)]
    none = [array.take([], axis) for axis in range(array.ndim)]
    more = [np.concatenate([array, array], axis) for axis in range(array.ndim)]
    rubbish = [np.full_like(array, np.nan), array.astype(object), array.T, array[..., None], array[0]]
    return bare + cut + none + more + rubbish


def rubbish_for(name: str, value: Any) -> list[Any]:
    everything = NUMBERS + SEQUENCES + NESTED + OTHERS + HUGE
    everything += [(number, 1) for number in HUGE] + [((0, number), (number, 0)) for number in HUGE]
    if isinstance(value, np.ndarray) and value.ndim:
        everything += shapes(value)
    if name == "labels":
        everything += [np.array([0, n], np.int64) for n in (-1, 5, 2**31, -(2**40), 2**62)]
    if name in ("padding", "output_size", "input_shape"):  # could be computed, given minutes and gigabytes
        everything = [item for item in everything if not has_sizes_between(item, 10**4, 2**45)]
    return everything


def has_sizes_between(item: Any, low: int, high: int) -> bool:
    if isinstance(item, (tuple, list)):
        return any(has_sizes_between(entry, low, high) for entry in item)
    return isinstance(item, int) and low < item < high


def attempt(call: Call, changes: dict[str, Any], failures: list[str]) -> None:
    print(call.name, {name: describe(value) for name, value in changes.items()}, flush=True)
    if hasattr(signal, "alarm"):
        signal.alarm(SECONDS)
    try:
        call.with_(**changes)()
    except ALLOWED:
        pass
    except Exception as error:
        what = {name: describe(value) for name, value in changes.items()}
        failures.append(f"{call.name} {what}: {type(error).__name__}: {error}")


def describe(value: Any) -> str:
    return f"array{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else repr(value)[:80]


def main() -> None:
    failures: list[str] = []
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        for call in calls():
            for name, value in call.arguments.items():
                for item in rubbish_for(name, value):
                    attempt(call, {name: item}, failures)
            for one, other in itertools.combinations(call.arguments, 2):  # two at a time, some of them
                first = rubbish_for(one, call.arguments[one])
                second = rubbish_for(other, call.arguments[other])
                for _ in range(20):
                    changes = {one: first[rng.integers(len(first))], other: second[rng.integers(len(second))]}
                    attempt(call, changes, failures)
        for call in calls():  # a stride as huge as the padding: few windows, whose offsets overflow
            if {"stride", "padding"} <= set(call.arguments):
                for stride, padding in itertools.product(HUGE, HUGE[3:]):
                    attempt(call, {"stride": stride, "padding": padding}, failures)
                    attempt(call, {"stride": stride, "padding": ((0, padding), (padding, 0))}, failures)
    print("\n".join(failures[:50]), file=sys.stderr)
    sys.exit(bool(failures))
