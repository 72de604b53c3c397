"""Networks from ONNX files: the same results, trainable, and refusals that name what is missing."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import convkit as ck
from convkit import data, models, nn, optim
from convkit import onnx as ck_onnx
from convkit.onnx.operators import OPERATORS
from convkit.parameter import Buffer

SMALL = [name for name, entry in models.REGISTRY.items() if entry.dataset is not None]
OLDEST = 7  # version of ONNX's operators from which on files are read


def image(shape: tuple[int, ...], samples: int = 5) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((samples, *shape), np.float32)


def model_of(
    nodes: list[onnx.NodeProto], inputs: dict[str, Any], initializers: dict[str, Any] | None = None, opset: int = 21
) -> onnx.ModelProto:
    """A model with one output, y, and inputs given by their shapes, or as (element type, shape)."""
    infos = [
        helper.make_tensor_value_info(name, *(given if isinstance(given, tuple) else (TensorProto.FLOAT, given)))
        for name, given in inputs.items()
    ]
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in (initializers or {}).items()]
    output = helper.make_value_info("y", onnx.TypeProto())
    graph = helper.make_graph(nodes, "graph", infos, [output], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def saved_and_loaded(name: str, folder: Path) -> tuple[nn.Module, nn.Module, np.ndarray]:
    """A network of the registry, itself as read from its file, and an input for both."""
    model = models.REGISTRY[name].build()
    ck_onnx.save(model, folder / "model.onnx")
    return model, ck_onnx.load(folder / "model.onnx"), image(model.input_shape or ())


@pytest.mark.parametrize("name", SMALL)
def test_what_was_saved_computes_the_same_when_loaded(name: str, tmp_path: Path) -> None:
    model, loaded, x = saved_and_loaded(name, tmp_path)
    expected = model(x)
    np.testing.assert_allclose(loaded(x), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_parameters_and_moments_keep_their_names(tmp_path: Path) -> None:
    model = models.resnet20()
    ck_onnx.save(model, tmp_path / "model.onnx")
    loaded = ck_onnx.load(tmp_path / "model.onnx")
    assert loaded.parameters().keys() == model.parameters().keys()
    assert all(name.endswith(("running_mean", "running_var")) for name in loaded.buffers())
    assert all(isinstance(buffer, Buffer) for buffer in loaded.buffers().values())
    for name, parameter in model.parameters().items():
        np.testing.assert_array_equal(loaded.parameters()[name].value, parameter.value)


@pytest.mark.parametrize("name", ["lenet5", "resnet20", "highway_conv16"])
def test_what_was_loaded_trains_as_what_was_saved(name: str, tmp_path: Path) -> None:
    model = models.REGISTRY[name].build()
    ck_onnx.save(model, tmp_path / "model.onnx")
    batch = data.mnist("train", source="sample")
    x, labels = batch.images[:16], batch.labels[:16]
    losses, scores = [], []
    for trained in (model, ck_onnx.load(tmp_path / "model.onnx")):
        step = ck.compile_step(trained, nn.CrossEntropyLoss(), optim.SGD(lr=0.05))
        losses.append([step(x, labels) for _ in range(4)])
        scores.append(trained(x))  # by running moments, where there are any
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
    assert losses[1][-1] < losses[1][0]
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-3, atol=1e-3 * np.abs(scores[0]).max())


def test_images_are_scaled_where_the_file_takes_floats(tmp_path: Path) -> None:
    model = models.lenet5()
    ck_onnx.save(model, tmp_path / "model.onnx")
    images = data.mnist("test", source="sample").images[:4]
    np.testing.assert_allclose(ck_onnx.load(tmp_path / "model.onnx")(images), model(images), rtol=1e-4, atol=1e-6)


# y = w · x + half + (1 cast to floats) + zeros of x's shape, of a w that is (3,)
MIXED = [
    helper.make_node("Mul", ["x", "w"], ["product"]),
    helper.make_node("Add", ["product", "half"], ["shifted"]),
    helper.make_node("Cast", ["one"], ["float_one"], to=TensorProto.FLOAT),
    helper.make_node("Shape", ["x"], ["shape"]),
    helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
    helper.make_node("Cast", ["x"], ["cast"], to=TensorProto.FLOAT),
    helper.make_node("Sum", ["shifted", "float_one", "zeros", "cast"], ["y"]),
]
CONSTANTS = {"w": np.float32([1, 2, 3]), "half": np.float32(0.1), "one": np.int64(1)}


@pytest.mark.parametrize("around", [lambda loaded: loaded, nn.Sequential])
def test_a_module_computes_in_the_dtype_that_it_is_converted_to(around: Callable[[nn.Module], nn.Module]) -> None:
    loaded = ck_onnx.load(model_of(MIXED, {"x": ["N", 3]}, CONSTANTS))
    model, x = around(loaded), np.random.default_rng(0).standard_normal((4, 3))
    narrow = model(x)
    assert narrow.dtype == np.float32
    wide = model.astype("float64")(x)
    np.testing.assert_allclose(wide, x * [1, 2, 3] + np.float64(np.float32(0.1)) + 1 + x, rtol=1e-15)
    np.testing.assert_array_equal(model(np.uint8([[255, 0, 51]])), model([[1, 0, 0.2]]))
    np.testing.assert_array_equal(model.astype("float32")(x), narrow)


@pytest.mark.parametrize("name", ["lenet5", "resnet20"])
def test_a_network_trains_in_the_dtype_that_it_is_converted_to(name: str, tmp_path: Path) -> None:
    model = models.REGISTRY[name].build()
    ck_onnx.save(model, tmp_path / "model.onnx")
    batch = data.mnist("train", source="sample")
    losses = []
    for trained in (model, ck_onnx.load(tmp_path / "model.onnx")):
        step = ck.compile_step(trained.astype("float64"), nn.CrossEntropyLoss(), optim.SGD(lr=0.05))
        losses.append([step(batch.images[:8], batch.labels[:8]) for _ in range(3)])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)  # of epsilons, which files have as float32


def test_a_graph_without_parameters_is_converted_too() -> None:
    loaded = ck_onnx.load(model_of([helper.make_node("Add", ["x", "c"], ["y"])], {"x": [1]}, {"c": np.float32(0.5)}))
    y = loaded.astype("float64")(np.array([1e-12]))
    assert y.dtype == np.float64
    assert y[0] == 0.5 + 1e-12
    assert loaded.astype("float32")(np.array([1e-12])).dtype == np.float32


def test_shapes_are_rounded_as_in_the_file_whatever_the_dtype() -> None:
    """10 · 0.7 is 7 in float32 alone."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Cast", ["shape"], ["sizes"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["sizes", "factor"], ["fewer"]),
        helper.make_node("Cast", ["fewer"], ["wanted"], to=TensorProto.INT64),
        helper.make_node("ConstantOfShape", ["wanted"], ["zeros"]),
        helper.make_node("Sub", ["zeros", "factor"], ["values"]),
        helper.make_node("Add", ["values", "w"], ["y"]),
    ]
    constants = {"factor": np.float32(0.7), "w": np.ones(1, np.float32)}
    loaded = ck_onnx.load(model_of(nodes, {"x": ["N"]}, constants))
    expected = np.ones(7) - np.float32(0.7)
    for dtype in ("float32", "float64"):
        y = loaded.astype(dtype)(np.zeros(10))
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, expected.astype(dtype))


def test_a_constant_that_a_dtype_cannot_hold_leaves_all_as_it_was() -> None:
    constants = {"c": np.float64(1e300), "w": np.ones(2)}
    nodes = [helper.make_node("Add", ["x", "c"], ["z"]), helper.make_node("Add", ["z", "w"], ["y"])]
    loaded = ck_onnx.load(model_of(nodes, {"x": (TensorProto.DOUBLE, [2])}, constants))
    with pytest.raises(TypeError, match="c must be of numbers that float32 can hold"):
        loaded.astype("float32")
    assert loaded(np.zeros(2)).tolist() == [1e300, 1e300]
    with pytest.raises(TypeError, match="^astype: dtype must be float32 or float64, not None"):
        loaded.astype(None)


def called(model: nn.Module, x: np.ndarray) -> Any:
    return model(x)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_keeps_what_was_changed(copied: Callable[[nn.Module], nn.Module]) -> None:
    loaded = ck_onnx.load(model_of(MIXED, {"x": ["N", 3]}, CONSTANTS)).astype("float64")
    loaded.parameters()["w"].assign([4, 5, 6])
    loaded.parameters()["w"].trainable = False
    twin, x = copied(loaded), image((3,))
    np.testing.assert_array_equal(twin(x), loaded(x))
    assert not twin.parameters()["w"].trainable
    twin.parameters()["w"].assign([0, 0, 0])
    np.testing.assert_array_equal(loaded.parameters()["w"].value, [4, 5, 6])


@pytest.mark.parametrize("name", SMALL)
def test_a_pickled_network_computes_the_same_bits(name: str, tmp_path: Path) -> None:
    _, loaded, x = saved_and_loaded(name, tmp_path)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(loaded))(x), loaded(x))


def test_a_worker_process_takes_a_trained_network(tmp_path: Path) -> None:
    ck_onnx.save(models.lenet5(), tmp_path / "model.onnx")
    loaded, x = ck_onnx.load(tmp_path / "model.onnx"), image((1, 28, 28))
    ck.compile_step(loaded, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))(x, np.arange(5))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(called, (loaded, x)), loaded(x))


def test_integers_stay_integers() -> None:
    nodes = [helper.make_node("Add", ["a", "a"], ["y"])]
    loaded = ck_onnx.load(model_of(nodes, {"a": (TensorProto.UINT8, [3])}))
    y = loaded(np.uint8([1, 2, 100]))
    assert y.dtype == np.uint8
    np.testing.assert_array_equal(y, [2, 4, 200])


def test_shapes_that_a_file_computes_leave_nothing_in_the_graph() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["batch"]),
        helper.make_node("Unsqueeze", ["batch", "zeros"], ["batches"]),
        helper.make_node("Concat", ["batches", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["x", "wanted"], ["y"]),
    ]
    constants = {"zero": np.int64(0), "zeros": np.int64([0]), "rest": np.int64([-1])}
    loaded = ck_onnx.load(model_of(nodes, {"x": ["N", 2, 3]}, constants))
    graph, _ = loaded.trace([ck.ops.base.Spec((5, 2, 3), np.dtype(np.float32))])
    assert [type(node.op).__name__ for node in graph.nodes] == ["Reshape"]
    assert loaded(image((2, 3), 5)).shape == (5, 6)


def test_an_input_that_decides_shapes_is_given_when_loading() -> None:
    proto = model_of(
        [helper.make_node("Reshape", ["x", "shape"], ["y"])], {"x": [2, 3], "shape": (TensorProto.INT64, [1])}
    )
    with pytest.raises(ValueError, match="values must hold shape"):
        ck_onnx.load(proto)
    loaded = ck_onnx.load(proto, {"shape": np.int64([6])})
    assert loaded.input_names == ("x",)
    assert loaded(np.zeros((2, 3), np.float32)).shape == (6,)


def test_inputs_and_outputs_that_are_left_out_have_nothing_to_do_with_each_other() -> None:
    """The one has to be known when a graph is traced, the other does not."""
    nodes = [
        helper.make_node("LayerNormalization", ["x", "w"], ["z", "", "spread"]),
        helper.make_node("Clip", ["z", "", "max"], ["y"]),
    ]
    loaded = ck_onnx.load(model_of(nodes, {"x": ["N", 3]}, {"w": np.ones(3, np.float32), "max": np.float32(1)}))
    assert list(loaded.parameters()) == ["w"]
    assert loaded.astype("float64")(np.float64([[0, 0, 9]])).tolist()[0][2] == 1


SHAPE_INPUT = {"x": [2, 3], "shape": (TensorProto.INT64, [2]), "scale": (TensorProto.FLOAT, ["N"])}


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ([("shape", [3, 2])], TypeError, "values must be a mapping of input names to arrays, not list"),
        ([], TypeError, "values must be a mapping of input names to arrays, not list"),
        ({"shape": [3, 2], "size": 1}, ValueError, r"values must be of the file's inputs \('x', .*\), not of 'size'"),
        ({"shape": [3, 2], "w": [1]}, ValueError, "values must be of the file's inputs .*, not of 'w'"),
        ({"shape": [3.7, 2.0]}, TypeError, r"values\['shape'\] must be int64, not float64"),
        ({"shape": np.uint64([2**63, 2])}, ValueError, rf"values\['shape'\] .* to {2**63 - 1}, not {2**63}"),
        ({"shape": [6]}, ValueError, r"values\['shape'\] must have shape \(2,\), as in the file, not \(1,\)"),
        ({"shape": [[3, 2]]}, ValueError, r"values\['shape'\] must have shape \(2,\), as in the file, not \(1, 2\)"),
        ({"shape": [3, 2], "scale": ["a"]}, TypeError, r"values\['scale'\] must be integers or floats, not <U1"),
    ],
)
def test_values_must_be_what_the_file_declares(values: Any, error: type[Exception], message: str) -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    with pytest.raises(error, match=rf"^onnx\.load: {message}"):
        ck_onnx.load(model_of(nodes, SHAPE_INPUT, {"w": np.float32([1])}), values)


def test_values_are_taken_in_the_dtype_of_the_file() -> None:
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["r"]), helper.make_node("Mul", ["r", "scale"], ["y"])]
    loaded = ck_onnx.load(model_of(nodes, SHAPE_INPUT), {"shape": np.int8([3, 2]), "scale": [2, 3]})
    y = loaded(np.ones((2, 3), np.float32))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, [[2, 3]] * 3)


@pytest.mark.parametrize(
    ("declared", "given", "error", "message"),
    [
        (TensorProto.INT8, np.int64([1, 300]), ValueError, "must be int8, from -128 to 127, not 300"),
        (TensorProto.UINT8, np.int64([-1, 3]), ValueError, "must be uint8, from 0 to 255, not -1"),
        (TensorProto.INT64, np.uint64([2**63, 0]), ValueError, rf"must be int64, from .* to {2**63 - 1}, not {2**63}"),
        (TensorProto.UINT64, np.int64([-5, 0]), ValueError, rf"must be uint64, from 0 to {2**64 - 1}, not -5"),
        (TensorProto.BOOL, np.int64([0, 2]), ValueError, "must be bool, from 0 to 1, not 2"),
        (TensorProto.INT64, np.float32([1, 2]), TypeError, "must be int64, not float32"),
        (TensorProto.BOOL, np.float64([1, 0]), TypeError, "must be bool, not float64"),
    ],
)
def test_integers_that_do_not_fit_are_refused(declared: int, given: np.ndarray, error: Any, message: str) -> None:
    loaded = ck_onnx.load(model_of([helper.make_node("Identity", ["x"], ["y"])], {"x": (declared, [2])}))
    loaded(np.zeros_like(given, np.int64))  # also where there is a plan for the shape and dtype
    dtype = helper.tensor_dtype_to_np_dtype(declared)
    assert loaded(np.ones(2, np.int64)).dtype == dtype
    with pytest.raises(error, match=f"^OnnxModule: input x {message}"):
        loaded(given)
    with pytest.raises(TypeError, match=r"^OnnxModule: inputs must be 1 \('x',\), not 2"):
        loaded(given, given)


def test_integers_are_inputs_of_training_too() -> None:
    nodes = [helper.make_node("Gather", ["w", "zero"], ["r"]), helper.make_node("GatherElements", ["r", "i"], ["y"])]
    proto = model_of(nodes, {"i": (TensorProto.INT64, [2])}, {"w": np.float32([[1, 2, 4]]), "zero": np.int64(0)})
    loaded = ck_onnx.load(proto)
    loss = ck.value_and_grad(loaded, lambda y: y.sum())
    with pytest.raises((TypeError, ValueError), match="input i must be int64, not float32"):
        loss(np.float32([0, 1]))


@pytest.mark.parametrize(
    ("node", "dtype", "message"),
    [
        (helper.make_node("NonMaxSuppression", ["x"], ["y"]), TensorProto.FLOAT, "no operator NonMaxSuppression"),
        (helper.make_node("FusedConv", ["x"], ["y"], domain="some.vendor"), TensorProto.FLOAT, "some.vendor.FusedConv"),
        (helper.make_node("Relu", ["x"], ["y"], slope=0.1), TensorProto.FLOAT, "Relu has attributes unknown .*slope"),
        (helper.make_node("Relu", ["x"], ["y"]), TensorProto.FLOAT16, "input x is of dtype float16"),
        (helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E5M2), TensorProto.FLOAT, "float8"),
    ],
    ids=lambda value: value.op_type if isinstance(value, onnx.NodeProto) else None,
)
def test_what_is_not_there_is_refused_by_name_when_loading(node: onnx.NodeProto, dtype: int, message: str) -> None:
    with pytest.raises(NotImplementedError, match=message):
        ck_onnx.load(model_of([node], {"x": (dtype, [2])}))


@pytest.mark.parametrize("batch", [2, "batch"])
def test_what_only_a_trace_finds_is_refused_when_loading(batch: int | str) -> None:
    node = helper.make_node("LRN", ["x"], ["y"], size=4)
    with pytest.raises(NotImplementedError, match="LRN is here for an odd size only, not 4"):
        ck_onnx.load(model_of([node], {"x": [batch, 3, 5, 5]}))


def test_a_shape_that_does_not_fit_is_refused_when_loading_unless_the_batch_is_open() -> None:
    node, shape = helper.make_node("Reshape", ["x", "shape"], ["y"]), np.int64([8, 3])
    with pytest.raises(ValueError, match="6 values of shape"):
        ck_onnx.load(model_of([node], {"x": [2, 3]}, {"shape": shape}))
    loaded = ck_onnx.load(model_of([node], {"x": ["batch", 3]}, {"shape": shape}))
    assert loaded(np.zeros((8, 3), np.float32)).shape == (8, 3)


def test_shapes_that_depend_on_values_are_refused() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["shape"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["x", "shape"], ["y"]),
    ]
    with pytest.raises(ValueError, match="values must hold x"):
        ck_onnx.load(model_of(nodes, {"x": [1]}))


def test_a_node_that_reads_what_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="Relu reads z, which nothing before it computes"):
        ck_onnx.load(model_of([helper.make_node("Relu", ["z"], ["y"])], {"x": [1]}))
    with pytest.raises(ValueError, match="nothing computes the output y"):
        ck_onnx.load(model_of([helper.make_node("Relu", ["x"], ["z"])], {"x": [1]}))


def test_one_node_runs_by_itself() -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    [y] = ck_onnx.Backend.run_node(node, [np.arange(6, dtype=np.float32), np.int64([2, 3])])
    np.testing.assert_array_equal(y, [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_pooling_may_pad_more_than_half_the_kernel(kind: str, batch: int) -> None:
    node = helper.make_node(kind, ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[2, 2, 2, 2])
    proto = model_of([node], {"x": ["N", 4, 7, 7]})
    x = image((4, 7, 7), batch)
    [expected] = ReferenceEvaluator(proto).run(None, {"x": x})
    np.testing.assert_allclose(ck_onnx.load(proto)(x), expected, rtol=1e-5, atol=1e-6)


def test_pooling_windows_without_a_value_are_refused() -> None:
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2], pads=[2, 0])
    with pytest.raises(ValueError, match="windows of 2 .* would hold nothing but padding"):
        ck_onnx.load(model_of([node], {"x": [1, 1, 5]}))(image((1, 5), 1))


def versions() -> list[tuple[str, int]]:
    """Every operator that is there, with each version of it that files from `OLDEST` on can mean."""
    history: dict[str, list[int]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.name in OPERATORS:
            history.setdefault(schema.name, []).append(schema.since_version)
    return sorted(
        (name, version)
        for name, all_of_them in history.items()
        for version in all_of_them
        if version >= max((v for v in all_of_them if v <= OLDEST), default=0)
    )


@pytest.mark.parametrize(("name", "version"), versions())
def test_operators_take_what_every_version_of_theirs_has(name: str, version: int) -> None:
    schema = onnx.defs.get_schema(name, version)
    entry = OPERATORS[name]
    refused = {"Constant": {"value_string", "value_strings", "sparse_value"}}.get(name, set())
    assert {attribute for attribute in schema.attributes if not entry.takes(attribute)} == refused & set(
        schema.attributes
    )
    assert len({entry.argument(i) for i in range(len(schema.inputs))}) == len(schema.inputs)


# Operators as older versions had them: (opset, node, initialisers), on x of shape (2, 4, 3, 5).
OLDER: dict[str, tuple[int, onnx.NodeProto, dict[str, Any]]] = {
    "softmax over all axes from one on": (11, helper.make_node("Softmax", ["x"], ["y"], axis=2), {}),
    "log_softmax, axis 1 by default": (11, helper.make_node("LogSoftmax", ["x"], ["y"]), {}),
    "hardmax": (11, helper.make_node("Hardmax", ["x"], ["y"], axis=1), {}),
    "clip by attributes": (6, helper.make_node("Clip", ["x"], ["y"], min=-0.5, max=0.5), {}),
    "slice by attributes": (9, helper.make_node("Slice", ["x"], ["y"], axes=[1, 3], starts=[1, -3], ends=[9, -1]), {}),
    "pad by attributes": (
        10,
        helper.make_node("Pad", ["x"], ["y"], pads=[0, 0, 1, 2, 0, 0, 0, 1], mode="constant", value=1.5),
        {},
    ),
    "split by attribute": (11, helper.make_node("Split", ["x"], ["y", "z"], axis=1, split=[1, 3]), {}),
    "reduce by attribute": (11, helper.make_node("ReduceMean", ["x"], ["y"], axes=[-1, 1], keepdims=0), {}),
    "dropout": (9, helper.make_node("Dropout", ["x"], ["y"], ratio=0.7), {}),
    "upsample": (9, helper.make_node("Upsample", ["x", "s"], ["y"], mode="linear"), {"s": np.float32([1, 1, 2, 3])}),
    "resize at corners": (10, helper.make_node("Resize", ["x", "s"], ["y"]), {"s": np.float32([1, 1, 2, 0.6])}),
    "group_normalization by group": (
        18,
        helper.make_node("GroupNormalization", ["x", "a", "b"], ["y"], num_groups=2),
        {"a": np.float32([1, 2]), "b": np.float32([3, 4])},
    ),
}


def softmax_rows(rows: np.ndarray) -> np.ndarray:
    return np.exp(rows) / np.exp(rows).sum(1, keepdims=True)


def linearly(x: np.ndarray) -> np.ndarray:
    """x twice as high and three times as wide; output i lies at i / 2 and i / 3."""
    for axis, scale in ((2, 2), (3, 3)):
        n = x.shape[axis]
        places = np.arange(n * scale) / scale
        x = np.apply_along_axis(lambda line, at=places, size=n: np.interp(at, np.arange(size), line), axis, x)
    return x


# What ONNX's reference computes as the newest version does, or not at all, by the older definition.
BY_DEFINITION: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax over all axes from one on": lambda x: softmax_rows(x.reshape(8, 15)).reshape(x.shape),
    "log_softmax, axis 1 by default": lambda x: np.log(softmax_rows(x.reshape(2, 60))).reshape(x.shape),
    "hardmax": lambda x: (x == x.max((1, 2, 3), keepdims=True)).astype(np.float32),
    "upsample": linearly,
    "resize at corners": lambda x: x[:, :, [0, 0, 1, 1, 2, 2]][..., [0, 1, 3]],
}


@pytest.mark.parametrize("name", OLDER)
def test_older_versions_mean_what_they_meant(name: str) -> None:
    opset, node, initializers = OLDER[name]
    proto = model_of([node], {"x": [2, 4, 3, 5]}, initializers, opset)
    x = image((4, 3, 5), 2)
    by_definition = BY_DEFINITION.get(name, lambda x: ReferenceEvaluator(proto).run(None, {"x": x})[0])
    np.testing.assert_allclose(ck_onnx.load(proto)(x), by_definition(x), rtol=1e-5, atol=1e-6)


# --- gradients --------------------------------------------------------------------------------------------------

GRADIENTS = {
    "div": ([helper.make_node("Div", ["x", "w"], ["y"])], (3, 1)),
    "pow": ([helper.make_node("Pow", ["x", "w"], ["y"])], (3, 4)),
    "exp and log": (
        [
            helper.make_node("Exp", ["x"], ["e"]),
            helper.make_node("Add", ["e", "w"], ["s"]),
            helper.make_node("Log", ["s"], ["y"]),
        ],
        (4,),
    ),
    "sqrt and abs": (
        [
            helper.make_node("Mul", ["x", "w"], ["p"]),
            helper.make_node("Abs", ["p"], ["a"]),
            helper.make_node("Sqrt", ["a"], ["y"]),
        ],
        (3, 4),
    ),
    "max and min": (
        [
            helper.make_node("Max", ["x", "w"], ["a"]),
            helper.make_node("Min", ["a", "x"], ["b"]),
            helper.make_node("Sum", ["a", "b"], ["y"]),
        ],
        (1, 4),
    ),
    "stacks of matrices": ([helper.make_node("MatMul", ["x", "w"], ["y"])], (2, 4, 2)),
    "where": (
        [
            helper.make_node("Greater", ["x", "w"], ["c"]),
            helper.make_node("Where", ["c", "x", "w"], ["y"]),
        ],
        (4,),
    ),
    "reductions": (
        [
            helper.make_node("Mul", ["x", "w"], ["p"]),
            helper.make_node("ReduceL2", ["p"], ["a"], axes=[1]),
            helper.make_node("ReduceMean", ["p"], ["b"], axes=[0]),
            helper.make_node("ReduceMax", ["p"], ["c"], axes=[1]),
            helper.make_node("ReduceLogSumExp", ["p"], ["d"], axes=[0]),
            helper.make_node("Sum", ["a", "b", "c", "d"], ["y"]),
        ],
        (3, 4),
    ),
    "loss": (
        [
            helper.make_node("Mul", ["x", "w"], ["p"]),
            helper.make_node("Constant", [], ["labels"], value=numpy_helper.from_array(np.int64([2, 0, 3]))),
            helper.make_node(
                "Constant", [], ["weights"], value=numpy_helper.from_array(np.array([1.0, 2.0, 3.0, 0.5]))
            ),
            helper.make_node("SoftmaxCrossEntropyLoss", ["p", "labels", "weights"], ["y"], ignore_index=0),
        ],
        (3, 4),
    ),
    "upsample": (
        [
            helper.make_node("Mul", ["x", "w"], ["p"]),
            helper.make_node("Constant", [], ["s"], value=numpy_helper.from_array(np.float32([2, 1.5]))),
            helper.make_node("Upsample", ["p", "s"], ["y"], mode="linear"),
        ],
        (3, 4),
    ),
    "copies": (
        [
            helper.make_node("Mul", ["x", "w"], ["p"]),
            helper.make_node("Constant", [], ["places"], value=numpy_helper.from_array(np.int64([1, 1, 0]))),
            helper.make_node("Gather", ["p", "places"], ["g"], axis=1),
            helper.make_node("Constant", [], ["times"], value=numpy_helper.from_array(np.int64([2, 1]))),
            helper.make_node("Tile", ["g", "times"], ["t"]),
            helper.make_node("Sin", ["t"], ["a"]),
            helper.make_node("Reciprocal", ["t"], ["b"]),
            helper.make_node("Sub", ["a", "b"], ["y"]),
        ],
        (1, 4),
    ),
    "parts": (
        [
            helper.make_node("Mul", ["x", "w"], ["p"]),
            helper.make_node("Transpose", ["p"], ["t"]),
            helper.make_node("Split", ["t"], ["a", "b"], axis=0),
            helper.make_node("Slice", ["a"], ["s"], starts=[1], ends=[-10], axes=[1]),
            helper.make_node("Concat", ["b", "s"], ["c"], axis=1),
            helper.make_node("Pad", ["c"], ["y"], pads=[1, 0, 0, 1], mode="edge"),
        ],
        (3, 4),
    ),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    nodes, shape = GRADIENTS[name]
    rng = np.random.default_rng(3)
    x, w = rng.uniform(0.5, 2, (3, 4)), rng.uniform(0.5, 2, shape)
    model = ck_onnx.load(model_of(nodes, {"x": (TensorProto.DOUBLE, [3, 4])}, {"w": w}, opset=9))
    weight = rng.standard_normal(model(x).shape)

    def loss(y: Any) -> Any:
        return (y * weight).sum()

    _, grads, grad_x = ck.value_and_grad(model, loss, inputs=True)(x)
    step = 1e-6
    for array, grad, value_at in (
        (x, grad_x, lambda moved: float(np.sum(model(moved) * weight))),
        (w, grads["w"], lambda moved: float(np.sum(with_weight(model, moved)(x) * weight))),
    ):
        for place in np.ndindex(array.shape):
            moved = [array.copy(), array.copy()]
            moved[0][place] += step
            moved[1][place] -= step
            slope = (value_at(moved[0]) - value_at(moved[1])) / (2 * step)
            assert grad[place] == pytest.approx(slope, rel=1e-4, abs=1e-6)


def with_weight(model: nn.Module, values: np.ndarray) -> nn.Module:
    model.parameters()["w"].assign(values)
    return model
