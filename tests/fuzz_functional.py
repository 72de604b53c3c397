"""Replace arguments of every function by rubbish; only errors in the house's voice may come of it.

That is a TypeError or ValueError that names the function and what was wrong of its arguments, or a MemoryError.

Run in a process of its own (by `test_functional_errors.py`), because what it looks for may end the interpreter:
a crash, or a call that takes seconds, at which an alarm ends the process. Sizes are either small or beyond any
memory, so nothing honest takes long.
"""

from __future__ import annotations

import itertools
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from functional_calls import Call, calls

SECONDS = 10  # of processors, after which a call hangs
HUGE = [2**31 - 1, 2**31, 2**32, 2**45, 2**61, 2**62, 2**63 - 1, 2**63, 2**64, 2**100, 10**5000]
NUMBERS: list[Any] = [None, True, -1, 0, 1, 2, 3, 7, -(2**63), 1.5, 5e-324, 1e308, float("nan"), float("inf"), 1j]
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
    range(2),
]
NESTED: list[Any] = [
    ((1, 2), (3, 4)),
    ((0, 5), (4, 0)),
    ((1, 2),),
    ((1,), (2,)),
    ((), ()),
    (None, 1),
    ("a", 1),
    (b"12", b"34"),
]
OTHERS: list[Any] = [
    object(),
    int,
    np.int8(2),
    np.uint64(2**64 - 1),
    np.array(2),
    np.array([1, 0]),
    np.array([1, 2]),
    np.array([1.5, 1j]),
    np.array(["1", "2"]),
    np.array(None),
    slice(None),
    lambda: 1,
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


def strange_integers(array: Any) -> list[Any]:
    """Labels and indices that are none: outside of what there is, of types that int64 cannot hold, and of others."""
    outside = [np.full_like(array, n) for n in (-1, 10**6, 2**31, -(2**40), 2**62, -(2**63), 2**63 - 1)]
    wrapping = [np.full(array.shape, n, np.uint64) for n in (2**63, 2**64 - 1)]
    return outside + wrapping + [array.astype(dtype) for dtype in (">i8", "u1", "?", "O", "f4", "f8", "c8", "U4", "m8")]


def rubbish_for(name: str, value: Any) -> list[Any]:
    everything = NUMBERS + SEQUENCES + NESTED + OTHERS + HUGE
    everything += [(number, 1) for number in HUGE] + [((0, number), (number, 0)) for number in HUGE]
    if isinstance(value, np.ndarray) and value.ndim:
        everything += shapes(value)
        everything += strange_integers(value) if value.dtype.kind == "i" else []
    if name in ("padding", "output_size", "input_shape", "size", "scale_factor"):  # computed, given gigabytes
        everything = [item for item in everything if not has_sizes_between(item, 10**4, 2**45)]
    return everything


def has_sizes_between(item: Any, low: int, high: int) -> bool:
    if isinstance(item, (tuple, list)):
        return any(has_sizes_between(entry, low, high) for entry in item)
    return isinstance(item, int) and low < item < high


class Fuzz:
    """Calls that may be refused, and what of them was not in the house's voice."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.failures: list[str] = []
        self.seconds = seconds
        warnings.simplefilter("error")  # such as NumPy's, that a cast drops the imaginary part

    def attempt(
        self,
        what: str,
        speaker: str,
        names: Iterable[str],
        call: Callable[[], Any],
        others: Iterable[str] = (),
        speakers: Iterable[str] = (),
    ) -> Any:
        """What a call returns, or None where it is refused.

        The error may be the speaker's, of one of the arguments `names`, or where it is a ValueError of one of the
        `others` that do not fit to them; or one of the `speakers`', of anything.
        """
        print(what, flush=True)
        if hasattr(signal, "alarm"):
            signal.alarm(6 * round(self.seconds))  # the machine may be busy with other things
        begun = time.process_time()
        try:
            return call()
        except MemoryError:
            pass
        except Exception as error:
            known = [*names, *others] if isinstance(error, ValueError) else names
            said = is_in_voice(str(error), speaker, known) or str(error).startswith(tuple(f"{s}: " for s in speakers))
            if not isinstance(error, (TypeError, ValueError)) or not said:
                self.failures.append(f"{what}: {type(error).__name__}: {error}")
        finally:
            if hasattr(signal, "alarm"):
                signal.alarm(0)
            if time.process_time() - begun > self.seconds:
                self.failures.append(f"{what}: took {time.process_time() - begun:.1f} s")
        return None

    def end(self) -> None:
        print("\n".join(self.failures[:60]), file=sys.stderr)
        print(f"{len(self.failures)} failures", file=sys.stderr)
        sys.exit(bool(self.failures))


def is_in_voice(message: str, speaker: str, names: Iterable[str]) -> bool:
    """Whether a message begins with who speaks, and names one of these arguments behind it."""
    rest = message.removeprefix(f"{speaker}: ").replace("label ", "labels ")  # of which one may be wrong
    return rest != message and any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", rest) for name in names)


def refused(fuzz: Fuzz, call: Call, changes: dict[str, Any]) -> None:
    what = f"{call.name} { ({name: describe(value) for name, value in changes.items()}) }"
    fuzz.attempt(what, call.name, changes, call.with_(**changes), others=call.arguments)


def describe(value: Any) -> str:
    return f"array{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else _short(value)


def _short(value: Any) -> str:
    try:
        return repr(value)[:80]
    except ValueError:  # an integer of thousands of digits
        return "huge"


def main() -> None:
    fuzz = Fuzz()
    rng = np.random.default_rng(0)
    complete = [call.complete() for call in calls()]
    with np.errstate(all="ignore"):
        for call in complete:
            items = [name for name in call.float_arrays if "[" in name]
            for name in [*call.arguments, *items]:
                for item in rubbish_for(name, call.arguments[name]):
                    refused(fuzz, call, {name: item})
            for one, other in itertools.combinations(call.arguments, 2):  # two at a time, some of them
                first = rubbish_for(one, call.arguments[one])
                second = rubbish_for(other, call.arguments[other])
                for _ in range(20):
                    changes = {one: first[rng.integers(len(first))], other: second[rng.integers(len(second))]}
                    refused(fuzz, call, changes)
        for call in complete:  # a stride as huge as the padding: few windows, whose offsets overflow
            if {"stride", "padding"} <= set(call.arguments):
                for stride, padding in itertools.product(HUGE, HUGE[3:]):
                    refused(fuzz, call, {"stride": stride, "padding": padding})
                    refused(fuzz, call, {"stride": stride, "padding": ((0, padding), (padding, 0))})
    fuzz.end()
