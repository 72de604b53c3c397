"""The negative log-likelihood: its definition, its gradient, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import functional as F
from convkit import nn


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("positions", [(), (3,), (2, 3)])
def test_it_is_the_mean_of_what_the_labels_choose(dtype: Any, positions: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 5, *positions)).astype(dtype)
    labels = rng.integers(0, 5, (4, *positions))
    loss, gradient = F.nll_loss(x, labels), F.nll_loss_backward(x, labels, grad_output=3.0)
    assert loss.dtype == gradient.dtype == dtype

    total, expected = 0.0, np.zeros(x.shape)
    for place in np.ndindex(labels.shape):
        chosen = (place[0], labels[place], *place[1:])
        total -= float(x[chosen])
        expected[chosen] = -3.0 / labels.size
    assert float(loss) == pytest.approx(total / labels.size, rel=1e-6)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_of_logarithms_of_probabilities_it_is_the_cross_entropy() -> None:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(8, 10)), rng.integers(0, 10, 8)
    expected = F.cross_entropy(logits, labels)
    np.testing.assert_allclose(F.nll_loss(F.log_softmax(logits), labels), expected, rtol=1e-14)


def test_it_is_differentiated_in_a_graph() -> None:
    rng = np.random.default_rng(2)
    x, labels = rng.normal(size=(8, 3)), rng.integers(0, 4, 8)
    model = nn.Linear(3, 4).astype("float64")
    loss, grads = ck.value_and_grad(model, F.nll_loss)(x, labels)
    assert loss == pytest.approx(float(F.nll_loss(model(x), labels)), rel=1e-14)
    chosen = np.eye(4)[labels]
    np.testing.assert_allclose(grads["weight"], -chosen.T @ x / 8, rtol=1e-12)
    np.testing.assert_allclose(grads["bias"], -chosen.sum(axis=0) / 8, rtol=1e-12)


def test_of_nothing_there_is_no_mean() -> None:
    assert np.isnan(F.nll_loss(np.zeros((0, 3)), np.zeros(0, np.int64)))
    assert F.nll_loss_backward(np.zeros((0, 3)), np.zeros(0, np.int64)).shape == (0, 3)


@pytest.mark.parametrize("function", [F.nll_loss, F.nll_loss_backward])
@pytest.mark.parametrize("label", [-1, 3])
def test_labels_that_are_no_class(function: Any, label: int) -> None:
    with pytest.raises(ValueError, match=rf"^{function.__name__}: label {label} is none of the 3 classes"):
        function(np.zeros((2, 3)), [0, label])


@pytest.mark.parametrize("function", [F.nll_loss, F.nll_loss_backward])
def test_arguments_of_another_kind(function: Any) -> None:
    with pytest.raises(TypeError, match="labels must be integers, not float64"):
        function(np.zeros((2, 3)), [0.0, 1.0])
    with pytest.raises(ValueError, match=r"labels must have shape \(2,\), not \(3,\)"):
        function(np.zeros((2, 3)), [0, 1, 2])
    with pytest.raises(ValueError, match=r"log_probabilities must have shape \(N, C\) or \(N, C, …\), not \(3,\)"):
        function(np.zeros(3), 0)
    with pytest.raises(TypeError, match="log_probabilities must be a float32 or float64 array, not int64"):
        function(np.zeros((2, 3), np.int64), [0, 1])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [np.inf, np.nan])
def test_an_ignored_label_meets_no_weight(reduction: str, weight: float) -> None:
    """As 1 / counts is infinite for a class that does not occur."""
    x, labels = -np.ones((2, 2), "f4"), [9, 1]
    options = {"weight": np.array([weight, 1], "f4"), "ignore_index": 9, "reduction": reduction}
    np.testing.assert_array_equal(F.nll_loss(x, labels, **options), [0, 1] if reduction == "none" else 1)
    np.testing.assert_array_equal(F.nll_loss_backward(x, labels, **options), [[0, 0], [0, -1]])
