"""An ONNX graph as a module: each node is a call of a function that the table of operators has under its name.

Tracing runs these calls like any `forward`.  What only depends on shapes is a plain array meanwhile, so that the
nodes by which a file computes shapes leave nothing in the graph.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import checker, helper, inliner, numpy_helper

from convkit.errors import FLOATS
from convkit.files import check_regular
from convkit.graph.plan import Plan, spec_of
from convkit.graph.symbols import Graph, Symbol
from convkit.graph.trace import model_input
from convkit.nn.module import OWN_AFFAIRS, Module
from convkit.onnx.operators import OPERATORS, Operator
from convkit.ops.base import Operand, Spec, recording
from convkit.ops.elementwise import ScaleImages
from convkit.parameter import Buffer, Parameter

# What comes of a node whose inputs or attributes are not what its operator takes.
_MISFITS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

DTYPES = ("float32", "float64", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def load(source: str | os.PathLike[str] | onnx.ModelProto, values: Mapping[str, Any] | None = None) -> OnnxModule:
    """Read a network from an ONNX file.

    Parameters
    ----------
    source : path or onnx.ModelProto
    values : mapping of input names to arrays, optional
        What inputs of the file hold that decide the shapes of other arrays; such an input is no input of the module.

    Returns
    -------
    OnnxModule
        Its parameters are the file's float initialisers of one axis or more, under their names there; single numbers
        are constants, as are the values of Constant nodes.

    Raises
    ------
    NotImplementedError
        For operators, attributes and dtypes that convkit has not, by name.
    ValueError
        When the file is damaged, or says that values lie outside of its folder; where an input decides shapes and has
        no value, where a node reads what nothing before it computes, and where its inputs or attributes do not fit.
        What depends on the shapes of inputs is found now if the file has them (but for the number of images), and
        otherwise when the module first runs.
    OSError
        When the file cannot be read.
    """
    return OnnxModule(source if isinstance(source, onnx.ModelProto) else _read(os.fspath(source)), values or {})


def _read(path: str) -> onnx.ModelProto:
    check_regular(path)
    try:
        return onnx.load(path)
    except (
        DecodeError,
        checker.ValidationError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:  # as onnx and protobuf report it
        raise ValueError(f"onnx.load: {path} is damaged or not an ONNX file ({error})") from error


def shape_inputs(proto: onnx.ModelProto) -> list[str]:
    """The inputs of a model that decide the shapes of other arrays, so that `load` needs their values."""
    known, _ = _known_and_state(_calls_of(proto))
    return [value.name for value in proto.graph.input if value.name in known]


@dataclass(frozen=True)
class Call:
    """A node: the function that computes it, the names of what it reads and writes, and its attributes."""

    kind: str
    operator: Operator
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arguments: dict[str, Any]

    def run(self, values: dict[str, Any]) -> None:
        """Compute the outputs from the inputs among the values."""
        inputs = [values[name] if name else None for name in self.inputs]
        for position, operand in enumerate(inputs):
            if isinstance(operand, Operand) and self.operator.argument(position) in self.operator.known:
                raise ValueError(f"{self.kind}: {self.inputs[position]!r} must not depend on the values of an input")
        try:
            results = self.operator.function(*inputs, **self.arguments)
        except _MISFITS as error:
            raise ValueError(f"{self} cannot be computed: {error or type(error).__name__}") from error
        results = results if isinstance(results, tuple) else (results,)
        if len(results) < len(self.outputs):
            raise ValueError(f"{self} should have {len(self.outputs)} outputs, but {self.kind} has {len(results)}")
        if any(result is None for result in results):
            raise ValueError(f"{self} cannot be computed: an input that it needs is left out")
        values.update(zip(self.outputs, results, strict=False))

    def __str__(self) -> str:
        return f"onnx.load: node {self.kind} -> {', '.join(self.outputs)}"


class OnnxModule(Module):
    """A network read from an ONNX file; see `load`.

    Its inputs and outputs are the file's, in their order; one output is returned as it is, several as a tuple.

    Attributes
    ----------
    input_names, output_names : tuple of str
    """

    def __init__(self, proto: onnx.ModelProto, values: Mapping[str, Any]) -> None:
        graph = proto.graph
        if len(graph.sparse_initializer):
            raise NotImplementedError("onnx.load: sparse initialisers are not supported")
        initializers = {value.name: _array(f"initialiser {value.name}", value) for value in graph.initializer}
        initializers |= {name: np.asarray(value) for name, value in values.items()}
        self._program = _calls_of(proto)
        known, state = _known_and_state(self._program)
        inputs = [value for value in graph.input if value.name not in initializers]
        if undecided := [value.name for value in inputs if value.name in known]:
            raise ValueError(f"onnx.load: values must hold {', '.join(undecided)}, which shapes depend on")
        self.input_names = tuple(value.name for value in inputs)
        if len(set(self.input_names)) < len(inputs):
            raise ValueError(f"onnx.load: inputs must have names of their own, not {', '.join(self.input_names)}")
        self.output_names = tuple(value.name for value in graph.output)
        _check_order(self._program, {*initializers, *self.input_names}, self.output_names)
        self._input_dtypes = tuple(_dtype_of(value) for value in inputs)
        self._known: dict[str, np.ndarray] = {}
        self._attributes: dict[str, str] = {}  # of initialisers that are parameters or buffers
        for name, array in initializers.items():
            if array.dtype in FLOATS and array.ndim and name not in known and name not in values:
                self._attributes[name] = attribute = f"{name}_" if hasattr(self, name) or name in OWN_AFFAIRS else name
                setattr(self, attribute, Buffer(array) if name in state else Parameter(array))
            else:
                self._known[name] = array
        self._program = [call for call in self._program if not self._fold(call)]
        self._try_out(inputs)

    def _fold(self, call: Call) -> bool:
        """Compute a node of constants alone now."""
        if not all(name in self._known or not name for name in call.inputs):
            return False
        call.run(self._known)
        return True

    def _try_out(self, inputs: Sequence[onnx.ValueInfoProto]) -> None:
        """Trace once where the file tells its inputs' shapes, of batches of one image where it leaves that open.

        So a value of an attribute or a combination that is not there is refused now and not at the first run.
        """
        shapes, whole = zip(*map(_shape_of, inputs), strict=True) if inputs else ((), ())
        if None in shapes:
            return
        specs = [Spec(shape, dtype) for shape, dtype in zip(shapes, self._input_dtypes, strict=True)]
        try:
            with _explained("onnx.load", specs):
                self.trace(specs)
        except ValueError:
            if all(whole):  # otherwise it may be this batch that does not fit
                raise

    def __call__(self, *inputs: Any, training: bool = False) -> Any:
        try:
            return super().__call__(*inputs, training=training)
        except LookupError as error:  # of NumPy, where values of an input are places in another
            raise ValueError(f"OnnxModule: inputs do not fit: {error}") from error

    def _make_plan(self, arrays: Sequence[np.ndarray], training: bool) -> Plan:
        self._check_count(arrays)
        for position, array in enumerate(arrays):
            self._input_spec(position, array, self.dtype)
        with _explained("OnnxModule", arrays):
            return super()._make_plan(arrays, training)

    def _check_count(self, inputs: Sequence[Any]) -> None:
        if len(inputs) != len(self.input_names):
            raise TypeError(f"OnnxModule: inputs must be {len(self.input_names)} {self.input_names}, not {len(inputs)}")

    def forward(self, *inputs: Any) -> Any:
        self._check_count(inputs)
        values: dict[str, Any] = dict(self._known)
        values.update({name: getattr(self, attribute) for name, attribute in self._attributes.items()})
        values.update(zip(self.input_names, inputs, strict=True))
        for call in self._program:
            call.run(values)
        outputs = tuple(values[name] for name in self.output_names)
        return outputs if len(outputs) > 1 else outputs[0]

    def trace(self, specs: Sequence[Spec], training: bool = False) -> tuple[Graph, Any]:
        """The graph of `forward` for inputs of these shapes and dtypes, and what it returned: symbols.

        uint8 is an image to be scaled to [0, 1] only where the file's input is of floats.
        """
        graph = Graph(training)
        with recording(graph):
            symbols = [graph.input(spec) for spec in specs]
            operands = [
                ScaleImages(dtype)(symbol) if symbol.dtype == np.uint8 and dtype in FLOATS else symbol
                for symbol, dtype in zip(symbols, self._input_dtypes, strict=True)
            ]
            result = self._record(graph, tuple(operands))
        if isinstance(result, tuple):
            return graph, tuple(_symbol(graph, output) for output in result)
        return graph, _symbol(graph, result)

    def _input_spec(self, position: int, array: np.ndarray, dtype: np.dtype[Any]) -> Spec:
        dtype = self._input_dtypes[position]
        if dtype in FLOATS:
            return spec_of(model_input("OnnxModule", array, dtype))
        return Spec(array.shape, dtype)

    def extra_repr(self) -> str:
        return f"{', '.join(self.input_names)} -> {', '.join(self.output_names)}"


@contextmanager
def _explained(where: str, inputs: Sequence[Any]) -> Iterator[None]:
    """What operators raise where arrays do not fit, as a ValueError about the inputs."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
        shapes = ", ".join(f"{given.dtype} {given.shape}" for given in inputs)
        raise ValueError(f"{where}: the graph cannot be computed for inputs {shapes}: {error}") from error


def _symbol(graph: Graph, output: Any) -> Symbol:
    """An output as a symbol, also where it is a parameter, or was known without an input."""
    return output if isinstance(output, Symbol) else graph.leaf(output)


# --- reading a graph ----------------------------------------------------------------------------------------


def _calls_of(proto: onnx.ModelProto) -> list[Call]:
    """The nodes as calls, in the file's order; what is not there is refused, all of it at once."""
    _check_names(proto.graph)
    if proto.functions:
        proto = inliner.inline_local_functions(proto)
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    opset = versions.get("", versions.get("ai.onnx", 1))
    missing = {
        node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        for node in proto.graph.node
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS
    }
    if missing:
        raise NotImplementedError(f"onnx.load: convkit has no operator {', '.join(sorted(missing))}")
    return [_call_of(node, opset) for node in proto.graph.node]


def _check_names(graph: onnx.GraphProto) -> None:
    """Refuse names that are no text, which protobuf hands on as bytes."""
    names = [value.name for values in (graph.input, graph.output, graph.initializer) for value in values]
    for node in graph.node:
        names += [node.domain, node.op_type, *node.input, *node.output, *(entry.name for entry in node.attribute)]
    if damaged := [name for name in names if not isinstance(name, str)]:
        raise ValueError(f"onnx.load: the name {damaged[0]!r} is damaged: it is not UTF-8")


def _call_of(node: onnx.NodeProto, opset: int) -> Call:
    entry = OPERATORS[node.op_type]
    arguments = {attribute.name: _attribute_value(node.op_type, attribute) for attribute in node.attribute}
    if unknown := [name for name in arguments if not entry.takes(name)]:
        raise NotImplementedError(f"onnx.load: {node.op_type} has attributes unknown here: {', '.join(unknown)}")
    for name in ("to", "dtype"):
        if name in arguments:
            _dtype(f"the result of {node.op_type}", arguments[name])
    for name, value in (("opset", opset), ("outputs", len(node.output))):
        if entry.takes(name):
            arguments[name] = value
    return Call(node.op_type, entry, tuple(node.input), tuple(node.output), arguments)


def _attribute_value(where: str, attribute: onnx.AttributeProto) -> Any:
    what = f"attribute {attribute.name} of {where}"
    try:
        value = helper.get_attribute_value(attribute)
        value = value.decode() if isinstance(value, bytes) else value
    except ValueError as error:
        raise ValueError(f"onnx.load: {what} is damaged: {error}") from error
    if isinstance(value, onnx.TensorProto):
        return _array(what, value)
    if not isinstance(value, (int, float, str, list)):
        raise NotImplementedError(f"onnx.load: {what} is a {type(value).__name__}, which convkit has not")
    return value


def _array(what: str, tensor: onnx.TensorProto) -> np.ndarray:
    if any(size < 0 for size in tensor.dims):
        raise ValueError(f"onnx.load: {what} claims the impossible shape {tuple(tensor.dims)}")
    try:
        return numpy_helper.to_array(tensor)
    except _MISFITS as error:
        raise ValueError(f"onnx.load: {what} is damaged: {error}") from error


def _known_and_state(calls: Sequence[Call]) -> tuple[set[str], set[str]]:
    """The names whose values decide shapes, and those of moments that a model keeps as buffers."""
    known: set[str] = set()
    state: set[str] = set()
    for call in reversed(calls):
        needed = bool(known.intersection(call.outputs)) and call.kind not in ("Shape", "Size")
        for position, name in enumerate(call.inputs):
            argument = call.operator.argument(position)
            if needed or argument in call.operator.known:
                known.add(name)
            if argument in call.operator.state:
                state.add(name)
    return known, state


def _check_order(calls: Sequence[Call], given: set[str], outputs: Sequence[str]) -> None:
    """Refuse nodes, and outputs of the file, that read what nothing before them computes."""
    there = {"", *given}
    for call in calls:
        if absent := [name for name in call.inputs if name not in there]:
            raise ValueError(f"onnx.load: {call.kind} reads {', '.join(absent)}, which nothing before it computes")
        there.update(call.outputs)
    if not outputs:
        raise ValueError("onnx.load: the graph has no outputs")
    if absent := [name for name in outputs if name not in there or not name]:
        raise ValueError(f"onnx.load: nothing computes the output {', '.join(absent) or repr('')}")


def _dtype_of(value: onnx.ValueInfoProto) -> np.dtype[Any]:
    """The dtype of an input, if it is an array of one that convkit has."""
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise NotImplementedError(f"onnx.load: input {value.name} is no tensor ({kind})")
    return _dtype(f"input {value.name}", value.type.tensor_type.elem_type)


def _shape_of(value: onnx.ValueInfoProto) -> tuple[tuple[int, ...] | None, bool]:
    """The shape of an input, with one image where their number is open, and whether all of it is in the file."""
    sizes = value.type.tensor_type.shape.dim
    known = [size.HasField("dim_value") for size in sizes]
    if not value.type.tensor_type.HasField("shape") or not all(known[1:]):
        return None, False
    return tuple(size.dim_value if there else 1 for size, there in zip(sizes, known, strict=True)), all(known)


def _dtype(what: str, number: int) -> np.dtype[Any]:
    try:
        dtype = helper.tensor_dtype_to_np_dtype(number)
    except (KeyError, TypeError):
        raise NotImplementedError(f"onnx.load: {what} is of dtype {number}, which ONNX has not") from None
    if dtype.name not in DTYPES:
        raise NotImplementedError(f"onnx.load: {what} is of dtype {dtype}, which convkit has not")
    return dtype
