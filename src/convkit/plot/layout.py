"""Places for the nodes of a directed graph, from top to bottom.

After Sugiyama, Tagawa and Toda 1981: nodes are put on levels, edges over several levels get a bend on each level that
they pass, nodes and bends of a level are sorted by where their neighbours lie, and then moved sideways towards them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

SWEEPS = 12
BEND_WIDTH = 0.35  # what a bend takes of the width of a node

Edge = tuple[int, int]
Point = tuple[float, float]


def layered(count: int, edges: Sequence[Edge]) -> tuple[list[Point], dict[Edge, list[Point]]]:
    """Lay out nodes 0 … count - 1.

    Parameters
    ----------
    count : int
    edges : sequence of (from, to)
        With ``from < to``: nodes come in an order in which they can run.

    Returns
    -------
    places : list of (x, level)
        Of the nodes: x in widths of a node, levels from 0 down.
    routes : dict of lists of (x, level)
        By edge, from its first node over its bends to its last.
    """
    level = _levels(count, edges)
    chains: dict[Edge, list[int]] = {}
    for edge in dict.fromkeys(edges):
        first, last = edge
        bends = range(len(level), len(level) + level[last] - level[first] - 1)
        chains[edge] = [first, *bends, last]
        level += range(level[first] + 1, level[last])
    above: dict[int, list[int]] = defaultdict(list)
    below: dict[int, list[int]] = defaultdict(list)
    for chain in chains.values():
        for upper, lower in pairwise(chain):
            below[upper].append(lower)
            above[lower].append(upper)

    rows: list[list[int]] = [[] for _ in range(max(level, default=-1) + 1)]
    for node, row in enumerate(level):
        rows[row].append(node)
    _sort(rows, above, below)
    width = [1.0 if node < count else BEND_WIDTH for node in range(len(level))]
    x = _sideways(rows, above, below, width)
    points = [(x[node], float(level[node])) for node in range(len(level))]
    return points[:count], {edge: [points[node] for node in chain] for edge, chain in chains.items()}


def _levels(count: int, edges: Sequence[Edge]) -> list[int]:
    """One below the lowest of those that lead here."""
    level = [0] * count
    for first, last in sorted(edges, key=lambda edge: edge[1]):
        level[last] = max(level[last], level[first] + 1)
    return level


def _sort(rows: list[list[int]], above: dict[int, list[int]], below: dict[int, list[int]]) -> None:
    """Sort each row by the mean place of its neighbours in the row before, down and up in turn."""
    for sweep in range(SWEEPS):
        going_down = sweep % 2 == 0
        neighbours = above if going_down else below
        for row in rows if going_down else rows[::-1]:
            place = {node: position for other in rows for position, node in enumerate(other)}
            means = {
                node: float(np.mean([place[other] for other in neighbours[node]])) if neighbours[node] else place[node]
                for node in row
            }
            row.sort(key=means.__getitem__)


def _sideways(
    rows: list[list[int]], above: dict[int, list[int]], below: dict[int, list[int]], width: list[float]
) -> dict[int, float]:
    """x of each node: as near to its neighbours as order and widths allow, in the sense of least squares.

    A node that has its level to itself stays at 0, so that chains of blocks go straight down.
    """
    x = {node: float(position) for row in rows for position, node in enumerate(row)}
    for sweep in range(2 * SWEEPS):
        going_down = sweep % 2 == 0
        for row in rows if going_down else rows[::-1]:
            if len(row) == 1:
                continue
            wanted = []
            for node in row:
                neighbours = above[node] + below[node] if sweep >= SWEEPS else (above if going_down else below)[node]
                wanted.append(float(np.mean([x[other] for other in neighbours])) if neighbours else x[node])
            gaps = [(width[a] + width[b]) / 2 for a, b in pairwise(row)]
            offsets = np.concatenate([[0.0], np.cumsum(gaps)])[: len(row)]
            for node, value in zip(row, _ascending(np.array(wanted) - offsets) + offsets, strict=True):
                x[node] = float(value)
    return x


def _ascending(values: np.ndarray) -> np.ndarray:
    """The values nearest to these, by least squares, that never fall: pool adjacent violators."""
    pools: list[tuple[float, int]] = []  # (mean, how many)
    for value in values:
        mean, count = float(value), 1
        while pools and pools[-1][0] > mean:
            other, n = pools.pop()
            mean, count = (mean * count + other * n) / (count + n), count + n
        pools.append((mean, count))
    return np.concatenate([np.full(count, mean) for mean, count in pools]) if pools else values
