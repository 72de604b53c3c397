"""The estimators for scikit-learn: its own checks, and what they leave open: images, searches, pickles, seeds.

``pytest tests/test_sklearn.py -rA -k "checks or search"`` prints the report of `check_estimator` and a grid search.
"""

from __future__ import annotations

import threading
import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import convkit as ck
from convkit import data, nn, optim
from convkit.seeding import generator
from convkit.sklearn import ConvClassifier, ConvRegressor

# Checks of scikit-learn's that an estimator may fail, each with the reason: none.
EXPECTED_FAILURES: dict[str, dict[str, str]] = {"ConvClassifier": {}, "ConvRegressor": {}}

# Those that scikit-learn itself leaves out, where what they need is missing.
MAY_BE_SKIPPED = {
    "check_array_api_input",  # of estimators that take arrays of other libraries than NumPy
    "check_classifier_data_not_an_array",  # needs pandas
    "check_regressor_data_not_an_array",
}


def sample(count: int) -> tuple[np.ndarray, np.ndarray]:
    """So many images of Fashion-MNIST, uint8 (count, 28, 28), and the names of what they show."""
    clothes = data.fashion_mnist("train", source="sample")[:count]
    return clothes.images[:, 0], np.array(clothes.classes)[clothes.labels]


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    """300 images of digits, float32 (300, 8, 8) in [0, 1], and their labels."""
    bunch = load_digits()
    return bunch.images[:300].astype(np.float32) / 16, bunch.target[:300]


@pytest.mark.parametrize("estimator", [ConvClassifier(), ConvRegressor()], ids=lambda e: type(e).__name__)
def test_the_checks_of_scikit_learn(estimator: BaseEstimator) -> None:
    name = type(estimator).__name__
    report = check_estimator(estimator, expected_failed_checks=EXPECTED_FAILURES[name], on_fail=None, on_skip=None)
    counts = Counter(check["status"] for check in report)
    print(f"check_estimator({name}()): " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    for check in report:
        if check["status"] != "passed":
            print(f"  {check['check_name']} {check['status']}: {check['exception']}")
    assert counts["passed"] >= 50
    assert not [check["check_name"] for check in report if check["status"] == "failed"]
    assert {check["check_name"] for check in report if check["status"] == "xfail"} == set(EXPECTED_FAILURES[name])
    assert {check["check_name"] for check in report if check["status"] == "skipped"} <= MAY_BE_SKIPPED


def test_a_grid_search_over_rates_and_widths_in_two_processes() -> None:
    images, names = sample(600)
    search = GridSearchCV(
        ConvClassifier(epochs=3, random_state=0),
        {"learning_rate": [3e-4, 3e-3], "width": [4, 16]},
        cv=2,
        n_jobs=2,
    )
    search.fit(images, names)
    for settings, accuracy in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
        print(f"learning rate {settings['learning_rate']:g}, width {settings['width']:2}: accuracy {accuracy:.3f}")
    scores = dict(zip(map(str, search.cv_results_["params"]), search.cv_results_["mean_test_score"], strict=True))
    assert len(scores) == 4
    assert search.best_score_ > 0.6
    assert search.best_params_["learning_rate"] == 3e-3
    assert set(search.predict(images[:50])) <= set(names)
    alone = GridSearchCV(search.estimator, search.param_grid, cv=2).fit(images, names)
    np.testing.assert_array_equal(alone.cv_results_["mean_test_score"], search.cv_results_["mean_test_score"])


def test_in_a_pipeline_and_in_cross_validation(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    pipeline = make_pipeline(StandardScaler(), ConvClassifier(image_shape=(8, 8), width=8, random_state=0))
    rows = images.reshape(300, 64)
    assert cross_val_score(pipeline, rows, labels, cv=3).mean() > 0.85
    pipeline.set_params(convclassifier__epochs=1).fit(rows, labels)
    assert pipeline.predict_proba(rows[:5]).shape == (5, 10)
    assert pipeline[-1].n_features_in_ == 64


@pytest.mark.parametrize("shape", [(300, 64), (300, 8, 8), (300, 1, 8, 8)], ids=str)
def test_rows_and_images_are_the_same_to_it(digits: tuple[np.ndarray, np.ndarray], shape: tuple[int, ...]) -> None:
    images, labels = digits
    reference = ConvClassifier(epochs=2, random_state=0).fit(images, labels)
    estimator = ConvClassifier(epochs=2, random_state=0, image_shape=(8, 8)).fit(images.reshape(shape), labels)
    assert estimator.image_shape_ == (1, 8, 8)
    np.testing.assert_array_equal(
        estimator.predict_proba(images.reshape(300, 64)), reference.predict_proba(images.reshape(shape))
    )


@pytest.mark.parametrize(
    ("shape", "image_shape", "seen"),
    [
        ((6, 20), None, (1, 20)),
        ((6, 20), (20,), (1, 20)),
        ((6, 4, 5), None, (1, 4, 5)),
        ((6, 3, 4, 5), None, (3, 4, 5)),
        ((6, 60), (3, 4, 5), (3, 4, 5)),
        ((6, 48), np.array([6, 8]), (1, 6, 8)),
        ((6, 48), [6, 8], (1, 6, 8)),
        ((6, 1, 6, 8), (6, 8), (1, 6, 8)),
        ((6, 2, 3, 4, 5), None, (2, 3, 4, 5)),
    ],
    ids=str,
)
def test_the_shape_of_images(shape: tuple[int, ...], image_shape: Any, seen: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    estimator = ConvRegressor(image_shape=image_shape, epochs=1, random_state=0).fit(x, np.arange(6))
    assert estimator.image_shape_ == seen
    assert estimator.n_features_in_ == np.prod(seen)
    assert estimator.predict(x).shape == (6,)


@pytest.mark.parametrize(
    "classes",
    [
        np.array(["cat", "dog", "eel"]),
        np.array(["cat", "dog", "eel"], dtype=object),
        np.array([-5, 3, 1000], dtype=np.int16),
        np.array([2.0, 4.0, 8.0]),
        np.array([False, True]),
    ],
    ids=lambda classes: classes.dtype.str,
)
def test_labels_of_any_dtype(digits: tuple[np.ndarray, np.ndarray], classes: np.ndarray) -> None:
    images, labels = digits
    few = labels < len(classes)
    named = classes[labels[few]]
    estimator = ConvClassifier(width=8, random_state=0).fit(images[few], named)
    assert estimator.classes_.dtype == classes.dtype
    assert estimator.classes_.tolist() == classes.tolist()
    assert (estimator.predict(images[few]) == named).mean() > 0.95
    assert estimator.score(images[few], named) > 0.95


def test_bytes_are_images_from_0_to_1() -> None:
    images, names = sample(64)
    as_bytes = ConvClassifier(epochs=1, random_state=0).fit(images, names)
    as_floats = ConvClassifier(epochs=1, random_state=0).fit(images / np.float32(255), names)
    np.testing.assert_allclose(
        as_bytes.predict_proba(images), as_floats.predict_proba(images / np.float32(255)), rtol=1e-5
    )


def test_several_targets_in_units_of_their_own() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(400, 6))
    y = np.stack([1e6 + 1e3 * x[:, 0], 1e-3 * (x[:, 1] - x[:, 2]), np.full(400, 7.0)], axis=1)
    estimator = ConvRegressor(epochs=40, random_state=0).fit(x, y)
    np.testing.assert_allclose(estimator.target_mean_[2], 7.0)
    predicted = estimator.predict(x)
    assert predicted.shape == (400, 3)
    assert np.abs(predicted[:, 2] - 7).max() < 0.2
    for place in (0, 1):
        assert np.corrcoef(predicted[:, place], y[:, place])[0, 1] > 0.99


def test_the_seed_alone_decides_and_nothing_global_moves(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits

    def fitted(seed: int) -> np.ndarray:
        chance: np.ndarray = ConvClassifier(epochs=1, random_state=seed).fit(images, labels).predict_proba(images)
        return chance

    ck.set_seed(3)
    first = fitted(0)
    untouched = generator().random(4)
    np.random.seed(5)
    before = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    again = fitted(0)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index, union-attr]
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - fitted(1)).max() > 1e-3
    ck.set_seed(3)
    np.testing.assert_array_equal(generator().random(4), untouched)


def test_threads_do_not_share_a_generator(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    alone = [ConvClassifier(epochs=1, random_state=seed).fit(images, labels).network_.state_dict() for seed in (0, 1)]
    together: dict[int, Any] = {}

    def fit(seed: int) -> None:
        together[seed] = ConvClassifier(epochs=1, random_state=seed).fit(images, labels).network_.state_dict()

    threads = [threading.Thread(target=fit, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in (0, 1):
        for name, value in alone[seed].items():
            np.testing.assert_array_equal(together[seed][name], value)


def test_a_fitted_estimator_can_be_kept(digits: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    images, labels = digits
    estimator = ConvClassifier("resnet20", epochs=1, random_state=0).fit(images, labels)
    joblib.dump(estimator, tmp_path / "estimator")
    copy = joblib.load(tmp_path / "estimator")
    np.testing.assert_array_equal(copy.predict_proba(images), estimator.predict_proba(images))
    copy.fit(images, labels)  # and may learn anew
    ck.save(estimator.network_, tmp_path / "network.safetensors")
    network = ck.load_model(tmp_path / "network.safetensors")
    np.testing.assert_array_equal(network(images[:4, None]), estimator.network_(images[:4, None]))


def own_network(shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(shape[0], 6, 5), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 4 * 4, outputs))


def test_networks_by_name_and_by_function(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    own = ConvClassifier(own_network, epochs=40, random_state=0).fit(images, labels)
    assert own.score(images, labels) > 0.9
    assert own.history_["loss"][-1] < 0.5
    regressor = ConvRegressor("resnet20", epochs=2, random_state=0).fit(images, labels)
    assert regressor.network_.architecture == {"name": "resnet20", "arguments": {"num_classes": 1}}
    clothes, names = sample(20)
    few = ConvClassifier("googlenet_bn_small", epochs=1, random_state=0).fit(clothes, names)
    assert few.predict_proba(clothes).shape == (20, len(set(names)))
    brightness = clothes.mean(axis=(1, 2))
    auxiliary = ConvRegressor("googlenet_bn_small", epochs=1, random_state=0).fit(clothes, brightness)  # left out
    assert auxiliary.predict(clothes).shape == (20,)


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", partial(optim.AdamW, weight_decay=0.1)])
@pytest.mark.parametrize("rate", [1e-2, optim.Cosine(1e-2, epochs=3)])
def test_optimizers_and_rates(digits: tuple[np.ndarray, np.ndarray], optimizer: Any, rate: Any) -> None:
    images, labels = digits
    estimator = clone(ConvClassifier(epochs=3, optimizer=optimizer, learning_rate=rate, random_state=0))
    losses = estimator.fit(images, labels).history_["loss"]
    assert losses[-1] < losses[0]


def test_augmentation_reaches_the_trainer(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    seen: list[tuple[tuple[int, ...], list[int]]] = []

    def watch(x: np.ndarray, y: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        seen.append((x.shape, y.tolist()))
        return x, y

    for seed in (0, 1):
        estimator = ConvClassifier(augment=[data.RandomShift(1), watch], epochs=1, batch_size=100, random_state=seed)
        estimator.fit(images, labels)
    assert [shape for shape, _ in seen] == [(100, 1, 8, 8)] * 6
    assert seen[0] != seen[3]  # the order is drawn from the seed, too


def test_control_c_ends_it_and_keeps_what_it_has_learnt(
    digits: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = digits
    fit = ck.Trainer.fit

    def interrupted(self: ck.Trainer, *arguments: Any, **settings: Any) -> Any:
        history = fit(self, *arguments, **settings)
        history.interrupted = True
        return history

    monkeypatch.setattr(ck.Trainer, "fit", interrupted)
    estimator = ConvClassifier(random_state=0)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(images, labels)
    assert estimator.score(images, labels) > 0.9


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"network": "resnet21"}, ValueError, "network must be a function or one of .*resnet20.*, not 'resnet21'"),
        ({"network": ["lenet5"]}, ValueError, r"network must be a function or one of .*, not \['lenet5'\]"),
        ({"network": 3}, ValueError, "network must be a function or one of .*, not 3"),
        ({"network": nn.Flatten()}, ValueError, "network must be a function or one of .*, not Flatten"),
        ({"network": lambda shape, outputs: None}, TypeError, "network must build a Module, not NoneType"),
        ({"network": lambda shape, outputs: nn.Flatten()}, ValueError, r"shape \(n, 10\) .*\(1, 8, 8\), not \(n, 64\)"),
        ({"image_shape": (1, 7, 7)}, ValueError, r"shape \(1, 7, 7\) have 49 values, but X has 64 for each sample"),
        ({"image_shape": (1, 1, 1, 8, 8)}, ValueError, r"image_shape must be \(L,\), .*, not \(1, 1, 1, 8, 8\)"),
        ({"image_shape": 64}, TypeError, r"image_shape must be \(L,\), .*, not 64"),
        ({"image_shape": "88"}, TypeError, r"image_shape must be \(L,\), .*, not '88'"),
        ({"image_shape": ()}, ValueError, r"image_shape must be \(L,\), .*, not \(\)"),
        ({"image_shape": np.array([[8, 8]])}, TypeError, "image_shape must be an integer"),
        (
            {"image_shape": (4, 16)},
            ValueError,
            r"X has images of shape \(8, 8\), but .* of shape \(1, 4, 16\) as input",
        ),
        ({"image_shape": (8, 0)}, ValueError, "image_shape must be at least 1, not 0"),
        ({"width": 0}, ValueError, "width must be at least 1, not 0"),
        ({"width": 8.0}, TypeError, "width must be an integer"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1"),
        ({"optimizer": "adamm"}, ValueError, "optimizer must be a function or one of adam, .*, not 'adamm'"),
        ({"optimizer": 3}, ValueError, "optimizer must be a function or one of adam, .*, not 3"),
        ({"optimizer": None}, ValueError, "optimizer must be a function or one of adam, .*, not None"),
        ({"optimizer": ["adam"]}, ValueError, r"optimizer must be a function or one of adam, .*, not \['adam'\]"),
        ({"augment": 0}, TypeError, "augment must be a sequence such as .*, not 0"),
        ({"augment": False}, TypeError, "augment must be a sequence such as .*, not False"),
        (
            {"augment": np.array([data.RandomShift(1)] * 2)},
            TypeError,
            "augment must be a sequence such as .*, not array",
        ),
    ],
)
def test_what_cannot_be_is_refused(
    digits: tuple[np.ndarray, np.ndarray], settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ConvClassifier(**settings).fit(*digits)


def test_other_images_than_in_training_are_refused(digits: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = digits
    estimator = ConvClassifier(epochs=1, random_state=0).fit(images, labels)
    with pytest.raises(ValueError, match="X has 49 features, but ConvClassifier is expecting 64"):
        estimator.predict(images[:, :7, :7])


@pytest.mark.parametrize("kind", [ConvClassifier, ConvRegressor])
@pytest.mark.parametrize(
    ("image_shape", "other"),
    [((6, 8), (8, 6)), ((6, 8), (2, 4, 6)), ((6, 8), (1, 1, 6, 8)), ((2, 4, 6), (4, 6, 2)), ((2, 4, 6), (8, 6))],
    ids=str,
)
def test_images_of_another_shape_than_in_training_are_refused(
    kind: Any, image_shape: tuple[int, ...], other: tuple[int, ...]
) -> None:
    x = np.random.default_rng(0).random((12, *image_shape), np.float32)
    estimator = kind(epochs=1, random_state=0).fit(x, np.arange(12) % 2)
    seen = (1, *image_shape)[-3:]
    with pytest.raises(ValueError) as caught:
        estimator.predict(x.reshape(12, *other))
    expected = f"{kind.__name__} is expecting images of shape {seen} as input"
    assert str(caught.value) == f"X has images of shape {other}, but {expected}"
    flat = estimator.predict(x.reshape(12, -1))  # where nothing says another shape
    np.testing.assert_array_equal(estimator.predict(x.reshape(12, *seen)), flat)


@pytest.mark.parametrize("value", [0.1, 0.0, -1e16 / 3, 1e300, 1e-320])
def test_targets_that_are_all_the_same_have_a_scale_of_1(value: float) -> None:
    x, y = np.random.default_rng(0).normal(size=(20, 6)), np.full(20, value)
    estimator = ConvRegressor(epochs=1, random_state=0).fit(x, y)
    assert estimator.target_mean_.tolist() == [value]
    assert estimator.target_scale_.tolist() == [1.0]


@pytest.mark.parametrize("unit", [1e200, 1e-200, 1e299, 1e-290])
def test_targets_may_be_of_any_size_that_float64_can_scale(unit: float) -> None:
    x = np.random.default_rng(0).normal(size=(200, 6))
    y = np.stack([x[:, 0], 3 + 1e-3 * x[:, 1]], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = ConvRegressor(epochs=4, random_state=0).fit(x, y)
        estimator = ConvRegressor(epochs=4, random_state=0).fit(x, y * unit)
    np.testing.assert_allclose(one.target_mean_, y.mean(axis=0))
    np.testing.assert_allclose(one.target_scale_, y.std(axis=0))
    np.testing.assert_allclose(estimator.target_mean_, y.mean(axis=0) * unit)
    np.testing.assert_allclose(estimator.target_scale_, y.std(axis=0) * unit)
    np.testing.assert_allclose(estimator.predict(x) / unit, one.predict(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([1e301, 0.0], r"y must be of numbers up to 1e\+300, not 1e\+301"),
        ([1.7e308, 1e308], r"y must be of numbers up to 1e\+300, not 1.7e\+308"),
        ([5e-324, 0.0], "y must vary by at least 1e-300 or not at all, not with a standard deviation of 0"),
        ([1e-305, 0.0], "y must vary by at least 1e-300 or not at all, not with a standard deviation of 5e-306"),
    ],
)
def test_targets_that_float64_cannot_scale_are_refused(targets: list[float], message: str) -> None:
    x = np.random.default_rng(0).normal(size=(20, 6))
    for y in (np.array(targets * 10), np.stack([np.arange(20.0), np.array(targets * 10)], axis=1)):
        with pytest.raises(ValueError, match=f"^ConvRegressor: {message}$"):
            ConvRegressor(epochs=1).fit(x, y)
