"""How this package refuses a number that is out of range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def number(where: str, argument: str, value: Any, low: float = 0.0, below: float = math.inf) -> float:
    """Return `value` as a float if it is a finite number with ``low <= value < below``, else raise."""
    expected = f"a number >= {low:g}" if below == math.inf else f"a number in [{low:g}, {below:g})"
    return _checked(where, argument, value, expected, lambda x: low <= x < below)


def positive(where: str, argument: str, value: Any) -> float:
    """Return `value` as a float if it is a finite number above 0, else raise."""
    return _checked(where, argument, value, "a number above 0", lambda x: 0 < x < math.inf)


def _checked(where: str, argument: str, value: Any, expected: str, fits: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{where}: {argument} must be {expected}, not {value!r}")
    if not fits(value):
        raise ValueError(f"{where}: {argument} must be {expected}, not {value!r}")
    return float(value)
