"""What a run shows: lines in a pipe, a bar on a terminal, nothing when asked."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from typing import Any

import pytest

import convkit as ck
from convkit import data, nn, optim
from convkit.train import progress

Make = Callable[[], nn.Module]


def run(model: nn.Module, train_set: data.Dataset, verbose: int) -> None:
    trainer = ck.Trainer(model, nn.CrossEntropyLoss(), optim.Adam(), metrics=["accuracy"])
    trainer.fit(train_set, train_set, epochs=2, batch_size=32, verbose=verbose)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


LINE = (
    r"epoch {}/2  loss \d\.\d{{4}}  accuracy \d\.\d{{4}}  val_loss \d\.\d{{4}}  val_accuracy \d\.\d{{4}}"
    r"  lr 0\.001  \d+\.\d s"
)


def assert_lines(text: str) -> None:
    lines = text.splitlines()
    assert len(lines) == 2, text
    for number, line in enumerate(lines, start=1):
        assert re.fullmatch(LINE.format(number), line), line


@pytest.mark.parametrize("verbose", [1, 2])
def test_lines_in_a_pipe(
    make_model: Make, train_set: data.Dataset, capsys: pytest.CaptureFixture[str], verbose: int
) -> None:
    run(make_model(), train_set, verbose)
    out, err = capsys.readouterr()
    assert_lines(out)
    assert err == ""


def test_silence_when_asked(make_model: Make, train_set: data.Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    run(make_model(), train_set, 0)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(make_model: Make, train_set: data.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(progress, "REDRAW_EVERY", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    run(make_model(), train_set, 1)
    shown = terminal.getvalue()
    assert "epoch 1/2" in shown and "validating" in shown
    assert re.search(r"[\d,]+ samples/s", shown)
    assert re.search(r"loss \d\.\d{4}  accuracy \d\.\d{4}", shown)
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", shown)
    summaries = re.findall(r"epoch \d/2  loss .*  \d+\.\d s", plain)
    assert_lines("\n".join(summaries))
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")  # the cursor is shown again


@pytest.mark.parametrize(("terminal", "term"), [(False, "xterm"), (True, "dumb")])
def test_no_bar_where_it_would_be_garbage(monkeypatch: pytest.MonkeyPatch, terminal: bool, term: str) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal() if terminal else io.StringIO())
    monkeypatch.setenv("TERM", term)
    assert type(progress.reporter(1)) is progress.Lines


def test_the_bar_is_taken_away_when_training_fails(
    make_model: Make, train_set: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(ck.train.Callback):
        def on_batch_end(self, trainer: Any, loss: float) -> None:
            raise RuntimeError("own trouble")

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    trainer = ck.Trainer(make_model(), nn.CrossEntropyLoss(), optim.Adam())
    with pytest.raises(RuntimeError, match="own trouble"):
        trainer.fit(train_set, epochs=1, callbacks=[Failing()])
    shown = terminal.getvalue()
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") > 0
