"""Containers, and layers that only change an array's shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any, overload

from convkit import functional as F
from convkit.errors import LARGEST_INTEGER, integer, is_listing, said
from convkit.nn.module import Module, check_module
from convkit.ops.base import active_recorder


class Sequential(Module):
    """Modules applied one after the other.

    Shape: x as the first layer takes it → y as the last one returns it; x itself without layers.

    Parameters
    ----------
    *layers : Module
        Their parameters are named by position: ``0.weight``, ``0.bias``, ….

    Raises
    ------
    TypeError
        For a layer that is no Module.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> model[-1]
    Linear(3, 1)
    >>> features = model[:2]  # a Sequential of the same two layers, so with the same parameters
    """

    def __init__(self, *layers: Module) -> None:
        for number, layer in enumerate(layers, len(self)):
            self._add(number, layer)

    def forward(self, x: Any) -> Any:
        for layer in self:
            x = layer(x)
        return x

    def append(self, layer: Module) -> Sequential:
        """Add a layer behind the last; return the container."""
        last = next((name for name, value in reversed(self.__dict__.items()) if isinstance(value, Module)), "-1")
        start = int(last) + 1 if last.removeprefix("-").isdecimal() else len(self)
        self._add(next(number for number in count(start) if str(number) not in self.__dict__), layer)
        return self

    def _add(self, number: int, layer: Module) -> None:
        if not isinstance(layer, Module):
            raise TypeError(f"Sequential: layer {number} must be a Module, not {said(layer)}")
        setattr(self, str(number), layer)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.children().values())

    def __len__(self) -> int:
        return len(self.children())

    @overload
    def __getitem__(self, index: int) -> Module: ...

    @overload
    def __getitem__(self, index: slice) -> Sequential: ...

    def __getitem__(self, index: int | slice) -> Module:
        """The layer at a place, or for a slice a Sequential of the layers there, which are numbered from 0 in it."""
        layers = list(self)
        if isinstance(index, slice):
            return Sequential(*_sliced(layers, index))
        if not layers:
            raise IndexError("Sequential: index must choose a layer, but there are none")
        try:
            return layers[integer("Sequential", "index", index, -len(layers), len(layers) - 1)]
        except ValueError as error:
            raise IndexError(str(error)) from None


def _sliced(layers: list[Module], index: slice) -> list[Module]:
    try:
        return layers[index]
    except (TypeError, ValueError) as error:
        raise type(error)(f"Sequential: index must be a slice of integers, its step not 0, not {said(index)}") from None


class FeatureExtractor(Module):
    """A model that returns what some of its layers return, instead of what it does.

    Layers behind the last one asked for are not computed, but the input must fit them.  Parameters are the model's own.

    Shape: x as the model takes it → what the layer returns; a tuple for a sequence of layers.

    Parameters
    ----------
    model : Module
    layers : str or sequence of str
        Names as `Module.modules` gives them, such as ``"layer1.0.conv1"``.  Of a layer that is called more than
        once the last result counts.

    Raises
    ------
    TypeError
        For a `model` that is no Module.
    ValueError
        For a name that the model has not; and, when called, for a layer that its ``forward`` does not call.

    Examples
    --------
    >>> maps = nn.FeatureExtractor(models.lenet5(), "1")(images)
    >>> maps.shape
    (64, 6, 28, 28)
    """

    def __init__(self, model: Module, layers: str | Sequence[str]) -> None:
        check_module("FeatureExtractor", model)
        if not isinstance(layers, str) and not (is_listing(layers) and all(isinstance(n, str) for n in layers)):
            raise TypeError(f"FeatureExtractor: layers must be a name or a sequence of names, not {said(layers)}")
        self.model = model
        self.layers = layers if isinstance(layers, str) else tuple(layers)
        self._found()

    def _found(self) -> dict[str, Module]:
        """The layers asked for by name."""
        layers = dict(self.model.modules())
        for name in self._names():
            if name not in layers:
                known = ", ".join(filter(None, layers))
                raise ValueError(f"FeatureExtractor: layers: the model has no layer {name!r}, only {known}")
        return {name: layers[name] for name in self._names()}

    def _names(self) -> tuple[str, ...]:
        return (self.layers,) if isinstance(self.layers, str) else self.layers

    def forward(self, *inputs: Any) -> Any:
        recorder = active_recorder()
        if recorder is None:  # who notes what layers return
            return self(*inputs)
        layers = self._found()
        self.model(*inputs)
        for name, layer in layers.items():
            if id(layer) not in recorder.returned:
                raise ValueError(f"FeatureExtractor: forward did not call the layer {said(name)}")
        results = tuple(recorder.returned[id(layers[name])] for name in self._names())
        return results[0] if isinstance(self.layers, str) else results

    def extra_repr(self) -> str:
        return f"layers={self.layers!r}"


class Flatten(Module):
    """Axes from `start_dim` to `end_dim` made one.

    Shape: x (N, C, H, W) → y (N, C·H·W) by default.

    Parameters
    ----------
    start_dim, end_dim : int
        By default all axes but the batch's.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = integer("Flatten", "start_dim", start_dim, -LARGEST_INTEGER)
        self.end_dim = integer("Flatten", "end_dim", end_dim, -LARGEST_INTEGER)

    def forward(self, x: Any) -> Any:
        return F.flatten(x, self.start_dim, self.end_dim)
