"""Some damaged files for every reader, each reader in a process of its own; `fuzz_readers` tells more."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fuzz_readers

INPUTS = 150


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by a facility of Linux")
@pytest.mark.parametrize("name", fuzz_readers.READERS)
def test_only_documented_errors_come_of_damaged_files(name: str, run_apart: Callable[..., None]) -> None:
    script = (
        f"import fuzz_readers; done = fuzz_readers.run({name!r}, 0, inputs={INPUTS}); assert not done['faults'], done"
    )
    run_apart(script, gigabytes=64)


def found_by(script: str) -> dict[str, Any]:
    """What a script prints as JSON."""
    child = [sys.executable, "-c", textwrap.dedent(script)]
    here = Path(fuzz_readers.__file__).parent
    done = subprocess.run(child, cwd=here, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.skipif(sys.platform == "win32", reason="time is limited by a signal of POSIX")
def test_a_fault_is_found_and_counted() -> None:
    """A reader that raises what it does not document, and one that opens a file elsewhere."""
    script = """
        import json, sys, fuzz_readers as f
        def careless(path):
            content = path.read_bytes()
            if len(content) % 2:
                open(path.parent.parent / "secret").close()
            return content[190]
        def cut(content, rng):
            return content[: rng.integers(150, 201)]
        f.READERS["idx"] = lambda folder, thorough: f.Reader([bytes(200)], cut, careless, ())
        print(json.dumps(f.run("idx", 0, inputs=100)))
    """
    found = found_by(script)
    assert found["inputs"] == 100
    assert {"NOT DOCUMENTED: IndexError", "opened another file", "read"} == set(found["outcomes"])
    assert any(fault.startswith("opened ") and fault.endswith("/secret") for fault in found["faults"])


def test_a_reader_that_refuses_everything_is_found() -> None:
    script = """
        import json, fuzz_readers as f
        def refuse(path):
            raise ValueError("refuse: " + str(path))
        files = [bytes(9), bytes(8)]
        change = lambda content, rng: f.bytes_changed(content, content, rng)
        f.READERS["idx"] = lambda folder, thorough: f.Reader(files, change, refuse, (ValueError,), files)
        print(json.dumps(f.run("idx", 0, inputs=20)))
    """
    assert set(found_by(script)["faults"]) == {
        "seed 0 is refused",
        "seed 1 is refused",
        "all other seeds are refused",
        "none of the inputs was read",
    }
