"""What the driver and a side say to each other: one JSON object a line, over the side's stdin and stdout.

=====================================================================  ======================================
the driver asks                                                        the side answers
=====================================================================  ======================================
``{"do": "describe"}``                                                 ``{"versions": {name: version}}``
``{"do": "open", "work": {…}, "arrays": PATH, "options": {…}}``        ``{}``
``{"do": "run", "warm_up": n, "steps": k}``                            ``{"seconds": […], "results": […]}``
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
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Session(Protocol):
    """A work made ready in one framework."""

    def reset(self) -> None:
        """Go back to the state in which the session was opened."""

    def step(self, index: int) -> Any:
        """Do the work once, on the batch with this index (they rotate), and return its finished result."""


class Arrays:
    """The arrays of a work, the same on every side: batches that rotate, and the initial parameters."""

    def __init__(self, path: str) -> None:
        with np.load(path) as file:
            self.images: NDArray[Any] = file["images"]
            self.labels: NDArray[Any] = file["labels"]
            self.parameters = [file[f"parameter{i}"] for i in range(len(file.files) - 2)]

    @staticmethod
    def save(path: str, images: NDArray[Any], labels: NDArray[Any], parameters: list[NDArray[Any]]) -> None:
        named: dict[str, Any] = {f"parameter{i}": values for i, values in enumerate(parameters)}
        np.savez(path, images=images, labels=labels, **named)


Opener = Callable[[dict[str, Any], Arrays, dict[str, Any]], Session]


def serve(versions: Mapping[str, str], openers: Mapping[str, Opener]) -> None:
    """Answer the driver until its end of the pipe closes.

    Parameters
    ----------
    versions : mapping
        Name and version of what is measured, for the report.
    openers : mapping
        For each kind of work, the function that opens a session: ``opener(work, arrays, options)``.
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
            session = None  # frees the last work's memory before the next one takes its own
            work = request["work"]
            session = openers[work["kind"]](work, Arrays(request["arrays"]), request["options"])
        elif request["do"] == "run":
            assert session is not None, "run comes after open"
            answer = _run(session, request["warm_up"], request["steps"])
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _run(session: Session, warm_up: int, steps: int) -> dict[str, Any]:
    session.reset()
    for index in range(warm_up):
        session.step(index)
    seconds, results = [], []
    for index in range(warm_up, warm_up + steps):
        start = perf_counter()
        result = session.step(index)
        seconds.append(perf_counter() - start)
        results.append(np.asarray(result).tolist())
    return {"seconds": seconds, "results": results}
