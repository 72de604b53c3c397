"""Networks from ONNX files, one image at a time, beside onnxruntime: ``python -m benchmarks.onnx_networks``.

The nine networks of ONNX's own tests (onnx/backend/test/data/light), which both sides read from the same files.  The
peer runs in a process of its own, under the interpreter that ``--python-ort`` names or that ``--install`` makes; the
sides take turns, with equal threads, and rest in between until the other's have stopped waiting for work.
Prints a Markdown table of medians of wall time.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import geometric_mean, median
from tempfile import TemporaryDirectory

import numpy as np
import onnx

import convkit as ck

from .compare.frameworks import interpreter

TURNS, RUNS = 7, 5  # of each network: turns of either side, timed runs in each
REST = 0.05  # seconds between turns

PEER = """
import sys, time
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = int(sys.argv[4])
options.log_severity_level = 3
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
feed = {sys.argv[2]: np.load(sys.argv[3])}
session.run(None, feed)
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        start = time.perf_counter()
        session.run(None, feed)
        print(time.perf_counter() - start, flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.onnx_networks", description=__doc__.partition("\n")[0])
    parser.add_argument("--python-ort", metavar="PATH", help="an interpreter with onnxruntime")
    parser.add_argument("--install", action="store_true", help="make an environment for it where there is none")
    parser.add_argument("--threads", type=int, default=2, metavar="N", help="of both sides (default: 2)")
    options = parser.parse_args()
    ck.set_num_threads(options.threads)
    python = interpreter("ort", options.python_ort, options.install)
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    ratios = []
    print("| network | convkit, ms | onnxruntime, ms | ratio |\n|---|---|---|---|")
    for path in sorted(folder.glob("*.onnx")):
        ours, theirs = (1e3 * median(times) for times in in_turns(path, python, options.threads))
        ratios.append(ours / theirs)
        print(f"| {path.stem.removeprefix('light_')} | {ours:.1f} | {theirs:.1f} | {ratios[-1]:.2f} |", flush=True)
    print(f"| geometric mean | | | {geometric_mean(ratios):.2f} |")


def in_turns(path: Path, python: str, threads: int) -> tuple[list[float], list[float]]:
    """Seconds that single runs of both sides took."""
    name, image = an_input(onnx.load(path))
    with TemporaryDirectory() as folder:
        given = Path(folder, "image.npy")
        np.save(given, image)
        arguments = [python, "-c", PEER, str(path), name, str(given), str(threads)]
        peer = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert peer.stdin and peer.stdout
        peer.stdout.readline()
    with peer:
        run = ours(path, image)
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(TURNS):
            time.sleep(REST)
            times[0].extend(timed(run) for _ in range(RUNS))
            time.sleep(REST)
            peer.stdin.write(f"{RUNS}\n")
            peer.stdin.flush()
            times[1].extend(float(peer.stdout.readline()) for _ in range(RUNS))
        peer.stdin.close()
    return times


def an_input(model: onnx.ModelProto) -> tuple[str, np.ndarray]:
    """The name of the one input, and one image of noise for it."""
    weights = {value.name for value in model.graph.initializer}
    [x] = [value for value in model.graph.input if value.name not in weights]
    shape = [size.dim_value or 1 for size in x.type.tensor_type.shape.dim]
    return x.name, np.random.default_rng(0).random(shape, np.float32)


def ours(path: Path, image: np.ndarray) -> Callable[[], object]:
    from convkit.onnx import load

    model = load(path)
    model(image)  # makes the plan
    return lambda: model(image)


def timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
