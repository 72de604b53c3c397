"""The table that `Module.summary` prints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from convkit.errors import axis_sizes
from convkit.graph.trace import symbols_of
from convkit.ops.base import Spec

if TYPE_CHECKING:
    from convkit.nn.module import Module

HEADER = ("layer", "type", "output shape", "parameters", "FLOPs")


def summarize(model: Module, input_shape: Sequence[int]) -> str:
    """Trace the model on one input and lay out one line for each layer that computes anything itself.

    What a layer computes that `forward` makes and drops again is put down to the layer whose `forward` that is.
    """
    input_shape = axis_sizes("summary", "input_shape", input_shape, 0)
    graph, result = model.trace((Spec((1, *input_shape), model.dtype),))
    modules = {id(module): (name, module) for name, module in model.modules()}
    outputs: dict[int, tuple[int, ...]] = {}
    flops: dict[int, int] = defaultdict(int)
    for node in graph.nodes:
        caller = next(key for key in reversed(node.scope) if key in modules)
        outputs[caller] = node.outputs[0].shape[1:]
        flops[caller] += node.op.flops(node.inputs, node.outputs)

    rows = [("input", "", _shape(input_shape), "", "")]
    for key, shape in outputs.items():
        name, module = modules[key]
        own = {id(p): p.size for name, p in module.parameters().items() if "." not in name}
        rows.append(
            (name or "(itself)", type(module).__name__, _shape(shape), f"{sum(own.values()):,}", f"{flops[key]:,}")
        )  # fmt: skip
    total = sum(parameter.size for parameter in model.parameters().values())
    trainable = sum(parameter.size for parameter in model.parameters().values() if parameter.trainable)
    [output, *_] = symbols_of("forward", result)
    rows.append(("total", type(model).__name__, _shape(output.shape[1:]), f"{total:,}", f"{sum(flops.values()):,}"))
    graph.let_go()
    table = _table([HEADER, *rows])
    return table if trainable == total else f"{table}\n{trainable:,} of the parameters are trainable"


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "number"


def _table(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]

    def line(row: tuple[str, ...]) -> str:
        cells = [
            cell.ljust(width) if column < 3 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    rule = "  ".join("─" * width for width in widths)
    return "\n".join([line(rows[0]), rule, *map(line, rows[1:-1]), rule, line(rows[-1])])
