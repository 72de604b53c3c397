"""Arrays of more than 2³¹ values are indexed rightly: what stands behind that place arrives where it belongs.

The arrays are zeros but for a few values, so the system need not give them memory before something is written there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convkit import functional as F

pytestmark = pytest.mark.slow

COUNT = 2**31 + 2**20  # values; 8 GiB and 4 MiB as float32
SIDE = 46_400  # of a plane that has as many


def available() -> int:
    """Gigabytes that the system could give."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) >> 20


@pytest.fixture
def zeros() -> Callable[..., Any]:
    """Large zeros; a test that writes as many more needs twice the memory in the worst case."""

    def make(*shape: int, writes: int = 0) -> Any:
        needed = 6 + writes * 9
        if not Path("/proc/meminfo").exists() or available() < needed:
            pytest.skip(f"needs {needed} GB of free memory")
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
