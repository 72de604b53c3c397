"""Weights move between Keras' networks and ours, layer by layer, with the same accuracy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from moved_networks import full_data
from peer import example


def test_every_kind_of_layer_computes_the_same_and_moves_back(there: Any) -> None:
    errors = there("layers")
    assert len(errors) == 17
    assert {name: error for name, error in errors.items() if error > 1e-5} == {}


@pytest.mark.parametrize("scenario", ["features_in_a_row", "features_of_channels_first", "branches", "models_within"])
def test_networks_compute_the_same_and_move_back(scenario: str, there: Any) -> None:
    assert there(scenario) < 1e-5


def test_flattened_signals_and_volumes(there: Any) -> None:
    assert max(there("features_of_signals_and_volumes")) < 1e-5


def test_what_does_not_fit_is_refused_with_both_layers(there: Any) -> None:
    start, linear = "^ValueError: from_keras: ", r"the model \(Linear: weight \(3, 5\), bias \(3,\)\)"
    patterns = [
        start + rf"d \(Dense: kernel \(5, 4\), bias \(4,\)\) and {linear} do not fit$",
        start + rf"d \(Dense: kernel \(5, 3\)\) and {linear} do not fit$",
        start + rf"c \(Conv1D: kernel \(5, 4, 3\), bias \(3,\)\) and {linear} are layers of different kinds$",
        start + r"b \(BatchNormalization: .* must add the same to the variance, but epsilon is 0.001 and eps 1e-05$",
        start + r".* has 2 layers with weights and the model 1; left over: e \(Dense: kernel \(3, 2\), bias \(2,\)\)$",
        start + r".* has 1 layers with weights and the model 2; left over: 2 \(Linear: weight \(3, 3\), bias \(3,\)\)$",
        start + r"l \(LSTM: kernel .*\) has no counterpart in convkit, only Dense, Conv1D, .* have$",
        start + r"r \(Reshape: \(2, 3, 4\) to \(24,\)\) orders values with channels last; only Flatten can be",
        start + "new has no weights; build it, or call it on a batch, first$",
        start + "nothing says what .* reads, and there is a Flatten; .* must be a Sequential or functional model$",
        start + "head belongs to a model within .*, and nothing says whether it is given what a Flatten made",
        start + r"p \(PReLU: alpha \(4, 3, 6\)\) and the model \(PReLU: weight \(6,\)\) do not fit$",
        "^TypeError: from_keras: network must be a keras Model, not keras.*Dense$",
        "^TypeError: from_keras: model must be a convkit Module, not Dense$",
        r"^ValueError: to_keras: b \(.*\) and the model \(.*\) must have a gamma, as weight is not 1 everywhere$",
    ]
    for message, pattern in zip(there("refused"), patterns, strict=True):
        assert re.search(pattern, message), message


def test_a_refusal_changes_nothing(there: Any) -> None:
    there("a_refusal_changes_nothing")


@pytest.mark.parametrize("source", ["sample", pytest.param("", id="full", marks=pytest.mark.slow)])
def test_accuracy_is_the_same_in_keras_and_here(source: str, there: Any) -> None:
    source = source or full_data() or pytest.skip("no Fashion-MNIST on this machine")
    accuracies = there("trained_there_and_here", source=source)
    print(accuracies)
    assert accuracies["there"] == accuracies["here"]
    assert accuracies["trained on here"] == accuracies["back there"]
    assert accuracies["here"] != accuracies["back there"] and min(accuracies.values()) > 0.6


def test_the_example_on_the_page_runs(there: Any) -> None:
    page = Path(__file__).parents[2] / "docs" / "interop.md"
    there("run", code=example(page, "from_keras"))
