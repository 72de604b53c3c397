"""Sums of a great many values are as exact as those of a few: their error must not grow with their number.

All values that are added up are equal, so every rounding of a running sum may go the same way, and what it should have
come to is known.
"""

from __future__ import annotations

from math import exp, log
from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import functional as F
from convkit import nn

N = 1 << 20
V = float(np.float32(0.1))
RELATIVE = 2e-5  # where a running sum takes up a thousand terms: its error is 2⁻²⁶ or so times their number


def filled(*shape: int) -> np.ndarray:
    return np.full(shape, V, np.float32)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def first(value: float, others: np.ndarray) -> np.ndarray:
    """The first of each row's classes is another."""
    others[:, 0] = value
    return others


def assert_exact(result: Any, expected: float) -> None:
    np.testing.assert_allclose(np.asarray(result, np.float64), expected, rtol=RELATIVE, atol=0)


# Over classes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 4 * N), (1, N, 2)], ids=["along", "across"])
class TestClasses:
    def test_softmax(self, shape: tuple[int, ...]) -> None:
        total = 1 + (shape[1] - 1) * exp(-1)
        scores = first(0, -ones(*shape))
        assert_exact(F.softmax(scores)[:, 1], exp(-1) / total)
        assert_exact(np.exp(F.log_softmax(scores)[:, 1].astype(float)), exp(-1) / total)

    def test_gradients(self, shape: tuple[int, ...]) -> None:
        n, grad = shape[1], first(0, filled(*shape))
        assert_exact(F.softmax_backward(grad, zeros(*shape))[:, 0], -(n - 1) / n * V / n)
        assert_exact(F.log_softmax_backward(grad, zeros(*shape))[:, 0], -(n - 1) / n * V)

    def test_cross_entropy_of_probabilities(self, shape: tuple[int, ...]) -> None:
        n, labels = shape[1], first(0, filled(*shape))
        positions = np.prod(shape[2:], dtype=int)
        assert_exact(F.cross_entropy(zeros(*shape), labels), (n - 1) * V * log(n))
        assert_exact(F.cross_entropy_backward(zeros(*shape), labels)[:, 0], (n - 1) / n * V / positions)


# Over images and pixels -----------------------------------------------------------------------------

# Gradients of biases and of the weights of a channel of its own: grad_output, x, weight, and the function.
CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "one plane": ((1, 1, 2048, 2048), (1, 1, 2048, 2048), (1, 1, 1, 1), {}),
    "several channels": ((1, 3, N), (1, 2, 2 * N), (3, 2, 2), {"stride": 2}),
    "many images": ((N, 2, 2), (N, 1, 2), (2, 1, 1), {}),
    "depthwise, one row": ((1, 2, N), (1, 2, 2 * N), (2, 1, 2), {"stride": 2, "groups": 2}),
    "depthwise, one plane": ((1, 2, 2048, 512), (1, 2, 2050, 514), (2, 1, 3, 3), {"groups": 2}),
    "depthwise, many images": ((N, 2, 2), (N, 2, 3), (2, 1, 2), {"groups": 2}),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_gradients_of_convolutions(case: str) -> None:
    grad, x, weight, options = CONVOLUTIONS[case]
    backward = F.conv1d_backward if len(x) == 3 else F.conv2d_backward
    _, grad_weight, grad_bias = backward(filled(*grad), ones(*x), ones(*weight), **options)
    terms = np.prod(grad, dtype=int) // grad[1]
    assert_exact(grad_bias, terms * V)
    assert_exact(grad_weight, terms * V)


@pytest.mark.parametrize("outputs", [3, 16])
def test_gradients_of_dense_layers(outputs: int) -> None:
    grad_bias = F.linear_backward(filled(N, outputs), ones(N, 2), ones(outputs, 2))[2]
    assert_exact(grad_bias, N * V)


@pytest.mark.parametrize("size", [(N,), (1, N), (N, 1), (1024, 1024), (64, 64, 256)])
def test_averages(size: tuple[int, ...]) -> None:
    assert_exact(F.global_avg_pool(filled(1, 2, *size)), V)


@pytest.mark.parametrize("stride", [1, 3])
def test_averages_over_windows_that_overlap(stride: int) -> None:
    assert_exact(F.avg_pool1d(filled(1, 1, N + 7), N, stride), V)


def test_sums_and_squares() -> None:
    assert_exact(F.sum(filled(4 * N)), 4 * N * V)
    assert_exact(F.mse_loss(filled(4 * N), zeros(4 * N)), V**2)


# In lanes -------------------------------------------------------------------------------------------

# Images, channels in and out, size of the output, kernel; of as many images plans put images innermost.
LANES: dict[str, tuple[int, int, int, tuple[int, ...], int]] = {
    "large planes": (16, 1, 2, (256, 256), 1),
    "many images": (N // 4, 1, 2, (2, 1), 1),
    "by Winograd": (16, 16, 16, (256, 256), 3),
}


def of_ones(model: nn.Module) -> nn.Module:
    for parameter in model.parameters().values():
        parameter.assign(np.ones(parameter.shape, np.float32))
    return model


@pytest.mark.parametrize("case", LANES)
def test_gradients_of_convolutions_in_lanes(case: str) -> None:
    images, ins, outs, size, kernel = LANES[case]
    model = of_ones(nn.Conv2d(ins, outs, kernel, padding=kernel // 2))
    gradients = ck.value_and_grad(model, lambda y, grad: F.sum(F.multiply(y, grad)))
    _, grads = gradients(ones(images, ins, *size), filled(images, outs, *size))
    assert_exact(grads["bias"], images * np.prod(size) * V)


def test_averages_in_lanes() -> None:
    model = of_ones(nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.AdaptiveAvgPool2d(1)))
    assert_exact(model(filled(16, 1, 1024, 256)), V)


def test_gradients_of_normalisations() -> None:
    x = zeros(N, 3) + np.arange(3, dtype=np.float32)
    assert_exact(F.layer_norm_backward(filled(N, 3), x, 3)[2], N * V)
    x = zeros(N // 4, 2, 4) + np.arange(4, dtype=np.float32)
    assert_exact(F.group_norm_backward(filled(N // 4, 2, 4), x, 1)[2], N * V)
