"""The process-wide generator that weights are drawn from; it starts at seed 0."""

from __future__ import annotations

import numpy as np

_generator = np.random.Generator(np.random.Philox(0))


def generator() -> np.random.Generator:
    """The generator in use."""
    return _generator


def set_seed(seed: int) -> None:
    """Start the process-wide generator anew, so that models built next get the same weights each time."""
    global _generator
    _generator = np.random.Generator(np.random.Philox(seed))
