"""Containers, and layers that only change an array's shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from convkit import functional as F
from convkit.nn.module import Module


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
        for position, layer in enumerate(layers):
            if not isinstance(layer, Module):
                raise TypeError(f"Sequential: layer {position} must be a Module, not {layer!r}")
            setattr(self, str(position), layer)

    def forward(self, x: Any) -> Any:
        for layer in self:
            x = layer(x)
        return x

    def append(self, layer: Module) -> Sequential:
        """Add a layer behind the last; return the container."""
        setattr(self, str(len(self)), layer)
        return self

    def __iter__(self) -> Iterator[Module]:
        return iter(self.children().values())

    def __len__(self) -> int:
        return len(self.children())

    def __getitem__(self, index: int) -> Module:
        return list(self.children().values())[index]


class Flatten(Module):
    """Axes from `start_dim` to `end_dim` made one.

    Shape: x (N, C, H, W) → y (N, C·H·W) by default.

    Parameters
    ----------
    start_dim, end_dim : int
        By default all axes but the batch's.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Any:
        return F.flatten(x, self.start_dim, self.end_dim)
