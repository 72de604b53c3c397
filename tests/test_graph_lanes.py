"""Plans in lanes compute what plans in the ordinary layout compute, for every op that may stay there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import functional as F
from convkit import nn
from convkit.graph import lanes, plan
from convkit.ops.lanes import LaneConvolution


class Everything(nn.Module):
    """A branch of each kind: normalised, with constants, by neighbouring channels, joined and parted again."""

    def __init__(self) -> None:
        self.conv1, self.norm1 = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.norm2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6, affine=False)
        self.conv3 = nn.Conv2d(6, 5, 1)
        self.leaky, self.response = nn.LeakyReLU(0.1), nn.LocalResponseNorm(3, 0.5)
        self.pool, self.last = nn.GlobalAvgPool(), nn.Linear(11, 4)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.max_pool2d(x + self.norm2(self.conv2(x)), 2)
        gate = F.sigmoid(self.conv3(x))
        y = self.response(self.leaky(gate * self.conv3(x) + (1 - gate) * 0.5))
        return self.last(self.pool(F.concat([x, y])))


def results(batch: int, training: bool) -> list[Any]:
    ck.set_seed(3)
    model = Everything().astype("float64")
    rng = np.random.default_rng(0)
    for owned in (*model.parameters().values(), *model.buffers().values()):
        owned.assign(owned.value + rng.uniform(0, 0.5, owned.shape))
    x, labels = rng.standard_normal((batch, 3, 8, 6)), rng.integers(0, 4, batch)
    if not training:
        return [model(x)]
    loss, grads, grad_x = ck.value_and_grad(model, nn.CrossEntropyLoss(), inputs=True)(x, labels)
    return [loss, *grads.values(), grad_x, *(buffer.value for buffer in model.buffers().values())]


@pytest.mark.parametrize("batch", [8, 16, 15, 31])  # 8 lanes of float64: whole blocks, and one empty lane
@pytest.mark.parametrize("training", [True, False])
def test_lanes_change_nothing_but_the_layout(batch: int, training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    in_lanes = results(batch, training)
    monkeypatch.setattr(plan, "use_lanes", lambda graph, wanted: None)
    for one, other in zip(in_lanes, results(batch, training), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)


def test_normalisation_does_not_leave_the_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def spy(graph: Any, wanted: Any) -> None:
        use_lanes(graph, wanted)
        seen.append([type(node.op).__name__ for node in graph.nodes])

    use_lanes = plan.use_lanes
    monkeypatch.setattr(plan, "use_lanes", spy)
    results(16, training=True)
    [names] = seen
    assert names.count("ToLanes") <= 2, "the images, and the gradient of the pooled features"
    assert names.count("FromLanes") <= 2


POOLS = {
    "mean": nn.AvgPool2d(2),
    "largest": nn.MaxPool2d(2),
    "overlapping": nn.MaxPool2d(3, 2, padding=1),
    "padded mean": nn.AvgPool2d(3, 2, padding=1, count_include_pad=False),
    "ceiling": nn.MaxPool2d(2, ceil_mode=True),
}


def pooled(pool: str, channels: tuple[int, int], size: tuple[int, int], dtype: str, training: bool) -> list[Any]:
    ck.set_seed(5)
    model = nn.Sequential(nn.Conv2d(*channels, 3, padding=1), nn.ReLU(), POOLS[pool], nn.GlobalAvgPool()).astype(dtype)
    rng = np.random.default_rng(1)
    x, labels = rng.standard_normal((32, channels[0], *size)).astype(dtype), rng.integers(0, channels[1], 32)
    if not training:
        return [model(x)]
    loss, grads, grad_x = ck.value_and_grad(model, nn.CrossEntropyLoss(), inputs=True)(x, labels)
    return [loss, *grads.values(), grad_x]


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("channels", [(2, 20), (48, 40)], ids=["direct", "winograd"])
@pytest.mark.parametrize("size", [(8, 6), (9, 11)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("training", [True, False])
def test_convolutions_that_pool_at_once_give_the_same_bits(
    pool: str,
    channels: tuple[int, int],
    size: tuple[int, int],
    dtype: str,
    training: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are the same sums in the same order, so not even rounding may differ."""
    at_once = pooled(pool, channels, size, dtype, training)
    monkeypatch.setattr(lanes, "_pool_at_once", lambda graph, wanted: None)
    for one, other in zip(at_once, pooled(pool, channels, size, dtype, training), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("pool", "training", "expected"), [("mean", False, 1), ("mean", True, 0), ("largest", True, 1)]
)
@pytest.mark.parametrize("channels", [(2, 20), (48, 40)], ids=["direct", "winograd"])
def test_pooling_is_done_at_once_where_nobody_reads_what_is_pooled(
    pool: str, training: bool, expected: int, channels: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    bind = LaneConvolution.bind
    monkeypatch.setattr(LaneConvolution, "bind", lambda op, *places: (seen.append(op.pool), bind(op, *places))[1])
    pooled(pool, channels, (8, 6), "float32", training)
    assert sum(op is not None for op in seen) == expected
