"""The generator that weights are drawn from: a process-wide one that starts at seed 0, or one for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from convkit.errors import integer

LARGEST_KEY = 2**64 - 1  # of what shuffles, and of seeds that draw one thing
_LARGEST_SEED = 2**128 - 1  # secrets.randbits(128) is what NumPy advises for seeds

_generator = np.random.Generator(np.random.Philox(0))
_for_now: ContextVar[np.random.Generator | None] = ContextVar("convkit_generator", default=None)


def generator() -> np.random.Generator:
    """The generator in use."""
    return _for_now.get() or _generator


def set_seed(seed: int) -> None:
    """Start the process-wide generator anew, so that models built next get the same weights each time.

    Parameters
    ----------
    seed : int
        From 0 to 2**128 - 1.

    Raises
    ------
    TypeError, ValueError
        For another.
    """
    global _generator
    _generator = _started("set_seed", seed)


def _started(function: str, seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(integer(function, "seed", seed, 0, _LARGEST_SEED)))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw the weights of models built within a ``with`` block, in this thread, from a generator of their own.

    The process-wide one is neither used nor changed.
    """
    token = _for_now.set(_started("seeded", seed))
    try:
        yield
    finally:
        _for_now.reset(token)
