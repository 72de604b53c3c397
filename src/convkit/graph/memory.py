"""Laying out a graph's arrays in one arena, so that arrays which are never alive together share memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np

from convkit.graph.symbols import Graph, Node, Symbol
from convkit.ops.shape import Reshape

ALIGNMENT = 64


@dataclass(eq=False)
class Block:
    """A piece of memory, holding one array or several in turn, from node number `birth` to `death`.

    Node number `made` writes it first: later than `birth` where threads are at different nodes.
    """

    nbytes: int
    made: int
    birth: int
    death: int
    offset: int = -1
    symbols: list[Symbol] = field(default_factory=list)


def assign_blocks(
    graph: Graph, pinned: Iterable[Symbol], external: Collection[Symbol], stretches: Iterable[range] = ()
) -> dict[Symbol, Block]:
    """Give every symbol that needs memory of the arena its block.

    A reshaped array is its original's block; an op that can work in place takes over the block of an input that
    nobody reads later.  `pinned` symbols live to the end; `external` ones have memory of their own.  In a stretch
    (`graph.stretches`) threads are at different nodes: what is made there lives from its beginning, and only that is
    taken over, since each thread has its own part of it.
    """
    last_use = _last_uses(graph, pinned)
    blocks: dict[Symbol, Block] = {}
    beginning = {number: stretch.start for stretch in stretches for number in stretch if len(stretch) > 1}

    def settle(symbol: Symbol, block: Block) -> None:
        block.death = max(block.death, last_use.get(symbol, block.made))
        block.symbols.append(symbol)
        blocks[symbol] = block

    for symbol in graph.inputs:
        settle(symbol, Block(symbol.nbytes, -1, -1, -1))
    for number, node in enumerate(graph.nodes):
        if isinstance(node.op, Reshape):
            if node.inputs[0] in blocks:
                settle(node.outputs[0], blocks[node.inputs[0]])
            continue
        for position, symbol in enumerate(node.outputs):
            if symbol in external or (position in node.op.optional and symbol not in last_use):
                continue
            taken = _taken_over(node, number, beginning.get(number, -1), blocks) if position == 0 else None
            settle(symbol, taken or Block(symbol.nbytes, number, beginning.get(number, number), number))
    return blocks


def _last_uses(graph: Graph, pinned: Iterable[Symbol]) -> dict[Symbol, int]:
    last = {symbol: number for number, node in enumerate(graph.nodes) for symbol in node.inputs if symbol is not None}
    last.update(dict.fromkeys(pinned, len(graph.nodes)))
    for node in reversed(graph.nodes):
        if isinstance(node.op, Reshape) and node.inputs[0] is not None:  # who reads a view reads its original
            original, view = node.inputs[0], node.outputs[0]
            last[original] = max(last[original], last.get(view, -1))
    return last


def _taken_over(node: Node, number: int, earliest: int, blocks: dict[Symbol, Block]) -> Block | None:
    """The block of an input, made no earlier, that dies here, if the op can write its first output over it."""
    for index in node.op.in_place:
        candidate = node.inputs[index]
        block = blocks.get(candidate) if candidate is not None else None
        if (
            candidate is not None
            and block is not None
            and block.death <= number
            and block.made >= earliest
            and candidate.nbytes == node.outputs[0].nbytes
            and sum(symbol in block.symbols for symbol in node.inputs) == 1
        ):
            return block
    return None


def lay_out(blocks: Iterable[Block]) -> int:
    """Choose offsets, largest blocks first, each at the lowest place free during its life; return the arena's size."""
    placed: list[Block] = []
    for block in sorted(set(blocks), key=lambda b: (-b.nbytes, b.birth)):
        offset = 0
        for other in sorted(placed, key=lambda b: b.offset):
            overlap_in_time = other.birth <= block.death and block.birth <= other.death
            if overlap_in_time and other.offset < offset + block.nbytes and offset < other.offset + other.nbytes:
                offset = _aligned(other.offset + other.nbytes)
        block.offset = offset
        placed.append(block)
    return max((block.offset + block.nbytes for block in placed), default=0)


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def aligned_empty(nbytes: int) -> np.ndarray:
    """Uninitialised bytes that begin at a multiple of the alignment."""
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes]
