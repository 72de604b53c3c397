"""Normalisation, activations, adaptive pooling, unpooling, borders and resizing agree with PyTorch, there and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import geometries
from convkit import functional as F
from convkit import nn
from reference import relative_error

CASES = 60
TOLERANCE = {"float32": 2e-5, "float64": 1e-10}
HARD_SIGMOID_TOLERANCE = 1e-8  # PyTorch's slope of it is 1/6 in single precision, for float64 too

Array = NDArray[Any]
Named = dict[str, Array]

# One case: what PyTorch is told beside the arrays, the arrays (x first), and what convkit makes of them, given the
# gradient of the output: results under PyTorch's names.
Case = tuple[dict[str, Any], Named, Callable[[Named, Array], Named]]


def shape_of(rng: np.random.Generator, rank: int, smallest: int = 1) -> tuple[int, ...]:
    """(N, C, *spatial)."""
    return int(rng.integers(2, 5)), int(rng.integers(1, 9)), *(int(n) for n in rng.integers(smallest, 12, rank))


def batch_norm(rng: np.random.Generator, dtype: str) -> Case:
    shape = shape_of(rng, int(rng.integers(0, 3)))
    x, weight, bias, mean, variance = (geometries.normal(rng, s, dtype) for s in (shape, *4 * (shape[1:2],)))
    given = {"x": x, "weight": weight, "bias": bias, "running_mean": mean, "running_var": np.abs(variance) + 0.1}
    training = bool(rng.random() < 0.6)
    fixed = ["running_mean", "running_var"]
    theirs = {"training": training, "momentum": 0.3, "eps": 1e-3, "fixed": fixed}

    def ours(given: Named, grad: Array) -> Named:
        running = {name: given[name].copy() for name in fixed}
        y = F.batch_norm(given["x"], **running, weight=weight, bias=bias, training=training, momentum=0.3, eps=1e-3)
        moments = (given["running_mean"], given["running_var"])
        gradients = F.batch_norm_backward(grad, given["x"], *moments, weight, training, 1e-3)
        return answers(y, *gradients) | {f"after_{name}": values for name, values in running.items()}

    return theirs, given, ours


def group_norm(rng: np.random.Generator, dtype: str) -> Case:
    shape = shape_of(rng, int(rng.integers(1, 3)), smallest=2)
    groups = int(rng.choice([g for g in range(1, shape[1] + 1) if shape[1] % g == 0]))
    given = dict(
        zip(
            ("x", "weight", "bias"),
            (geometries.normal(rng, s, dtype) for s in (shape, *2 * (shape[1:2],))),
            strict=True,
        )
    )

    def ours(given: Named, grad: Array) -> Named:
        y = F.group_norm(given["x"], groups, given["weight"], given["bias"], 1e-3)
        return answers(y, *F.group_norm_backward(grad, given["x"], groups, given["weight"], 1e-3))

    return {"num_groups": groups, "eps": 1e-3}, given, ours


def layer_norm(rng: np.random.Generator, dtype: str) -> Case:
    shape = shape_of(rng, 2, smallest=2)
    last = shape[-int(rng.integers(1, 3)) :]
    given = dict(
        zip(("x", "weight", "bias"), (geometries.normal(rng, s, dtype) for s in (shape, last, last)), strict=True)
    )

    def ours(given: Named, grad: Array) -> Named:
        y = F.layer_norm(given["x"], last, given["weight"], given["bias"], 1e-3)
        return answers(y, *F.layer_norm_backward(grad, given["x"], last, given["weight"], 1e-3))

    return {"normalized_shape": last, "eps": 1e-3}, given, ours


def local_response_norm(rng: np.random.Generator, dtype: str) -> Case:
    arguments = {"size": int(rng.integers(1, 7)), "alpha": float(rng.uniform(0, 2)), "beta": 0.75, "k": 1.5}
    return plain("local_response_norm", geometries.normal(rng, shape_of(rng, 2), dtype), arguments)


def activation(name: str, **arguments: Any) -> Callable[[np.random.Generator, str], Case]:
    def draw(rng: np.random.Generator, dtype: str) -> Case:
        x = geometries.normal(rng, shape_of(rng, 1), dtype) * np.dtype(dtype).type(2)
        return plain(name, x, arguments)

    draw.__name__ = name
    return draw


def prelu(rng: np.random.Generator, dtype: str) -> Case:
    shape = shape_of(rng, int(rng.integers(0, 3)))
    weight = geometries.normal(rng, shape[1:2] if rng.random() < 0.5 else (1,), dtype)

    def ours(given: Named, grad: Array) -> Named:
        grad_x, grad_weight = F.prelu_backward(grad, given["x"], given["weight"])
        return {"output": F.prelu(given["x"], given["weight"]), "grad_x": grad_x, "grad_weight": grad_weight}

    return {}, {"x": geometries.normal(rng, shape, dtype), "weight": weight}, ours


def adaptive(kind: str) -> Callable[[np.random.Generator, str], Case]:
    def draw(rng: np.random.Generator, dtype: str) -> Case:
        rank = int(rng.integers(1, 4))
        x = geometries.normal(rng, shape_of(rng, rank), dtype)
        size = tuple(int(rng.integers(1, n + 1)) for n in x.shape[2:])
        name = f"adaptive_{kind}_pool{rank}d"

        def ours(given: Named, grad: Array) -> Named:
            other = x.shape if kind == "avg" else x
            return answers(getattr(F, name)(x, size), getattr(F, f"{name}_backward")(grad, other, size))

        return {"function": name, "output_size": size}, {"x": x}, ours

    draw.__name__ = f"adaptive_{kind}_pool"
    return draw


def max_unpool(rng: np.random.Generator, dtype: str) -> Case:
    rank = int(rng.integers(1, 4))
    size = tuple(int(n) for n in rng.integers(2, 12, rank))
    pooled = tuple(n // 2 for n in size)
    shape = (2, 3, *pooled)
    places = rng.permuted(np.tile(np.arange(np.prod(size)), (2, 3, 1)), axis=2)[..., : np.prod(pooled)].reshape(shape)
    name = f"max_unpool{rank}d"

    def ours(given: Named, grad: Array) -> Named:
        y = getattr(F, name)(given["x"], places, 2, output_size=size)
        return answers(y, getattr(F, f"{name}_backward")(grad, places))

    theirs = {"function": name, "kernel_size": 2, "output_size": size, "fixed": ["indices"]}
    return theirs, {"x": geometries.normal(rng, shape, dtype), "indices": places}, ours


def pad(rng: np.random.Generator, dtype: str) -> Case:
    rank, mode = int(rng.integers(1, 3)), str(rng.choice(["reflect", "replicate", "circular"]))
    x = geometries.normal(rng, shape_of(rng, rank, smallest=2), dtype)
    pairs = tuple((int(rng.integers(0, n)), int(rng.integers(0, n))) for n in x.shape[2:])

    def ours(given: Named, grad: Array) -> Named:
        return answers(F.pad(x, pairs, mode=mode), F.pad_backward(grad, pairs, mode))

    return {"pad": [margin for pair in reversed(pairs) for margin in pair], "mode": mode}, {"x": x}, ours


def pixel_shuffle(rng: np.random.Generator, dtype: str) -> Case:
    r = int(rng.integers(1, 4))
    x = geometries.normal(rng, (2, 2 * r**2, *rng.integers(1, 6, 2)), dtype)
    return (
        {"upscale_factor": r},
        {"x": x},
        lambda given, grad: answers(F.pixel_shuffle(x, r), F.pixel_shuffle_backward(grad, r)),
    )


def interpolate(rng: np.random.Generator, dtype: str) -> Case:
    rank, linear = int(rng.integers(1, 4)), bool(rng.random() < 0.6)
    x = geometries.normal(rng, shape_of(rng, rank), dtype)
    size = tuple(int(n) for n in rng.integers(1, 20, rank))
    arguments: dict[str, Any] = {"mode": "nearest"}
    if linear:
        arguments = {"mode": ("linear", "bilinear", "trilinear")[rank - 1], "align_corners": bool(rng.random() < 0.5)}

    def ours(given: Named, grad: Array) -> Named:
        return answers(F.interpolate(x, size, **arguments), F.interpolate_backward(grad, x.shape, **arguments))

    return arguments | {"size": size}, {"x": x}, ours


def plain(name: str, x: Array, arguments: dict[str, Any]) -> Case:
    """A function whose backward takes what it takes, after the gradient."""

    def ours(given: Named, grad: Array) -> Named:
        return answers(getattr(F, name)(x, **arguments), getattr(F, f"{name}_backward")(grad, x, **arguments))

    return arguments, {"x": x}, ours


def answers(output: Array, *gradients: Array) -> Named:
    return {"output": output} | dict(zip(("grad_x", "grad_weight", "grad_bias"), gradients, strict=False))


FAMILIES = [
    batch_norm,
    group_norm,
    layer_norm,
    local_response_norm,
    activation("leaky_relu", negative_slope=0.2),
    activation("elu", alpha=0.7),
    activation("selu"),
    activation("gelu"),
    activation("gelu", approximate="tanh"),
    activation("silu"),
    activation("softplus", beta=2.0, threshold=5.0),
    activation("hardsigmoid"),
    activation("hardswish"),
    activation("hardtanh", min_val=-0.5, max_val=2.0),
    prelu,
    adaptive("avg"),
    adaptive("max"),
    max_unpool,
    pad,
    pixel_shuffle,
    interpolate,
]


def cases(family: Callable[[np.random.Generator, str], Case], dtype: str) -> Iterator[Case]:
    for seed in count():
        yield family(np.random.default_rng(seed), dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_agrees_with_torch(family: Callable[..., Case], dtype: str, ask_torch: Any) -> None:
    drawn = list(islice(cases(family, dtype), CASES))
    asked = [({"function": family.__name__} | theirs, given) for theirs, given, _ in drawn]
    tolerance = max(TOLERANCE[dtype], HARD_SIGMOID_TOLERANCE if family.__name__ == "hardsigmoid" else 0)
    disagreements = []
    for (theirs, given, ours), expected in zip(drawn, ask_torch("call", asked), strict=True):
        found = ours(given, expected["grad_output"])
        for name in sorted((expected.keys() & found.keys()) | {"output", "grad_x"}):
            scale = 3.0 if name.startswith("grad") else 0.0  # sums of both signs
            error = relative_error(found[name], expected[name], scale)
            if found[name].shape != expected[name].shape or error > tolerance:
                disagreements.append(f"{name} of {theirs} on {given['x'].shape}: relative error {error:.1e}")
    assert not disagreements, f"{len(disagreements)} disagreements, first {disagreements[0]}"


def test_a_state_of_torch_s_batch_norm_loads() -> None:
    """Names and shapes are PyTorch's; its count of batches is an integer."""
    state = {name: np.full(5, 0.5, "f4") for name in ("weight", "bias", "running_mean", "running_var")}
    layer = nn.BatchNorm2d(5)
    layer.load_state_dict(state | {"num_batches_tracked": np.array(7, np.int64)})
    assert layer.num_batches_tracked.value == 7
