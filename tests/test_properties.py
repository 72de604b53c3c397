"""What holds for any call: the answer is the oracle's, or an error that names function and argument.

Hypothesis draws valid calls (`drawn_calls`) and layers (`drawn_layers`) and lays their arrays anywhere in memory. Such
a call must be computed, and come out as its oracle. Three of ten are also spoilt, in one place after the other, and
must then be refused. So that no property passes without having looked, the share of examples that were compared is
asserted.

A few examples are tried each time, and always the same; thousands, and new ones, with ``--hypothesis-profile long``.
"""

from __future__ import annotations

import copy
import functools
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import convkit as ck
import reference as ref
from convkit import functional as F
from convkit import nn
from drawn_calls import FAMILIES, FLOATS, Case, Draw
from drawn_layers import LAYERS, LOSSES, NO_LAYERS, Example, sum_of_products
from functional_calls import Call
from geometries import normal
from test_functional_arrays import LAYOUTS, read_only, swapped, unaligned

LEAST_COMPARED = 0.9
NOT_FLOATS = ["f2", "g", "c8", "c16", "O", "i1", "i4", "i8", "u1", "u8", "?", "U3", "M8[s]", "V4"]


def drawn(test: Callable[..., bool]) -> Callable[..., None]:
    """A property: `test` on drawn data says whether it compared, and of enough examples it must have."""

    @functools.wraps(test)
    def run(**parameters: Any) -> None:
        compared: list[bool] = []

        def once(data: st.DataObject) -> None:
            compared.append(test(data, **parameters))

        what = [getattr(value, "layer", value) for value in parameters.values()]
        once.__name__ = "_".join([test.__name__, *what])  # by which failures are kept
        given(st.data())(once)()
        wanted = LEAST_COMPARED * hypothesis.settings().max_examples
        assert sum(compared) >= wanted, f"only {sum(compared)} of {len(compared)} examples were compared"

    signature = inspect.signature(test)
    run.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
    return run


def refused(call: Callable[[], Any], by: str, what: str) -> None:
    """An error in the house's voice: who speaks, and then of what."""
    try:
        result = call()
    except (TypeError, ValueError) as error:
        assert re.match(rf"{by}: .", str(error)), f"{what}: {type(error).__name__}: {error}"
    else:
        pytest.fail(f"{what}: not refused, but {result!r:.200}")


# Arrays ---------------------------------------------------------------------------------------------


def as_it_is(x: Any) -> Any:
    return x


def laid(draw: Draw, x: Any) -> Any:
    """The same values anywhere in memory; not where the array has none, or no axis to lay out."""
    ways = [as_it_is, read_only, swapped]
    if x.size and x.ndim:
        ways += [way for way in LAYOUTS if way not in ways]
    if x.dtype == np.uint8:  # of which there is one byte order, aligned anywhere
        ways = [way for way in ways if way not in (swapped, unaligned)]
    return draw.of(ways)(x)


def of_another_dtype(draw: Draw, x: Any) -> Any:
    dtype = draw.of(NOT_FLOATS)
    with np.errstate(all="ignore"):
        return np.zeros(x.shape, dtype) if np.dtype(dtype).kind in "UMV" else x.astype(dtype)


# Functions ------------------------------------------------------------------------------------------


def spoilt(draw: Draw, case: Case) -> Iterator[tuple[Call, str]]:
    """The call with one argument that it must refuse, one after the other, and which it is."""
    arrays = case.call.float_arrays
    ways = [(name, value) for name, values in case.wrong.items() for value in values]
    for name in arrays:
        array = case.call.arguments[name]
        ways.append((name, of_another_dtype(draw, array)))
        if len(arrays) > 1:
            with np.errstate(over="ignore"):
                ways.append((name, array.astype(FLOATS[array.dtype == FLOATS[0]])))
    for name, value in ways:
        shown = f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray) else repr(value)
        yield case.call.with_(**{name: value}), f"{case.call.name} with {name}={shown}"


def answer(case: Case, call: Call) -> None:
    """What a valid call returns, against the oracle."""
    arrays = [case.call.arguments[name] for name in case.call.float_arrays]
    exact = [array.astype(np.float64) for array in arrays]
    dtype = arrays[0].dtype
    with np.errstate(all="ignore"):
        expected = as_tuple(case.oracle(*exact))
        if case.scale is None and not case.exact:
            sizes = as_tuple(case.oracle(*map(np.abs, exact)))
        else:
            sizes = (case.scale or 0.0,) * len(expected)
        results = call()
    assert len(results) == len(expected)
    for result, wanted, size in zip(results, expected, sizes, strict=True):
        near(np.asarray(result), np.asarray(wanted), dtype, size, case)


def as_tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def near(result: Any, expected: Any, dtype: Any, size: Any, case: Case) -> None:
    """As near to each value as the terms that it was made of allow; infinite where it is beyond the dtype's range."""
    what = f"{case.call.name}: "
    assert result.shape == expected.shape, what + f"{result.shape}, not {expected.shape}"
    assert result.dtype == (dtype if result.dtype.kind == "f" else np.int64), what
    if case.exact or result.dtype.kind == "i":
        np.testing.assert_array_equal(result, expected.astype(result.dtype), what)
        return
    with np.errstate(all="ignore"):
        off = np.abs(result - expected)
        rounded = expected.astype(dtype)
    same = (result == rounded) | (np.isnan(result) & np.isnan(expected))
    scale = np.maximum(np.maximum(size, np.abs(expected)), np.finfo(dtype).tiny)
    fine = same | (np.isfinite(result) & np.isfinite(expected) & (off <= ref.TOLERANCE[dtype] * scale))
    assert fine.all(), what + f"{result[~fine]}, not {expected[~fine]}, for {case.call.arguments}"


@pytest.mark.parametrize("family", FAMILIES)
@drawn
def test_a_function_is_its_oracle_and_refuses_what_is_spoilt(data: st.DataObject, family: str) -> bool:
    draw = Draw(data)
    cases = FAMILIES[family](draw)
    if draw.spoils:
        for call, what in spoilt(draw, draw.of(cases)):
            refused(call, call.name, what)
    for case in cases:
        arrays = {name: laid(draw, case.call.arguments[name]) for name in case.call.float_arrays}
        names = [*case.call.float_arrays, *case.call.integer_arrays]
        before = {name: case.call.arguments[name].copy() for name in names}
        answer(case, case.call.with_(**arrays))
        for name, array in before.items():
            np.testing.assert_array_equal(case.call.arguments[name], array, "an argument was written to")
    return True


def test_an_infinite_answer_is_right_beyond_the_range_only() -> None:
    call = Call("leaky_relu", {"x": np.array([-3e38, -1e38, 1], np.float32), "negative_slope": 1.7})
    answer(Case(call, lambda x: np.where(x < 0, 1.7 * x, x)), call)
    with pytest.raises(AssertionError, match=r"\[-inf\], not \[-3\.e\+38\]"):
        answer(Case(call, lambda x: np.where(x < 0, np.maximum(1.7 * x, -3e38), x)), call)


def test_every_function_is_drawn() -> None:
    names: set[str] = set()

    @hypothesis.settings(max_examples=10)
    @given(st.data())
    def collect(data: st.DataObject) -> None:
        draw = Draw(data)
        names.update(case.call.name for draws in FAMILIES.values() for case in draws(draw))

    collect()
    assert names == set(F.__all__)


# Layers ---------------------------------------------------------------------------------------------

IMAGES = (1, 2, 3, 16, 19, 0)
VOICE = r"[\w.]+( '.*?')?(\.\w+)?"  # a function, a layer, a parameter by its name


def filled(layer: nn.Module, draw: Draw) -> nn.Module:
    """The layer, in the example's dtype, with weights and moments of the example's."""
    layer.astype(str(draw.dtype))
    rng = draw.rng()
    for name, owned in [*layer.parameters().items(), *layer.buffers().items()]:
        if owned.value.dtype.kind == "f":
            values = normal(rng, owned.shape, draw.dtype)
            owned.assign(np.abs(values) + draw.dtype.type(0.5) if name == "running_var" else values)
    return layer


def an_input(draw: Draw, example: Example) -> Any:
    images = draw.of([n for n in IMAGES if n >= example.least])
    x = normal(draw.rng(), (images, *draw.of(example.shapes)), draw.of(FLOATS))
    return np.clip(50 * x + 128, 0, 255).astype(np.uint8) if draw.often(2) else x


def in_double(x: Any, dtype: Any) -> Any:
    """What a model of this dtype makes of an input, images scaled."""
    return x / 255.0 if x.dtype == np.uint8 else x.astype(dtype).astype(np.float64)


@pytest.mark.parametrize("example", LAYERS, ids=lambda example: example.layer)
@drawn
def test_a_layer_is_its_oracle_and_refuses_what_is_spoilt(data: st.DataObject, example: Example) -> bool:
    draw = Draw(data)
    layer, x = filled(example.make(), draw), an_input(draw, example)
    if draw.spoils:
        training = draw.yes()
        for bad in [of_another_dtype(draw, x), *(np.zeros(shape, draw.dtype) for shape in example.refused)]:
            if bad.dtype != np.uint8:  # images
                call = functools.partial(layer, bad, training=training)
                refused(call, VOICE, f"{example.layer} of {bad.dtype}{bad.shape}")
    result = layer(laid(draw, x))
    own = bool(layer.parameters() or layer.buffers())
    dtype = layer.dtype if own else np.dtype(np.float32 if x.dtype == np.uint8 else x.dtype)
    double, exact = copy.deepcopy(layer).astype("float64"), in_double(x, dtype)
    expected = double(exact) if example.oracle is None else example.oracle(double, exact)
    ref.assert_close(result, expected, dtype, scale=scale_of(expected, exact), what=example.layer)
    if x.dtype != np.uint8:
        gradients_agree(draw, layer, double, x, exact, result)
    return True


def gradients_agree(draw: Draw, layer: nn.Module, double: nn.Module, x: Any, exact: Any, y: Any) -> None:
    """Those of single precision with those of double, in training and in inference."""
    training, weights = draw.yes(), normal(draw.rng(), y.shape, np.float64)
    options = {"inputs": True, "training": training}
    loss, grads, grad_x = ck.value_and_grad(layer, sum_of_products, **options)(x, weights.astype(y.dtype))
    wanted_loss, wanted, wanted_x = ck.value_and_grad(double, sum_of_products, **options)(exact, weights)
    terms = 1 + float(np.abs(weights).sum())
    assert abs(loss - wanted_loss) <= 10 * ref.TOLERANCE[y.dtype] * (abs(wanted_loss) + terms)
    for name, grad in {**grads, "input": grad_x}.items():
        against = wanted_x if name == "input" else wanted[name]
        scale = scale_of(against, exact) * max(1.0, len(x))
        ref.assert_close(grad, against, y.dtype, scale=scale, what=f"gradient to {name}")


def scale_of(expected: Any, x: Any) -> float:
    return 4 * max(1.0, np.abs(expected).max(initial=0.0), np.abs(x).max(initial=0.0))


def test_every_layer_is_drawn() -> None:
    names = {example.layer for example in LAYERS}
    assert names == set(nn.__all__) - NO_LAYERS - LOSSES


class Two(nn.Module):
    """A network with an auxiliary classifier."""

    def __init__(self) -> None:
        self.main, self.auxiliary = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: Any) -> Any:
        return self.main(x), self.auxiliary(x)


def make_loss(draw: Draw, name: str) -> tuple[Any, dict[str, Any]]:
    """The loss, and the options for its oracle."""
    if name == "MSELoss":
        return nn.MSELoss(), {}
    options = {"label_smoothing": draw.of((0.0, 0.2)), "ignore_index": draw.of((None, 1))}
    options["weight"] = np.array([0.5, 1.0, 2.0]) if draw.yes() else None
    return getattr(nn, name)(**options), options


@pytest.mark.parametrize("name", sorted(LOSSES))
@drawn
def test_a_loss_is_its_oracle_and_refuses_what_is_spoilt(data: st.DataObject, name: str) -> bool:
    draw = Draw(data)
    model = filled(Two() if name.startswith("Auxiliary") else nn.Linear(4, 3), draw)
    loss_fn, options = make_loss(draw, name)
    rng, images = draw.rng(), draw.of((1, 2, 3, 16, 19))
    x = normal(rng, (images, 4), draw.dtype)
    targets = normal(rng, (images, 3), draw.dtype) if name == "MSELoss" else rng.integers(0, 3, images)
    if draw.spoils:
        for bad in [targets[None], targets[:0], targets.astype("c8"), np.zeros(images, "U3"), np.zeros((images, 7))]:
            call = functools.partial(ck.value_and_grad(model, loss_fn), x, bad)
            refused(call, VOICE, f"{name} of {bad.dtype}{bad.shape}")
    loss, grads = ck.value_and_grad(model, loss_fn)(x, targets)
    outputs = [np.asarray(y, np.float64) for y in as_tuple(model(x))]
    with np.errstate(all="ignore"):
        expected = sum(
            share * expected_loss(name, y, targets, options) for share, y in zip((1, 0.3), outputs, strict=False)
        )
    np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-5)
    double = copy.deepcopy(model).astype("float64")
    _, wanted = ck.value_and_grad(double, loss_fn)(x.astype(np.float64), targets)
    for key, grad in grads.items():
        np.testing.assert_allclose(grad, wanted[key], rtol=1e-4, atol=1e-4)
    return True


def expected_loss(name: str, y: Any, targets: Any, options: dict[str, Any]) -> Any:
    if name == "MSELoss":
        return ((y - targets) ** 2).mean()
    return ref.losses("cross_entropy", y, targets, "mean", **options)[0]
