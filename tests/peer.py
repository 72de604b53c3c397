"""Another library beside convkit in one process: an interpreter that has it runs scenarios, and answers by name.

A scenario is a function of a script that ends with ``serve(function, …)``; tests call it through a `Peer`. So nothing
of the other library is imported by the tests themselves. Requests and answers are lines of JSON.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
VERSION = "import sys; print(*sys.version_info[:2])"


class Peer:
    """A process that runs the scenarios of a script."""

    def __init__(self, python: str, script: Path) -> None:
        import convkit

        path = os.pathsep.join(map(str, [Path(convkit.__file__).parents[1], HERE]))
        settings = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            [python, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | settings, text=True
        )

    def __call__(self, scenario: str, **arguments: Any) -> Any:
        """What the scenario returned; what it raised is an AssertionError with its traceback."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([scenario, arguments]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process ended: its stderr says why"
        failure, result = json.loads(line)
        assert failure is None, f"{scenario} failed there:\n{failure}"
        return result

    def close(self) -> None:
        """Let the process end."""
        self._process.communicate()


def fits(python: str) -> bool:
    """Whether native code built for this interpreter can be loaded by that one."""
    version = subprocess.run([python, "-c", VERSION], capture_output=True, text=True, check=True).stdout
    return version.split() == [str(number) for number in sys.version_info[:2]]


def example(page: Path, word: str) -> str:
    """The block of Python on a page that has this word in it."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    [block] = [block for block in blocks if word in block]
    return block


def run(code: str) -> None:
    """A scenario of any script: code that must not raise."""
    exec(code, {})


def serve(*scenarios: Callable[..., Any]) -> None:
    """Run the scenarios that are asked for on stdin, in the process of a `Peer`."""
    functions = {function.__name__: function for function in (*scenarios, run)}
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print is no answer
    for line in sys.stdin:
        scenario, arguments = json.loads(line)
        try:
            answer = [None, functions[scenario](**arguments)]
        except Exception:
            answer = [traceback.format_exc(), None]
        print(json.dumps(answer), file=answers, flush=True)
