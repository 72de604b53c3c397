"""How inference scales over Python's threads, ``python -m benchmarks.python_threads``.

Threads of Python's call one model on images of their own, each with one thread for its kernels: images a second, for
one thread and for as many as there are cores, in turns.  Of a call with one image a fifth is Python, which only an
interpreter without a global lock runs in several threads at once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import threading
import time
from collections.abc import Sequence

import numpy as np

import convkit as ck
from convkit import models

NETWORKS = ("fashion_cnn_small", "lenet5", "fashion_cnn_large")
SECONDS = 0.3


def images_per_second(network: str, batch: int, threads: int) -> float:
    """What all threads get through together."""
    model = getattr(models, network)()
    shape = (batch, 1, 28, 28)
    done = [0] * threads
    end = 0.0

    def start_clock() -> None:
        nonlocal end
        end = time.perf_counter() + SECONDS

    barrier = threading.Barrier(threads, start_clock)

    def call(number: int) -> None:
        x = np.random.default_rng(number).random(shape, np.float32)
        for _ in range(3):
            model(x)
        barrier.wait()
        calls = 0
        while time.perf_counter() < end:
            model(x)
            calls += 1
        done[number] = calls

    callers = [threading.Thread(target=call, args=(number,)) for number in range(threads)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return batch * sum(done) / SECONDS


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of Python's")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args(arguments)
    ck.set_num_threads(1)
    locked = getattr(sys, "_is_gil_enabled", lambda: True)()
    print(f"Python {sys.version.split()[0]}, {'with' if locked else 'without'} a global lock; images a second")
    print(f"{'network':18} {'batch':>5} {'1 thread':>10} {f'{options.threads} threads':>10}  ratio")
    for network in NETWORKS:
        for batch in (1, 64):
            rates: dict[int, list[float]] = {1: [], options.threads: []}
            for _ in range(options.rounds):
                for threads, found in rates.items():
                    found.append(images_per_second(network, batch, threads))
            one, many = (statistics.median(found) for found in rates.values())
            print(f"{network:18} {batch:5} {one:10,.0f} {many:10,.0f}  {many / one:.2f} ×", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
