"""Batch normalisation merged with its neighbours.

Where the moments are constants, in inference, normalising the output of a convolution or a dense layer is a change of
its weights: with s = γ / sqrt(variance + eps), ``s · (W x + b - mean) + β = (s W) x + (s · (b - mean) + β)``.  The
changed weights depend on parameters and buffers alone, so a plan computes them only when these were written.
Weights of many bytes stay as they are where normalising what they make touches less memory than a copy of them takes.
In training, a rectifier behind the normalisation is applied, and its gradient taken, in the normalisation's own pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convkit.graph.symbols import Graph, Node, Symbol
from convkit.ops.base import NumpyPrimitive, Primitive, Spec
from convkit.ops.conv import Convolution, ConvTranspose
from convkit.ops.elementwise import ActivationGrad, Relu
from convkit.ops.linear import Linear
from convkit.ops.norm import BatchNorm, BatchNormGrad, Normalize

LARGE_WEIGHTS = 1 << 20  # bytes; smaller ones are folded whatever they make


@dataclass(frozen=True)
class FoldedWeights(NumpyPrimitive):
    """(weight, bias | None, mean, variance, γ | None, β | None) -> (weight, bias) that normalise too.

    `axis` is that of the weight's output channels.
    """

    eps: float
    axis: int

    def infer(self, weight: Any, bias: Any, mean: Any, *rest: Any) -> tuple[Spec, ...]:
        return Spec(tuple(weight.shape), weight.dtype), Spec(tuple(mean.shape), mean.dtype)

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        weight, bias, mean, variance, gamma, beta = inputs
        scale = 1 / np.sqrt(variance.astype(np.float64) + self.eps)
        if gamma is not None:
            scale *= gamma
        shift = -mean * scale if bias is None else (bias - mean) * scale
        shape = [1] * weight.ndim
        shape[self.axis] = -1
        np.multiply(weight, scale.reshape(shape).astype(weight.dtype), out=outputs[0])
        outputs[1][...] = shift if beta is None else shift + beta


def fold(graph: Graph, outputs: Sequence[Symbol]) -> None:
    """Merge batch normalisation with the linear op before it, or else with the rectifier behind it."""
    users: Counter[Symbol] = Counter(outputs)
    for node in graph.nodes:
        users.update(symbol for symbol in node.inputs if symbol is not None)
    for node in list(graph.nodes):
        if isinstance(node.op, Normalize):
            _into_weights(graph, node, users)
    for node in list(graph.nodes):
        if isinstance(node.op, Relu):
            _rectify(graph, node, users)
    for node in list(graph.nodes):
        if isinstance(node.op, BatchNormGrad):
            _rectify_gradient(graph, node, users)


def _channel_axis(op: Primitive) -> int | None:
    """The axis of the weight's output channels, for linear ops that normalisation can be folded into."""
    if isinstance(op, (Convolution, Linear)):
        return None if op.relu else 0
    if isinstance(op, ConvTranspose):
        return None if op.relu or op.groups > 1 else 1
    return None


def _into_weights(graph: Graph, node: Node, users: Counter[Symbol]) -> None:
    x, *moments = node.inputs
    linear = x.node if x is not None else None
    axis = None if linear is None else _channel_axis(linear.op)
    if x is None or linear is None or axis is None or users[x] > 1:
        return
    _, weight, bias = linear.inputs
    assert isinstance(node.op, Normalize) and weight is not None
    if weight.nbytes > max(x.nbytes, LARGE_WEIGHTS):
        return
    folded = Node(FoldedWeights(node.op.eps, axis), [weight, bias, *moments], scope=node.scope)
    folded.outputs = [Symbol(graph, spec, folded) for spec in folded.op.infer(*folded.inputs)]
    linear.inputs[1:] = folded.outputs
    linear.outputs = node.outputs
    node.outputs[0].node = linear
    graph.nodes.remove(linear)
    place = graph.nodes.index(node)  # by then there is all that is folded
    graph.nodes[place : place + 1] = [folded, linear]


def _rectify(graph: Graph, node: Node, users: Counter[Symbol]) -> None:
    """batch normalisation → relu becomes one node, where nobody else wants the unrectified values."""
    x = node.inputs[0]
    norm = x.node if x is not None else None
    if x is None or norm is None or not isinstance(norm.op, (BatchNorm, Normalize)) or norm.op.relu or users[x] > 1:
        return
    norm.op = replace(norm.op, relu=True)
    norm.outputs[0] = node.outputs[0]
    node.outputs[0].node = norm
    graph.nodes.remove(node)


def _is_gradient_of(node: Node, norm: Node) -> bool:
    """Whether a gradient of batch normalisation is that of this one: of the same input, moments, weights and eps."""
    assert isinstance(norm.op, (BatchNorm, Normalize)) and isinstance(node.op, BatchNormGrad)
    moments = norm.outputs[1:3] if isinstance(norm.op, BatchNorm) else norm.inputs[1:3]
    return node.op.eps == norm.op.eps and node.inputs[1:5] == [norm.inputs[0], *moments, norm.inputs[-2]]


def _rectify_gradient(graph: Graph, node: Node, users: Counter[Symbol]) -> None:
    """relu's gradient → batch normalisation's becomes one node, which finds out by itself what was positive."""
    grad = node.inputs[0]
    passed = grad.node if grad is not None else None
    if grad is None or passed is None or users[grad] > 1 or not isinstance(passed.op, ActivationGrad):
        return
    y, grad_y = passed.inputs
    norm = y.node if y is not None else None
    if passed.op.of is not Relu or norm is None or not isinstance(norm.op, (BatchNorm, Normalize)):
        return
    assert isinstance(node.op, BatchNormGrad)
    if not norm.op.relu or not _is_gradient_of(node, norm):
        return
    node.op = replace(node.op, relu=True)
    node.inputs[0], node.inputs[-1] = grad_y, norm.inputs[-1]
    graph.nodes.remove(passed)
