"""How far float32 results lie from exact ones, ``python -m benchmarks.numerics``: the table of docs/numerics.md.

Every kernel computes in float32 and once more in float64 from the same numbers; the second result, whose own error is
half a billion times smaller, counts as exact.  An error is given in units in the last place (ulp) of float32:

* *positive* inputs, uniform in [0, 1): nothing cancels, and the unit is each value's own;
* *normal* inputs, of mean 0: sums cancel, and the unit is that of the root mean square of all values of the output.

``--bits`` prints instead a fingerprint of each result at this instruction set, to be compared between runs.  Names
limit the run to cases that start with one of them; the environment variable CONVKIT_ISA chooses the instruction set.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import convkit as ck
from convkit import functional as F
from convkit import nn, optim

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One function at one size; `call` takes arrays of these shapes."""

    name: str
    size: str
    call: Callable[..., Any]
    shapes: tuple[Shape, ...]
    centred: bool = False  # subtracts a mean, so positive inputs cancel, too


def layer(*arrays: np.ndarray, padding: int) -> np.ndarray:
    """A convolution as a plan computes it, with the images innermost."""
    x, weight = arrays
    return np.asarray(_model(weight, padding)(x))


def layer_gradients(grad: np.ndarray, x: np.ndarray, weight: np.ndarray, padding: int) -> tuple[np.ndarray, np.ndarray]:
    """The gradients to its input and its weight as a plan computes them."""
    gradients = ck.value_and_grad(_model(weight, padding), lambda y, grad: F.sum(F.multiply(y, grad)), inputs=True)
    _, grads, grad_x = gradients(x, grad)
    return grad_x, grads["weight"]


def _model(weight: np.ndarray, padding: int) -> nn.Conv2d:
    model = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2:], padding=padding, bias=False)
    model.astype(str(weight.dtype))
    model.weight.assign(weight)
    return model


def convolutions() -> Iterator[Case]:
    """ResNet's layers, from the first to the largest sums, and other kinds: forward and both gradients."""
    for kind, images, ins, outs, size, k, options in [
        ("first", 2, 3, 64, (224, 224), 7, {"stride": 2}),
        ("3 × 3", 2, 64, 64, (56, 56), 3, {}),
        ("3 × 3", 2, 512, 512, (7, 7), 3, {}),
        ("5 × 5", 2, 64, 192, (27, 27), 5, {}),
        ("1 × 1", 2, 2048, 512, (7, 7), 1, {}),
        ("depthwise", 2, 128, 128, (56, 56), 3, {"groups": 128}),
        ("4 groups", 2, 128, 128, (28, 28), 3, {"groups": 4}),
        ("dilated", 2, 64, 64, (56, 56), 3, {"padding": 2, "dilation": 2}),
        ("of 5", 4, 64, 64, (1000,), 5, {}),
        ("of 3", 2, 32, 32, (16, 16, 16), 3, {}),
    ]:
        x, weight = (images, ins, *size), (outs, ins // options.get("groups", 1), *(k,) * len(size))
        out = tuple(-(-n // options.get("stride", 1)) for n in size)
        options = {"padding": k // 2, **options}
        yield from _with_gradients(f"conv{len(size)}d", kind, options, x, weight, (images, outs, *out))
    for images, ins, outs, size in [(4, 64, 32, (500,)), (2, 64, 32, (28, 28)), (2, 32, 16, (8, 8, 8))]:
        x, weight = (images, ins, *size), (ins, outs, *(4,) * len(size))
        options, y = {"stride": 2, "padding": 1}, (images, outs, *(2 * n for n in size))
        yield from _with_gradients(f"conv_transpose{len(size)}d", "of 4", options, x, weight, y)


def _with_gradients(name: str, kind: str, options: dict[str, int], x: Shape, weight: Shape, y: Shape) -> Iterator[Case]:
    size = f"{x[1]} → {y[1]}, {_power(x)}"
    yield Case(f"{name}, {kind}", size, partial(getattr(F, name), **options), (x, weight))
    backward = partial(getattr(F, f"{name}_backward"), **options)
    yield from _gradients(f"{name}_backward, {kind}", size, backward, (y, x, weight))


def _gradients(name: str, size: str, function: Callable[..., Any], shapes: tuple[Shape, ...]) -> Iterator[Case]:
    for number, part in enumerate(("input", "weight")):
        yield Case(f"{name}: {part}", size, partial(_part, function, number), shapes)


def _part(function: Callable[..., Any], number: int, *arrays: np.ndarray) -> np.ndarray:
    return np.asarray(function(*arrays)[number])


def _power(shape: Shape) -> str:
    return f"{shape[2]}{['', '²', '³'][len(shape) - 3]}"


def in_lanes() -> Iterator[Case]:
    """Layers of 16 images, with the images innermost; the narrow 5 × 5 goes along rows."""
    for k, ins, outs, n in [(3, 64, 64, 56), (3, 512, 512, 7), (5, 64, 192, 27), (5, 6, 16, 28), (1, 256, 64, 28)]:
        name, size = f"Conv2d, 16 images, {k} × {k}", f"{ins} → {outs}, {n}²"
        x, weight, y = (16, ins, n, n), (outs, ins, k, k), (16, outs, n, n)
        yield Case(name, size, partial(layer, padding=k // 2), (x, weight))
        yield from _gradients(name, size, partial(layer_gradients, padding=k // 2), (y, x, weight))


def dense() -> Iterator[Case]:
    for rows, ins, outs in [(32, 2048, 1000), (4, 25088, 4096)]:
        x, weight = (rows, ins), (outs, ins)
        yield Case("linear", f"{ins} → {outs}", F.linear, (x, weight))
        yield from _gradients("linear_backward", f"{ins} → {outs}", F.linear_backward, ((rows, outs), x, weight))
    yield Case("matmul", "512²", F.matmul, ((512, 512), (512, 512)))


def windows() -> Iterator[Case]:
    x, pooled, cut = (4, 64, 112, 112), (4, 64, 55, 55), {"kernel_size": 3, "stride": 2}
    yield Case("avg_pool2d, 3 / 2", "64, 112²", partial(F.avg_pool2d, **cut), (x,))
    backward = partial(F.avg_pool2d_backward, input_shape=x, **cut)
    yield Case("avg_pool2d_backward, 3 / 2", "64, 112²", backward, (pooled,))
    yield Case("max_pool2d_backward, 3 / 2", "64, 112²", partial(F.max_pool2d_backward, **cut), (pooled, x))
    for x in [(8, 64, 1000), (8, 64, 30, 30), (4, 16, 15, 15, 15)]:
        name, size, shared = f"adaptive_avg_pool{len(x) - 2}d", f"64, {_power(x)} → 7", (*x[:2], *(7,) * (len(x) - 2))
        yield Case(name, size, partial(getattr(F, name), output_size=7), (x,))
        backward = partial(getattr(F, f"{name}_backward"), input_shape=x, output_size=7)
        yield Case(f"{name}_backward", size, backward, (shared,))
    yield Case("global_avg_pool", "2048, 7²", F.global_avg_pool, ((8, 2048, 7, 7),))
    backward = partial(F.global_avg_pool_backward, input_shape=(8, 2048, 7, 7))
    yield Case("global_avg_pool_backward", "2048, 7²", backward, ((8, 2048),))
    col2im = partial(F.col2im, output_size=(56, 56), kernel_size=3, padding=1)
    yield Case("col2im, 3 × 3", "64, 56²", col2im, ((2, 64 * 9, 56 * 56),))
    for mode in ("reflect", "replicate", "circular"):
        backward = partial(F.pad_backward, padding=3, mode=mode)
        yield Case(f"pad_backward, {mode}", "64, 56²", backward, ((2, 64, 62, 62),))
    for mode, corners in [("bilinear", False), ("bilinear", True)]:
        name, options = ", corners" if corners else "", {"mode": mode, "align_corners": corners}
        enlarged = partial(F.interpolate, size=(112, 112), **options)
        yield Case(f"interpolate, {mode}{name}", "64, 56² → 112²", enlarged, ((2, 64, 56, 56),))
        backward = partial(F.interpolate_backward, input_shape=(2, 64, 56, 56), **options)
        yield Case(f"interpolate_backward, {mode}{name}", "64, 56² → 112²", backward, ((2, 64, 112, 112),))


def normalisations() -> Iterator[Case]:
    planes, channels, rows = (4, 64, 112, 112), (64,), (64, 1024)
    for training in (True, False):
        moments = () if training else (channels, channels)
        name = "training" if training else "inference"
        call = partial(_batch_norm, training=training)
        yield Case(f"batch_norm, {name}", "64, 112²", call, (planes, *moments), centred=True)
        backward = partial(_batch_norm_backward, training=training)
        for number, part in enumerate(("input", "weight")):
            given = (planes, planes, channels, *moments)
            call = partial(_part, backward, number)
            yield Case(f"batch_norm_backward, {name}: {part}", "64, 112²", call, given, centred=True)
    grouped = {"num_groups": 8}
    yield Case("group_norm, 8 groups", "64, 112²", partial(F.group_norm, **grouped), (planes,), centred=True)
    yield Case("layer_norm", "1024", partial(F.layer_norm, normalized_shape=1024), (rows,), centred=True)
    for function, size, options, shapes in [
        (F.group_norm_backward, "64, 112²", grouped, (planes, planes)),
        (F.layer_norm_backward, "1024", {"normalized_shape": 1024}, (rows, rows)),
    ]:
        for number, part in enumerate(("input", "weight")):
            call = partial(_part, partial(function, **options), number)
            yield Case(f"{function.__name__}: {part}", size, call, shapes, centred=True)
    x = (2, 64, 56, 56)
    yield Case("local_response_norm", "64, 56²", partial(F.local_response_norm, size=5), (x,))
    backward = partial(F.local_response_norm_backward, size=5)
    yield Case("local_response_norm_backward", "64, 56²", backward, (x, x))


def _batch_norm(x: np.ndarray, *moments: np.ndarray, training: bool) -> np.ndarray:
    return np.asarray(F.batch_norm(x, *_moments(moments), training=training))


def _batch_norm_backward(
    grad: np.ndarray, x: np.ndarray, weight: np.ndarray, *moments: np.ndarray, training: bool
) -> tuple[np.ndarray, ...]:
    return tuple(F.batch_norm_backward(grad, x, *_moments(moments), weight, training=training))


def _moments(moments: tuple[np.ndarray, ...]) -> tuple[np.ndarray | None, np.ndarray | None]:
    if not moments:
        return None, None
    mean, variance = moments
    return mean, np.abs(variance) + variance.dtype.type(0.5)


ACTIVATIONS = (
    "tanh", "sigmoid", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "hardsigmoid", "hardswish", "hardtanh",
)  # fmt: skip


def values() -> Iterator[Case]:
    many, rows, size = (1000, 1000), (256, 1000), "10⁶ values"
    for name in ACTIVATIONS:
        yield Case(name, size, getattr(F, name), (many,))
        yield Case(f"{name}_backward", size, getattr(F, f"{name}_backward"), (many, many))
    yield Case("gelu, tanh", size, partial(F.gelu, approximate="tanh"), (many,))
    yield Case("prelu", size, F.prelu, (many, (1000,)))
    yield from _gradients("prelu_backward", size, F.prelu_backward, (many, many, (1000,)))
    for name in ("softmax", "log_softmax"):
        yield Case(name, "1000", partial(getattr(F, name), axis=1), (rows,))
        backward = partial(getattr(F, f"{name}_backward"), axis=1)
        yield Case(f"{name}_backward", "1000", backward, (rows, rows), centred=True)
    for name in ("cross_entropy", "nll_loss"):
        yield Case(name, "256 × 1000", partial(getattr(F, name), labels=np.arange(256)), (rows,))
        backward = partial(getattr(F, f"{name}_backward"), labels=np.arange(256))
        yield Case(f"{name}_backward", "256 × 1000", backward, (rows,))
    yield Case("mse_loss", "256 × 1000", F.mse_loss, (rows, rows))
    yield Case("mse_loss_backward", "256 × 1000", partial(_part, F.mse_loss_backward, 0), (rows, rows))
    yield Case("sum", size, F.sum, (many,))
    yield Case("mean", size, F.mean, (many,))
    for name, rule in [
        ("SGD, momentum", optim.SGD(0.1, momentum=0.9, weight_decay=1e-4)),
        ("Adam", optim.Adam(0.1)),
    ]:
        yield Case(f"{name}, 3 updates", size, partial(_updated, rule), (many,) * 4, centred=True)


def _updated(rule: optim.Optimizer, start: np.ndarray, *gradients: np.ndarray) -> np.ndarray:
    values, slots = start.copy(), {name: np.zeros_like(start) for name in rule.slots}
    for count, grads in enumerate(gradients, 1):
        rule.update(values, grads, slots, lr=0.1, weight_decay=rule.weight_decay, count=count)
    return values


def cases() -> list[Case]:
    return [*convolutions(), *in_lanes(), *dense(), *windows(), *normalisations(), *values()]


# Functions that the table leaves out, and why.
LEFT_OUT = {
    "values of the arguments at other places": (
        "im2col", "convolution_matrix", "max_pool1d", "max_pool2d", "max_pool3d",
        "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "global_max_pool",
        "global_max_pool_backward", "max_unpool1d", "max_unpool2d", "max_unpool3d", "max_unpool1d_backward",
        "max_unpool2d_backward", "max_unpool3d_backward", "relu", "relu_backward", "reshape", "flatten", "concat",
        "concat_backward", "pad", "pixel_shuffle", "pixel_shuffle_backward", "pixel_unshuffle",
        "pixel_unshuffle_backward",
    ),
    "rounded once": (
        "add", "subtract", "multiply", "dropout", "dropout_backward", "dropout2d", "dropout2d_backward",
    ),
    "the kernel of two axes, or of the usual windows": (
        "avg_pool1d", "avg_pool1d_backward", "avg_pool3d", "avg_pool3d_backward", "max_pool1d_backward",
        "max_pool3d_backward", "adaptive_max_pool1d_backward", "adaptive_max_pool2d_backward",
        "adaptive_max_pool3d_backward",
    ),
    "convolutions of one channel": ("correlate1d", "correlate2d", "convolve1d", "convolve2d"),
}  # fmt: skip


def inputs(case: Case, positive: bool) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    draw = rng.random if positive else rng.standard_normal
    return [draw(shape).astype(np.float32) for shape in case.shapes]


def errors(case: Case, positive: bool) -> tuple[float, float]:
    """The median and the largest error in ulp."""
    arrays = inputs(case, positive)
    exact = np.asarray(case.call(*[array.astype(np.float64) for array in arrays]))
    error = np.abs(np.asarray(case.call(*arrays), np.float64) - exact)
    size = np.abs(exact) if positive else np.sqrt(np.mean(exact**2, keepdims=True))
    units = error / np.spacing(np.maximum(size, np.finfo(np.float32).tiny).astype(np.float32))
    return float(np.median(units)), float(np.max(units))


def figures(case: Case) -> str:
    """A row of the table."""
    known = ["–", "–"] if case.centred else [f"{number:.1f}" for number in errors(case, positive=True)]
    known += [f"{number:.1f}" for number in errors(case, positive=False)]
    return f"| {case.name} | {case.size} | " + " | ".join(known) + " |"


def bits(case: Case) -> str:
    result = np.asarray(case.call(*inputs(case, positive=False)))
    return f"{case.name} | {case.size} | {hashlib.sha256(result.tobytes()).hexdigest()[:16]}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.numerics", description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--bits", action="store_true")
    options = parser.parse_args()
    for case in cases():
        if case.name.startswith(tuple(options.names or [""])):
            print(bits(case) if options.bits else figures(case), flush=True)


if __name__ == "__main__":
    main()
