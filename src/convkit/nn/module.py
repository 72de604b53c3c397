"""Module: the base of layers and of one's own networks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from convkit.errors import FLOATS, flag, held, said, view, whole_numbers
from convkit.graph.plan import Plan, PlanCache, spec_of
from convkit.graph.rewrite import reorder
from convkit.graph.symbols import Graph
from convkit.graph.trace import model_input, scaled, symbols_of, trace
from convkit.nn.state import assign
from convkit.nn.summary import summarize
from convkit.ops.base import Operand, Spec, active_recorder
from convkit.parameter import Buffer, Parameter, structure

Kind = type | tuple[type, ...]

# Attributes of a module that are not part of the model.
OWN_AFFAIRS = ("_plans", "_changes")

# Attributes that are searched for what they hold.
CONTAINERS = (list, tuple, dict)


class Module:
    """A layer or network: parameters as attributes, other modules as attributes, and a `forward`.

    Write `forward` in ordinary Python with layers, functions of `convkit.functional` and ``+ - * @``; add,
    concatenate and branch as you like.  It runs once for each shape of input, on symbols; what it records is then
    planned and run on arrays.  Modules and parameters in an attribute that is a list or dict are found too; to
    change such a list later, assign a new one.  Other attributes that `forward` itself sets, such as a count of its
    runs, have it run no more often.

    Attributes
    ----------
    architecture : dict, optional
        ``{"name": …, "arguments": {…}}`` as `convkit.models` can build it again; saved with the weights.
    classes : list of str, optional
        Names of the classes that the outputs stand for.
    input_shape : tuple of int, optional
        Shape of one input, without the batch axis.
    integer_inputs : tuple of int
        Which inputs, counted from 0, are integers (indices, labels) and no images: `forward` meets them as int64.

    Examples
    --------
    >>> class Residual(Module):
    ...     def __init__(self, channels):
    ...         self.conv = nn.Conv2d(channels, channels, 3, padding=1)
    ...     def forward(self, x):
    ...         return F.relu(x + self.conv(x))
    """

    architecture: dict[str, Any] | None = None
    classes: list[str] | None = None
    input_shape: tuple[int, ...] | None = None
    integer_inputs: tuple[int, ...] = ()

    def forward(self, *inputs: Any) -> Any:
        """The computation, in terms of what it is called with."""
        raise NotImplementedError(f"{type(self).__name__} must define forward")

    def changes(self) -> list[int]:
        """One number, another one after each attribute set: plans made before are stale."""
        counter: list[int] = self.__dict__.setdefault("_changes", [0])
        return counter

    def __setattr__(self, name: str, value: Any) -> None:
        present = self.__dict__.get(name)
        if isinstance(present, (Parameter, Buffer)) and not isinstance(value, (Parameter, Buffer, type(None))):
            kind = type(present).__name__.lower()
            raise TypeError(f"{type(self).__name__}: {name} is a {kind}; write its values with {name}.assign(values)")
        super().__setattr__(name, value)
        self._count_change(name, present, value)

    def __delattr__(self, name: str) -> None:
        present = self.__dict__.get(name)
        super().__delattr__(name)
        self._count_change(name, present)

    def _count_change(self, name: str, *values: Any) -> None:
        """Count that an attribute has other values; what `forward` notes while it is traced makes no plan stale."""
        if active_recorder() is None or any(_held(self, name, values, (Module, Parameter, Buffer), ())):
            structure.count_change(self.changes())

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__dict__.get("__slots__"):
            raise TypeError(
                f"{cls.__name__}: a Module must not have __slots__, in which layers and parameters are not found"
            )

    def __getstate__(self) -> dict[str, Any]:
        attributes = list(self.__dict__.items())  # another thread's first call adds to them
        return {name: value for name, value in attributes if name not in OWN_AFFAIRS}

    def __call__(self, *inputs: Any, training: bool = False) -> Any:
        """Apply to arrays, returning fresh arrays; within another module's `forward`, to symbols.

        Parameters
        ----------
        *inputs : arrays
            float32 or float64, converted to the model's dtype (a model without parameters keeps theirs); or uint8
            images, scaled to [0, 1]; integers where `integer_inputs` says so.
        training : bool
            Run the training forward (dropout at work) instead of inference.
        """
        recorder = active_recorder()
        if recorder is not None and (not inputs or any(isinstance(operand, Operand) for operand in inputs)):
            return self._record(recorder, inputs)
        arrays = [
            values if type(values) is np.ndarray else view(type(self).__name__, "inputs", values) for values in inputs
        ]
        if self.integer_inputs:
            arrays = [self.input_array(type(self).__name__, i, array) for i, array in enumerate(arrays)]
        if recorder is not None:  # constants of the graph, which lead to parameters all the same
            return self._record(recorder, _as_traced(self, arrays))
        if training is not False:
            training = flag(type(self).__name__, "training", training)
        key = (training, *[(array.shape, array.dtype) for array in arrays])
        attributes = self.__dict__
        cache: PlanCache = attributes.get("_plans") or attributes.setdefault("_plans", PlanCache(self))
        plan, outputs = cache.run(key, lambda: self._make_plan(arrays, training), arrays, step=next(cache.calls))
        return tuple(outputs) if plan.several else outputs[0]

    def _record(self, recorder: Any, inputs: tuple[Any, ...]) -> Any:
        outer = recorder.scope
        recorder.scope = (*outer, id(self))
        try:
            result = recorder.returned[id(self)] = self.forward(*inputs)
            return result
        finally:
            recorder.scope = outer

    def _make_plan(self, arrays: Sequence[np.ndarray], training: bool) -> Plan:
        dtype = self.dtype_for(arrays)
        graph, result = self.trace([self._input_spec(i, array, dtype) for i, array in enumerate(arrays)], training)
        outputs = symbols_of(f"{type(self).__name__}.forward", result)
        reorder(graph, outputs)
        return Plan(graph, outputs, several=isinstance(result, (tuple, list)))

    def _input_spec(self, position: int, array: np.ndarray, dtype: np.dtype[Any]) -> Spec:
        """Shape and dtype that a plan gives the input at a position, in a model that computes in `dtype`."""
        return spec_of(self.input_array(type(self).__name__, position, array, dtype))

    def input_array(self, where: str, position: int, array: np.ndarray, dtype: Any = None) -> np.ndarray:
        """The input at a position as an array that `forward` can be traced for; floats in `dtype` if it is given."""
        if position in self.integer_inputs:
            return whole_numbers(where, f"inputs[{position}]", array)
        return array if dtype is None else model_input(where, array, dtype)

    def trace(self, specs: Sequence[Spec], training: bool = False) -> tuple[Graph, Any]:
        """The graph of `forward` for inputs of these shapes and dtypes, and what it returned: symbols."""
        return trace(self, specs, self.dtype_for(specs), training)

    # --- what it is made of ----------------------------------------------------------------------------------

    def children(self) -> dict[str, Module]:
        """The modules that are attributes of this one, by name."""
        found = list(_members(self, Module))
        children = dict(found)
        return children if len(children) == len(found) else dict(_once(type(self).__name__, found))

    def modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and all within it, with dotted names; this one's name is empty."""
        return _once(type(self).__name__, _walk(self, type(self).__name__, prefix, ()))

    def _named(self) -> Iterator[tuple[str, Parameter | Buffer]]:
        for prefix, module in _walk(self, type(self).__name__, "", ()):
            for name, value in _members(module, (Parameter, Buffer)):
                yield f"{prefix}.{name}" if prefix else name, value

    def _distinct(self, kind: type[Any]) -> dict[str, Any]:
        seen: dict[int, tuple[str, Any]] = {}
        for name, value in _once(type(self).__name__, self._named()):
            if isinstance(value, kind) and id(value) not in seen:
                seen[id(value)] = (name, value)
                value.name = name
        return dict(seen.values())

    def parameters(self) -> dict[str, Parameter]:
        """All parameters by name, one that is shared under its first name only."""
        return self._distinct(Parameter)

    def buffers(self) -> dict[str, Buffer]:
        """All buffers by name."""
        return self._distinct(Buffer)

    def _state(self) -> dict[str, Parameter | Buffer]:
        return {**self.parameters(), **self.buffers()}

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers by name, as a ``torch.nn`` module of these attributes names them."""
        return {name: owned.value.copy() for name, owned in self._state().items()}

    def load_state_dict(self, state: Mapping[str, Any], match: str = "name") -> None:
        """Assign all parameters and buffers; nothing is changed unless everything fits.

        Parameters
        ----------
        state : mapping of names to arrays
            Of a model of this architecture, such as the ``state_dict()`` of a ``torch.nn`` module. Converted to the
            model's dtype. A ``num_batches_tracked`` may lack or be too many: no result depends on it.
        match : 'name' or 'order'
            Whether arrays go to the parameters and buffers of their names, or the layers of `state` (what stands before
            the last dot) to the layers of the model one after the other, whatever they are called.

        Raises
        ------
        TypeError
            For numbers that the model's dtype cannot hold, and what NumPy cannot read.
        ValueError
            When the arrays are not those of the model; the message lists all names and shapes that differ.
        """
        assign(f"{type(self).__name__}.load_state_dict", self.named_state(), state, match)

    def named_state(self) -> dict[str, Parameter | Buffer]:
        """All parameters and buffers, layer by layer; one that is shared comes under all of its names."""
        return dict(_once(type(self).__name__, self._named()))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The one dtype of all parameters and buffers; float32 for a model that has none (see `dtype_for`)."""
        return next((owned.dtype for _, owned in self._named()), np.dtype(np.float32))

    def dtype_for(self, inputs: Sequence[Any]) -> np.dtype[Any]:
        """The dtype that inputs, arrays or specs, are computed in: the model's own, or where it has none, theirs."""
        given = {operand.dtype.newbyteorder("=") for operand in inputs}
        no_own = next(self._named(), None) is None
        wide = np.dtype(np.float64)
        return wide if no_own and wide in given else self.dtype

    def astype(self, dtype: Any) -> Module:
        """Convert the model to 'float32' or 'float64', in place; return it.

        Raises
        ------
        TypeError
            For another dtype, and values that it cannot hold; the model then stays as it was.
        """
        try:
            new = np.dtype(dtype)
        except TypeError:
            new = np.dtype(object)
        if dtype is None or new not in FLOATS:
            raise TypeError(f"astype: dtype must be float32 or float64, not {dtype}")
        state = self._state()
        converted = [held("astype", name, owned.data, new) for name, owned in state.items()]
        for owned, values in zip(state.values(), converted, strict=True):
            owned.live_in(values)
        return self

    def summary(self, input_shape: tuple[int, ...] | None = None) -> str:
        """A table of all layers: output shape, parameters, floating-point operations for one input.

        Parameters
        ----------
        input_shape : tuple of int, optional
            Shape of one input, without the batch axis; needed where the model does not name its own.
        """
        shape = self.input_shape if input_shape is None else input_shape
        if shape is None:
            raise ValueError("summary: input_shape is needed, as in model.summary((1, 28, 28))")
        return summarize(self, shape)

    def __repr__(self) -> str:
        dict(self.modules())  # which refuses a module that holds itself
        lines = [f"\n{name}: {child!r}" for name, child in self.children().items()]
        inner = "".join(lines).replace("\n", "\n  ")
        return f"{type(self).__name__}({self.extra_repr()}{inner and inner + chr(10)})"

    def extra_repr(self) -> str:
        """The arguments to show in `repr`."""
        return ""


def check_module(where: str, model: Any) -> None:
    """Refuse what is no Module."""
    if not isinstance(model, Module):
        raise TypeError(f"{where}: model must be a Module, not {said(model)}")


def _as_traced(module: Module, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Inputs as `trace` would give them to `forward`, but as arrays."""
    name, dtype = type(module).__name__, module.dtype_for(arrays)
    return tuple(scaled(module.input_array(name, i, array, dtype), dtype) for i, array in enumerate(arrays))


def _walk(module: Module, top: str, prefix: str, around: tuple[int, ...]) -> Iterator[tuple[str, Module]]:
    """A module and all within it; `around` are the ids of those that it is in, `top` the type of the outermost."""
    name = prefix.removesuffix(".")
    if id(module) in around:
        raise ValueError(f"{top}: {name} is a module that holds itself")
    yield name, module
    for child_name, child in module.children().items():
        yield from _walk(child, top, f"{prefix}{child_name}.", (*around, id(module)))


def _once(top: str, named: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """The same pairs; of two things of one name, of which a dict would lose one, the second is refused."""
    seen: dict[str, Any] = {}
    for name, value in named:
        if seen.setdefault(name, value) is not value:
            raise ValueError(f"{top}: {name} must be the name of one {type(value).__name__}, not of two")
        yield name, value


def _members(module: Module, kind: Kind) -> Iterator[tuple[str, Any]]:
    """What a module's attributes are or hold of a kind, with dotted names."""
    for name, value in list(module.__dict__.items()):  # another thread's first call adds to them
        if isinstance(value, kind):
            yield name, value
        elif isinstance(value, CONTAINERS) and name not in OWN_AFFAIRS:
            for key, item in _held(module, name, value, kind, ()):
                yield f"{name}.{key}", item


def _held(
    module: Module, attribute: str, container: Any, kind: Kind, around: tuple[int, ...]
) -> Iterator[tuple[str, Any]]:
    """What a list, tuple or dict in an attribute holds of a kind, by dotted keys; `around`: ids of those it is in."""
    if id(container) in around:
        what = f"a {type(container).__name__} that holds itself"
        raise ValueError(f"{type(module).__name__}: {attribute} must not be or hold {what}")
    values = container.values() if isinstance(container, dict) else container
    wanted = (kind, *CONTAINERS)
    if not any(issubclass(found, wanted) for found in set(map(type, values))):  # such as of the names of classes
        return
    for key, value in list(container.items() if isinstance(container, dict) else enumerate(container)):
        if isinstance(value, kind):
            yield str(key), value
        elif isinstance(value, CONTAINERS):
            for inner, item in _held(module, attribute, value, kind, (*around, id(container))):
                yield f"{key}.{inner}", item
