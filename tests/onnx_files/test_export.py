"""Every network as an ONNX file: valid, and with the same results in onnxruntime.

That lives in an environment of its own, and ``CONVKIT_ORT_PYTHON=PATH pytest tests/onnx_files`` names its interpreter;
without it those tests are skipped.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import convkit as ck
from convkit import data, models, nn, optim
from convkit import functional as F
from convkit import onnx as ck_onnx
from convkit.onnx import export
from convkit.ops import elementwise

ANSWERS = Path(__file__).with_name("ort_answers.py")
SMALL = [name for name, entry in models.REGISTRY.items() if entry.dataset is not None]
LARGE = [name for name in models.REGISTRY if name not in SMALL]


class Function(nn.Module):
    """A function of one array as a module."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def image(shape: tuple[int, ...], samples: int = 5) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((samples, *shape), np.float32)


def shaken(model: nn.Module) -> nn.Module:
    """The model with running moments and biases that are not those it was born with."""
    rng = np.random.default_rng(1)
    for name, owned in {**model.parameters(), **model.buffers()}.items():
        if name.endswith(("bias", "running_mean")):
            owned.assign(rng.uniform(-0.1, 0.1, owned.shape).astype(owned.dtype))
        elif name.endswith("running_var"):
            owned.assign(rng.uniform(0.5, 2, owned.shape).astype(owned.dtype))
    return model


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def reference(path: Path, x: np.ndarray) -> np.ndarray:
    [y] = ReferenceEvaluator(str(path)).run(None, {"input": x})
    return np.asarray(y)


@pytest.mark.parametrize("name", SMALL)
def test_every_network_is_written_and_passes_the_full_check(name: str, tmp_path: Path) -> None:
    model = models.REGISTRY[name].build()
    ck_onnx.save(model, tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(proto, full_check=True)
    values = {value.name: onnx.numpy_helper.to_array(value) for value in proto.graph.initializer}
    assert model.input_shape is not None
    [given] = proto.graph.input
    assert [size.dim_value or size.dim_param for size in given.type.tensor_type.shape.dim] == ["N", *model.input_shape]
    for parameter in model.parameters().values():
        if parameter.name in values:
            np.testing.assert_array_equal(values[parameter.name], parameter.value)


@pytest.mark.parametrize("name", ["lenet5", "lenet5_1998", "highway_conv16", "context_small", "encoder_decoder"])
def test_onnx_reference_computes_the_same(name: str, tmp_path: Path) -> None:
    model = shaken(models.REGISTRY[name].build())
    ck_onnx.save(model, tmp_path / "model.onnx")
    x = image(model.input_shape or ())
    assert relative_error(reference(tmp_path / "model.onnx", x), model(x)) <= 1e-5


# Sizes, and kernel, stride, padding with which `ceil_mode` would have a last window that lies in the padding alone: on
# both axes, on axes of unlike kind, and with a stride beyond the kernel.
CEILED: list[tuple[tuple[int, int], tuple[Any, Any, Any]]] = [
    ((17, 17), (3, 3, 1)),
    ((7, 7), (2, 2, 1)),
    ((6, 6), (1, 3, 0)),
    ((6, 8), (1, 3, 0)),
    ((7, 8), (2, (2, 3), 1)),
    ((7, 6), ((2, 4), (2, 4), (1, 0))),
    ((6, 7), ((1, 4), (3, 4), ((0, 0), (1, 2)))),
    ((2, 7), ((3, 2), (2, 2), ((0, 0), (1, 1)))),
]


def ceiled(kind: str, size: tuple[int, int], arguments: tuple[Any, Any, Any], x: Any) -> Any:
    """Pooling with `ceil_mode` of what x is made to be: of this size."""
    function, _, uncounted = kind.partition(" ")
    options = {"count_include_pad": False} if uncounted else {}
    return getattr(F, function)(F.interpolate(x, size), *arguments, ceil_mode=True, **options)


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
    "elu": lambda x: F.elu(x, 0.7),
    "selu": F.selu,
    "silu": F.silu,
    "softplus": lambda x: F.softplus(x, 2.0),
    "softplus, low threshold": lambda x: F.softplus(x, 2.0, 0.5),
    "softplus, threshold 0": lambda x: F.softplus(x, threshold=0.0),
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "hardtanh": lambda x: F.hardtanh(x, -0.5, 0.7),
    "gelu": F.gelu,
    "gelu by tanh": lambda x: F.gelu(x, "tanh"),
    "prelu": lambda x: F.prelu(x, np.float32([0.1, 0.2, 0.3, 0.4])),
    "softmax": lambda x: F.softmax(x, 2),
    "log_softmax": F.log_softmax,
    "numbers": lambda x: 2 - (x * 3 + 1) * x,
    "group_norm": lambda x: F.group_norm(x, 2, np.float32([1, 2, 3, 4]), np.float32([4, 3, 2, 1])),
    "layer_norm": lambda x: F.layer_norm(x, 6),
    "concat and flatten": lambda x: F.flatten(F.concat([x, F.relu(x)])),
    "pad": lambda x: F.pad(x, ((1, 2), (0, 1)), value=0.5),
    "reflect": lambda x: F.pad(x, 2, mode="reflect"),
    "circular": lambda x: F.pad(x, 2, mode="circular"),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "nearest": lambda x: F.interpolate(x, (7, 9)),
    "bilinear": lambda x: F.interpolate(x, (7, 9), mode="bilinear"),
    "aligned": lambda x: F.interpolate(x, (7, 9), mode="bilinear", align_corners=True),
    "conv_transpose": lambda x: F.conv_transpose2d(
        x, np.ones((4, 1, 3, 3), np.float32), stride=2, padding=1, output_padding=1, groups=4
    ),
    "max_pool, ceil": lambda x: F.max_pool2d(x, 3, 2, padding=1, ceil_mode=True),
    "avg_pool, ceil": lambda x: F.avg_pool2d(x, 3, 2, padding=1, ceil_mode=True),
    "avg_pool without padding": lambda x: F.avg_pool2d(x, 3, 2, padding=1, count_include_pad=False),
    "avg_pool, ceil, far beyond the end": lambda x: F.avg_pool2d(x, (3, 4), (3, 4), ceil_mode=True),
    **{
        f"{kind} over {size}, {arguments}": partial(ceiled, kind, size, arguments)
        for size, arguments in CEILED
        for kind in ("max_pool2d", "avg_pool2d", "avg_pool2d without padding")
    },
    "max_unpool, dilated": lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, 1, dilation=2, return_indices=True), 3, 1),
    "max_unpool": lambda x: F.max_unpool2d(*F.max_pool2d(F.pad(x, ((0, 1), (0, 0))), 2, return_indices=True), 2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_written_as_what_they_compute(name: str, tmp_path: Path) -> None:
    model = Function(FUNCTIONS[name])
    x = image((4, 5, 6))
    ck_onnx.save(model, tmp_path / "model.onnx", x.shape[1:])
    assert relative_error(reference(tmp_path / "model.onnx", x), model(x)) <= 1e-5
    assert relative_error(ck_onnx.load(tmp_path / "model.onnx")(x), model(x)) <= 1e-5


@pytest.mark.parametrize(
    ("dtype", "threshold", "written"),
    [(np.float32, 20, False), (np.float32, 3, True), (np.float64, 20, True), (np.float64, 40, False)],
)
def test_the_threshold_of_softplus_is_written_where_it_matters(
    dtype: Any, threshold: float, written: bool, tmp_path: Path
) -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Softplus(2.0, threshold)).astype(dtype)
    for parameter in model.parameters().values():
        parameter.assign(np.full(parameter.shape, parameter.ndim - 1, dtype))
    x = np.linspace(threshold / 2 - 2, threshold / 2 + 2, 9, dtype=dtype)[:, None]
    ck_onnx.save(model, tmp_path / "model.onnx", (1,))
    kinds = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert ("Where" in kinds) is written
    loaded = ck_onnx.load(tmp_path / "model.onnx")
    tolerance = {"rtol": 4 * np.finfo(dtype).eps, "atol": 0}
    np.testing.assert_allclose(reference(tmp_path / "model.onnx", x), model(x), **tolerance)
    np.testing.assert_allclose(loaded(x), model(x), **tolerance)
    for trained in (model, loaded):
        _, grads = ck.value_and_grad(trained, lambda y: F.sum(y))(x)
        slopes = np.where(2 * x > threshold, 1, 1 / (1 + np.exp(-2 * x)))
        [slope] = [grad for name, grad in grads.items() if name.endswith("bias")]
        np.testing.assert_allclose(slope, [slopes.sum()], rtol=1e-5)


@pytest.mark.parametrize("size", [(4, 4), (5, 4)])
def test_places_of_maxima_count_within_a_plane(size: tuple[int, int], tmp_path: Path) -> None:
    def pooled(x: Any) -> Any:
        y, places = F.max_pool2d(x, 2, return_indices=True)
        return (y, places, F.max_unpool2d(y, places, 2)) if size == (4, 4) else (y, places)

    model, x = Function(pooled), image((3, *size))
    ck_onnx.save(model, tmp_path / "model.onnx", x.shape[1:])
    expected = model(x)
    assert expected[1].max() < size[0] * size[1]
    loaded = ck_onnx.load(tmp_path / "model.onnx")(x)
    for found in (ReferenceEvaluator(str(tmp_path / "model.onnx")).run(None, {"input": x}), loaded):
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)


def test_max_unpool_to_a_plane_of_another_form_is_refused(tmp_path: Path) -> None:
    model = Function(lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2))
    with pytest.raises(ValueError, match=r"max_unpool to size \(4, 4\): in ONNX .* what was pooled, here \(5, 4\)"):
        ck_onnx.save(model, tmp_path / "model.onnx", (1, 5, 4))


def test_outputs_say_which_axes_are_open(tmp_path: Path) -> None:
    model = Function(lambda x: (F.relu(x), F.sum(x), F.reshape(x, (-1, 3))))
    ck_onnx.save(model, tmp_path / "model.onnx", (2, 3))
    shapes = [value.type.tensor_type.shape.dim for value in onnx.load(tmp_path / "model.onnx").graph.output]
    assert [[size.dim_param or size.dim_value for size in shape] for shape in shapes] == [["N", 2, 3], [], [0, 3]]
    x = image((2, 3))
    for found in (ReferenceEvaluator(str(tmp_path / "model.onnx")).run(None, {"input": x}), model(x)):
        np.testing.assert_allclose(found[1], x.sum(), rtol=1e-5)
        assert found[2].shape == (10, 3)


@pytest.mark.parametrize("function", [F.mean, lambda x: F.multiply(x, 1 / x.shape[0])], ids=["mean", "factor"])
def test_what_depends_on_the_size_of_the_batch_is_refused(function: Callable[[Any], Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^onnx\.save: Scale depends on how many images a batch has"):
        ck_onnx.save(Function(function), tmp_path / "model.onnx", (2, 3))
    assert not list(tmp_path.iterdir())


def test_a_forward_that_goes_by_the_size_of_the_batch_is_refused(tmp_path: Path) -> None:
    model = Function(lambda x: F.relu(x) if x.shape[0] > 2 else F.tanh(F.relu(x)))
    with pytest.raises(
        ValueError, match=r"^onnx\.save: what Function\.forward does depends on how many images a batch"
    ):
        ck_onnx.save(model, tmp_path / "model.onnx", (2, 3))


def test_what_the_checker_finds_is_a_value_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(export.ENTRIES, elementwise.Relu, lambda entry, op: entry.emit("Relu", alpha=1.0))
    with pytest.raises(ValueError, match=r"^onnx\.save: the file of ReLU would not be valid: .*alpha") as caught:
        ck_onnx.save(nn.ReLU(), tmp_path / "model.onnx", (3,))
    assert isinstance(caught.value.__cause__, onnx.checker.ValidationError)
    assert not list(tmp_path.iterdir())


def test_what_onnx_has_no_operator_for_is_refused_by_name(tmp_path: Path) -> None:
    model = Function(lambda x: F.adaptive_max_pool2d(x, 3))
    with pytest.raises(ValueError, match="AdaptiveMaxPool has no operator"):
        ck_onnx.save(model, tmp_path / "model.onnx", (1, 5, 5))
    assert not list(tmp_path.iterdir())


def test_a_model_without_a_shape_needs_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="input_shape is needed"):
        ck_onnx.save(nn.ReLU(), tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("model", "model.onnx", (3,)), TypeError, "onnx.save: model must be a Module, not 'model'"),
        ((nn.ReLU(), 3, (3,)), TypeError, "onnx.save: path must be a path, as a str or os.PathLike, not 3"),
        (
            (nn.ReLU(), "model.onnx", 3),
            TypeError,
            "onnx.save: input_shape must be the sizes of one input's axes, not 3",
        ),
        ((nn.ReLU(), "model.onnx", "28"), TypeError, "onnx.save: input_shape must be .*, not '28'"),
        ((nn.ReLU(), "model.onnx", (3, 0)), ValueError, "onnx.save: input_shape must be at least 1, not 0"),
    ],
)
def test_wrong_arguments_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=f"^{message}$"):
        ck_onnx.save(*arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("input_shape", [(), [4], np.array([4, 5])])
def test_shapes_of_inputs_of_any_kind(tmp_path: Path, input_shape: Any) -> None:
    """One that is empty, of a single number, was taken for none, and an array of two for neither true nor false."""
    ck_onnx.save(nn.ReLU(), tmp_path / "model.onnx", input_shape)
    x = np.float32([-1, 1]).reshape(2, *(1 for _ in input_shape)) * np.ones((2, *input_shape), np.float32)
    np.testing.assert_array_equal(ck_onnx.load(tmp_path / "model.onnx")(x), np.maximum(x, 0))


def in_onnxruntime(model: nn.Module, x: np.ndarray, folder: Path) -> np.ndarray:
    python = os.environ.get("CONVKIT_ORT_PYTHON")
    if not python:
        pytest.skip("no environment with onnxruntime: set CONVKIT_ORT_PYTHON")
    path, given, answers = folder / "model.onnx", folder / "given.npy", folder / "answers.npz"
    ck_onnx.save(model, path, x.shape[1:])
    np.save(given, x)
    subprocess.run([python, ANSWERS, path, given, answers], check=True)
    with np.load(answers) as file:
        return np.asarray(file["arr_0"])


@pytest.mark.slow
@pytest.mark.ort
@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_networks_compute_the_same_in_onnxruntime(name: str, tmp_path: Path) -> None:
    model = shaken(models.REGISTRY[name].build())
    x = image(model.input_shape or ())
    assert relative_error(in_onnxruntime(model, x, tmp_path), model(x)) <= 1e-5


@pytest.mark.slow
@pytest.mark.ort
@pytest.mark.parametrize("name", [*FUNCTIONS, "local_response_norm"])
def test_functions_compute_the_same_in_onnxruntime(name: str, tmp_path: Path) -> None:
    # ONNX's reference takes the batch's size for the number of channels in LRN, so only onnxruntime is asked.
    functions = {**FUNCTIONS, "local_response_norm": lambda x: F.local_response_norm(x, 3, 0.5)}
    model, x = Function(functions[name]), image((4, 5, 6))
    assert relative_error(in_onnxruntime(model, x, tmp_path), model(x)) <= 1e-5


@pytest.mark.slow
@pytest.mark.ort
@pytest.mark.parametrize("source", ["sample", "full"])
def test_a_trained_network_has_the_same_accuracy_in_onnxruntime(source: str, tmp_path: Path) -> None:
    folder = os.environ.get("CONVKIT_DATA", "") if source == "full" else source
    if not folder:
        pytest.skip("no full MNIST: set CONVKIT_DATA to its folder")
    train, test = data.mnist("train", folder), data.mnist("test", folder)
    model = models.lenet5()
    trainer = ck.Trainer(model, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam(lr=1e-3), metrics=["accuracy"])
    trainer.fit(train, epochs=2, batch_size=64, seed=0)
    images = (test.images / np.float32(255)).astype(np.float32)
    right = in_onnxruntime(model, images, tmp_path).argmax(1) == test.labels
    accuracy = trainer.evaluate(test)["accuracy"]
    print(f"{len(test)} images: onnxruntime {right.mean():.4%}, convkit {accuracy:.4%}")
    assert right.mean() == accuracy > 0.5
