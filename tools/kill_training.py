"""Kill training a hundred times, and see that nothing is lost: ``python tools/kill_training.py``.

``convkit train`` runs on the embedded sample and is ended by SIGKILL, half of the time at a random moment, from the
import to the last line, and half of the time while a file is being written, which is when a temporary one is in the
folder. Then it goes on with ``--resume``, is killed again, and so on until it comes to its end. The weights and the
log that it leaves must be those of a run that nobody disturbed, to the bit. Then the next run begins.

Prints what happened, and ends with status 1 where anything was lost. POSIX only.
"""

from __future__ import annotations

import argparse
import csv
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

NETWORK = "fashion-cnn-small"


def command(folder: Path, epochs: int) -> list[str]:
    """Begin the run of a folder, or go on with it."""
    words = [sys.executable, "-m", "convkit", "train", NETWORK, "--quiet", "--threads", "1"]
    if (folder / "config.json").exists():
        return [*words, "--resume", str(folder)]
    return [*words, "--data", "sample", "--epochs", str(epochs), "--out", str(folder)]


def killed(process: subprocess.Popen[str], folder: Path, after: float, while_writing: bool) -> bool:
    """Wait so long, and where that is asked for until a file is being written; kill. False if it ended before."""
    deadline = time.perf_counter() + after
    while process.poll() is None:
        late = time.perf_counter() >= deadline
        if late and (not while_writing or any(folder.glob(".*.tmp"))):
            process.kill()
            return process.wait() < 0
        if not late:
            time.sleep(0.0005)
    return False


def results(folder: Path) -> tuple[bytes, bytes, list[list[str]]]:
    """What a run leaves: last and best weights, and the log without the time that it took."""
    with (folder / "log.csv").open(encoding="utf-8") as log:
        rows = [row[:-1] for row in csv.reader(log)]
    return (folder / "last.safetensors").read_bytes(), (folder / "best.safetensors").read_bytes(), rows


def left_behind(folder: Path) -> str:
    """What the folder holds after a kill."""
    whole = [name for name in ("config.json", "checkpoint.safetensors") if (folder / name).exists()]
    half = " and half of a file" if any(folder.glob(".*.tmp")) else ""
    return (whole[-1] if whole else "nothing") + half


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    moments = random.Random(options.seed)

    with tempfile.TemporaryDirectory() as temporary:
        unbroken = Path(temporary, "unbroken")
        began = time.perf_counter()
        subprocess.run(command(unbroken, options.epochs), check=True)
        lifetime = time.perf_counter() - began
        expected = results(unbroken)
        kills = runs = wrong = 0
        found: Counter[str] = Counter()
        while kills < options.kills:
            folder = Path(temporary, f"run-{runs}")
            status = None
            while status != 0:
                process = subprocess.Popen(command(folder, options.epochs), stderr=subprocess.PIPE, text=True)
                if kills < options.kills and killed(
                    process, folder, moments.uniform(0, lifetime), while_writing=kills % 2 == 1
                ):
                    kills += 1
                    found[left_behind(folder)] += 1
                process.communicate()
                status = process.returncode
                if status > 0:
                    print(f"{folder.name}: exit status {status} after {kills} kills")
                    return 1
            runs += 1
            wrong += results(folder) != expected
    for what, times in found.most_common():
        print(f"{times:>5} kills left {what}")
    print(f"{kills} kills, {runs} runs brought to their end, {wrong} with other bits than the undisturbed one")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
