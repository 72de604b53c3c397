"""Where pictures are drawn: matplotlib, imported when the first one is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convkit.errors import require
from convkit.nn import Module

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def axes_or_new(function: str, ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The Axes given, or those of a new figure of this size in inches."""
    return ax if ax is not None else figure_or_new(function, None, size).add_subplot()


def figure_or_new(function: str, figure: Figure | None, size: tuple[float, float]) -> Figure:
    """The figure given, or a new one of this size in inches."""
    if figure is not None:
        return figure
    pyplot = require("matplotlib.pyplot", "plot", f"plot.{function}")
    new: Figure = pyplot.figure(figsize=size, layout="constrained")
    return new


def label_of(name: str, module: Module) -> str:
    """What a layer is called in pictures: "conv1: Conv2d"."""
    kind = type(module).__name__
    return f"{name}: {kind}" if name else kind


def times(*sizes: Any) -> str:
    """Sizes as people write them: 6 × 28 × 28."""
    return " × ".join(map(str, sizes))
