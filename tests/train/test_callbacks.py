"""The callbacks that come with the package, told of epochs by hand; the trainer's tests use them."""

from __future__ import annotations

import math
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from convkit import nn
from convkit.train import BestCheckpoint, CSVLog, EarlyStopping, History, load


class Run(SimpleNamespace):
    """What callbacks see of a trainer, moved on by hand."""

    def __init__(self, model: Any = None) -> None:
        super().__init__(model=model, history=History(), stopped=False)

    def stop(self) -> None:
        self.stopped = True

    def averaged(self) -> Any:
        return nullcontext()

    def epoch_end(self, callback: Any, **figures: float) -> None:
        self.history.rows.append(figures)
        callback.on_epoch_end(self, figures)


def test_early_stopping_waits_for_patience() -> None:
    callback, run = EarlyStopping("val_loss", patience=2), Run()
    stopped = []
    for loss in (1.0, 0.5, 0.6, 0.4, 0.4, 0.5):
        run.epoch_end(callback, val_loss=loss)
        stopped.append(run.stopped)
    assert stopped == [False, False, False, False, False, True]
    assert callback.best == 0.4


def test_accuracy_is_better_when_higher_and_the_mode_can_be_said() -> None:
    rising, falling, run = EarlyStopping("accuracy"), EarlyStopping("accuracy", mode="min"), Run()
    for accuracy in (0.5, 0.7, 0.6):
        run.epoch_end(rising, accuracy=accuracy)
        run.epoch_end(falling, accuracy=accuracy)
    assert (rising.best, rising.waited) == (0.7, 1)
    assert (falling.best, falling.waited) == (0.5, 2)


def test_min_delta_must_be_exceeded() -> None:
    callback, run = EarlyStopping("loss", min_delta=0.25), Run()
    for loss in (1.0, 0.75, 0.625):
        run.epoch_end(callback, loss=loss)
    assert callback.best == 0.625
    assert callback.waited == 0


def test_an_undefined_figure_is_never_an_improvement() -> None:
    callback, run = EarlyStopping("loss", patience=3), Run()
    for loss in (math.nan, 1.0, math.nan):
        run.epoch_end(callback, loss=loss)
    assert (callback.best, callback.waited) == (1.0, 1)


def test_a_new_run_begins_anew_and_a_resumed_one_does_not() -> None:
    callback, run = EarlyStopping("loss"), Run()
    for _ in range(3):
        run.epoch_end(callback, loss=1.0)
    callback.on_fit_begin(run)
    assert (callback.best, callback.waited) == (1.0, 2)
    callback.on_fit_begin(Run())
    assert (callback.best, callback.waited) == (None, 0)


def test_a_run_that_has_waited_enough_is_ended_as_it_begins_again() -> None:
    patient, impatient, run = EarlyStopping("loss", patience=3), EarlyStopping("loss", patience=2), Run()
    run.history.rows.append({"loss": 1.0})
    for callback, stops in ((patient, False), (impatient, True)):
        callback.load_state_dict({"best": 1.0, "waited": 2})
        callback.on_fit_begin(run)
        assert run.stopped == stops


def test_state_goes_round() -> None:
    callback, run = EarlyStopping("loss"), Run()
    for _ in range(3):
        run.epoch_end(callback, loss=1.0)
    other = EarlyStopping("loss")
    other.load_state_dict(callback.state_dict())
    assert (other.best, other.waited) == (1.0, 2)


def test_best_checkpoint_holds_the_best_weights(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    callback, run = BestCheckpoint(tmp_path / "best.safetensors", "val_accuracy"), Run(model)
    for accuracy in (0.5, 0.9, 0.7):
        model.parameters()["0.bias"].assign(np.full(2, accuracy))
        run.epoch_end(callback, val_accuracy=accuracy)
    load(model, tmp_path / "best.safetensors")
    np.testing.assert_array_equal(model.state_dict()["0.bias"], np.full(2, 0.9, np.float32))


def test_the_csv_log_is_whole_after_each_epoch(tmp_path: Path) -> None:
    callback, run = CSVLog(tmp_path / "log.csv"), Run()
    run.epoch_end(callback, epoch=1, loss=0.5)
    assert (tmp_path / "log.csv").read_text() == "epoch,loss\n1,0.5\n"
    run.epoch_end(callback, epoch=2, loss=0.25)
    assert (tmp_path / "log.csv").read_text() == "epoch,loss\n1,0.5\n2,0.25\n"


@pytest.mark.parametrize("make", [EarlyStopping, lambda monitor: BestCheckpoint("x", monitor)])
def test_a_figure_that_is_not_measured_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"monitor must be one of loss, not 'accuracy'$"):
        Run().epoch_end(make("accuracy"), loss=1.0)
    with pytest.raises(ValueError, match=r"not 'val_loss' \(fit was given no validation data\)"):
        Run().epoch_end(make("val_loss"), loss=1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": 0}, "EarlyStopping: patience must be at least 1, not 0"),
        ({"min_delta": -1}, "EarlyStopping: min_delta must be a number >= 0, not -1"),
        ({"mode": "up"}, "EarlyStopping: mode must be 'min', 'max' or None, not 'up'"),
    ],
)
def test_bad_values_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EarlyStopping(**options)
