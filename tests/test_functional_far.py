"""Geometry far out of the usual: the oracle's answer or a refusal, soon, and with no more memory than there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convkit as ck
import reference as ref
from convkit import functional as F
from convkit import geometry, nn

# What meets the plane ---------------------------------------------------------------------------------


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[geometry.Reach]:
    """The parts that convolutions of any size were left with."""
    found: list[geometry.Reach] = []
    reach = geometry.reach

    def watched(*arguments: Any) -> geometry.Reach | None:
        part = reach(*arguments)
        found.extend([] if part is None else [part])
        return part

    monkeypatch.setattr(geometry, "FAR", 0)
    monkeypatch.setattr(geometry, "reach", watched)
    return found


def drawn(seed: int) -> tuple[int, dict[str, Any], tuple[int, ...], tuple[int, ...]]:
    """Rank, arguments of windows, sizes of plane and kernel: padding that dwarfs the plane, before or behind it."""
    rng = np.random.default_rng(seed)
    rank = 1 + seed % 3

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(int(n) for n in rng.integers(low, high, rank))

    far = (60, 30, 10)[rank - 1]
    options = {
        "stride": each(1, far),
        "padding": tuple(zip(each(0, far), each(0, far), strict=True)),
        "dilation": each(1, far // 2),
    }
    return rank, options, each(1, 4), each(1, 4)


def test_convolutions_with_padding_far_beyond_the_plane(reached: list[geometry.Reach]) -> None:
    fitting = 0
    for seed in range(400):
        rng = np.random.default_rng([seed, 1])
        rank, options, size, kernel = drawn(seed)
        x, weight, bias = (rng.standard_normal(shape) for shape in ((2, 4, *size), (6, 2, *kernel), (6,)))
        try:
            y = getattr(F, f"conv{rank}d")(x, weight, bias, **options, groups=2)
        except geometry.GeometryError:
            continue
        fitting += 1
        ref.assert_close(y, ref.conv(x, weight, bias, **options, groups=2), np.float64, what=f"conv {options}")
        grad = rng.standard_normal(y.shape)
        results = getattr(F, f"conv{rank}d_backward")(grad, x, weight, **options, groups=2)
        expected = ref.conv_backward(grad, x, weight, **options, groups=2)
        for one, other in zip(results, expected, strict=True):
            ref.assert_close(one, other, np.float64, what=f"conv_backward {options}", scale=1.0)
    assert fitting > 100 and len(reached) > 100
    assert any(part.idle != ((0, 0),) * len(part.idle) for part in reached)


def test_transposed_convolutions_are_still_their_adjoints(reached: list[geometry.Reach]) -> None:
    for seed in range(400):
        rng = np.random.default_rng([seed, 2])
        rank, options, size, kernel = drawn(seed)
        weight, plane = rng.standard_normal((6, 2, *kernel)), rng.standard_normal((2, 4, *size))
        try:
            grad = rng.standard_normal(getattr(F, f"conv{rank}d")(plane, weight, **options, groups=2).shape)
            y = getattr(F, f"conv_transpose{rank}d")(grad, weight, **options, groups=2)
        except geometry.GeometryError:
            continue
        extra = tuple(m - n for m, n in zip(size, y.shape[2:], strict=True))
        transpose = {**options, "output_padding": extra, "groups": 2}
        try:
            y = getattr(F, f"conv_transpose{rank}d")(grad, weight, np.arange(4.0), **transpose)
        except ValueError:  # no output padding leads there
            continue
        grad_plane, _, _ = ref.conv_backward(grad, plane, weight, **options, groups=2)
        ref.assert_close(
            y, grad_plane + np.arange(4.0).reshape(4, *(1,) * rank), np.float64, what=f"{options}", scale=1.0
        )
        results = getattr(F, f"conv_transpose{rank}d_backward")(plane, grad, weight, **transpose)
        there = ref.conv(plane, weight, None, **options, groups=2)
        _, grad_weight, _ = ref.conv_backward(grad, plane, weight, **options, groups=2)
        sums = plane.sum((0, *range(2, rank + 2)))
        for one, other in zip(results, (there, grad_weight, sums), strict=True):
            ref.assert_close(one, other, np.float64, what=f"backward {options}", scale=1.0)
    assert len(reached) > 100


def test_layers_go_the_same_way(reached: list[geometry.Reach]) -> None:
    layer = nn.Conv2d(2, 3, 3, stride=30, padding=60, dilation=20)
    layer.bias.assign([1.0, 2.0, 3.0])
    x = np.random.default_rng(0).standard_normal((16, 2, 5, 4)).astype(np.float32)
    weight, bias = layer.weight.value, layer.bias.value
    options: dict[str, Any] = {"stride": (30, 30), "padding": ((60, 60),) * 2, "dilation": (20, 20), "groups": 1}
    expected = ref.conv(x, weight, bias, **options)
    ref.assert_close(layer(x), expected, np.float32, what="layer")
    _, grads, grad_x = ck.value_and_grad(layer, nn.MSELoss(), inputs=True)(x, np.zeros(expected.shape, np.float32))
    wanted = ref.conv_backward(2 * expected / expected.size, x, weight, **options)
    for one, other in zip((grad_x, grads["weight"], grads["bias"]), wanted, strict=True):
        ref.assert_close(one, other, np.float32, what="gradient", scale=1.0)
    assert reached


# Sizes of every order of magnitude --------------------------------------------------------------------


def test_sizes_from_ten_thousand_to_a_thousand_million(run_apart: Callable[..., None]) -> None:
    run_apart("import extreme_geometry; extreme_geometry.main()", gigabytes=1, seconds=240)
