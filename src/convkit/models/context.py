"""Dilated convolutions that see far without losing a place: Yu and Koltun 2016, "Multi-scale context aggregation by
dilated convolutions", section 3 and table 1.

The context module takes maps of class scores and gives better ones of the same size.  Its seven 3×3 convolutions are
dilated by 1, 1, 2, 4, 8, 16 and 1, so that its outputs see 67×67 places; a 1×1 one ends it.  It begins as the identity
(equations 4 and 5).  Borders are zeros, so that the size stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from convkit import nn
from convkit.errors import integer
from convkit.models.pixels import lit_pixels
from convkit.models.registry import Recipe, register
from convkit.nn.module import Module
from convkit.seeding import generator

PAPER = "Yu and Koltun 2016, Multi-scale context aggregation by dilated convolutions"

DILATIONS = (1, 1, 2, 4, 8, 16, 1)
# Table 1: maps of each of the eight layers, in multiples of the classes.
BASIC = (1, 1, 1, 1, 1, 1, 1, 1)
LARGE = (2, 2, 4, 8, 16, 32, 32, 1)


def identity(shape: tuple[int, ...], classes: int) -> np.ndarray:
    """Weights (O, I, k, k) that hand on the scores of C classes, for each of which there are I / C and O / C maps.

    The middle of the kernel is C / O where input and output belong to the same class.  Else weights are 0 for one map
    a class (equation 4), and drawn from N(0, (C / 100 O)²), small beside that, for several, so that these become
    different (equation 5).
    """
    outputs, inputs, *kernel = shape
    share = classes / outputs
    one_each = outputs == inputs == classes
    weight = np.zeros(shape) if one_each else generator().normal(0.0, share / 100, shape)
    same_class = np.equal.outer(np.arange(outputs) * classes // outputs, np.arange(inputs) * classes // inputs)
    middle = np.zeros(kernel, bool)
    middle[tuple(size // 2 for size in kernel)] = True
    weight[np.logical_and.outer(same_class, middle)] = share
    return weight


def context_module(
    classes: int, widths: Sequence[int] = BASIC, dilations: Sequence[int] = DILATIONS
) -> list[nn.Conv2d | nn.ReLU]:
    """The layers of a context module: (N, classes, H, W) → (N, classes, H, W).

    Parameters
    ----------
    classes : int
    widths : sequence of int
        Maps of each layer, in multiples of the classes; that of the 1×1 layer, the last, is 1.
    dilations : sequence of int
        Of the layers before the last.
    """
    init = partial(identity, classes=classes)
    layers: list[nn.Conv2d | nn.ReLU] = []
    maps = classes
    for width, dilation in zip(widths[:-1], dilations, strict=True):
        wide = width * classes
        layers += [nn.Conv2d(maps, wide, 3, padding=dilation, dilation=dilation, init=init), nn.ReLU()]
        maps = wide
    return [*layers, nn.Conv2d(maps, classes, 1, init=init)]


@register(paper=f"{PAPER}, table 1", dataset=None, parameters=28_392, input_shape=(21, 64, 64))
def context_basic(*, num_classes: int = 21) -> Module:
    """The basic module on the scores of 21 classes: 28,392 parameters."""
    return nn.Sequential(*context_module(integer("context_basic", "num_classes", num_classes, 1)))


@register(paper=f"{PAPER}, table 1", dataset=None, parameters=6_803_139, input_shape=(21, 64, 64))
def context_large(*, num_classes: int = 21) -> Module:
    """The large module on the scores of 21 classes: 6,803,139 parameters."""
    return nn.Sequential(*context_module(integer("context_large", "num_classes", num_classes, 1), LARGE))


class ContextNetwork(Module):
    """A front end that scores each pixel by its neighbours, and a context module that looks farther around.

    Shape: images (N, in_channels, H, W) → scores (N, num_classes, H, W).

    Parameters
    ----------
    in_channels, num_classes, width : int
        Width is that of the front end.
    """

    def __init__(self, in_channels: int, num_classes: int, width: int) -> None:
        self.front_end = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1, init="he_normal"),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, init="he_normal"),
            nn.ReLU(),
            nn.Conv2d(width, num_classes, 1),
        )
        # 35×35 places are enough for images of 28×28
        self.context = nn.Sequential(*context_module(num_classes, (1,) * 7, (1, 1, 2, 4, 8, 1)))

    def forward(self, x: Any) -> Any:
        return self.context(self.front_end(x))


@register(
    paper=f"after {PAPER}",
    dataset="fashion-mnist",
    parameters=9_399,
    recipe=Recipe(epochs=5, batch_size=64, optimizer="adam", lr=2e-3, schedule="cosine"),
    targets=lit_pixels,
)
def context_small(*, in_channels: int = 1, num_classes: int = 11, width: int = 16) -> Module:
    """A front end and a context module, ten classes and the background of 28×28: 9,399 parameters."""
    return ContextNetwork(in_channels, num_classes, width)
