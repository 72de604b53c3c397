"""Whether training leaks: resident memory over 1,000 steps, ``python -m benchmarks.memory``.

A step allocates nothing once its plan is made, so from the tenth on the process should not grow. It ends with
status 1 if it did. Linux only: the figure is read from ``/proc/self/statm``.
"""

from __future__ import annotations

import argparse
import resource
import sys
from pathlib import Path

import convkit as ck
from convkit import models, nn, optim

from .networks import NETWORKS, batches

FIRST = 10  # the step from which memory should be flat
ALLOWED_MB = 1.0  # the interpreter's own arenas may move this much


def resident_mb() -> float:
    """Read the resident memory of this process, in MB of 10^6 bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, default="fashion_cnn_large")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()

    images, labels = batches(8, options.batch_size)
    idle = resident_mb()
    step = ck.compile_step(getattr(models, options.network)(), nn.CrossEntropyLoss(), optim.Adam(lr=1e-3))
    print(f"{options.network}, batch {options.batch_size}")
    print(f"{'step':>6} {'resident, MB':>13}\n{'idle':>6} {idle:>13.2f}")
    flat = idle
    for count in range(1, options.steps + 1):
        batch = count % len(images)
        step(images[batch], labels[batch])
        if count == FIRST:
            flat = resident_mb()
        if count == FIRST or count % 100 == 0:
            print(f"{count:>6} {resident_mb():>13.2f}", flush=True)
    growth = resident_mb() - flat
    print(f"growth after step {FIRST}: {growth:.2f} MB; training takes {flat - idle:.1f} MB")
    return int(growth > ALLOWED_MB)


if __name__ == "__main__":
    sys.exit(main())
