"""ONNX files that are damaged, lie or contradict themselves: refused by name; nothing outside their folder is read."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convkit import onnx as ck_onnx


def proto(*nodes: onnx.NodeProto, weight: str = "w") -> onnx.ModelProto:
    """A graph from x of shape (2, 3) and a weight of the same shape to y."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])
    y = helper.make_empty_tensor_value_info("y")
    values = numpy_helper.from_array(np.ones((2, 3), np.float32), weight)
    graph = helper.make_graph(nodes or [helper.make_node("Add", ["x", weight], ["y"])], "graph", [x], [y], [values])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])


def test_bytes_that_are_no_model_are_refused(tmp_path: Path) -> None:
    whole = proto().SerializeToString()
    for content in (b"\xff" * 40, whole[:-3], b"not a model"):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(ValueError, match=r"^onnx\.load: .*file is damaged or not an ONNX file"):
            ck_onnx.load(tmp_path / "file")
    with pytest.raises(FileNotFoundError):
        ck_onnx.load(tmp_path / "missing")


@pytest.mark.parametrize("location", ["../secret", "sub/../../secret", "link", "absolute", "x" * 5000, ""])
def test_values_outside_of_the_folder_are_not_read(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(bytes(24))
    (folder / "link").symlink_to(tmp_path / "secret")
    model = proto()
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    place = str(tmp_path / "secret") if location == "absolute" else location
    model.graph.initializer[0].external_data.add(key="location", value=place)
    (folder / "file").write_bytes(model.SerializeToString())
    with pytest.raises((ValueError, OSError), match=r"^onnx\.load: .*file is damaged"):
        ck_onnx.load(folder / "file")
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match=r"^onnx\.load: initialiser w is damaged"):
        ck_onnx.load(model)


@pytest.mark.parametrize("source", [5, None, b"file", proto().graph, onnx.NodeProto()], ids=lambda s: type(s).__name__)
def test_what_is_neither_path_nor_model_is_refused(source: object) -> None:
    said = rf"^onnx\.load: source must be a path or an onnx\.ModelProto, not {type(source).__name__}"
    with pytest.raises(TypeError, match=said):
        ck_onnx.load(source)  # type: ignore[arg-type]


@pytest.mark.parametrize("number", ["COMPLEX64", "COMPLEX128", "STRING", "INT4", "BFLOAT16", "FLOAT16", "FLOAT8E5M2"])
def test_weights_of_dtypes_that_are_not_there_are_refused(number: str) -> None:
    dtype = getattr(TensorProto, number)
    values = [b"a"] * 4 if number == "STRING" else [1] * 4
    tensor = helper.make_tensor("w", dtype, [2, 2], values)
    model = proto()
    model.graph.initializer[0].CopyFrom(tensor)
    said = f"is of dtype {number.lower()}, which convkit has not"
    with pytest.raises(NotImplementedError, match=rf"^onnx\.load: initialiser w {said}"):
        ck_onnx.load(model)
    with pytest.raises(NotImplementedError, match=rf"^onnx\.load: attribute value of Constant {said}"):
        ck_onnx.load(proto(helper.make_node("Constant", [], ["y"], value=tensor)))


# --- functions of the file ----------------------------------------------------------------------------------

OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]


def calling(*functions: tuple[str, list[str]], inputs: int = 1) -> onnx.ModelProto:
    """A model that calls the last of some functions, each of which calls others, or operators, one after another."""
    made = []
    for name, called in functions:
        steps = ["a", *(f"s{i}" for i in range(1, len(called))), "b"]
        nodes = [
            helper.make_node(kind, [steps[i]], [steps[i + 1]], domain="own" if kind[0].islower() else "")
            for i, kind in enumerate(called)
        ]
        made.append(helper.make_function("own", name, ["a"], ["b"], nodes, OPSETS))
    model = proto(helper.make_node(functions[-1][0], ["x"] * inputs, ["y"], domain="own"))
    return helper.make_model(model.graph, functions=made, opset_imports=OPSETS)


def doubling(levels: int) -> onnx.ModelProto:
    return calling(("f0", ["Neg"]), *((f"f{i}", [f"f{i - 1}"] * 2) for i in range(1, levels)))


def test_functions_are_put_in_where_they_are_called() -> None:
    x = np.float32([[1, -2, 3], [-4, 5, -6]])
    np.testing.assert_array_equal(ck_onnx.load(doubling(8))(x), x)
    np.testing.assert_array_equal(ck_onnx.load(calling(("f", ["Neg", "Relu"])))(x), np.maximum(-x, 0))
    chain = [(f"f{i}", [f"f{i - 1}" if i else "Neg"]) for i in range(50)]
    np.testing.assert_array_equal(ck_onnx.load(calling(*chain))(x), -x)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (doubling(18), "with its functions put in, the graph must have at most 100,000 nodes"),
        (doubling(60), "with its functions put in, the graph must have at most 100,000 nodes"),
        (calling(("f", ["Neg", "f"])), "function f calls itself"),
        (calling(("g", ["f"]), ("f", ["g"])), "function f calls itself"),
        (calling(*((f"f{i}", [f"f{i - 1}" if i else "Neg"]) for i in range(2000))), "functions call .* 100 deep"),
        (calling(("f", ["Neg"]), ("f", ["Relu"])), "functions of the file must have names of their own"),
        (calling(("f", ["Neg"]), inputs=2), "the functions of the file cannot be put in: "),
    ],
    ids=["bomb", "large bomb", "recursive", "mutually recursive", "deep", "twice", "too many inputs"],
)
def test_functions_that_cannot_be_put_in_are_refused_at_once(model: onnx.ModelProto, message: str) -> None:
    start = time.process_time()
    with pytest.raises(ValueError, match=rf"^onnx\.load: {message}"):
        ck_onnx.load(model)
    assert time.process_time() - start < 2


def test_functions_whose_constants_would_fill_the_memory_are_refused() -> None:
    model = doubling(16)
    values = numpy_helper.from_array(np.zeros(100_000, np.float32))
    model.functions[0].node.append(helper.make_node("Constant", [], ["c"], value=values))
    with pytest.raises(ValueError, match=r"^onnx\.load: with its functions put in, .* 2,147,483,648 bytes in all"):
        ck_onnx.load(model)


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """By us, or by a parser written in Python, which looks at all text that it reads."""
    said = r"^onnx\.load: (the name b'.*' is damaged: it is not UTF-8|.*file is damaged or not an ONNX file \('utf-8')"
    for name in (b"Add", b"\x01x", b"\x01w", b"\x01y"):
        content = proto().SerializeToString().replace(name, name[:-1] + b"\xff")
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(ValueError, match=said):
            ck_onnx.load(tmp_path / "file")


def without_output(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


def nameless_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = ""


def unknown_dtype(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = 65536


def weight_of_unknown_dtype(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_type = 99


def negative_size(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -1


def size_that_lies(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = 2**62


def node_of_more_outputs(model: onnx.ModelProto) -> None:
    model.graph.node[0].output.append("z")
    model.graph.output[0].name = "z"


def attribute_that_is_no_text(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Gelu", ["y"], ["z"], approximate="none"))
    model.graph.node[1].attribute[0].s = b"\xff"


def circle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[1] = "z"
    model.graph.node.append(helper.make_node("Relu", ["y"], ["z"]))


def inputs_of_one_name(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.UINT8, [2, 3]))


def weights_of_one_name(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def nodes_of_one_output(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Relu", ["x"], ["y"]))


def node_that_writes_over_an_input(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Relu", ["x"], ["x"]))


def node_that_writes_over_a_weight(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Relu", ["x"], ["w"]))


def node_of_one_output_twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Dropout", ["x"], ["z", "z"]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (inputs_of_one_name, "inputs must have names of their own, not x, x"),
        (weights_of_one_name, "initialisers must have names of their own, not w, w"),
        (nodes_of_one_output, "node Relu -> y must write to names of its own, but y is there already"),
        (node_that_writes_over_an_input, "node Relu -> x must write to names of its own, but x is there already"),
        (node_that_writes_over_a_weight, "node Relu -> w must write to names of its own, but w is there already"),
        (node_of_one_output_twice, "node Dropout -> z, z must write to names of its own, but z is there already"),
        (without_output, "the graph has no outputs"),
        (nameless_output, "nothing computes the output ''"),
        (unknown_dtype, "input x is of dtype 65536, which ONNX has not"),
        (weight_of_unknown_dtype, "initialiser w is damaged"),
        (negative_size, r"initialiser w claims the impossible shape \(-1, 3\)"),
        (size_that_lies, "initialiser w is damaged"),
        (node_of_more_outputs, "node Add -> y, z should have 2 outputs, but Add has 1"),
        (attribute_that_is_no_text, "attribute approximate of Gelu is damaged"),
        (circle, "Add reads z, which nothing before it computes"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_contradicts_itself_is_refused(change: Callable[[onnx.ModelProto], None], message: str) -> None:
    model = proto()
    change(model)
    with pytest.raises((NotImplementedError, ValueError), match=rf"^onnx\.load: {message}"):
        ck_onnx.load(model)(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Transpose", ["x"], ["y"], perm=[0, 5]),
        helper.make_node("Split", ["x"], ["y", "z"], axis=7),
        helper.make_node("Squeeze", ["x"], ["y"], axes=[-9]),
        helper.make_node("Unsqueeze", ["x"], ["y"], axes=[1, 1]),
        helper.make_node("Reshape", ["x"], ["y"], shape=[-1, -1, -1, 6]),
        helper.make_node("Gelu", ["x", "w", "w"], ["y"]),
        helper.make_node("Constant", ["x"], ["y"], value_int=1),
        helper.make_node("LayerNormalization", ["x", ""], ["y"]),
        helper.make_node("Identity", [""], ["y"]),
        helper.make_node("DepthToSpace", ["x"], ["y"], blocksize=0),
        helper.make_node("Concat", [], ["y"], axis=0),
    ],
    ids=lambda node: node.op_type,
)
def test_a_node_that_cannot_be_computed_is_named(node: onnx.NodeProto) -> None:
    with pytest.raises(ValueError, match=rf"^onnx\.load: node {node.op_type} -> y.* cannot be computed: ."):
        ck_onnx.load(proto(node))(np.zeros((2, 3), np.float32))


def test_a_dtype_that_kernels_lack_is_refused() -> None:
    model = proto(helper.make_node("Sigmoid", ["x"], ["y"]))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT8
    reason = "sigmoid: x must be float32 or float64, not int8"
    with pytest.raises(ValueError, match=f"^onnx.load: node Sigmoid -> y cannot be computed: {reason}"):
        ck_onnx.load(model)


def test_places_out_of_range_are_refused() -> None:
    model = proto(helper.make_node("GatherElements", ["x", "i"], ["y"], axis=1))
    model.graph.input.append(helper.make_tensor_value_info("i", TensorProto.INT64, [2, 3]))
    loaded = ck_onnx.load(model)
    x = np.zeros((2, 3), np.float32)
    np.testing.assert_array_equal(loaded(x, np.full((2, 3), 2)), x)
    with pytest.raises(ValueError, match=r"^GatherElements: indices must be from -3 to 2, not 3"):
        loaded(x, np.full((2, 3), 3))
    node = helper.make_node("MaxUnpool", ["x", "i"], ["y"], kernel_shape=[1])
    with pytest.raises(ValueError, match=r"MaxUnpool: indices must have shape \(1, 1, 4\), not \(1, 1, 3\)"):
        ck_onnx.Backend.run_node(node, [np.zeros((1, 1, 4), np.float32), np.zeros((1, 1, 3), np.int64)])


def test_an_attribute_that_is_a_graph_is_refused() -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    node.attribute.append(helper.make_attribute("body", proto().graph))
    with pytest.raises(NotImplementedError, match=r"attribute body of Relu is a GraphProto, which convkit has not"):
        ck_onnx.load(proto(node))


@pytest.mark.parametrize("name", ["forward", "_plans", "_calls", "_changes", "_program", "dtype", "_attributes"])
def test_a_weight_may_have_any_name(name: str) -> None:
    loaded = ck_onnx.load(proto(weight=name))
    for _ in range(2):
        np.testing.assert_array_equal(loaded(np.zeros((2, 3), np.float32)), np.ones((2, 3)))
