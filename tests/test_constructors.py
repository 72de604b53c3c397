"""What layers, losses, optimisers, augmentations and initialisers are made with: taken, or refused by name at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import models, nn, optim, seeding
from convkit.data import augment
from convkit.nn.summary import summarize
from fuzz_layers import constructed


def test_every_class_is_tried() -> None:
    """The table that rubbish is put in place of the arguments of, below."""
    known = {made.name for made in constructed()}
    assert set(nn.__all__) - known == {"Module", "Sequential", "init"}  # the base, one without names, a module
    assert set(optim.__all__) - known == {"Optimizer", "Schedule"}  # the bases
    kinds = {name for name, kind in vars(augment).items() if getattr(kind, "__module__", "") == augment.__name__}
    assert {name for name in kinds if name[0].isupper()} <= known
    assert {*nn.init.BY_NAME, "normal", "fans"} <= known


def test_no_argument_crashes_the_interpreter(run_apart: Callable[..., None]) -> None:
    """Only errors that speak of the arguments come of arguments replaced by rubbish."""
    run_apart("import fuzz_layers; fuzz_layers.main()", seconds=300)


# Arrays ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nn.CrossEntropyLoss, nn.AuxiliaryCrossEntropyLoss])
@pytest.mark.parametrize("weight", [[1j, 2.0], ["1", "2"], [True, False], [None, 1], np.array(["1"], object)], ids=str)
def test_weights_of_classes_that_are_no_numbers_are_refused(kind: Any, weight: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy's, that an imaginary part is lost
        with pytest.raises(TypeError, match=rf"^{kind.__name__}: weight must be integers or floats, not "):
            kind(weight=weight)


def test_weights_of_classes() -> None:
    logits, labels = np.array([[1.0, 2.0], [0.5, -1.0]], np.float32), np.array([0, 1])
    expected = nn.CrossEntropyLoss(weight=np.array([1.0, 3.0], np.float32))(logits, labels)
    for weight in ([1, 3], (1.0, 3.0), np.array([1, 3], np.uint64), np.array([1, 3], ">f8"), np.array([1, 3], "f2")):
        assert nn.CrossEntropyLoss(weight=weight)(logits, labels) == expected
    with pytest.raises(ValueError, match=r"^CrossEntropyLoss: weight must have one axis \(C,\), not shape \(1, 2\)"):
        nn.CrossEntropyLoss(weight=[[1.0, 2.0]])


@pytest.mark.parametrize("values", [np.full((3, 4), 1j), np.full((3, 4), "1"), np.full((3, 4), None)], ids=str)
def test_initialisers_that_return_no_numbers_are_refused(values: np.ndarray) -> None:
    with pytest.raises(TypeError, match=r"^Linear: what init returns must be integers or floats, not "):
        nn.Linear(4, 3, init=lambda shape: values)


@pytest.mark.parametrize("values", [np.full((2, 3), 1j), np.full((2, 3), "1"), np.full((2, 3), None)], ids=str)
@pytest.mark.parametrize("kind", [nn.Parameter, nn.Buffer])
def test_values_that_are_no_numbers_are_not_assigned(kind: Any, values: np.ndarray) -> None:
    owned = kind(np.ones((2, 3), np.float32))
    with pytest.raises(
        TypeError, match=rf"^{kind.__name__} ''.assign: values must be of numbers that float32 can hold"
    ):
        owned.assign(values)
    assert (owned.value == 1).all()


# Sizes ----------------------------------------------------------------------------------------------

UNADDRESSABLE: list[tuple[str, Callable[[Any], Any]]] = [
    ("Conv1d", lambda n: nn.Conv1d(n, n, 3)),
    ("Conv2d", lambda n: nn.Conv2d(n, n, 3)),
    ("Conv3d", lambda n: nn.Conv3d(4, 4, n)),
    ("ConvTranspose2d", lambda n: nn.ConvTranspose2d(n, n, 3)),
    ("Linear", lambda n: nn.Linear(n, n)),
    ("BatchNorm2d", lambda n: nn.BatchNorm2d(int(n) ** 2)),
    ("GroupNorm", lambda n: nn.GroupNorm(1, int(n) ** 2)),
    ("LayerNorm", lambda n: nn.LayerNorm((n, n))),
    ("PReLU", lambda n: nn.PReLU(int(n) ** 2)),
]


@pytest.mark.parametrize(("layer", "make"), UNADDRESSABLE, ids=[layer for layer, _ in UNADDRESSABLE])
@pytest.mark.parametrize("kind", [int, np.int64])
def test_a_size_that_cannot_be_addressed(layer: str, make: Callable[[Any], Any], kind: Any) -> None:
    """Before anything is allocated, and whatever integers it is given in: a product of NumPy's would wrap around."""
    with pytest.raises(
        ValueError, match=rf"^{layer}: the parameters that .* would have shape .*more values than can be"
    ):
        make(kind(2**31 - 1 if layer != "Linear" else 2**40))


def test_integers_of_numpy_make_the_same_layer() -> None:
    layer = nn.Linear(np.int8(100), np.int8(100))  # whose product is no int8
    assert layer.weight.shape == (100, 100) and nn.BatchNorm2d(np.uint8(200)).weight.shape == (200,)


# Switches and seeds ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ck.set_winograd("no"), TypeError, "set_winograd: on must be True or False, not 'no'"),
        (lambda: ck.set_winograd(None), TypeError, "set_winograd: on must be True or False, not None"),
        (lambda: ck.set_winograd(2), TypeError, "set_winograd: on must be True or False, not 2"),
        (lambda: ck.set_seed("a"), TypeError, "set_seed: seed must be an integer, not 'a'"),
        (lambda: ck.set_seed(None), TypeError, "set_seed: seed must be an integer, not None"),
        (lambda: ck.set_seed(1.0), TypeError, "set_seed: seed must be an integer, not 1.0"),
        (lambda: ck.set_seed(-1), ValueError, "set_seed: seed must be at least 0, not -1"),
        (lambda: ck.set_seed(2**128), ValueError, "set_seed: seed must be at most "),
        (lambda: seeding.seeded(None).__enter__(), TypeError, "seeded: seed must be an integer, not None"),
        (lambda: models.highway_dense(depth=3, gate_bias="a"), TypeError, "highway_dense: gate_bias must be a number"),
        (
            lambda: models.highway_dense(depth=3, gate_bias=np.nan),
            ValueError,
            "highway_dense: gate_bias must be .* not nan",
        ),
        (
            lambda: models.highway_dense(depth=10_001),
            ValueError,
            "highway_dense: depth must be at most 10000, not 10001",
        ),
        (lambda: models.plain_dense(depth=10_001), ValueError, "plain_dense: depth must be at most 10000, not 10001"),
        (lambda: models.highway_conv16(gate_bias=np.inf), ValueError, "highway_conv16: gate_bias must be .* not inf"),
        (lambda: models.highway_conv32(gate_bias=1e300), ValueError, "highway_conv32: gate_bias must be .* not 1e"),
    ],
)
def test_settings_that_are_none_are_refused_and_change_nothing(
    call: Callable[[], Any], error: type[Exception], message: str
) -> None:
    switch = ck.get_winograd()
    ck.set_seed(3)
    with pytest.raises(error, match=f"^{message}"):
        call()
    assert ck.get_winograd() == switch
    if "seed" in message:
        drawn = nn.Linear(2, 2).weight.value
        ck.set_seed(3)
        np.testing.assert_array_equal(nn.Linear(2, 2).weight.value, drawn)


def test_settings_that_are_some_are_taken() -> None:
    before = ck.get_winograd()
    try:
        for value in (False, np.True_, 0, True):
            ck.set_winograd(value)
            assert ck.get_winograd() is bool(value)
    finally:
        ck.set_winograd(before)
    ck.set_seed(2**128 - 1)
    ck.set_seed(np.uint8(3))
    drawn = nn.Linear(2, 2).weight.value
    with seeding.seeded(3):
        np.testing.assert_array_equal(nn.Linear(2, 2).weight.value, drawn)


# Containers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("gone", ["0", "1", "2"])
def test_a_layer_added_after_another_was_taken_out_overwrites_none(gone: str) -> None:
    model = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.Sigmoid())
    kept = [layer for name, layer in model.children().items() if name != gone]
    delattr(model, gone)
    added = nn.ELU()
    assert [*model.append(added)] == [*kept, added]
    with pytest.raises(TypeError, match=r"^Sequential: layer \d must be a Module, not 3$"):
        model.append(3)  # type: ignore[arg-type]


def test_a_layer_added_takes_the_next_number_that_is_free() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Tanh(), nn.ELU())
    delattr(model, "2")
    assert [*model.append(nn.ReLU()).children()] == ["0", "1", "2"]
    model.__setattr__("0", nn.Sigmoid())  # stays where it is
    model.__setattr__("4", nn.Tanh())
    model.head = nn.ReLU()
    assert [*model.append(nn.ELU()).children()] == ["0", "1", "2", "4", "head", "5"]
    delattr(model, "1")
    model.__setattr__("1", nn.Tanh())  # is the last now
    assert [*model.append(nn.ELU()).children()] == ["0", "2", "4", "head", "5", "1", "3"]
    assert [*model.append(nn.ELU()).children()][-1] == "6"


# Summaries ------------------------------------------------------------------------------------------


class Improvised(nn.Module):
    """A layer that is made while another works, and one within it that is not."""

    def __init__(self) -> None:
        self.inner = nn.Linear(2, 3)

    def forward(self, x: Any) -> Any:
        return nn.Sequential(nn.ReLU(), nn.Sequential(self.inner), nn.Linear(3, 4))(nn.Tanh()(x))


def test_what_layers_made_in_forward_do_is_put_down_to_who_made_them() -> None:
    rows = [line.split() for line in nn.Sequential(Improvised(), nn.ReLU()).summary((2,)).splitlines()[2:6]]
    assert rows == [
        ["input", "2"],
        ["0", "Improvised", "4", "0", "24"],  # whose last layer has parameters, but none of the model's
        ["0.inner", "Linear", "3", "9", "12"],
        ["1", "ReLU", "4", "0", "0"],
    ]


@pytest.mark.parametrize(
    ("input_shape", "error", "message"),
    [
        (3, TypeError, "input_shape must be the sizes of one input's axes, not 3"),
        ("ab", TypeError, "input_shape must be .*not "),
        ((2.0,), TypeError, "input_shape must be an integer, not 2.0"),
        ((True,), TypeError, "input_shape must be an integer, not True"),
        ((-1,), ValueError, "input_shape must be at least 0, not -1"),
        ((2**63,), ValueError, "input_shape must be at most"),
    ],
)
def test_shapes_that_no_input_has(input_shape: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^summary: {message}"):
        summarize(nn.Linear(2, 2), input_shape)
    if input_shape != 3:
        with pytest.raises(error, match=f"^summary: {message}"):
            nn.Linear(2, 2).summary(input_shape)
