"""Pictures: what is drawn is what the network holds, returns and mistakes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from convkit import data, models, nn, plot
from convkit import functional as F
from convkit.plot.layout import layered
from convkit.train import History

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("agg")
from matplotlib import pyplot  # noqa: E402

RNG = np.random.default_rng(0)
CLASSES = ("shirt", "coat", "boot")


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    pyplot.close("all")


@pytest.fixture
def ax() -> Any:
    return pyplot.figure().add_subplot()


def drawn(ax: Any) -> np.ndarray:
    """The values of the one image on the Axes, gaps as NaN."""
    [image] = ax.images
    return np.ma.filled(image.get_array().astype("f8"), np.nan)


def texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


# --- tiles --------------------------------------------------------------------------------------------------


def test_filters_have_a_row_for_each_output_and_a_column_for_each_input(ax: Any) -> None:
    layer = nn.Conv2d(2, 3, (4, 5))
    assert plot.filters(layer, ax) is ax
    picture = drawn(ax)
    assert picture.shape == (3 * 4 + 2, 2 * 5 + 1)
    for output in range(3):
        for channel in range(2):
            tile = picture[5 * output : 5 * output + 4, 6 * channel : 6 * channel + 5]
            np.testing.assert_array_equal(tile, layer.weight.value[output, channel])
    assert np.isnan(picture[4]).all()
    assert np.isnan(picture[:, 5]).all()
    low, high = ax.images[0].get_clim()
    assert -low == high == np.abs(layer.weight.value).max()


def test_filters_of_one_channel_make_a_square_and_of_three_are_coloured() -> None:
    weight = RNG.normal(size=(9, 1, 2, 2))
    picture = drawn(plot.filters(weight))
    assert picture.shape == (8, 8)
    np.testing.assert_array_equal(picture[3:5, 6:8], weight[5, 0])
    weight = RNG.normal(size=(2, 3, 4, 4))
    picture = drawn(plot.filters(nn.Parameter(weight)))
    assert picture.shape == (4, 9, 3)
    limit = np.abs(weight).max()
    np.testing.assert_allclose(picture[:, 5:], 0.5 + weight[1].transpose(1, 2, 0) / (2 * limit), atol=1e-6)


def test_filters_of_signals_and_of_transposed_layers() -> None:
    layer = nn.Conv1d(2, 3, 5)
    np.testing.assert_array_equal(drawn(plot.filters(layer))[2, 6:11], layer.weight.value[1, 1])
    transposed = nn.ConvTranspose2d(2, 3, 4)
    picture = drawn(plot.filters(transposed))
    assert picture.shape == (3 * 4 + 2, 2 * 4 + 1)
    np.testing.assert_array_equal(picture[10:, 5:], transposed.weight.value[1, 2])


def test_what_has_no_kernels_is_refused() -> None:
    with pytest.raises(TypeError, match="filters: ReLU has no weight to draw"):
        plot.filters(nn.ReLU())
    with pytest.raises(ValueError, match=r"filters: weight must have shape .* not \(2, 3\)"):
        plot.filters(nn.Linear(3, 2))


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        (np.array([-128, 127], np.int8), 128),
        (np.array([0, 255], np.uint8), 255),
        (np.array([True, False]), 1),
        (np.array([0.25, np.nan]), 0.25),
        (np.array([0.25, -np.inf]), 0.25),
        (np.array([-0.5, 0.25], np.float16), 0.5),
        (np.array([1e300, -1.5e300]), 1.5e300),
        (np.array([np.nan, np.nan]), 1),
        (np.array([0.0, 0.0]), 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_the_scale_of_filters_is_the_largest_finite_magnitude(values: np.ndarray, limit: float, channels: int) -> None:
    weight = np.broadcast_to(values[:, None], (1, channels, 2, 2))
    with np.errstate(all="raise"):
        ax = plot.filters(weight)
        ax.figure.canvas.draw()
    if channels != 3:
        assert ax.images[0].get_clim() == (-limit, limit)
        return
    shares = np.clip(0.5 + values.astype(float) / limit / 2, 0, 1)
    np.testing.assert_allclose(drawn(ax)[:, 0, 0], np.where(np.isnan(shares), 1, shares))


def test_feature_maps_are_what_the_layer_returns(ax: Any) -> None:
    model = models.fashion_cnn_small()
    image = RNG.integers(0, 256, (1, 28, 28), dtype=np.uint8)
    plot.feature_maps(model, "1", image, ax)
    maps = F.relu(model[0](image[np.newaxis]))[0]
    picture = drawn(ax)
    assert picture.shape == (3 * 24 + 2, 4 * 24 + 3)
    for channel, tile in enumerate(maps):
        top, left = 25 * (channel // 4), 25 * (channel % 4)
        np.testing.assert_allclose(picture[top : top + 24, left : left + 24], tile, rtol=1e-4, atol=1e-6)
    assert ax.get_title() == "1: ReLU, 10 × 24 × 24"


def test_feature_maps_of_a_signal_are_rows() -> None:
    model, signal = nn.Sequential(nn.Conv1d(1, 3, 4)), RNG.normal(size=(1, 20)).astype("f4")
    ax = plot.feature_maps(model, "0", signal)
    np.testing.assert_allclose(drawn(ax), model(signal[np.newaxis])[0], rtol=1e-5)


def test_a_layer_without_maps_is_refused() -> None:
    model = models.fashion_cnn_small()
    with pytest.raises(ValueError, match=r"feature_maps: layer '7' returns shape \(1, 70\), not maps"):
        plot.feature_maps(model, "7", np.zeros((1, 28, 28), "f4"))
    with pytest.raises(ValueError, match="the model has no layer 'conv', only 0, 1,"):
        plot.feature_maps(model, "conv", np.zeros((1, 28, 28), "f4"))


def small_set(channels: int = 1) -> data.Dataset:
    images = RNG.integers(0, 256, (5, channels, 4, 6), dtype=np.uint8)
    return data.Dataset(images, [0, 1, 2, 0, 1], classes=CLASSES)


def test_mistakes_are_drawn_from_the_worst_on(ax: Any) -> None:
    dataset = small_set()
    scores = np.array([[1, 2, 0], [0, 3, 0], [9, 0, 1], [5, 0, 0], [0, 1, 4]], "f4")
    plot.mistakes(scores, dataset, count=2, ax=ax)
    assert texts(ax) == ["boot\n→ shirt", "coat\n→ boot"]
    picture = drawn(ax)
    np.testing.assert_array_equal(picture[:4, :6], dataset.images[2, 0])
    np.testing.assert_array_equal(picture[:4, 7:13], dataset.images[4, 0])
    assert picture.shape == (4, 13)
    everything = plot.mistakes(scores, dataset)
    assert texts(everything) == ["boot\n→ shirt", "coat\n→ boot", "shirt\n→ coat"]


def test_mistakes_of_a_model_are_those_of_its_scores() -> None:
    dataset = small_set(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 3))
    by_scores, by_model = plot.mistakes(model(dataset.images), dataset), plot.mistakes(model, dataset)
    assert texts(by_model) == texts(by_scores)
    np.testing.assert_array_equal(drawn(by_model), drawn(by_scores))
    assert drawn(by_model).shape[2:] == (3,)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (np.array([[127, -128, 0], [9, 0, 0], [0, 0, 9], [9, 0, 0], [0, 9, 0]], np.int8), ["coat\n→ shirt"]),
        (np.array([[-128, 127, 0], [0, 5, 9], [0, 0, 9], [9, 0, 0], [0, 9, 0]], np.int8), ["shirt\n→ coat"]),
        (np.array([[0, 255, 0], [9, 0, 0], [0, 0, 9], [9, 0, 0], [0, 9, 0]], np.uint8), ["shirt\n→ coat"]),
        (np.eye(3, dtype=bool)[[0, 1, 1, 0, 1]], ["boot\n→ coat"]),
    ],
)
def test_the_worst_mistake_of_narrow_scores(scores: np.ndarray, expected: list[str]) -> None:
    assert texts(plot.mistakes(scores, small_set(), count=1)) == expected


def test_no_mistake_is_no_error() -> None:
    dataset = small_set()
    ax = plot.mistakes(np.eye(3)[dataset.labels], dataset)
    assert texts(ax) == []
    assert ax.get_title() == "no mistake among 5 images"


def test_scores_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"mistakes: scores must have shape .* = \(5, 3\), not \(5, 4\)"):
        plot.mistakes(np.zeros((5, 4)), small_set())
    with pytest.raises(TypeError, match="mistakes: dataset must be a Dataset, not tuple"):
        plot.mistakes(np.zeros((5, 3)), (np.zeros((5, 1, 2, 2)), np.zeros(5)))
    with pytest.raises(ValueError, match="mistakes: count must be at least 1, not 0"):
        plot.mistakes(np.zeros((5, 3)), small_set(), count=0)


# --- curves and confusion -----------------------------------------------------------------------------------


def test_curves_show_training_beside_validation() -> None:
    history = History([
        {"epoch": 1, "loss": 0.5, "accuracy": 0.75, "val_loss": 0.625, "lr": 0.1, "seconds": 2.0},
        {"epoch": 2, "loss": 0.25, "accuracy": 1.0, "val_loss": 0.375, "lr": 0.05, "seconds": 1.5},
    ])  # fmt: skip
    loss, accuracy = plot.training_curves(history).axes
    assert [ax.get_title() for ax in (loss, accuracy)] == ["loss", "accuracy"]
    curves = {line.get_label(): line.get_xydata().tolist() for line in loss.lines}
    assert curves == {"training": [[1, 0.5], [2, 0.25]], "validation": [[1, 0.625], [2, 0.375]]}
    assert [line.get_label() for line in accuracy.lines] == ["training"]
    with pytest.raises(ValueError, match="training_curves: history has no epoch yet"):
        plot.training_curves(History())


@pytest.mark.parametrize("scores", [False, True])
def test_the_confusion_matrix_counts_pairs(scores: bool, ax: Any) -> None:
    labels, taken = np.array([0, 0, 0, 2, 2]), np.array([0, 1, 1, 2, 2])
    assert plot.confusion_matrix(labels, np.eye(3)[taken] if scores else taken, CLASSES, ax) is ax
    np.testing.assert_allclose(drawn(ax), [[1 / 3, 2 / 3, 0], [0, 0, 0], [0, 0, 1]])
    places = {text.get_position(): text.get_text() for text in ax.texts}
    assert places == {(0, 0): "1", (1, 0): "2", (2, 2): "2"}
    assert [label.get_text() for label in ax.get_yticklabels()] == list(CLASSES)


def test_a_confusion_matrix_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one length \(N,\), not shapes \(2,\) and \(3,\)"):
        plot.confusion_matrix([0, 1], [0, 1, 1])
    with pytest.raises(ValueError, match="labels must be 0 … 1 for 2 classes, but are 0 … 2"):
        plot.confusion_matrix([0, 2], [0, 1], ["a", "b"])
    with pytest.raises(TypeError, match="predictions must be integers, not float64"):
        plot.confusion_matrix([0, 1], [0.0, 1.0])


# --- receptive field ----------------------------------------------------------------------------------------


def test_the_receptive_field_of_dilated_convolutions_is_what_the_formula_says(ax: Any) -> None:
    layers = [nn.Conv2d(1 if rate == 1 else 4, 4, 3, dilation=rate, padding="same") for rate in (1, 2, 4)]
    plot.receptive_field(nn.Sequential(*layers), "2", (1, 31, 31), ax=ax)
    inside = np.zeros((31, 31), bool)
    inside[8:23, 8:23] = True  # 1 + 2·(1 + 2 + 4) = 15, around place 15
    np.testing.assert_array_equal(drawn(ax) > 0, inside)
    [frame] = ax.patches
    assert (*frame.get_xy(), frame.get_width(), frame.get_height()) == (7.5, 7.5, 15, 15)
    assert ax.get_title() == "2: Conv2d, 15 × 15 of 31 × 31"


def test_strength_is_the_gradient_of_the_middle() -> None:
    layer = nn.Conv2d(1, 1, 3)
    picture = drawn(plot.receptive_field(layer, "", (1, 5, 5), samples=1))
    expected = np.zeros((5, 5))
    expected[1:4, 1:4] = np.abs(layer.weight.value[0, 0]) / np.abs(layer.weight.value).max()
    np.testing.assert_allclose(picture, expected, rtol=1e-5)


def test_the_receptive_field_of_a_signal_and_of_a_model_that_normalises() -> None:
    model = nn.Sequential(nn.Conv1d(1, 4, 2), nn.BatchNorm1d(4), nn.ReLU(), nn.Conv1d(4, 4, 2, dilation=2))
    before = model.state_dict()
    ax = plot.receptive_field(model, "3", (1, 12))
    heights = np.array([bar.get_height() for bar in ax.containers[0]])
    np.testing.assert_array_equal(np.flatnonzero(heights), [4, 5, 6, 7])
    assert ax.get_title() == "3: Conv1d, 4 of 12"
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, before[name])


def test_the_field_has_no_traces_of_rounding_around_it() -> None:
    model = nn.Sequential(nn.Conv2d(64, 64, 3), nn.Conv2d(64, 64, 3))  # Winograd's way
    ax = plot.receptive_field(model, "1", (64, 12, 12))
    assert ax.get_title() == "1: Conv2d, 5 × 5 of 12 × 12"
    assert np.count_nonzero(drawn(ax)) == 25


def test_a_field_that_cannot_be_drawn_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, init="zeros"))
    with pytest.raises(ValueError, match=r"receptive_field: input_shape must be \(C, H, W\) or \(C, L\), not \(\)"):
        plot.receptive_field(model, "0")
    with pytest.raises(ValueError, match="receptive_field: the middle of layer '0' depends on no input"):
        plot.receptive_field(model, "0", (1, 8, 8))


# --- graph --------------------------------------------------------------------------------------------------


class Block(nn.Module):
    def __init__(self) -> None:
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(x + self.conv(x))


def links(ax: Any) -> set[tuple[str, str]]:
    """Pairs of labels of the boxes where the lines begin and end."""
    boxes = {text.get_text(): text.get_position() for text in ax.texts}

    def nearest(point: Any) -> str:
        return min(boxes, key=lambda name: np.hypot(*np.subtract(boxes[name], point)))

    routes = [patch for patch in ax.patches if type(patch).__name__ == "FancyArrowPatch"]
    paths = [route._path_original.vertices for route in routes]
    return {(nearest(path[0]), nearest(path[-1])) for path in paths}


def test_the_graph_has_a_box_for_each_layer_and_op(ax: Any) -> None:
    plot.graph(nn.Sequential(nn.Conv2d(1, 2, 3), Block(), nn.Dropout(0.5), nn.Flatten()), (1, 8, 8), ax=ax)
    start, first, conv, plus = "input\n1 × 8 × 8", "0: Conv2d\n2 × 6 × 6", "1.conv: Conv2d\n2 × 6 × 6", "+\n2 × 6 × 6"
    relu, flat = "1.relu: ReLU\n2 × 6 × 6", "3: Flatten\n72"
    assert set(texts(ax)) == {start, first, conv, plus, relu, flat}
    assert links(ax) == {(start, first), (first, conv), (first, plus), (conv, plus), (plus, relu), (relu, flat)}
    heights = [text.get_position()[1] for text in ax.texts]
    assert heights == [0, 1, 2, 3, 4, 5]


def test_depth_draws_blocks_as_one_box() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), Block(), Block())
    ax = plot.graph(model, (1, 8, 8), depth=1)
    assert texts(ax) == ["input\n1 × 8 × 8", "0: Conv2d\n2 × 6 × 6", "1: Block\n2 × 6 × 6", "2: Block\n2 × 6 × 6"]
    assert len(texts(plot.graph(models.resnet20(), depth=2))) == 1 + 3 + 9 + 2


def test_a_layer_by_itself_is_a_graph() -> None:
    assert texts(plot.graph(nn.Linear(3, 2), (3,))) == ["input\n3", "Linear\n2"]
    with pytest.raises(ValueError, match="graph: input_shape is needed"):
        plot.graph(nn.Linear(3, 2))
    with pytest.raises(ValueError, match="graph: depth must be at least 1, not 0"):
        plot.graph(nn.Linear(3, 2), (3,), depth=0)


def test_boxes_do_not_overlap_and_lines_go_down() -> None:
    edges = [(int(low), high) for high in range(1, 30) for low in RNG.integers(0, high, 2)]
    places, routes = layered(30, edges)
    for level in {level for _, level in places}:
        xs = sorted(x for x, other in places if other == level)
        assert (np.diff(xs) >= 1 - 1e-9).all()
    for (first, last), route in routes.items():
        assert (route[0], route[-1]) == (places[first], places[last])
        np.testing.assert_array_equal(np.diff([level for _, level in route]), 1)


# --- what cannot be drawn -----------------------------------------------------------------------------------


def blank(channels: int, height: int = 4, width: int = 6, classes: Any = CLASSES) -> data.Dataset:
    count = 5 if classes else 0
    return data.Dataset(np.zeros((count, channels, height, width), np.uint8), np.zeros(count, int), classes=classes)


class Both(nn.Module):
    def __init__(self) -> None:
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x):
        y = self.conv(x)
        return y, y


CONV = nn.Conv2d(1, 2, 3)
MODEL = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
IMAGE = np.zeros((1, 8, 8), np.float32)


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    [
        ("filters", {"layer": CONV, "ax": 5}, TypeError, "ax must be matplotlib Axes, not 5"),
        ("filters", {"layer": None}, TypeError, "NoneType has no weight to draw"),
        ("filters", {"layer": np.full((2, 1, 3, 3), "x")}, TypeError, "weight must be numbers, not <U1"),
        ("filters", {"layer": np.full((2, 1, 3, 3), None)}, TypeError, "weight must be numbers, not object"),
        ("filters", {"layer": np.ones((2, 1, 3, 3), complex)}, TypeError, "weight must be numbers, not complex128"),
        ("filters", {"layer": np.ones((2, 1, 0, 0))}, ValueError, r"weight must hold kernels, .* \(2, 1, 0, 0\)"),
        ("filters", {"layer": np.ones((2, 0, 3))}, ValueError, r"weight must hold kernels, .* \(2, 0, 3\)"),
        ("feature_maps", {"model": MODEL, "layer": "0", "image": IMAGE, "ax": 5}, TypeError, "ax must be matplotlib"),
        ("feature_maps", {"model": None, "layer": "0", "image": IMAGE}, TypeError, "model must be a Module, not None"),
        ("feature_maps", {"model": MODEL, "layer": 0, "image": IMAGE}, TypeError, "layer must be the name of one"),
        ("mistakes", {"model": np.zeros((5, 3)), "dataset": blank(1), "ax": 5}, TypeError, "ax must be matplotlib"),
        ("mistakes", {"model": np.full((5, 3), "x"), "dataset": blank(1)}, TypeError, "scores must be numbers, not"),
        ("mistakes", {"model": None, "dataset": blank(1)}, TypeError, "scores must be numbers, not object"),
        ("mistakes", {"model": np.zeros((5, 3)), "dataset": blank(1, 0, 0)}, ValueError, "dataset must hold images"),
        ("mistakes", {"model": np.zeros((5, 3)), "dataset": blank(1, 4, 0)}, ValueError, "dataset must hold images"),
        (
            "mistakes",
            {"model": np.zeros((5, 3)), "dataset": blank(2)},
            ValueError,
            "dataset must hold images .* of 1, 3",
        ),
        ("mistakes", {"model": np.zeros((5, 3)), "dataset": blank(0)}, ValueError, "dataset must hold images"),
        ("mistakes", {"model": np.zeros((0, 0)), "dataset": blank(1, classes=())}, ValueError, "dataset must have cl"),
        ("training_curves", {"history": None}, TypeError, "history must be a History, .* not None"),
        ("training_curves", {"history": []}, TypeError, r"history must be a History, .* not \[\]"),
        (
            "training_curves",
            {"history": History([{"epoch": 1, "loss": 1.0}]), "figure": 5},
            TypeError,
            "figure must be a matplotlib figure, not 5",
        ),
        ("confusion_matrix", {"labels": [0], "predictions": [0], "ax": 5}, TypeError, "ax must be matplotlib Axes"),
        (
            "confusion_matrix",
            {"labels": [0], "predictions": [0], "classes": 5},
            TypeError,
            "classes must be a sequence",
        ),
        ("confusion_matrix", {"labels": [0], "predictions": [0], "classes": [5]}, TypeError, "classes must be a sequ"),
        (
            "confusion_matrix",
            {"labels": [0] * 3, "predictions": np.zeros((3, 0))},
            ValueError,
            r"predictions must be a score for each class, not \(3, 0\)",
        ),
        (
            "confusion_matrix",
            {"labels": [0], "predictions": np.full((1, 3), "x")},
            TypeError,
            "predictions must be numbers, not <U1",
        ),
        (
            "confusion_matrix",
            {"labels": [100_000], "predictions": [0]},
            ValueError,
            "labels must be of at most 1000 classes, not 100001",
        ),
        (
            "confusion_matrix",
            {"labels": [0], "predictions": np.zeros((1, 1001))},
            ValueError,
            "labels must be of at most 1000 classes, not 1001",
        ),
        (
            "confusion_matrix",
            {"labels": [2**63 - 1], "predictions": [0]},
            ValueError,
            f"labels must be of at most 1000 classes, not {2**63}",
        ),
        (
            "confusion_matrix",
            {"labels": [0], "predictions": np.array([2**64 - 1], np.uint64)},
            ValueError,
            f"predictions must be at most {2**63 - 1}, not {2**64 - 1}",
        ),
        ("receptive_field", {"model": None, "layer": "0"}, TypeError, "model must be a Module, not None"),
        ("receptive_field", {"model": MODEL, "layer": ("0", "1")}, TypeError, r"layer must be the name of one, not \("),
        ("receptive_field", {"model": Both(), "layer": ""}, ValueError, "layer '' returns 2 arrays, not maps"),
        ("receptive_field", {"model": MODEL, "layer": "0", "ax": 5}, TypeError, "ax must be matplotlib Axes, not 5"),
        (
            "receptive_field",
            {"model": MODEL, "layer": "0", "input_shape": 5},
            TypeError,
            "input_shape must be the sizes",
        ),
        (
            "receptive_field",
            {"model": MODEL, "layer": "0", "input_shape": np.array([1.0, 8, 8])},
            TypeError,
            "input_shape must be an integer, not",
        ),
        (
            "receptive_field",
            {"model": MODEL, "layer": "0", "input_shape": (1, -2, 3)},
            ValueError,
            "input_shape must be at least 1, not -2",
        ),
        (
            "receptive_field",
            {"model": MODEL, "layer": "0", "input_shape": (1, 2.5, 3)},
            TypeError,
            "input_shape must be an integer, not 2.5",
        ),
        ("receptive_field", {"model": MODEL, "layer": "0", "seed": -1}, ValueError, "seed must be at least 0, not -1"),
        ("receptive_field", {"model": MODEL, "layer": "0", "seed": "a"}, TypeError, "seed must be an integer, not 'a'"),
        (
            "receptive_field",
            {"model": MODEL, "layer": "0", "samples": 2**62},
            ValueError,
            "the inputs would have shape",
        ),
        ("graph", {"model": None}, TypeError, "model must be a Module, not None"),
        ("graph", {"model": MODEL, "ax": 5}, TypeError, "ax must be matplotlib Axes, not 5"),
        ("graph", {"model": MODEL, "input_shape": 5}, TypeError, "input_shape must be the sizes of one input's axes"),
        ("graph", {"model": MODEL, "input_shape": "188"}, TypeError, "input_shape must be the sizes of one input's"),
        ("graph", {"model": MODEL, "input_shape": ()}, ValueError, "input_shape is needed"),
        ("graph", {"model": MODEL, "input_shape": (1, -2, 3)}, ValueError, "input_shape must be at least 1, not -2"),
        ("graph", {"model": MODEL, "input_shape": (1, 2.5, 3)}, TypeError, "input_shape must be an integer, not 2.5"),
    ],
)
def test_what_cannot_be_drawn_is_named_before_there_is_a_figure(
    function: str, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    if function in ("receptive_field", "graph"):
        arguments = {"input_shape": (1, 8, 8), **arguments}
    with pytest.raises(error, match=f"^{function}: {message}"):
        getattr(plot, function)(**arguments)
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize("shape", [[1, 8, 8], np.array([1, 8, 8]), (np.int32(1), 8, 8)], ids=str)
def test_shapes_come_in_whatever_holds_sizes(shape: Any) -> None:
    assert plot.receptive_field(MODEL, "0", shape).get_title() == "0: Conv2d, 3 × 3 of 8 × 8"
    assert texts(plot.graph(MODEL, shape))[0] == "input\n1 × 8 × 8"


@pytest.mark.parametrize(
    ("fails", "draw"),
    [
        ("imshow", lambda: plot.filters(CONV)),
        ("imshow", lambda: plot.filters(np.ones((2, 3, 2, 2)))),
        ("imshow", lambda: plot.feature_maps(MODEL, "0", IMAGE)),
        ("set_title", lambda: plot.feature_maps(MODEL, "0", IMAGE)),
        ("text", lambda: plot.mistakes(np.eye(3)[[1] * 5], blank(1))),
        ("legend", lambda: plot.training_curves(History([{"epoch": 1, "loss": 1.0}]))),
        ("set_xticks", lambda: plot.confusion_matrix([0], [0])),
        ("set_title", lambda: plot.receptive_field(MODEL, "0", (1, 8, 8))),
        ("add_patch", lambda: plot.graph(MODEL, (1, 8, 8))),
    ],
)
@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_no_figure_is_left_where_drawing_fails(
    fails: str, draw: Any, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    kept = pyplot.figure()
    monkeypatch.setattr(f"matplotlib.axes.Axes.{fails}", fail)
    with pytest.raises(error):
        draw()
    assert pyplot.get_fignums() == [kept.number]


def test_curves_may_be_part_of_a_figure() -> None:
    part = pyplot.figure().subfigures(1, 2)[1]
    history = History([{"epoch": 1, "loss": 0.5}])
    assert plot.training_curves(history, part) is part
    assert [ax.get_title() for ax in part.axes] == ["loss"]


# --- matplotlib itself --------------------------------------------------------------------------------------


def test_without_matplotlib_the_message_names_the_command() -> None:
    code = (
        "import sys; sys.modules['matplotlib.pyplot'] = None\n"
        "from convkit import nn, plot\n"
        "try: plot.filters(nn.Conv2d(1, 2, 3))\n"
        "except ImportError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], env={**os.environ}, capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == 'plot.filters needs matplotlib: pip install "convkit[plot]"', run.stderr
