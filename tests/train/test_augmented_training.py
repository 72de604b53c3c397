"""Training on augmented images: what it changes, resuming to the bit, errors, and threads that end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import data, nn, optim
from convkit.data import MixUp, RandomErasing, RandomHorizontalFlip, RandomShift
from convkit.train import Callback

Make = Callable[[], nn.Sequential]

CHAIN = (RandomShift(1), RandomHorizontalFlip(), RandomErasing(scale=(0.02, 0.2)))
COMMON: dict[str, Any] = {"epochs": 3, "batch_size": 32, "seed": 9, "verbose": 0}


def new_trainer(model: nn.Module) -> ck.Trainer:
    return ck.Trainer(model, nn.CrossEntropyLoss(), optim.Adam(1e-2), metrics=["accuracy"])


def bits(model: nn.Module) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in model.state_dict().items()}


def trained(make_model: Make, source: Any, **options: Any) -> dict[str, bytes]:
    trainer = new_trainer(make_model())
    trainer.fit(source, **COMMON | options)
    return bits(trainer.model)


STRANGERS: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def know_strangers() -> None:
    """Threads that were there before a test, such as those of a pool of processes, are none of its own."""
    STRANGERS.clear()
    STRANGERS.update(threading.enumerate())


def threads_left() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread not in STRANGERS]


class At(Callback):
    """Do something at the end of a batch."""

    def __init__(self, epoch: int, batch: int, do: Callable[[], None]) -> None:
        self.place, self.do = (epoch, batch), do

    def on_batch_end(self, trainer: ck.Trainer, loss: float) -> None:
        if (trainer.epoch, trainer.batch) == self.place:
            self.do()


def press_control_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_it_trains_on_the_images_that_batches_gives(make_model: Make, train_set: data.Dataset) -> None:
    augmented = trained(make_model, train_set, augment=CHAIN)
    assert augmented == trained(make_model, (train_set.images, train_set.labels), augment=list(CHAIN))
    assert augmented == trained(make_model, data.Batches(train_set, 32, seed=9, augment=CHAIN))
    assert augmented != trained(make_model, train_set)
    assert augmented != trained(make_model, train_set, augment=CHAIN[:1])
    assert not threads_left()


def test_validation_is_on_the_images_as_they_are(make_model: Make, train_set: data.Dataset) -> None:
    def black(images: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Any:
        return np.zeros_like(images), labels

    trainer = new_trainer(make_model())
    history = trainer.fit(train_set, validation=train_set, augment=[black], **COMMON)
    assert history["val_loss"][-1] == pytest.approx(trainer.evaluate(train_set)["loss"], rel=1e-6)
    assert history["accuracy"][-1] < 0.5  # nothing can be told from black


def test_threads_do_not_matter(make_model: Make, train_set: data.Dataset) -> None:
    alone = trained(make_model, train_set, augment=CHAIN)
    ck.set_num_threads(2)
    assert trained(make_model, train_set, augment=CHAIN) == alone


@pytest.mark.parametrize("place", [(0, 3), (1, 5), (2, 1)])
def test_an_interrupted_run_resumed_gives_the_same_bits(
    make_model: Make, train_set: data.Dataset, tmp_path: Path, place: tuple[int, int]
) -> None:
    path = tmp_path / "run.safetensors"
    first = new_trainer(make_model())
    history = first.fit(train_set, augment=CHAIN, checkpoint=path, callbacks=[At(*place, press_control_c)], **COMMON)
    assert history.interrupted and not threads_left()
    resumed = trained(make_model, train_set, augment=CHAIN, resume=path)
    assert resumed == trained(make_model, train_set, augment=CHAIN)


def test_a_run_is_not_resumed_with_other_augmentation(
    make_model: Make, train_set: data.Dataset, tmp_path: Path
) -> None:
    for first, then, message in (
        (CHAIN, (), r"fit: augment must be 3 entries, as in the run of .*, not absent"),
        ((), CHAIN, r"fit: augment must be absent, .* not 3 entries"),
        ((RandomShift(1),), (RandomShift(2),), r"fit: augment.0.pixels must be 1, .* not 2"),
        ((RandomShift(1),), (RandomHorizontalFlip(),), r"fit: augment.0 must be RandomShift, .* not RandomHor"),
    ):
        path = tmp_path / "run.safetensors"
        trained(make_model, train_set, augment=first, checkpoint=path, epochs=1)
        with pytest.raises(ValueError, match=message):
            trained(make_model, train_set, augment=then, resume=path)


def test_mixup_trains_and_is_measured(make_model: Make, train_set: data.Dataset, test_set: data.Dataset) -> None:
    trainer = new_trainer(make_model())
    history = trainer.fit(train_set, test_set, augment=[MixUp(3, 0.4)], **COMMON | {"epochs": 8})
    assert history["val_accuracy"][-1] >= 0.9
    assert history["val_accuracy"][-1] > history["accuracy"][-1] > history["accuracy"][0]
    assert history["loss"][-1] > history["val_loss"][-1]  # blended labels keep some entropy


def test_an_error_in_the_background_ends_the_run(make_model: Make, train_set: data.Dataset, tmp_path: Path) -> None:
    calls = []

    def fail(images: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Any:
        calls.append(len(images))
        if len(calls) == 7:
            raise ZeroDivisionError("of all things")
        return images, labels

    trainer = new_trainer(make_model())
    with pytest.raises(ZeroDivisionError, match="of all things"):
        trainer.fit(train_set, augment=[fail], **COMMON)
    assert (trainer.epoch, trainer.batch) == (1, 1)
    assert not threads_left()


def test_memory_that_runs_out_in_the_background_ends_the_run_and_nothing_else(
    make_model: Make, train_set: data.Dataset, tmp_path: Path
) -> None:
    calls = []

    def hungry(images: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> Any:
        calls.append(len(images))
        if len(calls) == 8:
            np.empty(2**60, np.uint8)
        return CHAIN[0](images, labels, generator)

    path = tmp_path / "run.safetensors"
    trainer = new_trainer(make_model())
    with pytest.raises(MemoryError, match="Unable to allocate"):
        trainer.fit(train_set, augment=[hungry], checkpoint=path, **COMMON)
    assert (trainer.epoch, trainer.batch) == (1, 2)
    assert not threads_left()
    assert all(np.isfinite(values).all() for values in trainer.model.state_dict().values())
    whole = trained(make_model, train_set, augment=[hungry])
    assert trained(make_model, train_set, augment=[hungry], resume=path) == whole


def test_memory_that_runs_out_in_training_ends_the_thread(
    make_model: Make, train_set: data.Dataset, tmp_path: Path
) -> None:
    def fail() -> None:
        np.empty(2**60, np.uint8)

    path = tmp_path / "run.safetensors"
    trainer = new_trainer(make_model())
    with pytest.raises(MemoryError):
        trainer.fit(train_set, augment=CHAIN, checkpoint=path, callbacks=[At(1, 2, fail)], **COMMON)
    assert not threads_left()
    assert trained(make_model, train_set, augment=CHAIN, resume=path) == trained(make_model, train_set, augment=CHAIN)


def test_an_error_in_training_ends_the_thread(make_model: Make, train_set: data.Dataset) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    try:
        new_trainer(make_model()).fit(train_set, augment=CHAIN, callbacks=[At(0, 1, fail)], **COMMON)
    except ZeroDivisionError:
        left = threads_left()  # while the error still holds on to every frame
    assert left == []


def test_a_second_control_c_ends_the_thread_too(make_model: Make, train_set: data.Dataset) -> None:
    def press_twice() -> None:
        press_control_c()
        press_control_c()

    with pytest.raises(KeyboardInterrupt):
        new_trainer(make_model()).fit(train_set, augment=CHAIN, callbacks=[At(0, 1, press_twice)], **COMMON)
    assert not threads_left()


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (RandomShift(2), r"fit: augment must be a sequence such as \[RandomShift\(2\)\], not RandomShift\("),
        ([RandomShift], r"fit: augment\[0\] must be called as step\(images, labels, generator\)"),
    ],
)
def test_what_cannot_be_done_to_images_is_refused(
    make_model: Make, train_set: data.Dataset, augment: Any, message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        new_trainer(make_model()).fit(train_set, augment=augment, **COMMON)


def test_batches_of_ones_own_are_ones_own_to_augment(make_model: Make, train_set: data.Dataset) -> None:
    source = data.Batches(train_set, 32)
    with pytest.raises(TypeError, match=r"fit: augment needs a Dataset or a pair .* not Batches; give it to data.Bat"):
        new_trainer(make_model()).fit(source, augment=CHAIN, **COMMON)
