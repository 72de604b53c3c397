"""Plans in lanes compute what plans in the ordinary layout compute, for every op that may stay there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import functional as F
from convkit import nn, optim
from convkit.graph import lanes, plan
from convkit.ops.lanes import LaneConvolution
from reference import assert_close


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


def pooled(
    pool: str,
    channels: tuple[int, int, int],
    size: tuple[int, int],
    dtype: str,
    training: bool,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> list[Any]:
    ck.set_seed(5)
    conv = nn.Conv2d(*channels, padding=channels[2] // 2)
    model = nn.Sequential(conv, activation(), POOLS[pool], nn.GlobalAvgPool()).astype(dtype)
    rng = np.random.default_rng(1)
    x, labels = rng.standard_normal((32, channels[0], *size)).astype(dtype), rng.integers(0, channels[1], 32)
    if not training:
        return [model(x)]
    loss, grads, grad_x = ck.value_and_grad(model, nn.CrossEntropyLoss(), inputs=True)(x, labels)
    return [loss, *grads.values(), grad_x]


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("channels", [(2, 20, 3), (48, 40, 3), (24, 16, 5)], ids=["direct", "3x3", "5x5"])
@pytest.mark.parametrize("size", [(8, 10), (9, 11)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid])
def test_convolutions_that_activate_and_pool_at_once_give_the_same_bits(
    pool: str,
    channels: tuple[int, int, int],
    size: tuple[int, int],
    dtype: str,
    training: bool,
    activation: Callable[[], nn.Module],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are the same sums in the same order, so not even rounding may differ."""
    at_once = pooled(pool, channels, size, dtype, training, activation)
    monkeypatch.setattr(lanes, "_finish_at_once", lambda graph, wanted: None)
    for one, other in zip(at_once, pooled(pool, channels, size, dtype, training, activation), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("pool", "training", "expected"), [("mean", False, 1), ("mean", True, 0), ("largest", True, 1)]
)
@pytest.mark.parametrize("channels", [(2, 20, 3), (48, 40, 3), (24, 16, 5)], ids=["direct", "3x3", "5x5"])
def test_pooling_is_done_at_once_where_nobody_reads_what_is_pooled(
    pool: str, training: bool, expected: int, channels: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    bind = LaneConvolution.bind
    monkeypatch.setattr(LaneConvolution, "bind", lambda op, *places: (seen.append(op.pool), bind(op, *places))[1])
    pooled(pool, channels, (8, 10), "float32", training)
    assert len(set(seen) - {None}) == expected  # whether bound once or for each thread


@pytest.mark.parametrize("training", [True, False])
def test_convolutions_along_rows_activate_at_once(training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    bind = LaneConvolution.bind
    monkeypatch.setattr(
        LaneConvolution, "bind", lambda op, *places: (seen.append((op.activation, bool(op.pool))), bind(op, *places))[1]
    )
    pooled("mean", (24, 16, 5), (8, 10), "float32", training, nn.Tanh)
    assert ("tanh", not training) in seen  # in training its gradient reads what is activated


# Volumes --------------------------------------------------------------------------------------------------


class Volumes(nn.Module):
    """Convolved, normalised, pooled both ways, spread again and joined: lanes are left and entered on the way."""

    def __init__(self) -> None:
        self.conv1, self.norm1 = nn.Conv3d(2, 6, 3, padding=1, bias=False), nn.BatchNorm3d(6)
        self.conv2, self.pool = nn.Conv3d(6, 8, (1, 3, 2), (2, 1, 1), dilation=(1, 1, 2), groups=2), nn.MaxPool3d(2, 1)
        self.depthwise, self.mean = nn.Conv3d(8, 8, 2, groups=8), nn.AvgPool3d(2, 1, 1)
        self.spread, self.drop = nn.ConvTranspose3d(8, 4, 3, 2, 1, (1, 0, 1)), nn.Dropout3d(0.0)
        self.dense = nn.Linear(4, 5)

    def forward(self, x: Any) -> Any:
        x = self.pool(F.relu(self.conv2(F.relu(self.norm1(self.conv1(x))))))
        x = self.mean(F.relu(self.depthwise(x)))
        return self.dense(F.global_avg_pool(self.drop(F.tanh(self.spread(x)))))


def trained(dtype: str, batch: int, steps: int = 4) -> tuple[list[float], Any]:
    """The losses of some steps, and what the network makes of one more batch."""
    ck.set_seed(2)
    model = Volumes().astype(dtype)
    step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9))
    rng = np.random.default_rng(4)
    x, labels = rng.standard_normal((steps, batch, 2, 6, 5, 7)).astype(dtype), rng.integers(0, 5, (steps, batch))
    return [step(*pair) for pair in zip(x, labels, strict=True)], model(x[0])


@pytest.mark.parametrize(("dtype", "batch"), [("float64", 16), ("float64", 15), ("float32", 16), ("float32", 32)])
def test_volumes_train_as_in_the_ordinary_layout(dtype: str, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ops: list[str] = []

    def spy(graph: Any, wanted: Any) -> None:
        use_lanes(graph, wanted)
        ops.extend(type(node.op).__name__ for node in graph.nodes)

    use_lanes = plan.use_lanes
    monkeypatch.setattr(plan, "use_lanes", spy)
    losses, outputs = trained(dtype, batch)
    assert {"LaneConvolution", "LaneWeightGrad", "MaxPool", "AvgPool"} <= set(ops)
    assert not {"Convolution", "ConvTranspose", "LaneMaxPool", "LaneAvgPool"} & set(ops)
    monkeypatch.setattr(plan, "use_lanes", lambda graph, wanted: None)
    expected_losses, expected = trained("float64", batch)
    np.testing.assert_allclose(losses, expected_losses, rtol=2e-5 if dtype == "float32" else 1e-10)
    assert_close(outputs, expected, np.dtype(dtype), scale=10)


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_volumes_of_small_batches(batch: int) -> None:
    x = np.random.default_rng(0).standard_normal((16, 2, 6, 5, 7)).astype("f4")
    model = Volumes()
    assert_close(model(x[:batch]), model(x)[:batch], np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_mean_over_more_than_256_taps_in_lanes(dtype: type) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.AvgPool2d(18)).astype(dtype)
    x = np.random.default_rng(0).random((32, 1, 40, 40)).astype(dtype)
    windows = x[:, 0, :36, :36].reshape(32, 2, 18, 2, 18).mean((2, 4), dtype=np.float64)
    expected = windows[:, None] * model[0].weight.value.astype(np.float64).reshape(4, 1, 1)
    np.testing.assert_allclose(model(x), expected, rtol=32 * np.finfo(dtype).eps)  # 256 terms one after the other


@pytest.mark.parametrize("kind", [nn.MaxPool2d, nn.AvgPool2d])
@pytest.mark.parametrize("kernel_size", [(2, 2), (1, 2), (2, 1), (3, 2), (2, 3)])
@pytest.mark.parametrize("stride", [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2), (2, 3)])
def test_pooling_of_any_stride_trains_as_in_the_ordinary_layout(kind: Any, kernel_size: Any, stride: Any) -> None:
    """Gradients of windows that overlap along rows only were not added up, where columns were in pairs."""
    for padding in (0, (kernel_size[0] // 2, kernel_size[1] // 2)):
        ck.set_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 3, 2), kind(kernel_size, stride, padding), nn.Flatten()).astype("float64")
        x = np.random.default_rng(0).standard_normal((16, 1, 8, 7))
        targets = np.random.default_rng(1).standard_normal(model(x).shape)
        compute = ck.value_and_grad(model, nn.MSELoss(), inputs=True)
        _, grads, grad_x = compute(x, targets)
        parts = [compute(x[i : i + 1], targets[i : i + 1]) for i in range(16)]
        np.testing.assert_allclose(grad_x, np.concatenate([part[2] for part in parts]) / 16, atol=1e-12)
        for name, grad in grads.items():
            np.testing.assert_allclose(grad, np.mean([part[1][name] for part in parts], axis=0), atol=1e-12)


def test_one_window_may_have_any_stride() -> None:
    x = np.random.default_rng(0).standard_normal((16, 1, 6, 6)).astype("f4")
    ck.set_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2**62), nn.Flatten())
    targets = np.zeros((16, 2), np.float32)
    _, grads = ck.value_and_grad(model, nn.MSELoss())(x, targets)
    model[0].stride = (9, 9)
    _, expected = ck.value_and_grad(model, nn.MSELoss())(x, targets)
    for name, grad in grads.items():
        np.testing.assert_array_equal(grad, expected[name])
