"""The dense layer."""

from __future__ import annotations

from typing import Any

from convkit import functional as F
from convkit.errors import integer
from convkit.nn.init import Initializer, initial
from convkit.nn.module import Module
from convkit.parameter import Parameter


class Linear(Module):
    """y = x · weightᵀ + bias.

    Shape: x (..., in_features) → y (..., out_features).

    Parameters
    ----------
    in_features, out_features : int
    bias : bool
        Whether to add a bias to each output.
    init : str or callable
        Initialiser of the weight, as in `Conv2d`.

    Attributes
    ----------
    weight : Parameter, (out_features, in_features)
    bias : Parameter, (out_features,), zero at first; or None

    Raises
    ------
    TypeError, ValueError
        For sizes that are not positive integers, and an unknown `init`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        init: str | Initializer = "glorot_uniform",
    ) -> None:
        self.in_features = integer("Linear", "in_features", in_features, 1)
        self.out_features = integer("Linear", "out_features", out_features, 1)
        self.weight = Parameter(initial("Linear", init, (out_features, in_features)))
        self.bias = Parameter(initial("Linear", "zeros", (out_features,))) if bias else None

    def forward(self, x: Any) -> Any:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}"
