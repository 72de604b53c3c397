"""Each script of examples/claims runs from the sample alone and writes a figure and a table of finite numbers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "claims"
SCRIPTS = [path for path in sorted(FOLDER.glob("*.py")) if path.name != "common.py"]
NUMBER = re.compile(r"\d")
NOT_FINITE = re.compile(r"\b(nan|inf)\b", re.IGNORECASE)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_quick_run_writes_figure_and_table(script: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(script), "--quick", "--out", str(tmp_path), "--threads", "1"]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-4000:]
    header, rule, *lines = (tmp_path / f"{script.stem}.md").read_text(encoding="utf-8").splitlines()
    rows = lines[: lines.index("")]
    assert rows and all(row.count("|") == header.count("|") == rule.count("|") for row in rows)
    for row in rows:
        _, name, *cells, _ = (cell.strip() for cell in row.split("|"))
        assert name and any(NUMBER.search(cell) for cell in cells), row
        assert not NOT_FINITE.search(row), row
    assert (tmp_path / f"{script.stem}.png").read_bytes().startswith(b"\x89PNG")
