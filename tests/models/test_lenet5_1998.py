"""LeNet-5 of 1998 against its paper: parameters, connections, every layer in plain NumPy, criteria, learning."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import data, models, nn, optim
from convkit.models.lenet5_1998 import CONNECTIONS, Frame, LeNet5, bitmaps, squash
from reference import assert_gradient, relative_error

# The paper's table I: a line for each map of S2, a column for each map of C3.
TABLE_I = [
    "X...XXX..XXXX.XX",
    "XX...XXX..XXXX.X",
    "XXX...XXX..X.XXX",
    ".XXX..XXXX..X.XX",
    "..XXX..XXXX.XX.X",
    "...XXX..XXXX.XXX",
]


@pytest.fixture
def model() -> LeNet5:
    """A network in float64 whose units are far from both zero and saturation, biases included."""
    rng = np.random.default_rng(1)
    network = models.lenet5_1998().astype("float64")
    for name, parameter in network.parameters().items():
        inputs = {"c1": 25, "s2": 4, "c3": 100, "s4": 4, "c5": 400, "f6": 120}[name.split(".")[0]]
        parameter.assign(rng.normal(0, 1.5 / np.sqrt(inputs), parameter.shape))
    return network


def images(count: int, seed: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 1, 28, 28))


# --- the paper's figures ----------------------------------------------------------------------------------------


def test_every_layer_has_the_parameters_that_the_paper_counts() -> None:
    counts: dict[str, int] = {}
    for name, parameter in models.lenet5_1998().parameters().items():
        layer = name.split(".")[0]
        counts[layer] = counts.get(layer, 0) + parameter.size
        assert parameter.trainable
    assert counts == {"c1": 156, "s2": 12, "c3": 1516, "s4": 32, "c5": 48120, "f6": 10164}
    assert sum(counts.values()) == models.REGISTRY["lenet5_1998"].parameters == 60_000


def test_every_layer_has_the_maps_that_the_paper_draws(model: LeNet5) -> None:
    shapes, x = [], images(2)
    for layer in model.children().values():
        x = layer.astype("float64")(x)
        shapes.append(x.shape[1:])
    assert shapes == [(1, 32, 32), (6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120,), (84,), (10,)]


def test_a_map_of_c3_sees_the_maps_of_s2_that_table_i_marks_and_no_others(model: LeNet5) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1, 6, 14, 14))
    before = model.c3(x)
    for i, line in enumerate(TABLE_I):
        changed = x.copy()
        changed[0, i] += rng.normal(size=(14, 14))
        moved = (model.c3(changed) != before).any(axis=(0, 2, 3))
        assert "".join("X" if one else "." for one in moved) == line


def test_the_gradient_reaches_the_connected_kernels_and_maps_only(model: LeNet5) -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(1, 6, 14, 14))
    for o in range(16):
        only_this_map = np.zeros((1, 16, 10, 10))
        only_this_map[0, o] = 1
        _, grads, grad_x = ck.value_and_grad(model.c3, lambda y, mask: (y * mask).sum(), inputs=True)(x, only_this_map)
        assert [i for i in range(6) if grad_x[0, i].any()] == [i for i in range(6) if TABLE_I[i][o] == "X"]
        owner = [column for column in range(16) for i in range(6) if TABLE_I[i][column] == "X"]
        assert [owner[k] for k in range(60) if grads["weight"][k].any()] == owner.count(o) * [o]


def test_the_image_is_framed_and_scaled_as_the_paper_says() -> None:
    framed = Frame()(np.ones((1, 1, 28, 28), np.float32))
    assert framed.shape == (1, 1, 32, 32)
    np.testing.assert_allclose(framed[0, 0, 2:30, 2:30], 1.175, rtol=1e-6)
    framed[0, 0, 2:30, 2:30] = -0.1
    np.testing.assert_allclose(framed, -0.1, rtol=1e-6)
    np.testing.assert_allclose(Frame()(np.zeros((1, 1, 28, 28), np.float32)), -0.1, rtol=1e-6)


def test_the_squashing_function_maps_one_to_one() -> None:
    np.testing.assert_allclose(squash(np.array([-1.0, 0.0, 1.0])), [-1, 0, 1], atol=1e-4)
    np.testing.assert_allclose(squash(np.array([-100.0, 100.0])), [-1.7159, 1.7159], rtol=1e-12)


def test_weights_begin_within_limits_set_by_the_number_of_inputs() -> None:
    ck.set_seed(0)
    state = models.lenet5_1998().state_dict()
    for name in state:
        if name.endswith("bias"):
            assert not state[name].any()
    limits = {"c1": 2.4 / 25, "s2": 0.6, "s4": 0.6, "c5": 2.4 / 400, "f6": 2.4 / 120}
    for layer, limit in limits.items():
        largest = abs(state[f"{layer}.weight"]).max()
        assert limit / 2 < largest <= limit * (1 + 1e-6), layer
    place = 0
    for seen in CONNECTIONS:
        largest = abs(state["c3.weight"][place : place + len(seen)]).max()
        assert 0.9 * 2.4 / (25 * len(seen)) < largest <= 2.4 / (25 * len(seen)) * (1 + 1e-6)
        place += len(seen)


# --- the output codes -------------------------------------------------------------------------------------------


def test_the_bitmaps_are_ten_different_drawings_of_plus_and_minus_one() -> None:
    drawn = bitmaps()
    assert drawn.shape == (10, 12, 7)
    assert set(drawn.reshape(-1).tolist()) == {-1, 1}
    for a, b in itertools.combinations(drawn, 2):
        assert np.count_nonzero(a != b) >= 12


def test_the_drawings_are_those_of_their_digits() -> None:
    one, seven, eight = bitmaps()[[1, 7, 8]]
    assert (one[:, 3] == 1).all()  # a stem through the middle
    assert (seven[0] == 1).all() and (seven[1:, 0] == -1).all()  # a bar at the top, nothing else to the left
    assert (eight == eight[:, ::-1]).all()


def test_outputs_are_negated_squared_distances_to_the_bitmaps() -> None:
    codes = bitmaps().reshape(10, 84).astype(np.float32)
    outputs = models.lenet5_1998().output(codes)
    different_points = (codes[:, None] != codes[None]).sum(axis=2)
    np.testing.assert_array_equal(outputs, -4 * different_points)
    assert (outputs.argmax(axis=1) == range(10)).all()


# --- the whole network ------------------------------------------------------------------------------------------


def penalties(state: dict[str, np.ndarray], image: np.ndarray) -> np.ndarray:
    """Section II.B for one 28×28 image, unit by unit of the drawing: the ten y_i of equation 7."""

    def f(a: Any) -> Any:
        return 1.7159 * np.tanh(2 / 3 * a)

    def correlated(plane: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        return np.tensordot(np.lib.stride_tricks.sliding_window_view(plane, (5, 5)), kernel, 2)

    def subsampled(maps: list[np.ndarray], layer: str) -> list[np.ndarray]:
        sums = [m[::2, ::2] + m[1::2, ::2] + m[::2, 1::2] + m[1::2, 1::2] for m in maps]
        coefficients, biases = state[f"{layer}.weight"], state[f"{layer}.bias"]
        return [f(w * s + b) for s, w, b in zip(sums, coefficients, biases, strict=True)]

    plane = np.full((32, 32), -0.1)
    plane[2:30, 2:30] += image * 1.275
    c1 = [f(correlated(plane, state["c1.weight"][o, 0]) + state["c1.bias"][o]) for o in range(6)]
    s2 = subsampled(c1, "s2")
    kernels = iter(state["c3.weight"])
    c3 = []
    for o in range(16):
        seen = [i for i in range(6) if TABLE_I[i][o] == "X"]
        c3.append(f(sum(correlated(s2[i], next(kernels)) for i in seen) + state["c3.bias"][o]))
    s4 = np.array(subsampled(c3, "s4")).reshape(-1)
    c5 = f(state["c5.weight"] @ s4 + state["c5.bias"])
    f6 = f(state["f6.weight"] @ c5 + state["f6.bias"])
    return np.array([((f6 - code) ** 2).sum() for code in bitmaps().reshape(10, 84)])


def test_the_network_computes_what_section_ii_b_describes(model: LeNet5) -> None:
    x = images(5)
    expected = np.array([penalties(model.state_dict(), image[0]) for image in x])
    assert relative_error(-model(x), expected) <= 1e-12
    assert relative_error(-model.astype("float32")(x), expected) <= 1e-5


def test_bytes_are_the_same_image(model: LeNet5) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (3, 1, 28, 28), np.uint8)
    np.testing.assert_allclose(model(pixels), model(pixels / 255), rtol=1e-12)


CRITERIA = [models.MLECriterion(), models.MAPCriterion(rubbish_penalty=150.0)]


@pytest.mark.parametrize("criterion", CRITERIA, ids=["equation 8", "equation 9"])
def test_gradients_are_slopes(model: LeNet5, criterion: Any) -> None:
    rng = np.random.default_rng(6)
    x, labels = images(3), np.array([7, 0, 4])
    gradient = ck.value_and_grad(model, criterion, inputs=True)
    loss, grads, grad_x = gradient(x, labels)
    assert loss == pytest.approx(float(criterion(model(x), labels)), rel=1e-12)

    for name, parameter in model.parameters().items():
        start = parameter.value.copy()

        def loss_at(values: np.ndarray, parameter: nn.Parameter = parameter) -> Any:
            parameter.assign(values)
            return criterion(model(x), labels)

        assert_gradient(loss_at, start, 1.0, grads[name], rng, step=1e-5, tolerance=1e-7, what=name)
        parameter.assign(start)

    assert_gradient(lambda x: criterion(model(x), labels), x, 1.0, grad_x, rng, step=1e-5, tolerance=1e-7)


# --- the criteria -----------------------------------------------------------------------------------------------


def test_equation_8_is_the_mean_penalty_of_the_right_class() -> None:
    y = np.random.default_rng(7).random((6, 10)) * 100
    labels = np.array([3, 1, 4, 1, 5, 9])
    expected = sum(y[p, labels[p]] for p in range(6)) / 6
    assert models.MLECriterion()(-y, labels) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("j", [0.5, 10.0, 40.0])
def test_equation_9_weighs_the_right_class_against_all_and_rubbish(j: float) -> None:
    y = np.random.default_rng(8).random((6, 10)) * 40
    labels = np.array([2, 7, 1, 8, 2, 8])
    expected = np.mean([y[p, labels[p]] + np.log(np.exp(-j) + np.exp(-y[p]).sum()) for p in range(6)])
    assert models.MAPCriterion(j)(-y, labels) == pytest.approx(expected, rel=1e-13)


def test_another_penalty_of_rubbish_is_followed() -> None:
    y, labels = np.random.default_rng(8).random((6, 10)) * 40, np.array([2, 7, 1, 8, 2, 8])
    criterion = models.MAPCriterion(1.0)
    loss = ck.value_and_grad(nn.Flatten(), criterion)
    loss(-y, labels)
    criterion.rubbish_penalty = 30.0
    assert loss(-y, labels)[0] == pytest.approx(criterion(-y, labels), rel=1e-12)


def test_a_label_behind_the_last_class_stands_for_rubbish() -> None:
    y = np.random.default_rng(9).random((1, 10)) * 40
    expected = 12.0 + np.log(np.exp(-12.0) + np.exp(-y).sum())
    assert models.MAPCriterion(12.0)(-y, np.array([10])) == pytest.approx(expected, rel=1e-13)
    with pytest.raises(ValueError, match="label 11"):
        models.MAPCriterion(12.0)(-y, np.array([11]))


def test_equation_9_leaves_penalties_alone_that_are_far_above_j() -> None:
    y = np.full((1, 10), 10.0)
    y[0, 5] = 200.0  # a wrong class, far away
    outputs = Outputs(-y)
    _, grads = ck.value_and_grad(outputs, models.MAPCriterion(10.0))(np.zeros((1, 1)), np.array([0]))
    pushes = -grads["values"][0]  # the gradient to y
    assert abs(pushes[5]) < 1e-80
    np.testing.assert_allclose(pushes[[1, 2, 3]], -1 / 10, rtol=1e-9)  # nine classes and rubbish, equally likely
    np.testing.assert_allclose(pushes[0], 1 - 1 / 10, rtol=1e-9)


class Outputs(nn.Module):
    """Outputs that are parameters."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = nn.Parameter(values)

    def forward(self, x: Any) -> Any:
        return self.values + 0 * x


@pytest.mark.parametrize("j", [0.0, -1.0, float("nan"), float("inf"), "1", True])
def test_the_penalty_of_rubbish_must_be_positive(j: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="MAPCriterion: rubbish_penalty must be a number above 0, not "):
        models.MAPCriterion(j)


# --- in use -----------------------------------------------------------------------------------------------------


def test_it_is_built_from_a_file_with_the_same_outputs(tmp_path: Path) -> None:
    model = models.lenet5_1998()
    ck.save(model, tmp_path / "lenet5.safetensors")
    ck.set_seed(99)
    loaded = ck.load_model(tmp_path / "lenet5.safetensors")
    x = images(2).astype(np.float32)
    np.testing.assert_array_equal(loaded(x), model(x))


def test_it_learns_digits_from_the_embedded_sample() -> None:
    train, test = data.mnist("train", "sample"), data.mnist("test", "sample")
    ck.set_seed(0)
    trainer = ck.Trainer(
        models.lenet5_1998(),
        models.REGISTRY["lenet5_1998"].loss(),
        optim.Adam(optim.Cosine(4e-3, epochs=2)),
        metrics=["accuracy"],
    )
    trainer.fit(train, epochs=2, batch_size=32, seed=0, verbose=0)
    assert trainer.evaluate(test)["accuracy"] > 0.85
