"""Every page of the guide runs to its end, as a script in a process of its own, and its checks hold."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from interpreter import PATIENCE

# What a page would print in the gallery.  That a picture cannot be shown is no fault of the page.
WARNINGS = ("error::UserWarning", "error::RuntimeWarning", "ignore:FigureCanvasAgg is non-interactive:UserWarning")

PAGES = sorted((Path(__file__).parents[1] / "examples" / "guide").glob("[0-9]*.py"))


def test_there_are_pages() -> None:
    assert len(PAGES) >= 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_runs(page: Path, tmp_path: Path) -> None:
    """Without a warning, and leaving nothing behind."""
    pytest.importorskip("matplotlib")
    search = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "PYTHONPATH": search}
    done = subprocess.run(
        [sys.executable, *(f"-W{warning}" for warning in WARNINGS), str(page)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60 * PATIENCE,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert not list(tmp_path.iterdir()), "a page must not write files"
