"""A network's graph as a picture: a box for each layer, a line for each array that goes from one to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convkit.errors import integer, require
from convkit.graph.symbols import Node, Symbol
from convkit.graph.trace import symbols_of
from convkit.nn import Module
from convkit.nn.module import check_module
from convkit.ops.base import Spec
from convkit.plot.canvas import axes_or_new, check_axes, input_sizes, label_of, times
from convkit.plot.layout import layered

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BOX = (0.9, 0.62)  # of a box, as shares of the width of a place and of the height of a level
LEVEL = 0.6  # inches
LETTER = 0.6  # of the font's size, what a letter is wide on average
FONT = 8.0  # points, at most

# By the module that a layer or op is defined in.
COLOURS = {
    "conv": "#a6cee3",
    "linear": "#cab2d6",
    "pool": "#b2df8a",
    "norm": "#fdd49e",
    "activation": "#fbd5d5",
    "elementwise": "#fbd5d5",
}
SIGNS = {"Add": "+", "Subtract": "−", "Multiply": "×"}


@dataclass
class Box:
    """A layer, an op of a `forward`, or an input; and the boxes whose results it reads."""

    label: str
    shape: tuple[int, ...]
    family: str
    reads: list[int]

    def lines(self) -> tuple[str, str]:
        """What stands in it."""
        return self.label, times(*self.shape)


def graph(
    model: Module, input_shape: tuple[int, ...] | None = None, depth: int | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the graph of a network, as its ``forward`` was recorded in inference, from top to bottom.

    A box is a layer that has no layers within, or an op that a ``forward`` calls itself (a sum, a concatenation); in it
    stands the shape of its result, without the batch axis.  Layers that do nothing in inference, such as dropout, are
    not there.

    Parameters
    ----------
    model : Module
    input_shape : tuple of int, optional
        Of one input, without the batch axis; needed where the model does not name its own.
    depth : int, optional
        Draw modules this far within others as one box each: 1 for the model's own attributes, 2 for theirs.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure as large as the graph needs.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError, ValueError
        For arguments that cannot be; a missing `input_shape`, one that does not fit the model, and a `depth` below 1.
    ImportError
        Where matplotlib is missing; the message names the pip command.
    """
    check_module("graph", model)
    check_axes("graph", ax)
    shape = input_sizes("graph", model, input_shape)
    if not shape:
        raise ValueError("graph: input_shape is needed, as in plot.graph(model, (1, 28, 28))")
    boxes = _boxes(model, shape, None if depth is None else integer("graph", "depth", depth, 1))
    edges = [(read, place) for place, box in enumerate(boxes) for read in box.reads]
    places, routes = layered(len(boxes), edges)

    left, right = min(x for x, _ in places) - 0.5, max(x for x, _ in places) + 0.5
    for route in routes.values():
        left, right = min(left, *(x for x, _ in route)), max(right, *(x for x, _ in route))
    levels = max(level for _, level in places) + 1
    letters = max(len(line) for box in boxes for line in box.lines())
    place_width = max(1.0, LETTER * FONT / 72 * letters / BOX[0])  # inches
    with axes_or_new("graph", ax, (place_width * (right - left) + 0.2, LEVEL * levels + 0.2)) as ax:
        ax.set(xlim=(left, right), ylim=(levels - 0.5, -0.5))
        ax.set_axis_off()
        for route in routes.values():
            _draw_route(ax, route)
        corners = ax.get_window_extent()
        across, down = 72 * corners.width / ax.figure.dpi, 72 * corners.height / ax.figure.dpi  # points
        fontsize = min(FONT, 0.36 * BOX[1] * down / levels, BOX[0] * across / (right - left) / letters / LETTER)
        for box, place in zip(boxes, places, strict=True):
            _draw_box(ax, box, place, fontsize)
    return ax


def _boxes(model: Module, input_shape: tuple[int, ...], depth: int | None) -> list[Box]:
    """The traced graph, its nodes gathered by the layer that recorded them, in an order in which they can run."""
    traced, result = model.trace((Spec((1, *input_shape), model.dtype),))
    traced.keep_only(symbols_of(f"{type(model).__name__}.forward", result))
    modules = {id(module): (name, module) for name, module in model.modules()}
    boxes = [Box("input", input_shape, "", [])]
    where: dict[Symbol, int] = {traced.inputs[0]: 0}
    drawn: tuple[int, ...] | None = None  # the scope of the layer whose box is the last one
    for node in traced.nodes:
        scope = node.scope if depth is None else node.scope[: depth + 1]
        name, module = modules[scope[-1]]
        whole = not module.children() or (depth is not None and len(scope) > depth)
        if not whole or scope != drawn:
            boxes.append(_box_of_layer(name, module) if whole else _box_of_op(node))
            drawn = scope if whole else None
        here = len(boxes) - 1
        boxes[here].shape = node.outputs[0].shape[1:]
        sources = [where[symbol] for symbol in node.inputs if symbol in where]
        boxes[here].reads += [source for source in sources if source != here and source not in boxes[here].reads]
        where.update(dict.fromkeys(node.outputs, here))
    return boxes


def _box_of_layer(name: str, module: Module) -> Box:
    return Box(label_of(name, module), (), "" if module.children() else _family(module), [])


def _box_of_op(node: Node) -> Box:
    kind = type(node.op).__name__
    return Box(SIGNS.get(kind, kind), (), _family(node.op), [])


def _family(thing: Any) -> str:
    return type(thing).__module__.rpartition(".")[2]


def _draw_route(ax: Axes, route: list[tuple[float, float]]) -> None:
    """A line from the lower edge of one box to the upper edge of another, upright where it passes a level."""
    path = require("matplotlib.path", "plot", "plot.graph").Path
    patches = require("matplotlib.patches", "plot", "plot.graph")
    half = BOX[1] / 2
    x, level = route[0]
    vertices, codes = [(x, level + half)], [path.MOVETO]
    for x_next, level_next in route[1:]:
        start, end = level + half, level_next - half
        middle = (start + end) / 2
        vertices += [(x, middle), (x_next, middle), (x_next, end)]
        codes += [path.CURVE4] * 3
        if (x_next, level_next) != route[-1]:
            vertices.append((x_next, level_next + half))
            codes.append(path.LINETO)
        x, level = x_next, level_next
    arrow = patches.FancyArrowPatch(
        path=path(vertices, codes), arrowstyle="-|>", mutation_scale=7, color="0.45", lw=0.9
    )
    ax.add_patch(arrow)


def _draw_box(ax: Axes, box: Box, place: tuple[float, float], fontsize: float) -> None:
    patches = require("matplotlib.patches", "plot", "plot.graph")
    (x, level), (width, height) = place, BOX
    ax.add_patch(
        patches.FancyBboxPatch(
            (x - width / 2, level - height / 2),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor=COLOURS.get(box.family, "0.93"),
            edgecolor="0.3",
            linewidth=0.7,
        )
    )
    ax.text(x, level, "\n".join(box.lines()), ha="center", va="center", fontsize=fontsize)
