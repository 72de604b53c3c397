"""Choosing the layout: convolutional parts of a graph run with the image innermost, where batches fill the lanes.

An array in lanes is (blocks, C, *size, lanes), see `ops.lanes`.  Convolutions and pooling enter this layout,
what works element by element stays in it, everything else leaves it; conversions are only where the two meet.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from convkit.graph.symbols import Graph, Node, Symbol
from convkit.ops.activation import Map, MapGrad
from convkit.ops.base import Primitive, Spec
from convkit.ops.conv import Convolution, ConvolutionWeightGrad, ConvTranspose
from convkit.ops.elementwise import Activation, ActivationGrad, Arithmetic, Scale, Shift
from convkit.ops.lanes import (
    FromLanes,
    LaneAvgPool,
    LaneAvgPoolGrad,
    LaneConvolution,
    LaneMaxPool,
    LaneMaxPoolGrad,
    LaneWeightGrad,
    ToLanes,
    fills_lanes,
    in_lanes,
    lanes_of,
)
from convkit.ops.norm import BatchNorm, BatchNormGrad, LocalResponseNorm, LocalResponseNormGrad, Normalize
from convkit.ops.pool import AvgPool, AvgPoolGrad, MaxPool, MaxPoolGrad
from convkit.ops.shape import Concat, Slice

# Taps of all outputs of a plane together, those outside the input as well: six million in AlexNet's first layer.
MOST_TAPS = 1 << 25


def use_lanes(graph: Graph, wanted: Sequence[Symbol]) -> None:
    """Rewrite a graph, in place, to run in lanes where that pays."""
    graph.nodes = _Rewriter(graph).run(wanted)
    _finish_at_once(graph, wanted)


def _finish_at_once(graph: Graph, wanted: Sequence[Symbol]) -> None:
    """Let convolutions activate and pool what they make, where nobody else reads it: it is still in the cache."""
    reads = Counter([*wanted, *(symbol for node in graph.nodes for symbol in node.inputs)])
    for node in list(graph.nodes):
        made = node.inputs[0] if node.inputs else None
        producer = made.node if made is not None else None
        if producer is None or not isinstance(producer.op, LaneConvolution) or reads[made] > 1:
            continue
        both = producer.op.followed_by(node.op, *producer.inputs)
        if both is not None:
            producer.op = both
            producer.outputs = node.outputs
            for symbol in node.outputs:
                symbol.node = producer
            graph.nodes.remove(node)


class _Rewriter:
    """Goes through the nodes once, keeping for each symbol which of its two forms exist so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.lanes: dict[Symbol, Symbol] = {}  # the form in lanes
        self.ordinary: set[Symbol] = set()  # of those that were computed in lanes: whose ordinary form exists too
        self.readers: dict[Symbol, list[Node]] = defaultdict(list)
        for node in graph.nodes:
            for symbol in node.inputs:
                if symbol is not None:
                    self.readers[symbol].append(node)

    def run(self, wanted: Sequence[Symbol]) -> list[Node]:
        self.wanted = set(wanted)
        for node in self.graph.nodes:
            if self._enters(node) or self._stays(node):
                self._rewrite(node)
            else:
                for symbol in node.inputs:
                    self._leave(symbol)
                self.nodes.append(node)
        for symbol in wanted:
            self._leave(symbol)
        return self.nodes

    # --- which nodes -----------------------------------------------------------------------------------------

    def _enters(self, node: Node) -> bool:
        """Whether a node moves its inputs to lanes if they are not there."""
        if isinstance(node.op, (Convolution, ConvTranspose)):
            return _fills_lanes(node.inputs[0]) and _has_table(node)
        if isinstance(node.op, ConvolutionWeightGrad):  # a sum over all lanes: true gradients are 0 in empty ones
            x = node.inputs[0]
            return _fills_lanes(x) and (_has_no_empty_lanes(x) or node in self.graph.gradients)
        if isinstance(node.op, MaxPoolGrad):
            return node.inputs[1] in self.lanes
        if isinstance(node.op, ActivationGrad):
            return node.inputs[0] in self.lanes
        if isinstance(node.op, (MapGrad, Normalize)):
            return node.inputs[0] in self.lanes
        if isinstance(node.op, BatchNorm):
            return node.inputs[0] in self.lanes and _has_no_empty_lanes(node.inputs[0])
        if isinstance(node.op, BatchNormGrad):
            return node.inputs[1] in self.lanes and _has_no_empty_lanes(node.inputs[1])
        if isinstance(node.op, LocalResponseNormGrad):
            return node.inputs[1] in self.lanes
        if isinstance(node.op, AvgPoolGrad):  # on its way to a convolution, by the smaller array
            return bool(self.lanes) and _is_planar(node) and _fills_lanes(node.inputs[0])
        return False

    def _stays(self, node: Node) -> bool:
        """Whether a node's inputs are in lanes already and it can work on them there."""
        if any(symbol not in self.lanes for symbol in node.inputs):
            return False
        if isinstance(node.op, MaxPool):
            return _is_planar(node) and self._only_gradients_read(node.outputs[1]) and _has_codes(node.op)
        if isinstance(node.op, AvgPool):
            return _is_planar(node)
        if isinstance(node.op, (Concat, Slice)):
            return node.op.axis == 1
        same_shapes = len({symbol.shape for symbol in (*node.inputs, *node.outputs) if symbol is not None}) == 1
        return isinstance(node.op, (Activation, Map, Arithmetic, Scale, Shift, LocalResponseNorm)) and same_shapes

    def _only_gradients_read(self, indices: Symbol) -> bool:
        return indices not in self.wanted and all(isinstance(n.op, MaxPoolGrad) for n in self.readers[indices])

    # --- rewriting -------------------------------------------------------------------------------------------

    def _rewrite(self, node: Node) -> None:
        op, operands, results = _REWRITES[type(node.op)](node) if type(node.op) in _REWRITES else _same(node)
        inputs = [self._enter(s) if i in operands else s for i, s in enumerate(node.inputs)]
        for i, symbol in enumerate(node.inputs):
            if i not in operands:
                self._leave(symbol)
        outputs = []
        rewritten = Node(op, inputs, scope=node.scope)
        for i, (symbol, spec) in enumerate(zip(node.outputs, op.infer(*inputs), strict=True)):
            if i in results:
                outputs.append(Symbol(self.graph, spec, rewritten))
                self.lanes[symbol] = outputs[-1]
            else:
                symbol.node = rewritten
                outputs.append(symbol)
        rewritten.outputs = outputs
        self.nodes.append(rewritten)

    def _enter(self, symbol: Symbol | None) -> Symbol | None:
        """The form in lanes of a symbol, converted if need be."""
        if symbol is None:
            return None
        if symbol not in self.lanes:
            node = Node(ToLanes(), [symbol])
            node.outputs = [Symbol(self.graph, Spec(in_lanes(symbol.shape, symbol.dtype), symbol.dtype), node)]
            self.nodes.append(node)
            self.lanes[symbol] = node.outputs[0]
            self.ordinary.add(symbol)
        return self.lanes[symbol]

    def _leave(self, symbol: Symbol | None) -> None:
        """Make sure that a symbol's ordinary form exists."""
        if symbol is None or symbol not in self.lanes or symbol in self.ordinary:
            return
        node = Node(FromLanes(symbol.shape[0]), [self.lanes[symbol]], [symbol])
        symbol.node = node
        self.nodes.append(node)
        self.ordinary.add(symbol)


def _fills_lanes(x: Symbol | None) -> bool:
    assert x is not None
    return fills_lanes(x.shape[0], x.dtype)


def _has_table(node: Node) -> bool:
    """Whether the taps of all outputs of a plane are few enough to be gone through while the plan is made."""
    op: Any = node.op
    return prod((*node.outputs[0].shape[2:], *op.windows.kernel_size)) <= MOST_TAPS


def _has_no_empty_lanes(x: Symbol | None) -> bool:
    """Whether sums over all lanes are sums over all images."""
    assert x is not None
    return x.shape[0] % lanes_of(x.dtype) == 0


def _is_planar(node: Node) -> bool:
    return len(node.outputs[0].shape) <= 4


def _has_codes(op: MaxPool) -> bool:
    """Whether the taps of a window can be told apart by one byte, one value being taken."""
    taps = 1
    for k in op.windows.kernel_size:
        taps *= k
    return taps < 255


# For each op: the one that takes its place, which of its inputs and which of its outputs are in lanes.
Rewrite = tuple[Primitive, tuple[int, ...], tuple[int, ...]]


def _same(node: Node) -> Rewrite:
    return node.op, tuple(range(len(node.inputs))), (0,)


def _convolution(node: Node) -> Rewrite:
    op: Any = node.op
    adjoint = isinstance(op, ConvTranspose)
    activation = "relu" if op.relu else None
    return LaneConvolution(op.windows, op.groups, node.outputs[0].shape[2:], adjoint, activation), (0,), (0,)


def _weight_grad(node: Node) -> Rewrite:
    op: Any = node.op
    return LaneWeightGrad(op.windows, op.groups), (0, 1), ()


def _max_pool(node: Node) -> Rewrite:
    op: Any = node.op
    return LaneMaxPool(op.windows, node.outputs[0].shape[2:]), (0,), (0, 1)


def _max_pool_grad(node: Node) -> Rewrite:
    assert node.inputs[1] is not None and node.inputs[1].node is not None
    pool: Any = node.inputs[1].node.op
    return LaneMaxPoolGrad(pool.windows, node.outputs[0].shape[2:]), (0, 1), (0,)


def _avg_pool(node: Node) -> Rewrite:
    op: Any = node.op
    return LaneAvgPool(op.windows, node.outputs[0].shape[2:], op.count_include_pad), (0,), (0,)


def _avg_pool_grad(node: Node) -> Rewrite:
    op: Any = node.op
    return LaneAvgPoolGrad(op.windows, node.outputs[0].shape[2:], op.count_include_pad), (0,), (0,)


def _normalization(node: Node) -> Rewrite:
    return node.op, (0,), (0,)  # moments, weights and biases have no images


def _normalization_grad(node: Node) -> Rewrite:
    return node.op, (0, 1), (0,)


_REWRITES: dict[type[Primitive], Callable[[Node], Rewrite]] = {
    Convolution: _convolution,
    ConvTranspose: _convolution,
    ConvolutionWeightGrad: _weight_grad,
    MaxPool: _max_pool,
    MaxPoolGrad: _max_pool_grad,
    AvgPool: _avg_pool,
    AvgPoolGrad: _avg_pool_grad,
    BatchNorm: _normalization,
    Normalize: _normalization,
    BatchNormGrad: _normalization_grad,
}
