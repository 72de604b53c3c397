"""Paddings, strides, dilations and kernels of 10**4 to 10**9 around planes of a few values, and sizes of none.

Each call takes a second or so at most, with the right values where they can be told at once, or is refused: in the
house's voice, or for lack of memory. Run in a process of its own (by `test_functional_far.py`), with an alarm.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from convkit import functional as F
from functional_calls import Call, calls
from fuzz_functional import Fuzz
from interpreter import PATIENCE

SECONDS = 2 * PATIENCE
FAR = [10**4, 10**5, 10**9]  # of which the first two may be computed
WINDOWS = ("stride", "padding", "dilation", "kernel_size", "output_padding", "size", "scale_factor", "output_size")


def single(call: Call) -> Call:
    """The call with planes of one value in place of x."""
    x = call.arguments.get("x")
    return (
        call if x is None or x.ndim < 3 else call.with_(x=np.ascontiguousarray(x[(..., *[slice(0, 1)] * (x.ndim - 2))]))
    )


def changed(call: Call) -> Iterator[dict[str, Any]]:
    names = [name for name in WINDOWS if name in call.arguments]
    for name, value in itertools.product(names, FAR):
        yield {name: value}
        rank = len(call.arguments["x"].shape) - 2 if "x" in call.arguments else 0
        if rank > 1:
            yield {name: (1,) * (rank - 1) + (value,)}
    for one, other in itertools.combinations(names, 2):
        for value in FAR:
            yield {one: value, other: value}
            if other == "kernel_size":
                yield {one: value // 2, other: value}


def exact(fuzz: Fuzz) -> None:
    """What a convolution of one value is can be told however far its padding reaches."""
    for far in FAR:
        for shape in ((1,), (1, 1), (1, 1, 1)):
            rank = len(shape)
            x, weight = np.full((1, 1, *shape), 2.0), np.arange(3.0**rank).reshape(1, 1, *(3,) * rank) + 1
            for stride, dilation, padding in ((far, 1, far), (1, far, far), (far, far, far)):
                middle = weight.size // 2 if padding == dilation else 0
                what = f"conv{rank}d stride {stride} dilation {dilation} padding {padding}"
                y = fuzz.attempt(
                    what,
                    f"conv{rank}d",
                    ("padding",),
                    lambda: getattr(F, f"conv{rank}d")(x, weight, None, stride, padding, dilation),  # noqa: B023
                )
                if y is not None and 2 * weight.flat[middle] not in y:
                    fuzz.failures.append(f"{what}: {y}")


def without(fuzz: Fuzz, call: Call, axis: int) -> None:
    """No images, or no channels: results are empty, or sums of nothing."""
    arrays = [name for name in call.float_arrays + call.integer_arrays if call.arguments[name].ndim > 2]
    changes: dict[str, Any] = {name: call.arguments[name].take([], axis) for name in arrays if name != "weight"}
    if "input_shape" in call.arguments:
        shape = call.arguments["input_shape"]
        changes["input_shape"] = (*shape[:axis], 0, *shape[axis + 1 :])
    what = f"{call.name} without axis {axis}"
    results = fuzz.attempt(what, call.name, call.arguments, call.with_(**changes))
    if changes and results is not None and call.name != "mean" and any(np.any(result) for result in results):
        fuzz.failures.append(f"{what}: {results}")


def main() -> None:
    fuzz = Fuzz(SECONDS)
    exact(fuzz)
    for call, axis in itertools.product(calls(), (0, 1)):
        without(fuzz, call, axis)
    for call in calls():
        for made in (call, single(call)):
            for changes in changed(made):
                fuzz.attempt(f"{made.name} {changes}", made.name, made.arguments, made.with_(**changes))
    fuzz.end()
