"""Where the time of a training step goes: every kernel of the plan, timed by itself.

``python -m benchmarks.profile [NETWORK ...] [--batch N] [--rounds N]`` prints a Markdown table for each network: the
median time of each kernel over the rounds, its share of their sum, and how near it comes to what the machine can do:
GFLOP/s for sums of products (of the direct sum, which Winograd's algorithm does in fewer), GB/s for what streams.
Kernels run in the order of the step, so each finds the caches as the step leaves them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np

import convkit as ck
from convkit import models, nn, optim
from convkit._kernels.core import Kernel
from convkit.graph.plan import Plan
from convkit.graph.symbols import Node


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=["fashion_cnn_small", "lenet5", "fashion_cnn_large"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=50)
    options = parser.parse_args(arguments)
    for name in options.networks:
        print_profile(name, options.batch, options.rounds)


def print_profile(name: str, batch: int, rounds: int) -> None:
    step, images, labels = _training_step(name, batch)
    steps = [_seconds(lambda: step(images, labels)) for _ in range(rounds + 5)][5:]
    [[plan]] = step._cache._plans.values()
    times = np.median([_times(plan, (images, labels)) for _ in range(rounds)], axis=0)
    update = float(np.median([_seconds(step._update) for _ in range(rounds)]))
    total = float(times.sum()) + update
    print(f"\n### {name}, batch {batch}, {ck.get_num_threads()} threads\n")
    print(f"A step takes {np.median(steps) * 1e3:.2f} ms; its kernels, one by one, {total * 1e3:.2f} ms.\n")
    print("| kernel | on | ms | share | rate |\n| --- | --- | ---: | ---: | ---: |")
    for (node, kernel), seconds in sorted(zip(plan.bound, times, strict=True), key=lambda row: -row[1]):
        if seconds >= total / 200:
            print(_row(_name(kernel), _shapes(node), seconds, total, _rate(node, seconds)))
    values = sum(segment.values.nbytes for segment in step._segments)
    print(
        _row(
            "Adam",
            f"{values // step.model.dtype.itemsize} values",
            update,
            total,
            f"{7 * values / update / 1e9:.0f} GB/s",
        )
    )
    rest = sum(seconds for seconds in times if seconds < total / 200)
    print(_row("all others", "", rest, total, ""))


def _training_step(name: str, batch: int) -> tuple[Any, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    model = getattr(models, name)()
    images = rng.integers(0, 255, (batch, *model.input_shape)).astype(np.uint8)
    labels = rng.integers(0, 10, batch)
    return ck.compile_step(model, nn.CrossEntropyLoss(), optim.Adam(lr=1e-3)), images, labels


def _times(plan: Plan, inputs: tuple[np.ndarray, ...]) -> list[float]:
    for taken, values in zip(plan.program.inputs, inputs, strict=True):
        np.copyto(taken.place, values)
    return [_seconds(kernel.run) for _, kernel in plan.bound]


def _seconds(function: Any) -> float:
    start = perf_counter()
    function()
    return perf_counter() - start


def _name(kernel: Kernel) -> str:
    return type(kernel).__name__


def _shapes(node: Node) -> str:
    return " ".join("×".join(map(str, symbol.shape)) for symbol in node.inputs if symbol is not None and symbol.shape)


def _rate(node: Node, seconds: float) -> str:
    if flops := node.op.flops(node.inputs, node.outputs):
        return f"{flops / seconds / 1e9:.0f} GFLOP/s"
    moved = sum(symbol.nbytes for symbol in (*node.inputs, *node.outputs) if symbol is not None)
    return f"{moved / seconds / 1e9:.0f} GB/s"


def _row(kernel: str, on: str, seconds: float, total: float, rate: str) -> str:
    return f"| {kernel} | {on} | {seconds * 1e3:.3f} | {seconds / total:.1%} | {rate} |"


if __name__ == "__main__":
    main()
