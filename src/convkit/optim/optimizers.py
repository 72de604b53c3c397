"""Optimisers: the rule by which parameters follow their gradients.

An optimiser knows nothing of models, graphs or plans. It writes the update of one run of values (a
parameter, or many parameters laid end to end: every rule here works element by element) and names the
arrays it keeps beside them, its slots. The training step owns these arrays, counts the updates and hands
both over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import numpy as np

from convkit._kernels import update as kernels
from convkit.errors import FLOATS, LARGEST_INTEGER, flag, integer, is_listing, number, positive, real, said, shape
from convkit.optim.schedules import Schedule, as_schedule


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that are to be updated differently from the rest.

    Parameters
    ----------
    match : str or callable
        Which parameters: a pattern for their names as in the shell (``"*.bias"``, ``"conv?.*"``), or a
        function from a name to a bool.
    lr_scale : float
        What the optimiser's learning rate is multiplied by for them.
    weight_decay : float, optional
        Their weight decay instead of the optimiser's.

    Raises
    ------
    TypeError, ValueError
        For a `match` of another type, or a number below 0.
    """

    match: str | Callable[[str], bool]
    lr_scale: float = 1.0
    weight_decay: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.match, str) and not callable(self.match):
            raise TypeError(f"ParamGroup: match must be a pattern or a function of a name, not {said(self.match)}")
        number("ParamGroup", "lr_scale", self.lr_scale)
        if self.weight_decay is not None:
            number("ParamGroup", "weight_decay", self.weight_decay)

    def includes(self, name: str) -> bool:
        """Tell whether the parameter of this name is in the group."""
        if isinstance(self.match, str):
            return fnmatchcase(name, self.match)
        return bool(self.match(name))


class Optimizer(ABC):
    """The base of all optimisers; a subclass writes `update` for one array of values.

    A rule of your own is that one method, and the names of the arrays it keeps::

        class SignSGD(optim.Optimizer):
            slots = ("average",)

            def update(self, values, grads, slots, *, lr, weight_decay, count):
                average = slots["average"]
                average += 0.1 * (grads - average)
                values -= lr * (np.sign(average) + weight_decay * values)

    Parameters
    ----------
    lr : float or callable
        The learning rate, or a schedule: a callable from the number of updates done to the rate.
    weight_decay : float
        How strongly values are pulled to zero; what exactly that means is the subclass' affair.
    groups : sequence of ParamGroup
        Parameters with another rate or decay. The first group that includes a parameter counts.

    Attributes
    ----------
    slots : tuple of str
        Names of the arrays, as large as the values and zero at first, that the rule keeps between updates.
    schedule : callable
        The learning rate as a function of the number of updates done.

    Raises
    ------
    TypeError, ValueError
        For numbers below 0, and groups that are not `ParamGroup`.
    """

    slots: tuple[str, ...] = ()

    def __init__(
        self,
        lr: float | Callable[[int], float],
        *,
        weight_decay: float = 0.0,
        groups: Sequence[ParamGroup] = (),
    ) -> None:
        name = type(self).__name__
        self.schedule = as_schedule(name, "lr", lr)
        self.weight_decay = number(name, "weight_decay", weight_decay)
        if not is_listing(groups):
            raise TypeError(f"{name}: groups must be a sequence of ParamGroup objects, not {said(groups)}")
        self.groups = tuple(groups)
        for group in self.groups:
            if not isinstance(group, ParamGroup):
                raise TypeError(f"{name}: groups must be ParamGroup objects, not {said(group)}")

    @abstractmethod
    def update(
        self,
        values: np.ndarray,
        grads: np.ndarray,
        slots: dict[str, np.ndarray],
        *,
        lr: float,
        weight_decay: float,
        count: int,
    ) -> None:
        """Update values and slots in place, element by element.

        Parameters
        ----------
        values, grads : ndarray, 1-D, contiguous, float32 or float64
            The parameters' values, and the gradients of the loss with respect to them (not to be changed).
        slots : dict of ndarray
            The rule's own arrays by name, of the values' shape and dtype.
        lr, weight_decay : float
            The rate and decay of this update and these values.
        count : int
            Which update this is, 1 for the first.

        Raises
        ------
        TypeError, ValueError
            By the rules of convkit, whose kernels trust what they are given: for arrays that differ from the values in
            shape or dtype, or are not contiguous, aligned and, but for the gradients, writeable; for a slot that is
            missing; for a rate or decay that is no number; for a count below 1.
        """

    def _check_update(self, values: Any, grads: Any, slots: Any, lr: Any, weight_decay: Any, count: Any) -> None:
        """Refuse what `update` says that kernels cannot take; in training, where all fits, in a microsecond."""
        if _evidently_fits(self.slots, values, grads, slots, lr, weight_decay, count):
            return
        where = f"{type(self).__name__}.update"
        _check_array(where, "values", values)
        _check_array(where, "grads", grads, like=values, written=False)
        if not isinstance(slots, Mapping):
            raise TypeError(f"{where}: slots must be a dict of arrays, not {said(slots)}")
        for name in self.slots:
            if name not in slots:
                raise ValueError(f"{where}: slots must have {name}, not only {', '.join(map(str, slots)) or 'nothing'}")
            _check_array(where, f"slots[{name!r}]", slots[name], like=values)
        real(where, "lr", lr)
        real(where, "weight_decay", weight_decay)
        integer(where, "count", count, 1)

    def rate(self, index: int) -> float:
        """Return the learning rate of the update that follows `index` others, before any group's factor.

        Raises
        ------
        TypeError, ValueError
            When the schedule returns something that is not a finite number >= 0.
        """
        return number(type(self).__name__, f"the schedule's rate after {index} updates", self.schedule(index))

    def bind(self, steps_per_epoch: float) -> None:
        """Tell a schedule measured in epochs how many updates an epoch has; `Trainer.fit` does this."""
        if isinstance(self.schedule, Schedule):
            self.schedule = self.schedule.bind(steps_per_epoch)

    def settings(self, name: str) -> tuple[float, float]:
        """Return the factor on the learning rate, and the weight decay, of the parameter of this name."""
        for group in self.groups:
            if group.includes(name):
                decay = self.weight_decay if group.weight_decay is None else group.weight_decay
                return float(group.lr_scale), float(decay)
        return 1.0, self.weight_decay

    def check_groups(self, names: Iterable[str]) -> None:
        """Refuse a group that includes none of a model's parameters: its pattern must have a slip.

        Parameters
        ----------
        names : iterable of str
            Names of all the model's parameters.

        Raises
        ------
        ValueError
            With the group, and the names there are.
        """
        names = list(names)
        for group in self.groups:
            if not any(group.includes(name) for name in names):
                raise ValueError(
                    f"{type(self).__name__}: {group} matches no parameter; the model has {', '.join(names)}"
                )


def _evidently_fits(
    names: Iterable[str], values: Any, grads: Any, slots: Any, lr: Any, weight_decay: Any, count: Any
) -> bool:
    """Whether an update is one as the training step makes them: it says yes quickly, and no to some that fit, too."""
    if not (type(lr) is type(weight_decay) is float and type(count) is int and 0 < count <= LARGEST_INTEGER):
        return False
    if not (isinstance(values, np.ndarray) and values.dtype in FLOATS and type(slots) is dict):
        return False
    dtype, size = values.dtype, values.shape
    for array in (values, grads, *map(slots.get, names)):
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != size or not array.flags.carray:
            return False  # gradients, too, are writeable then
    return True


def _check_array(where: str, argument: str, array: Any, like: np.ndarray | None = None, written: bool = True) -> None:
    dtypes = FLOATS if like is None else (like.dtype,)
    if not isinstance(array, np.ndarray) or array.dtype not in dtypes:
        expected = "float32 or float64 array" if like is None else f"{like.dtype} array as values are"
        came = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{where}: {argument} must be a {expected}, not {came}")
    if like is not None:
        shape(where, argument, array, like.shape)
    if not (array.flags.c_contiguous and array.flags.aligned):
        raise ValueError(f"{where}: {argument} must be contiguous and aligned in memory")
    if written and not array.flags.writeable:
        raise ValueError(f"{where}: {argument} must be writeable")


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum or Nesterov's if asked.

    With g the gradient, w the values, λ the weight decay, μ the momentum and η the rate::

        g ← g + λ w
        v ← μ v + g            (without momentum v is just g)
        w ← w − η v
        w ← w − η (g + μ v)    (Nesterov, instead)

    Parameters
    ----------
    lr : float or callable
        The learning rate η, or a schedule.
    momentum : float
        μ, in [0, 1).
    nesterov : bool
        Whether to look ahead; needs a momentum.
    weight_decay : float
        λ: adds the gradient of ``λ/2 · |w|²`` to the loss'.
    groups : sequence of ParamGroup
        Parameters with another rate or decay.

    Raises
    ------
    TypeError, ValueError
        For numbers out of range, and Nesterov without momentum.

    References
    ----------
    Sutskever, Martens, Dahl, Hinton (2013), "On the importance of initialization and momentum in deep
    learning", section 2, with the rate outside the velocity, so that a schedule acts at once.
    """

    def __init__(
        self,
        lr: float | Callable[[int], float],
        momentum: float = 0.0,
        nesterov: bool = False,
        *,
        weight_decay: float = 0.0,
        groups: Sequence[ParamGroup] = (),
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, groups=groups)
        self.momentum = number("SGD", "momentum", momentum, below=1.0)
        self.nesterov = flag("SGD", "nesterov", nesterov)
        if nesterov and momentum == 0:
            raise ValueError("SGD: momentum must be above 0 with nesterov=True, not 0")
        self.slots = ("velocity",) if momentum else ()

    def update(
        self,
        values: np.ndarray,
        grads: np.ndarray,
        slots: dict[str, np.ndarray],
        *,
        lr: float,
        weight_decay: float,
        count: int,
    ) -> None:
        self._check_update(values, grads, slots, lr, weight_decay, count)
        velocity = slots["velocity"] if "velocity" in self.slots else None
        kernels.sgd(values, grads, velocity, lr, self.momentum, self.nesterov, weight_decay)


class Adam(Optimizer):
    """Steps scaled by running estimates of the gradient's mean and square.

    With g the gradient, w the values, λ the weight decay, η the rate and t the number of the update::

        g ← g + λ w
        m ← β₁ m + (1 − β₁) g
        v ← β₂ v + (1 − β₂) g²
        w ← w − η · (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)

    Parameters
    ----------
    lr : float or callable
        The learning rate η, or a schedule.
    betas : (float, float)
        β₁ and β₂, each in [0, 1).
    eps : float
        ε, above 0.
    weight_decay : float
        λ: adds the gradient of ``λ/2 · |w|²`` to the loss'; for a decay that Adam does not scale see `AdamW`.
    groups : sequence of ParamGroup
        Parameters with another rate or decay.

    Raises
    ------
    TypeError, ValueError
        For numbers out of range.

    References
    ----------
    Kingma, Ba (2015), "Adam: a method for stochastic optimization", algorithm 1.
    """

    slots = ("m", "v")
    _decoupled = False

    def __init__(
        self,
        lr: float | Callable[[int], float] = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float = 0.0,
        groups: Sequence[ParamGroup] = (),
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, groups=groups)
        name = type(self).__name__
        if not isinstance(betas, Sequence) or len(betas) != 2:
            raise TypeError(f"{name}: betas must be two numbers, not {said(betas)}")
        beta1, beta2 = betas
        self.betas = (number(name, "betas[0]", beta1, below=1.0), number(name, "betas[1]", beta2, below=1.0))
        self.eps = positive(name, "eps", eps)

    def update(
        self,
        values: np.ndarray,
        grads: np.ndarray,
        slots: dict[str, np.ndarray],
        *,
        lr: float,
        weight_decay: float,
        count: int,
    ) -> None:
        self._check_update(values, grads, slots, lr, weight_decay, count)
        m, v = slots["m"], slots["v"]
        kernels.adam(values, grads, m, v, lr, *self.betas, self.eps, weight_decay, self._decoupled, count)


class AdamW(Adam):
    """Adam with the weight decay beside the scaled step instead of inside the gradient.

    As `Adam` with λ = 0, but each update begins with ``w ← w − η λ w``.

    Parameters
    ----------
    lr : float or callable
        The learning rate η, or a schedule.
    betas : (float, float)
        β₁ and β₂, each in [0, 1).
    eps : float
        ε, above 0.
    weight_decay : float
        λ.
    groups : sequence of ParamGroup
        Parameters with another rate or decay.

    Raises
    ------
    TypeError, ValueError
        For numbers out of range.

    References
    ----------
    Loshchilov, Hutter (2019), "Decoupled weight decay regularization", algorithm 2, with η in place of the
    schedule's multiplier alone, as is usual today.
    """

    _decoupled = True

    def __init__(
        self,
        lr: float | Callable[[int], float] = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        *,
        weight_decay: float = 0.01,
        groups: Sequence[ParamGroup] = (),
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay=weight_decay, groups=groups)


class RMSprop(Optimizer):
    """Steps scaled by a running estimate of the gradient's square.

    With g the gradient, w the values, λ the weight decay, μ the momentum and η the rate::

        g ← g + λ w
        v ← α v + (1 − α) g²
        m ← α m + (1 − α) g            (centered; else m = 0)
        u ← μ u + g / (√(v − m²) + ε)
        w ← w − η u

    Parameters
    ----------
    lr : float or callable
        The learning rate η, or a schedule.
    alpha : float
        α, in [0, 1).
    eps : float
        ε, above 0.
    momentum : float
        μ, in [0, 1).
    centered : bool
        Whether to scale by the estimated variance instead of the square.
    weight_decay : float
        λ: adds the gradient of ``λ/2 · |w|²`` to the loss'.
    groups : sequence of ParamGroup
        Parameters with another rate or decay.

    Raises
    ------
    TypeError, ValueError
        For numbers out of range.

    References
    ----------
    Tieleman, Hinton (2012), "Neural networks for machine learning", lecture 6.5; the centered form: Graves (2013),
    "Generating sequences with recurrent neural networks", equations 38 to 45.
    """

    def __init__(
        self,
        lr: float | Callable[[int], float] = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        weight_decay: float = 0.0,
        groups: Sequence[ParamGroup] = (),
    ) -> None:
        super().__init__(lr, weight_decay=weight_decay, groups=groups)
        self.alpha = number("RMSprop", "alpha", alpha, below=1.0)
        self.eps = positive("RMSprop", "eps", eps)
        self.momentum = number("RMSprop", "momentum", momentum, below=1.0)
        self.centered = flag("RMSprop", "centered", centered)
        self.slots = ("square", *(["mean"] if centered else []), *(["velocity"] if momentum else []))

    def update(
        self,
        values: np.ndarray,
        grads: np.ndarray,
        slots: dict[str, np.ndarray],
        *,
        lr: float,
        weight_decay: float,
        count: int,
    ) -> None:
        self._check_update(values, grads, slots, lr, weight_decay, count)
        kept = {name: slots[name] for name in self.slots}
        square, mean, velocity = kept["square"], kept.get("mean"), kept.get("velocity")
        kernels.rmsprop(values, grads, square, mean, velocity, lr, self.alpha, self.momentum, self.eps, weight_decay)


# By the words of the command line and of the estimators for scikit-learn; each is called with the learning rate.
BY_NAME: dict[str, Callable[..., Optimizer]] = {
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "sgd": SGD,
    "momentum": partial(SGD, momentum=0.9),
    "nesterov": partial(SGD, momentum=0.9, nesterov=True),
}
