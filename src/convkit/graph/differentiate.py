"""Reverse-mode differentiation: the gradient of a graph is more graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convkit.graph.symbols import Graph, Symbol
from convkit.ops.base import recording
from convkit.ops.elementwise import Add


def differentiate(graph: Graph, loss: Symbol, wrt: Sequence[Symbol]) -> list[Symbol | None]:
    """Append the nodes that compute the gradient of `loss`, a symbol of shape (), to each symbol of `wrt`.

    A symbol that the loss does not depend on gets None.  Where a value is used several times its gradients
    add up, in the reverse order of their use.

    Raises
    ------
    NotImplementedError
        Where the loss depends on one of `wrt` through what has no gradient, such as targets or class weights.
    """
    active = depending_on(graph, wrt)
    recorded = len(graph.nodes)
    gradients: dict[Symbol, Symbol] = {loss: graph.leaf(np.ones((), loss.dtype))}
    with recording(graph):
        for node in reversed(list(graph.nodes)):
            outgoing = [gradients.get(symbol) for symbol in node.outputs]
            if not any(symbol in active for symbol in node.inputs) or all(g is None for g in outgoing):
                continue
            graph.scope = node.scope
            incoming = node.op.gradient(node.inputs, node.outputs, outgoing)
            for position, (symbol, gradient) in enumerate(zip(node.inputs, incoming, strict=True)):
                if symbol is not None and symbol in active:
                    if gradient is None:
                        raise NotImplementedError(
                            f"{type(node.op).__name__}: no gradient is known to its argument {position}, of shape "
                            f"{symbol.shape}, through which the loss depends on parameters"
                        )
                    earlier = gradients.get(symbol)
                    gradients[symbol] = gradient if earlier is None else Add()(earlier, gradient)
    graph.gradients.update(graph.nodes[recorded:])
    return [gradients.get(symbol) for symbol in wrt]


def depending_on(graph: Graph, wrt: Sequence[Symbol]) -> set[Symbol]:
    """The symbols whose values follow from those of `wrt`, these included."""
    active = set(wrt)
    for node in graph.nodes:
        if any(symbol in active for symbol in node.inputs):
            active.update(symbol for symbol in node.outputs if symbol.dtype.kind == "f")  # places have no gradient
    return active
