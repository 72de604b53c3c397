"""Metrics on outputs small enough to judge by eye, and their means over batches of unequal size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convkit.train import Accuracy, TopK
from convkit.train.metrics import Means, named

SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.0, 0.4, 0.6], [0.2, 0.2, 0.6]])
LABELS = np.array([1, 2, 1, 0])


def test_accuracy() -> None:
    np.testing.assert_array_equal(Accuracy()(SCORES, LABELS), [True, False, False, False])


@pytest.mark.parametrize(("k", "expected"), [(1, [1, 0, 0, 0]), (2, [1, 0, 1, 1]), (3, [1, 1, 1, 1])])
def test_top_k(k: int, expected: list[int]) -> None:
    np.testing.assert_array_equal(TopK(k)(SCORES, LABELS), np.array(expected, bool))


def test_of_tied_scores_the_first_counts() -> None:
    tied = np.zeros((3, 3))
    np.testing.assert_array_equal(Accuracy()(tied, np.arange(3)), [True, False, False])
    np.testing.assert_array_equal(TopK(1)(tied, np.arange(3)), [True, False, False])
    np.testing.assert_array_equal(TopK(2)(tied, np.arange(3)), [True, True, False])


def test_top_one_is_accuracy_on_random_scores() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (500, 6)).astype(np.float32)  # many ties
    labels = rng.integers(0, 6, 500)
    np.testing.assert_array_equal(TopK(1)(scores, labels), Accuracy()(scores, labels))


def test_undefined_scores_are_never_right() -> None:
    broken = np.full((3, 3), np.nan)
    assert not TopK(2)(broken, np.arange(3)).any()
    assert not TopK(2)(np.array([[np.nan, 1, 2]]), np.array([0])).any()
    assert not Accuracy()(broken, np.arange(3)).any()


@pytest.mark.parametrize("metric", [Accuracy(), TopK(2), TopK(3)])
def test_a_label_that_is_no_class_is_never_right(metric: Any) -> None:
    labels = np.array([1, -100, 3, 2])
    np.testing.assert_array_equal(metric(np.eye(4, 3)[[1, 0, 2, 2]], labels), [True, False, False, True])


def test_labels_are_integers() -> None:
    with pytest.raises(TypeError, match="top2: labels must be integers, not float64"):
        TopK(2)(SCORES, LABELS.astype(float))


def test_probabilities_as_targets_and_positions_within_a_sample() -> None:
    rows = np.eye(3)[LABELS] * 0.8 + 0.1
    np.testing.assert_array_equal(Accuracy()(SCORES, rows), Accuracy()(SCORES, LABELS))
    np.testing.assert_array_equal(TopK(2)(SCORES, rows), TopK(2)(SCORES, LABELS))
    planes, labels = SCORES.T.reshape(1, 3, 2, 2), LABELS.reshape(1, 2, 2)
    np.testing.assert_array_equal(Accuracy()(planes, labels), Accuracy()(SCORES, LABELS).reshape(1, 2, 2))
    np.testing.assert_array_equal(TopK(2)(planes, labels), TopK(2)(SCORES, LABELS).reshape(1, 2, 2))


@pytest.mark.parametrize("metric", [Accuracy(), TopK(1)])
def test_shapes_that_do_not_belong_together_are_refused(metric: Any) -> None:
    with pytest.raises(ValueError, match=r"outputs must be \(N, classes, ...\).*not \(4, 3\) and \(3,\)"):
        metric(SCORES, LABELS[:3])


def test_more_places_than_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"top5: outputs must have at least 5 classes, not shape \(4, 3\)"):
        TopK(5)(SCORES, LABELS)
    with pytest.raises(ValueError, match="TopK: k must be at least 1, not 0"):
        TopK(0)


def worst(outputs: np.ndarray, targets: np.ndarray) -> float:
    return float(outputs.min())


def test_metrics_by_name() -> None:
    metrics = named(["accuracy", "top3", "loss", worst])
    assert list(metrics) == ["accuracy", "top3", "worst"]
    assert metrics["worst"] is worst


@pytest.mark.parametrize(
    ("metrics", "error", "message"),
    [
        (
            ["precision"],
            ValueError,
            r"must be 'accuracy', 'top5' \(any number\), 'loss' or callables, not 'precision'",
        ),
        (["top0"], ValueError, r"not 'top0'"),
        ([3], TypeError, r"metrics must be names or callables, not 3"),
        (["accuracy", Accuracy()], ValueError, r"different names, but 'accuracy' comes twice"),
        ("accuracy", TypeError, r"metrics must be a sequence, not 'accuracy'"),
    ],
)
def test_bad_metrics_are_refused(metrics: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        named(metrics)


def test_means_weigh_by_samples() -> None:
    means = Means(named(["accuracy", worst]))
    means.add(2.0, SCORES, (LABELS,), 4)
    means.add(5.0, SCORES[:1], (LABELS[:1],), 1)
    result = means.result()
    assert list(result) == ["loss", "accuracy", "worst"]
    assert result["loss"] == (2.0 * 4 + 5.0) / 5
    assert result["accuracy"] == 2 / 5
    assert result["worst"] == pytest.approx((0.0 * 4 + 0.1) / 5)


def test_means_count_positions_within_a_sample() -> None:
    means = Means(named(["accuracy"]))
    means.add(1.0, SCORES.T.reshape(1, 3, 2, 2), (LABELS.reshape(1, 2, 2),), 1)
    assert means.result()["accuracy"] == 1 / 4


def test_samples_whose_label_is_ignored_do_not_count() -> None:
    means = Means(named(["accuracy", "top2", worst]), ignore_index=-100)
    means.add(2.0, SCORES, (np.array([1, -100, -100, 0]),), 4)
    means.add(np.nan, SCORES[:1], (np.array([-100]),), 1)
    means.add(5.0, SCORES[1:2], ([2],), 1)
    result = means.result()
    assert result["loss"] == (2.0 * 2 + 5.0) / 3
    assert result["accuracy"] == 1 / 3
    assert result["top2"] == 2 / 3
    assert result["worst"] == pytest.approx(0.2 / 3)


def test_positions_whose_label_is_ignored_do_not_count() -> None:
    planes = SCORES.T.reshape(1, 3, 2, 2)
    means = Means(named(["accuracy"]), ignore_index=2)
    means.add(1.0, planes, (LABELS.reshape(1, 2, 2),), 1)
    means.add(3.0, planes, (np.array([[[1, 0], [0, 1]]]),), 1)  # none of four is ignored
    assert means.result() == {"loss": (1.0 * 3 + 3.0 * 4) / 7, "accuracy": (1 + 2) / 7}


def test_of_several_outputs_the_first_is_judged() -> None:
    means = Means(named(["accuracy"]))
    means.add(1.0, (SCORES, np.zeros((4, 3))), (LABELS,), 4)
    assert means.result()["accuracy"] == 1 / 4


def test_no_batches_have_no_means() -> None:
    assert Means(named(["accuracy"])).result() == {}
