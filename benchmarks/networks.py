"""The networks that are measured, as plain rows: every framework builds its own from the same description.

A row is the name of a layer and its numbers:

- ``("conv", in_channels, out_channels, kernel_size, padding)``, stride 1;
- ``("max_pool", size)`` and ``("avg_pool", size)``, windows side by side;
- ``("linear", in_features, out_features)``;
- ``("relu",)``, ``("tanh",)`` and ``("flatten",)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = tuple[Any, ...]

IMAGE_SHAPE = (1, 28, 28)
CLASSES = 10

NETWORKS: dict[str, tuple[Row, ...]] = {
    "fashion_cnn_small": (
        ("conv", 1, 10, 5, 0), ("relu",), ("max_pool", 2),
        ("conv", 10, 20, 5, 0), ("relu",), ("max_pool", 2),
        ("flatten",),
        ("linear", 320, 70), ("relu",),
        ("linear", 70, 10),
    ),
    "lenet5": (
        ("conv", 1, 6, 5, 2), ("tanh",), ("avg_pool", 2),
        ("conv", 6, 16, 5, 0), ("tanh",), ("avg_pool", 2),
        ("flatten",),
        ("linear", 400, 120), ("tanh",),
        ("linear", 120, 84), ("tanh",),
        ("linear", 84, 10),
    ),
    "fashion_cnn_large": (
        ("conv", 1, 64, 5, 0), ("relu",), ("avg_pool", 2),
        ("conv", 64, 128, 3, 0), ("relu",), ("avg_pool", 2),
        ("flatten",),
        ("linear", 3200, 256), ("relu",),
        ("linear", 256, 10),
    ),
}  # fmt: skip


def initial_parameters(network: str, seed: int = 0) -> list[NDArray[np.float32]]:
    """Draw weights (Glorot uniform) and biases (zero), in the order of the layers: weight, bias, weight, …

    Convolution weights are (out, in, k, k), those of dense layers (out, in).
    """
    rng = np.random.default_rng(seed)
    parameters = []
    for kind, *numbers in NETWORKS[network]:
        if kind == "conv":
            inputs, outputs, size, _ = numbers
            shape: tuple[int, ...] = (outputs, inputs, size, size)
        elif kind == "linear":
            inputs, outputs = numbers
            shape = (outputs, inputs)
        else:
            continue
        taps = int(np.prod(shape[2:]))
        bound = (6 / ((inputs + outputs) * taps)) ** 0.5
        parameters.append(rng.uniform(-bound, bound, shape).astype(np.float32))
        parameters.append(np.zeros(outputs, np.float32))
    return parameters


def channels_last_parameters(network: str, values: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """Turn initial parameters into those of a network on (N, H, W, C) images.

    Convolution weights become (k, k, in, out) and those of dense layers (in, out), the inputs of the first
    dense layer in the order in which such images are flattened.
    """
    remaining = iter(values)
    converted = []
    channels = IMAGE_SHAPE[0]
    flattened = False
    for kind, *numbers in NETWORKS[network]:
        if kind == "flatten":
            flattened = True
        if kind not in ("conv", "linear"):
            continue
        weight, bias = next(remaining), next(remaining)
        if kind == "conv":
            channels = numbers[1]
            weight = weight.transpose(2, 3, 1, 0)
        else:
            if flattened:
                side = isqrt(numbers[0] // channels)
                weight = weight.reshape(-1, channels, side, side).transpose(0, 2, 3, 1).reshape(weight.shape)
                flattened = False
            weight = weight.T
        converted += [np.ascontiguousarray(weight), bias]
    return converted


def batches(count: int, size: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Make batches of images that a network can learn from: some bright squares for each class, and noise.

    Returns
    -------
    images : ndarray of shape (count, size, 1, 28, 28), float32 in [0, 1]
    labels : ndarray of shape (count, size), int64
    """
    rng = np.random.default_rng(seed)
    patterns = np.kron(rng.random((CLASSES, 1, 7, 7)) < 0.25, np.ones((4, 4)))
    labels = rng.integers(CLASSES, size=(count, size))
    noise = rng.random((count, size, *IMAGE_SHAPE))
    return (patterns[labels] * noise + 0.1 * (1 - noise)).astype(np.float32), labels


def forward_flops(network: str) -> int:
    """Count the arithmetic of one image's forward pass: two for each use of each weight."""
    return sum(_layer_flops(network))


def training_flops(network: str) -> int:
    """Count one image's training step: forward, gradient to the weights, and to every input but the image."""
    layers = _layer_flops(network)
    return 3 * sum(layers) - layers[0]


def _layer_flops(network: str) -> list[int]:
    flops = []
    side = IMAGE_SHAPE[1]
    for kind, *numbers in NETWORKS[network]:
        if kind == "conv":
            inputs, outputs, size, padding = numbers
            side = side + 2 * padding - size + 1
            flops.append(2 * inputs * outputs * size**2 * side**2)
        elif kind in ("max_pool", "avg_pool"):
            side //= numbers[0]
        elif kind == "linear":
            flops.append(2 * numbers[0] * numbers[1])
    return flops
