"""Kernels as a plan uses them: bound once to their arrays, results included, then run without allocating."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convkit.ops.base import Primitive


def bind(op: Primitive, *inputs: Any) -> tuple[Callable[[], None], tuple[np.ndarray, ...]]:
    """Bind an op to input arrays and to fresh outputs.

    Returns
    -------
    run : callable
        Computes the outputs from what the inputs hold at the time.
    outputs : tuple of ndarray
    """
    outputs = tuple(np.empty(spec.shape, spec.dtype) for spec in op.infer(*inputs))
    return op.bind(inputs, outputs).run, outputs


def call_of(op: Primitive, *inputs: Any) -> Callable[[], np.ndarray]:
    """Bind an op, and make a function of it that runs it and returns its first output."""
    run, outputs = bind(op, *inputs)

    def call() -> np.ndarray:
        run()
        return outputs[0]

    return call
