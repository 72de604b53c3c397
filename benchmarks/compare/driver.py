"""Sides in processes of their own, taking turns.

A machine's speed drifts: clocks, neighbours, temperature. Sides that alternate (A B C A B C …) drift
together, so the ratio of their medians stays true where the figures themselves do not.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .frameworks import Framework
from .works import Work

CHECKOUT = Path(__file__).resolve().parents[2]

# The threads of an OpenMP runtime go on spinning for some milliseconds after their last loop.
SETTLE_SECONDS = 0.02


class SideFailed(Exception):
    """A side's process ended without an answer; its own words are on stderr."""


class ResultsDiffer(Exception):
    """Two sides were given the same work and found different results."""


class Side:
    """One variant of a framework, running in its own process under its own interpreter."""

    def __init__(self, framework: Framework, variant: str, python: str, threads: int) -> None:
        self.framework = framework
        self.variant = variant
        self.name = f"{framework.name} ({variant})" if variant else framework.name
        self._process = subprocess.Popen(
            [python, "-m", framework.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=CHECKOUT,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            text=True,
        )
        try:
            self.versions: dict[str, str] = self.ask(do="describe")["versions"]
        except BaseException:
            self.close()
            raise

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its answer."""
        assert self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise SideFailed(f"{self.name} ended when asked to {request['do']}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._process.communicate()  # closes stdin, which ends the side's loop

    def __enter__(self) -> Side:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def start(chosen: Sequence[tuple[Framework, str]], threads: int) -> Iterator[list[Side]]:
    """Start every variant of the frameworks chosen, given with their interpreters."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(Side(framework, variant, python, threads))
            for framework, python in chosen
            for variant in framework.variants
        ]


def compare(sides: Sequence[Side], work: Work, rounds: int, warm_up: int) -> dict[str, list[float]]:
    """Let the sides take turns at one work.

    Parameters
    ----------
    sides : sequence of Side
    work : Work
    rounds : int
        Turns of every side that are timed; one more goes before them.
    warm_up : int
        Steps at the head of a turn that are not timed.

    Returns
    -------
    dict
        Seconds of every timed step, by the name of the side.

    Raises
    ------
    ResultsDiffer
        If a side's results are not those of the first side.
    """
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "arrays.npz"
        work.save_arrays(arrays)
        for side in sides:
            options = side.framework.variants[side.variant]
            side.ask(do="open", work=work.as_dict(), arrays=str(arrays), options=options)

    seconds: dict[str, list[float]] = {side.name: [] for side in sides}
    expected: np.ndarray | None = None
    for turn in range(rounds + 1):
        for side in sides:
            time.sleep(SETTLE_SECONDS)
            answer = side.ask(do="run", warm_up=warm_up, steps=work.steps)
            results = np.array(answer["results"])
            if expected is None:
                expected = results
            _check(work, results, expected, side.name, sides[0].name)
            if turn > 0:
                seconds[side.name] += answer["seconds"]
    return seconds


def _check(work: Work, results: np.ndarray, expected: np.ndarray, name: str, first: str) -> None:
    error = float(np.max(np.abs(results - expected)) / np.max(np.abs(expected)))
    if not error <= work.tolerance:
        raise ResultsDiffer(
            f"{work.title}: the results of {name} differ from those of {first} by {error:.1e} "
            f"of the largest; at most {work.tolerance:.0e} was expected"
        )
