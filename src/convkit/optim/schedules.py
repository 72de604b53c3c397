"""Learning-rate schedules: how fast to learn, as a function of the updates done.

A schedule is any callable that takes the number of updates done so far and returns the learning rate of the
next one; a plain function will do. Those of this file are measured in updates (``steps=``) or in epochs
(``epochs=``), whichever you give::

    optim.Cosine(1e-3, steps=9380)    # needs nothing more
    optim.Cosine(1e-3, epochs=10)     # must know how many updates an epoch has: Trainer.fit tells it,
                                      # and in a loop of your own optimizer.bind(steps_per_epoch) does

A schedule is asked anew at every update, so a rate measured in epochs moves within the epoch too.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np

from convkit.errors import integer, number, positive, said

_ROUNDING = 1e-12  # by which a quotient may miss the whole number that it is, in shares of that


class Schedule(ABC):
    """A learning rate that depends on the number of updates done; the base of all schedules."""

    @abstractmethod
    def __call__(self, index: int) -> float:
        """Return the rate of the update that follows `index` updates (so 0 asks for the first).

        Raises
        ------
        TypeError, ValueError
            For an `index` that is no integer from 0 on.
        """

    def bind(self, steps_per_epoch: float) -> Schedule:
        """Return this schedule, told how many updates an epoch has.

        Parameters
        ----------
        steps_per_epoch : float
            Updates in one epoch; a fraction where the gradients of several batches make one update.

        Returns
        -------
        Schedule
            Itself where the schedule does not speak of epochs.
        """
        return self


def as_schedule(where: str, argument: str, value: Any) -> Callable[[int], float]:
    """Return a schedule as it is, and a number as the schedule that always gives it."""
    return value if callable(value) else Constant(number(where, argument, value))


def _scaled(rate: float, factor: float, exponent: float) -> float:
    """``rate * factor ** exponent``, 0 for a rate of 0; infinite where a float ends, which `Optimizer.rate` refuses."""
    try:
        return rate * float(factor) ** exponent if rate else 0.0
    except OverflowError:
        return math.inf


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate always.

    Parameters
    ----------
    lr : float
        The rate.

    Raises
    ------
    TypeError, ValueError
        For a rate that is not a number >= 0.
    """

    lr: float

    def __post_init__(self) -> None:
        number("Constant", "lr", self.lr)

    def __call__(self, index: int) -> float:
        integer("Constant", "index", index, 0)
        return self.lr


@dataclass(frozen=True)
class Timed(Schedule):
    """What schedules with a length share: the length, in updates or epochs, and a clock in the same unit.

    Parameters
    ----------
    steps, epochs : float
        The length, in updates or in epochs: exactly one of the two.
    steps_per_epoch : float, optional
        Updates in an epoch; `bind` sets it.

    Raises
    ------
    TypeError, ValueError
        Unless exactly one of `steps` and `epochs` is given, and is above 0.
    """

    _: KW_ONLY
    steps: Any = None
    epochs: Any = None
    steps_per_epoch: float | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(
                f"{self._name}: either steps (a length in updates) or epochs must be given, "
                f"not steps={said(self.steps)} with epochs={said(self.epochs)}"
            )
        self._check_length()
        if self.steps_per_epoch is not None:
            positive(self._name, "steps_per_epoch", self.steps_per_epoch)

    @property
    def _name(self) -> str:
        return type(self).__name__

    @property
    def _unit(self) -> str:
        return "epochs" if self.steps is None else "steps"

    @property
    def _length(self) -> Any:
        return self.epochs if self.steps is None else self.steps

    def _check_length(self) -> None:
        positive(self._name, self._unit, self._length)

    def _clock(self, count: int) -> float:
        """A count of updates, expressed in the unit that the length is given in."""
        if self.steps is not None:
            return float(count)
        if self.steps_per_epoch is None:
            raise ValueError(
                f"{self._name}: how many updates an epoch has is not known: train with Trainer.fit, "
                "call optimizer.bind(steps_per_epoch), or give steps= instead of epochs="
            )
        return count / float(self.steps_per_epoch)

    def _times(self, index: int, length: Any, ahead: int = 0) -> float:
        """How often a length has passed after `index` updates and `ahead` more, whole where only rounding denies it."""
        times = self._clock(integer(self._name, "index", index, 0) + ahead) / float(length)
        nearest = float(np.rint(times))
        return nearest if math.isclose(times, nearest, rel_tol=_ROUNDING) else times

    def bind(self, steps_per_epoch: float) -> Timed:
        positive(f"{self._name}.bind", "steps_per_epoch", steps_per_epoch)
        return dataclasses.replace(self, steps_per_epoch=steps_per_epoch)


@dataclass(frozen=True)
class Step(Timed):
    """Multiply the rate by a factor at regular intervals.

    ``rate = lr * factor ** floor(t / T)``, with t the updates (or epochs) done and T the interval.

    Parameters
    ----------
    lr : float
        The first rate.
    factor : float
        What the rate is multiplied by at each interval's end.
    steps, epochs : float
        The interval T, in updates or in epochs: one of the two.

    Raises
    ------
    TypeError, ValueError
        For a negative rate or factor, and unless exactly one of `steps` and `epochs` is a number above 0.

    References
    ----------
    He, Zhang, Ren, Sun (2016), "Deep residual learning for image recognition", section 3.4 (factor 0.1).
    """

    lr: float
    factor: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        number("Step", "lr", self.lr)
        number("Step", "factor", self.factor)

    def __call__(self, index: int) -> float:
        return _scaled(self.lr, self.factor, float(np.floor(self._times(index, self._length))))


@dataclass(frozen=True)
class Exponential(Timed):
    """Let the rate fall by a fixed factor per interval, smoothly.

    ``rate = lr * factor ** (t / T)``, with t the updates (or epochs) done and T the interval.

    Parameters
    ----------
    lr : float
        The first rate.
    factor : float
        What the rate has been multiplied by after each interval.
    steps, epochs : float
        The interval T, in updates or in epochs: one of the two.

    Raises
    ------
    TypeError, ValueError
        For a negative rate or factor, and unless exactly one of `steps` and `epochs` is a number above 0.

    References
    ----------
    Senior, Heigold, Ranzato, Yang (2013), "An empirical study of learning rates in deep neural networks for
    speech recognition" (exponential scheduling, factor 0.1).
    """

    lr: float
    factor: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        number("Exponential", "lr", self.lr)
        number("Exponential", "factor", self.factor)

    def __call__(self, index: int) -> float:
        return _scaled(self.lr, self.factor, self._times(index, self._length))


@dataclass(frozen=True)
class Cosine(Timed):
    """Half a cosine wave from the first rate down to the last one, which then stays.

    ``rate = final + (lr - final) * (1 + cos(pi * min(t / T, 1))) / 2``, with t the updates (or epochs) done.

    Parameters
    ----------
    lr : float
        The first rate.
    final : float
        The rate at the end.
    steps, epochs : float
        The length T, in updates or in epochs: one of the two.

    Raises
    ------
    TypeError, ValueError
        For a negative rate, and unless exactly one of `steps` and `epochs` is a number above 0.

    References
    ----------
    Loshchilov, Hutter (2017), "SGDR: stochastic gradient descent with warm restarts", equation 5, without
    restarts.
    """

    lr: float
    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        number("Cosine", "lr", self.lr)
        number("Cosine", "final", self.final)

    def __call__(self, index: int) -> float:
        done = min(self._times(index, self._length), 1.0)
        return self.final + (self.lr - self.final) * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class Piecewise(Timed):
    """A table of rates, each for its own time; the last one stays.

    Parameters
    ----------
    rates : sequence of float
        The rates, in order.
    steps, epochs : sequence of float
        How long each rate holds, in updates or in epochs: one of the two, with as many entries as `rates`.

    Raises
    ------
    TypeError, ValueError
        For a negative rate, a length that is not above 0, and tables of different lengths.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner (1998), "Gradient-based learning applied to document recognition", section
    III.B: ``Piecewise((5e-4, 2e-4, 1e-4, 5e-5, 1e-5), epochs=(2, 3, 3, 4, 8))``.
    """

    rates: Sequence[float]

    def _check_length(self) -> None:
        if not isinstance(self.rates, Sequence) or not isinstance(self._length, Sequence):
            raise TypeError(
                f"Piecewise: rates, {self._unit} must be sequences, not {said(self.rates)}, {said(self._length)}"
            )
        if not self.rates or len(self.rates) != len(self._length):
            raise ValueError(
                f"Piecewise: rates and {self._unit} must have the same number of entries, at least one, "
                f"not {len(self.rates)} and {len(self._length)}"
            )
        for rate, length in zip(self.rates, self._length, strict=True):
            number("Piecewise", "rates", rate)
            positive("Piecewise", self._unit, length)

    def __call__(self, index: int) -> float:
        for rate, end in zip(self.rates, itertools.accumulate(map(float, self._length)), strict=True):
            if self._times(index, end) < 1:
                return rate
        return self.rates[-1]


@dataclass(frozen=True)
class WarmUp(Timed):
    """Raise the rate linearly to a schedule's own over the first updates.

    ``rate = schedule(i) * min((i + 1) / N, 1)`` for the update that follows i others, with N the length in
    updates. The inner schedule runs from the start of training, not from the end of the warm-up.

    Parameters
    ----------
    schedule : float or callable
        The schedule to warm up to; a number is a constant rate.
    steps, epochs : float
        The length of the warm-up, in updates or in epochs: one of the two.

    Raises
    ------
    TypeError, ValueError
        For a schedule that is neither callable nor a number >= 0, and unless exactly one of `steps` and
        `epochs` is a number above 0.

    References
    ----------
    Goyal et al. (2017), "Accurate, large minibatch SGD: training ImageNet in 1 hour", section 2.2 (gradual
    warmup).
    """

    schedule: Any

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "schedule", as_schedule("WarmUp", "schedule", self.schedule))

    def __call__(self, index: int) -> float:
        return min(self._times(index, self._length, ahead=1), 1.0) * self.schedule(index)

    def bind(self, steps_per_epoch: float) -> Timed:
        inner = self.schedule.bind(steps_per_epoch) if isinstance(self.schedule, Schedule) else self.schedule
        positive("WarmUp.bind", "steps_per_epoch", steps_per_epoch)
        return dataclasses.replace(self, schedule=inner, steps_per_epoch=steps_per_epoch)
