"""Arrays of more than 2³¹ values are indexed rightly: what stands behind that place arrives where it belongs.

The arrays are zeros but for a few values, so the system need not give them memory before something is written there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import functional as F
from convkit import nn
from convkit.data.idx import read_idx
from convkit.ops.lanes import LaneConvolution

pytestmark = pytest.mark.slow

COUNT = 2**31 + 2**20  # values; 8 GiB and 4 MiB as float32
SIDE = 46_400  # of a plane that has as many


def available() -> int:
    """Gigabytes that the system could give."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) >> 20


def need(gigabytes: int) -> None:
    if not Path("/proc/meminfo").exists() or available() < gigabytes:
        pytest.skip(f"needs {gigabytes} GB of free memory")


def apart(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """What a function returns in a thread of its own, with which its scratch memory goes."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments, **options).result()


@pytest.fixture
def zeros() -> Callable[..., Any]:
    """Large zeros; a test that writes as many more needs twice the memory in the worst case."""

    def make(*shape: int, writes: int = 0) -> Any:
        need(6 + writes * 9)
        return np.zeros(shape, np.float32)

    return make


def test_max_pooling_counts_places_in_32_bits(zeros: Callable[..., Any]) -> None:
    for pool, x in ((F.max_pool1d, zeros(1, 1, COUNT)), (F.max_pool2d, zeros(1, 1, SIDE, SIDE))):
        with pytest.raises(ValueError, match=rf"^{pool.__name__}: x must have fewer than 2\*\*31 values in a plane"):
            pool(x, 100)


def test_pooling_of_a_plane(zeros: Callable[..., Any]) -> None:
    x = zeros(1, 1, SIDE, SIDE)
    x[0, 0, -1, -2] = x[0, 0, SIDE // 2, 5] = 3.0
    y = F.avg_pool2d(x, 100)
    np.testing.assert_allclose([y[0, 0, -1, -1], y.sum()], [3e-4, 6e-4], rtol=1e-5)


def test_convolution_of_a_plane(zeros: Callable[..., Any]) -> None:
    x = zeros(1, 1, SIDE, SIDE)
    stride = 16
    x[0, 0, SIDE - stride, SIDE - stride + 1] = 2.0
    weight = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    y = F.conv2d(x, weight, stride=stride)
    assert y[0, 0, -1, -1] == 2 * weight[0, 0, 0, 1]
    assert np.count_nonzero(y) == 1


@pytest.mark.parametrize("shape", [(1, COUNT // 2**10, 2**10), (COUNT // 2**10, 1, 2**10)], ids=["channels", "batch"])
def test_many_channels_and_images(shape: tuple[int, ...], zeros: Callable[..., Any]) -> None:
    x = zeros(*shape)
    x.reshape(-1)[-1] = x.reshape(-1)[2**31 + 5] = 3.0
    y = F.max_pool1d(x, 2**10).reshape(-1)
    assert (y[-1], y[2**21], np.count_nonzero(y)) == (3, 3, 2)
    y = F.avg_pool1d(x, 2**10).reshape(-1)
    assert (y[-1], y[2**21], np.count_nonzero(y)) == (3 / 2**10, 3 / 2**10, 2)
    if shape[1] == 1:
        weight = np.ones((1, 1, 2**10), np.float32)
        y = F.conv1d(x, weight).reshape(-1)
        assert (y[-1], y[2**21], np.count_nonzero(y)) == (3, 3, 2)


def test_dense_layer(zeros: Callable[..., Any]) -> None:
    x = zeros(2, COUNT // 2)
    x[1, -1] = 2.0
    weight = np.zeros((1, COUNT // 2), np.float32)
    weight[0, -1] = 4.0
    assert F.linear(x, weight).tolist() == [[0], [8]]


def test_results_as_large(zeros: Callable[..., Any]) -> None:
    x = zeros(COUNT, writes=1)
    x[-1], x[2**31 + 1] = 2.0, -3.0
    y = F.relu(x)
    assert (y[-1], y[2**31 + 1], np.count_nonzero(y)) == (2, 0, 1)


def test_patches_as_large(zeros: Callable[..., Any]) -> None:
    x = zeros(1, 1, 2**15 + 64, 2**15 + 64, writes=1)
    x[0, 0, -1, -1] = 2.0
    cols = F.im2col(x, 2, stride=2)  # as many values again, in other places
    assert cols.size == x.size > 2**30
    assert (cols[0, 3, -1], np.count_nonzero(cols)) == (2, 1)
    spread = F.conv_transpose2d(np.ones((1, 1, 1, 1), np.float32), x[:, :, -3:, -3:])
    assert spread[0, 0, -1, -1] == 2


def test_transposed_convolution_to_a_plane(zeros: Callable[..., Any]) -> None:
    need(18)  # the output, and the parts that it is put together of
    stride = 16
    x = zeros(1, 1, SIDE // stride, SIDE // stride)
    x[0, 0, -1, -1] = 2.0
    weight = np.arange(stride * stride, dtype=np.float32).reshape(1, 1, stride, stride)
    y = apart(F.conv_transpose2d, x, weight, stride=stride)
    assert y.shape == (1, 1, SIDE, SIDE)
    np.testing.assert_array_equal(y[0, 0, -stride:, -stride:], 2 * weight[0, 0])
    assert np.count_nonzero(y) == stride * stride - 1


def test_gradients_of_a_convolution_of_a_plane(zeros: Callable[..., Any]) -> None:
    need(18)  # x's gradient, and the parts that it is put together of
    x, stride = zeros(1, 1, SIDE, SIDE), 16
    x[0, 0, SIDE - stride, SIDE - stride + 1] = 2.0
    grad = np.zeros((1, 1, SIDE // stride, SIDE // stride), np.float32)
    grad[0, 0, -1, -1] = 3.0
    weight = np.arange(1, 10, dtype=np.float32).reshape(1, 1, 3, 3)
    grad_x, grad_weight, grad_bias = apart(F.conv2d_backward, grad, x, weight, stride=stride)
    assert grad_weight.ravel().tolist() == [0, 6, 0, 0, 0, 0, 0, 0, 0]
    assert grad_bias.tolist() == [3]
    start = SIDE - stride
    np.testing.assert_array_equal(grad_x[0, 0, start : start + 3, start : start + 3], 3 * weight[0, 0])
    assert np.count_nonzero(grad_x) == 9


@pytest.mark.parametrize("shape", [(16, 1, 11_600, 11_600), (2**21 + 16, 1, 32, 32)], ids=["planes", "batch"])
def test_a_plan_in_lanes(shape: tuple[int, ...], zeros: Callable[..., Any]) -> None:
    x, stride = zeros(*shape, writes=1), 16
    assert x.size > 2**31
    x[-1, 0, -stride, 1 - stride] = x[3, 0, stride, stride + 1] = 2.0
    model = nn.Sequential(nn.Conv2d(1, 1, 3, stride=stride, bias=False), nn.ReLU())
    model.parameters()["0.weight"].assign(np.arange(9).reshape(1, 1, 3, 3))
    plan = model._make_plan([x], training=False)
    assert any(isinstance(node.op, LaneConvolution) for node, _ in plan.bound)
    [y] = plan.run([x])
    assert (y[-1, 0, -1, -1], y[3, 0, 1, 1], np.count_nonzero(y)) == (2, 2, 2)


@pytest.mark.parametrize("shape", [(1, 1, COUNT), (COUNT // 2**10, 1, 2**10)], ids=["plane", "batch"])
def test_batch_norm_in_inference(shape: tuple[int, ...], zeros: Callable[..., Any]) -> None:
    x = zeros(*shape, writes=1)
    x.reshape(-1)[-1], x.reshape(-1)[2**31 + 5] = 3.0, -1.0
    one = np.ones(1, np.float32)
    y = F.batch_norm(x, 0 * one, one, weight=2 * one, eps=1e-12).reshape(-1)
    assert (y[-1], y[2**31 + 5], np.count_nonzero(y)) == (6, -2, 2)


@pytest.mark.parametrize("shape", [(1, COUNT), (COUNT // 2**10, 2**10)], ids=["classes", "batch"])
def test_softmax(shape: tuple[int, int], zeros: Callable[..., Any]) -> None:
    x = zeros(*shape, writes=1)
    x[-1, -1] = 40.0
    y = F.softmax(x)
    np.testing.assert_allclose(y[-1, [0, -2, -1]], np.exp([-40.0, -40.0, 0.0]), rtol=1e-6)
    if shape[0] > 1:
        assert (y[:-1] == 2.0**-10).all()


def test_cross_entropy(zeros: Callable[..., Any]) -> None:
    logits, labels = zeros(COUNT // 2**10, 2**10, writes=1), np.zeros(COUNT // 2**10, np.int64)
    logits[-1, -1], labels[-1], labels[-5] = 25.0, 2**10 - 1, 7
    loss = F.cross_entropy(logits, labels, ignore_index=0)
    np.testing.assert_allclose(loss, np.log(2.0**10) / 2, rtol=1e-6)  # of two rows, one of which is certain


def test_sums_of_two(zeros: Callable[..., Any]) -> None:
    a, b = zeros(COUNT, writes=1), zeros(COUNT)
    a[-1], b[-1], b[2**31 + 1] = 2.0, 3.0, 4.0
    y = F.add(a, b)
    assert (y[-1], y[2**31 + 1], np.count_nonzero(y)) == (5, 4, 2)


def test_padding(zeros: Callable[..., Any]) -> None:
    x = zeros(1, 1, SIDE - 2, SIDE - 2, writes=1)
    x[0, 0, -1, -1] = 2.0
    y = F.pad(x, 1)
    assert (y.shape, y[0, 0, -2, -2], np.count_nonzero(y)) == ((1, 1, SIDE, SIDE), 2, 1)


@pytest.mark.parametrize("axis", [0, 1])
def test_concatenation(axis: int, zeros: Callable[..., Any]) -> None:
    parts = [zeros(1, COUNT // 2, writes=1) for _ in range(2)]
    parts[0][0, -1], parts[1][0, -1] = 2.0, 3.0
    y = F.concat(parts, axis=axis).reshape(-1)
    assert (y[COUNT // 2 - 1], y[-1], np.count_nonzero(y)) == (2, 3, 2)


def test_an_idx_file(tmp_path: Path) -> None:
    need(8)
    shape, path = (2**11 + 1, 2**10, 2**10), tmp_path / "long.idx"
    with path.open("wb") as file:
        file.write(bytes([0, 0, 8, 3]) + np.array(shape, ">u4").tobytes())
        file.seek(int(np.prod(shape)) - 1, 1)  # the bytes between take no place
        file.write(b"\7")
    array = read_idx(path)
    assert (array.shape, array[-1, -1, -1], np.count_nonzero(array)) == (shape, 7, 1)


def test_a_safetensors_file(tmp_path: Path) -> None:
    need(12)
    count, path = 2**29 + 2**10, tmp_path / "long.safetensors"
    header = json.dumps({"weight": {"dtype": "F32", "shape": [count], "data_offsets": [0, 4 * count]}}).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.seek(4 * (count - 1), 1)
        file.write(np.float32(3).tobytes())

    class Long(nn.Module):
        def __init__(self) -> None:
            self.weight = nn.Parameter(np.zeros(count, np.float32))

    model = Long()
    ck.load(model, path)
    assert (model.weight.value[-1], np.count_nonzero(model.weight.value)) == (3, 1)
