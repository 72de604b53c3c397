"""The same tests at every lower instruction-set level that this machine has.

The level is chosen once, when the library is imported, so each level is a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from convkit._kernels import core
from interpreter import PATIENCE

HERE = Path(__file__).parent
DEFAULT_GEOMETRIES = 8  # at each lower level, unless --geometries says more
SAME_AT_ANY_LEVEL = {f"test_functional_{name}.py" for name in ("arrays", "errors", "oracles", "threads")}


def lower_levels() -> list[str]:
    return [] if os.environ.get("CONVKIT_ISA") else core.isa_available()[:-1]


def test_the_level_is_the_one_asked_for() -> None:
    assert core.isa_chosen() == (os.environ.get("CONVKIT_ISA") or core.isa_available()[-1])


@pytest.mark.parametrize("level", lower_levels())
def test_all_functions_at_a_lower_level(level: str, pytestconfig: pytest.Config) -> None:
    files = sorted(path for path in HERE.glob("test_functional_*.py") if path.name not in SAME_AT_ANY_LEVEL)
    geometries = f"--geometries={pytestconfig.getoption('geometries') or DEFAULT_GEOMETRIES}"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", geometries, *map(str, files)],
        env=os.environ | {"CONVKIT_ISA": level},
        capture_output=True,
        text=True,
        timeout=1200 * PATIENCE,
    )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]


def test_an_unknown_level_is_refused() -> None:
    run = subprocess.run(
        [sys.executable, "-c", "import convkit"],
        env=os.environ | {"CONVKIT_ISA": "avx1024"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode != 0
    assert "CONVKIT_ISA is 'avx1024'" in run.stderr and "baseline" in run.stderr
