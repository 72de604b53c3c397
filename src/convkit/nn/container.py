"""Containers, and layers that only change an array's shape."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from convkit import functional as F
from convkit.errors import LARGEST_INTEGER, integer, is_listing, said
from convkit.nn.module import Module
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
    """

    def __init__(self, *layers: Module) -> None:
        for layer in layers:
            self.append(layer)

    def forward(self, x: Any) -> Any:
        for layer in self:
            x = layer(x)
        return x

    def append(self, layer: Module) -> Sequential:
        """Add a layer behind the last; return the container."""
        if not isinstance(layer, Module):
            raise TypeError(f"Sequential: layer {self._next()} must be a Module, not {said(layer)}")
        setattr(self, str(self._next()), layer)
        return self

    def _next(self) -> int:
        """The number behind those that layers have for names."""
        return max((int(name) + 1 for name in self.children() if name.isdecimal()), default=0)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.children().values())

    def __len__(self) -> int:
        return len(self.children())

    def __getitem__(self, index: int) -> Module:
        return list(self.children().values())[index]


class FeatureExtractor(Module):
    """A model that returns what some of its layers return, instead of what it does.

    Layers behind the last one asked for are not computed.  Parameters are the model's own.

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
        if not isinstance(model, Module):
            raise TypeError(f"FeatureExtractor: model must be a Module, not {said(model)}")
        if not isinstance(layers, str) and not (is_listing(layers) and all(isinstance(n, str) for n in layers)):
            raise TypeError(f"FeatureExtractor: layers must be a name or a sequence of names, not {said(layers)}")
        self.model = model
        self.layers = layers if isinstance(layers, str) else tuple(layers)
        names = dict(model.modules())
        for name in self._names():
            if name not in names:
                known = ", ".join(filter(None, names))
                raise ValueError(f"FeatureExtractor: layers: the model has no layer {name!r}, only {known}")

    def _names(self) -> tuple[str, ...]:
        return (self.layers,) if isinstance(self.layers, str) else self.layers

    def forward(self, *inputs: Any) -> Any:
        self.model(*inputs)
        recorder = active_recorder()
        assert recorder is not None
        layers = dict(self.model.modules())
        for name in self._names():
            if id(layers[name]) not in recorder.returned:
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
