"""Plans in lanes compute what plans in the ordinary layout compute, for every op that may stay there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import functional as F
from convkit import nn
from convkit.graph import plan


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
