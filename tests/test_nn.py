"""Layers, containers, initialisers, names, summaries."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import functional as F
from convkit import nn

# --- layers call the function of the same name ---------------------------------------------------------------

IMAGES = np.random.default_rng(0).normal(size=(2, 4, 9, 8)).astype("f4")
SIGNALS = np.random.default_rng(1).normal(size=(2, 4, 11)).astype("f4")
VOLUMES = np.random.default_rng(2).normal(size=(2, 4, 7, 6, 5)).astype("f4")


@pytest.mark.parametrize(
    ("layer", "x", "function", "arguments"),
    [
        (nn.Conv2d(4, 6, 3, 2, ((1, 0), (2, 1)), 2, 2), IMAGES, F.conv2d, (2, ((1, 0), (2, 1)), 2, 2)),
        (nn.Conv2d(4, 6, (3, 1), padding="same", bias=False), IMAGES, F.conv2d, (1, "same")),
        (nn.Conv1d(4, 6, 3, 2, 1, 2, 2), SIGNALS, F.conv1d, (2, 1, 2, 2)),
        (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, 2, True, 2), IMAGES, F.conv_transpose2d, (2, 1, 1, 2, 2)),
        (nn.ConvTranspose1d(4, 6, 3, 2, 1, 1), SIGNALS, F.conv_transpose1d, (2, 1, 1)),
        (nn.Conv3d(4, 6, (3, 2, 1), 2, 1, 1, 2), VOLUMES, F.conv3d, (2, 1, 1, 2)),
        (nn.ConvTranspose3d(4, 6, 3, (3, 2, 1), 1, (2, 1, 0)), VOLUMES, F.conv_transpose3d, ((3, 2, 1), 1, (2, 1, 0))),
        (nn.Linear(8, 5), IMAGES, F.linear, ()),
    ],
)
def test_layers_with_parameters(layer, x, function, arguments) -> None:
    if layer.bias is not None:
        layer.bias.assign(np.arange(layer.bias.size))
    bias = None if layer.bias is None else layer.bias.value
    np.testing.assert_array_equal(layer(x), function(x, layer.weight.value, bias, *arguments))


@pytest.mark.parametrize(
    ("layer", "x", "expected"),
    [
        (nn.MaxPool2d(3, 2, 1, 1, True), IMAGES, F.max_pool2d(IMAGES, 3, 2, 1, 1, True)),
        (nn.MaxPool1d(2), SIGNALS, F.max_pool1d(SIGNALS, 2)),
        (nn.AvgPool2d(3, 2, 1, True, False), IMAGES, F.avg_pool2d(IMAGES, 3, 2, 1, True, False)),
        (nn.AvgPool1d(2), SIGNALS, F.avg_pool1d(SIGNALS, 2)),
        (nn.MaxPool3d(3, 2, 1, 1, True), VOLUMES, F.max_pool3d(VOLUMES, 3, 2, 1, 1, True)),
        (
            nn.AvgPool3d((3, 2, 1), 2, (1, 1, 0), True, False),
            VOLUMES,
            F.avg_pool3d(VOLUMES, (3, 2, 1), 2, (1, 1, 0), True, False),
        ),
        (nn.AdaptiveAvgPool3d((2, None, 3)), VOLUMES, F.adaptive_avg_pool3d(VOLUMES, (2, 6, 3))),
        (nn.AdaptiveMaxPool3d(2), VOLUMES, F.adaptive_max_pool3d(VOLUMES, 2)),
        (nn.GlobalMaxPool(), VOLUMES, VOLUMES.max((2, 3, 4))),
        (nn.Dropout3d(), VOLUMES, VOLUMES),
        (nn.Flatten(), IMAGES, IMAGES.reshape(2, -1)),
        (nn.Flatten(2, 3), IMAGES, IMAGES.reshape(2, 4, -1)),
        (nn.ReLU(), IMAGES, np.maximum(IMAGES, 0)),
        (nn.Tanh(), IMAGES, F.tanh(IMAGES)),
        (nn.Sigmoid(), IMAGES, F.sigmoid(IMAGES)),
        (nn.Softmax(), IMAGES, F.softmax(IMAGES)),
        (nn.Softmax(-1), IMAGES, F.softmax(IMAGES, 3)),
    ],
)
def test_layers_without_parameters(layer, x, expected) -> None:
    np.testing.assert_array_equal(layer(x), expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(3, 8, 0), "Conv2d: kernel_size must be at least 1, not 0"),
        (lambda: nn.Conv2d(3, 8, 3, groups=2), "Conv2d: in_channels 3 is not divisible by groups 2"),
        (lambda: nn.Conv2d(4, 9, 3, groups=2), "Conv2d: out_channels 9 is not divisible by groups 2"),
        (lambda: nn.Conv2d(0, 8, 3), "Conv2d: in_channels must be at least 1"),
        (lambda: nn.Conv2d(3, 8, (3, 3, 3)), "kernel_size must be one integer or 2 of them"),
        (lambda: nn.Conv2d(3, 8, 3, padding="some"), "Conv2d: padding must be"),
        (lambda: nn.Conv1d(3, 8, 3, stride=0), "Conv1d: stride must be at least 1"),
        (lambda: nn.Conv3d(3, 8, (3, 3)), "Conv3d: kernel_size must be one integer or 3 of them"),
        (lambda: nn.Linear(3, 4, init="glorot"), "Linear: init must be a function of a shape or one of zeros"),
        (lambda: nn.Dropout(1.5), "Dropout: p must be from 0 to 1"),
    ],
)
def test_wrong_arguments_are_refused_when_a_layer_is_made(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_arguments_of_the_wrong_type_are_refused() -> None:
    with pytest.raises(TypeError, match="Conv2d: kernel_size must be an integer, not 2.5"):
        nn.Conv2d(3, 8, 2.5)
    with pytest.raises(TypeError, match="Sequential: layer 1 must be a Module"):
        nn.Sequential(nn.ReLU(), F.relu)


def test_the_channels_of_an_image_are_checked_with_both_shapes_named() -> None:
    with pytest.raises(ValueError, match=r"weight expects 3 input channels \(shape \(8, 3, 5, 5\)\) but x has 1"):
        nn.Conv2d(3, 8, 5)(np.zeros((64, 1, 28, 28), "f4"))


# --- initialisation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "variance"),
    [
        ("glorot_uniform", 2 / (75 + 1600)),
        ("glorot_normal", 2 / (75 + 1600)),
        ("he_uniform", 2 / 75),
        ("he_normal", 2 / 75),
        ("lecun_uniform", 1 / 75),
        ("lecun_normal", 1 / 75),
        ("zeros", 0.0),
    ],
)
def test_initialisers_have_the_variance_of_their_paper(name: str, variance: float) -> None:
    ck.set_seed(1)
    values = getattr(nn.init, name)((64, 3, 5, 5))
    assert values.var() == pytest.approx(variance, rel=0.06)
    assert abs(values.mean()) < 0.01
    if name.endswith("uniform"):
        assert abs(values).max() <= np.sqrt(3 * variance)


def test_the_default_is_glorot_uniform_with_zero_biases() -> None:
    ck.set_seed(4)
    layer = nn.Conv2d(3, 64, 5)
    ck.set_seed(4)
    np.testing.assert_array_equal(layer.weight.value, nn.init.glorot_uniform((64, 3, 5, 5)).astype("f4"))
    assert not layer.bias.value.any()


def test_the_same_seed_draws_the_same_weights() -> None:
    ck.set_seed(7)
    first, second = nn.Linear(5, 5), nn.Linear(5, 5)
    ck.set_seed(7)
    again = nn.Linear(5, 5)
    np.testing.assert_array_equal(first.weight.value, again.weight.value)
    assert not np.array_equal(first.weight.value, second.weight.value)


# --- names and state ----------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self) -> None:
        self.conv1 = nn.Conv2d(1, 2, 3)
        self.branches = [nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.Linear(2, 2, bias=False))]
        self.scale = nn.Parameter(np.ones(3))
        self.seen = nn.Buffer(np.zeros(2))


def test_names_are_those_of_a_torch_module_of_these_attributes() -> None:
    assert list(Block().parameters()) == [
        "scale", "conv1.weight", "conv1.bias", "branches.0.weight", "branches.0.bias", "branches.1.1.weight",
    ]  # fmt: skip
    assert list(Block().buffers()) == ["seen"]
    assert set(Block().state_dict()) == {*Block().parameters(), "seen"}


def test_state_moves_between_models_and_is_a_copy() -> None:
    one, other = Block(), Block()
    state = one.state_dict()
    other.load_state_dict(state)
    state["scale"][:] = 9
    np.testing.assert_array_equal(other.scale.value, np.ones(3))
    np.testing.assert_array_equal(other.conv1.weight.value, one.conv1.weight.value)


def with_attributes(**attributes: Any) -> nn.Module:
    model = nn.Module()
    for name, value in attributes.items():
        setattr(model, name, value)
    return model


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"d": {1: nn.Linear(2, 2), "1": nn.Linear(2, 2)}}, "Module: d.1 must be the name of one Linear, not of two"),
        ({"a": [nn.ReLU()], "a.0": nn.Tanh()}, "Module: a.0 must be the name of one Tanh"),
        ({"a": nn.Sequential(nn.PReLU()), "a.0": nn.PReLU()}, "Module: a.0.weight must be the name of one Parameter"),
        (
            {"p": {1: nn.Parameter(np.ones(2)), "1": nn.Parameter(np.ones(2))}},
            "Module: p.1 must be the name of one Par",
        ),
        ({"p": [nn.Parameter(np.ones(2))], "p.0": nn.Buffer(np.ones(2))}, "Module: p.0 must be the name of one Buffer"),
        ({"a": nn.Linear(2, 2), "a.bias": nn.Buffer(np.ones(2))}, "Module: a.bias must be the name of one Parameter"),
    ],
)
def test_two_things_of_one_name_are_refused(attributes: dict[str, Any], message: str) -> None:
    for read in (nn.Module.parameters, nn.Module.state_dict, nn.Module.named_state):
        with pytest.raises(ValueError, match=message):
            read(with_attributes(**attributes))


def test_two_layers_without_weights_of_one_name_are_refused() -> None:
    model = with_attributes(**{"a": nn.Sequential(nn.ReLU()), "a.0": nn.Tanh()})
    with pytest.raises(ValueError, match="Module: a.0 must be the name of one Tanh, not of two"):
        dict(model.modules())


def test_one_thing_may_come_twice_under_one_name() -> None:
    layer = nn.Linear(2, 2)
    assert list(with_attributes(d={1: layer, "1": layer}).parameters()) == ["d.1.weight", "d.1.bias"]


def test_what_lists_and_dicts_hold_is_found_however_deep() -> None:
    held = {"names": ["a", "b"], "parts": [1, (nn.Linear(2, 2), {"x": nn.Parameter(np.ones(1)), "y": "z"})]}
    assert list(with_attributes(held=held).parameters()) == [
        "held.parts.1.1.x", "held.parts.1.0.weight", "held.parts.1.0.bias",
    ]  # fmt: skip


def test_nothing_is_named_but_what_is_found() -> None:
    class Key:
        def __str__(self) -> str:
            raise AssertionError("a name was made")

    model = nn.Linear(2, 2)
    model.known = {Key(): "name", "inner": [{Key(): 1}, "name"]}
    assert list(model.parameters()) == ["weight", "bias"]


@pytest.mark.parametrize("slots", ["layer", ("layer",)])
def test_a_module_has_no_slots(slots: Any) -> None:
    with pytest.raises(TypeError, match="Slotted: a Module must not have __slots__, in which layers"):
        type("Slotted", (nn.Module,), {"__slots__": slots})
    type("Plain", (nn.Module,), {"__slots__": ()})


def test_a_shared_weight_may_come_under_all_of_its_names() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    state = {name: np.full(p.shape, 3.0) for name, p in model.parameters().items()}
    model.load_state_dict({**state, "1.weight": state["0.weight"]})
    np.testing.assert_array_equal(model[1].weight.value, np.full((2, 2), 3.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("scale"), r"state lacks scale \(3,\)"),
        (lambda s: s.update(extra=np.ones(2)), r"state has extra \(2,\), which the model has not"),
        (lambda s: s.update(seen=np.ones(3)), r"seen must have shape \(2,\), not \(3,\)"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, message: str) -> None:
    model = Block()
    state = {name: values + 1 for name, values in model.state_dict().items()}
    change(state)
    before = model.state_dict()
    with pytest.raises(ValueError, match=message):
        model.load_state_dict(state)
    for name, values in before.items():
        np.testing.assert_array_equal(model.state_dict()[name], values)


def test_parameters_are_read_only_and_assigned() -> None:
    layer = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="read-only"):
        layer.weight.value[0, 0] = 1
    with pytest.raises(ValueError, match=r"weight.*must have shape \(2, 2\), not \(2,\)"):
        nn.Sequential(layer).parameters()["0.weight"].assign(np.ones(2))
    layer.weight.assign([[1, 2], [3, 4]])
    np.testing.assert_array_equal(layer.weight.value, [[1, 2], [3, 4]])


def test_a_model_has_one_dtype_and_converts_its_inputs() -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    x = np.random.default_rng(0).normal(size=(4, 3))
    assert model(x).dtype == np.float32
    assert model.astype("float64") is model
    assert model(x.astype("f4")).dtype == np.float64
    assert model.dtype == np.float64
    with pytest.raises(TypeError, match="float32 or float64, not float16"):
        model.astype("float16")


def test_a_model_without_parameters_keeps_the_dtype_of_its_input() -> None:
    class Sum(nn.Module):
        def forward(self, a, b):  # type: ignore[no-untyped-def]
            return a + b

    x = np.float64([[1 + 1e-12, -1]])
    for dtype in ("f4", "f8", ">f8"):
        y = nn.ReLU()(x.astype(dtype))
        assert y.dtype == np.dtype(dtype).newbyteorder("=")
        np.testing.assert_array_equal(y, [[x.astype(dtype)[0, 0], 0]])
        loss, _, grad = ck.value_and_grad(nn.Flatten(), lambda y: (y * y).sum(), inputs=True)(x.astype(dtype))
        assert grad.dtype == y.dtype
    assert loss == (x * x).sum()
    images = np.uint8([[0, 255]])
    assert nn.ReLU()(images).dtype == np.float32
    assert Sum()(images, x).dtype == Sum()(x.astype("f4"), x).dtype == np.float64  # the wider, of which nothing is lost


def test_uint8_images_are_scaled_to_one() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    np.testing.assert_allclose(nn.ReLU()(images), images / 255, rtol=1e-6)


@pytest.mark.parametrize("batch", [0, 1, 5])
def test_any_batch_size(batch: int) -> None:
    model = ck.models.fashion_cnn_small()
    assert model(np.zeros((batch, 1, 28, 28), "f4")).shape == (batch, 10)


def test_a_sequential_is_a_sequence() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU()).append(nn.Linear(3, 1))
    assert len(model) == 3
    assert isinstance(model[-1], nn.Linear)
    assert [type(layer).__name__ for layer in model] == ["Linear", "ReLU", "Linear"]


@pytest.mark.parametrize(
    "places", [slice(0, 2), slice(None), slice(-1, None), slice(None, None, -1), slice(5, 9)], ids=str
)
def test_a_slice_of_a_sequential_is_one_of_the_same_layers(places: slice) -> None:
    layers = [nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3)]
    model, x = nn.Sequential(*layers), np.ones((2, 3), "f4")
    part = model[places]
    assert type(part) is nn.Sequential
    assert [*part] == layers[places] and [*part.children()] == [*map(str, range(len(part)))]
    assert part(x).shape == (2, 3)
    assert [*model[:2].append(nn.Tanh())][:2] == layers[:2] and len(model) == 3  # which is as it was


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (3, IndexError, "index must be at most 2, not 3"),
        (-4, IndexError, "index must be at least -3, not -4"),
        (2**70, IndexError, "index must be at most 2, not "),
        ("0", TypeError, "index must be an integer, not '0'"),
        (1.0, TypeError, "index must be an integer, not 1.0"),
        (None, TypeError, "index must be an integer, not None"),
        ((0, 1), TypeError, r"index must be an integer, not \(0, 1\)"),
        (slice("a", None), TypeError, "index must be a slice of integers, .* not slice"),
        (slice(None, None, 0), ValueError, "index must be a slice of integers, its step not 0, not slice"),
    ],
    ids=str,
)
def test_a_sequential_has_no_layer_at_other_places(index: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^Sequential: {message}"):
        nn.Sequential(nn.ReLU(), nn.Tanh(), nn.ReLU())[index]
    with pytest.raises(IndexError, match="^Sequential: index must choose a layer, but there are none"):
        nn.Sequential()[0]
    assert isinstance(nn.Sequential(nn.ReLU(), nn.Tanh())[np.int8(-1)], nn.Tanh)


def calls_of(run: Callable[[], Any]) -> int:
    """How many functions of Python are called, and generators resumed."""
    calls = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal calls
        calls += event == "call"

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(before)
    return calls


def test_layers_are_numbered_by_their_places_among_named_ones() -> None:
    model = nn.Sequential(nn.Linear(2, 3))
    model.head = nn.ReLU()
    model.append(nn.Linear(3, 1)).append(nn.Tanh())
    assert [name for name, _ in model.modules()] == ["", "0", "head", "2", "3"]


def test_names_that_layers_of_one_s_own_are_likely_to_use_are_free() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model._modules, model._constants = [nn.Linear(2, 2)], (1, 2)
    assert list(model.parameters()) == ["0.weight", "0.bias", "_modules.0.weight", "_modules.0.bias"]


def appended(layers: list[nn.Module]) -> nn.Sequential:
    model = nn.Sequential()
    for layer in layers:
        model.append(layer)
    return model


def loaded(layers: list[nn.Module]) -> None:
    model = nn.Sequential(*layers)
    model.load_state_dict({name: owned.value for name, owned in model.named_state().items()})


@pytest.mark.parametrize("run", [lambda layers: nn.Sequential(*layers), appended, loaded], ids=["made", "appended", ""])
def test_deep_networks_take_as_much_longer_as_they_are_deeper(run: Callable[[list[nn.Module]], Any]) -> None:
    shallow, deep = ([nn.Linear(1, 1) for _ in range(count)] for count in (40, 400))
    run(shallow)
    assert calls_of(lambda: run(deep)) < 12 * calls_of(lambda: run(shallow))


def test_a_feature_extractor_returns_what_layers_within_return() -> None:
    model = ck.models.fashion_cnn_small()
    x = np.random.default_rng(0).random((16, 1, 28, 28), np.float32)
    rectified = F.relu(F.conv2d(x, model[0].weight.value, model[0].bias.value))
    np.testing.assert_allclose(nn.FeatureExtractor(model, "1")(x), rectified, rtol=1e-4, atol=1e-6)
    pooled, logits = nn.FeatureExtractor(model, ["2", "9"])(x)
    np.testing.assert_allclose(pooled, F.max_pool2d(rectified, 2), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(logits, model(x), rtol=1e-4, atol=1e-5)
    model[0].weight.assign(2 * model[0].weight.value)
    np.testing.assert_allclose(nn.FeatureExtractor(model, "0")(x), model[0](x), rtol=1e-4, atol=1e-6)


def test_of_a_layer_used_twice_the_last_result_counts() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            self.unused = nn.ReLU()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(self.layer(x)) + x

    model, x = Twice(), np.ones((2, 3), "f4")
    np.testing.assert_allclose(nn.FeatureExtractor(model, "layer")(x), model.layer(model.layer(x)), rtol=1e-5)
    with pytest.raises(ValueError, match="FeatureExtractor: forward did not call the layer 'unused'"):
        nn.FeatureExtractor(model, "unused")(x)


def test_a_feature_extractor_names_the_layers_there_are() -> None:
    with pytest.raises(ValueError, match=r"FeatureExtractor: .*the model has no layer 'conv', only 0, 1$"):
        nn.FeatureExtractor(nn.Sequential(nn.ReLU(), nn.Tanh()), "conv")
    with pytest.raises(TypeError, match="FeatureExtractor: model must be a Module, not <function relu"):
        nn.FeatureExtractor(F.relu, "conv")


def test_the_forward_of_a_feature_extractor_may_be_called() -> None:
    model, x = ck.models.fashion_cnn_small(), np.random.default_rng(0).random((2, 1, 28, 28), np.float32)
    for layers in ("1", ["2", "9"]):
        extractor = nn.FeatureExtractor(model, layers)
        for one, other in zip(extractor.forward(x), extractor(x), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("call", [nn.FeatureExtractor.__call__, nn.FeatureExtractor.forward], ids=["call", "forward"])
def test_a_feature_extractor_misses_a_layer_that_was_taken_out(call: Callable[..., Any]) -> None:
    model = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.ReLU())
    extractor = nn.FeatureExtractor(model, ["1", "0"])
    delattr(model, "0")
    with pytest.raises(ValueError, match="^FeatureExtractor: layers: the model has no layer '0', only 1, 2$"):
        call(extractor, np.ones((2, 3), "f4"))


def test_repr_shows_the_layers() -> None:
    assert repr(nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.ReLU())) == (
        "Sequential(\n  0: Conv2d(1, 2, kernel_size=(3, 3), stride=(2, 2))\n  1: ReLU()\n)"
    )


# --- summary and models -------------------------------------------------------------------------------------


def test_the_summary_counts_shapes_parameters_and_operations() -> None:
    lines = ck.models.fashion_cnn_large().summary().splitlines()
    rows = {line.split()[0]: line.split() for line in lines}
    assert rows["0"][1:] == ["Conv2d", "64", "×", "24", "×", "24", "1,664", "1,843,200"]
    assert rows["7"][1:] == ["Linear", "256", "819,456", "1,638,400"]
    assert rows["total"][-2:] == ["897,546", "18,232,320"]


def test_the_summary_names_frozen_parameters_and_needs_a_shape() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    model[0].weight.trainable = False
    assert model.summary((3,)).endswith("8 of the parameters are trainable")
    with pytest.raises(ValueError, match="input_shape is needed"):
        model.summary()


@pytest.mark.parametrize(
    ("name", "parameters"), [("fashion_cnn_large", 897_546), ("fashion_cnn_small", 28_460), ("lenet5", 61_706)]
)
def test_networks_have_the_parameters_of_their_paper(name: str, parameters: int) -> None:
    entry = ck.models.REGISTRY[name]
    model = entry.build()
    assert sum(p.size for p in model.parameters().values()) == parameters == entry.parameters
    assert model.architecture == {"name": name, "arguments": {}}
    assert model(np.zeros((1, *entry.input_shape), "f4")).shape == (1, 10)


# --- losses ---------------------------------------------------------------------------------------------------


def test_a_loss_keeps_weights_of_its_own() -> None:
    weight = np.array([1, 2], "f4")
    loss = nn.CrossEntropyLoss(weight=weight)
    weight[0] = 100
    np.testing.assert_array_equal(loss.weight, [1, 2])
    with pytest.raises(ValueError, match="read-only"):  # it would reach no plan made before
        loss.weight[0] = 100


class SlottedLoss(nn.CrossEntropyLoss):
    __slots__ = ("note",)


@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, SlottedLoss])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))])
def test_the_weights_of_a_copied_loss_are_read_only_too(kind: Any, copied: Callable[[Any], Any]) -> None:
    loss = kind(np.array([1, 2], "f4"), 1)
    if kind is SlottedLoss:
        loss.note = "kept"
    twin = copied(loss)
    assert type(twin) is kind and twin.ignore_index == 1 and getattr(twin, "note", "kept") == "kept"
    with pytest.raises(ValueError, match="read-only"):
        twin.weight[0] = 100
    assert copied(nn.CrossEntropyLoss()).weight is None


@pytest.mark.parametrize(
    ("loss", "attribute", "value"),
    [
        (nn.CrossEntropyLoss(), "label_smoothing", 0.9),
        (nn.CrossEntropyLoss(), "ignore_index", 1),
        (nn.CrossEntropyLoss(np.ones(3)), "weight", np.array([1.0, 2, 3])),
        (nn.AuxiliaryCrossEntropyLoss(), "auxiliary_weight", 5.0),
    ],
)
def test_plans_follow_the_attributes_of_a_loss(loss, attribute: str, value) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            y = self.layer(x)
            return (y, F.tanh(y)) if isinstance(loss, nn.AuxiliaryCrossEntropyLoss) else y

    model, x, labels = Two(), IMAGES[0, 0, :6, :4], np.array([0, 1, 2, 2, 1, 0])
    step, gradient = ck.compile_step(model, loss, ck.optim.SGD(0.0)), ck.value_and_grad(model, loss)
    before = step(x, labels)
    assert gradient(x, labels)[0] == pytest.approx(before)
    setattr(loss, attribute, value)
    after = step(x, labels)
    assert after != pytest.approx(before)
    assert gradient(x, labels)[0] == pytest.approx(after)
    assert ck.value_and_grad(model, loss)(x, labels)[0] == pytest.approx(after)


def test_plans_follow_a_loss_of_ones_own_and_are_kept_else() -> None:
    traced = []

    class Scaled(nn.MSELoss):
        factor = 1.0

        def __call__(self, prediction, target):
            traced.append(self.factor)
            nn.CrossEntropyLoss(label_smoothing=0.1)  # made while a graph is recorded, it changes nothing
            return self.factor * super().__call__(prediction, target)

    loss = Scaled()
    gradient = ck.value_and_grad(nn.Sequential(nn.Linear(8, 2)), loss)
    first = gradient(IMAGES, np.zeros((2, 4, 9, 2)))[0]
    assert gradient(IMAGES, np.zeros((2, 4, 9, 2)))[0] == first
    loss.factor = 3.0
    for _ in range(2):
        assert gradient(IMAGES, np.zeros((2, 4, 9, 2)))[0] == pytest.approx(3 * first)
    assert traced == [1.0, 3.0]
