"""The tables of calls that other tests go through leave no function and no array out."""

from __future__ import annotations

import numpy as np
import pytest

from convkit import functional as F
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
