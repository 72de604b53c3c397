"""The kernels at the shapes of real networks.

There are hundreds, so choose: ``pytest benchmarks/test_kernels.py -k "resnet18 and forward"``.
"""

from __future__ import annotations

import numpy as np
import pytest

from convkit import functional as F

from .conftest import Measure
from .layers import ConvLayer, conv_layers, networks

pytestmark = pytest.mark.benchmark(min_rounds=5, max_time=0.5, warmup=True, warmup_iterations=1)

LAYERS = [layer for network in networks() for layer in conv_layers(network)]

Pool = tuple[str, int, int, int, int, int]

# name, channels, input size, kernel, stride, padding
POOLS: tuple[Pool, ...] = (
    ("fashion_cnn_small.pool1", 10, 24, 2, 2, 0),
    ("lenet5.pool1", 6, 28, 2, 2, 0),
    ("fashion_cnn_large.pool1", 64, 24, 2, 2, 0),
    ("alexnet.pool1", 96, 55, 3, 2, 0),
    ("vgg16.pool1", 64, 224, 2, 2, 0),
    ("resnet18.pool1", 64, 112, 3, 2, 1),
    ("googlenet.pool_3a", 192, 28, 3, 1, 1),
)

batches = pytest.mark.parametrize("batch", (1, 16), ids="batch{}".format)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


@batches
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_conv_forward(layer: ConvLayer, batch: int, measure: Measure) -> None:
    x, weight, bias = normal(batch, *layer.input_shape), normal(*layer.weight_shape), normal(layer.out)
    padding = (layer.ph, layer.pw)
    arguments = (x, weight, bias, layer.stride, padding, layer.dilation, layer.groups)
    output = measure(F.conv2d, *arguments, flops=batch * layer.flops)
    assert output.shape == (batch, *layer.output_shape)


@batches
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_conv_backward(layer: ConvLayer, batch: int, measure: Measure) -> None:
    """The gradients to input, weights and bias; the first two each cost what the forward pass costs."""
    x, weight = normal(batch, *layer.input_shape), normal(*layer.weight_shape)
    grad_output = normal(batch, *layer.output_shape)
    padding = (layer.ph, layer.pw)
    arguments = (grad_output, x, weight, layer.stride, padding, layer.dilation, layer.groups)
    measure(F.conv2d_backward, *arguments, flops=2 * batch * layer.flops)


@batches
@pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool[0])
@pytest.mark.parametrize("kind", ("max", "avg"))
def test_pool_forward(kind: str, pool: Pool, batch: int, measure: Measure) -> None:
    _, channels, size, kernel, stride, padding = pool
    x = normal(batch, channels, size, size)
    function = F.max_pool2d if kind == "max" else F.avg_pool2d
    output = function(x, kernel, stride, padding)
    measure(function, x, kernel, stride, padding, moved=x.nbytes + output.nbytes)


@batches
@pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool[0])
def test_max_pool_backward(pool: Pool, batch: int, measure: Measure) -> None:
    """Reads the input, to find each window's maximum, and writes a gradient of its size."""
    _, channels, size, kernel, stride, padding = pool
    x = normal(batch, channels, size, size)
    grad_output = normal(*F.max_pool2d(x, kernel, stride, padding).shape)
    arguments = (grad_output, x, kernel, stride, padding)
    measure(F.max_pool2d_backward, *arguments, moved=2 * x.nbytes + grad_output.nbytes)


@batches
@pytest.mark.parametrize("pool", POOLS, ids=lambda pool: pool[0])
def test_avg_pool_backward(pool: Pool, batch: int, measure: Measure) -> None:
    _, channels, size, kernel, stride, padding = pool
    x = normal(batch, channels, size, size)
    grad_output = normal(*F.avg_pool2d(x, kernel, stride, padding).shape)
    arguments = (grad_output, x.shape, kernel, stride, padding)
    measure(F.avg_pool2d_backward, *arguments, moved=x.nbytes + grad_output.nbytes)


@pytest.mark.parametrize("name", ("relu", "tanh", "sigmoid"))
def test_activation(name: str, measure: Measure) -> None:
    x = normal(64, 64, 24, 24)
    measure(getattr(F, name), x, moved=2 * x.nbytes)
