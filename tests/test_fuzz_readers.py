"""Some damaged files for every reader, each reader in a process of its own; `fuzz_readers` tells more."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

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
    child = [sys.executable, "-c", textwrap.dedent(script)]
    here = Path(fuzz_readers.__file__).parent
    done = subprocess.run(child, cwd=here, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["inputs"] == 100
    assert {"NOT DOCUMENTED: IndexError", "opened another file", "read"} == set(found["outcomes"])
    assert any(fault.startswith("opened ") and fault.endswith("/secret") for fault in found["faults"])
