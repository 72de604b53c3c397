"""A problem small enough to be learnt in a second, and a network with all that a checkpoint must restore."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

import convkit as ck
from convkit import data, nn

CLASSES = ("top", "middle", "bottom")


def bars(count: int, seed: int) -> data.Dataset:
    """Images of 8×8 with a bright bar in the upper, middle or lower third, and noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    images = rng.integers(0, 120, (count, 1, 8, 8))
    for image, label in zip(images, labels, strict=True):
        image[0, 1 + 2 * label : 3 + 2 * label] += 100
    return data.Dataset(images.astype(np.uint8), labels, classes=CLASSES)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from threads, and lose much on a machine that is busy."""
    before = ck.get_num_threads()
    ck.set_num_threads(1)
    yield
    ck.set_num_threads(before)


@pytest.fixture(scope="session")
def train_set() -> data.Dataset:
    return bars(150, seed=1)  # batches of 32: the last one has 22


@pytest.fixture(scope="session")
def test_set() -> data.Dataset:
    return bars(60, seed=2)


@pytest.fixture
def make_model() -> Callable[[], nn.Sequential]:
    """A function that builds the same network, with the same first weights, every time."""

    def make() -> nn.Sequential:
        ck.set_seed(5)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.25), nn.Linear(36, 3)
        )

    return make
