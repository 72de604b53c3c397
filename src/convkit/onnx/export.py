"""A model written as an ONNX file: its inference graph, one entry for each kind of op.

The graph is traced for two sizes of the batch; where shapes differ between the two, the file leaves them open.  What
depends on parameters alone is written as the values that it has.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from convkit.errors import axis_sizes
from convkit.files import file_path, write_whole
from convkit.geometry import Pairs, Windows, transposed_output_size
from convkit.graph.symbols import Graph, Node, Symbol
from convkit.graph.trace import symbols_of
from convkit.nn.module import Module, check_module
from convkit.ops import activation, conv, elementwise, linear, loss, norm, pool, resize, shape
from convkit.ops.base import Primitive, Spec
from convkit.parameter import Buffer, Parameter

OPSET = 20
BATCHES = (2, 3)  # the sizes that graphs are traced for


def save(model: Module, path: str | os.PathLike[str], input_shape: Sequence[int] | None = None) -> None:
    """Write a model, as it infers, to an ONNX file that other programs can run.

    The file takes batches of any size.  It is checked by ``onnx.checker`` before it is written.

    Parameters
    ----------
    model : Module
        With one input.
    path : path
        The file, by custom ``*.onnx``; its folder is made where it is missing.
    input_shape : sequence of int, optional
        Shape of one input, without the batch axis; needed where the model does not name its own.

    Raises
    ------
    TypeError
        Where `model` is no Module, `path` no path, or `input_shape` no sequence of integers.
    ValueError
        Without an input shape; for ops that ONNX has no operator for and what depends on how many images a batch has,
        by name; and where `onnx.checker` finds fault with the file.
    OSError
        When the file cannot be written; a file that was there stays as it was.
    """
    check_module("onnx.save", model)
    place = file_path("onnx.save", "path", path)
    given = model.input_shape if input_shape is None else input_shape
    if given is None:
        raise ValueError("onnx.save: input_shape is needed, as in save(model, path, (1, 28, 28))")
    one = axis_sizes("onnx.save", "input_shape", given, 1)
    proto = _Writer(model, one).write()
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(f"onnx.save: the file of {type(model).__name__} would not be valid: {error}") from error
    write_whole(place, proto.SerializeToString())


class _Writer:
    """One model on its way into a file: which name each symbol has there, and the nodes and values written so far."""

    def __init__(self, model: Module, input_shape: tuple[int, ...]) -> None:
        self.title = type(model).__name__
        self.owned = {id(owned): name for name, owned in {**model.parameters(), **model.buffers()}.items()}
        (self.graph, self.outputs), (other, self.other_outputs) = (
            self._trace(model, (n, *input_shape)) for n in BATCHES
        )
        if len(self.graph.nodes) != len(other.nodes):
            raise ValueError(f"onnx.save: what {self.title}.forward does depends on how many images a batch has")
        self.others = dict(zip(self.graph.nodes, other.nodes, strict=True))
        self.names: dict[Symbol, str] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def _trace(self, model: Module, shape: tuple[int, ...]) -> tuple[Graph, tuple[Symbol, ...]]:
        graph, result = model.trace([Spec(shape, model.dtype)])
        outputs = symbols_of(f"{self.title}.forward", result)
        graph.keep_only(outputs)
        return graph, outputs

    def write(self) -> onnx.ModelProto:
        [x] = self.graph.inputs
        names = [f"output{i}" if i else "output" for i in range(len(self.outputs))]
        self.names[x] = "input"
        known = self._values()
        for node in self.graph.nodes:
            if node.outputs[0] not in known:
                self._write(node, known)
        results = list(zip(names, self.outputs, self.other_outputs, strict=True))
        for name, symbol, _ in results:
            self.add("Identity", [self.names[symbol]], [name])
        graph = helper.make_graph(
            self.nodes,
            self.title,
            [_value_info("input", x.dtype, ["N", *x.shape[1:]])],
            [_value_info(name, symbol.dtype, _axes(symbol, other)) for name, symbol, other in results],
            list(self.initializers.values()),
        )
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model_gen_version(graph, opset_imports=opset, producer_name="convkit")

    def _values(self) -> dict[Symbol, np.ndarray]:
        """What is known without an input: leaves, and what is computed of them alone."""
        known: dict[Symbol, np.ndarray] = {}
        for node in self.graph.nodes:
            for symbol in node.inputs:
                if symbol is not None and symbol.node is None and isinstance(symbol.source, (Parameter, Buffer)):
                    known[symbol] = symbol.source.value
                    self.names[symbol] = self.owned.get(id(symbol.source), f"weights_{len(self.names)}")
                elif symbol is not None and isinstance(symbol.source, np.ndarray):
                    known[symbol] = symbol.source
            if all(symbol is None or symbol in known for symbol in node.inputs):
                values = node.op.evaluate([None if symbol is None else known[symbol] for symbol in node.inputs])
                known.update(zip(node.outputs, values, strict=True))
        return known

    def _write(self, node: Node, known: dict[Symbol, np.ndarray]) -> None:
        write = ENTRIES.get(type(node.op))
        if write is None:
            raise ValueError(f"onnx.save: {type(node.op).__name__} has no operator in ONNX that stands for it")
        other = self.others[node]
        if node.op != other.op and not isinstance(node.op, (shape.Reshape, elementwise.BroadcastTo)):
            raise ValueError(f"onnx.save: {type(node.op).__name__} depends on how many images a batch has")
        inputs = [self._name(symbol, same, known) for symbol, same in zip(node.inputs, other.inputs, strict=True)]
        for symbol in node.outputs:
            self.names[symbol] = f"{type(node.op).__name__.lower()}_{len(self.names)}"
        write(Entry(self, node, inputs, [self.names[symbol] for symbol in node.outputs]), node.op)

    def _name(self, symbol: Symbol | None, other: Symbol | None, known: dict[Symbol, np.ndarray]) -> str:
        """The name of a node's input, which the other graph has as `other`; empty where it was left out."""
        if symbol is None or other is None:
            return ""
        if symbol not in known:
            return self.names[symbol]
        if isinstance(symbol.source, np.ndarray):
            varies = symbol.shape != other.shape
            return self._for_each_image(known[symbol]) if varies else self.constant(known[symbol])
        name = self.names.setdefault(symbol, f"weights_{len(self.names)}")
        self.initializers[name] = numpy_helper.from_array(known[symbol], name)
        return name

    def _for_each_image(self, values: np.ndarray) -> str:
        """A constant of as many equal rows as the batch has images."""
        if not (values == values[:1]).all():
            raise ValueError("onnx.save: a constant differs from one image of a batch to the next")
        name = f"rows_{len(self.nodes)}"
        self.add("Shape", ["input"], [f"{name}_count"], start=0, end=1)
        rest = self.constant(np.array(values.shape[1:]))
        self.add("Concat", [f"{name}_count", rest], [f"{name}_shape"], axis=0)
        self.add("Expand", [self.constant(values[:1]), f"{name}_shape"], [name])
        return name

    def constant(self, values: Any) -> str:
        """The name of a constant, which unlike an initialiser nobody takes for a weight."""
        name = f"constant_{len(self.nodes)}"
        self.add("Constant", [], [name], value=numpy_helper.from_array(np.asarray(values)))
        return name

    def reads(self, symbol: Symbol, besides: type[Primitive]) -> bool:
        """Whether it is an output, or an input of any op but those of one kind."""
        readers = [node for node in self.graph.nodes if symbol in node.inputs]
        return symbol in self.outputs or any(not isinstance(node.op, besides) for node in readers)

    def add(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))


def _value_info(name: str, dtype: np.dtype[Any], axes: Sequence[int | str | None]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), axes)


def _axes(symbol: Symbol, other: Symbol) -> list[int | str | None]:
    """The sizes of an output's axes: N for the number of images, None where they follow from it in another way."""
    sizes = zip(symbol.shape, other.shape, strict=True)
    return [n if n == m else "N" if (n, m) == BATCHES else None for n, m in sizes]


class Entry:
    """A node of ours with the names of its inputs and outputs in the file.

    An input that was left out is the empty name.
    """

    def __init__(self, writer: _Writer, node: Node, inputs: list[str], outputs: list[str]) -> None:
        self.writer, self.node = writer, node
        self.inputs, self.outputs = inputs, outputs
        self.shapes = [() if symbol is None else symbol.shape for symbol in node.inputs]
        self.dtype = node.outputs[0].dtype

    def emit(self, kind: str, *inputs: str, to: Sequence[str] | None = None, **attributes: Any) -> None:
        """Write an operator from the node's inputs, or those named, to its outputs, or those named."""
        self.writer.add(kind, inputs or self.inputs, to or self.outputs, **attributes)

    def also(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Write an operator whose result is only used by the next; return its name."""
        name = f"{self.outputs[0]}_{kind.lower()}"
        self.emit(kind, *inputs, to=[name], **attributes)
        return name

    def constant(self, values: Any) -> str:
        """The name of a constant of integers, or of numbers in the node's dtype."""
        array = np.asarray(values)
        return self.writer.constant(array if array.dtype.kind == "i" else array.astype(self.dtype))

    def open_shape(self) -> list[int]:
        """The output's shape, with -1 where it differs by the batch."""
        [other] = self.writer.others[self.node].outputs
        pairs = zip(self.node.outputs[0].shape, other.shape, strict=True)
        return [n if n == m else -1 for n, m in pairs]


# --- the entries ------------------------------------------------------------------------------------------------

Write = Callable[[Entry, Any], None]
ENTRIES: dict[type[Primitive], Write] = {}


def _entry(kind: type[Primitive]) -> Callable[[Write], Write]:
    def enter(write: Write) -> Write:
        ENTRIES[kind] = write
        return write

    return enter


ENTRIES |= {
    elementwise.Relu: lambda entry, op: entry.emit("Relu"),
    elementwise.Tanh: lambda entry, op: entry.emit("Tanh"),
    elementwise.Sigmoid: lambda entry, op: entry.emit("Sigmoid"),
    elementwise.Add: lambda entry, op: entry.emit("Add"),
    elementwise.Subtract: lambda entry, op: entry.emit("Sub"),
    elementwise.Multiply: lambda entry, op: entry.emit("Mul"),
    elementwise.Scale: lambda entry, op: entry.emit("Mul", entry.inputs[0], entry.constant(op.factor)),
    elementwise.BroadcastTo: lambda entry, op: entry.emit(
        "Expand", entry.inputs[0], entry.constant([max(n, 1) for n in entry.open_shape()])
    ),
    activation.Map: lambda entry, op: MAPS[op.name](entry, op),
    linear.Linear: lambda entry, op: entry.emit("Gemm", *filter(None, entry.inputs), transB=1),
    linear.MatMul: lambda entry, op: entry.emit("Gemm", transA=int(op.trans_a), transB=int(op.trans_b)),
    loss.Softmax: lambda entry, op: entry.emit("LogSoftmax" if op.log else "Softmax", axis=op.axis),
    shape.Reshape: lambda entry, op: entry.emit("Reshape", entry.inputs[0], entry.constant(entry.open_shape())),
    shape.Concat: lambda entry, op: entry.emit("Concat", axis=op.axis),
    shape.Gather: lambda entry, op: entry.emit("Gather", entry.inputs[0], entry.constant(op.places), axis=0),
    shape.Sum: lambda entry, op: entry.emit("ReduceSum", keepdims=0),
    resize.PixelShuffle: lambda entry, op: entry.emit("DepthToSpace", blocksize=op.factor, mode="CRD"),
}

MAPS: dict[str, Write] = {
    "leaky_relu": lambda entry, op: entry.emit("LeakyRelu", alpha=op.p),
    "elu": lambda entry, op: entry.emit("Elu", alpha=op.p),
    "selu": lambda entry, op: entry.emit("Selu"),
    "silu": lambda entry, op: entry.emit("Mul", entry.inputs[0], entry.also("Sigmoid")),
    "softplus": lambda entry, op: _softplus(entry, op),
    "hardsigmoid": lambda entry, op: entry.emit("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hardswish": lambda entry, op: entry.emit("HardSwish"),
    "hardtanh": lambda entry, op: entry.emit("Clip", entry.inputs[0], entry.constant(op.p), entry.constant(op.q)),
    "gelu": lambda entry, op: entry.emit("Gelu"),
    "gelu_tanh": lambda entry, op: entry.emit("Gelu", approximate="tanh"),
}


def _softplus(entry: Entry, op: activation.Map) -> None:
    x, beta = entry.inputs[0], entry.constant(op.p)
    scaled = entry.also("Mul", x, beta)
    soft = entry.also("Softplus", scaled)
    if np.log1p(np.exp(-op.q)) < op.q * np.finfo(entry.dtype).eps:  # by which x differs at the threshold
        entry.emit("Div", soft, beta)
    else:
        entry.emit("Where", entry.also("Greater", scaled, entry.constant(op.q)), x, entry.also("Div", soft, beta))


@_entry(elementwise.Shift)
def _shift(entry: Entry, op: elementwise.Shift) -> None:
    offset = entry.constant(op.offset)
    entry.emit(*("Sub", offset, entry.inputs[0]) if op.negative else ("Add", entry.inputs[0], offset))


@_entry(activation.PRelu)
def _prelu(entry: Entry, op: activation.PRelu) -> None:
    x, weight = entry.inputs
    channels = [-1, *[1] * (len(entry.shapes[0]) - 2)]
    entry.emit("PRelu", x, entry.also("Reshape", weight, entry.constant(channels)))


@_entry(conv.Convolution)
def _conv(entry: Entry, op: conv.Convolution) -> None:
    entry.emit("Conv", group=op.groups, **_windows(op.windows), dilations=op.windows.dilation)


@_entry(conv.ConvTranspose)
def _conv_transpose(entry: Entry, op: conv.ConvTranspose) -> None:
    least = transposed_output_size("onnx.save", entry.shapes[0][2:], op.windows, (0,) * op.windows.rank)
    entry.emit(
        "ConvTranspose",
        group=op.groups,
        **_windows(op.windows),
        dilations=op.windows.dilation,
        output_padding=[n - m for n, m in zip(op.size, least, strict=True)],
    )


@_entry(pool.MaxPool)
def _max_pool(entry: Entry, op: pool.MaxPool) -> None:
    y, places = entry.outputs
    high, ends, whole = op.windows.high, _ends(entry, op.windows), _in_whole(places)
    ceil_mode = any(end > hi for end, hi in zip(ends, high, strict=True)) and min(ends) >= 0
    windows = _ending(op.windows, map(min if ceil_mode else max, high, ends))
    entry.emit("MaxPool", to=[y, whole], **_windows(windows), dilations=windows.dilation, ceil_mode=int(ceil_mode))
    if entry.writer.reads(entry.node.outputs[1], besides=pool.MaxUnpool):
        entry.emit("Mod", whole, entry.constant(prod(entry.shapes[0][2:])), to=[places])


def _in_whole(places: str) -> str:
    """The name of what MaxPool writes: places within the whole array, of which Mod makes ours, within a plane."""
    return f"{places}_whole"


@_entry(pool.MaxUnpool)
def _max_unpool(entry: Entry, op: pool.MaxUnpool) -> None:
    indices = entry.node.inputs[1]
    pooling = indices.node if indices is not None else None
    if pooling is None or not isinstance(pooling.op, pool.MaxPool) or pooling.inputs[0] is None:
        raise ValueError("onnx.save: max_unpool must take its indices from a max pooling of the same model")
    windows, plane = pooling.op.windows, tuple(pooling.inputs[0].shape[2:])
    size = transposed_output_size("onnx.save", entry.shapes[0][2:], windows, (0,) * windows.rank)
    if not op.size == size == plane:
        raise ValueError(
            f"onnx.save: max_unpool to size {op.size}: in ONNX it must be {size}, the least that fits, and the size of "
            f"what was pooled, here {plane}"
        )
    x, places = entry.inputs
    entry.emit("MaxUnpool", x, _in_whole(places), **{**_windows(windows), "kernel_shape": windows.extent})


@_entry(pool.AvgPool)
def _avg_pool(entry: Entry, op: pool.AvgPool) -> None:
    x, high, counts = entry.inputs[0], op.windows.high, op.count_include_pad
    windows = _ending(op.windows, map(max, high, _ends(entry, op.windows)))
    if counts and windows.high != high:  # padding counts, but not what windows have beyond it
        x = entry.also("Pad", x, _pads(entry, ((0, 0), (0, 0), *op.windows.padding)))
        beyond = tuple((0, end - hi) for end, hi in zip(windows.high, high, strict=True))
        windows, counts = replace(windows, padding=beyond), False
    entry.emit("AveragePool", x, **_windows(windows), count_include_pad=int(counts))


def _ends(entry: Entry, windows: Windows) -> list[int]:
    """How far behind x the output's last window of each axis ends.

    With `ceil_mode` ONNX's shapes have one more window where that would lie in the padding alone, and of windows that
    go on behind the padding not all readers make the same average: padding up to these ends says what is meant.
    """
    sizes = zip(entry.shapes[0][2:], entry.node.outputs[0].shape[2:], strict=True)
    axes = zip(sizes, windows.low, windows.stride, windows.extent, strict=True)
    return [(count - 1) * s + m - n - lo for (n, count), lo, s, m in axes]


def _ending(windows: Windows, high: Iterable[int]) -> Windows:
    """The windows with other padding behind."""
    return replace(windows, padding=tuple(zip(windows.low, high, strict=True)))


def _windows(windows: Windows) -> dict[str, Any]:
    return {
        "kernel_shape": windows.kernel_size,
        "strides": windows.stride,
        "pads": [*windows.low, *windows.high],
    }


@_entry(norm.Normalize)
def _normalize(entry: Entry, op: norm.Normalize) -> None:
    x, mean, variance, weight, bias = entry.inputs
    channels = entry.shapes[1]
    weight, bias = weight or entry.constant(np.ones(channels)), bias or entry.constant(np.zeros(channels))
    entry.emit("BatchNormalization", x, weight, bias, mean, variance, epsilon=op.eps)


@_entry(norm.BatchNorm)
def _batch_norm(entry: Entry, op: norm.BatchNorm) -> None:
    if entry.shapes[0][0] != 1:
        raise ValueError("onnx.save: a normalisation by the batch's own moments has no operator that stands for it")
    # What group and layer normalisation are made of: rows (1, rows, values), each by its own moments.
    x, weight, bias = entry.inputs
    assert not weight and not bias
    entry.emit("LayerNormalization", x, entry.constant([1.0]), axis=2, epsilon=op.eps, to=entry.outputs[:1])


@_entry(norm.LocalResponseNorm)
def _local_response_norm(entry: Entry, op: norm.LocalResponseNorm) -> None:
    if op.size % 2 == 0:
        raise ValueError(
            f"onnx.save: local_response_norm over {op.size} channels: ONNX centres an even number elsewhere"
        )
    entry.emit("LRN", size=op.size, alpha=op.alpha * op.size, beta=op.beta, bias=op.k)


@_entry(shape.Slice)
def _slice(entry: Entry, op: shape.Slice) -> None:
    places = [entry.constant([n]) for n in (op.start, op.start + op.size, op.axis)]
    entry.emit("Slice", entry.inputs[0], *places)


@_entry(shape.Pad)
def _pad(entry: Entry, op: shape.Pad) -> None:
    entry.emit("Pad", entry.inputs[0], _pads(entry, op.padding), entry.constant(op.value))


@_entry(shape.PadBy)
def _pad_by(entry: Entry, op: shape.PadBy) -> None:
    mode = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}[op.mode]
    entry.emit("Pad", entry.inputs[0], _pads(entry, op.padding), mode=mode)


def _pads(entry: Entry, padding: Pairs) -> str:
    return entry.constant([*[lo for lo, _ in padding], *[hi for _, hi in padding]])


@_entry(resize.Interpolate)
def _interpolate(entry: Entry, op: resize.Interpolate) -> None:
    axes = list(range(2, 2 + len(op.out)))
    if not op.linear:
        how: Any = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    else:
        how = {
            "mode": "linear",
            "coordinate_transformation_mode": "align_corners" if op.align_corners else "half_pixel",
        }
    entry.emit("Resize", entry.inputs[0], "", "", entry.constant(op.out), axes=axes, **how)
