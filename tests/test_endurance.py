"""Nothing grows in a process that lives long: the short form of ``python -m benchmarks.endurance``."""

from __future__ import annotations

import gc
import os
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

import convkit as ck
from convkit import data, nn, optim
from convkit.graph.plan import Plan

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory and files are read from /proc")


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.GlobalAvgPool(), nn.Flatten(), nn.Linear(8, 3)
    )


@pytest.mark.ordinary_build
def test_inferences_of_changing_shapes_keep_memory_files_and_plans_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Plan]] = []
    make = Plan.__init__

    def watched(self: Plan, *arguments: object, **options: object) -> None:
        make(self, *arguments, **options)  # type: ignore[arg-type]
        made.append(weakref.ref(self))

    monkeypatch.setattr(Plan, "__init__", watched)
    model, rng = network(), np.random.default_rng(0)
    pixels = rng.random(8 * 64 * 64, dtype=np.float32)  # a plan that stays takes half a megabyte

    def infer(count: int) -> None:
        for _ in range(count):
            n, height, width = (int(rng.integers(*bounds)) for bounds in ((1, 9), (32, 65), (32, 65)))
            model(pixels[: n * height * width].reshape(n, 1, height, width))

    infer(150)
    memory, files = resident(), open_files()
    infer(450)
    gc.collect()
    assert len(made) > 500
    assert sum(plan() is not None for plan in made) <= 8
    assert resident() - memory < 20e6
    assert open_files() == files


@pytest.mark.ordinary_build
def test_epochs_with_checkpoints_keep_memory_and_files_bounded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.integers(0, 256, (64, 1, 16, 16), dtype=np.uint8), rng.integers(0, 3, 64)
    images = data.Dataset(x, labels, classes=["a", "b", "c"])
    trainer = ck.Trainer(network(), nn.CrossEntropyLoss(), optim.Adam(1e-3), metrics=["accuracy"])
    path = tmp_path / "run.safetensors"

    def train(first: int, last: int) -> None:
        for epochs in range(first, last + 1):
            trainer.fit(
                images,
                validation=images,
                epochs=epochs,
                augment=[data.RandomShift(1)],
                checkpoint=path,
                resume=path if path.exists() else None,
                verbose=0,
            )

    train(1, 10)
    memory, files = resident(), open_files()
    train(11, 50)
    assert resident() - memory < 5e6
    assert open_files() == files
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["run.previous.safetensors", "run.safetensors"]
