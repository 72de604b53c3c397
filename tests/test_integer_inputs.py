"""Labels and indices: integers of any type count, anything else is refused by name, and nothing wraps around."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import functional as F
from convkit import nn
from convkit.train.metrics import Accuracy
from functional_calls import Call, calls

INTEGERS = ["i1", "i2", "i4", "i8", ">i4", ">i8", "u1", "u2", "u8", ">u8"]
OTHERS = ["?", "f4", "f8", "c16", "O", "U3", "m8[s]"]

each_call = pytest.mark.parametrize("call", [call for call in calls() if call.integer_arrays], ids=repr)
ranks = pytest.mark.parametrize("rank", [1, 2, 3])


# In functions ---------------------------------------------------------------------------------------


@each_call
@pytest.mark.parametrize("dtype", INTEGERS)
def test_every_integer_type_gives_the_same(call: Call, dtype: str) -> None:
    for name in call.integer_arrays:
        values = call.arguments[name] % 100  # which an int8 can hold
        usual, other = call.with_(**{name: values})(), call.with_(**{name: values.astype(dtype)})()
        for one, two in zip(usual, other, strict=True):
            np.testing.assert_array_equal(one, two)


@each_call
@pytest.mark.parametrize("dtype", OTHERS)
def test_other_types_are_refused_by_name(call: Call, dtype: str) -> None:
    for name in call.integer_arrays:
        with pytest.raises((TypeError, ValueError), match=f"^{call.name}: .*{name}"):
            call.with_(**{name: call.arguments[name].astype(dtype)})()


@each_call
@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
def test_what_int64_cannot_hold_does_not_wrap_around(call: Call, value: int) -> None:
    """2**64 - 1 as an int64 is -1: a label that may be ignored."""
    for name in call.integer_arrays:
        array = call.arguments[name].astype(np.uint64)
        array.flat[-1] = value
        for ignored in ({"ignore_index": -1}, {}) if name == "labels" else ({},):
            with pytest.raises(ValueError, match=f"^{call.name}: {name} must be at most {2**63 - 1}, not {value}$"):
                call.with_(**{name: array}, **ignored)()


def test_labels_that_would_wrap_around_are_refused_in_training_too() -> None:
    model, labels = nn.Linear(3, 4), np.array([0, 2**64 - 1], np.uint64)
    loss, x = nn.CrossEntropyLoss(ignore_index=-1), np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match=f"^value_and_grad: targets must be at most {2**63 - 1}, not {2**64 - 1}"):
        ck.value_and_grad(model, loss)(x, labels)
    with pytest.raises(ValueError, match="^accuracy: labels must be at most"):
        Accuracy()(np.ones((2, 4)), labels)
    with pytest.raises(ValueError, match="^cross_entropy: labels must be at most"):
        loss(np.ones((2, 4), np.float32), labels)


# In layers ------------------------------------------------------------------------------------------


def pooled(rank: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(rank).standard_normal((2, 3, *(6, 4, 4)[:rank])).astype(np.float32)
    return getattr(F, f"max_pool{rank}d")(x, 2, return_indices=True)


@ranks
@pytest.mark.parametrize("dtype", INTEGERS)
def test_max_unpooling_is_a_layer_of_arrays(rank: int, dtype: str) -> None:
    y, indices = pooled(rank)
    layer = getattr(nn, f"MaxUnpool{rank}d")(2)
    expected = getattr(F, f"max_unpool{rank}d")(y, indices, 2)
    once = layer(y, indices.astype(dtype))
    assert once.dtype == np.float32
    np.testing.assert_array_equal(once, expected)
    np.testing.assert_array_equal(layer(y, indices.astype(dtype), training=True), expected)


@ranks
def test_max_unpooling_to_a_size_given(rank: int) -> None:
    y, indices = pooled(rank)
    size = (9, 5, 5)[:rank]
    expected = getattr(F, f"max_unpool{rank}d")(y, indices, 2, output_size=size)
    np.testing.assert_array_equal(getattr(nn, f"MaxUnpool{rank}d")(2)(y, indices, size), expected)


@ranks
@pytest.mark.parametrize("dtype", OTHERS)
def test_a_layer_refuses_other_indices_by_name(rank: int, dtype: str) -> None:
    y, indices = pooled(rank)
    with pytest.raises(
        TypeError, match=rf"^MaxUnpool{rank}d: inputs\[1\] must be integers, not {re.escape(str(np.dtype(dtype)))}"
    ):
        getattr(nn, f"MaxUnpool{rank}d")(2)(y, indices.astype(dtype))
    with pytest.raises(ValueError, match=rf"^MaxUnpool{rank}d: inputs\[1\] must be at most"):
        getattr(nn, f"MaxUnpool{rank}d")(2)(y, np.full(indices.shape, 2**63, np.uint64))
    with pytest.raises(ValueError, match=rf"^max_unpool{rank}d: indices must have shape"):
        getattr(nn, f"MaxUnpool{rank}d")(2)(y, indices[:1])


class Decoder(nn.Module):
    """Unpooling within a model, which is called with the indices."""

    def __init__(self) -> None:
        self.unpool, self.conv = nn.MaxUnpool2d(2), nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: Any, indices: Any) -> Any:
        return self.conv(self.unpool(x, indices))


class TakingIntegers(Decoder):
    integer_inputs = (1,)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_a_model_says_which_of_its_inputs_are_integers(dtype: str) -> None:
    (y, indices), model = pooled(2), TakingIntegers()
    expected = F.conv2d(F.max_unpool2d(y, indices, 2), model.conv.weight.value, model.conv.bias.value, padding=1)
    np.testing.assert_allclose(model(y, indices.astype(dtype)), expected, rtol=1e-5, atol=1e-6)
    target = np.zeros((2, 2, 6, 4), np.float32)
    loss, _, (grad_x, _) = ck.value_and_grad(model, nn.MSELoss(), inputs=True)((y, indices.astype(dtype)), target)
    assert loss == pytest.approx(np.square(expected).mean(), rel=1e-5)
    assert grad_x.any()
    step = ck.compile_step(model, nn.MSELoss(), ck.optim.SGD(0.1))
    assert step((y, indices.astype(dtype)), target) == pytest.approx(loss, rel=1e-5)


def test_a_model_that_does_not_say_so_refuses_integers() -> None:
    (y, indices), model = pooled(2), Decoder()
    message = "inputs must be float32, float64 or uint8 images, not int64"
    with pytest.raises(TypeError, match=f"^Decoder: {message}"):
        model(y, indices)
    with pytest.raises(TypeError, match=f"^value_and_grad: {message}"):
        ck.value_and_grad(model, nn.MSELoss())((y, indices), y)
    with pytest.raises(TypeError, match="^max_unpool2d: indices must be an integer array, not float32"):
        model(y, indices.astype(np.float32))


def test_integers_where_a_function_computes_are_refused_by_name() -> None:
    class Mistaken(nn.Module):
        integer_inputs = (0,)

        def forward(self, x: Any) -> Any:
            return F.relu(x)

    with pytest.raises(TypeError, match=re.escape("relu: x must be float32 or float64, not int64")):
        Mistaken()(np.arange(3))


def test_losses_take_what_numpy_can_read() -> None:
    assert nn.CrossEntropyLoss()([[1.0, 2.0], [3.0, 1.0]], [1, 0]).dtype == np.float64
    with pytest.raises(
        TypeError, match=r"^CrossEntropyLoss: logits must be what NumPy can read|^cross_entropy: logits"
    ):
        nn.CrossEntropyLoss()(None, [1])
