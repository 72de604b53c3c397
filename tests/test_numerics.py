"""The table of errors, benchmarks/numerics.py: that no function is missing in it, and that its cases run."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from benchmarks import numerics

from convkit import functional as F


def test_every_function_has_a_case_or_a_reason() -> None:
    measured = {re.match(r"\w*", case.name)[0] for case in numerics.cases()}
    left_out = [name for names in numerics.LEFT_OUT.values() for name in names]
    assert len(left_out) == len(set(left_out))
    assert set(F.__all__) - measured == set(left_out)


def test_names_and_sizes_tell_cases_apart() -> None:
    """Since two runs are compared by them."""
    keys = [(case.name, case.size) for case in numerics.cases()]
    assert len(keys) == len(set(keys))


SMALL = [case for case in numerics.cases() if max(np.prod(shape) for shape in case.shapes) < 60_000]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: f"{case.name}, {case.size}")
def test_single_precision_is_near_double(case: Any) -> None:
    """Within three ulp by the median, as docs/numerics.md says of all but long sums."""
    median, largest = numerics.errors(case, positive=False)
    assert median < 3
    assert median <= largest < np.inf
