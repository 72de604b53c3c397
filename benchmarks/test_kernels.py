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


# --- the convolutions of the shape tables -------------------------------------------------------------------


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


# --- pooling ------------------------------------------------------------------------------------------------


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


# --- other convolutions, and windows as columns -------------------------------------------------------------


@batches
@pytest.mark.parametrize("kernel", (2, 3, 4), ids="{0}x{0}".format)
def test_conv_transpose(kernel: int, batch: int, measure: Measure) -> None:
    """Doubling an image's sides, as in decoders."""
    x, weight = normal(batch, 128, 14, 14), normal(128, 64, kernel, kernel)
    output = measure(F.conv_transpose2d, x, weight, None, 2, flops=2 * x.size * weight[0].size)
    assert output.shape == (batch, 64, 26 + kernel, 26 + kernel)


@batches
@pytest.mark.parametrize("dilation", (2, 4), ids="dilation{}".format)
def test_dilated_conv(dilation: int, batch: int, measure: Measure) -> None:
    x, weight = normal(batch, 128, 28, 28), normal(128, 128, 3, 3)
    output = measure(F.conv2d, x, weight, None, 1, dilation, dilation, flops=2 * x.size * weight[0].size)
    assert output.shape == x.shape


@batches
def test_im2col(batch: int, measure: Measure) -> None:
    x = normal(batch, 64, 56, 56)
    columns = F.im2col(x, 3, 1, 1)
    measure(F.im2col, x, 3, 1, 1, moved=x.nbytes + columns.nbytes)


@batches
def test_col2im(batch: int, measure: Measure) -> None:
    columns = normal(batch, 64 * 9, 56 * 56)
    x = F.col2im(columns, (56, 56), 3, 1, 1)
    measure(F.col2im, columns, (56, 56), 3, 1, 1, moved=x.nbytes + columns.nbytes)


# --- streams ------------------------------------------------------------------------------------------------

ACTIVATIONS = ("relu", "tanh", "sigmoid")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name: str, measure: Measure) -> None:
    x = normal(64, 64, 24, 24)
    measure(getattr(F, name), x, moved=2 * x.nbytes)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_backward(name: str, measure: Measure) -> None:
    grad_output, x = normal(2, 64, 64, 24, 24)
    measure(getattr(F, f"{name}_backward"), grad_output, x, moved=3 * x.nbytes)


@pytest.mark.parametrize("name", ("add", "multiply"))
def test_arithmetic(name: str, measure: Measure) -> None:
    a, b = normal(2, 64, 64, 24, 24)
    measure(getattr(F, name), a, b, moved=3 * a.nbytes)


def test_scale_and_shift_of_each_channel(measure: Measure) -> None:
    x, scale, shift = normal(64, 64, 24, 24), normal(64, 1, 1), normal(64, 1, 1)
    measure(lambda: F.add(F.multiply(x, scale), shift), moved=2 * x.nbytes)


@pytest.mark.parametrize("classes", (10, 1000), ids="{}classes".format)
def test_cross_entropy(classes: int, measure: Measure) -> None:
    logits, labels = normal(256, classes), np.random.default_rng(0).integers(classes, size=256)
    measure(F.cross_entropy, logits, labels, moved=logits.nbytes)


@pytest.mark.parametrize("classes", (10, 1000), ids="{}classes".format)
def test_cross_entropy_backward(classes: int, measure: Measure) -> None:
    logits, labels = normal(256, classes), np.random.default_rng(0).integers(classes, size=256)
    measure(F.cross_entropy_backward, logits, labels, moved=2 * logits.nbytes)
