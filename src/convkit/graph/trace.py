"""Tracing: running a module's ordinary `forward` once on symbols, which is how every graph comes to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from convkit.errors import FLOATS, converted, view, whole_numbers
from convkit.graph.symbols import Graph, Symbol
from convkit.ops.base import Spec, recording
from convkit.ops.elementwise import ScaleImages


def model_input(name: str, values: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """What a user passes to a model, as an array of uint8 (an image) or of the model's dtype."""
    array = view(name, "inputs", values)
    if array.dtype == np.uint8:
        return array
    if array.dtype.newbyteorder("=") not in FLOATS:
        raise TypeError(f"{name}: inputs must be float32, float64 or uint8 images, not {array.dtype}")
    return converted(array, dtype)


def target_input(name: str, values: Any, dtype: np.dtype[Any]) -> np.ndarray:
    """What a user passes to a loss: integers become int64, floats the model's dtype."""
    array = view(name, "targets", values)
    if array.dtype.kind in "iub":
        return whole_numbers(name, "targets", array, kinds="iub")
    if array.dtype.newbyteorder("=") not in FLOATS:
        raise TypeError(f"{name}: targets must be integers or floats, not {array.dtype}")
    return converted(array, dtype)


def trace(
    forward: Callable[..., Any], specs: Sequence[Spec], dtype: np.dtype[Any], training: bool
) -> tuple[Graph, Any]:
    """Run `forward` on symbols of these specs; return the graph and what `forward` returned.

    uint8 inputs are images: their values are scaled to [0, 1] and converted to `dtype` before `forward` sees them.
    """
    graph = Graph(training)
    with recording(graph):
        symbols = [graph.input(spec) for spec in specs]
        return graph, forward(*(scaled(symbol, dtype) for symbol in symbols))


def scaled(operand: Any, dtype: np.dtype[Any]) -> Any:
    """What `forward` sees of an input: the values of uint8 images scaled to [0, 1]."""
    return ScaleImages(dtype)(operand) if operand.dtype == np.uint8 else operand


def symbols_of(name: str, result: Any) -> tuple[Symbol, ...]:
    """The output symbols of a traced function, which may return one or a tuple."""
    outputs = tuple(result) if isinstance(result, (tuple, list)) else (result,)
    for output in outputs:
        if not isinstance(output, Symbol):
            raise TypeError(f"{name} must return what was computed from its inputs, not {type(output).__name__}")
    return outputs
