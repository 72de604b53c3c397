"""An ONNX graph as a module: each node is a call of a function that the table of operators has under its name.

Tracing runs these calls like any `forward`.  What only depends on shapes is a plain array meanwhile, so that the
nodes by which a file computes shapes leave nothing in the graph.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import checker, helper, inliner, numpy_helper

from convkit import errors
from convkit.errors import FLOATS
from convkit.files import check_regular, file_path
from convkit.graph.plan import Plan, spec_of
from convkit.graph.symbols import Graph, Symbol
from convkit.nn.module import OWN_AFFAIRS, Module
from convkit.onnx.operators import OPERATORS, Operator
from convkit.ops.base import Operand, Spec, recording
from convkit.ops.elementwise import ScaleImages
from convkit.parameter import Buffer, Parameter

# What comes of a node whose inputs or attributes are not what its operator takes.
_MISFITS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)

# What a graph may grow to where its functions are put in: a few of them, each of which calls another one twice, would
# fill any memory.
MOST_NODES = 100_000
MOST_BYTES = 2**31
DEEPEST = 100  # functions that call one another

DTYPES = ("float32", "float64", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


def load(source: str | os.PathLike[str] | onnx.ModelProto, values: Mapping[str, Any] | None = None) -> OnnxModule:
    """Read a network from an ONNX file.

    Parameters
    ----------
    source : path or onnx.ModelProto
    values : mapping of input names to arrays, optional
        What inputs of the file hold that decide the shapes of other arrays, in the shapes that the file declares; such
        an input is no input of the module.

    Returns
    -------
    OnnxModule
        Its parameters are the file's float initialisers of one axis or more, under their names there; single numbers
        are constants, as are the values of Constant nodes.

    Raises
    ------
    TypeError
        Where `source` is neither a path nor a model, `values` no mapping, or one of them not what the file declares.
    NotImplementedError
        For operators, attributes and dtypes that convkit has not, by name.
    ValueError
        When the file is damaged, or says that values lie outside of its folder; where an input decides shapes and has
        no value, or `values` do not fit the file's inputs; where a node reads what nothing before it computes, or
        writes to a name that is taken, and where its inputs or attributes do not fit; and where functions call
        themselves, or grow to more than 100,000 nodes.
        What depends on the shapes of inputs is found now if the file has them (but for the number of images), and
        otherwise when the module first runs.
    OSError
        When the file cannot be read.
    """
    if not isinstance(source, (str, os.PathLike, onnx.ModelProto)):
        raise TypeError(f"onnx.load: source must be a path or an onnx.ModelProto, not {type(source).__name__}")
    if values is not None and not isinstance(values, Mapping):
        raise TypeError(f"onnx.load: values must be a mapping of input names to arrays, not {type(values).__name__}")
    proto = source if isinstance(source, onnx.ModelProto) else _read(file_path("onnx.load", "source", source))
    return OnnxModule(proto, values or {})


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
    """A node: its operator's name, the names of what it reads and writes, and its attributes."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arguments: dict[str, Any]

    @property
    def operator(self) -> Operator:
        """What computes it, found by name: functions of the table cannot all be pickled."""
        return OPERATORS[self.kind]

    def run(self, values: dict[str, Any], floats: np.dtype[Any] | None = None) -> None:
        """Compute the outputs from the inputs among the values, known floats taken in a dtype if it is given."""
        operator, arguments = self.operator, self.arguments
        inputs = [values[name] if name else None for name in self.inputs]
        for position, operand in enumerate(inputs):
            if operator.argument(position) not in operator.known:
                inputs[position] = _in_floats(self.inputs[position], operand, floats)
            elif isinstance(operand, Operand):
                raise ValueError(f"{self.kind}: {self.inputs[position]!r} must not depend on the values of an input")
        if floats is not None and self.kind == "Cast" and helper.tensor_dtype_to_np_dtype(arguments["to"]) in FLOATS:
            arguments = {**arguments, "to": helper.np_dtype_to_tensor_dtype(floats)}
        try:
            results = operator.function(*inputs, **arguments)
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


def _in_floats(name: str, value: Any, dtype: np.dtype[Any] | None) -> Any:
    """An array of floats in a dtype if it is given, which must be able to hold it; anything else as it is."""
    if dtype is None or not isinstance(value, np.ndarray) or value.dtype not in FLOATS:
        return value
    return errors.held("OnnxModule", name, value, dtype)


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
        _check_distinct("initialisers", [value.name for value in graph.initializer])
        initializers = {value.name: _array(f"initialiser {value.name}", value) for value in graph.initializer}
        initializers |= _given_values(graph, values)
        self._program = _calls_of(proto)
        known, state = _known_and_state(self._program)
        inputs = [value for value in graph.input if value.name not in initializers]
        if undecided := [value.name for value in inputs if value.name in known]:
            raise ValueError(f"onnx.load: values must hold {', '.join(undecided)}, which shapes depend on")
        self.input_names = tuple(value.name for value in inputs)
        _check_distinct("inputs", self.input_names)
        self.output_names = tuple(value.name for value in graph.output)
        _check_order(self._program, {*initializers, *self.input_names}, self.output_names)
        self._input_dtypes = tuple(_dtype_of(value) for value in inputs)
        self.integer_inputs = tuple(i for i, dtype in enumerate(self._input_dtypes) if dtype not in FLOATS)
        self._deciding = frozenset(known)  # names whose values decide shapes
        self._known: dict[str, np.ndarray] = {}
        self._attributes: dict[str, str] = {}  # of initialisers that are parameters or buffers
        self._own_dtypes: dict[str, np.dtype[Any]] = {}  # of these attributes, in the file
        self._converted: np.dtype[Any] | None = None
        for name, array in initializers.items():
            if array.dtype in FLOATS and array.ndim and name not in known and name not in values:
                self._attributes[name] = attribute = f"{name}_" if hasattr(self, name) or name in OWN_AFFAIRS else name
                self._own_dtypes[attribute] = array.dtype
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
        self._check_count(inputs)
        try:
            return super().__call__(*inputs, training=training)
        except LookupError as error:  # of NumPy, where values of an input are places in another
            raise ValueError(f"OnnxModule: inputs do not fit: {error}") from error

    def _make_plan(self, arrays: Sequence[np.ndarray], training: bool) -> Plan:
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
        floats = self._floats()
        for call in self._program:
            # Shapes are computed as the file does it: rounded in another way, a size could be another one.
            call.run(values, None if self._deciding.intersection(call.outputs) else floats)
        outputs = tuple(_in_floats(name, values[name], floats) for name in self.output_names)
        return outputs if len(outputs) > 1 else outputs[0]

    def astype(self, dtype: Any) -> Module:
        """Convert the model to 'float32' or 'float64', in place; return it.

        Its float inputs, constants and casts to floats are of that dtype then, too; shapes are computed as before.

        Raises
        ------
        TypeError
            For another dtype, and values that it cannot hold; the model then stays as it was.
        """
        Module().astype(dtype)  # refuses what is no dtype of floats
        for name, values in self._known.items():
            _in_floats(name, values, np.dtype(dtype))
        super().astype(dtype)
        self._converted = np.dtype(dtype)
        return self

    def _floats(self) -> np.dtype[Any] | None:
        """The dtype that all floats were converted to, None while they are as in the file.

        Parameters and buffers say it, where there are any: a module around this one converts nothing else.
        """
        if not self._own_dtypes:
            return self._converted
        for attribute, dtype in self._own_dtypes.items():
            present: np.dtype[Any] = getattr(getattr(self, attribute), "dtype", dtype)
            if present != dtype:
                return present
        return None

    def _input_dtype(self, position: int) -> np.dtype[Any]:
        declared = self._input_dtypes[position]
        return self._floats() or declared if declared in FLOATS else declared

    def trace(self, specs: Sequence[Spec], training: bool = False) -> tuple[Graph, Any]:
        """The graph of `forward` for inputs of these shapes and dtypes, and what it returned: symbols.

        uint8 is an image to be scaled to [0, 1] only where the file's input is of floats.
        """
        graph = Graph(training)
        with recording(graph):
            symbols = [graph.input(spec) for spec in specs]
            dtypes = map(self._input_dtype, range(len(self._input_dtypes)))
            operands = [
                ScaleImages(dtype)(symbol) if symbol.dtype == np.uint8 and dtype in FLOATS else symbol
                for symbol, dtype in zip(symbols, dtypes, strict=True)
            ]
            result = self._record(graph, tuple(operands))
        if isinstance(result, tuple):
            return graph, tuple(_symbol(graph, output) for output in result)
        return graph, _symbol(graph, result)

    def _input_spec(self, position: int, array: np.ndarray, dtype: np.dtype[Any]) -> Spec:
        return spec_of(self.input_array("OnnxModule", position, array, self._input_dtype(position)))

    def input_array(self, where: str, position: int, array: np.ndarray, dtype: Any = None) -> np.ndarray:
        """The input at a position as an array that `forward` can be traced for; integers as the file declares them."""
        if position in self.integer_inputs:
            return _in_integers(where, f"input {self.input_names[position]}", array, self._input_dtypes[position])
        return super().input_array(where, position, array, dtype)

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


# --- values of inputs ---------------------------------------------------------------------------------------


def _given_values(graph: onnx.GraphProto, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What a user says that inputs hold, as the file declares these."""
    inputs = {value.name: value for value in graph.input}
    if unknown := [name for name in values if name not in inputs]:
        names = ", ".join(map(errors.said, inputs)) or "none"
        raise ValueError(f"onnx.load: values must be of the file's inputs ({names}), not of {errors.said(unknown[0])}")
    return {name: _given_value(inputs[name], value) for name, value in values.items()}


def _given_value(declared: onnx.ValueInfoProto, value: Any) -> np.ndarray:
    what, dtype = f"values[{declared.name!r}]", _dtype_of(declared)
    array = errors.view("onnx.load", what, value)
    if declared.type.tensor_type.HasField("shape"):
        axes = declared.type.tensor_type.shape.dim
        sizes = tuple(axis.dim_value if axis.HasField("dim_value") else None for axis in axes)
        if len(sizes) != array.ndim or any(n not in (None, m) for n, m in zip(sizes, array.shape, strict=True)):
            raise ValueError(f"onnx.load: {what} must have shape {sizes}, as in the file, not {array.shape}")
    if dtype not in FLOATS:
        return _in_integers("onnx.load", what, array, dtype)
    return errors.converted(errors.numbers("onnx.load", what, array), dtype)


def _in_integers(where: str, what: str, array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """An array in a dtype of integers or in bool, which must be able to hold every value of it."""
    if array.dtype == dtype:
        return array
    if array.dtype.kind not in "biu":
        raise TypeError(f"{where}: {what} must be {dtype}, not {array.dtype}")
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    for extreme in (int(array.min()), int(array.max())) if array.size else ():
        if not low <= extreme <= high:
            raise ValueError(f"{where}: {what} must be {dtype}, from {low} to {high}, not {extreme}")
    return array.astype(dtype)


# --- reading a graph ----------------------------------------------------------------------------------------


def _calls_of(proto: onnx.ModelProto) -> list[Call]:
    """The nodes as calls, in the file's order; what is not there is refused, all of it at once."""
    _check_names(proto.graph)
    if proto.functions:
        proto = _inlined(proto)
        _check_names(proto.graph)
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


def _inlined(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its functions put in where they are called."""
    functions = {_function_name(function): function.node for function in proto.functions}
    if len(functions) < len(proto.functions):
        raise ValueError("onnx.load: functions of the file must have names of their own")
    _check_growth(proto.graph.node, functions)
    try:
        return inliner.inline_local_functions(proto)
    except (checker.ValidationError, RuntimeError) as error:  # as onnx reports what does not fit
        raise ValueError(f"onnx.load: the functions of the file cannot be put in: {error}") from error


def _function_name(called: onnx.NodeProto | onnx.FunctionProto) -> tuple[str, str, str]:
    """What a function is found by, of itself or of a node that calls it."""
    name = called.op_type if isinstance(called, onnx.NodeProto) else called.name
    return "" if called.domain == "ai.onnx" else called.domain, name, getattr(called, "overload", "")


def _check_growth(nodes: Iterable[onnx.NodeProto], functions: Mapping[Any, Iterable[onnx.NodeProto]]) -> None:
    """Refuse functions that call themselves, and a graph that would be too large with all of them put in."""
    grown: dict[Any, tuple[int, int]] = {}  # of each function the nodes and bytes

    def growth(nodes: Iterable[onnx.NodeProto], callers: tuple[Any, ...]) -> tuple[int, int]:
        count = size = 0
        for node in _with_inner(nodes):
            more = of_call(node, callers) if _function_name(node) in functions else (1, node.ByteSize())
            count, size = count + more[0], size + more[1]
        return count, size

    def of_call(node: onnx.NodeProto, callers: tuple[Any, ...]) -> tuple[int, int]:
        name = _function_name(node)
        if name in callers:
            raise ValueError(f"onnx.load: function {node.op_type} calls itself")
        if len(callers) == DEEPEST:
            raise ValueError(f"onnx.load: functions call one another more than {DEEPEST} deep")
        if name not in grown:
            grown[name] = growth(functions[name], (*callers, name))
        return grown[name]

    count, size = growth(nodes, ())
    if count > MOST_NODES or size > MOST_BYTES:
        raise ValueError(
            f"onnx.load: with its functions put in, the graph must have at most {MOST_NODES:,} nodes of {MOST_BYTES:,} "
            "bytes in all, but it has more"
        )


def _with_inner(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Nodes, and those of graphs that are attributes of them."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _with_inner(graph.node)


def _check_distinct(what: str, names: Sequence[str]) -> None:
    counts = Counter(names)
    if repeated := [name for name in names if counts[name] > 1]:
        raise ValueError(f"onnx.load: {what} must have names of their own, not {', '.join(repeated)}")


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
    return Call(node.op_type, tuple(node.input), tuple(node.output), arguments)


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
        array = numpy_helper.to_array(tensor)
    except (*_MISFITS, checker.ValidationError, RuntimeError) as error:  # the latter two of values in other files
        raise ValueError(f"onnx.load: {what} is damaged: {error}") from error
    _check_dtype(what, array.dtype, tensor.data_type)
    return array


def _known_and_state(calls: Sequence[Call]) -> tuple[set[str], set[str]]:
    """The names whose values decide shapes, and those of moments that a model keeps as buffers."""
    known: set[str] = set()
    state: set[str] = set()
    for call in reversed(calls):
        needed = bool(known.intersection(call.outputs)) and call.kind not in ("Shape", "Size")
        for position, name in enumerate(call.inputs):
            argument = call.operator.argument(position)
            if name and (needed or argument in call.operator.known):
                known.add(name)
            if argument in call.operator.state:
                state.add(name)
    return known, state


def _check_order(calls: Sequence[Call], given: set[str], outputs: Sequence[str]) -> None:
    """Refuse nodes, and outputs of the file, that read what nothing before them computes, and names given twice."""
    there = {"", *given}
    for call in calls:
        if absent := [name for name in call.inputs if name not in there]:
            raise ValueError(f"onnx.load: {call.kind} reads {', '.join(absent)}, which nothing before it computes")
        for name in filter(None, call.outputs):
            if name in there:
                raise ValueError(f"{call} must write to names of its own, but {name} is there already")
            there.add(name)
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
    _check_dtype(what, dtype, number)
    return dtype


def _check_dtype(what: str, dtype: np.dtype[Any], number: int) -> None:
    if dtype.name not in DTYPES:
        name = onnx.TensorProto.DataType.Name(number).lower()
        raise NotImplementedError(f"onnx.load: {what} is of dtype {name}, which convkit has not")
