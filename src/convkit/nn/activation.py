"""Activations and dropout, as layers."""

from __future__ import annotations

from typing import Any

from convkit import functional as F
from convkit.errors import LARGEST_INTEGER, bounds, integer, number, one_of, positive, real, share
from convkit.nn.init import constant
from convkit.nn.module import Module
from convkit.parameter import Parameter


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

    Shape: x (N, C) or ``(N, C, *spatial)`` → y of the same; any other that has the axis, too.

    Parameters
    ----------
    dim : int
        The axis, by default that of the classes.
    """

    def __init__(self, dim: int = 1) -> None:
        self.dim = integer("Softmax", "dim", dim, -LARGEST_INTEGER)

    def forward(self, x: Any) -> Any:
        return F.softmax(x, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class LeakyReLU(Module):
    """x where positive, else negative_slope · x: x of any shape → y of the same.

    Parameters
    ----------
    negative_slope : float

    References
    ----------
    Maas, Hannun and Ng 2013, "Rectifier nonlinearities improve neural network acoustic models", equation 2.
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = number("LeakyReLU", "negative_slope", negative_slope)

    def forward(self, x: Any) -> Any:
        return F.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class PReLU(Module):
    """x where positive, else weight · x with a weight that is learned: x of any shape → y of the same.

    Parameters
    ----------
    num_parameters : int
        1, or the number of channels for a weight each.
    init : float
        The weight at first.

    Attributes
    ----------
    weight : Parameter, (num_parameters,)

    References
    ----------
    He et al. 2015, "Delving deep into rectifiers", equation 1.
    """

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        self.num_parameters = integer("PReLU", "num_parameters", num_parameters, 1)
        value, shape = real("PReLU", "init", init), (self.num_parameters,)
        self.weight = Parameter(constant("PReLU", value, shape, "num_parameters"))

    def forward(self, x: Any) -> Any:
        return F.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"{self.num_parameters}"


class ELU(Module):
    """x where positive, else alpha · (exp(x) - 1): x of any shape → y of the same.

    Parameters
    ----------
    alpha : float

    References
    ----------
    Clevert, Unterthiner and Hochreiter 2016, "Fast and accurate deep network learning by exponential linear units",
    equation 15.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = number("ELU", "alpha", alpha)

    def forward(self, x: Any) -> Any:
        return F.elu(x, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class SELU(Module):
    """λ · x where positive, else λ · α · (exp(x) - 1), λ ≈ 1.0507, α ≈ 1.6733: x of any shape → y of the same.

    References
    ----------
    Klambauer et al. 2017, "Self-normalizing neural networks", equations 2 and 14.
    """

    def forward(self, x: Any) -> Any:
        return F.selu(x)


class GELU(Module):
    """x · Φ(x), Φ the normal distribution's function: x of any shape → y of the same.

    Parameters
    ----------
    approximate : {'none', 'tanh'}

    References
    ----------
    Hendrycks and Gimpel 2016, "Gaussian error linear units", section 2.
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = one_of("GELU", "approximate", approximate, ("none", "tanh"))

    def forward(self, x: Any) -> Any:
        return F.gelu(x, self.approximate)

    def extra_repr(self) -> str:
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """x · σ(x), σ the logistic function: x of any shape → y of the same.

    References
    ----------
    Elfwing, Uchibe and Doya 2018, "Sigmoid-weighted linear units", equation 3.
    """

    def forward(self, x: Any) -> Any:
        return F.silu(x)


class Softplus(Module):
    """log(1 + exp(beta · x)) / beta, x itself where beta · x is above the threshold: any shape → the same.

    Parameters
    ----------
    beta, threshold : float

    References
    ----------
    Dugas et al. 2001, "Incorporating second-order functional knowledge for better option pricing", section 2.
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = positive("Softplus", "beta", beta)
        self.threshold = number("Softplus", "threshold", threshold)

    def forward(self, x: Any) -> Any:
        return F.softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold}"


class Hardsigmoid(Module):
    """min(max(x / 6 + 1/2, 0), 1): x of any shape → y of the same.

    References
    ----------
    Howard et al. 2019, "Searching for MobileNetV3", section 5.2.
    """

    def forward(self, x: Any) -> Any:
        return F.hardsigmoid(x)


class Hardswish(Module):
    """x · hardsigmoid(x): x of any shape → y of the same.

    References
    ----------
    Howard et al. 2019, "Searching for MobileNetV3", section 5.2.
    """

    def forward(self, x: Any) -> Any:
        return F.hardswish(x)


class Hardtanh(Module):
    """min(max(x, min_val), max_val): x of any shape → y of the same.

    Parameters
    ----------
    min_val, max_val : float

    References
    ----------
    Collobert 2004, "Large scale machine learning", section 5.2.
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        self.min_val, self.max_val = bounds("Hardtanh", min_val=min_val, max_val=max_val)

    def forward(self, x: Any) -> Any:
        return F.hardtanh(x, self.min_val, self.max_val)

    def extra_repr(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


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
        self.p = share(type(self).__name__, "p", p)

    def forward(self, x: Any) -> Any:
        return F.dropout(x, self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout2d(Dropout):
    """In training, zero each channel of a sample as a whole with probability p and scale the rest; else nothing.

    Shape: x ``(N, C, *spatial)`` → y of the same.

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
    Tompson et al. 2015, "Efficient object localization using convolutional networks", section 3.2.
    """

    def forward(self, x: Any) -> Any:
        return F.dropout2d(x, self.p)


class Dropout3d(Dropout2d):
    """Whole channels of volumes zeroed, x (N, C, D, H, W) → y of the same; as `Dropout2d`."""
