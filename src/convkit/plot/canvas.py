"""Where pictures are drawn: matplotlib, imported when the first one is; and what all of them check before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from convkit.errors import axis_sizes, require, said, view
from convkit.nn import Module
from convkit.nn.module import check_module

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def check_axes(function: str, ax: Any) -> None:
    """Refuse what is neither None nor Axes."""
    if ax is not None and not isinstance(ax, require("matplotlib.axes", "plot", f"plot.{function}").Axes):
        raise TypeError(f"{function}: ax must be matplotlib Axes, not {said(ax)}")


def check_layer(function: str, model: Any, layer: Any) -> None:
    """Refuse what is no Module, and what cannot be the name of one of its layers."""
    check_module(function, model)
    if not isinstance(layer, str):
        raise TypeError(f"{function}: layer must be the name of one, not {said(layer)}")


def input_sizes(function: str, model: Module, input_shape: Any) -> tuple[int, ...]:
    """The shape of one input, as given or as the model names it; empty where neither does."""
    shape = model.input_shape if input_shape is None else input_shape
    if shape is None:
        return ()
    return axis_sizes(function, "input_shape", shape, 1)


def real_numbers(function: str, argument: str, value: Any) -> np.ndarray:
    """`value` as an array of float64, in which differences and magnitudes do not wrap around."""
    array = view(function, argument, value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{function}: {argument} must be numbers, not {array.dtype}")
    return array.astype(np.float64)


@contextmanager
def axes_or_new(function: str, ax: Axes | None, size: tuple[float, float]) -> Iterator[Axes]:
    """The Axes given, or those of a new figure of this size in inches, which is closed where drawing fails."""
    if ax is not None:
        yield ax
        return
    with figure_or_new(function, None, size) as figure:
        yield figure.add_subplot()


@contextmanager
def figure_or_new(function: str, figure: Figure | None, size: tuple[float, float]) -> Iterator[Figure]:
    """The figure given, or a new one of this size in inches, which is closed where drawing fails."""
    if figure is not None:
        yield figure
        return
    pyplot = require("matplotlib.pyplot", "plot", f"plot.{function}")
    new: Figure = pyplot.figure(figsize=size, layout="constrained")
    try:
        yield new
    except BaseException:
        pyplot.close(new)
        raise


def label_of(name: str, module: Module) -> str:
    """What a layer is called in pictures: "conv1: Conv2d"."""
    kind = type(module).__name__
    return f"{name}: {kind}" if name else kind


def times(*sizes: Any) -> str:
    """Sizes as people write them: 6 × 28 × 28."""
    return " × ".join(map(str, sizes))
