"""Any array that a user has: whatever its order, strides, byte order and owner; none of the wrong type."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from convkit import functional as F
from functional_calls import Call, calls
from other_arrays import OTHERS

each_call = pytest.mark.parametrize("call", calls(), ids=repr)


def assert_same(result: tuple[Any, ...], expected: tuple[Any, ...], what: str = "") -> None:
    """The same bits, of the same type and shape."""
    for a, b in zip(result, expected, strict=True):
        assert np.shape(a) == np.shape(b), what
        assert getattr(a, "dtype", None) == getattr(b, "dtype", None), what
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), what


# Memory ---------------------------------------------------------------------------------------------


def transposed(x: Any) -> Any:
    return np.ascontiguousarray(x.T).T


def every_second(x: Any) -> Any:
    wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan, x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def backwards(x: Any) -> Any:
    """Every axis with a negative stride, those of length one too."""
    everywhere = (slice(None, None, -1),) * x.ndim
    return x[everywhere].copy()[everywhere]


def cut_out(x: Any) -> Any:
    frame = np.full(tuple(n + 2 for n in x.shape), np.nan, x.dtype)
    inner = (slice(1, -1),) * x.ndim
    frame[inner] = x
    return frame[inner]


def unaligned(x: Any) -> Any:
    memory = bytearray(x.nbytes + 1)
    view = np.frombuffer(memory, x.dtype, offset=1, count=x.size).reshape(x.shape)
    view[...] = x
    assert not view.flags.aligned
    return view


def read_only(x: Any) -> Any:
    copy = x.copy()
    copy.flags.writeable = False
    return copy


def swapped(x: Any) -> Any:
    return x.astype(x.dtype.newbyteorder())


def through_dlpack(x: Any) -> Any:
    return np.from_dlpack(x)


LAYOUTS = [
    transposed,
    every_second,
    backwards,
    cut_out,
    unaligned,
    read_only,
    swapped,
    through_dlpack,
    *OTHERS,
]


@each_call
def test_how_an_array_lies_in_memory_changes_nothing(call: Call) -> None:
    expected = call()
    for layout in LAYOUTS:
        for name in call.float_arrays:
            before = call.arguments[name].copy()
            assert_same(call.with_(**{name: layout(call.arguments[name])})(), expected, f"{name} {layout.__name__}")
            np.testing.assert_array_equal(call.arguments[name], before)
        everything = {name: layout(call.arguments[name]) for name in call.float_arrays}
        assert_same(call.with_(**everything)(), expected, f"all {layout.__name__}")


@each_call
def test_integers_may_come_from_other_libraries_too(call: Call) -> None:
    """Labels and indices."""
    whole = call.integer_arrays
    if not whole:
        pytest.skip("takes no integers")
    expected = call()
    for other in OTHERS:
        given = {name: other(call.arguments[name]) for name in whole}
        assert_same(call.with_(**given)(), expected, other.__name__)


@each_call
def test_a_broadcast_array_is_like_its_copy(call: Call) -> None:
    for name in call.float_arrays:
        array = call.arguments[name]
        expanded = np.broadcast_to(array[:1], array.shape)
        assert_same(call.with_(**{name: expanded})(), call.with_(**{name: expanded.copy()})())


@each_call
def test_results_are_the_callers_own(call: Call) -> None:
    if call.name in ("reshape", "flatten"):
        pytest.skip("a view, as NumPy's")
    arrays = [call.arguments[name] for name in call.float_arrays]
    results = [result for result in call() if isinstance(result, np.ndarray)]
    again = [result for result in call() if isinstance(result, np.ndarray)]
    for i, result in enumerate(results):
        assert result.flags.writeable and result.flags.c_contiguous
        for other in arrays + again + results[:i]:
            assert not np.shares_memory(result, other)


@each_call
def test_arguments_may_be_one_array_twice(call: Call) -> None:
    """As in relu_backward(y, y)."""
    shapes: dict[tuple[int, ...], str] = {}
    for name in call.float_arrays:
        array = call.arguments[name]
        twin = shapes.setdefault(array.shape, name)
        shared = call.arguments[twin]
        assert_same(call.with_(**{name: shared})(), call.with_(**{name: shared.copy()})())


def test_parts_to_be_joined_may_lie_anywhere() -> None:
    parts = [np.random.default_rng(i).standard_normal((2, 3 + i, 4)) for i in range(3)]
    for layout in LAYOUTS:
        joined = F.concat([layout(part) for part in parts])
        np.testing.assert_array_equal(joined, np.concatenate(parts, 1))
        gradients = F.concat_backward(layout(joined), [layout(part) for part in parts])
        for gradient, part in zip(gradients, parts, strict=True):
            np.testing.assert_array_equal(gradient, part)
            assert not np.shares_memory(gradient, joined)


# Types ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("single", "double"), list(zip(calls(np.float32), calls(np.float64), strict=True)), ids=repr)
def test_results_have_the_type_of_the_arguments(single: Call, double: Call) -> None:
    for call, dtype in [(single, np.float32), (double, np.float64)]:
        for result in call():
            if isinstance(result, np.ndarray) and result.dtype.kind == "f":
                assert result.dtype == dtype


@each_call
def test_single_and_double_precision_do_not_mix(call: Call) -> None:
    if len(call.float_arrays) < 2:
        pytest.skip("one array only")
    for name in call.float_arrays:
        with pytest.raises(TypeError, match=rf"^{call.name}: .*{re.escape(name)} float64"):
            call.with_(**{name: call.arguments[name].astype(np.float64)})()


@each_call
def test_other_types_are_refused(call: Call) -> None:
    for dtype in ("int64", "uint8", "bool", "float16", "complex64", "longdouble", "object", "U4"):
        for name in call.float_arrays:
            with pytest.raises(TypeError, match=rf"^{call.name}: {re.escape(name)} ") as caught:
                call.with_(**{name: np.zeros(call.arguments[name].shape, dtype)})()
            assert str(np.dtype(dtype)) in str(caught.value)


# Empty batches --------------------------------------------------------------------------------------

NO_BATCH = ("correlate", "convolve", "convolution_matrix", "cross_entropy", "mse_loss", "mean")
IN_BATCHES = [call for call in calls(batch=0) if not call.name.startswith(NO_BATCH)]


@pytest.mark.parametrize("call", IN_BATCHES, ids=repr)
def test_a_batch_of_none(call: Call) -> None:
    """Outputs of the batch are empty; gradients of weights and biases are sums of nothing: zeros."""
    full = next(other for other in calls() if other.name == call.name)
    for empty, usual in zip(call(), full(), strict=True):
        assert empty.dtype == usual.dtype
        if usual.shape[:1] == (2,):
            assert empty.shape == (0, *usual.shape[1:])
        else:
            assert empty.shape == usual.shape and not empty.any()
