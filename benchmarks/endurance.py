"""Whether anything grows in a process that lives long, ``python -m benchmarks.endurance``.

A thousand epochs on three hundred images, augmented by a thread in the background and validated, with a checkpoint
after each, from which the next goes on; then a hundred thousand inferences of four thousand different shapes, for most
of which there is no plan any more. Resident memory, open files and threads are printed twenty times in each part; the
process ends with status 1 if they were higher in the last quarter than in the second, memory by more than `ALLOWED_MB`.
Linux only: the figures are read from ``/proc/self``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import convkit as ck
from convkit import data, nn, optim

from .memory import resident_mb

POINTS = 20  # at which figures are taken
ALLOWED_MB = 2.0


class Figures(NamedTuple):
    """What must not grow."""

    resident: float
    files: int
    threads: int


def figures() -> Figures:
    threads = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Threads:"))
    return Figures(resident_mb(), len(os.listdir("/proc/self/fd")), int(threads.split()[1]))


def highest(taken: list[Figures]) -> Figures:
    return Figures(*map(max, zip(*taken, strict=True)))


def epochs(count: int) -> Iterator[None]:
    """Train for so many epochs; yield after each."""
    train_set = data.fashion_mnist("train", source="sample")[:300]
    model = nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, 10)
    )
    trainer = ck.Trainer(model, nn.CrossEntropyLoss(), optim.Adam(1e-3), metrics=["accuracy"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.safetensors")
        for number in range(1, count + 1):  # each a run of its own, which reads the checkpoint of the one before
            trainer.fit(
                train_set,
                validation=train_set[:50],
                epochs=number,
                augment=[data.RandomShift(2)],
                checkpoint=path,
                resume=path if number > 1 else None,
                verbose=0,
            )
            yield


def inferences(count: int) -> Iterator[None]:
    """Apply a network of many shapes; yield after each."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3), nn.ReLU(), nn.GlobalAvgPool(),
        nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    pixels = rng.random(16 * 40 * 40, dtype=np.float32)
    for _ in range(count):
        n, height, width = (int(rng.integers(low, high)) for low, high in ((1, 17), (8, 24), (8, 24)))
        if model(pixels[: n * height * width].reshape(n, 1, height, width)).shape != (n, 3):
            raise RuntimeError("inference returned another shape")
        yield


def endure(name: str, work: Callable[[int], Iterator[None]], count: int) -> bool:
    """Do the work, print the figures on the way, and tell whether they stayed as they were."""
    print(f"{name}\n{'done':>8} {'resident, MB':>13} {'files':>6} {'threads':>8} {'seconds':>8}")
    began, taken = time.perf_counter(), []
    for done, _ in enumerate(work(count), 1):
        if done % max(count // POINTS, 1) == 0:
            taken.append(figures())
            resident, files, threads = taken[-1]
            print(
                f"{done:>8} {resident:>13.2f} {files:>6} {threads:>8} {time.perf_counter() - began:>8.1f}", flush=True
            )
    quarter = len(taken) // 4
    early, late = highest(taken[quarter : 2 * quarter]), highest(taken[-quarter:])
    growth = Figures(*(after - before for before, after in zip(early, late, strict=True)))
    print(f"growth: {growth.resident:.2f} MB, {growth.files} files, {growth.threads} threads\n")
    return growth.resident <= ALLOWED_MB and growth.files <= 0 and growth.threads <= 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", description=__doc__)
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--inferences", type=int, default=100_000)
    options = parser.parse_args()
    parts = {"epochs": (epochs, options.epochs), "inferences": (inferences, options.inferences)}
    return int(not all([endure(name, work, count) for name, (work, count) in parts.items() if count]))


if __name__ == "__main__":
    sys.exit(main())
