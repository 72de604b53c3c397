"""Whatever takes arrays takes those of other libraries: models, steps, gradients, training data, states."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import data, errors, nn, optim, train
from convkit import functional as F
from other_arrays import OTHERS, Guarded, OnAnotherDevice, OnlyArray, Ragged

RNG = np.random.default_rng(4)
IMAGES = RNG.integers(0, 256, (12, 1, 6, 6), dtype=np.uint8)
FLOATS = RNG.standard_normal((12, 1, 6, 6)).astype(np.float32)
LABELS = RNG.integers(0, 3, 12)

each_other = pytest.mark.parametrize("other", OTHERS, ids=lambda other: other.__name__)
each_input = pytest.mark.parametrize("x", [IMAGES, FLOATS], ids=lambda x: x.dtype.name)


def make_model() -> nn.Sequential:
    ck.set_seed(2)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


@each_other
def test_what_has_memory_is_not_copied(other: Any) -> None:
    assert np.shares_memory(errors.view("f", "x", other(FLOATS)), FLOATS)
    assert np.shares_memory(errors.array("f", "x", other(FLOATS)), FLOATS)
    read_only = FLOATS.copy()
    read_only.flags.writeable = False
    assert np.shares_memory(errors.view("f", "x", other(read_only)), read_only)


def test_lists_and_typed_arrays_are_taken() -> None:
    np.testing.assert_array_equal(F.relu([-1.0, 2.0]), [0, 2])
    assert F.relu(array("f", [-1, 2])).dtype == np.float32
    with pytest.raises(TypeError, match=r"^relu: x must be a float32 or float64 array, not int64$"):
        F.relu([1, 2])


@each_other
@each_input
def test_a_model_takes_it_and_returns_arrays_of_numpy(other: Any, x: np.ndarray) -> None:
    model = make_model()
    expected = model(x)
    y = model(other(x))
    assert type(y) is np.ndarray
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(model(other(x), training=True), expected)


@each_other
@each_input
def test_gradients_and_steps_take_it(other: Any, x: np.ndarray) -> None:
    evaluate = ck.value_and_grad(make_model(), nn.CrossEntropyLoss(), inputs=True)
    for a, b in zip(evaluate(other(x), other(LABELS)), evaluate(x, LABELS), strict=True):
        np.testing.assert_equal(a, b)
    one, two = (ck.compile_step(make_model(), nn.CrossEntropyLoss(), optim.SGD(0.1)) for _ in range(2))
    assert [one(other(x), other(LABELS)) for _ in range(3)] == [two(x, LABELS) for _ in range(3)]


def fitted(source: Any) -> ck.Trainer:
    trainer = ck.Trainer(make_model(), nn.CrossEntropyLoss(), optim.SGD(0.1), metrics=["accuracy"])
    trainer.fit(source, epochs=2, batch_size=5, seed=0, verbose=0)
    return trainer


@each_other
@each_input
def test_the_trainer_takes_it(other: Any, x: np.ndarray) -> None:
    expected = fitted((x, LABELS))
    trainer = fitted((other(x), other(LABELS)))
    assert trainer.history["loss"] == expected.history["loss"]
    assert trainer.evaluate((other(x), other(LABELS))) == expected.evaluate((x, LABELS))
    np.testing.assert_array_equal(trainer.predict(other(x)), expected.predict(x))
    batches = [(x[:7], LABELS[:7]), (x[7:], LABELS[7:])]
    ours, theirs = fitted(batches), fitted([[other(part) for part in batch] for batch in batches])
    assert theirs.history["loss"] == ours.history["loss"]


def test_metrics_see_arrays_of_numpy() -> None:
    seen = []

    def metric(outputs: Any, labels: Any) -> float:
        seen.append((type(outputs), type(labels)))
        return 0.0

    trainer = ck.Trainer(make_model(), nn.CrossEntropyLoss(), optim.SGD(0.1), metrics=[metric])
    batches = [(OnlyArray(FLOATS), OnlyArray(LABELS))]
    trainer.fit(batches, validation=batches, epochs=1, verbose=0)
    assert set(seen) == {(np.ndarray, np.ndarray)}


@each_other
def test_data_sets_losses_metrics_and_states_take_it(other: Any) -> None:
    dataset = data.Dataset(other(IMAGES), other(LABELS), classes=["a", "b", "c"])
    assert np.shares_memory(dataset.images, IMAGES)
    weight = np.float32([1, 2, 3])
    logits = RNG.standard_normal((12, 3)).astype(np.float32)
    assert nn.CrossEntropyLoss(weight=other(weight))(logits, LABELS) == F.cross_entropy(logits, LABELS, weight=weight)
    np.testing.assert_array_equal(train.Accuracy()(logits, other(LABELS)), logits.argmax(1) == LABELS)
    grad = np.array(2, np.float32)
    np.testing.assert_array_equal(
        F.cross_entropy_backward(logits, LABELS, grad_output=other(grad)),
        F.cross_entropy_backward(logits, LABELS, grad_output=2.0),
    )
    model, state = make_model(), {name: values + 1 for name, values in make_model().state_dict().items()}
    model.load_state_dict({name: other(values) for name, values in state.items()})
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, state[name])
    model[0].bias.assign(other(np.zeros(4)))
    assert not model[0].bias.value.any()


@each_other
def test_running_moments_are_written_where_they_lie(other: Any) -> None:
    moments, expected = [(np.zeros(1, np.float32), np.ones(1, np.float32)) for _ in range(2)]
    F.batch_norm(FLOATS, *expected, training=True)
    given = [other(moment) for moment in moments]
    # Of what hands out an array nobody knows whether it is a copy, and DLPack may only let NumPy read.
    if other is OnlyArray or not errors.view("f", "x", given[0]).flags.writeable:
        with pytest.raises(TypeError, match="running_mean is overwritten while training: it must be a writeable"):
            F.batch_norm(FLOATS, *given, training=True)
    else:
        F.batch_norm(FLOATS, *given, training=True)
        np.testing.assert_array_equal(moments, expected)
    with pytest.raises(TypeError, match="running_mean is overwritten while training: it must be a writeable"):
        F.batch_norm(FLOATS, [0.0], [1.0], training=True)


def test_an_array_without_masked_values_is_one_like_others() -> None:
    unmasked = np.ma.masked_array(FLOATS)
    assert np.shares_memory(errors.view("f", "x", unmasked), FLOATS)
    np.testing.assert_array_equal(make_model()(np.ma.masked_array(FLOATS, FLOATS > 9)), make_model()(FLOATS))
    with pytest.raises(TypeError, match="^relu: x must be a float32 or float64 array, not "):
        F.relu(np.ma.masked_array([(1, 2.0)], [(True, False)], "i4, f4"))  # of records


def refusals() -> list[Any]:
    step = ck.compile_step(make_model(), nn.CrossEntropyLoss(), optim.SGD(0.1))
    trainer = ck.Trainer(make_model(), nn.CrossEntropyLoss(), optim.SGD(0.1))
    return [
        ("relu: x", F.relu),
        ("Sequential: inputs", make_model()),
        ("value_and_grad: inputs", lambda x: ck.value_and_grad(make_model(), F.cross_entropy)(x, LABELS)),
        ("step: targets", lambda x: step(FLOATS, x)),
        ("cross_entropy: labels", lambda x: F.cross_entropy(np.zeros((2, 3)), x)),
        ("max_unpool2d: indices", lambda x: F.max_unpool2d(FLOATS, x, 2)),
        (r"Batches: data\[1\]", lambda x: trainer.fit((FLOATS, x), epochs=1, verbose=0)),
        ("fit: targets", lambda x: trainer.fit([(FLOATS, x)], epochs=1, verbose=0)),
        ("predict: x", trainer.predict),
        ("Dataset: images", lambda x: data.Dataset(x, LABELS, classes=["a"])),
        ("Sequential.load_state_dict: 0.weight", lambda x: make_model().load_state_dict({"0.weight": x})),
        ("Parameter '.*'.assign: values", lambda x: make_model()[0].weight.assign(x)),
    ]  # fmt: skip


@pytest.mark.parametrize(("where", "call"), refusals(), ids=lambda value: value if isinstance(value, str) else "")
def test_what_will_not_become_an_array_is_refused_by_name(where: str, call: Any) -> None:
    masked = np.ma.masked_array(np.ones(12), np.arange(12) == 3)
    with pytest.raises(ValueError, match=rf"^{where} must be an array without masked values; fill them, as by filled"):
        call(masked)
    for value, kind, reason in [
        (Guarded(), TypeError, "it records gradients: detach it first"),
        (OnAnotherDevice(), TypeError, ".*device"),
        (Ragged(), ValueError, "its rows have lengths of their own"),
    ]:
        came = type(value).__name__
        with pytest.raises(kind, match=rf"^{where} must be what NumPy can read, but this {came} is not: {reason}"):
            call(value)
