"""What an op is: a pure function on arrays, and its gradient written with other ops.

Calling an op on arrays runs it at once.  Calling it on operands of a graph (symbols, parameters) while a
forward pass is being traced records a node instead.  Both `infer` and `gradient` serve the two cases alike,
so every op has exactly one shape rule and one gradient.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, NoReturn, Protocol

import numpy as np

from convkit import errors
from convkit._kernels.core import Kernel, PythonKernel


class Spec(NamedTuple):
    """The shape and dtype of an array that need not exist yet."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Operand:
    """What stands for an array while a graph is recorded: a symbol or a parameter.

    Has `shape` and `dtype` like an array; `+ - * @` and `reshape`, `sum`, `mean` record nodes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    # Where the functions behind the operators are found: `convkit.functional` enters itself here.
    functions: ClassVar[Any]

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        # An array on the left of an operator hands it over as a ufunc.
        if method == "__call__" and not kwargs and ufunc.__name__ in ("add", "subtract", "multiply", "matmul"):
            return _arithmetic(ufunc.__name__, *inputs)
        return self.__array__()

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    def __add__(self, other: Any) -> Any:
        return _arithmetic("add", self, other)

    def __radd__(self, other: Any) -> Any:
        return _arithmetic("add", other, self)

    def __sub__(self, other: Any) -> Any:
        return _arithmetic("subtract", self, other)

    def __rsub__(self, other: Any) -> Any:
        return _arithmetic("subtract", other, self)

    def __mul__(self, other: Any) -> Any:
        return _arithmetic("multiply", self, other)

    def __rmul__(self, other: Any) -> Any:
        return _arithmetic("multiply", other, self)

    def __neg__(self) -> Any:
        return _arithmetic("multiply", self, -1.0)

    def __matmul__(self, other: Any) -> Any:
        return _arithmetic("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return _arithmetic("matmul", other, self)

    def reshape(self, *shape: Any) -> Any:
        """The same values under another shape; one size may be -1."""
        return self.functions.reshape(self, shape[0] if len(shape) == 1 else shape)

    def sum(self) -> Any:
        """The sum of all values, shape ()."""
        return self.functions.sum(self)

    def mean(self) -> Any:
        """The mean of all values, shape ()."""
        return self.functions.mean(self)

    def __array_function__(self, *args: Any, **kwargs: Any) -> NoReturn:
        self.__array__()

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__.lower()} has no values while a graph is recorded: "
            "use the functions of convkit.functional, not NumPy's"
        )

    def __bool__(self) -> bool:
        raise TypeError("a graph is recorded once for all values: its course must not depend on them")

    __float__ = __int__ = __index__ = __bool__

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError("values of a graph are not assigned to: build a new one, as in x = x + y")

    def __getitem__(self, index: Any) -> Any:
        raise TypeError("indexing is not recorded: use the functions of convkit.functional")

    def __iter__(self) -> Any:
        raise TypeError("a symbol is not iterated over: use the functions of convkit.functional")


def _arithmetic(name: str, a: Any, b: Any) -> Any:
    return getattr(Operand.functions, name)(a, b)


class Recorder(Protocol):
    """Whoever listens to ops being called: a graph while it is traced."""

    training: bool
    returned: dict[int, Any]

    def record(self, op: Primitive, inputs: Sequence[Any]) -> Any: ...

    def update(self, buffer: Any, value: Any) -> None: ...

    def random_state(self) -> Any: ...


class _Active(threading.local):
    recorder: Recorder | None = None


_active = _Active()


def active_recorder() -> Recorder | None:
    """The graph being traced by this thread, if any."""
    return _active.recorder


class recording:
    """Context in which ops called on operands are recorded by `recorder`."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def __enter__(self) -> None:
        self.outer = _active.recorder
        _active.recorder = self.recorder

    def __exit__(self, *exception: object) -> None:
        _active.recorder = self.outer


def is_training() -> bool:
    """Whether the forward pass being traced is one of training; False outside of any."""
    recorder = active_recorder()
    return recorder is not None and recorder.training


@dataclass(frozen=True)
class Primitive:
    """A pure function of arrays with one or more outputs; subclasses hold its fixed arguments as fields.

    An input may be None where the function has an optional argument (a bias).
    """

    # Inputs whose memory the first output may take over.
    in_place: ClassVar[tuple[int, ...]] = ()
    # Outputs that are bound as None when nobody reads them; the others are always written.
    optional: ClassVar[tuple[int, ...]] = ()
    # Whether the kernel is a `Reader` of its first input, the only one.
    reads_as_given: ClassVar[bool] = False
    # What `by_image` says of an op for which it is always the same.
    images_in: ClassVar[tuple[int, ...]] = ()

    def infer(self, *inputs: Any) -> tuple[Spec, ...]:
        """Shapes and dtypes of the outputs, given inputs that have `shape` and `dtype`."""
        raise NotImplementedError

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        """The kernel that reads these input arrays and writes these output arrays each time it runs."""
        raise NotImplementedError

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        """Gradients to each input (None: none), from those to each output (None: zero)."""
        raise NotImplementedError(f"{type(self).__name__} has no gradient")

    def by_image(self, *inputs: Any) -> tuple[int, ...]:
        """Which inputs have images along their first axis, as all outputs then have, and are treated one by one.

        Bound to some of the images, of these inputs and all outputs, the op makes the same bits as bound to all.
        Nothing where that does not hold.
        """
        return self.images_in

    def flops(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        """Multiplications and additions of one run, counted separately; streams count as none."""
        return 0

    def __call__(self, *inputs: Any) -> Any:
        recorder = active_recorder()
        if recorder is not None and any(isinstance(operand, Operand) for operand in inputs):
            return recorder.record(self, inputs)
        outputs = self.evaluate([concrete(operand) for operand in inputs])
        return outputs[0] if len(outputs) == 1 else outputs

    def first_output(self, *inputs: Any) -> Any:
        """The first output of several; given arrays, the optional ones are not computed."""
        if any(isinstance(operand, Operand) for operand in inputs):
            return self(*inputs)[0]
        first, *others = (np.empty(spec.shape, spec.dtype) for spec in self.infer(*inputs))
        self.bind(inputs, [first, *(None if i in self.optional else y for i, y in enumerate(others, 1))]).run()
        return first

    def evaluate(self, arrays: Sequence[Any]) -> tuple[np.ndarray, ...]:
        """Run on arrays, into fresh outputs."""
        outputs = tuple(np.empty(spec.shape, spec.dtype) for spec in self.infer(*arrays))
        self.bind(arrays, outputs).run()
        return outputs


def concrete(operand: Any) -> Any:
    """The array behind an operand outside of a trace."""
    if isinstance(operand, Operand):
        value = getattr(operand, "value", None)
        if value is None:
            raise TypeError("a symbol outlived the trace that made it: return it from forward instead")
        return value
    return operand


@dataclass(frozen=True)
class NumpyPrimitive(Primitive):
    """A primitive computed by a Python function: `compute(inputs, outputs)` fills the outputs.

    Of what is infinite or no number it says as little as compiled kernels do.
    """

    def compute(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        raise NotImplementedError

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        def run() -> None:
            with np.errstate(all="ignore"):
                self.compute(inputs, outputs)

        return PythonKernel(run)


class Op(Primitive):
    """An op of one's own, in Python: subclass, write three methods on arrays, call an instance like a function.

    ``shape(*shapes)`` gives the output's shape; ``forward(*arrays)`` returns the output;
    ``backward(grad_output, inputs, output)`` returns a gradient, or None, for each input.  The op then takes
    part in graphs like any other.

    Examples
    --------
    >>> class Square(Op):
    ...     def shape(self, x): return x
    ...     def forward(self, x): return x * x
    ...     def backward(self, grad_output, inputs, output): return (2 * inputs[0] * grad_output,)
    >>> Square()(np.float32([1, 2, 3]))
    array([1., 4., 9.], dtype=float32)
    """

    def shape(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """The output's shape, from those of the inputs."""
        raise NotImplementedError

    def forward(self, *arrays: np.ndarray) -> np.ndarray:
        """The output, from read-only arrays of one float dtype."""
        raise NotImplementedError

    def backward(
        self, grad_output: np.ndarray, inputs: tuple[np.ndarray, ...], output: np.ndarray
    ) -> Sequence[np.ndarray | None]:
        """The gradient of each input (None: zero), from that of the output; all arguments are read-only."""
        raise NotImplementedError

    def __call__(self, *inputs: Any) -> Any:
        name = type(self).__name__
        operands = [
            operand if isinstance(operand, Operand) else errors.array(name, f"input {i}", operand)
            for i, operand in enumerate(inputs)
        ]
        if not operands:
            raise TypeError(f"{name}: an op has one input or more")
        if any(operand.dtype not in errors.FLOATS for operand in operands):
            raise TypeError(f"{name}: inputs must be float32 or float64, not {[str(o.dtype) for o in operands]}")
        errors.same_dtype(name, **{f"input {i}": operand for i, operand in enumerate(operands)})
        return super().__call__(*operands)

    def infer(self, *inputs: Any) -> tuple[Spec, ...]:
        shape = self.shape(*(operand.shape for operand in inputs))
        if not isinstance(shape, (tuple, list)):
            raise TypeError(f"{type(self).__name__}.shape must return a tuple of integers, not {errors.said(shape)}")
        return (
            Spec(errors.sizes(f"{type(self).__name__}.shape", "what it returns", shape, len(shape)), inputs[0].dtype),
        )

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        [output] = outputs
        arguments = [_read_only(array) for array in inputs]
        return PythonKernel(lambda: self._store("forward", output, self.forward(*arguments)))

    def _store(self, method: str, target: np.ndarray, values: Any) -> None:
        if np.shape(values) != target.shape:
            raise ValueError(
                f"{type(self).__name__}.{method} returned shape {np.shape(values)}, but {target.shape} was expected"
            )
        came = np.asarray(values).dtype
        if not np.can_cast(came, target.dtype, "same_kind"):
            raise TypeError(f"{type(self).__name__}.{method} returned {came}, but {target.dtype} was expected")
        with np.errstate(over="ignore"):
            target[...] = values

    def gradient(self, inputs: Sequence[Any], outputs: Sequence[Any], grads: Sequence[Any]) -> Sequence[Any]:
        gradients = OpGradient(self, len(inputs))(grads[0], *inputs, outputs[0])
        return gradients if isinstance(gradients, tuple) else (gradients,)


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True)
class OpGradient(Primitive):
    """The gradients of a user's op to all its inputs: (grad_output, *inputs, output) -> grads."""

    op: Op
    count: int

    def infer(self, *operands: Any) -> tuple[Spec, ...]:
        return tuple(Spec(tuple(operand.shape), operand.dtype) for operand in operands[1 : 1 + self.count])

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Kernel:
        grad, *arguments, output = (_read_only(array) for array in inputs)
        name = type(self.op).__name__

        def run() -> None:
            gradients = self.op.backward(grad, tuple(arguments), output)
            if not isinstance(gradients, (tuple, list)):
                raise TypeError(f"{name}.backward must return a tuple of gradients, not {type(gradients).__name__}")
            if len(gradients) != self.count:
                raise ValueError(f"{name}.backward returned {len(gradients)} gradients for {self.count} inputs")
            for target, values in zip(outputs, gradients, strict=True):
                self.op._store("backward", target, np.zeros(target.shape) if values is None else values)

        return PythonKernel(run)
