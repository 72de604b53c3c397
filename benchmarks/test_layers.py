"""Single layers as a network uses them: planned, applied, and with their gradients."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import numpy as np
import pytest

import convkit as ck
from convkit import functional as F
from convkit import nn

from .conftest import Measure

BATCH = 64

# What builds the layer, and the shape of one input: those of fashion_cnn_large, or near to them.
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "Conv1d": (lambda: nn.Conv1d(64, 64, 5), (64, 256)),
    "Conv2d": (lambda: nn.Conv2d(64, 128, 3), (64, 12, 12)),
    "Conv2d_depthwise": (lambda: nn.Conv2d(64, 64, 3, padding=1, groups=64), (64, 28, 28)),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(64, 32, 2, stride=2), (64, 14, 14)),
    "MaxPool2d": (lambda: nn.MaxPool2d(2), (64, 24, 24)),
    "AvgPool2d": (lambda: nn.AvgPool2d(2), (64, 24, 24)),
    "Linear": (lambda: nn.Linear(3200, 256), (3200,)),
    "ReLU": (nn.ReLU, (64, 24, 24)),
    "Tanh": (nn.Tanh, (64, 24, 24)),
    "Sigmoid": (nn.Sigmoid, (64, 24, 24)),
    "Softmax": (nn.Softmax, (1000,)),
    "Dropout": (nn.Dropout, (64, 24, 24)),
}

names = pytest.mark.parametrize("name", LAYERS)


def inputs(name: str, count: int = 4) -> np.ndarray:
    """Some batches that follow one another."""
    return np.random.default_rng(0).standard_normal((count, BATCH, *LAYERS[name][1]), dtype=np.float32)


@names
def test_layer(name: str, measure: Measure) -> None:
    layer = LAYERS[name][0]()
    rotation = cycle(inputs(name))
    measure(lambda: layer(next(rotation)))


@names
def test_layer_with_gradients(name: str, measure: Measure) -> None:
    """Forward and backward, to parameters and input; the loss is the mean of the outputs' squares."""
    layer = LAYERS[name][0]()
    gradients = ck.value_and_grad(layer, lambda y: F.mean(y * y), inputs=True)
    rotation = cycle(inputs(name))
    measure(lambda: gradients(next(rotation)))
