"""States of other networks: arrays find their places by name or by order, and a message says in full why not."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import functional as F
from convkit import nn
from convkit.nn.state import arranged

State = dict[str, np.ndarray]


class Net(nn.Module):
    """Two layers of equal shapes, one without parameters but with buffers, and a bare parameter."""

    def __init__(self) -> None:
        self.scale = nn.Parameter(np.ones(1, np.float32))
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3, affine=False)
        self.last = nn.Linear(3, 2)

    def forward(self, x: Any) -> Any:
        return self.last(self.norm(F.relu(self.second(self.first(x * self.scale)))))


def numbered(model: nn.Module) -> State:
    """A state of the model in which every array has a value of its own."""
    return {
        name: np.full(owned.shape, n + 1.0, np.float32) for n, (name, owned) in enumerate(model.named_state().items())
    }


def renamed(state: State, change: Callable[[str], str]) -> State:
    return {change(name): values for name, values in state.items()}


def foreign(name: str) -> str:
    layer, _, entry = name.rpartition(".")
    return f"net.{['', 'first', 'second', 'norm', 'last'].index(layer)}.{entry}"


def assert_loaded(model: nn.Module, state: State) -> None:
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, state[name], err_msg=name)


def test_layers_are_matched_in_order_whatever_their_names() -> None:
    model, state = Net(), numbered(Net())
    model.load_state_dict(renamed(state, foreign), match="order")
    assert_loaded(model, state)


def test_one_module_in_a_wrapper_is_matched_in_order() -> None:
    """As torch.compile and torch.nn.DataParallel put a word before all names."""
    model, state = Net(), numbered(Net())
    model.load_state_dict(renamed(state, lambda name: f"module.{name}"), match="order")
    assert_loaded(model, state)


@pytest.mark.parametrize("match", ["name", "order"])
def test_counts_of_batches_may_lack_and_may_be_too_many(match: str) -> None:
    model, state = Net(), numbered(Net())
    model.norm.num_batches_tracked.assign(np.array(7.0))
    del state["norm.num_batches_tracked"]
    model.load_state_dict(state, match)
    assert model.norm.num_batches_tracked.value == 7
    state["norm.num_batches_tracked"] = np.array(9)
    model.load_state_dict(state, match)
    assert model.norm.num_batches_tracked.value == 9
    state["last.num_batches_tracked"] = np.array(9)
    model.load_state_dict(state, match)


def test_a_message_lists_all_that_differs_with_shapes_and_nothing_is_loaded() -> None:
    model, state = Net(), numbered(Net())
    before = model.state_dict()
    del state["first.bias"], state["norm.running_var"]
    state |= {"extra": np.ones((2, 5)), "last.weight": np.ones((2, 4)), "scale": np.ones(())}
    with pytest.raises(ValueError) as caught:
        model.load_state_dict(state)
    assert str(caught.value) == (
        "Net.load_state_dict: state lacks first.bias (3,), norm.running_var (3,); "
        "state has extra (2, 5), which the model has not; "
        "scale must have shape (1,), not (), last.weight must have shape (2, 3), not (2, 4)"
    )
    assert_loaded(model, before)


def test_names_that_differ_alone_are_met_with_advice() -> None:
    state = renamed(numbered(Net()), foreign)
    with pytest.raises(ValueError, match="the layers have the same shapes, though: match='order' goes by these$"):
        Net().load_state_dict(state)
    state["net.4.weight"] = np.ones((2, 4))
    with pytest.raises(ValueError, match=r"lacks scale \(1,\), .* and 1 more; .*, which the model has not$"):
        Net().load_state_dict(state)


def test_layers_in_another_order_are_refused_with_both() -> None:
    model, state = Net(), renamed(numbered(Net()), foreign)
    before = model.state_dict()
    with pytest.raises(ValueError) as caught:
        model.load_state_dict(dict(reversed(state.items())), match="order")
    assert str(caught.value) == (
        "Net.load_state_dict: net.4 has bias (2,), weight (2, 3) where the top has scale (1,), "
        "net.3 has num_batches_tracked (), running_var (3,), running_mean (3,) "
        "where first has weight (3, 3), bias (3,), "
        "net.1 has bias (3,), weight (3, 3) "
        "where norm has running_mean (3,), running_var (3,), num_batches_tracked (), "
        "net.0 has scale (1,) where last has weight (2, 3), bias (2,)"
    )
    del state["net.0.scale"]
    with pytest.raises(
        ValueError, match=r"state has 4 layers \(net.1, net.2, net.3, net.4\), the model 5 \(the top, first"
    ):
        model.load_state_dict(state, match="order")
    assert_loaded(model, before)


def test_a_shared_layer_comes_under_any_of_its_names() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    state = numbered(model)
    del state["0.weight"]
    model.load_state_dict(state)
    np.testing.assert_array_equal(model[0].weight.value, state["1.weight"])


def test_other_ways_to_match_are_refused() -> None:
    with pytest.raises(ValueError, match="Net.load_state_dict: match must be 'name' or 'order', not 'shape'"):
        Net().load_state_dict({}, match="shape")


def test_a_state_without_order_is_arranged_by_shapes_and_numbers() -> None:
    model = nn.Sequential(*[nn.Linear(2, 2) for _ in range(12)], nn.Linear(2, 5), nn.Linear(5, 5))
    state = numbered(model)
    names = {f"{i}.": f"body.{i + 3}." for i in range(12)} | {"12.": "head.", "13.": "a_head."}
    shuffled = dict(
        sorted(renamed(state, lambda name: names[name[: name.index(".") + 1]] + name.split(".")[1]).items())
    )
    assert next(iter(shuffled)) == "a_head.bias"
    model.load_state_dict(arranged("f", model.named_state(), shuffled), match="order")
    assert_loaded(model, state)


def test_layers_that_could_come_in_any_order_are_refused() -> None:
    with pytest.raises(ValueError, match="^f: first, second have the same shapes, and nothing says which comes first"):
        arranged("f", Net().named_state(), numbered(Net()))


def test_states_of_the_models_own_arrays_are_exchanged() -> None:
    """What is written first must not be read afterwards, neither whole nor in part."""
    model = nn.Sequential(*[nn.Linear(2, 2, bias=False) for _ in range(3)])
    state = numbered(model)
    for arrays in ([1, 2, 0], [1, 0, 2], [0, 0, 1]):
        model.load_state_dict(state)
        model.load_state_dict({f"{i}.weight": model[j].weight.value for i, j in enumerate(arrays)})
        assert_loaded(model, {f"{i}.weight": state[f"{j}.weight"] for i, j in enumerate(arrays)})


def test_parts_of_a_training_steps_memory_are_exchanged() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    step = ck.compile_step(model, nn.MSELoss(), ck.optim.SGD(0.1))
    state = {name: np.arange(16.0).reshape(4, 4) + 100 * (name < "1") for name in model.state_dict()}
    model.load_state_dict(state)
    first = model[0].weight.data.reshape(-1)
    both = np.lib.stride_tricks.as_strided(first, (32,), first.strides)  # which lie one behind the other
    expected = both[8:24].copy().reshape(4, 4)
    model.load_state_dict({"0.weight": model[1].weight.value, "1.weight": both[8:24].reshape(4, 4)})
    assert_loaded(model, {"0.weight": state["1.weight"], "1.weight": expected})
    assert step.model is model


class Tagged(ck.Parameter):
    """A parameter that remembers more than its values."""

    def __init__(self, values: Any, tag: list[str]) -> None:
        super().__init__(values)
        self.tag = tag


COPIES = [copy.copy, copy.deepcopy, lambda owned: pickle.loads(pickle.dumps(owned))]


@pytest.mark.parametrize("copied", COPIES)
def test_a_copied_parameter_is_of_its_class_with_values_of_its_own(copied: Callable[[Any], Any]) -> None:
    parameter = Tagged([1.0, 2.0], ["a"])
    parameter.trainable = False
    twin = copied(parameter)
    assert type(twin) is Tagged
    assert twin.tag == ["a"]
    assert not twin.trainable
    twin.assign([3, 4])
    assert parameter.value.tolist() == [1, 2]
    assert twin.value.tolist() == [3, 4]


@pytest.mark.parametrize("copied", COPIES)
def test_a_copy_is_trained_apart_from_the_parameter_that_a_step_owns(copied: Callable[[Any], Any]) -> None:
    model, x, y = nn.Linear(2, 2), np.ones((3, 2), "f"), np.zeros((3, 2), "f")
    step = ck.compile_step(model, nn.MSELoss(), ck.optim.SGD(0.1))
    step(x, y)
    other = nn.Linear(2, 2)
    other.weight = copied(model.weight)
    before = other.weight.value.copy()
    step(x, y)
    np.testing.assert_array_equal(other.weight.value, before)
    ck.compile_step(other, nn.MSELoss(), ck.optim.SGD(0.1))(x, y)
    assert not np.array_equal(other.weight.value, before)


def test_a_copied_buffer_has_values_of_its_own() -> None:
    buffer = nn.Buffer([1.0])
    copy.copy(buffer).assign([2.0])
    assert buffer.value.tolist() == [1]


def test_parameters_are_no_arrays_and_a_message_says_how_to_come_by_one() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"^Linear\.load_state_dict: weight .* a parameter by its value: write \.value"):
        model.load_state_dict(model.parameters())
    with pytest.raises(TypeError, match="NumPy takes a buffer by its value"):
        np.exp(nn.Buffer([1.0]))


TOO_LARGE: list[Any] = [
    [1e300, 1.0],
    np.array([1.0, -1e39]),
    np.array([1.0, np.finfo(np.longdouble).max]),
    [2**127 * (2 - 2**-25), 0.0],  # which is rounded up to what is too large
]


@pytest.mark.parametrize("values", TOO_LARGE, ids=str)
def test_numbers_that_a_dtype_cannot_hold_are_refused_wherever_they_are_written(values: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for owned in (nn.Parameter(np.ones(2, "f")), nn.Buffer(np.ones(2, "f"))):
            with pytest.raises(
                TypeError, match=r"''\.assign: values must be of numbers that float32 can hold, up to 3.4e"
            ):
                owned.assign(values)
            assert (owned.value == 1).all()
        model = nn.Linear(2, 2)
        before = model.state_dict()
        with pytest.raises(
            TypeError, match=r"load_state_dict: bias must be of numbers that float32 can hold, up to 3.4e"
        ):
            model.load_state_dict({"weight": np.full((2, 2), 7.0), "bias": values})
        assert_loaded(model, before)


def test_numbers_that_a_dtype_can_hold_are_taken() -> None:
    for values in ([np.inf, np.nan], [3.4028234e38, -np.inf], [1e-320, 0.0], np.array([2**64 - 1, 1], np.uint64)):
        owned = nn.Parameter(np.ones(2, "f"))
        owned.assign(values)
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(owned.value, np.asarray(values).astype("f"))
    wide = nn.Parameter(np.ones(2))
    wide.assign([1e300, 1.0])
    assert wide.value[0] == 1e300


@pytest.mark.parametrize("state", [3, None, [("weight", np.ones((2, 2)))], np.ones(3)], ids=str)
def test_a_state_is_a_mapping(state: Any) -> None:
    with pytest.raises(TypeError, match=r"^Linear\.load_state_dict: state must be a mapping of names to arrays, not "):
        nn.Linear(2, 2).load_state_dict(state)


@pytest.mark.parametrize("name", [3, None, ("weight",), b"weight"], ids=str)
@pytest.mark.parametrize("match", ["name", "order"])
def test_the_names_in_a_state_are_strings(name: Any, match: str) -> None:
    model = nn.Linear(2, 2)
    before = model.state_dict()
    with pytest.raises(TypeError, match=r"^Linear\.load_state_dict: names in state must be strings, not "):
        model.load_state_dict({"weight": np.full((2, 2), 7.0), name: np.ones(2)}, match)
    assert_loaded(model, before)
