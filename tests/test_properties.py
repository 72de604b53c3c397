"""What holds for any input: the answer is the oracle's, or an error that names function and argument.

Hypothesis draws geometries (sizes of none and one, huge strides, paddings and dilations, integers beyond 64 bits),
arrays of any dtype, shape and place in memory, and values that are not finite or below the normal numbers. A few
examples are tried each time, thousands with ``--hypothesis-profile long``.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import reference
from convkit import functional as F
from convkit import nn
from functional_calls import Call, calls
from other_arrays import OnlyDLPack
from reference import Padding, Shape
from test_functional_arrays import LAYOUTS, assert_same, through_dlpack, unaligned

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
HUGE = [2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**100]
SPECIAL = [0.0, -0.0, 1.0, -1.5, np.nan, np.inf, -np.inf, 1e-40, -1e-40, 1e-45, 3e38, -3e38, 88.8, -88.8, 1e-7]

# Who speaks: a function, a layer, a parameter by its name.
VOICE = re.compile(r"^[\w.]+( '.*?')?(\.\w+)?: .")

sizes = st.integers(0, 9)
kernels = st.integers(1, 5) | st.sampled_from([0, 9, 100])
steps = st.integers(1, 4) | st.sampled_from([0, 50, *HUGE])  # strides and dilations
paddings = st.integers(0, 6) | st.sampled_from([-1, 40])


def per_axis(rank: int, values: st.SearchStrategy[int]) -> st.SearchStrategy[Shape]:
    return st.tuples(*[values] * rank)


def pairs(rank: int, values: st.SearchStrategy[int]) -> st.SearchStrategy[Padding]:
    return st.tuples(*[st.tuples(values, values)] * rank)


def normal(shape: Shape, dtype: Any, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def answer(call: Callable[[], Any]) -> Any:
    """What a call returns; None where it is refused, in words that say by whom."""
    try:
        return call()
    except (TypeError, ValueError) as error:
        assert VOICE.match(str(error)), f"{type(error).__name__}: {error}"
        return None


def compare(result: Any, fits: bool, expected: Callable[[], Any], dtype: Any, what: str) -> None:
    """A result where, and only where, the arguments fit together, and then the oracle's."""
    assert (result is not None) == fits, f"{what}: {'refused' if fits else 'not refused'}"
    if fits:
        wanted = expected()
        results, wanted = (given if isinstance(given, tuple) else (given,) for given in (result, wanted))
        for one, other in zip(results, wanted, strict=True):
            if one.dtype.kind == "i":
                np.testing.assert_array_equal(one, other)
            else:
                reference.assert_close(one, other, dtype, what=what)


def windows_fit(size: Shape, kernel: Shape, stride: Shape, padding: Padding, dilation: Shape, ceil: bool) -> bool:
    """Whether there is a window on each axis, of values that can be addressed."""
    at_least = [(size, 1), (kernel, 1), (stride, 1), (dilation, 1), (tuple(itertools.chain(*padding)), 0)]
    if any(value < least for values, least in at_least for value in values):
        return False
    integer = [value for values, _ in at_least for value in values]
    if max(integer) >= 2**31:
        return False
    return all(n + lo + hi > d * (k - 1) for n, k, (lo, hi), d in zip(size, kernel, padding, dilation, strict=True))


# Windows --------------------------------------------------------------------------------------------


@given(st.data())
def test_convolution_is_the_oracle_s_or_refused(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 3))
    size, kernel = data.draw(per_axis(rank, sizes)), data.draw(per_axis(rank, kernels))
    stride, dilation = data.draw(per_axis(rank, steps)), data.draw(per_axis(rank, steps))
    padding, groups = data.draw(pairs(rank, paddings)), data.draw(st.integers(0, 4))
    batch, channels, outputs = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 6)))
    dtype = data.draw(st.sampled_from(FLOATS))
    inner = data.draw(st.sampled_from([channels // max(groups, 1), channels]))
    if math.prod(kernel) > 10**5:
        return
    x, weight = normal((batch, channels, *size), dtype), normal((outputs, inner, *kernel), dtype, 1)
    bias = data.draw(st.sampled_from([None, normal((outputs,), dtype, 2), normal((outputs + 1,), dtype, 2)]))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    result = answer(lambda: getattr(F, f"conv{rank}d")(x, weight, bias, **options))
    if result is None:  # which of the many reasons it was is seen to elsewhere; some reason there must be
        assert not (
            windows_fit(size, kernel, stride, padding, dilation, False)
            and groups > 0
            and outputs > 0
            and channels > 0
            and channels == inner * groups
            and outputs % groups == 0
            and (bias is None or len(bias) == outputs)
        )
        return
    reference.assert_close(result, reference.conv(x, weight, bias, **options), dtype, what="conv")
    grad = normal(result.shape, dtype, 3)
    backward = getattr(F, f"conv{rank}d_backward")(grad, x, weight, **options)
    for one, other in zip(backward, reference.conv_backward(grad, x, weight, **options), strict=True):
        reference.assert_close(one, other, dtype, what="conv_backward", scale=1.0)


@given(st.data())
def test_pooling_is_the_oracle_s_or_refused(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 3))
    size, kernel = data.draw(per_axis(rank, sizes)), data.draw(per_axis(rank, kernels))
    stride, dilation = data.draw(per_axis(rank, steps)), data.draw(per_axis(rank, steps))
    padding, ceil = data.draw(pairs(rank, st.integers(0, 3))), data.draw(st.booleans())
    lead, dtype = data.draw(st.tuples(st.integers(0, 3), st.integers(0, 3))), data.draw(st.sampled_from(FLOATS))
    if math.prod(kernel) > 10**5:
        return
    x = normal((*lead, *size), dtype)
    once = (1,) * rank
    narrow = all(2 * max(pair) <= k for pair, k in zip(padding, kernel, strict=True))
    options = {"stride": stride, "padding": padding, "ceil_mode": ceil}
    largest = answer(
        lambda: getattr(F, f"max_pool{rank}d")(x, kernel, dilation=dilation, return_indices=True, **options)
    )
    if largest is not None:
        compare(largest, True, lambda: reference.max_pool(x, kernel, dilation=dilation, **options), dtype, "max_pool")
    elif lead[1] > 0:
        assert not (windows_fit(size, kernel, stride, padding, dilation, ceil) and narrow)
    counted = data.draw(st.booleans())
    average = answer(lambda: getattr(F, f"avg_pool{rank}d")(x, kernel, count_include_pad=counted, **options))
    if average is not None:
        expected = reference.avg_pool(x, kernel, count_include_pad=counted, **options)
        reference.assert_close(average, expected, dtype, what="avg_pool")
    elif lead[1] > 0:
        assert not (windows_fit(size, kernel, stride, padding, once, ceil) and narrow)


@given(st.data())
def test_other_sizes_are_the_oracle_s_or_refused(data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, 3))
    size, out = data.draw(per_axis(rank, sizes)), data.draw(per_axis(rank, st.integers(-1, 12)))
    x = normal((2, 3, *size), data.draw(st.sampled_from(FLOATS)))
    fits = min(size) > 0 and min(out) > 0
    average = answer(lambda: getattr(F, f"adaptive_avg_pool{rank}d")(x, out))
    compare(average, fits, lambda: reference.adaptive_avg_pool(x, out), x.dtype, "adaptive_avg_pool")
    largest = answer(lambda: getattr(F, f"adaptive_max_pool{rank}d")(x, out, return_indices=True))
    compare(largest, fits, lambda: reference.adaptive_max_pool(x, out), x.dtype, "adaptive_max_pool")
    if rank == 2:
        mode, corners = data.draw(st.sampled_from([("nearest", False), ("bilinear", False), ("bilinear", True)]))
        result = answer(lambda: F.interpolate(x, size=out, mode=mode, align_corners=corners))
        compare(result, fits, lambda: reference.interpolate(x, out, mode, corners), x.dtype, "interpolate")


# Values ---------------------------------------------------------------------------------------------

values = st.lists(st.sampled_from(SPECIAL) | st.floats(width=32), max_size=40)


@given(values, st.sampled_from(FLOATS))
def test_values_that_are_not_finite_go_where_the_oracle_sends_them(numbers: list[float], dtype: Any) -> None:
    with np.errstate(all="ignore"):
        x = np.array(numbers, dtype)
        tiny = np.finfo(dtype).tiny
        for name in ("relu", "tanh", "sigmoid"):
            result, expected = getattr(F, name)(x), getattr(reference, name)(x)
            np.testing.assert_allclose(result, expected, rtol=1e-5, atol=tiny, err_msg=f"{name} of {x}")
        if x.size:
            plane = x.reshape(1, 1, -1)
            options = {"stride": (1,), "padding": ((0, 0),), "dilation": (1,), "ceil_mode": False}
            result = F.max_pool1d(plane, 1 + x.size // 3, stride=1, return_indices=True)
            expected = reference.max_pool(plane, (1 + x.size // 3,), **options)
            for one, other in zip(result, expected, strict=True):
                np.testing.assert_array_equal(one, other)
        for function, numpys in ((F.add, np.add), (F.subtract, np.subtract), (F.multiply, np.multiply)):
            np.testing.assert_array_equal(function(x, x[::-1]), numpys(x, x[::-1]))
        if x.size and np.isfinite(x).all() and np.ptp(x.astype(np.float64)) < 1e30:
            rows = F.softmax(x[None], 1)
            np.testing.assert_allclose(rows, reference.softmax(x[None], 1), rtol=1e-4, atol=tiny)


# Arrays ---------------------------------------------------------------------------------------------

DTYPES = ["f2", "f4", "f8", ">f4", ">f8", "g", "c8", "c16", "O", "i1", "i4", "i8", "u1", "u8", "?", "U3", "M8[s]", "V4"]
IMPOSSIBLE: dict[str, Any] = {  # DLPack carries no other byte order, and bytes are aligned anywhere
    ">f4": (through_dlpack, OnlyDLPack), ">f8": (through_dlpack, OnlyDLPack), "u1": (unaligned,)
}  # fmt: skip
each_call = pytest.mark.parametrize("call", [call for call in calls() if call.float_arrays], ids=repr)


def strange(x: np.ndarray, dtype: str) -> np.ndarray:
    """An array of this shape and another dtype, with the values where it can hold them."""
    if np.dtype(dtype).kind in "UMV":
        return np.zeros(x.shape, dtype)
    with np.errstate(all="ignore"):
        return x.astype(dtype)


@each_call
@given(st.data())
def test_an_array_in_the_place_of_another(call: Call, data: st.DataObject) -> None:
    """Of another dtype it is refused; of any shape it is taken or refused; how it lies in memory changes nothing."""
    name = data.draw(st.sampled_from(call.float_arrays))
    array = call.arguments[name]
    dtype = data.draw(st.sampled_from(DTYPES))
    layout = data.draw(st.sampled_from([way for way in LAYOUTS if way not in IMPOSSIBLE.get(dtype, ())]))
    if np.dtype(dtype).newbyteorder("=") not in FLOATS:
        with pytest.raises(TypeError, match=VOICE.pattern):
            call.with_(**{name: strange(array, dtype)})()
        return
    shape = data.draw(st.just(array.shape) | st.lists(st.integers(0, 6), max_size=5).map(tuple))
    changed = call.with_(**{name: np.resize(array, shape) if math.prod(shape) else np.zeros(shape, array.dtype)})
    expected = answer(changed)
    if expected is not None and shape and all(shape):
        assert_same(call.with_(**{name: layout(changed.arguments[name])})(), expected, layout.__name__)


# Layers ---------------------------------------------------------------------------------------------

LAYERS: list[Callable[[], nn.Module]] = [
    *(lambda f=f: f(3, 4, 3, stride=2, padding=1) for f in (nn.Conv1d, nn.Conv2d, nn.Conv3d)),
    *(lambda f=f: f(3, 4, 3, stride=2) for f in (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)),
    *(lambda f=f: f(2) for f in (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)),
    *(lambda f=f: f(2) for f in (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)),
    *(lambda f=f: f(2) for f in (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)),
    *(lambda f=f: f(3) for f in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)),
    nn.GlobalAvgPool, nn.GlobalMaxPool, nn.Flatten, nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Softmax, nn.Dropout, nn.Dropout2d,
    nn.Dropout3d, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Softplus, nn.Hardsigmoid, nn.Hardswish,
    nn.Hardtanh, lambda: nn.GroupNorm(1, 3), lambda: nn.LayerNorm(4), lambda: nn.LocalResponseNorm(3),
    lambda: nn.Linear(4, 3), lambda: nn.PixelShuffle(2), lambda: nn.PixelUnshuffle(2), lambda: nn.Upsample(5),
]  # fmt: skip


@pytest.mark.parametrize("make", LAYERS, ids=lambda make: type(make()).__name__)
@given(st.data())
def test_a_layer_takes_an_input_or_refuses_it(make: Callable[[], nn.Module], data: st.DataObject) -> None:
    """float32 and float64 agree, whatever lies between the array and the kernels; other dtypes are refused."""
    layer, training = make(), data.draw(st.booleans())
    usual = st.tuples(st.integers(0, 3), st.sampled_from([3, 4]), *[st.integers(0, 6)] * data.draw(st.integers(0, 3)))
    shape = data.draw(usual | st.lists(st.integers(0, 6), max_size=5).map(tuple))
    dtype = data.draw(st.sampled_from(DTYPES))
    layout = data.draw(st.sampled_from([way for way in LAYOUTS if way not in IMPOSSIBLE.get(dtype, ())]))
    x = normal(shape, np.float64)
    if np.dtype(dtype).newbyteorder("=") not in FLOATS and dtype != "u1":
        with pytest.raises(TypeError, match=VOICE.pattern):
            layer(strange(x, dtype), training=training)
        return
    given = np.clip(x * 50 + 128, 0, 255).astype("u1") if dtype == "u1" else x.astype(dtype)
    result = answer(lambda: layer(given))
    if result is None or (training and answer(lambda: layer(given, training=True)) is None):
        return
    state = layer.dtype if layer.parameters() or layer.buffers() else np.dtype("f4" if dtype == "u1" else dtype)
    assert result.dtype == state.newbyteorder("=")
    result = layer(given)
    if shape and all(shape):
        assert_same((layer(layout(given)),), (result,), layout.__name__)
    exact = layer.astype("float64")(given / 255.0 if dtype == "u1" else given.astype(np.float64))
    assert exact.shape == result.shape
    np.testing.assert_allclose(result, exact, rtol=1e-4, atol=1e-4)
