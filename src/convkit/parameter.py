"""Parameters and buffers: the arrays that a model owns, as objects that a graph can refer to."""

from __future__ import annotations

import itertools
import weakref
from typing import Any, NoReturn

import numpy as np

from convkit import errors
from convkit.ops.base import Operand, active_recorder


class _Structure:
    """Numbers that are others after a change of parameters after which a plan made earlier may be wrong, see `bump`,
    after one of any module's attributes, and after values were written, which makes what a plan computed of parameters
    alone stale.

    A change is numbered after it is done, and no number comes twice: where threads make changes side by side, an older
    number may stand last, but it is none that anybody has seen before.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self.version = self.changes = self.writes = 0

    def bump(self) -> None:
        """Arrays have moved, parameters were frozen or thawed, or a loss was changed."""
        self.version = next(self._numbers)

    def count_change(self, counter: list[int]) -> None:
        """An attribute was set of the module whose counter this is."""
        counter[0] = self.changes = next(self._numbers)

    def count_write(self) -> None:
        """Values were written."""
        self.writes = next(self._numbers)


structure = _Structure()


class _Owned(Operand):
    """An array owned by a model, read through `value` and written through `assign`."""

    def __init__(self, values: Any) -> None:
        self._data = errors.array(type(self).__name__, "values", values).copy()
        self.name = ""

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        return self._data.shape

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        return self._data.dtype

    @property
    def data(self) -> np.ndarray:
        """The array itself, for kernels; everybody else reads `value` and calls `assign`."""
        return self._data

    @property
    def value(self) -> np.ndarray:
        """The present values, read-only."""
        view = self._data.view()
        view.flags.writeable = False
        return view

    def assign(self, values: Any) -> None:
        """Overwrite the values with an array of the same shape.

        Raises
        ------
        TypeError
            For numbers that the dtype cannot hold: complex ones, and such as would become infinite.
        ValueError
            For another shape.
        """
        where = f"{type(self).__name__} {self.name!r}.assign"
        new = errors.view(where, "values", values.value if isinstance(values, _Owned) else values)
        errors.shape(where, "values", new, self.shape)
        np.copyto(self._data, errors.held(where, "values", new, self.dtype))
        structure.count_write()

    def place(self, storage: np.ndarray) -> None:
        """Move the values into `storage`, an array of the same shape, and live there."""
        np.copyto(storage, self._data)
        self._data = storage
        structure.bump()

    def live_in(self, storage: np.ndarray) -> None:
        """Have the values of `storage` from now on, an array of the same shape and maybe of another dtype."""
        self._data = storage
        structure.bump()

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__)

    def __copy__(self) -> Any:
        """One of the same class whose values are its own, as those of a copied array; other attributes are shared."""
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__getstate__(), _data=self._data.copy())
        return twin

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        if active_recorder() is None:
            raise TypeError(f"NumPy takes a {type(self).__name__.lower()} by its value: write .value behind it")
        super().__array__()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name or '?'}, shape={self.shape}, dtype={self.dtype})"


class Parameter(_Owned):
    """An array that training changes.

    Parameters
    ----------
    values : array of float32 or float64
        The initial values; copied.
    trainable : bool
        Whether training changes it; can be set at any time (freezing).
    """

    def __init__(self, values: Any, trainable: bool = True) -> None:
        super().__init__(values)
        self._trainable = errors.flag("Parameter", "trainable", trainable)
        self._owner: weakref.ref[Any] | None = None

    @property
    def trainable(self) -> bool:
        """Whether training changes this parameter."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        trainable = errors.flag(f"Parameter {self.name!r}", "trainable", value)
        if self._trainable != trainable:
            self._trainable = trainable
            structure.bump()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_owner": None}  # nobody owns the memory of a copy

    def claim(self, owner: Any) -> bool:
        """Let `owner` move the values into a buffer of its own, unless another living owner already has."""
        current = self._owner() if self._owner is not None else None
        if current is not None and current is not owner:
            return False
        self._owner = weakref.ref(owner)
        return True

    def release(self, owner: Any) -> None:
        """Let others claim what `owner` had."""
        if self._owner is not None and self._owner() is owner:
            self._owner = None


class Buffer(_Owned):
    """An array that belongs to a model's state but is not trained: saved and loaded with the weights."""

    def update(self, values: Any) -> None:
        """Hold other values, of the same shape, from here on.

        While a `forward` is traced `values` may be a symbol: each run of the plan then ends by writing them here, and
        the rest of the forward pass reads the new ones.  Outside of a trace this is `assign`.
        """
        recorder = active_recorder()
        if recorder is None:
            self.assign(values)
        else:
            errors.shape(f"Buffer {self.name!r}.update", "values", values, self.shape)
            recorder.update(self, values)
