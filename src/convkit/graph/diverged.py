"""Which layer was the first whose values were not finite: a failed step once more, with every value kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convkit.graph.differentiate import depending_on, differentiate
from convkit.graph.plan import Plan
from convkit.graph.symbols import Graph, Node, Symbol
from convkit.parameter import Parameter

if TYPE_CHECKING:
    from convkit.nn.module import Module


class Diverged(FloatingPointError):
    """What training raises where a value is not finite; those of others are theirs."""


def first_not_finite(
    model: Module, graph: Graph, loss: Symbol, inputs: Sequence[np.ndarray], seed: int, step: int
) -> str:
    """Name the first infinite or NaN value of a training step: in what it is given, forward, or backward.

    Parameters
    ----------
    model : Module
        With the weights that the step began with.
    graph : Graph
        The traced pass of the model with its loss; used up.
    loss : Symbol
    inputs : sequence of ndarray
        What the step was given.
    seed, step : int
        As the step was run with.

    Returns
    -------
    str
        Such as ``the output of layer conv1 (Conv2d)``.
    """
    graph.updates.clear()  # running moments have taken in this batch already
    parameters = model.parameters()
    for place, values in enumerate(inputs):
        if not _is_finite(values):
            return f"array {place} of the batch"
    for name, parameter in parameters.items():
        if not _is_finite(parameter.value):
            return f"parameter {name}"
    names = {id(module): f"layer {name} ({type(module).__name__})" for name, module in model.modules() if name}
    for what, values in _values(graph, loss, inputs, seed, step, {id(p): name for name, p in parameters.items()}):
        if not _is_finite(values):
            return what if isinstance(what, str) else _place(what, names)
    return "no value at all when the step is run again, layer by layer"


# What a value is: the name of a parameter's gradient, or a node with what of it is meant.
_What = str | tuple[str, Node]


def _values(
    graph: Graph, loss: Symbol, inputs: Sequence[np.ndarray], seed: int, step: int, parameters: dict[int, str]
) -> Iterator[tuple[_What, np.ndarray]]:
    """All values of the step in the order in which they arise: outputs forward, then gradients backward."""
    nodes = list(graph.nodes)
    leaves = {
        symbol: symbol.source
        for node in nodes
        for symbol in node.inputs
        if symbol is not None and isinstance(symbol.source, Parameter) and symbol.source.trainable
    }
    active = depending_on(graph, list(leaves))
    outputs = [(node, symbol) for node in nodes for symbol in node.outputs if symbol.dtype.kind == "f"]
    backward: list[tuple[_What, Symbol]] = []
    for node, symbol in reversed([(node, symbol) for node, symbol in outputs if symbol in active]):
        backward.append((("the gradient to the output of", node), symbol))
        backward += [
            (f"the gradient of parameter {parameters[id(leaves[leaf])]}", leaf)
            for leaf in node.inputs
            if leaf in leaves and id(leaves[leaf]) in parameters
        ]
    gradients = differentiate(graph, loss, [symbol for _, symbol in backward])
    labelled: list[tuple[_What, Symbol]] = [(("the output of", node), symbol) for node, symbol in outputs]
    labelled += [
        (what, gradient) for (what, _), gradient in zip(backward, gradients, strict=True) if gradient is not None
    ]
    results = Plan(graph, [symbol for _, symbol in labelled]).run(inputs, seed, step)
    return zip((what for what, _ in labelled), results, strict=True)


def _place(what: tuple[str, Node], names: dict[int, str]) -> str:
    """The innermost layer in whose `forward` a node was recorded, in words."""
    description, node = what
    layers = [names[module] for module in node.scope if module in names]
    whose = "the model's own forward" if node.scope else "the loss"
    return f"{description} {layers[-1] if layers else f'{type(node.op).__name__} in {whose}'}"


def _is_finite(values: Any) -> bool:
    return values.dtype.kind != "f" or bool(np.isfinite(values).all())
