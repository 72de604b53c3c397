"""The tables of calls that other tests go through leave no function and no array out."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import functional as F
from convkit import nn
from functional_calls import calls


def test_every_function_has_a_call() -> None:
    assert sorted(call.name for call in calls()) == sorted(F.__all__)


def test_a_list_of_arrays_offers_its_items() -> None:
    [call] = [call for call in calls() if call.name == "concat_backward"]
    assert call.float_arrays == ["grad_output", "arrays[0]", "arrays[1]"]
    other = np.zeros_like(call.arguments["arrays[1]"])
    changed = call.with_(**{"arrays[1]": other})
    assert changed.arguments["arrays"][1] is other
    assert changed.arguments["arrays"][0] is call.arguments["arrays[0]"]
    assert call.arguments["arrays[1]"] is not other
    with pytest.raises(KeyError):
        call.arguments["no such thing"]


def test_labels_and_indices_are_offered() -> None:
    names = {name for call in calls() for name in call.integer_arrays}
    assert names == {"labels", "indices"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("values", ["large", "infinite", "nan", "mixed"])
def test_no_function_warns_of_numbers_that_are_no_finite_ones(values: str, dtype: Any) -> None:
    """Compiled kernels cannot, so what NumPy computes does not either."""
    largest = np.finfo(dtype).max
    chosen = {"large": [largest, -largest], "infinite": [np.inf, -np.inf], "nan": [np.nan], "mixed": [np.inf, 1.0]}
    for call in calls(dtype):
        arrays = {name: np.resize(chosen[values], call.arguments[name].shape) for name in call.float_arrays}
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            call.with_(**{name: array.astype(dtype) for name, array in arrays.items()})()


@pytest.mark.parametrize(
    "call",
    [
        lambda x: F.multiply(x, x[0]),
        lambda x: F.add(x, x[0]),
        lambda x: F.multiply(x, 1e300),
        lambda x: F.mse_loss_backward(x, x, grad_output=1e300),
        lambda x: F.cross_entropy_backward(x, [0, 1], grad_output=1e300, reduction="none"),
        lambda x: F.cross_entropy(x, [0, 1], weight=x[0], reduction="sum"),
        lambda x: F.avg_pool1d(x[None], 2, divisor_override=1),
        lambda x: F.adaptive_avg_pool1d(np.resize(x, (1, 1, 5)), 3),
        lambda x: F.interpolate(x[None], 3, mode="linear"),
        lambda x: F.layer_norm(x, 2, x[0], x[0]),
        lambda x: nn.CrossEntropyLoss(np.array([1e300, 1]))(x, [0, 1]),
        lambda x: nn.AuxiliaryCrossEntropyLoss(1e300)([x, x], [0, 1]),
        lambda x: nn.init.normal((200,), 1e300),
        lambda x: nn.Linear(2, 2, init=lambda shape: np.full(shape, 1e300)),
        lambda x: nn.PReLU(3, 1e300),
        lambda x: ck.value_and_grad(nn.Linear(2, 2), lambda y, t: F.sum(F.multiply(y, t)))(x, x[0]),
    ],
)
def test_what_overflows_is_infinite_without_a_word(call: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        call(np.array([[3e38, 3e38], [3e38, -3e38]], "f4"))
