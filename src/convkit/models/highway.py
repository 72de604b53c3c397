"""Highway networks: Srivastava, Greff and Schmidhuber 2015, "Training very deep networks".

A highway layer (section 2, equation 3) computes y = H(x)·T(x) + x·(1 - T(x)): where the transform gate T is shut, it
hands on its input.  The gate's bias is negative at first (section 2.2), the more so the deeper the network, so that
signals and gradients pass through all layers of a network that has learnt nothing yet.

* `highway_dense`: section 3.1 trains networks of 10 to 100 layers of 50 units on MNIST, and `plain_dense` beside
  them, whose 71 units give a layer as many weights as the 50 with their gates.
* `highway_conv16`, `highway_conv32`: section 3.2 and table 1, ten layers, nine of them convolutions.  The paper
  counts 39 and 151 thousand parameters and leaves pooling open: after a first, plain convolution, eight highway ones
  of 3×3 and three times pooling by 2 to 3×3 places, that is 38,730 and 151,178.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convkit import functional as F
from convkit import nn
from convkit.errors import integer, number
from convkit.models.registry import Recipe, register
from convkit.nn.module import Module

PAPER = "Srivastava, Greff and Schmidhuber 2015, Training very deep networks"

MOST_LAYERS = 10_000  # a hundred times the paper's deepest
MOST_BIAS = 1e6  # of gates: far beyond where they are open or shut

# Clipped, for with fifty layers one bad batch may undo an epoch.
DENSE = Recipe(epochs=20, batch_size=64, optimizer="adam", lr=1e-3, schedule="cosine", clip_norm=1.0)
CONVOLUTIONAL = Recipe(epochs=20, batch_size=64, optimizer="adam", lr=2e-3, schedule="cosine")


class Highway(Module):
    """relu(plain(x))·t + x·(1 - t), t = σ(gate(x)): x → y of the same shape.

    Parameters
    ----------
    plain, gate : Linear or Conv2d
        Layers that keep the shape.
    gate_bias : float
        The gate's bias at first, below 0.
    """

    def __init__(self, plain: nn.Linear | nn.Conv2d, gate: nn.Linear | nn.Conv2d, gate_bias: float) -> None:
        self.plain, self.gate = plain, gate
        assert gate.bias is not None
        gate.bias.assign(np.full(gate.bias.shape, gate_bias))

    def forward(self, x: Any) -> Any:
        return x + F.sigmoid(self.gate(x)) * (F.relu(self.plain(x)) - x)


def _check_gate_bias(function: str, value: Any) -> None:
    number(function, "gate_bias", value, -MOST_BIAS, MOST_BIAS)


def highway_linear(width: int, gate_bias: float) -> Highway:
    """A dense highway layer: (N, width) → (N, width)."""
    return Highway(nn.Linear(width, width, init="he_normal"), nn.Linear(width, width), gate_bias)


def highway_conv(width: int, gate_bias: float) -> Highway:
    """A 3×3 convolutional highway layer: (N, width, H, W) → the same."""
    plain = nn.Conv2d(width, width, 3, padding=1, init="he_normal")
    return Highway(plain, nn.Conv2d(width, width, 3, padding=1), gate_bias)


@register(paper=f"{PAPER}, section 3.1", dataset="mnist", parameters=284_560, recipe=DENSE)
def highway_dense(*, depth: int = 50, width: int = 50, gate_bias: float = -4.0) -> Module:
    """A dense layer, highway layers and a last dense layer, 50 in all: 284,560 parameters."""
    integer("highway_dense", "depth", depth, 2, MOST_LAYERS)
    _check_gate_bias("highway_dense", gate_bias)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, width, init="he_normal"),
        nn.ReLU(),
        *(highway_linear(width, gate_bias) for _ in range(depth - 2)),
        nn.Linear(width, 10),
    )


@register(paper=f"{PAPER}, section 3.1", dataset="mnist", parameters=301_831, recipe=DENSE)
def plain_dense(*, depth: int = 50, width: int = 71) -> Module:
    """Dense layers, 50 in all, with about the parameters of `highway_dense`: 301,831 parameters."""
    integer("plain_dense", "depth", depth, 2, MOST_LAYERS)
    hidden = [layer for _ in range(depth - 2) for layer in (nn.Linear(width, width, init="he_normal"), nn.ReLU())]
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, width, init="he_normal"), nn.ReLU(), *hidden, nn.Linear(width, 10)
    )


def convolutional(width: int, in_channels: int, num_classes: int, gate_bias: float) -> Module:
    """Nine convolutions of 28×28 images, the first of them plain, with pooling after each third, and a dense layer."""
    return nn.Sequential(
        nn.Conv2d(in_channels, width, 3, padding=1, init="he_normal"),
        nn.ReLU(),
        *(highway_conv(width, gate_bias) for _ in range(2)),
        nn.MaxPool2d(2),
        *(highway_conv(width, gate_bias) for _ in range(3)),
        nn.MaxPool2d(2),
        *(highway_conv(width, gate_bias) for _ in range(3)),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(width * 3 * 3, num_classes),
    )


@register(paper=f"{PAPER}, table 1", dataset="mnist", parameters=38_730, recipe=CONVOLUTIONAL)
def highway_conv16(*, in_channels: int = 1, num_classes: int = 10, gate_bias: float = -2.0) -> Module:
    """Ten layers of sixteen maps, eight of them with gates: 38,730 parameters."""
    _check_gate_bias("highway_conv16", gate_bias)
    return convolutional(16, in_channels, num_classes, gate_bias)


@register(paper=f"{PAPER}, table 1", dataset="mnist", parameters=151_178, recipe=CONVOLUTIONAL)
def highway_conv32(*, in_channels: int = 1, num_classes: int = 10, gate_bias: float = -2.0) -> Module:
    """Ten layers of thirty-two maps, eight of them with gates: 151,178 parameters."""
    _check_gate_bias("highway_conv32", gate_bias)
    return convolutional(32, in_channels, num_classes, gate_bias)
