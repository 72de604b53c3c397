"""Rewriting a graph into one that computes the same with less work.

`reorder` changes what is computed where and comes before differentiation; `fuse` merges neighbours of the joint
graph, forward and backward, and comes after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from convkit.geometry import no_window_is_empty
from convkit.graph.symbols import Graph, Node, Symbol
from convkit.ops.base import Spec
from convkit.ops.conv import Convolution, ConvTranspose
from convkit.ops.elementwise import Relu
from convkit.ops.linear import Linear
from convkit.ops.pool import MaxPool


def reorder(graph: Graph, outputs: Sequence[Symbol]) -> None:
    """Rectify after max pooling instead of before: max(relu(x)) = relu(max(x)), on a fraction of the values."""
    users = _users(graph, outputs)
    for node in list(graph.nodes):
        producer = node.inputs[0].node if node.inputs and node.inputs[0] is not None else None
        if not (isinstance(node.op, MaxPool) and producer is not None and isinstance(producer.op, Relu)):
            continue
        if users[producer.outputs[0]] == 1 and not users[node.outputs[1]] and _has_values(node):
            _swap(graph, producer, node)


def _has_values(pool: Node) -> bool:
    """Whether all windows have values: the maximum of none, -∞, must not be rectified."""
    assert isinstance(pool.op, MaxPool) and pool.inputs[0] is not None
    return no_window_is_empty(pool.inputs[0].shape[2:], pool.outputs[0].shape[2:], pool.op.windows)


def _swap(graph: Graph, relu: Node, pool: Node) -> None:
    """relu → pool becomes pool → relu; whoever used the pool's output now uses the rectified one."""
    pooled = pool.outputs[0]
    unrectified = Symbol(graph, Spec(pooled.shape, pooled.dtype), pool)
    pool.inputs, pool.outputs[0] = list(relu.inputs), unrectified
    relu.inputs, relu.outputs = [unrectified], [pooled]
    pooled.node = relu
    graph.nodes.remove(relu)
    graph.nodes.insert(graph.nodes.index(pool) + 1, relu)


def fuse(graph: Graph, outputs: Sequence[Symbol]) -> None:
    """Let convolutions and dense layers rectify as they store, where nobody else wants the unrectified values."""
    users = _users(graph, outputs)
    for node in list(graph.nodes):
        producer = node.inputs[0].node if isinstance(node.op, Relu) and node.inputs[0] is not None else None
        if producer is None or not isinstance(producer.op, (Convolution, ConvTranspose, Linear)):
            continue
        if not producer.op.relu and users[producer.outputs[0]] == 1:
            producer.op = replace(producer.op, relu=True)
            [rectified] = producer.outputs = node.outputs
            rectified.node = producer
            graph.nodes.remove(node)


def _users(graph: Graph, outputs: Sequence[Symbol]) -> Counter[Symbol]:
    """How many times each symbol is read, being an output of the graph included."""
    users: Counter[Symbol] = Counter([*outputs, *graph.updates.values()])
    for node in graph.nodes:
        users.update(symbol for symbol in node.inputs if symbol is not None)
    return users
