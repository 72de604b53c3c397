"""What an index picks: as NumPy has it, with errors that say whose index it was."""

from __future__ import annotations

from typing import Any

import numpy as np


def pick(function: str, array: np.ndarray, index: Any) -> np.ndarray:
    """``array[index]``, else raise an IndexError, or a TypeError, that names the function."""
    try:
        picked: np.ndarray = array[index]
    except (IndexError, TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else IndexError
        raise kind(f"{function}: index must choose among {len(array)} images, but {error}") from None
    return picked


def chosen(function: str, count: int, index: Any) -> np.ndarray:
    """The numbers (n,) of the samples, out of `count`, that a number, slice, mask or array of indices chooses."""
    numbers = np.atleast_1d(pick(function, np.arange(count), index))
    if numbers.ndim != 1:
        raise IndexError(f"{function}: index must choose samples in one row, not of shape {numbers.shape}")
    return numbers
