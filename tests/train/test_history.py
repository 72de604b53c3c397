"""The history as rows, columns, CSV and a picture."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from convkit.train import History

ROWS = [
    {"epoch": 1, "loss": 0.5, "accuracy": 0.75, "val_loss": 0.625, "lr": 0.1, "seconds": 2.0},
    {"epoch": 2, "loss": 0.25, "accuracy": 1.0, "val_loss": 0.375, "lr": 0.05, "seconds": 1.5},
]


def test_rows_and_columns() -> None:
    history = History(ROWS)
    assert len(history) == 2
    assert history[-1] == ROWS[1]
    assert history["val_loss"] == [0.625, 0.375]
    assert list(history) == ROWS
    assert repr(history) == "History(2 epochs: epoch, loss, accuracy, val_loss, lr, seconds)"


def test_a_wrong_column_names_the_right_ones() -> None:
    with pytest.raises(KeyError, match="no 'acc', only epoch, loss, accuracy, val_loss, lr, seconds"):
        History(ROWS)["acc"]
    with pytest.raises(KeyError, match="no 'loss', only no epoch yet"):
        History()["loss"]


def test_csv(tmp_path: Path) -> None:
    History(ROWS).to_csv(tmp_path / "log.csv")
    assert (tmp_path / "log.csv").read_text() == (
        "epoch,loss,accuracy,val_loss,lr,seconds\n1,0.5,0.75,0.625,0.1,2.0\n2,0.25,1.0,0.375,0.05,1.5\n"
    )


def test_curves_are_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    History(ROWS).plot(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_without_matplotlib_the_message_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'needs matplotlib: pip install "convkit\[plot\]"'):
        History(ROWS).plot(tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())
