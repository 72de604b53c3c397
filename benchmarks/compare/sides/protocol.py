"""What the driver and a side say to each other: one JSON object a line, over the side's stdin and stdout.

=====================================================================  ======================================
the driver asks                                                        the side answers
=====================================================================  ======================================
``{"do": "describe"}``                                                 ``{"versions": {name: version}}``
``{"do": "open", "work": {…}, "arrays": FOLDER, "options": {…}}``      ``{}``
``{"do": "run", "first": i, "warm_up": n, "steps": k}``                ``{"seconds": […], "results": […]}``
``{"do": "close"}``                                                    ``{}``
``{"do": "memory"}``                                                   ``{"resident_mb": …, "peak_mb": …}``
=====================================================================  ======================================

Each run begins from the same state, so its results can be held against those of the other sides.
Between requests a side blocks on its stdin and takes no processor time; it ends with the end of its input.
This file needs nothing but NumPy, since every framework's interpreter reads it.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The arrays of a work by name, the same on every side. The first axis of each that changes from step to step
# runs over the rotation; initial parameters are parameter0, parameter1, …
Arrays = Mapping[str, NDArray[Any]]

# Of each result so many values, spread evenly, are compared.
SAMPLES = 64


class Session:
    """A work made ready in one framework."""

    def reset(self) -> None:
        """Go back to the state in which the session was opened."""

    def step(self, index: int) -> Any:
        """Do the work once, on the inputs with this index (they rotate), and return its finished result."""
        raise NotImplementedError

    def warm_up(self, first: int, steps: int) -> None:
        """Do the work as often, untimed."""
        for index in range(first, first + steps):
            self.step(index)

    def run(self, first: int, warm_up: int, steps: int) -> tuple[list[float], list[list[float]]]:
        """Do the work `warm_up` + `steps` times, on inputs from `first` on; return seconds and results of `steps`."""
        self.reset()
        self.warm_up(first, warm_up)
        seconds, results = [], []
        for index in range(first + warm_up, first + warm_up + steps):
            start = perf_counter()
            result = self.step(index)
            seconds.append(perf_counter() - start)
            results.append(digest(result))
        return seconds, results


# What a work without state is repeated for, at least, before it is timed: while other sides had their turns the system
# has put a side's threads to sleep, and it may take milliseconds until each has a processor of its own again.
WARM_UP_SECONDS = 0.02


class Calls(Session):
    """A work without state: for each of the rotating inputs a function without arguments."""

    def __init__(self, calls: list[Callable[[], Any]]) -> None:
        self.calls = calls

    def warm_up(self, first: int, steps: int) -> None:
        start, index = perf_counter(), first
        while index < first + steps or perf_counter() - start < WARM_UP_SECONDS:
            self.step(index)
            index += 1

    def step(self, index: int) -> Any:
        return self.calls[index % len(self.calls)]()


class Epochs(Session):
    """Epochs of training; each turn begins with the first of them, as a call of convkit's trainer does.

    The order of the images is drawn on every side, within the time that counts, and is the same on all: the one
    that convkit draws, so that the losses can be compared.
    """

    def run(self, first: int, warm_up: int, steps: int) -> tuple[list[float], list[list[float]]]:
        return super().run(0, warm_up, steps)

    @staticmethod
    def order(epoch: int, count: int) -> NDArray[np.int64]:
        """Draw the order of an epoch, as `convkit.data.Batches` documents it, for seed 0."""
        numbers = np.random.Philox(key=np.array([0, epoch], np.uint64)).random_raw(count)
        return np.argsort(numbers, kind="stable")


def digest(result: Any) -> list[float]:
    """Take values that stand for a result: `SAMPLES` of an array, spread evenly; of a smaller one all."""
    values = np.asarray(result)
    places = np.unique(np.linspace(0, values.size - 1, SAMPLES).astype(np.int64))
    chosen: list[float] = values[np.unravel_index(places, values.shape)].tolist() if values.ndim else [float(values)]
    return chosen


def save_arrays(folder: str, arrays: Arrays) -> None:
    """Write the arrays of a work into a folder, each as a file, for `SavedArrays` to read."""
    for name, array in arrays.items():
        np.save(Path(folder) / f"{name}.npy", array)


class SavedArrays(Mapping[str, NDArray[Any]]):
    """What `save_arrays` wrote, each array read when it is asked for: a side's memory holds what it keeps, no more."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def __getitem__(self, name: str) -> NDArray[Any]:
        path = self.folder / f"{name}.npy"
        if not path.is_file():
            raise KeyError(name)
        array: NDArray[Any] = np.load(path)
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(path.stem for path in self.folder.glob("*.npy")))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def parameters(arrays: Arrays) -> list[NDArray[Any]]:
    """Pick the initial parameters, in the order of the layers."""
    count = sum(name.startswith("parameter") for name in arrays)
    return [arrays[f"parameter{i}"] for i in range(count)]


def rotations(arrays: Arrays) -> list[dict[str, NDArray[Any]]]:
    """Split arrays that all rotate into one set of them for each step of the rotation."""
    count = len(next(iter(arrays.values())))
    return [{name: array[i] for name, array in arrays.items()} for i in range(count)]


Opener = Callable[[dict[str, Any], Arrays, dict[str, Any]], Session]


def serve(versions: Mapping[str, str], openers: Mapping[str, Opener]) -> None:
    """Answer the driver until its end of the pipe closes.

    Parameters
    ----------
    versions : mapping
        Name and version of what is measured, for the report.
    openers : mapping
        For each kind of work, the function that opens a session: ``opener(details, arrays, options)``.
    """
    # What a framework prints must not get between the answers: from here on it goes to stderr.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    session: Session | None = None
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        if request["do"] == "describe":
            answer = {"versions": {"Python": platform.python_version(), "NumPy": np.__version__, **versions}}
        elif request["do"] == "open":
            work = request["work"]
            session = openers[work["kind"]](work["details"], SavedArrays(request["arrays"]), request["options"])
        elif request["do"] == "run":
            assert session is not None, "run comes after open"
            seconds, results = session.run(request["first"], request["warm_up"], request["steps"])
            answer = {"seconds": seconds, "results": results}
        elif request["do"] == "close":
            session = None
        elif request["do"] == "memory":
            answer = _memory()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _memory() -> dict[str, float]:
    """Resident memory now, and at its peak since this was last asked, in MB of 10^6 bytes. Linux only."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kilobytes = {name: int(value.split()[0]) for name, _, value in _fields(status) if name in ("VmRSS", "VmHWM")}
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
    return {"resident_mb": kilobytes["VmRSS"] * 1.024e-3, "peak_mb": kilobytes["VmHWM"] * 1.024e-3}


def _fields(status: str) -> list[tuple[str, str, str]]:
    return [line.partition(":") for line in status.splitlines()]
