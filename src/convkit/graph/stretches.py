"""Stretches of a plan through which each thread takes images of its own, without waiting for the others.

After a kernel, all threads wait for the last one, and in the next kernel one may read what another one wrote, from a
cache that is not its own: in a small network that costs as much as the work.  But many kernels treat each image by
itself (`Primitive.by_image`).  Several in a row are therefore bound once for each thread, to its share of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from convkit.graph.symbols import Graph, Node, Symbol
from convkit.ops.lanes import ToLanes
from convkit.ops.shape import Reshape

# A share has at least so many images: then it fills lanes, and its matrix products sum in the order of the whole's.
LEAST_IMAGES = 12

# Of an array in lanes: blocks, channels, pixels, lanes.
LEAST_AXES = 4

# Of the shares' sizes, the largest is at most so many times their mean.
MOST_UNEVEN = 1.2

# Bytes that every thread reads or packs for itself, of one node: the weights, which should not crowd out the images.
MOST_SHARED_BYTES = 262144

# Bytes of all arrays of a stretch; none of them can take another one's place while shares are at different nodes.
MOST_BYTES = 16777216


@dataclass(frozen=True)
class Cut:
    """How a batch is cut into shares: between blocks of lanes."""

    images: int
    lanes: int
    shares: int

    @property
    def blocks(self) -> int:
        return -(-self.images // self.lanes)

    def divides(self, symbol: Symbol) -> bool:
        """Whether an array has the batch along its first axis, in images or, if it is in lanes, in blocks."""
        in_lanes = len(symbol.shape) >= LEAST_AXES and symbol.shape[-1] == self.lanes
        return symbol.shape[:1] == (self.images,) or (in_lanes and symbol.shape[0] == self.blocks)

    def part(self, size: int, share: int) -> slice:
        """The part of an axis of this size, images or blocks, that belongs to a share."""
        first, last = (self.blocks * end // self.shares for end in (share, share + 1))
        return slice(first, last) if size == self.blocks else slice(first * self.lanes, min(last * self.lanes, size))


def find_cut(graph: Graph, threads: int) -> Cut | None:
    """A cut for so many threads of the batch that a graph has in lanes, if it can be cut evenly."""
    entries = {
        (node.inputs[0].shape[0], node.outputs[0].shape[-1])
        for node in graph.nodes
        if isinstance(node.op, ToLanes) and node.inputs[0] is not None
    }
    if len(entries) != 1 or threads < 2:
        return None
    [(images, lanes)] = entries
    cut = Cut(images, lanes, threads)
    sizes = [part.stop - part.start for part in (cut.part(images, share) for share in range(threads))]
    return cut if min(sizes) >= LEAST_IMAGES and max(sizes) * threads <= MOST_UNEVEN * images else None


def put_together(nodes: Sequence[Node], cut: Cut | None) -> list[Node]:
    """The nodes in an order of long stretches: what needs the whole batch, as gradients of weights do, waits as long
    as others can go on.

    Arrays live longer so.  Where those of all nodes would be too many for one stretch, the order stays.
    """
    if cut is None or sum(symbol.nbytes for node in nodes for symbol in node.outputs) > MOST_BYTES:
        return list(nodes)
    maker = {symbol: number for number, node in enumerate(nodes) for symbol in node.outputs}
    awaited = [{maker[symbol] for symbol in node.inputs if symbol in maker} for node in nodes]
    waiting: list[list[int]] = [[] for _ in nodes]
    for number, makers in enumerate(awaited):
        for one in makers:
            waiting[one].append(number)
    ready = [(not _can_be_cut(node, cut), number) for number, node in enumerate(nodes) if not awaited[number]]
    heapify(ready)
    ordered = []
    while ready:
        _, done = heappop(ready)
        ordered.append(nodes[done])
        for number in waiting[done]:
            awaited[number].remove(done)
            if not awaited[number]:
                heappush(ready, (not _can_be_cut(nodes[number], cut), number))
    return ordered


def find_stretches(nodes: Sequence[Node], start: int, cut: Cut | None) -> list[range]:
    """The nodes from number `start` on: runs of several that can work on each share by itself, and single others."""
    stretches = []
    while start < len(nodes):
        stop = _stop_of(nodes, start, cut) if cut else start
        kernels = sum(not isinstance(node.op, Reshape) for node in nodes[start:stop])
        stretches.append(range(start, stop if kernels > 1 else start + 1))
        start = stretches[-1].stop
    return stretches


def _stop_of(nodes: Sequence[Node], start: int, cut: Cut) -> int:
    """Where the longest stretch from `start` on ends."""
    made: set[Symbol] = set()
    arrays: set[Symbol] = set()
    for number in range(start, len(nodes)):
        node = nodes[number]
        divided, whole = _operands(node)
        arrays.update(divided, node.outputs)
        too_large = sum(symbol.nbytes for symbol in arrays) > MOST_BYTES
        if not _can_be_cut(node, cut) or made.intersection(whole) or too_large:
            return number
        made.update(node.outputs)
    return len(nodes)


def _can_be_cut(node: Node, cut: Cut) -> bool:
    """Whether each thread can run a node for its own share."""
    divided, whole = _operands(node)
    return (
        bool(divided)
        and all(cut.divides(symbol) for symbol in (*divided, *node.outputs))
        and sum(symbol.nbytes for symbol in whole) <= MOST_SHARED_BYTES
    )


def _operands(node: Node) -> tuple[list[Symbol], list[Symbol]]:
    """The inputs that a share has its own part of, and those of which it needs the whole."""
    divided = node.op.by_image(*node.inputs)
    given = [(i in divided, symbol) for i, symbol in enumerate(node.inputs) if symbol is not None]
    return [symbol for mine, symbol in given if mine], [symbol for mine, symbol in given if not mine]
