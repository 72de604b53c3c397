"""What an index picks: as NumPy has it, with errors that say whose index it was."""

from __future__ import annotations

from typing import Any

import numpy as np


def pick(function: str, array: Any, index: Any) -> Any:
    """``array[index]``, else raise an IndexError, or a TypeError, that names the function."""
    try:
        picked = array[index]
    except (IndexError, TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else IndexError
        raise kind(f"{function}: index must choose among {len(array)} images, but {error}") from None
    return picked


def chosen(function: str, count: int, index: Any) -> np.ndarray:
    """The numbers (n,) of the samples, out of `count`, that a number, slice, mask or array of indices chooses."""
    places = range(count) if isinstance(index, slice) else np.arange(count)
    numbers = np.atleast_1d(np.asarray(pick(function, places, index), np.intp))
    if numbers.ndim != 1:
        raise IndexError(f"{function}: index must choose samples in one row, not of shape {numbers.shape}")
    return numbers
