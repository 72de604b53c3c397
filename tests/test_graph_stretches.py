"""Stretches: threads that take their own images through several kernels compute what one thread computes."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import functional as F
from convkit import models, nn, optim
from convkit.graph import plan
from convkit.graph.stretches import Cut, put_together
from convkit.ops.base import Spec
from convkit.ops.shape import Reshape

pytestmark = pytest.mark.usefixtures("threaded")


class Branches(nn.Module):
    """Ops that treat images one by one, and between them some that need the whole batch."""

    def __init__(self) -> None:
        self.conv1, self.conv2 = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.back, self.narrow = nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Conv2d(12, 5, 3)
        self.norm, self.response = nn.BatchNorm2d(8), nn.LocalResponseNorm(3, 0.5)
        self.dense, self.last = nn.Linear(20, 6), nn.Linear(6, 4)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.conv1(x))
        x = F.gelu(self.norm(self.conv2(x)) + x) * 0.5 + 0.1
        x = F.concat([self.response(x), self.back(F.avg_pool2d(x, 2))])
        x = self.dense(F.flatten(F.tanh(F.max_pool2d(self.narrow(x), 4))))
        likeness = F.softmax(F.matmul(x, F.reshape(x, (6, -1))), 1)
        return self.last(F.sigmoid(x)) + F.matmul(likeness, F.matmul(x, np.eye(6, 4, dtype=x.dtype)))


def results(batch: int, dtype: str) -> list[np.ndarray]:
    ck.set_seed(1)
    model = Branches().astype(dtype)
    rng = np.random.default_rng(batch)
    x, labels = rng.standard_normal((batch, 2, 10, 10)), rng.integers(0, 4, batch)
    step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    losses = [step(x, labels) for _ in range(2)]
    return [np.array(losses), model(x), *(p.value.copy() for p in model.parameters().values())]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [12, 16, 24, 36, 47, 64, 70, 90, 96, 130])
def test_the_bits_do_not_depend_on_the_shares(batch: int, dtype: str) -> None:
    ck.set_num_threads(1)
    alone = results(batch, dtype)
    for threads in (2, 3, 4, 2):
        ck.set_num_threads(threads)
        for one, other in zip(alone, results(batch, dtype), strict=True):
            assert one.tobytes() == other.tobytes(), f"{threads} threads"


class Clips(nn.Module):
    """Frames treated one by one, then put together to clips, as many as there are blocks of frames."""

    def __init__(self, clips: int) -> None:
        self.clips, self.conv = clips, nn.Conv2d(3, 16, 3, padding=1)

    def forward(self, x: Any) -> Any:
        return F.tanh(F.reshape(self.conv(x), (self.clips, -1)))


@pytest.mark.parametrize(("frames", "clips"), [(30, 2), (60, 4)])
def test_a_reshape_that_regroups_the_batch_ends_a_stretch(frames: int, clips: int) -> None:
    model, x = Clips(clips), np.random.default_rng(0).standard_normal((frames, 3, 16, 16)).astype("f4")
    ck.set_num_threads(1)
    alone = model(x)
    ck.set_num_threads(2)
    for _ in range(200):
        np.testing.assert_array_equal(model(x), alone)
    one, other = Spec((frames, 16), x.dtype), Spec((clips, frames // clips * 16), x.dtype)
    assert Reshape(other.shape).by_image(one) == Reshape(one.shape).by_image(other) == ()
    assert Reshape((frames, 4, 4)).by_image(one) == (0,)


class Groups(nn.Module):
    """A dense layer behind a convolution, of as many rows as there are blocks of images."""

    def __init__(self, groups: int) -> None:
        self.groups, self.conv, self.dense = groups, nn.Conv2d(1, 4, 3, padding=1), nn.Linear(8 * 4 * 16, 5)

    def forward(self, x: Any) -> Any:
        return F.tanh(self.dense(F.reshape(self.conv(x), (self.groups, -1))))


@pytest.mark.parametrize(("dtype", "images", "groups"), [("float64", 72, 9), ("float32", 144, 18), ("float32", 144, 9)])
def test_rows_as_many_as_blocks_are_not_cut(dtype: str, images: int, groups: int) -> None:
    ck.set_seed(0)
    model = Groups(groups).astype(dtype)
    if images // groups != 8:
        model.dense = nn.Linear(images // groups * 64, 5).astype(dtype)
    x = np.random.default_rng(0).standard_normal((images, 1, 4, 4)).astype(dtype)
    ck.set_num_threads(1)
    alone = model(x)
    for threads in (2, 3):
        ck.set_num_threads(threads)
        np.testing.assert_array_equal(model(x), alone)


class Whole(nn.Module):
    """A stretch in which an array is read as a whole, and then for the last time, image by image."""

    def __init__(self) -> None:
        self.conv, self.one, self.other = nn.Conv2d(1, 2, 3), nn.Linear(32, 64), nn.Linear(32, 64)

    def forward(self, x: Any) -> Any:
        features = F.flatten(self.conv(x))
        one, other = self.one(features), self.other(features)
        return F.matmul(one, other) + F.tanh(other)


@pytest.mark.parametrize(
    ("make", "shape", "expected"), [(Whole, (1, 6, 6), 2), (models.lenet5, (1, 28, 28), 1), (Branches, (2, 10, 10), 2)]
)
def test_in_a_stretch_no_array_takes_the_place_of_another(
    make: Any, shape: tuple[int, ...], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where threads are at different nodes, what is read and what is written must lie apart all the time."""
    layouts: list[tuple[Any, list[range], dict[Any, Any]]] = []

    def assign(graph: Any, pinned: Any, external: Any, ranges: list[range]) -> dict[Any, Any]:
        blocks = original(graph, pinned, external, ranges)
        layouts.append((graph, [r for r in ranges if len(r) > 1], blocks))
        return blocks

    original = plan.assign_blocks
    monkeypatch.setattr(plan, "assign_blocks", assign)
    ck.set_num_threads(2)
    make()(np.zeros((64, *shape), np.float32))
    [(graph, found, blocks)] = layouts
    assert len(found) == expected
    for stretch in found:
        nodes = [graph.nodes[number] for number in stretch]
        written = {blocks[symbol] for node in nodes for symbol in node.outputs if symbol in blocks}
        operands = {symbol for node in nodes for symbol in node.inputs if symbol in blocks}
        places = sorted((b.offset, b.offset + b.nbytes) for b in written | {blocks[symbol] for symbol in operands})
        assert all(end <= start for (_, end), (start, _) in pairwise(places))
        for node in nodes:
            divided = node.op.by_image(*node.inputs)
            whole = {blocks[s] for i, s in enumerate(node.inputs) if i not in divided and s in blocks}
            assert not whole & written


@pytest.fixture
def bound_side_by_side(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Fills with the numbers of shares of the stretches that are bound."""
    shares: list[int] = []

    def side_by_side(series: Any) -> Any:
        kernels = list(series)
        shares.append(len(kernels))
        return original(kernels)

    original = plan.SideBySide
    monkeypatch.setattr(plan, "SideBySide", side_by_side)
    return shares


def test_a_small_network_is_one_stretch(bound_side_by_side: list[int]) -> None:
    ck.set_num_threads(2)
    model = models.lenet5()
    model(np.zeros((64, 1, 28, 28), np.float32))
    assert bound_side_by_side == [2]


def test_a_training_step_is_two_stretches_and_then_the_gradients_of_weights(bound_side_by_side: list[int]) -> None:
    ck.set_num_threads(2)
    step = ck.compile_step(models.fashion_cnn_small(), nn.CrossEntropyLoss(), optim.Adam(lr=1e-3))
    step(np.zeros((64, 1, 28, 28), np.float32), np.zeros(64, np.int64))
    assert bound_side_by_side == [2, 2]


def test_put_together_nodes_come_after_those_they_read() -> None:
    orders: list[tuple[list[Any], list[Any]]] = []

    def note(nodes: Any, cut: Any) -> Any:
        orders.append((list(nodes), put_together(nodes, cut)))
        return orders[-1][1]

    ck.set_num_threads(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "put_together", note)
        results(64, "float32")
    for before, after in orders:
        assert len(before) > 20 and sorted(map(id, before)) == sorted(map(id, after))
        made = {symbol for node in before for symbol in node.outputs}
        for node in after:
            assert made.isdisjoint(node.inputs)
            made.difference_update(node.outputs)
    assert any(before != after for before, after in orders)


@pytest.mark.parametrize("batch", [1, 8, 16, 23, 48])
def test_batches_that_cannot_be_cut_evenly_are_left_whole(batch: int, bound_side_by_side: list[int]) -> None:
    ck.set_num_threads(2)
    models.lenet5()(np.zeros((batch, 1, 28, 28), np.float32))
    assert bound_side_by_side == []


def test_plans_follow_the_number_of_threads(bound_side_by_side: list[int]) -> None:
    model, x = models.lenet5(), np.ones((64, 1, 28, 28), np.float32)
    for threads in (2, 1, 4, 2):
        ck.set_num_threads(threads)
        model(x)
    assert bound_side_by_side == [2, 4]


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="this system does not list a process's threads")
def test_inside_a_stretch_there_is_one_thread(run_apart: Callable[..., None]) -> None:
    code = """
        import os
        os.environ["OMP_MAX_ACTIVE_LEVELS"] = "2"
        import numpy as np, convkit as ck
        from convkit import models
        ck.set_num_threads(2)
        before = len(os.listdir("/proc/self/task"))
        models.fashion_cnn_small()(np.ones((512, 1, 28, 28), np.float32))
        assert len(os.listdir("/proc/self/task")) == before + 1
    """
    run_apart(code)


@pytest.mark.parametrize(("images", "shares"), [(64, 2), (70, 2), (50, 3), (1000, 7)])
def test_a_cut_lies_between_blocks_and_loses_no_image(images: int, shares: int) -> None:
    cut = Cut(images, 16, shares)
    in_images = [cut.part(images, share) for share in range(shares)]
    in_blocks = [cut.part(cut.blocks, share) for share in range(shares)]
    assert [i for part in in_images for i in range(part.start, part.stop)] == list(range(images))
    assert [i for part in in_blocks for i in range(part.start, part.stop)] == list(range(cut.blocks))
    assert all(16 * block.start == part.start for block, part in zip(in_blocks, in_images, strict=True))


def _unaligned(x: np.ndarray) -> np.ndarray:
    raw = np.zeros(x.nbytes + 1, np.uint8)
    there = raw[1:].view(x.dtype).reshape(x.shape)
    there[...] = x
    return there


def _read_only(x: np.ndarray) -> np.ndarray:
    there = x.copy()
    there.flags.writeable = False
    return there


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "form",
    [
        _unaligned,
        _read_only,
        np.asfortranarray,
        lambda x: x[::-1].copy()[::-1],
        lambda x: np.repeat(x, 2, 0)[::2],
        lambda x: x.astype(x.dtype.newbyteorder()),
        lambda x: x.astype(np.float64),
    ],
)
def test_inputs_are_read_wherever_they_lie(form: Any, threads: int) -> None:
    ck.set_num_threads(threads)
    model = models.lenet5()
    rng = np.random.default_rng(0)
    for _ in range(3):
        x = rng.random((32, 1, 28, 28), np.float32)
        given = form(x)
        expected = model(x).tobytes()
        assert model(given).tobytes() == expected
        assert np.array_equal(given, x), "the input was written to"


class TwoReaders(nn.Module):
    """One reads the input where it lies, the other one where it is copied to."""

    def __init__(self) -> None:
        self.conv, self.dense = nn.Conv2d(1, 2, 3), nn.Linear(36, 32)

    def forward(self, x: Any) -> Any:
        return F.flatten(self.conv(x)) + self.dense(F.flatten(x))


def test_inputs_have_several_readers() -> None:
    ck.set_num_threads(2)
    model = TwoReaders()
    rng = np.random.default_rng(0)
    for _ in range(2):
        x = rng.random((32, 1, 6, 6), np.float32)
        expected = np.concatenate([model(image) for image in np.split(x, 32)])
        np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-6)


def test_bytes_are_read_wherever_they_lie() -> None:
    ck.set_num_threads(2)
    model = models.lenet5()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 64, 1, 28, 28)).astype(np.uint8)
    for batch in images:
        np.testing.assert_allclose(model(batch), model(batch / np.float32(255)), rtol=1e-5, atol=1e-6)
