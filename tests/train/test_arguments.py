"""What the trainer and all around it are given: taken, or refused by name before anything begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import convkit as ck
from convkit import data, nn, optim
from convkit.train import Accuracy, BestCheckpoint, CSVLog, EarlyStopping, History, TopK

LOSS, RULE = nn.CrossEntropyLoss(), optim.SGD(0.1)
IMAGES, LABELS = np.zeros((4, 1, 8, 8), np.uint8), np.array([0, 1, 2, 0])


def network() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


def trainer(**changes: Any) -> ck.Trainer:
    arguments: dict[str, Any] = {"model": network(), "loss": LOSS, "optimizer": RULE}
    return ck.Trainer(**arguments | changes)


def fit(**options: Any) -> History:
    return trainer().fit((IMAGES, LABELS), epochs=1, verbose=0, **options)


Refused = tuple[Callable[[], Any], type[Exception], str]
NO_PATH = "must be a path, as a str or os.PathLike, not"

TRAINER: list[Refused] = [
    (lambda: trainer(model=3), TypeError, "Trainer: model must be a Module, not 3"),
    (lambda: trainer(model=nn.Linear), TypeError, "Trainer: model must be a Module, not <class"),
    (lambda: trainer(loss=3), TypeError, "Trainer: loss must be a function of outputs and targets, not 3"),
    (
        lambda: trainer(loss=nn.MSELoss),
        TypeError,
        "Trainer: loss must be a function of outputs and targets, not <class",
    ),
    (lambda: trainer(optimizer=3), TypeError, "Trainer: optimizer must be an Optimizer, not 3"),
    (lambda: trainer(optimizer=optim.Adam), TypeError, "Trainer: optimizer must be an Optimizer, not <class"),
    (lambda: trainer(metrics=3), TypeError, "Trainer: metrics must be a sequence, not 3"),
    (lambda: trainer(metrics=None), TypeError, "Trainer: metrics must be a sequence, not None"),
    (lambda: trainer(metrics=[Accuracy]), TypeError, "Trainer: metrics must be names or callables, not <class"),
    (lambda: trainer(clip_norm=0), ValueError, "Trainer: clip_norm must be positive, not 0"),
    (lambda: trainer(clip_value=-1), ValueError, "Trainer: clip_value must be positive, not -1"),
    (lambda: trainer(ema_decay=1.0), ValueError, r"Trainer: ema_decay must be a number in \[0, 1\), not 1.0"),
    (lambda: trainer(accumulate=0), ValueError, "Trainer: accumulate must be at least 1, not 0"),
    (lambda: fit(callbacks=3), TypeError, "fit: callbacks must be a sequence of Callback objects, not 3"),
    (lambda: fit(callbacks=None), TypeError, "fit: callbacks must be a sequence of Callback objects, not None"),
    (lambda: fit(callbacks=[3]), TypeError, r"fit: callbacks\[0\] must be a Callback, not 3"),
    (
        lambda: fit(callbacks=[EarlyStopping("loss"), EarlyStopping]),
        TypeError,
        r"fit: callbacks\[1\] must be a Callback, not <class",
    ),
    (lambda: fit(callbacks=EarlyStopping("loss")), TypeError, "fit: callbacks must be a sequence of Callback objects"),
    (lambda: fit(checkpoint=3), TypeError, f"fit: checkpoint {NO_PATH} 3"),
    (lambda: fit(resume=3), TypeError, f"fit: resume {NO_PATH} 3"),
    (
        lambda: trainer().predict(3),
        ValueError,
        r"predict: x must be arrays with a first axis of samples, not of shape \(\)",
    ),
    (lambda: trainer().predict((IMAGES, 3)), ValueError, r"predict: x must be arrays with .*, not of shape \(\)"),
    (lambda: trainer().predict(()), ValueError, r"predict: x must be arrays of one length, not of \[\]"),
]
CALLBACKS: list[Refused] = [
    (lambda: EarlyStopping(patience=1.5), TypeError, "EarlyStopping: patience must be an integer, not 1.5"),
    (lambda: EarlyStopping(patience="a"), TypeError, "EarlyStopping: patience must be an integer, not 'a'"),
    (lambda: EarlyStopping(patience=True), TypeError, "EarlyStopping: patience must be an integer, not True"),
    (lambda: EarlyStopping(min_delta="a"), TypeError, "EarlyStopping: min_delta must be a number >= 0, not 'a'"),
    (lambda: EarlyStopping(min_delta=np.nan), ValueError, "EarlyStopping: min_delta must be a number >= 0, not nan"),
    (lambda: EarlyStopping(monitor=3), TypeError, "EarlyStopping: monitor must be the name of a figure, not 3"),
    (lambda: BestCheckpoint("x", monitor=None), TypeError, "BestCheckpoint: monitor must be the name of a figure, not"),
    (lambda: BestCheckpoint(3), TypeError, f"BestCheckpoint: path {NO_PATH} 3"),
    (lambda: CSVLog(None), TypeError, f"CSVLog: path {NO_PATH} None"),
]
FILES: list[Refused] = [
    (lambda: ck.save(3, "x"), TypeError, "save: model must be a Module, not 3"),
    (lambda: ck.save(network().state_dict(), "x"), TypeError, "save: model must be a Module, not "),
    (lambda: ck.save(network(), 3), TypeError, f"save: path {NO_PATH} 3"),
    (lambda: ck.save(network(), b"x"), TypeError, f"save: path {NO_PATH} b'x'"),
    (lambda: ck.load(3, "x"), TypeError, "load: model must be a Module, not 3"),
    (lambda: ck.load(network(), 3), TypeError, f"load: path {NO_PATH} 3"),
    (lambda: ck.load(network(), None), TypeError, f"load: path {NO_PATH} None"),
    (lambda: ck.load_model(3), TypeError, f"load_model: path {NO_PATH} 3"),
    (lambda: History([{"loss": 1.0}]).to_csv(1), TypeError, f"to_csv: path {NO_PATH} 1"),
    (lambda: History([{"loss": 1.0}]).plot(1), TypeError, f"plot: path {NO_PATH} 1"),
    (lambda: data.read_idx(3), TypeError, f"read_idx: path {NO_PATH} 3"),
    (lambda: data.read_idx(True), TypeError, f"read_idx: path {NO_PATH} True"),
    (lambda: data.write_idx(3, LABELS), TypeError, f"write_idx: path {NO_PATH} 3"),
    (lambda: data.image_folder(3, 8), TypeError, f"image_folder: path {NO_PATH} 3"),
    (
        lambda: data.image_folder("none", 8, classes=3),
        TypeError,
        "image_folder: classes must be a sequence of names, not 3",
    ),
]
METRICS: list[Refused] = [
    (lambda: TopK(1.5), TypeError, "TopK: k must be an integer, not 1.5"),
    (lambda: TopK(True), TypeError, "TopK: k must be an integer, not True"),
    (lambda: TopK("a"), TypeError, "TopK: k must be an integer, not 'a'"),
    (lambda: Accuracy()("ab", [1]), TypeError, "accuracy: outputs must be numbers, not <U2"),
    (lambda: Accuracy()([[1j, 2]], [1]), TypeError, "accuracy: outputs must be numbers, not complex128"),
    (lambda: Accuracy()([[1, None]], [1]), TypeError, "accuracy: outputs must be numbers, not object"),
    (lambda: Accuracy()([1.0], [1]), ValueError, r"accuracy: outputs must be \(N, classes, ...\)"),
    (
        lambda: Accuracy()(np.zeros((2, 0)), np.zeros((2, 0))),
        ValueError,
        r"accuracy: outputs must have at least one class, not shape \(2, 0\)",
    ),
    (
        lambda: TopK(2)(np.zeros((2, 0)), np.zeros(2, int)),
        ValueError,
        r"top2: outputs must have at least 2 classes, not shape \(2, 0\)",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), TRAINER + CALLBACKS + FILES + METRICS)
def test_what_is_refused(
    call: Callable[[], Any], error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=f"^{message}"):
        call()
    assert not [*tmp_path.iterdir()]


def test_an_optimiser_of_ones_own_and_a_loss_that_is_a_function_are_taken() -> None:
    class Signs(optim.Optimizer):
        def update(self, values, grads, slots, *, lr, weight_decay, count):  # type: ignore[no-untyped-def]
            values -= lr * np.sign(grads)

    def loss(outputs: Any, labels: Any) -> Any:
        return LOSS(outputs, labels)

    history = trainer(loss=loss, optimizer=Signs(0.1), metrics=["top2", "accuracy"]).fit(
        (IMAGES, LABELS), epochs=2, callbacks=(callback for callback in [EarlyStopping("loss")]), verbose=0
    )
    assert history["loss"][1] < history["loss"][0]


def test_metrics_take_what_numpy_can_read() -> None:
    assert Accuracy()([[1, 2.0], [3, 4]], [1, 0]).tolist() == [True, False]
    assert TopK(1)(np.array([[False, True]]), (1,)).tolist() == [True]
    assert Accuracy()(np.zeros((0, 3)), np.zeros(0, int)).shape == (0,)


def test_paths_of_pathlib_are_taken(tmp_path: Path) -> None:
    model = network()
    for path in (tmp_path / "a.safetensors", str(tmp_path / "a.safetensors")):
        ck.save(model, path)
        ck.load(model, path)


def test_a_file_of_numbers_that_the_model_cannot_hold_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path, model = tmp_path / "wide.safetensors", network()
    before = model.state_dict()
    save_file({"1.weight": np.ones((3, 64)), "1.bias": np.array([1.0, 1e300, 1.0])}, path)
    for match in ("name", "order"):
        with pytest.raises(
            ValueError, match=r"^load: .*wide.safetensors does not fit the model: .*1.bias must be of numbers"
        ):
            ck.load(model, path, match=match)
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, before[name])
    ck.load(model.astype("float64"), path)
    assert model[1].bias.value[1] == 1e300
