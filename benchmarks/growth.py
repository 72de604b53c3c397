"""How cost grows: ``python -m benchmarks.growth`` measures time against batch size, image size, channels, threads.

Writes ``growth.json`` and a picture for each question into ``docs/performance`` (or the folder named by ``--out``;
the pictures need matplotlib). ``--draw-only`` draws the pictures anew from the figures that lie there.

Points of a curve take turns, as the sides of the comparison do, so that a machine that slows down slows them all.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import convkit as ck
from convkit import models, nn, optim
from convkit.errors import require
from convkit.geometry import Windows
from convkit.ops.conv import Convolution, ConvolutionWeightGrad, ConvTranspose

from .bound import Call, calls_of
from .compare.report import machine
from .networks import NETWORKS, batches, forward_flops, training_flops

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
IMAGE_SIDES = (4, 7, 8, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112)
CHANNELS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
PARTS = ("forward", "gradient of x", "gradient of weight")
TURN_SECONDS = 0.02
MOST_STEPS = 200
ROTATION = 4  # inputs that follow one another


@dataclass
class Point:
    """One place on a curve: what to run there, on how many threads, and how much arithmetic it is."""

    curve: str
    x: int
    make: Callable[[], Call]
    threads: int
    flops: int


# --- the questions ------------------------------------------------------------------------------------------


def batch_points(threads: int) -> Iterator[Point]:
    """Training steps and inference of the networks against the batch size."""
    for network in NETWORKS:
        for batch in BATCHES:
            yield Point(
                f"train {network}", batch, lambda n=network, b=batch: training(n, b), threads,
                batch * training_flops(network),
            )  # fmt: skip
            yield Point(
                f"infer {network}", batch, lambda n=network, b=batch: inference(n, b), threads,
                batch * forward_flops(network),
            )  # fmt: skip


def image_points(threads: int) -> Iterator[Point]:
    """A 3×3 convolution of 32 channels to 32 against the side of its image, batch 16."""
    for side in IMAGE_SIDES:
        yield from _conv_points("", side, 16, 32, side, threads)


def channel_points(threads: int) -> Iterator[Point]:
    """A 3×3 convolution of images of 14×14 against its channels, as many in as out, batch 16."""
    for channels in CHANNELS:
        yield from _conv_points("", channels, 16, channels, 14, threads)


def thread_points(threads: int) -> Iterator[Point]:
    """Training steps and a convolution on 1 to all threads."""
    for count in range(1, threads + 1):
        for network in NETWORKS:
            yield Point(
                f"train {network}", count, lambda n=network: training(n, 64), count, 64 * training_flops(network)
            )  # fmt: skip
        yield from _conv_points("conv 64×28×28, ", count, 16, 64, 28, count)


QUESTIONS: dict[str, tuple[str, Callable[[int], Iterator[Point]]]] = {
    "batch": ("batch size", batch_points),
    "image": ("side of the image", image_points),
    "channels": ("channels", channel_points),
    "threads": ("threads", thread_points),
}


def _conv_points(prefix: str, x: int, batch: int, channels: int, side: int, threads: int) -> Iterator[Point]:
    flops = 2 * batch * channels**2 * 9 * side**2
    for part in PARTS:
        yield Point(prefix + part, x, lambda p=part: convolution(p, batch, channels, side), threads, flops)


# --- what is run --------------------------------------------------------------------------------------------


def training(network: str, batch: int) -> Call:
    """Make a training step with Adam; batches rotate."""
    images, labels = batches(ROTATION, batch)
    step = ck.compile_step(getattr(models, network)(), nn.CrossEntropyLoss(), optim.Adam(lr=1e-3))
    return _in_turn([lambda x=x, y=y: step(x, y) for x, y in zip(images, labels, strict=True)])


def inference(network: str, batch: int) -> Call:
    """Make a forward pass; batches rotate."""
    images, _ = batches(ROTATION, batch)
    model = getattr(models, network)()
    return _in_turn([lambda x=x: model(x) for x in images])


def convolution(part: str, batch: int, channels: int, side: int) -> Call:
    """Bind one part of a 3×3 convolution with padding 1, as many channels in as out; arrays rotate."""
    windows = Windows((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    rng = np.random.default_rng(0)
    images = [rng.standard_normal((batch, channels, side, side), np.float32) for _ in range(ROTATION)]
    weight = rng.standard_normal((channels, channels, 3, 3), np.float32)
    if part == "forward":
        return _in_turn(calls_of(Convolution(windows), [(x, weight, None) for x in images]))
    if part == "gradient of x":
        return _in_turn(calls_of(ConvTranspose(windows, 1, (side, side)), [(grad, weight, None) for grad in images]))
    pairs = zip(images, reversed(images), strict=True)
    return _in_turn(calls_of(ConvolutionWeightGrad(windows, 1), list(pairs)))


def _in_turn(calls: Sequence[Call]) -> Call:
    place = 0

    def call() -> Any:
        nonlocal place
        place += 1
        return calls[place % len(calls)]()

    return call


# --- measuring ----------------------------------------------------------------------------------------------


def measure(points: Sequence[Point], rounds: int) -> list[dict[str, Any]]:
    """Let the points take turns; give each its median milliseconds, quartiles and GFLOP/s."""
    seconds: list[list[float]] = [[] for _ in points]
    for _ in range(rounds):
        for place, point in enumerate(points):
            ck.set_num_threads(point.threads)
            seconds[place] += _turn(point.make())
    rows = []
    for point, times in zip(points, seconds, strict=True):
        low, median, high = map(float, np.percentile(times, (25, 50, 75)))
        rows.append(
            {
                "curve": point.curve,
                "x": point.x,
                "ms": 1e3 * median,
                "quartiles_ms": [1e3 * low, 1e3 * high],
                "gflops": point.flops / median / 1e9,
            }
        )
    return rows


def _turn(call: Call) -> list[float]:
    """Time a call again and again, for `TURN_SECONDS` but at least once; the first ones do not count."""
    for _ in range(ROTATION):
        call()
    once = _seconds(call)
    return [_seconds(call) for _ in range(int(np.clip(TURN_SECONDS / once, 1, MOST_STEPS)))]


def _seconds(call: Call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


# --- drawing ------------------------------------------------------------------------------------------------


def draw(rows: Sequence[dict[str, Any]], label: str, where: str, target: Path) -> None:
    """Draw time and rate of every curve, side by side.

    Raises
    ------
    ImportError
        Where matplotlib is missing; the message names the pip command.
    """
    figures = require("matplotlib.figure", "plot", "drawing how cost grows")
    figure = figures.Figure(figsize=(9, 3.6), layout="constrained")
    times, rates = figure.subplots(1, 2)
    for curve in dict.fromkeys(row["curve"] for row in rows):
        points = [row for row in rows if row["curve"] == curve]
        x = [row["x"] for row in points]
        [line] = times.plot(x, [row["ms"] for row in points], marker="o", markersize=3, label=curve)
        low, high = zip(*(row["quartiles_ms"] for row in points), strict=True)
        times.fill_between(x, low, high, alpha=0.2, color=line.get_color())
        rates.plot(x, [row["gflops"] for row in points], marker="o", markersize=3)
    few = len({row["x"] for row in rows}) < 5
    for panel, title in ((times, "milliseconds"), (rates, "GFLOP/s")):
        panel.set_title(title, fontsize=10)
        panel.set_xlabel(label)
        panel.grid(alpha=0.3)
        if few:
            panel.set_xticks(sorted({row["x"] for row in rows}))
        else:
            panel.set_xscale("log", base=2)
    times.set_yscale("log")
    rates.set_ylim(bottom=0)
    times.legend(fontsize=7)
    figure.suptitle(where, fontsize=8)
    figure.savefig(target, dpi=140)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    figures = options.out / "growth.json"
    if options.draw_only:
        report = json.loads(figures.read_text(encoding="utf-8"))
    else:
        require("matplotlib", "plot", "drawing how cost grows")  # now, and not after all has been measured
        report = {"machine": machine(), "threads": options.threads, "convkit": ck.__version__, "questions": {}}
        for name in options.only or QUESTIONS:
            points = list(QUESTIONS[name][1](options.threads))
            print(f"{name}: {len(points)} points", file=sys.stderr)
            report["questions"][name] = measure(points, options.rounds)
        options.out.mkdir(parents=True, exist_ok=True)
        figures.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    where = f"{report['machine']['processor']}, threads: {report['threads']}, convkit {report['convkit']}"
    for name, rows in report["questions"].items():
        draw(rows, QUESTIONS[name][0], where, options.out / f"{name}.png")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--only", action="append", choices=QUESTIONS, help="one question; may be given several times")
    parser.add_argument("--threads", type=int, default=ck.get_num_threads(), help="the most to use (all there are)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of every point")
    parser.add_argument("--out", type=Path, default=Path("docs/performance"), metavar="DIR")
    parser.add_argument("--draw-only", action="store_true", help="draw the figures that lie in the folder")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
