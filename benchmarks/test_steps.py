"""What a user waits for: a training step, an epoch, a prediction, and the import."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from itertools import cycle

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import convkit as ck
from convkit import models, nn, optim

from .conftest import Measure
from .networks import NETWORKS, batches, forward_flops, training_flops

BATCH = 64
IMAGES = 3200  # in an epoch


@pytest.mark.parametrize("network", NETWORKS)
def test_training_step(network: str, measure: Measure) -> None:
    images, labels = batches(8, BATCH)
    step = ck.compile_step(getattr(models, network)(), nn.CrossEntropyLoss(), optim.Adam(lr=1e-3))
    rotation = cycle(zip(images, labels, strict=True))
    measure(lambda: step(*next(rotation)), flops=BATCH * training_flops(network))


@pytest.mark.parametrize("network", NETWORKS)
def test_epoch(network: str, benchmark: BenchmarkFixture) -> None:
    """A trainer's epoch: batches shuffled, taken from uint8 images and converted; its first one plans the step."""
    images, labels = batches(1, IMAGES)
    pixels = (255 * images[0]).astype(np.uint8)
    model = getattr(models, network)()
    trainer = ck.Trainer(model, nn.CrossEntropyLoss(), optim.Adam(lr=1e-3), metrics=["accuracy"])
    fit = partial(trainer.fit, (pixels, labels[0]), epochs=1, batch_size=BATCH, verbose=0)
    benchmark.pedantic(fit, rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("batch", (1, BATCH))
@pytest.mark.parametrize("network", NETWORKS)
def test_prediction(network: str, batch: int, measure: Measure) -> None:
    images, _ = batches(8, batch)
    model = getattr(models, network)()
    rotation = cycle(images)
    measure(lambda: model(next(rotation)), flops=batch * forward_flops(network))


@pytest.mark.parametrize("module", ("numpy", "convkit"))
def test_import(module: str, benchmark: BenchmarkFixture) -> None:
    """A whole process, from start to end; the difference of the two is convkit's own share."""
    command = [sys.executable, "-c", f"import {module}"]
    benchmark(subprocess.run, command, check=True)
