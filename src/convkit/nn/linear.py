"""The dense layer."""

from __future__ import annotations

from typing import Any

from convkit import functional as F
from convkit.errors import flag, integer
from convkit.nn.init import Initializer, constant, initial
from convkit.nn.module import Module
from convkit.parameter import Parameter

SIZES = "in_features and out_features"  # which decide how many values there are


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
        self.weight = Parameter(initial("Linear", init, (self.out_features, self.in_features), SIZES))
        self.bias = (
            Parameter(constant("Linear", 0.0, (self.out_features,), SIZES)) if flag("Linear", "bias", bias) else None
        )

    def forward(self, x: Any) -> Any:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}"
