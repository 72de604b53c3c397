"""How far float32 results lie from exact ones, ``python -m benchmarks.numerics``: the table of docs/numerics.md.

Every kernel computes in float32 and once more in float64 from the same numbers; the second result, whose own error is
half a billion times smaller, counts as exact.  An error is given in units in the last place (ulp) of float32:

* *positive* inputs, uniform in [0, 1): nothing cancels, and the unit is each value's own;
* *normal* inputs, of mean 0: sums cancel, and the unit is that of the root mean square of all values of the output.

``--bits`` prints instead a fingerprint of each result at this instruction set, to be compared between runs.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from convkit import functional as F
from convkit import nn

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
    model = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], padding=padding, bias=False)
    model = model.astype(str(weight.dtype))
    model.weight.assign(weight)
    return model(x)


def convolutions() -> Iterator[Case]:
    """ResNet's layers, from the first to the largest sums."""
    for name, images, ins, outs, n, k, stride in [
        ("first", 2, 3, 64, 224, 7, 2),
        ("3 × 3", 2, 64, 64, 56, 3, 1),
        ("3 × 3", 2, 512, 512, 7, 3, 1),
        ("5 × 5", 2, 64, 192, 27, 5, 1),
        ("1 × 1", 2, 2048, 512, 7, 1, 1),
    ]:
        x, w, out = (images, ins, n, n), (outs, ins, k, k), -(-n // stride)
        options = {"stride": stride, "padding": k // 2}
        size = f"{ins} → {outs}, {n}²"
        yield Case(f"conv2d, {name}", size, partial(F.conv2d, **options), (x, w))
        backward = partial(F.conv2d_backward, **options)
        shapes = ((images, outs, out, out), x, w)
        yield Case(f"conv2d_backward, {name}: input", size, partial(_part, backward, 0), shapes)
        yield Case(f"conv2d_backward, {name}: weight", size, partial(_part, backward, 1), shapes)
    for ins, outs, n in [(64, 64, 56), (512, 512, 7)]:
        x, w = (16, ins, n, n), (outs, ins, 3, 3)
        yield Case("Conv2d, 16 images, 3 × 3", f"{ins} → {outs}, {n}²", partial(layer, padding=1), (x, w))


def _part(function: Callable[..., Any], number: int, *arrays: np.ndarray) -> np.ndarray:
    return np.asarray(function(*arrays)[number])


def others() -> Iterator[Case]:
    planes = (4, 64, 112, 112)
    yield Case("linear", "2048 → 1000", F.linear, ((32, 2048), (1000, 2048)))
    yield Case("linear", "25088 → 4096", F.linear, ((4, 25088), (4096, 25088)))
    yield Case("avg_pool2d, 3 / 2", "64, 112²", partial(F.avg_pool2d, kernel_size=3, stride=2), (planes,))
    yield Case("global_avg_pool", "2048, 7²", F.global_avg_pool, ((8, 2048, 7, 7),))
    for training in (True, False):
        moments = () if training else ((64,), (64,))
        name = "batch_norm, " + ("training" if training else "inference")
        yield Case(name, "64, 112²", partial(_batch_norm, training=training), (planes, *moments), centred=True)
    yield Case("layer_norm", "1024", partial(F.layer_norm, normalized_shape=1024), ((64, 1024),), centred=True)
    yield Case("local_response_norm", "64, 56²", partial(F.local_response_norm, size=5), ((2, 64, 56, 56),))
    for name in ("softmax", "log_softmax"):
        yield Case(name, "1000", partial(getattr(F, name), axis=1), ((256, 1000),))
    for name in ("tanh", "sigmoid", "elu", "gelu", "silu", "softplus"):
        yield Case(name, "10⁶ values", getattr(F, name), ((1000, 1000),))
    yield Case("cross_entropy", "256 × 1000", lambda x: F.cross_entropy(x, np.arange(256)), ((256, 1000),))


def _batch_norm(x: np.ndarray, *moments: np.ndarray, training: bool) -> np.ndarray:
    mean, variance = moments if moments else (None, None)
    variance = None if variance is None else np.abs(variance) + variance.dtype.type(0.5)
    return np.asarray(F.batch_norm(x, mean, variance, training=training))


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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.numerics", description=__doc__)
    parser.add_argument("--bits", action="store_true")
    options = parser.parse_args()
    for case in [*convolutions(), *others()]:
        if options.bits:
            result = np.asarray(case.call(*inputs(case, positive=False)))
            print(f"{case.name} | {case.size} | {hashlib.sha256(result.tobytes()).hexdigest()[:16]}", flush=True)
            continue
        figures = ["–", "–"] if case.centred else [f"{number:.1f}" for number in errors(case, positive=True)]
        figures += [f"{number:.1f}" for number in errors(case, positive=False)]
        print(f"| {case.name} | {case.size} | " + " | ".join(figures) + " |", flush=True)


if __name__ == "__main__":
    main()
