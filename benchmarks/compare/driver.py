"""Sides in processes of their own, taking turns.

A machine's speed drifts: clocks, neighbours, temperature. Sides that alternate (A B C A B C …) drift
together, so the ratio of their medians stays true where the figures themselves do not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from .frameworks import Framework, Variant
from .sides.protocol import save_arrays
from .works import Work

CHECKOUT = Path(__file__).resolve().parents[2]

# The threads of an OpenMP runtime go on spinning for some milliseconds after their last loop.
SETTLE_SECONDS = 0.005

LAST_WORDS = 3  # lines of a failed side's stderr that are shown

Measured = dict[str, list[float]]  # by the name of a side


class SideFailed(Exception):
    """A side's process ended without an answer."""


class ResultsDiffer(Exception):
    """Two sides were given the same work and found different results."""


class Side:
    """One variant of a framework, running in its own process under its own interpreter."""

    def __init__(self, framework: Framework, variant: Variant, python: str, threads: int) -> None:
        self.framework = framework
        self.variant = variant
        self.name = f"{framework.name} ({variant.name})" if variant.name else framework.name
        count = str(framework.threads or threads)
        self._complaints = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, "-m", framework.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            cwd=CHECKOUT,
            env=os.environ | {"OMP_NUM_THREADS": count, "NPROC": count},  # the latter is JAX's
            text=True,
        )

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
            raise SideFailed(f"{self.name} ended when asked to {request['do']}; its last words: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        self._process.wait()
        self._complaints.seek(0)
        lines = [line.strip() for line in self._complaints]
        return " | ".join(lines[-LAST_WORDS:]) or "none"

    def describe(self) -> dict[str, str]:
        """Wait until the side is ready; return names and versions of what it runs."""
        versions: dict[str, str] = self.ask(do="describe")["versions"]
        return versions

    def open(self, work: Work, arrays: str) -> None:
        """Have a work made ready, its arrays read from a folder."""
        described = {"kind": work.kind, "details": work.details}
        self.ask(do="open", work=described, arrays=arrays, options=dict(self.variant.options))

    def is_running(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        self._process.communicate()  # closes stdin, which ends the side's loop
        self._complaints.close()

    def __enter__(self) -> Side:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Sides:
    """The sides that run: started when a work first needs them, ended when the next one does not.

    Parameters
    ----------
    chosen : sequence of (Framework, str)
        Who is compared, each with its interpreter.
    threads : int

    Attributes
    ----------
    versions : dict
        What each framework said about itself, by its name.
    left_out : dict
        Why frameworks do not take part whose sides did not start.
    """

    def __init__(self, chosen: Sequence[tuple[Framework, str]], threads: int) -> None:
        self.chosen = list(chosen)
        self.threads = threads
        self.versions: dict[str, dict[str, str]] = {}
        self.left_out: dict[str, str] = {}
        self._running: dict[tuple[str, str], Side] = {}

    def taking_part(self, family: str) -> list[Side]:
        """Give the running sides that take part in works of this family, and end all others."""
        wanted = {(way[0].name, way[1].name): way for way in self._ways(family)}
        for key, side in list(self._running.items()):
            if key not in wanted or not side.is_running():
                side.close()
                del self._running[key]
        starting = [key for key in wanted if key not in self._running]
        for key in starting:
            self._running[key] = Side(*wanted[key], self.threads)
        for key in starting:  # they import side by side
            if not self._is_ready(self._running[key]):
                self._running.pop(key).close()
        return [self._running[key] for key in wanted if key in self._running]

    def alone(self, family: str) -> Iterator[Side]:
        """Start each of the sides that take part, one after the other, all others being ended."""
        self.close()
        for way in self._ways(family):
            with Side(*way, self.threads) as side:
                if self._is_ready(side):
                    yield side

    def _ways(self, family: str) -> Iterator[tuple[Framework, Variant, str]]:
        for framework, python in self.chosen:
            for variant in framework.variants:
                if family in variant.families:
                    yield framework, variant, python

    def _is_ready(self, side: Side) -> bool:
        """Wait until a side has started; leave its framework out from now on if it does not."""
        try:
            self.versions[side.framework.name] = side.describe()
        except SideFailed as failure:
            self.left_out[side.framework.name] = str(failure)
            self.chosen = [way for way in self.chosen if way[0] is not side.framework]
            return False
        return True

    def close(self) -> None:
        for side in self._running.values():
            side.close()
        self._running.clear()

    def __enter__(self) -> Sides:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def measure(sides: Sides, work: Work) -> tuple[Measured, dict[str, str]]:
    """Measure a work on every side that takes part in it.

    Returns
    -------
    measured : dict
        Milliseconds of every timed step (MB for works about memory), by the name of the side.
    frameworks : dict
        The framework of each side.

    Raises
    ------
    ResultsDiffer
        If a side's results are not those of the first side.
    SideFailed
        If a side's process ended, or none took part.
    """
    if work.family == "import":
        return import_times(work.rounds), {"convkit": "convkit", "NumPy": "NumPy"}
    if work.family.endswith("memory"):
        measured, frameworks = memory_taken(sides, work)
    else:
        taking_part = sides.taking_part(work.family)
        measured, frameworks = compare(taking_part, work), {side.name: side.framework.name for side in taking_part}
    if not measured:
        raise SideFailed("nobody takes part")
    return measured, frameworks


def compare(sides: Sequence[Side], work: Work) -> Measured:
    """Let the sides take turns at one work: milliseconds of every timed step.

    A turn that is not timed goes before the others, and each begins with another side: who comes after whom matters.
    The sides' results are compared in each turn, or in the first `work.checked` of them.
    """
    with arrays_of(work) as path:
        for side in sides:
            side.open(work, path)
    measured: Measured = {side.name: [] for side in sides}
    for turn in range(work.rounds + 1):
        expected: np.ndarray | None = None
        order = deque(sides)
        order.rotate(-turn)
        for side in order:
            time.sleep(SETTLE_SECONDS)
            answer = side.ask(do="run", first=turn * work.steps, warm_up=work.warm_up, steps=work.steps)
            results = np.array(answer["results"])
            if expected is None:
                expected = results
            if work.checked is None or turn < work.checked:
                check(work, results, expected, side.name, order[0].name)
            if turn > 0:
                measured[side.name] += [1e3 * seconds for seconds in answer["seconds"]]
    for side in sides:
        side.ask(do="close")
    return measured


def memory_taken(sides: Sides, work: Work) -> tuple[Measured, dict[str, str]]:
    """Let each side do the work in a fresh process: MB that it takes at its peak above the imported, idle process."""
    measured: Measured = {}
    frameworks = {}
    expected: np.ndarray | None = None
    first = ""
    with arrays_of(work) as path:
        for _ in range(work.rounds):
            for side in sides.alone(work.family):
                idle = side.ask(do="memory")["resident_mb"]
                side.open(work, path)
                results = np.array(side.ask(do="run", first=0, warm_up=0, steps=work.steps)["results"])
                if expected is None:
                    expected, first = results, side.name
                check(work, results, expected, side.name, first)
                measured.setdefault(side.name, []).append(side.ask(do="memory")["peak_mb"] - idle)
                frameworks[side.name] = side.framework.name
    return measured, frameworks


def import_times(rounds: int) -> Measured:
    """Import convkit and NumPy in fresh processes, taking turns: milliseconds of the import alone."""
    measured: Measured = {"convkit": [], "NumPy": []}
    for turn in range(rounds + 1):
        for name, times in measured.items():
            script = f"import time; t = time.perf_counter(); import {name.lower()}; print(time.perf_counter() - t)"
            done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
            if turn > 0:
                times.append(1e3 * float(done.stdout))
    return measured


@contextmanager
def arrays_of(work: Work) -> Iterator[str]:
    """Write a work's arrays into a folder that is there for the length of a `with` block."""
    with tempfile.TemporaryDirectory() as folder:
        save_arrays(folder, work.arrays())
        yield folder


def check(work: Work, results: np.ndarray, expected: np.ndarray, name: str, first: str) -> None:
    """Hold a side's results against those of the first side."""
    error = float(np.max(np.abs(results - expected)) / np.max(np.abs(expected)))
    if not error <= work.tolerance:
        raise ResultsDiffer(
            f"{work.title}: the results of {name} differ from those of {first} by {error:.1e} "
            f"of the largest; at most {work.tolerance:.0e} was expected"
        )
