"""Activations and dropout, as layers."""

from __future__ import annotations

from typing import Any

from convkit import functional as F
from convkit.nn.module import Module


class ReLU(Module):
    """max(x, 0): x of any shape → y of the same."""

    def forward(self, x: Any) -> Any:
        return F.relu(x)


class Tanh(Module):
    """The hyperbolic tangent: x of any shape → y of the same."""

    def forward(self, x: Any) -> Any:
        return F.tanh(x)


class Sigmoid(Module):
    """1 / (1 + exp(-x)): x of any shape → y of the same."""

    def forward(self, x: Any) -> Any:
        return F.sigmoid(x)


class Softmax(Module):
    """exp(x) / Σ exp(x) along an axis.

    Shape: x (N, C) or (N, C, *spatial) → y of the same; any other that has the axis, too.

    Parameters
    ----------
    dim : int
        The axis, by default that of the classes.
    """

    def __init__(self, dim: int = 1) -> None:
        self.dim = dim

    def forward(self, x: Any) -> Any:
        return F.softmax(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Dropout(Module):
    """In training, zero each value with probability p and scale the rest by 1 / (1 - p); else nothing.

    Shape: x of any shape → y of the same.

    Parameters
    ----------
    p : float
        From 0 to 1.

    Raises
    ------
    ValueError
        For p outside of [0, 1].

    References
    ----------
    Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0 <= p <= 1:
            raise ValueError(f"Dropout: p must be from 0 to 1, not {p}")
        self.p = float(p)

    def forward(self, x: Any) -> Any:
        return F.dropout(x, self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"
