"""Whether each row of the workflow `wheels` makes a wheel for every Python that pyproject.toml names, and for 3.14t.

    python tools/check_workflow.py

Asks cibuildwheel, which is installed beside this (`pip install cibuildwheel`), and builds nothing. The exit status is 1
if a wheel is missing or one too many.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
FREE_THREADED = ["cp314t"]
PLATFORMS = {"manylinux": "linux", "musllinux": "linux", "macosx": "macos", "win": "windows"}


def workflow() -> str:
    return (CHECKOUT / ".github" / "workflows" / "wheels.yml").read_text("utf-8")


def rows() -> list[str]:
    """As the workflow calls them: manylinux_x86_64."""
    return re.findall(r"\bwheels: (\w+) }", workflow())


def wanted(row: str) -> str:
    """What the workflow tells cibuildwheel to build for this row."""
    [pattern] = re.findall(r'CIBW_BUILD: "(.*)"', workflow())
    return pattern.replace("${{ matrix.wheels }}", row)


def pythons() -> list[str]:
    """As tags of wheels: cp310."""
    text = (CHECKOUT / "pyproject.toml").read_text("utf-8")
    return [f"cp3{minor}" for minor in re.findall(r"Programming Language :: Python :: 3\.(\d+)", text)]


def identifiers(row: str) -> list[str]:
    system, architecture = row.split("_", 1)
    if system == "win":
        architecture = architecture.upper()
    options = ["--print-build-identifiers", "--platform", PLATFORMS[system], "--archs", architecture]
    run = subprocess.run(
        [sys.executable, "-m", "cibuildwheel", *options, str(CHECKOUT)],
        env=os.environ | {"CIBW_BUILD": wanted(row)},
        capture_output=True,
        text=True,
    )
    if run.returncode != 0:
        raise SystemExit(f"{row}: {run.stderr}")
    return run.stdout.split()


def main() -> int:
    wrong = 0
    for row in rows():
        found = identifiers(row)
        as_wanted = found == [f"{python}-{row}" for python in [*pythons(), *FREE_THREADED]]
        print(f"{row}: {' '.join(found) or 'nothing'}{'' if as_wanted else '  WRONG'}")
        wrong += not as_wanted
    return 1 if wrong or not rows() or not pythons() else 0


if __name__ == "__main__":
    sys.exit(main())
