"""What runs and steps remember, whatever is done to models and optimisers between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import functional as F
from convkit import nn, optim
from convkit.train import Callback

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((64, 4)).astype(np.float32), RNG.integers(0, 3, 64)
LOSS = nn.CrossEntropyLoss()


def network() -> nn.Sequential:
    ck.set_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def values(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: parameter.value.copy() for name, parameter in model.parameters().items()}


def assert_equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def fit(trainer: ck.Trainer, epochs: int = 2, **options: Any) -> ck.train.History:
    return trainer.fit((X, Y), epochs=epochs, batch_size=16, verbose=0, **options)


class At(Callback):
    """Does something when an epoch begins."""

    def __init__(self, what: Callable[[ck.Trainer], None]) -> None:
        self.what = what

    def on_epoch_begin(self, trainer: ck.Trainer) -> None:
        self.what(trainer)


# --- averages ---------------------------------------------------------------------------------------------


def test_averages_within_averages_are_the_same() -> None:
    trainer = ck.Trainer(network(), LOSS, optim.SGD(0.5), ema_decay=0.9)
    fit(trainer)
    trained = values(trainer.model)
    with trainer.averaged():
        outer = values(trainer.model)
        with trainer.averaged():
            assert_equal(values(trainer.model), outer)
        assert_equal(values(trainer.model), outer)
    assert_equal(values(trainer.model), trained)
    assert not np.array_equal(outer["0.weight"], trained["0.weight"])


def test_averages_are_not_trained_nor_written_as_a_run(tmp_path: Path) -> None:
    trainer = ck.Trainer(network(), LOSS, optim.SGD(0.5), ema_decay=0.9)
    fit(trainer)
    with trainer.averaged(), pytest.raises(RuntimeError, match="save_checkpoint: the model has its averages"):
        trainer.save_checkpoint(tmp_path / "run.safetensors")
    assert not list(tmp_path.iterdir())
    step = ck.compile_step(network(), LOSS, optim.SGD(0.5), ema_decay=0.9)
    with step.averaged(), pytest.raises(RuntimeError, match="step: the model has its averages"):
        step(X, Y)
    step(X, Y)


def test_an_update_that_fails_leaves_averages_near_the_weights() -> None:
    class Failing(optim.SGD):
        def update(self, values: Any, *arguments: Any, **options: Any) -> None:
            super().update(values, *arguments, **options)
            if self.fails:
                raise KeyboardInterrupt

    rule = Failing(0.1)
    rule.fails = False
    model = network()
    step = ck.compile_step(model, LOSS, rule, ema_decay=0.5)
    step(X, Y)
    rule.fails = True
    with pytest.raises(KeyboardInterrupt):
        step(X, Y)
    trained = values(model)
    with step.averaged():
        for name, parameter in model.parameters().items():
            np.testing.assert_allclose(parameter.value, trained[name], atol=0.1)


# --- optimisers ---------------------------------------------------------------------------------------------


def test_epochs_of_one_run_are_not_those_of_the_next() -> None:
    rule = optim.SGD(optim.Cosine(0.1, epochs=2))
    trainer = ck.Trainer(network(), LOSS, rule)
    fit(trainer)
    assert rule.schedule == optim.Cosine(0.1, epochs=2)
    with pytest.raises(ValueError, match="bind"):  # how long epochs are is not known
        trainer.fit(Batches(), epochs=1, verbose=0)


class Batches:
    """Of unknown number."""

    def epoch(self, number: int) -> Any:
        return iter([(X, Y)] * 3)


def test_runs_within_runs_may_share_an_optimiser() -> None:
    rule = optim.SGD(optim.Cosine(0.1, epochs=2))
    alone = fit(ck.Trainer(network(), LOSS, rule))["lr"]
    other = ck.Trainer(network(), LOSS, rule)
    shared = fit(
        ck.Trainer(network(), LOSS, rule),
        callbacks=[At(lambda trainer: other.fit((X, Y), epochs=1, batch_size=1, verbose=0) and None)],
    )["lr"]
    assert alone == shared


@pytest.mark.parametrize("beside_another", [False, True])
def test_a_decay_that_is_changed_counts_at_once(beside_another: bool) -> None:
    """Of parameters that live in another step's memory, too, which stay where they are."""
    changed, given = network(), network()
    others = [ck.compile_step(model, LOSS, optim.SGD(0.1)) for model in (changed, given) if beside_another]
    rule = optim.SGD(0.1, momentum=0.9)
    step, expected = ck.compile_step(changed, LOSS, rule), ck.compile_step(given, LOSS, optim.SGD(0.1, momentum=0.9))
    step(X, Y), expected(X, Y)
    state = expected.state_dict()
    rule.weight_decay = 0.5
    expected = ck.compile_step(given, LOSS, optim.SGD(0.1, momentum=0.9, weight_decay=0.5))
    expected.load_state_dict(state)
    step(X, Y), expected(X, Y)
    assert_equal(values(changed), values(given))
    assert len(others) == 2 * beside_another


def test_accumulated_gradients_are_not_taken_for_others() -> None:
    three = ck.compile_step(network(), LOSS, optim.SGD(0.1), accumulate=3)
    for _ in range(5):
        three(X, Y)
    two = ck.compile_step(network(), LOSS, optim.SGD(0.1), accumulate=2)
    with pytest.raises(ValueError, match="the state is of 1 updates in 5 calls, which accumulate=2 does not give"):
        two.load_state_dict(three.state_dict())


def test_clipping_gives_the_same_bits_wherever_parameters_live() -> None:
    def trained(before: bool) -> dict[str, np.ndarray]:
        ck.set_seed(0)
        model = nn.Sequential(nn.Linear(4, 301), nn.Tanh(), nn.Linear(301, 3))
        earlier = ck.compile_step(model, LOSS, optim.SGD(0.1)) if before else None
        step = ck.compile_step(model, LOSS, optim.SGD(1.0), clip_norm=0.01)
        for _ in range(50):
            step(X, Y)
        del earlier  # which has kept the parameters in its own memory until now
        return values(model)

    assert_equal(trained(before=True), trained(before=False))


# --- freezing -------------------------------------------------------------------------------------------------


def test_a_run_that_thaws_layers_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"

    def thaw(trainer: ck.Trainer) -> None:
        if trainer.epoch == 2:
            for parameter in trainer.model.parameters().values():
                parameter.trainable = True

    def run(epochs: int, **options: Any) -> dict[str, np.ndarray]:
        model = network()
        model[0].weight.trainable = False
        fit(ck.Trainer(model, LOSS, optim.SGD(0.5, momentum=0.9)), epochs, callbacks=[At(thaw)], **options)
        return values(model)

    whole = run(4)
    for epochs in (1, 3):
        run(epochs, checkpoint=path)
        assert_equal(run(4, resume=path), whole)
    other = ck.Trainer(network(), LOSS, optim.SGD(0.5, momentum=0.9))
    with pytest.raises(ValueError, match="fit: frozen must be 1 entries, as in the run"):
        fit(other, 4, resume=path)
    assert all(parameter.trainable for parameter in other.model.parameters().values())


def test_reading_a_state_changes_nothing() -> None:
    def trained(read: bool) -> dict[str, np.ndarray]:
        model = network()
        step = ck.compile_step(model, LOSS, optim.SGD(0.1, momentum=0.9))
        step(X, Y)
        model[0].weight.trainable = False
        if read:
            assert not any("0.weight" in name for name in step.state_dict())
        model[0].weight.trainable = True
        step(X, Y)
        return values(model)

    assert_equal(trained(read=True), trained(read=False))


# --- runs that fail -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["missing", "other settings", "no optimiser group"])
def test_a_run_that_is_refused_leaves_the_one_before(tmp_path: Path, how: str) -> None:
    path = tmp_path / "run.safetensors"
    trainer = ck.Trainer(network(), LOSS, optim.SGD(0.5), ema_decay=0.9)
    history = fit(trainer, checkpoint=path)
    with trainer.averaged():
        averages = values(trainer.model)
    trained = values(trainer.model)
    with pytest.raises((OSError, ValueError)):
        if how == "missing":
            fit(trainer, resume=tmp_path / "missing.safetensors")
        elif how == "other settings":
            fit(trainer, resume=path, seed=3)
        else:
            trainer.optimizer.groups = (optim.ParamGroup("nothing", lr_scale=2.0),)
            fit(trainer)
    assert (trainer.history, trainer.epoch) == (history, 2)
    assert_equal(values(trainer.model), trained)
    trainer.optimizer.groups = ()
    with trainer.averaged():
        assert_equal(values(trainer.model), averages)
    fit(trainer, resume=path, epochs=3)
    assert trainer.epoch == 3


def test_after_a_divergence_there_is_nothing_to_save(tmp_path: Path) -> None:
    trainer = ck.Trainer(network(), LOSS, optim.SGD(1e30))
    with pytest.raises(FloatingPointError, match="fit: epoch 1"):
        fit(trainer)
    with pytest.raises(RuntimeError, match="save_checkpoint: the run has diverged"):
        trainer.save_checkpoint(tmp_path / "run.safetensors")
    trainer.optimizer.schedule = optim.Constant(0.1)
    fit(trainer)
    trainer.save_checkpoint(tmp_path / "run.safetensors")


def test_errors_of_callbacks_are_their_own() -> None:
    class Dividing(Callback):
        def on_batch_end(self, trainer: ck.Trainer, loss: float) -> None:
            raise FloatingPointError("mine")

    with pytest.raises(FloatingPointError, match="^mine$"):
        fit(ck.Trainer(network(), LOSS, optim.SGD(0.1)), callbacks=[Dividing()])


def test_layers_frozen_in_an_epoch_that_diverges() -> None:
    class Freezing(Callback):
        def on_batch_end(self, trainer: ck.Trainer, loss: float) -> None:
            trainer.model[0].weight.trainable = False
            trainer.optimizer.schedule = optim.Constant(1e30)

    with pytest.raises(FloatingPointError, match="fit: epoch 1"):
        fit(ck.Trainer(network(), LOSS, optim.SGD(0.1), ema_decay=0.9), callbacks=[Freezing()])


# --- what cannot be -------------------------------------------------------------------------------------------


def test_a_loss_of_two_numbers_is_refused_by_name() -> None:
    def both(y: Any, t: Any) -> Any:
        return F.mse_loss(y, y), F.mse_loss(y, y)

    with pytest.raises(ValueError, match=r"^both: a loss must be one number, of shape \(\), not 2 of them$"):
        ck.value_and_grad(network(), both)(X, Y)


def test_outputs_without_samples_are_refused() -> None:
    class Total(nn.Module):
        def forward(self, x: Any) -> Any:
            return F.sum(x)

    with pytest.raises(ValueError, match="predict: the model's outputs must have a first axis of samples"):
        ck.Trainer(Total(), LOSS, optim.SGD(0.1)).predict(X)
