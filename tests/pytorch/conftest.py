"""Tests against PyTorch, which lives in an environment of its own and answers through files.

They run where that environment's interpreter is named, ``CONVKIT_TORCH_PYTHON=PATH pytest tests/pytorch`` or
``pytest tests/pytorch --torch-python PATH``, and are skipped elsewhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]

# The networks are described once, for these tests and for the benchmarks.
sys.path.insert(0, str(CHECKOUT))

# How many of PyTorch's own samples of an operation (first) went which way (second).
OPINFO_COUNTS = pytest.StashKey[Counter[tuple[str, str]]]()

Named = dict[str, np.ndarray]
Call = tuple[dict[str, Any], Named]  # arguments that JSON can hold, and arrays


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--torch-python", metavar="PATH", help="the interpreter of an environment with PyTorch")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[OPINFO_COUNTS] = Counter()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    counts = terminalreporter.config.stash[OPINFO_COUNTS]
    if counts:
        terminalreporter.section("PyTorch's own samples")
        for name in dict.fromkeys(name for name, _ in counts):
            ways = [f"{number} {what}" for (of, what), number in counts.items() if of == name]
            terminalreporter.write_line(f"{name}: {'; '.join(ways)}")
        total: Counter[str] = Counter()
        for (_, what), number in counts.items():
            total[what.partition(":")[0].partition(",")[0]] += number
        terminalreporter.write_line("all: " + "; ".join(f"{number} {what}" for what, number in total.items()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.torch)


@pytest.fixture(scope="session")
def torch_python(request: pytest.FixtureRequest) -> str:
    """The interpreter that has PyTorch."""
    # pytest knows the option only when this folder is named on the command line.
    python = request.config.getoption("--torch-python", None) or os.environ.get("CONVKIT_TORCH_PYTHON")
    if not python:
        pytest.skip("no environment with PyTorch: set CONVKIT_TORCH_PYTHON")
    return python


@pytest.fixture(scope="session")
def torch_process(torch_python: str) -> Iterator[subprocess.Popen[str]]:
    """One PyTorch process for the session; it waits for requests on its stdin."""
    process = subprocess.Popen(
        [torch_python, HERE / "torch_answers.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"},
        text=True,
    )
    yield process
    process.communicate()


@pytest.fixture
def count_opinfo(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Enter one of PyTorch's own samples into the table that is printed in the end."""
    return lambda name, way: request.config.stash[OPINFO_COUNTS].update([(name, way)])


@pytest.fixture
def ask_torch(torch_process: subprocess.Popen[str], tmp_path: Path) -> Callable[[str, list[Call]], list[Named]]:
    """Ask PyTorch to answer each of the calls with the function of torch_answers.py that `question` names."""

    def ask(question: str, calls: list[Call]) -> list[Named]:
        given = {f"{i}/{name}": array for i, (_, named) in enumerate(calls) for name, array in named.items()}
        np.savez(tmp_path / "given.npz", **given)
        cases = [arguments for arguments, _ in calls]
        request = {"question": question, "cases": cases, "folder": str(tmp_path)}
        assert torch_process.stdin and torch_process.stdout
        torch_process.stdin.write(json.dumps(request) + "\n")
        torch_process.stdin.flush()
        assert torch_process.stdout.readline() == "done\n", "PyTorch failed: its stderr says why"
        answers: list[Named] = [{} for _ in calls]
        with np.load(tmp_path / "answers.npz") as file:
            for key, array in file.items():
                index, name = key.split("/")
                answers[int(index)][name] = array
        return answers

    return ask
