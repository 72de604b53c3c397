"""The table of operators, and how a function enters it.

An operator is a function: a node's inputs are its positional arguments, None where left out, and the node's attributes
its keyword arguments, with ONNX's defaults.  What was an attribute in older versions of an operator and is an input in
newer ones has the same name in both, so that one function serves all versions; where they differ in meaning, it takes
`opset`.  With `outputs` it is told how many results the node asks for; it may return more.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convkit import functional as F
from convkit.errors import FLOATS
from convkit.ops.base import Operand


@dataclass(frozen=True)
class Operator:
    """A function that computes a node.

    Attributes
    ----------
    known : frozenset of str
        Arguments whose values decide shapes or what is computed: they must be known when the graph is traced.
    state : frozenset of str
        Arguments that a model keeps as buffers, not as parameters.
    """

    function: Callable[..., Any]
    known: frozenset[str]
    state: frozenset[str]

    def argument(self, position: int) -> str:
        """The name of the argument that takes the input at a position; empty where there are no inputs."""
        parameters = list(inspect.signature(self.function).parameters.values())
        positional = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
        return positional[min(position, len(positional) - 1)] if positional else ""

    def takes(self, name: str) -> bool:
        """Whether it has an argument of this name, or hands on whatever attributes a node has."""
        parameters = inspect.signature(self.function).parameters
        hands_on = any(p.kind is p.VAR_KEYWORD for p in parameters.values()) and name not in ("opset", "outputs")
        return name in parameters or hands_on


OPERATORS: dict[str, Operator] = {}


def operator(*names: str, known: str = "", state: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function under the names of the operators that it computes."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        entry = Operator(function, frozenset(known.split()), frozenset(state.split()))
        OPERATORS.update(dict.fromkeys(names, entry))
        return function

    return enter


# --- what the functions share -------------------------------------------------------------------------------


def is_float(*values: Any) -> bool:
    """Whether all of these are float32 or float64."""
    return all(value.dtype in FLOATS for value in values)


def integers(values: Any) -> list[int]:
    """An attribute or a known input as a list of ints."""
    return [int(value) for value in np.ravel(values)]


def single(function: str, argument: str, value: Any) -> np.ndarray:
    """A known input of one value, which files may give any number of axes, as an array without any."""
    array = np.asarray(value)
    if array.size != 1:
        raise ValueError(f"{function}: {argument} must be one value, not an array of shape {array.shape}")
    return array.reshape(())


def axis_of(axis: Any, ndim: int) -> int:
    """An axis counted from the front."""
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis must be from {-ndim} to {ndim - 1}, not {axis}")
    return int(axis) % ndim


def axes_of(axes: Any, ndim: int) -> tuple[int, ...]:
    """Axes counted from the front, each of them once."""
    counted = tuple(axis_of(axis, ndim) for axis in integers(axes))
    if len(set(counted)) < len(counted):
        raise ValueError(f"axes must differ from one another, not {integers(axes)}")
    return counted


def constant(value: Any) -> np.ndarray | None:
    """A value that is known, else None."""
    return None if isinstance(value, Operand) else np.asarray(value)


def number_or(value: Any) -> Any:
    """A known single number as a float, which functions take without broadcasting; anything else as it is."""
    known = constant(value)
    return float(known.item()) if known is not None and known.ndim == 0 and known.dtype in FLOATS else value


def of_rank(name: str, rank: int) -> Callable[..., Any]:
    """The function of `convkit.functional` for this number of spatial axes."""
    function = getattr(F, f"{name}{rank}d", None)
    if function is None:
        raise NotImplementedError(f"onnx.load: there is no {name} of {rank} spatial axes")
    return function


def sizes(x: Any) -> tuple[int, ...]:
    """The spatial size of x (N, C, *size)."""
    return tuple(x.shape[2:])


def pairs(pads: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """ONNX's pads, all beginnings and then all ends, as (low, high) for each axis."""
    half = len(pads) // 2
    return tuple((int(lo), int(hi)) for lo, hi in zip(pads[:half], pads[half:], strict=True))
