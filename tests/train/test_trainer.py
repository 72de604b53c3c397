"""The trainer on a problem that can be learnt: figures, hooks, data, Ctrl-C, and resuming to the bit."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import data, nn, optim
from convkit.train import BestCheckpoint, Callback, EarlyStopping, History

Make = Callable[[], nn.Sequential]


def new_trainer(model: nn.Module, optimizer: optim.Optimizer | None = None, **options: Any) -> ck.Trainer:
    optimizer = optimizer or optim.Adam(1e-2)
    return ck.Trainer(model, loss=nn.CrossEntropyLoss(), optimizer=optimizer, metrics=["accuracy"], **options)


def assert_same_bits(one: nn.Module, other: nn.Module) -> None:
    expected = other.state_dict()
    assert expected
    for name, values in one.state_dict().items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)


def without_seconds(history: History) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


# --- learning and measuring ---


def test_learns_and_reports(make_model: Make, train_set: data.Dataset, test_set: data.Dataset) -> None:
    trainer = new_trainer(make_model())
    before = trainer.evaluate(test_set)
    history = trainer.fit(train_set, validation=test_set, epochs=8, batch_size=32, verbose=0)
    assert history.columns == ["epoch", "loss", "accuracy", "val_loss", "val_accuracy", "lr", "seconds"]
    assert history["epoch"] == list(range(1, 9))
    assert history["lr"] == [1e-2] * 8
    assert history["val_accuracy"][-1] >= 0.9 > before["accuracy"]
    assert history["loss"][-1] < history["loss"][0]
    after = trainer.evaluate(test_set)
    assert after["accuracy"] == history["val_accuracy"][-1]
    assert after["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-5)
    assert trainer.model.classes == ["top", "middle", "bottom"]


def test_means_weigh_samples_not_batches(train_set: data.Dataset, test_set: data.Dataset) -> None:
    """At rate 0 and without dropout, each epoch's means are those of the whole set."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    trainer = new_trainer(model, optim.SGD(0.0))
    validation = test_set[:70]
    history = trainer.fit(train_set, validation, epochs=2, batch_size=64, verbose=0)
    whole, held_out = trainer.evaluate(train_set, batch_size=150), trainer.evaluate(validation)
    for row in history:
        assert row["accuracy"] == whole["accuracy"]
        assert row["val_accuracy"] == held_out["accuracy"]
        assert row["loss"] == pytest.approx(whole["loss"], rel=1e-5)
        assert row["val_loss"] == pytest.approx(held_out["loss"], rel=1e-5)


def test_each_epochs_loss_is_the_mean_of_its_own_batches(make_model: Make, train_set: data.Dataset) -> None:
    losses: list[float] = []

    class Watch(Callback):
        def on_batch_end(self, trainer: ck.Trainer, loss: float) -> None:
            losses.append(loss)

    trainer = new_trainer(make_model())
    history = trainer.fit(train_set, epochs=2, batch_size=100, callbacks=[Watch()], verbose=0)
    expected = [(100 * losses[0] + 50 * losses[1]) / 150, (100 * losses[2] + 50 * losses[3]) / 150]
    assert history["loss"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("metric", ["accuracy", "top2"])
def test_ignored_labels_do_not_count_whatever_the_batch_size(
    make_model: Make, test_set: data.Dataset, metric: str
) -> None:
    x, labels = test_set.images, test_set.labels.copy()
    labels[5:40] = -100
    counts = labels >= 0
    loss = nn.CrossEntropyLoss(ignore_index=-100)
    trainer = ck.Trainer(without_dropout(make_model()), loss, optim.SGD(0.0), metrics=[metric])
    expected = trainer.evaluate((x[counts], labels[counts]))
    for batch_size in (1, 7, 60):
        assert trainer.evaluate((x, labels), batch_size) == pytest.approx(expected, rel=1e-5)
    history = trainer.fit((x, labels), epochs=1, batch_size=7, verbose=0)
    assert history["loss"] + history[metric] == pytest.approx(list(expected.values()), rel=1e-5)
    with pytest.raises(ValueError, match=r"evaluate: data has no batches, or no label that counts"):
        trainer.evaluate((x[5:40], labels[5:40]))


def test_the_classes_are_those_of_the_last_data_set(make_model: Make, train_set: data.Dataset) -> None:
    trainer = new_trainer(make_model())
    trainer.model.classes = ["left", "right"]
    trainer.fit(train_set, epochs=1, verbose=0)
    assert trainer.model.classes == ["top", "middle", "bottom"]
    trainer.fit((train_set.images, train_set.labels), epochs=1, verbose=0)
    assert trainer.model.classes == ["top", "middle", "bottom"]


def test_predict_is_the_model_in_pieces(make_model: Make, test_set: data.Dataset) -> None:
    trainer = new_trainer(make_model())
    expected = trainer.model(test_set.images)
    np.testing.assert_allclose(trainer.predict(test_set, batch_size=7), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(trainer.predict(test_set.images), expected, rtol=1e-5, atol=1e-6)
    assert trainer.predict(test_set.images[:0]).shape == (0, 3)


def test_a_fit_begins_with_the_optimiser_as_new(make_model: Make, train_set: data.Dataset) -> None:
    once, twice = new_trainer(make_model()), new_trainer(make_model())
    first_weights = once.model.state_dict()
    once.fit(train_set, epochs=1, batch_size=32, verbose=0)
    twice.fit(train_set, epochs=2, batch_size=32, verbose=0)
    twice.model.load_state_dict(first_weights)
    twice.fit(train_set, epochs=1, batch_size=32, verbose=0)
    assert_same_bits(once.model, twice.model)


def test_schedules_in_epochs_know_their_length(make_model: Make, train_set: data.Dataset) -> None:
    trainer = new_trainer(make_model(), optim.SGD(optim.Step(0.1, 0.5, epochs=1)))
    history = trainer.fit(train_set, epochs=3, batch_size=32, verbose=0)
    assert history["lr"] == [0.1, 0.05, 0.025]


def test_accumulated_batches_are_one_update(make_model: Make, train_set: data.Dataset) -> None:
    rates = []

    def schedule(index: int) -> float:
        rates.append(index)
        return 0.1

    trainer = new_trainer(make_model(), optim.SGD(schedule), accumulate=2)
    trainer.fit(train_set[:128], epochs=2, batch_size=32, verbose=0)
    assert max(rates) == 3  # eight batches, four updates


def test_a_schedule_in_epochs_counts_updates_not_batches(make_model: Make, train_set: data.Dataset) -> None:
    trainer = new_trainer(make_model(), optim.SGD(optim.Step(0.1, 0.5, epochs=1)), accumulate=2)
    history = trainer.fit(train_set[:128], epochs=3, batch_size=32, verbose=0)
    assert history["lr"] == [0.1, 0.05, 0.025]


# --- sources of data ---


def test_pairs_datasets_and_batches_train_alike(make_model: Make, train_set: data.Dataset) -> None:
    sources = {
        "dataset": train_set,
        "pair": (train_set.images, train_set.labels),
        "batches": data.Batches(train_set, 32, seed=3),
    }
    models = {}
    for name, source in sources.items():
        trainer = new_trainer(make_model())
        trainer.fit(source, epochs=2, batch_size=32, seed=3, verbose=0)
        models[name] = trainer.model
    assert_same_bits(models["pair"], models["dataset"])
    assert_same_bits(models["batches"], models["dataset"])


def test_a_list_of_batches_keeps_its_order(make_model: Make, train_set: data.Dataset) -> None:
    batches = list(data.Batches(train_set, 32, shuffle=False).epoch(0))
    seen = []

    class Watch(Callback):
        def on_batch_end(self, trainer: ck.Trainer, loss: float) -> None:
            seen.append((trainer.epoch, trainer.batch))

    new_trainer(make_model()).fit(batches, epochs=2, callbacks=[Watch()], verbose=0)
    assert seen == list(itertools.product((0, 1), (1, 2, 3, 4, 5)))


@pytest.mark.parametrize("decides_about", ["order", "dropout"])
def test_the_seed_decides(make_model: Make, train_set: data.Dataset, decides_about: str) -> None:
    in_order = list(data.Batches(train_set, 32, shuffle=False).epoch(0))
    losses = []
    for seed in (0, 1, 0):
        model = make_model() if decides_about == "dropout" else without_dropout(make_model())
        source = in_order if decides_about == "dropout" else train_set
        history = new_trainer(model).fit(source, epochs=1, batch_size=32, seed=seed, verbose=0)
        losses.append(history[-1]["loss"])
    assert losses[0] == losses[2] != losses[1]


def without_dropout(model: nn.Sequential) -> nn.Sequential:
    return nn.Sequential(*(layer for layer in model.children().values() if not isinstance(layer, nn.Dropout)))


def test_a_generator_is_refused_when_it_is_used_up(make_model: Make, train_set: data.Dataset) -> None:
    generator = data.Batches(train_set, 32).epoch(0)
    with pytest.raises(ValueError, match=r"fit: epoch 2 has no batches; .*a list, not a generator"):
        new_trainer(make_model()).fit(generator, epochs=2, verbose=0)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (3, TypeError, r"fit: data must be a Dataset, a pair \(x, y\) of arrays or an iterable.*not int"),
        ([np.zeros((2, 1, 8, 8))], TypeError, r"fit: a batch must be \(x, \*targets\), not ndarray"),
        ((np.zeros((2, 1, 8, 8)), np.zeros(3, int)), ValueError, r"equally many samples"),
        ([], ValueError, r"fit: epoch 1 has no batches"),
    ],
)
def test_other_data_is_refused(make_model: Make, source: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        new_trainer(make_model()).fit(source, epochs=1, verbose=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, r"fit: epochs must be at least 1, not 0"),
        ({"epochs": 1, "batch_size": 0}, r"batch_size must be at least 1, not 0"),
        ({"epochs": 1, "verbose": 5}, r"fit: verbose must be 0 \(silent\)"),
        ({"epochs": 1, "seed": -1}, r"seed must be at least 0, not -1"),
        ({"epochs": 1, "seed": 2**63}, r"fit: seed must be at most 9223372036854775807, not 9223372036854775808"),
    ],
)
def test_bad_numbers_are_refused(
    make_model: Make, train_set: data.Dataset, options: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        new_trainer(make_model()).fit(train_set, **options)


def test_a_group_that_matches_nothing_is_refused(make_model: Make, train_set: data.Dataset) -> None:
    optimizer = optim.Adam(groups=[optim.ParamGroup("*.biass")])
    with pytest.raises(ValueError, match=r"biass.* matches no parameter"):
        new_trainer(make_model(), optimizer).fit(train_set, epochs=1, verbose=0)


def test_targets_of_another_dtype_are_converted_alike_in_training_and_validation() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 5))
    y = x @ rng.standard_normal((5, 2))
    model = nn.Sequential(nn.Linear(5, 2))
    trainer = ck.Trainer(model, nn.MSELoss(), optim.Adam(0.05))
    history = trainer.fit((x, y), validation=(x, y), epochs=30, batch_size=16, verbose=0)
    assert history["val_loss"][-1] < 0.01 < history["val_loss"][0]
    assert model.dtype == np.float32


class TwoIn(nn.Module):
    """Sums two inputs, and tells both of its thoughts."""

    def __init__(self) -> None:
        self.one, self.two = nn.Linear(4, 3), nn.Linear(2, 3)

    def forward(self, a: Any, b: Any) -> Any:
        total = self.one(a) + self.two(b)
        return total, self.one(a)


def test_models_of_several_inputs_and_outputs() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((90, 4)), rng.standard_normal((90, 2))
    labels = np.argmax(np.c_[a[:, 0], b], axis=1)
    batches = [((a[i : i + 30], b[i : i + 30]), labels[i : i + 30]) for i in (0, 30, 60)]
    cross_entropy = nn.CrossEntropyLoss()

    def loss(outputs: Any, targets: Any) -> Any:
        return cross_entropy(outputs[0], targets) + 0.1 * cross_entropy(outputs[1], targets)

    trainer = ck.Trainer(TwoIn(), loss, optim.Adam(0.05), metrics=["accuracy"])
    history = trainer.fit(batches, validation=batches, epochs=30, seed=2**63 - 1, verbose=0)
    assert history["val_accuracy"][-1] > 0.9
    for part, whole in zip(trainer.predict((a, b), batch_size=40), trainer.model(a, b), strict=True):
        np.testing.assert_allclose(part, whole, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"predict: x must be arrays of one length, not of \[90, 80\]"):
        trainer.predict((a, b[:80]))
    assert history["accuracy"][-1] == pytest.approx(history["val_accuracy"][-1], abs=0.05)


# --- callbacks ---


class Recorder(Callback):
    """Writes down which hooks were called, and where."""

    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name

    def on_fit_begin(self, trainer: ck.Trainer) -> None:
        self.log.append(f"{self.name} fit begins")

    def on_epoch_begin(self, trainer: ck.Trainer) -> None:
        self.log.append(f"{self.name} epoch begins at {trainer.epoch}")

    def on_batch_end(self, trainer: ck.Trainer, loss: float) -> None:
        assert loss > 0
        self.log.append(f"{self.name} batch {trainer.batch}")

    def on_epoch_end(self, trainer: ck.Trainer, row: dict[str, float]) -> None:
        assert row is trainer.history[-1] and "val_loss" in row
        self.log.append(f"{self.name} epoch ends at {trainer.epoch}")

    def on_fit_end(self, trainer: ck.Trainer) -> None:
        self.log.append(f"{self.name} fit ends")


def test_hooks_come_in_order(make_model: Make, train_set: data.Dataset, test_set: data.Dataset) -> None:
    log: list[str] = []
    callbacks = [Recorder(log, "a"), Recorder(log, "b")]
    new_trainer(make_model()).fit(train_set, test_set, epochs=2, batch_size=100, callbacks=callbacks, verbose=0)
    events = ["fit begins"]
    for epoch in (0, 1):
        events += [f"epoch begins at {epoch}", "batch 1", "batch 2", f"epoch ends at {epoch + 1}"]
    events += ["fit ends"]
    assert log == [f"{name} {event}" for event in events for name in "ab"]


def test_stop_ends_the_run_after_the_epoch(make_model: Make, train_set: data.Dataset) -> None:
    class StopAtOnce(Callback):
        def on_batch_end(self, trainer: ck.Trainer, loss: float) -> None:
            trainer.stop()

    trainer = new_trainer(make_model())
    history = trainer.fit(train_set, epochs=5, batch_size=32, callbacks=[StopAtOnce()], verbose=0)
    assert (len(history), trainer.epoch, trainer.batch) == (1, 1, 0)
    assert not history.interrupted


# --- Ctrl-C ---


class StopAt(Callback):
    """Ends the run in the middle of an epoch, as Ctrl-C would."""

    def __init__(self, epoch: int, batch: int, how: Callable[[], None]) -> None:
        self.place, self.how = (epoch, batch), how

    def on_batch_end(self, trainer: ck.Trainer, loss: float) -> None:
        if (trainer.epoch, trainer.batch) == self.place:
            self.how()


def raise_interrupt() -> None:
    raise KeyboardInterrupt


def press_control_c() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("how", [raise_interrupt, press_control_c])
def test_an_interrupted_run_keeps_what_it_has_and_says_where(
    make_model: Make, train_set: data.Dataset, capsys: pytest.CaptureFixture[str], how: Callable[[], None]
) -> None:
    trainer = new_trainer(make_model())
    first = trainer.model.state_dict()
    history = trainer.fit(train_set, epochs=3, batch_size=32, callbacks=[StopAt(1, 2, how)])
    assert history.interrupted
    assert (len(history), trainer.epoch, trainer.batch) == (1, 1, 2)
    last = trainer.model.state_dict()
    assert any((first[name] != last[name]).any() for name in first)
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "stopped in epoch 2 of 3, after 2 of 5 batches; the model keeps what it has learnt"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_control_c_waits_for_the_batch_and_a_second_one_does_not(make_model: Make, train_set: data.Dataset) -> None:
    def press_once() -> None:
        press_control_c()
        finished.append("first")

    def press_twice() -> None:
        press_control_c()
        press_control_c()
        finished.append("second")

    finished: list[str] = []
    trainer = new_trainer(make_model())
    trainer.fit(train_set, epochs=1, batch_size=32, callbacks=[StopAt(0, 1, press_once)], verbose=0)
    assert finished == ["first"]
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(train_set, epochs=1, batch_size=32, callbacks=[StopAt(0, 1, press_twice)], verbose=0)
    assert finished == ["first"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_control_c_at_the_end_of_the_last_epoch_changes_nothing(make_model: Make, train_set: data.Dataset) -> None:
    class PressAt(Callback):
        def on_epoch_end(self, trainer: ck.Trainer, row: dict[str, float]) -> None:
            if trainer.epoch == 2:
                press_control_c()

    complete = new_trainer(make_model()).fit(train_set, epochs=2, callbacks=[PressAt()], verbose=0)
    assert (len(complete), complete.interrupted) == (2, False)
    broken = new_trainer(make_model()).fit(train_set, epochs=3, callbacks=[PressAt()], verbose=0)
    assert (len(broken), broken.interrupted) == (2, True)


def test_control_c_after_the_run_is_not_lost(make_model: Make, train_set: data.Dataset) -> None:
    class PressAtEnd(Callback):
        def on_fit_end(self, trainer: ck.Trainer) -> None:
            press_control_c()

    with pytest.raises(KeyboardInterrupt):
        new_trainer(make_model()).fit(train_set, epochs=1, callbacks=[PressAtEnd()], verbose=0)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# --- resuming ---


def whole_run(make_model: Make, train_set: data.Dataset, test_set: data.Dataset) -> ck.Trainer:
    trainer = run_trainer(make_model)
    trainer.fit(train_set, test_set, epochs=4, batch_size=32, seed=9, verbose=0)
    return trainer


def run_trainer(make_model: Make) -> ck.Trainer:
    """A trainer whose run depends on all that a checkpoint holds: slots, count, schedule, dropout, order."""
    schedule = optim.WarmUp(optim.Cosine(1e-2, epochs=4), steps=3)
    return new_trainer(make_model(), optim.AdamW(schedule))


def test_stopped_after_epoch_two_of_four_and_resumed_gives_the_same_bits(
    make_model: Make, train_set: data.Dataset, test_set: data.Dataset, tmp_path: Path
) -> None:
    unbroken = whole_run(make_model, train_set, test_set)

    class StopAfterTwo(Callback):
        def on_epoch_end(self, trainer: ck.Trainer, row: dict[str, float]) -> None:
            if trainer.epoch == 2:
                trainer.stop()

    path = tmp_path / "run.safetensors"
    common: dict[str, Any] = {"epochs": 4, "batch_size": 32, "seed": 9, "verbose": 0}
    first = run_trainer(make_model)
    first.fit(train_set, test_set, callbacks=[StopAfterTwo()], checkpoint=path, **common)
    assert first.epoch == 2

    resumed = run_trainer(make_model)
    for parameter in resumed.model.parameters().values():
        parameter.assign(np.full(parameter.shape, 0.5))  # nothing of the new model may be left
    history = resumed.fit(train_set, test_set, resume=path, **common)
    assert_same_bits(resumed.model, unbroken.model)
    assert without_seconds(history) == without_seconds(unbroken.history)


@pytest.mark.parametrize("place", [(0, 3), (2, 1), (2, 5)])
@pytest.mark.parametrize("how", [raise_interrupt, press_control_c])
def test_interrupted_within_an_epoch_and_resumed_gives_the_same_bits(
    make_model: Make,
    train_set: data.Dataset,
    test_set: data.Dataset,
    tmp_path: Path,
    place: tuple[int, int],
    how: Callable[[], None],
) -> None:
    unbroken = whole_run(make_model, train_set, test_set)
    path = tmp_path / "run.safetensors"
    common: dict[str, Any] = {"epochs": 4, "batch_size": 32, "seed": 9, "verbose": 0}
    first = run_trainer(make_model)
    first.fit(train_set, test_set, callbacks=[StopAt(*place, how)], checkpoint=path, **common)
    assert (first.epoch, first.batch) == place
    resumed = run_trainer(make_model)
    history = resumed.fit(train_set, test_set, resume=path, **common)
    assert not history.interrupted
    assert_same_bits(resumed.model, unbroken.model)
    assert without_seconds(history) == without_seconds(unbroken.history)


def test_resuming_with_accumulated_gradients_gives_the_same_bits(
    make_model: Make, train_set: data.Dataset, tmp_path: Path
) -> None:
    def trainer() -> ck.Trainer:
        return new_trainer(make_model(), optim.SGD(0.1, momentum=0.9), accumulate=3)

    path = tmp_path / "run.safetensors"
    common: dict[str, Any] = {"epochs": 3, "batch_size": 32, "verbose": 0}
    unbroken, first, resumed = trainer(), trainer(), trainer()
    unbroken.fit(train_set, **common)
    first.fit(train_set, callbacks=[StopAt(1, 3, raise_interrupt)], checkpoint=path, **common)
    resumed.fit(train_set, resume=path, **common)
    assert_same_bits(resumed.model, unbroken.model)


def test_callbacks_go_on_where_they_were(
    make_model: Make, train_set: data.Dataset, test_set: data.Dataset, tmp_path: Path
) -> None:
    def callbacks() -> list[Any]:
        return [EarlyStopping(patience=9), BestCheckpoint(tmp_path / "best.safetensors", "val_accuracy")]

    path = tmp_path / "run.safetensors"
    first = new_trainer(make_model(), optim.SGD(0.0))  # nothing ever improves after the first epoch
    first.fit(train_set, test_set, epochs=3, callbacks=callbacks(), checkpoint=path, verbose=0)
    stopping, best = callbacks()
    resumed = new_trainer(make_model(), optim.SGD(0.0))
    written = (tmp_path / "best.safetensors").stat().st_mtime_ns
    resumed.fit(train_set, test_set, epochs=4, callbacks=[stopping, best], resume=path, verbose=0)
    assert stopping.waited == 3
    assert best.best == first.history["val_accuracy"][0]
    assert (tmp_path / "best.safetensors").stat().st_mtime_ns == written


def test_a_run_that_was_stopped_early_stays_stopped(
    make_model: Make, train_set: data.Dataset, test_set: data.Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    common: dict[str, Any] = {"epochs": 9, "batch_size": 50, "verbose": 0}
    first = new_trainer(make_model(), optim.SGD(0.0))  # nothing ever improves after the first epoch
    first.fit(train_set, test_set, callbacks=[EarlyStopping(patience=2)], checkpoint=path, **common)
    assert first.epoch == 3
    for patience, epochs in ((2, 3), (4, 5)):
        resumed = new_trainer(make_model(), optim.SGD(0.0))
        history = resumed.fit(train_set, test_set, callbacks=[EarlyStopping(patience=patience)], resume=path, **common)
        assert len(history) == epochs


def test_resuming_with_other_settings_is_refused_and_changes_nothing(
    make_model: Make, train_set: data.Dataset, tmp_path: Path
) -> None:
    def other_function(index: int) -> float:
        return 0.1

    def fit(optimizer: optim.Optimizer, loss: Any = None, options: Any = None, **run: Any) -> None:
        model = make_model()
        before = model.state_dict()
        trainer = ck.Trainer(model, loss or nn.CrossEntropyLoss(), optimizer, ["accuracy"], **(options or {}))
        try:
            trainer.fit(train_set, **{"epochs": 2, "seed": 4, "verbose": 0, **run})
        except (ValueError, OSError):
            assert model.classes is None
            for name, values in model.state_dict().items():
                np.testing.assert_array_equal(values, before[name])
            raise

    def weighted(*weight: float) -> nn.CrossEntropyLoss:
        return nn.CrossEntropyLoss(weight=np.array(weight))

    group = optim.ParamGroup("*.bias", lr_scale=2.0)
    path = tmp_path / "run.safetensors"
    fit(optim.SGD(0.1, groups=[group]), weighted(1, 2, 3), epochs=1, checkpoint=path)
    for arguments, message in (
        ({"seed": 0}, r"fit: seed must be 4, as in the run of .*run.safetensors, not 0"),
        ({"batch_size": 16}, r"fit: batch_size must be 64, .* not 16"),
        ({"options": {"accumulate": 2}}, r"fit: accumulate must be 1, .* not 2"),
        ({"options": {"clip_norm": 1.0}}, r"fit: clip_norm must be None, .* not 1.0"),
        ({"options": {"clip_value": 1.0}}, r"fit: clip_value must be None, .* not 1.0"),
        ({"options": {"ema_decay": 0.9}}, r"fit: ema_decay must be None, .* not 0.9"),
        ({"loss": other_function}, r"fit: loss must be CrossEntropyLoss, .* not .*other_function"),
        ({"loss": weighted(1, 2, 4)}, r"fit: loss.weight must be .*, as in"),
        ({"optimizer": optim.Adam(0.1)}, r"fit: optimizer must be SGD, .* not Adam"),
        ({"optimizer": optim.SGD(0.9, groups=[group])}, r"fit: optimizer.schedule.lr must be 0.1, .* not 0.9"),
        ({"optimizer": optim.SGD(0.1, 0.5, groups=[group])}, r"fit: optimizer.momentum must be 0.0, .* not 0.5"),
        ({"optimizer": optim.SGD(0.1)}, r"fit: optimizer.groups must be 1 entries, .* not 0 entries"),
        (
            {"optimizer": optim.SGD(0.1, groups=[optim.ParamGroup("*.bias")])},
            r"fit: optimizer.groups.0.lr_scale must be 2.0, .* not 1.0",
        ),
        (
            {"optimizer": optim.SGD(optim.Cosine(0.1, epochs=2), groups=[group])},
            r"fit: optimizer.schedule must be Constant, .* not Cosine",
        ),
        (
            {"optimizer": optim.SGD(other_function, groups=[group])},
            r"fit: optimizer.schedule must be Constant, .* not .*other_function",
        ),
    ):
        same = {"optimizer": optim.SGD(0.1, groups=[group]), "loss": weighted(1, 2, 3)}
        with pytest.raises(ValueError, match=message):
            fit(resume=path, **{**same, **arguments})
    with pytest.raises(FileNotFoundError):
        fit(optim.SGD(0.1), resume=tmp_path / "none")
    fit(optim.SGD(0.1, groups=[group]), weighted(1, 2, 3), resume=path)


def test_another_model_or_data_of_another_size_is_refused(
    make_model: Make, train_set: data.Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    new_trainer(make_model()).fit(train_set, epochs=1, checkpoint=path, verbose=0)
    with pytest.raises(ValueError, match=r"resume: .*run.safetensors is of another network or optimiser"):
        new_trainer(nn.Sequential(nn.Flatten(), nn.Linear(64, 3))).fit(train_set, epochs=2, resume=path, verbose=0)
    with pytest.raises(ValueError, match=r"fit: dtype must be float32, .* not float64"):
        new_trainer(make_model().astype("float64")).fit(train_set, epochs=2, resume=path, verbose=0)
    with pytest.raises(ValueError, match=r"fit: batches must be 3, .* not 1"):
        new_trainer(make_model()).fit(train_set[:50], epochs=2, resume=path, verbose=0)


def test_a_complete_run_resumed_has_nothing_left_to_do(
    make_model: Make, train_set: data.Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    first = new_trainer(make_model())
    first.fit(train_set, epochs=1, checkpoint=path, verbose=0)
    resumed = new_trainer(make_model())
    history = resumed.fit(train_set, epochs=1, resume=path, verbose=0)
    assert_same_bits(resumed.model, first.model)
    assert without_seconds(history) == without_seconds(first.history)


@pytest.mark.parametrize(
    ("one", "other", "name"),
    [
        (lambda: optim.SGD(optim.Cosine(np.float32(0.1), epochs=2)), np.float32(0.2), "optimizer.schedule.lr"),
        (lambda: optim.SGD(optim.Cosine(0.1, epochs=np.int64(2))), np.int64(4), "optimizer.schedule.epochs"),
        (
            lambda: optim.SGD(0.1, groups=[optim.ParamGroup("*.bias", np.float32(0.5))]),
            np.float32(0.25),
            "optimizer.groups.0.lr_scale",
        ),
    ],
)
def test_settings_given_as_numbers_of_numpy_are_compared(
    one: Any, other: Any, name: str, make_model: Make, train_set: data.Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    new_trainer(make_model(), one()).fit(train_set, epochs=1, checkpoint=path, verbose=0)
    new_trainer(make_model(), one()).fit(train_set, epochs=2, resume=path, verbose=0)
    changed = one()
    holder = changed.schedule if "schedule" in name else changed.groups[0]
    object.__setattr__(holder, name.rpartition(".")[2], other)
    with pytest.raises(ValueError, match=f"fit: {name} must be .*, as in the run of"):
        new_trainer(make_model(), changed).fit(train_set, epochs=2, resume=path, verbose=0)


@pytest.mark.parametrize("option", ["clip_norm", "clip_value", "ema_decay"])
def test_options_given_as_numbers_of_numpy_are_saved(
    option: str, make_model: Make, train_set: data.Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    for epochs, resume in ((1, None), (2, path)):
        trainer = new_trainer(make_model(), **{option: np.float32(0.5)})
        trainer.fit(train_set, epochs=epochs, checkpoint=path, resume=resume, verbose=0)
    assert trainer.epoch == 2


def test_a_run_is_not_resumed_with_fewer_epochs_than_it_has_begun(
    make_model: Make, train_set: data.Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    common: dict[str, Any] = {"batch_size": 32, "verbose": 0}
    new_trainer(make_model()).fit(
        train_set, epochs=3, callbacks=[StopAt(1, 2, raise_interrupt)], checkpoint=path, **common
    )
    model = make_model()
    with pytest.raises(ValueError, match=r"fit: epochs must be at least 2, which the run of .* has begun, not 1"):
        new_trainer(model).fit(train_set, epochs=1, resume=path, **common)
    assert_same_bits(model, make_model())
    assert len(new_trainer(make_model()).fit(train_set, epochs=2, resume=path, **common)) == 2


def test_half_an_epoch_goes_on_with_the_same_metrics(make_model: Make, train_set: data.Dataset, tmp_path: Path) -> None:
    path, between = tmp_path / "run.safetensors", tmp_path / "between.safetensors"
    common: dict[str, Any] = {"epochs": 2, "batch_size": 32, "verbose": 0}
    new_trainer(make_model()).fit(train_set, callbacks=[StopAt(1, 2, raise_interrupt)], checkpoint=path, **common)
    new_trainer(make_model()).fit(train_set, checkpoint=between, **{**common, "epochs": 1})

    def resumed(resume: Path) -> History:
        trainer = ck.Trainer(make_model(), nn.CrossEntropyLoss(), optim.Adam(1e-2), ["top2"])
        return trainer.fit(train_set, resume=resume, **common)

    with pytest.raises(ValueError, match=r"fit: metrics must be \['accuracy'\], as in the run of .*, not \['top2'\]"):
        resumed(path)
    assert "top2" in resumed(between).rows[1]


class Adds(Callback):
    """Puts a figure into each row, and has a state."""

    def __init__(self, figure: Any, state: Any) -> None:
        self.figure, self.state = figure, state

    def on_epoch_end(self, trainer: ck.Trainer, row: dict[str, float]) -> None:
        row["figure"] = self.figure

    def state_dict(self) -> Any:
        return self.state


def test_what_callbacks_add_in_numpy_s_numbers_is_saved(
    make_model: Make, train_set: data.Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    adds = Adds(np.float32(0.5), {"seen": np.int64(3), "means": [np.float32(0.25)]})
    new_trainer(make_model()).fit(train_set, epochs=1, callbacks=[adds], checkpoint=path, verbose=0)
    history = new_trainer(make_model()).fit(train_set, epochs=2, callbacks=[adds], resume=path, verbose=0)
    assert history["figure"] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("figure", "state", "message"),
    [
        ("x", {}, r"this cannot be resumed, since the run's history cannot be \[.*'figure': 'x'"),
        (True, {}, r"this cannot be resumed, since the run's history cannot be"),
        (np.zeros(2), {}, "the history must be what JSON can hold: ndarray"),
        (1, None, r"this cannot be resumed, since the run's callbacks cannot be \{'Adds 1': None\}"),
        (1, {"entry": {1, 2}}, "the state of Adds 1 must be what JSON can hold: set"),
    ],
)
def test_what_could_not_be_resumed_is_not_saved(
    figure: Any, state: Any, message: str, make_model: Make, train_set: data.Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "run.safetensors"
    new_trainer(make_model()).fit(train_set, epochs=1, checkpoint=path, verbose=0)
    before = path.read_bytes()
    with pytest.raises((TypeError, ValueError), match=f"save_checkpoint: {message}"):
        new_trainer(make_model()).fit(train_set, epochs=1, callbacks=[Adds(figure, state)], checkpoint=path, verbose=0)
    assert path.read_bytes() == before


@pytest.mark.parametrize("argument", ["checkpoint", "resume"])
@pytest.mark.parametrize("path", ["", ".", "..", "/", "folder"])
def test_a_path_that_names_no_file_is_refused_before_the_run(
    argument: str, path: str, make_model: Make, train_set: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    model = make_model()
    with pytest.raises(ValueError, match=f"fit: {argument} must name a file, not '{path}'"):
        new_trainer(model).fit(train_set, epochs=1, verbose=0, **{argument: path})
    assert_same_bits(model, make_model())


def test_a_callback_that_ends_the_run_does_not_hide_the_epoch_from_others(
    make_model: Make, train_set: data.Dataset, tmp_path: Path
) -> None:
    class Ends(Callback):
        def on_epoch_end(self, trainer: ck.Trainer, row: dict[str, float]) -> None:
            if trainer.epoch == 2:
                raise KeyboardInterrupt

    path, best = tmp_path / "run.safetensors", tmp_path / "best.safetensors"
    stopping = EarlyStopping(monitor="loss", patience=9, min_delta=1e9)
    trainer = new_trainer(make_model())
    trainer.fit(
        train_set,
        epochs=4,
        callbacks=[Ends(), stopping, BestCheckpoint(best, "loss")],
        checkpoint=path,
        verbose=0,
    )
    assert trainer.epoch == 2 and trainer.history.interrupted
    assert stopping.waited == 1
    saved = make_model()
    ck.load(saved, best)
    assert_same_bits(saved, trainer.model)


def test_a_source_whose_epoch_is_a_number_is_gone_through(make_model: Make, train_set: data.Dataset) -> None:
    class Sampler(list):
        epoch = 3

    batches = Sampler([(train_set.images[:32], train_set.labels[:32])])
    assert len(new_trainer(make_model()).fit(batches, epochs=2, verbose=0)) == 2


def test_there_is_no_run_to_save_before_the_first(make_model: Make, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="save_checkpoint: there is no run to save before fit has begun one"):
        new_trainer(make_model()).save_checkpoint(tmp_path / "run.safetensors")


# --- running moments and averaged weights ---


def normalized_model() -> nn.Sequential:
    ck.set_seed(5)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.GlobalAvgPool(),
        nn.Dropout(0.1),
        nn.Linear(4, 3),
    )


def test_a_resumed_run_restores_running_moments_and_averages(train_set: data.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    options = {"ema_decay": 0.9, "clip_value": 0.5}
    whole = new_trainer(normalized_model(), **options)
    whole.fit(train_set, validation=train_set, epochs=3, batch_size=32, verbose=0)
    new_trainer(normalized_model(), **options).fit(
        train_set, validation=train_set, epochs=1, batch_size=32, checkpoint=path, verbose=0
    )
    resumed = new_trainer(normalized_model(), **options)
    history = resumed.fit(train_set, validation=train_set, epochs=3, batch_size=32, resume=path, verbose=0)
    assert without_seconds(history) == without_seconds(whole.history)
    assert_same_bits(resumed.model, whole.model)
    assert resumed.model[1].num_batches_tracked.value == 15
    with whole.averaged(), resumed.averaged():
        assert_same_bits(resumed.model, whole.model)


def test_averages_are_what_is_validated_and_saved(
    train_set: data.Dataset, test_set: data.Dataset, tmp_path: Path
) -> None:
    best = tmp_path / "best.safetensors"
    trainer = new_trainer(normalized_model(), ema_decay=0.95)
    callbacks = [BestCheckpoint(best, "epoch", "max")]
    history = trainer.fit(train_set, validation=test_set, epochs=4, batch_size=32, callbacks=callbacks, verbose=0)
    trained = trainer.evaluate(test_set)
    with trainer.averaged():
        averaged = trainer.evaluate(test_set)
        saved = normalized_model()
        ck.load(saved, best)
        assert_same_bits(saved, trainer.model)
    assert averaged["loss"] == pytest.approx(history["val_loss"][-1], rel=1e-6)
    assert averaged["loss"] != pytest.approx(trained["loss"], rel=1e-3)
    with new_trainer(normalized_model()).averaged():
        pass
