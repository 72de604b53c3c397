"""Kernels as a plan uses them: bound once to their arrays, results included, then run without allocating."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convkit.ops.base import Primitive

Call = Callable[[], Any]


def bind(op: Primitive, rotating: Sequence[Sequence[Any]]) -> tuple[list[Callable[[], None]], list[np.ndarray]]:
    """Bind an op to several sets of inputs and to the same outputs for all of them.

    Parameters
    ----------
    op : Primitive
    rotating : sequence of sequences
        The inputs (arrays or None) of one call after the other, all of the same shapes.

    Returns
    -------
    runs : list of callable
        Each computes the outputs from its inputs.
    outputs : list of ndarray
    """
    outputs = [np.empty(spec.shape, spec.dtype) for spec in op.infer(*rotating[0])]
    for output in outputs:
        output.fill(0)  # so that its memory is there before any clock runs
    return [op.bind(inputs, outputs).run for inputs in rotating], outputs


def calls_of(op: Primitive, rotating: Sequence[Sequence[Any]]) -> list[Call]:
    """Bind an op as `bind` does; each call runs it and returns its first output."""
    runs, outputs = bind(op, rotating)
    return [then(outputs[0], run) for run in runs]


def then(result: Any, *runs: Callable[[], None]) -> Call:
    """Make a function that runs kernels one after the other and returns what they computed."""

    def call() -> Any:
        for run in runs:
            run()
        return result

    return call
