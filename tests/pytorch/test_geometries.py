"""Convolution, transposed convolution and pooling agree with PyTorch, forward and backward.

The geometries are those of the other tests; pooling leaves out what PyTorch cannot do: padding that differs between
the two sides of an axis, and the mean over volumes smaller than the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import geometries
from convkit import functional as F
from reference import relative_error

GEOMETRIES = 500
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}

Array = NDArray[Any]
Named = dict[str, Array]

# One geometry: PyTorch's arguments, the same as a user of convkit writes them, and the arrays.
Geometry = tuple[dict[str, Any], dict[str, Any], Named]


def conv(rank: int, dtype: str) -> Iterator[Geometry]:
    for seed in count():
        case = geometries.conv_case(rank, seed)
        yield case.canonical, case.written, conv_arrays(case, dtype, seed)


def conv_transpose(rank: int, dtype: str) -> Iterator[Geometry]:
    for seed in count():
        case = geometries.transpose_case(rank, seed)
        theirs = case.canonical | {"output_padding": case.output_padding}
        yield theirs, case.written, conv_arrays(case, dtype, seed)


def conv_arrays(case: geometries.ConvCase, dtype: str, seed: int) -> Named:
    rng = np.random.default_rng(seed)
    shapes = {"x": case.x_shape, "weight": case.weight_shape}
    if case.bias:
        shapes["bias"] = (case.out_channels,)
    return {name: geometries.normal(rng, shape, dtype) for name, shape in shapes.items()}


def max_pool(rank: int, dtype: str) -> Iterator[Geometry]:
    for seed in count():
        case = geometries.pool_case(rank, seed, dilated=True)
        if not padded_alike(case):
            continue
        rng = np.random.default_rng(seed)
        x = geometries.normal(rng, case.x_shape, dtype)
        if seed % 2:
            x = np.round(x)  # ties, of which the first one wins
        if seed % 10 == 0 and x.size:
            x.flat[rng.integers(x.size)] = np.nan
        yield torch_pool(case) | {"dilation": case.dilation}, case.written_for_max, {"x": x}


def avg_pool(rank: int, dtype: str) -> Iterator[Geometry]:
    for seed in count():
        case = geometries.pool_case(rank, seed, dilated=False)
        if padded_alike(case) and (rank < 3 or fits_unpadded(case)):
            x = geometries.normal(np.random.default_rng(seed), case.x_shape, dtype)
            theirs = torch_pool(case) | {"count_include_pad": case.count_include_pad}
            yield theirs, case.written_for_average, {"x": x}


def padded_alike(case: geometries.PoolCase) -> bool:
    """Whether PyTorch can do it: its pooling pads both sides of an axis alike."""
    return all(low == high for low, high in case.padding)


def fits_unpadded(case: geometries.PoolCase) -> bool:
    """Whether PyTorch averages volumes with it: there the kernel must fit before padding."""
    return all(k <= n for k, n in zip(case.kernel, case.size, strict=True))


def torch_pool(case: geometries.PoolCase) -> dict[str, Any]:
    return {
        "kernel_size": case.kernel,
        "stride": case.stride,
        "padding": [low for low, _ in case.padding],
        "ceil_mode": case.ceil_mode,
    }


def run(family: str, rank: int, arguments: dict[str, Any], given: Named, grad_output: Array) -> Named:
    """Run convkit forward and backward, and name the results as PyTorch's are named."""
    forward, backward = getattr(F, f"{family}{rank}d"), getattr(F, f"{family}{rank}d_backward")
    if family == "max_pool":
        output, indices = forward(**given, **arguments, return_indices=True)
        grad_x = backward(grad_output, given["x"], **arguments)
        return {"output": output, "indices": indices, "grad_x": grad_x}
    output = forward(**given, **arguments)
    if family == "avg_pool":
        grad_x = backward(grad_output, given["x"].shape, **arguments)
        return {"output": output, "grad_x": grad_x}
    gradients = backward(grad_output, given["x"], given["weight"], **arguments)
    return {"output": output} | dict(zip(("grad_x", "grad_weight", "grad_bias"), gradients, strict=True))


def size_of_sums(grad_output: Array) -> float:
    """How large sums of the values of a channel are, signs being random: the root of the sum of squares.

    The gradient to a bias, of one channel at times, may cancel to less, which is no measure of its rounding, nor of
    PyTorch's.
    """
    others = tuple(axis for axis in range(grad_output.ndim) if axis != 1)
    return float(np.sqrt(np.square(grad_output).sum(others)).max(initial=0))


def differs(found: Array, expected: Array, tolerance: float, scale: float) -> str:
    """Say how an array differs from PyTorch's, or nothing where it does not."""
    if (found.dtype, found.shape) != (expected.dtype, expected.shape):
        return f"{found.dtype} {found.shape}, should be {expected.dtype} {expected.shape}"
    error = relative_error(found, expected, scale)
    return f"relative error {error:.1e}" if error > tolerance else ""


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("rank", (1, 2, 3))
@pytest.mark.parametrize("family", (conv, conv_transpose, max_pool, avg_pool))
def test_agrees_with_torch(
    family: Callable[[int, str], Iterator[Geometry]], rank: int, dtype: str, ask_torch: Any
) -> None:
    drawn = list(islice(family(rank, dtype), GEOMETRIES))
    answers = ask_torch(family.__name__, [(theirs, given) for theirs, _, given in drawn])
    disagreements = []
    for (_, ours, given), expected in zip(drawn, answers, strict=True):
        found = run(family.__name__, rank, ours, given, expected["grad_output"])
        for name in sorted(expected.keys() - {"grad_output"}):
            exact = family is max_pool and name != "grad_x"
            scale = size_of_sums(expected["grad_output"]) if name == "grad_bias" else 0
            difference = differs(found[name], expected[name], 0 if exact else TOLERANCE[dtype], scale)
            if difference:
                shapes = {key: array.shape for key, array in given.items()}
                disagreements.append(f"{name} of {ours} on {shapes}: {difference}")
    assert not disagreements, f"{len(disagreements)} disagreements, first {disagreements[0]}"
