"""The works about single layers and operations: convolutions of known networks, pooling, streams and others.

Their sizes are those of the networks they come from. Each names an operation that both sides have in a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..layers import ConvLayer, distinct_layers
from .works import Work

BATCHES = (1, 16)
TURN_SECONDS = 0.01  # what a turn at a short operation should take
MOST_STEPS = 30
# What an operation is taken to reach, for choosing how often to repeat it.
USUAL_FLOPS, USUAL_BYTES, CALL_SECONDS = 1e11, 1e10, 1e-5
# Rotating inputs: at least so many bytes of them, so that no side finds the last ones in its nearest cache.
ROTATING_BYTES = 4e6
MOST_ROTATIONS = 8

Shape = tuple[int, ...]


def operation_works() -> Iterator[Work]:
    """Every operation that is compared."""
    yield from conv_works()
    yield from transposed_works()
    yield from dilated_works()
    yield from column_works()
    yield from pool_works()
    yield from elementwise_works()
    yield from loss_works()


# --- convolutions -------------------------------------------------------------------------------------------


def conv_works() -> Iterator[Work]:
    """Each distinct convolution of the shape tables, forward and its two gradients."""
    for layer, used_by in distinct_layers():
        for batch in BATCHES:
            for work in _convolutions(str(layer), layer, batch):
                yield replace(work, family="conv", details=work.details | {"networks": used_by})


def dilated_works() -> Iterator[Work]:
    """Dilated convolutions as in networks that segment images: a ResNet's layers with dilation 2 and 4."""
    for channels, size, dilation in ((128, 28, 2), (256, 28, 4)):
        layer = ConvLayer(
            "dilated", "", 1, channels, size, size, channels, 3, 3, 1, dilation, dilation, dilation, 1
        )  # fmt: skip
        for batch in BATCHES:
            yield from _convolutions(f"{channels}x{size}x{size} 3x3 dilation {dilation}", layer, batch, "dilated ")


def _convolutions(name: str, layer: ConvLayer, batch: int, prefix: str = "") -> Iterator[Work]:
    x, grad = (batch, *layer.input_shape), (batch, *layer.output_shape)
    details = {
        "stride": layer.stride,
        "padding": [layer.ph, layer.pw],
        "dilation": layer.dilation,
        "groups": layer.groups,
        "kernel": [layer.kh, layer.kw],
        "size": [layer.h, layer.w],
        "flops": batch * layer.flops,
    }
    weight = layer.weight_shape
    yield _work(f"{prefix}conv_forward {name} b{batch}", details, x=x, weight=weight, bias=(layer.out,))
    yield _work(f"{prefix}conv_input_grad {name} b{batch}", details, grad=grad, weight=weight)
    yield _work(f"{prefix}conv_weight_grad {name} b{batch}", details, grad=grad, x=x)


def transposed_works() -> Iterator[Work]:
    """Transposed convolutions as in decoders: doubling an image's sides, and the same with overlap."""
    for channels, out, size, kernel, padding in ((128, 64, 28, 2, 0), (64, 32, 14, 4, 1), (256, 128, 14, 3, 1)):
        larger = (size - 1) * 2 + kernel - 2 * padding
        for batch in BATCHES:
            details = {
                **_window(kernel, 2, padding),
                "groups": 1,
                "size": [larger, larger],
                "flops": 2 * batch * channels * out * kernel**2 * size**2,
            }
            name = f"{channels}x{size}x{size} to {out}, {kernel}x{kernel} stride 2"
            x, weight = (batch, channels, size, size), (channels, out, kernel, kernel)
            yield _work(f"conv_transpose {name} b{batch}", details, x=x, weight=weight, bias=(out,))


def column_works() -> Iterator[Work]:
    """Windows as columns and back."""
    for channels, size, kernel, padding in ((64, 12, 3, 0), (64, 56, 3, 1), (10, 12, 5, 0)):
        out = size + 2 * padding - kernel + 1
        columns = (channels * kernel**2, out**2)
        for batch in BATCHES:
            name = f"{channels}x{size}x{size} {kernel}x{kernel} b{batch}"
            details = {**_window(kernel, 1, padding), "size": [size, size]}
            yield _work(f"im2col {name}", details, x=(batch, channels, size, size))
            yield _work(f"col2im {name}", details, columns=(batch, *columns))


# --- pooling ------------------------------------------------------------------------------------------------


def pool_works() -> Iterator[Work]:
    """Max and average pooling, forward (the maximum with its places, as in training) and backward."""
    for channels, size, kernel, stride, padding in ((64, 24, 2, 2, 0), (64, 112, 2, 2, 0), (64, 112, 3, 2, 1)):
        out = (size + 2 * padding - kernel) // stride + 1
        for kind in ("max_pool", "avg_pool"):
            for batch in BATCHES:
                name = f"{channels}x{size}x{size} {kernel}x{kernel} stride {stride} b{batch}"
                details = {**_window(kernel, stride, padding), "size": [size, size]}
                x, grad = (batch, channels, size, size), (batch, channels, out, out)
                yield _work(f"{kind} {name}", details, x=x)
                inputs = {"grad": grad, "x": x} if kind == "max_pool" else {"grad": grad}
                yield _work(f"{kind}_grad {name}", details, **inputs)


# --- streams ------------------------------------------------------------------------------------------------


def elementwise_works() -> Iterator[Work]:
    """Activations and their gradients, sums, products, and a scale and shift for each channel."""
    for channels, size, batch in ((64, 24, 16), (64, 56, 16)):
        shape = (batch, channels, size, size)
        name = f"{channels}x{size}x{size} b{batch}"
        for function in ("relu", "tanh", "sigmoid"):
            yield _work(f"{function} {name}", {}, x=shape)
            yield _work(f"{function}_grad {name}", {}, y=shape, grad=shape)
        yield _work(f"scale_shift {name}", {}, x=shape, scale=(channels,), shift=(channels,))
        yield _work(f"add {name}", {}, a=shape, b=shape)
        yield _work(f"multiply {name}", {}, a=shape, b=shape)


def loss_works() -> Iterator[Work]:
    """Softmax and cross-entropy with their gradient."""
    for batch, classes in ((64, 10), (256, 1000)):
        title, shapes = f"cross_entropy {classes} classes b{batch}", {"logits": (batch, classes)}
        work = _work(title, {}, **shapes)
        arrays = partial(_with_labels, work.arrays, classes)
        yield replace(work, arrays=arrays)


def _with_labels(arrays: Callable[[], dict[str, NDArray[Any]]], classes: int) -> dict[str, NDArray[Any]]:
    named = arrays()
    labels = np.random.default_rng(1).integers(classes, size=named["logits"].shape[:2])
    return {**named, "labels": labels}


# --- what they have in common -------------------------------------------------------------------------------


def _window(kernel: int, stride: int, padding: int) -> dict[str, Any]:
    return {"kernel": [kernel] * 2, "stride": stride, "padding": [padding] * 2, "dilation": 1}


def _work(title: str, details: dict[str, Any], **shapes: Shape) -> Work:
    """Make the work whose title begins with the name of its operation ("dilated" may precede it)."""
    bytes_read = 4 * sum(int(np.prod(shape)) for shape in shapes.values())
    seconds = CALL_SECONDS + max(details.get("flops", 0) / USUAL_FLOPS, 2 * bytes_read / USUAL_BYTES)
    steps = int(np.clip(TURN_SECONDS / seconds, 1, MOST_STEPS))
    return Work(
        title,
        family="operation",
        kind="operation",
        details=details | {"op": title.removeprefix("dilated ").partition(" ")[0]},
        arrays=partial(rotating, shapes, int(np.clip(ROTATING_BYTES / bytes_read, 2, MOST_ROTATIONS))),
        steps=steps,
        warm_up=min(steps - 1, 2),
        rounds=6,
        tolerance=1e-4,
    )


def rotating(shapes: dict[str, Shape], count: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Draw `count` arrays of each shape, uniform between -1 and 1."""
    rng = np.random.default_rng(seed)
    return {name: 2 * rng.random((count, *shape), np.float32) - 1 for name, shape in shapes.items()}
