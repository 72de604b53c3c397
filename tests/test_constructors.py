"""What layers, losses, optimisers, augmentations and initialisers are made with: taken, or refused by name at once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from convkit import nn, optim
from convkit.data import augment
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
