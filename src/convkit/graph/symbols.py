"""A graph: what is left when a forward pass is run once on symbols instead of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from convkit.ops.base import Operand, Primitive, Spec
from convkit.parameter import Buffer, Parameter


@dataclass(frozen=True)
class InputSlot:
    """Source of a symbol whose values come with each call."""

    index: int


@dataclass(frozen=True)
class RandomState:
    """Source of a symbol (seed, step, place): what the noise drawn at one place of the graph depends on."""

    place: int


Source = Parameter | Buffer | np.ndarray | InputSlot | RandomState


class Symbol(Operand):
    """An array that will exist when the graph is run: a node's output, or a leaf with a `source`."""

    def __init__(self, graph: Graph, spec: Spec, node: Node | None = None, source: Source | None = None) -> None:
        self.graph = graph
        self.shape = tuple(int(n) for n in spec.shape)
        self.dtype = np.dtype(spec.dtype)
        self.node = node
        self.source = source

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __repr__(self) -> str:
        return f"Symbol(shape={self.shape}, dtype={self.dtype})"


@dataclass(eq=False)
class Node:
    """One op applied to symbols; an optional argument that was left out is None."""

    op: Primitive
    inputs: list[Symbol | None]
    outputs: list[Symbol] = field(default_factory=list)
    scope: tuple[int, ...] = ()  # of the modules whose `forward` called the op, outermost first, their ids


class Graph:
    """Nodes in an order in which they can run, recorded by calling ops on symbols."""

    def __init__(self, training: bool) -> None:
        self.training = training
        self.nodes: list[Node] = []
        self.inputs: list[Symbol] = []
        self.updates: dict[Buffer, Symbol] = {}  # what buffers hold when the graph has run
        self.gradients: set[Node] = set()  # the nodes that are there by differentiation
        self.scope: tuple[int, ...] = ()
        self.returned: dict[int, Any] = {}  # by a module's id, what its `forward` returned, the last time it ran
        self._leaves: dict[int, tuple[Any, Symbol]] = {}  # by id, with what keeps the id from being reused
        self._with_source: list[Symbol] = []  # all leaves of parameters, buffers and constants
        self._places = 0

    def input(self, spec: Spec) -> Symbol:
        """A new leaf whose values come with each call."""
        symbol = Symbol(self, spec, source=InputSlot(len(self.inputs)))
        self.inputs.append(symbol)
        return symbol

    def random_state(self) -> Symbol:
        """A new leaf for the noise drawn at this place."""
        self._places += 1
        return Symbol(self, Spec((3,), np.dtype(np.int64)), source=RandomState(self._places))

    def leaf(self, source: Parameter | Buffer | np.ndarray) -> Symbol:
        """The symbol of a parameter, a buffer or a constant (copied): one for each object, however often it is used.

        A constant that was written since it was used last gets another one.
        """
        _, symbol = self._leaves.get(id(source), (None, None))
        if symbol is None or (isinstance(source, np.ndarray) and not _is_alike(source, symbol.source)):
            kept = source.copy() if isinstance(source, np.ndarray) else source
            symbol = Symbol(self, Spec(source.shape, source.dtype), source=kept)
            self._leaves[id(source)] = source, symbol
            self._with_source.append(symbol)
        return symbol

    def update(self, buffer: Buffer, value: Any) -> None:
        """Let `buffer` hold `value` when the graph has run, and whoever reads it from here on see that."""
        symbol = self._symbol(value)
        assert symbol is not None
        self.updates[buffer] = symbol
        self._leaves[id(buffer)] = buffer, symbol

    def record(self, op: Primitive, inputs: Sequence[Any]) -> Any:
        """Append a node; called by the ops themselves."""
        symbols = [self._symbol(operand) for operand in inputs]
        node = Node(op, symbols, scope=self.scope)
        node.outputs = [Symbol(self, spec, node) for spec in op.infer(*symbols)]
        self.nodes.append(node)
        return node.outputs[0] if len(node.outputs) == 1 else tuple(node.outputs)

    def _symbol(self, operand: Any) -> Symbol | None:
        if operand is None:
            return None
        if isinstance(operand, Symbol):
            if operand.graph is not self:
                raise TypeError("a symbol of another graph was used: forward must not keep symbols between calls")
            return operand
        return self.leaf(operand)

    def keep_only(self, wanted: Sequence[Symbol]) -> None:
        """Drop the nodes that none of the wanted symbols needs."""
        needed: set[Node] = set()
        stack = [symbol.node for symbol in wanted]
        while stack:
            node = stack.pop()
            if node is not None and node not in needed:
                needed.add(node)
                stack.extend(symbol.node for symbol in node.inputs if symbol is not None)
        self.nodes = [node for node in self.nodes if node in needed]

    def let_go(self) -> None:
        """Keep no parameter, buffer or constant alive, when nobody asks for a symbol's source any more.

        Nodes and their symbols are circles, which stay until the cyclic collector comes by: so would a model's weights.
        """
        for symbol in self._with_source:
            symbol.source = None
        for kept in (self._with_source, self._leaves, self.updates, self.returned):
            kept.clear()


def _is_alike(array: np.ndarray, kept: Any) -> bool:
    """Whether an array is, bit by bit, what was kept of it."""
    return (array.shape, array.dtype) == (kept.shape, kept.dtype) and array.tobytes() == kept.tobytes()
