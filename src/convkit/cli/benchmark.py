"""``convkit bench``: how fast this machine runs convkit, beside what it could do at most.

Two ceilings are measured first: multiplications and additions that never leave the registers, and a stream through
memory (the triad y = a + f·b of McCalpin's STREAM, 1995, three arrays moved). A kernel that is bound by arithmetic
is held against the first, one that is bound by memory against the second.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import convkit as ck
from convkit import optim
from convkit._kernels import ceiling, core
from convkit._version import __version__
from convkit.files import write_whole
from convkit.geometry import Windows
from convkit.models import REGISTRY
from convkit.nn import CrossEntropyLoss, Module
from convkit.ops.base import Primitive, Spec
from convkit.ops.elementwise import Add, Relu, Tanh
from convkit.ops.lanes import LaneAvgPool, LaneConvolution, LaneMaxPool, LaneWeightGrad, in_lanes

Specs = tuple[Spec | None, ...]

BATCH = 64
NETWORKS = ("fashion_cnn_small", "lenet5", "fashion_cnn_large")
LEAST_REPEATS = 3
ROTATION = 4  # sets of inputs that follow one another
PEAK_ROUNDS = 100_000  # some hundredths of a second each
STREAM_VALUES = 2**24  # of each array: 64 MB, more than any cache


@dataclass
class Ceiling:
    """What `threads` threads of this machine reach at most."""

    threads: int
    gflops: float
    gigabytes: float


@dataclass
class Measurement:
    """What one piece of work reaches: a rate per second, and its share of the ceiling."""

    name: str
    milliseconds: float
    rate: float
    unit: str
    share: float


def bench(options: argparse.Namespace) -> int:
    """Run the command."""
    threads = ck.get_num_threads()
    print(f"convkit {__version__}, {core.isa_chosen()}, {_processor()}\n")
    # The last of them leaves the number of threads as it was.
    ceilings = [measure_ceiling(count, options.seconds) for count in sorted({1, threads})]
    _print_ceilings(ceilings)

    top = ceilings[-1]
    kernels = []
    print(f"\n{'kernel, batch ' + str(BATCH):44}{'ms':>8}{'rate':>14}  of ceiling")
    for name, run, flops, moved in kernels_to_measure():
        kernels.append(_measured(name, seconds_of(run, options.seconds), flops, moved, top))
        _print(kernels[-1])
    steps = []
    print(f"\n{'training step, batch ' + str(BATCH) + ', Adam':44}{'ms':>8}{'rate':>14}  of ceiling")
    for name in NETWORKS:
        run, flops = training_step(name)
        steps.append(_measured(name.replace("_", "-"), seconds_of(run, options.seconds), flops, 0, top))
        _print(steps[-1])

    if options.json is not None:
        report = {
            "convkit": __version__,
            "processor": _processor(),
            "instructions": core.isa_chosen(),
            "threads": threads,
            "ceilings": [asdict(one) for one in ceilings],
            "kernels": [asdict(one) for one in kernels],
            "training_steps": [asdict(one) for one in steps],
        }
        write_whole(Path(options.json), json.dumps(report, indent=2) + "\n")
    return 0


# --- what is measured ---------------------------------------------------------------------------------------


def measure_ceiling(threads: int, seconds: float) -> Ceiling:
    """Find what this number of threads reaches at most: the best of repeated runs, not the usual one."""
    ck.set_num_threads(threads)
    done = ceiling.peak(PEAK_ROUNDS)
    fastest = min(times_of(lambda: ceiling.peak(PEAK_ROUNDS), seconds))
    a, b, y = (np.ones(STREAM_VALUES, np.float32) for _ in range(3))
    stream = min(times_of(ceiling.Triad(a, b, y, 0.5).run, seconds))
    return Ceiling(threads, done / fastest / 1e9, (a.nbytes + b.nbytes + y.nbytes) / stream / 1e9)


def kernels_to_measure() -> Iterator[tuple[str, Callable[[], None], int, int]]:
    """Give a name, a call, its arithmetic, and (where memory is the bound) the bytes it moves.

    Arrays have the image innermost, as plans have them at this batch size.
    """
    for channels, out, size, kernel in ((10, 20, 12, 5), (64, 128, 12, 3), (64, 64, 28, 3)):
        windows = Windows((kernel, kernel), (1, 1), ((0, 0), (0, 0)), (1, 1))
        x = _in_lanes(channels, size)
        weight = Spec((out, channels, kernel, kernel), x.dtype)
        forward = LaneConvolution(windows, 1, (size - kernel + 1,) * 2)
        [y] = forward.infer(x, weight, None)
        name = f"conv {channels}×{size}×{size} to {out}, {kernel}×{kernel}"
        parts: tuple[tuple[str, Primitive, Specs], ...] = (
            ("forward", forward, (x, weight, None)),
            ("gradient of x", LaneConvolution(windows, 1, (size, size), adjoint=True), (y, weight, None)),
            ("gradient of weight", LaneWeightGrad(windows, 1), (y, x)),
        )
        for part, op, inputs in parts:
            yield f"{name}: {part}", bound(op, inputs), op.flops(inputs, op.infer(*inputs)), 0
    pooled = Windows((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
    x = _in_lanes(64, 24)
    streams: tuple[tuple[str, Primitive, int], ...] = (
        ("max pool", LaneMaxPool(pooled, (12, 12)), 1),
        ("average pool", LaneAvgPool(pooled, (12, 12), True), 1),
        ("relu", Relu(), 1),
        ("tanh", Tanh(), 1),
        ("sum of two", Add(), 2),
    )
    for name, op, count in streams:
        specs: Specs = (x,) * count
        moved = count * _bytes(x) + _bytes(op.infer(*specs)[0])
        yield f"{name}, 64×24×24", bound(op, specs), 0, moved


def _in_lanes(channels: int, size: int) -> Spec:
    dtype = np.dtype(np.float32)
    return Spec(in_lanes((BATCH, channels, size, size), dtype), dtype)


def bound(op: Primitive, specs: Specs) -> Callable[[], None]:
    """Bind an op as a plan does, to one set of inputs after the other and to the same outputs for all."""
    rng = np.random.default_rng(0)
    outputs = [
        None if place and place in op.optional else np.zeros(spec.shape, spec.dtype)
        for place, spec in enumerate(op.infer(*specs))
    ]
    sets = [
        [None if spec is None else rng.standard_normal(spec.shape, spec.dtype) for spec in specs]
        for _ in range(ROTATION)
    ]
    return _in_turn([op.bind(inputs, outputs).run for inputs in sets])


def training_step(network: str) -> tuple[Callable[[], None], int]:
    """Give a call that trains a network on one batch, and its arithmetic."""
    entry = REGISTRY[network]
    model = entry.build()
    step = ck.compile_step(model, CrossEntropyLoss(), optim.Adam(lr=1e-3))
    rng = np.random.default_rng(0)
    images = rng.random((ROTATION, BATCH, *entry.input_shape), np.float32)
    labels = rng.integers(10, size=(ROTATION, BATCH))
    runs = [lambda x=x, y=y: step(x, y) for x, y in zip(images, labels, strict=True)]
    return _in_turn(runs), training_flops(model, entry.input_shape)


def training_flops(model: Module, input_shape: tuple[int, ...]) -> int:
    """Count a training step's arithmetic: the forward pass, and as much again for the gradient to the weights of
    each op and for that to its input, unless this is the image itself."""
    graph, _ = model.trace((Spec((BATCH, *input_shape), model.dtype),))
    total = 0
    for node in graph.nodes:
        gradients = 1 if node.inputs[0] in graph.inputs else 2
        total += (1 + gradients) * node.op.flops(node.inputs, node.outputs)
    return total


def _in_turn(runs: Sequence[Callable[[], Any]]) -> Callable[[], None]:
    calls = 0

    def run() -> None:
        nonlocal calls
        runs[calls % len(runs)]()
        calls += 1

    return run


def _bytes(spec: Spec) -> int:
    return int(np.prod(spec.shape)) * spec.dtype.itemsize


# --- measuring ----------------------------------------------------------------------------------------------


def seconds_of(run: Callable[[], Any], seconds: float) -> float:
    """Give the median of what `run` takes."""
    return median(times_of(run, seconds))


def times_of(run: Callable[[], Any], seconds: float) -> list[float]:
    """Repeat `run` for so many seconds, after a few runs that are not counted: the first ones are slow."""
    for _ in range(ROTATION):
        run()
    times: list[float] = []
    while len(times) < LEAST_REPEATS or sum(times) < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def _measured(name: str, seconds: float, flops: int, moved: int, top: Ceiling) -> Measurement:
    rate = (flops or moved) / seconds / 1e9
    unit, most = ("GFLOP/s", top.gflops) if flops else ("GB/s", top.gigabytes)
    return Measurement(name, 1e3 * seconds, rate, unit, rate / most)


# --- printing -----------------------------------------------------------------------------------------------


def _print_ceilings(ceilings: Sequence[Ceiling]) -> None:
    names = [f"{one.threads} thread{'s' if one.threads > 1 else ''}" for one in ceilings]
    print(f"{'ceiling':28}" + "".join(f"{name:>12}" for name in names))
    print(f"{'multiply and add, GFLOP/s':28}" + "".join(f"{one.gflops:>12.0f}" for one in ceilings))
    print(f"{'memory, GB/s':28}" + "".join(f"{one.gigabytes:>12.1f}" for one in ceilings))


def _print(one: Measurement) -> None:
    rate = f"{one.rate:.1f} {one.unit}"
    print(f"{one.name:44}{one.milliseconds:>8.3g}{rate:>14}{one.share:>8.0%}", flush=True)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
