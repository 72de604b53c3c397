"""The networks of the literature: parameters, shapes, and that the small ones learn and outlive a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import data, models, nn, optim
from convkit import functional as F
from convkit.models.context import BASIC, LARGE, context_module, identity
from convkit.models.encoder_decoder import bilinear
from convkit.models.highway import highway_conv, highway_linear
from convkit.models.pixels import lit_pixels
from convkit.models.resnet_cifar import shortcut
from convkit.ops.base import Spec

F4 = np.dtype(np.float32)

# What papers and torchvision count; with the auxiliary classifiers, where there are two numbers the second.
COUNTS: dict[str, tuple[int, ...]] = {
    "alexnet": (60_965_224,),
    "alexnet_one_column": (61_100_840,),
    "googlenet": (6_998_552, 13_378_280),
    "googlenet_bn": (6_624_904, 13_004_888),
    "inception_v3": (23_834_568, 27_161_264),
    "resnet18": (11_689_512,),
    "resnet34": (21_797_672,),
    "resnet50": (25_557_032,),
    "resnet101": (44_549_160,),
    "resnet152": (60_192_808,),
    "highway_conv16": (38_730,),  # 39 and 151 thousand in the paper
    "highway_conv32": (151_178,),
    "context_basic": (64 * 21**2 + 8 * 21,),  # "≈ 64 C²", and the biases
}

# Same class as a shallower network: no test of their own.
DEEPER = {f"{kind}{depth}" for kind in ("resnet", "plain") for depth in (32, 44, 56, 110)}
SMALL = [name for name, entry in models.REGISTRY.items() if entry.dataset is not None and name not in DEEPER]
# Networks that score each pixel, and for how many classes.
PIXELS = {"encoder_decoder": 11, "context_small": 11, "context_basic": 21, "context_large": 21}
AUXILIARY = {"googlenet": 2, "googlenet_bn": 2, "googlenet_small": 2, "googlenet_bn_small": 2}
AUXILIARY |= {"inception_v3": 1, "inception_v3_small": 1}


def size(model: nn.Module) -> int:
    return sum(parameter.size for parameter in model.parameters().values() if parameter.trainable)


def shapes(model: nn.Module, training: bool = False, samples: int = 2) -> list[tuple[int, ...]]:
    """Shapes of what a model returns for images of its size, without running it."""
    assert model.input_shape is not None
    _, result = model.trace([Spec((samples, *model.input_shape), F4)], training)
    return [output.shape for output in (result if isinstance(result, tuple) else (result,))]


def batch(name: str, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of the embedded sample, and what the network is trained to make of them."""
    entry = models.REGISTRY[name]
    assert entry.dataset is not None
    given = entry.samples(data.load(entry.dataset, "train", "sample")[0][:samples])
    return given if isinstance(given, tuple) else (given.images, given.labels)


@pytest.mark.parametrize("name", models.REGISTRY)
def test_every_network_has_its_parameters_and_outputs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    entry = models.REGISTRY[name]
    model = entry.build()
    counts = [size(model)]
    assert counts[0] == entry.parameters
    if name in AUXILIARY:
        counts.append(size(entry.build(auxiliary=False)))
    with capsys.disabled():
        print(f"\n{name:24}", *(f"{count:>12,}" for count in sorted(counts)), end=" ")
    assert name not in COUNTS or tuple(sorted(counts)) == COUNTS[name]
    [inferred] = shapes(model)
    trained = shapes(model, training=True)
    assert trained == [inferred] * (1 + AUXILIARY.get(name, 0))
    if name in PIXELS:
        assert inferred == (2, PIXELS[name], *entry.input_shape[1:])
    else:
        assert inferred == (2, 1000 if entry.dataset is None else 10)


@pytest.mark.parametrize(("depth", "parameters"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_residual_networks_for_small_images_have_the_millions_of_the_paper(depth: int, parameters: float) -> None:
    """Table 6 of He et al. 2016; shortcuts add nothing."""
    digits = 1 if depth == 110 else 2
    residual = models.REGISTRY[f"resnet{depth}"].build(in_channels=3)
    assert round(size(residual) / 1e6, digits) == parameters
    assert residual.input_shape == (3, 28, 28)
    assert size(models.REGISTRY[f"plain{depth}"].build(in_channels=3)) == size(residual)


def test_shortcuts_take_every_second_place_and_add_maps_of_zeros() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 6), F4)
    y = shortcut(x, 5, 2)
    assert y.shape == (2, 5, 4, 3)
    np.testing.assert_array_equal(y[:, :3], x[:, :, ::2, ::2])
    assert not y[:, 3:].any()


@pytest.mark.parametrize("name", ["alexnet_one_column", "googlenet_bn", "inception_v3", "resnet18", "resnet50"])
def test_parameters_have_the_names_of_torchvision(name: str) -> None:
    some = {
        "alexnet_one_column": {"features.10.weight": (256, 256, 3, 3), "classifier.6.bias": (1000,)},
        "googlenet_bn": {
            "conv1.conv.weight": (64, 3, 7, 7),
            "inception3a.branch1.bn.running_mean": (64,),
            "inception4b.branch3.1.conv.weight": (64, 24, 3, 3),
            "inception5b.branch4.1.conv.weight": (128, 832, 1, 1),
            "aux2.conv.bn.weight": (128,),
            "aux1.fc1.weight": (1024, 2048),
            "fc.weight": (1000, 1024),
        },
        "inception_v3": {
            "Conv2d_4a_3x3.conv.weight": (192, 80, 3, 3),
            "Mixed_5b.branch_pool.conv.weight": (32, 192, 1, 1),
            "Mixed_6c.branch7x7dbl_5.conv.weight": (192, 160, 1, 7),
            "Mixed_7a.branch7x7x3_4.bn.bias": (192,),
            "Mixed_7c.branch3x3dbl_3b.conv.weight": (384, 384, 3, 1),
            "AuxLogits.conv1.conv.weight": (768, 128, 5, 5),
            "AuxLogits.fc.weight": (1000, 768),
        },
        "resnet18": {"layer2.0.downsample.0.weight": (128, 64, 1, 1), "layer4.1.bn2.num_batches_tracked": ()},
        "resnet50": {
            "layer1.0.downsample.1.running_var": (256,),
            "layer4.2.conv3.weight": (2048, 512, 1, 1),
            "fc.weight": (1000, 2048),
        },
    }[name]
    model = models.REGISTRY[name].build()
    owned = {**model.parameters(), **model.buffers()}
    assert {key: owned[key].shape for key in some} == some
    entries = {"alexnet_one_column": 16, "googlenet_bn": 364, "inception_v3": 580, "resnet18": 122, "resnet50": 320}
    assert len(owned) == entries[name]


def test_inception_v3_factorises_its_kernels_as_torchvision_does() -> None:
    rows = ["branch7x7_2", "branch7x7dbl_3", "branch7x7dbl_5", "branch7x7x3_2", "branch3x3_2a", "branch3x3dbl_3a"]
    columns = ["branch7x7_3", "branch7x7dbl_2", "branch7x7dbl_4", "branch7x7x3_3", "branch3x3_2b", "branch3x3dbl_3b"]
    found = {}
    for name, parameter in models.inception_v3(auxiliary=False).parameters().items():
        unit = name.removesuffix(".conv.weight").split(".")[-1]
        if unit in rows + columns:
            found.setdefault(unit, set()).add(parameter.shape[2:])
    long = {unit: 7 if "7x7" in unit else 3 for unit in found}
    assert found == {unit: {(1, long[unit]) if unit in rows else (long[unit], 1)} for unit in rows + columns}


def test_alexnet_normalises_responses_by_a_sum_as_its_paper_does() -> None:
    norms = [layer for _, layer in models.alexnet().modules() if isinstance(layer, nn.LocalResponseNorm)]
    assert [(n.size, n.alpha, n.beta, n.k, n.average) for n in norms] == [(5, 1e-4, 0.75, 2.0, False)] * 2


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        *[
            (name, {"auxiliary": value}, TypeError, f"{kind}: auxiliary must be True or False, not ")
            for name, kind in (
                ("googlenet_small", "GoogLeNet"),
                ("googlenet_bn_small", "GoogLeNet"),
                ("inception_v3_small", "InceptionV3"),
            )
            for value in ("a", [3], float("nan"), None, 2)
        ],
        ("context_basic", {"num_classes": None}, TypeError, "context_basic: num_classes must be an integer, not None"),
        ("context_large", {"num_classes": 0}, ValueError, "context_large: num_classes must be at least 1, not 0"),
    ],
    ids=str,
)
def test_arguments_that_are_none_are_refused(
    name: str, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}"):
        models.REGISTRY[name].build(**arguments)


@pytest.mark.parametrize(
    ("shape", "classes", "error", "message"),
    [
        ((), 10, ValueError, r"shape must be channels, height and width, not \(\)"),
        (5, 10, TypeError, "shape must be channels, height and width, not 5"),
        (None, 10, TypeError, "shape must be channels, height and width, not None"),
        ("abc", 10, TypeError, "shape must be channels, height and width, not 'abc'"),
        ((1, 28.0, 28), 10, TypeError, "shape must be an integer, not 28.0"),
        ((0, 28, 28), 10, ValueError, "shape must be at least 1, not 0"),
        ((1, 28, 28), None, TypeError, "classes must be an integer, not None"),
        ((1, 28, 28), 0, ValueError, "classes must be at least 1, not 0"),
    ],
    ids=str,
)
def test_networks_are_built_for_images_and_classes(
    shape: Any, classes: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^build_for: {message}"):
        models.REGISTRY["highway_conv16"].build_for(shape, classes)
    model = models.REGISTRY["highway_conv16"].build_for(np.array([2, 28, 28]), np.int64(4))
    assert model.input_shape == (2, 28, 28) and shapes(model) == [(2, 4)]


# --- what networks begin as ---------------------------------------------------------------------------------------


def test_alexnet_begins_with_ones_for_the_biases_of_section_5() -> None:
    values = {name: set(p.value) for name, p in models.alexnet().parameters().items() if name.endswith("bias")}
    ones = {f"features.{place}.bias" for place in (4, 10, 12)} | {f"classifier.{place}.bias" for place in (1, 4)}
    assert {name for name, distinct in values.items() if distinct == {1.0}} == ones
    assert {name for name, distinct in values.items() if distinct == {0.0}} == values.keys() - ones


@pytest.mark.parametrize("shape", [(3, 6), (3, 6, 5, 5)])
def test_a_highway_layer_weighs_what_it_computes_against_its_input(shape: tuple[int, ...]) -> None:
    """Equation 3 with the rectifier for H; a shut gate hands on the input."""
    make = highway_linear if len(shape) == 2 else highway_conv
    layer, rng = make(6, -1.5), np.random.default_rng(0)
    x = rng.standard_normal(shape, F4)
    assert (layer.gate.bias.value == -1.5).all()
    gate = 1 / (1 + np.exp(-layer.gate(x)))
    np.testing.assert_allclose(layer(x), np.maximum(layer.plain(x), 0) * gate + x * (1 - gate), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(make(6, -30.0)(x), x, rtol=1e-5, atol=1e-6)


def test_fifty_highway_layers_learn_where_fifty_plain_ones_stay_behind() -> None:
    images, labels = batch("highway_dense", 64)
    losses = []
    for name in ("highway_dense", "plain_dense"):
        ck.set_seed(0)
        model = models.REGISTRY[name].build()
        step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.Adam(1e-3))
        losses.append(np.mean([step(images, labels) for _ in range(30)][-3:]))
    assert losses[0] < 0.5 * losses[1]


@pytest.mark.parametrize("name", ["context_basic", "context_large"])
def test_a_context_module_begins_as_the_identity(name: str) -> None:
    ck.set_seed(0)
    shape = (1, 2, 40, 36)
    widths = {"context_basic": BASIC, "context_large": LARGE}[name]
    model = nn.Sequential(*context_module(2, widths))
    scores = np.random.default_rng(0).random(shape, F4)
    tolerance = 1e-6 if name == "context_basic" else 0.2  # the noise of equation 5
    assert np.abs(model(scores) - scores).max() < tolerance


def test_a_wider_context_layer_gives_each_map_its_share_of_the_class() -> None:
    """Equation 5: C / c in the middle where the class is the same, of c maps that follow; noise elsewhere."""
    ck.set_seed(0)
    weight = identity((4, 2, 3, 3), classes=2)
    np.testing.assert_array_equal(weight[[0, 1, 2, 3], [0, 0, 1, 1], 1, 1], [0.5] * 4)
    weight[[0, 1, 2, 3], [0, 0, 1, 1], 1, 1] = 0
    assert 0 < np.abs(weight).max() < 0.05


def test_a_context_module_sees_67_by_67_places() -> None:
    """Table 1, by the gradient of one output of the middle, with weights that are all positive."""
    model = nn.Sequential(*context_module(1)).astype("float64")
    for name, parameter in model.parameters().items():
        parameter.assign(np.full(parameter.shape, 0.1 if name.endswith("weight") else 0.0))
    x, middle = np.ones((1, 1, 81, 81)), np.zeros((1, 1, 81, 81))
    middle[0, 0, 40, 40] = 1.0
    _, _, seen = ck.value_and_grad(model, lambda y, weight: F.sum(y * weight), inputs=True)(x, middle)
    rows, columns = np.nonzero(seen[0, 0])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (7, 73, 7, 73)


def test_the_decoder_begins_by_interpolating_linearly() -> None:
    """But for the border, outside of which there are zeros."""
    x = np.random.default_rng(0).standard_normal((1, 3, 6, 5), F4)
    weight = bilinear((3, 3, 4, 4)).astype(F4)
    doubled = F.conv_transpose2d(x, weight, stride=2, padding=1)
    expected = F.interpolate(x, scale_factor=2, mode="bilinear")
    np.testing.assert_allclose(doubled[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1], rtol=1e-5, atol=1e-6)


def test_pixels_have_the_class_of_their_image_or_are_background() -> None:
    images = np.array([[[[0, 7], [255, 0]]], [[[1, 0], [0, 0]]]], np.uint8)
    targets = lit_pixels(data.Dataset(images, [0, 1], classes=["a", "b"]))
    np.testing.assert_array_equal(targets, [[[2, 0], [0, 2]], [[1, 2], [2, 2]]])
    assert targets.dtype == np.uint8


# --- learning -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_the_gradient_reaches_every_parameter(name: str) -> None:
    ck.set_seed(0)
    entry = models.REGISTRY[name]
    model = entry.build()
    images, targets = batch(name, 16)
    loss, grads = ck.value_and_grad(model, entry.loss())(images, targets)
    assert np.isfinite(loss)
    assert [key for key, grad in grads.items() if not np.isfinite(grad).all() or not grad.any()] == []


@pytest.mark.parametrize("name", SMALL)
def test_a_few_steps_lower_the_loss(name: str) -> None:
    ck.set_seed(0)
    entry = models.REGISTRY[name]
    model = entry.build()
    images, targets = batch(name, 32)
    step = ck.compile_step(model, entry.loss(), optim.Adam(2e-3))
    losses = [step(images, targets) for _ in range(12)]
    assert np.mean(losses[-3:]) < 0.9 * losses[0]


@pytest.mark.parametrize("name", SMALL)
def test_a_network_outlives_a_file(name: str, tmp_path: Path) -> None:
    ck.set_seed(1)
    model = models.REGISTRY[name].build()
    images, _ = batch(name, 4)
    model(images, training=True)  # moves the running moments
    ck.save(model, tmp_path / "weights.safetensors")
    again = ck.load_model(tmp_path / "weights.safetensors")
    assert again.input_shape == model.input_shape
    np.testing.assert_array_equal(again(images), model(images))


# --- auxiliary classifiers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["googlenet", "googlenet_bn"])
def test_the_loss_weighs_auxiliary_classifiers_by_three_tenths(name: str) -> None:
    check_auxiliary_loss(models.REGISTRY[name].loss(), 0.3, 0.0)


def test_inception_v3_weighs_them_by_four_tenths_and_smooths_labels() -> None:
    check_auxiliary_loss(models.REGISTRY["inception_v3"].loss(), 0.4, 0.1)


def check_auxiliary_loss(loss: Any, weight: float, smoothing: float) -> None:
    rng = np.random.default_rng(0)
    main, one, two = rng.standard_normal((3, 5, 7))
    labels = rng.integers(7, size=5)

    def alone(logits: np.ndarray) -> float:
        target = np.full((5, 7), smoothing / 7)
        target[np.arange(5), labels] += 1 - smoothing
        return float(-(target * (logits - np.log(np.exp(logits).sum(1, keepdims=True)))).sum(1).mean())

    assert loss(main, labels) == pytest.approx(alone(main))
    assert loss((main, one, two), labels) == pytest.approx(alone(main) + weight * (alone(one) + alone(two)))


def test_a_trainer_measures_the_main_classifier() -> None:
    """In training the network returns three outputs, in evaluation one; accuracy and loss are those of the first."""
    ck.set_seed(0)
    entry = models.REGISTRY["googlenet_bn_small"]
    trainer = ck.Trainer(entry.build(), entry.loss(), optim.Adam(1e-3), metrics=["accuracy"])
    sample = data.load("fashion-mnist", "train", "sample")[0][:64]
    history = trainer.fit(sample, validation=sample, epochs=1, batch_size=32, verbose=0)
    assert history["loss"][0] > 1.3 * history["val_loss"][0]  # the auxiliary ones add 0.6 of about the same
    assert 0 <= history["accuracy"][0] <= 1
