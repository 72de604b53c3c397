"""Schedules against values worked out by hand, optimisers against their formulae written out in NumPy."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from convkit import optim
from convkit._kernels import update

# --- schedules ---


def test_constant() -> None:
    assert [optim.Constant(0.3)(index) for index in (0, 1, 10**9)] == [0.3, 0.3, 0.3]


def test_step_falls_at_the_end_of_each_interval() -> None:
    schedule = optim.Step(1.0, 0.5, steps=3)
    assert [schedule(index) for index in range(8)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_step_in_epochs_falls_exactly_between_epochs() -> None:
    schedule = optim.Step(1.0, 0.1, epochs=2).bind(7)
    rates = [schedule(index) for index in range(42)]
    assert rates == [1.0] * 14 + [0.1] * 14 + [0.1**2] * 14


def test_exponential_is_smooth_and_meets_its_factor() -> None:
    schedule = optim.Exponential(2.0, 0.25, steps=4)
    assert [schedule(index) for index in (0, 2, 4, 8)] == pytest.approx([2.0, 1.0, 0.5, 0.125], rel=1e-15)


def test_cosine_begins_ends_and_stays() -> None:
    schedule = optim.Cosine(1.0, final=0.2, steps=6)
    expected = [1.0, 0.2 + 0.8 * (1 + math.cos(math.pi / 6)) / 2, 0.8, 0.6, 0.4]
    assert [schedule(index) for index in range(5)] == pytest.approx(expected, rel=1e-15)
    assert schedule(6) == schedule(100) == 0.2


def test_piecewise_follows_its_table() -> None:
    schedule = optim.Piecewise((5.0, 2.0, 1.0), epochs=(2, 3, 1)).bind(2)
    assert [schedule(index) for index in range(14)] == [5.0] * 4 + [2.0] * 6 + [1.0] * 4


def test_warm_up_rises_to_the_inner_schedule_which_runs_from_the_start() -> None:
    inner = optim.Step(1.0, 0.5, steps=3)
    schedule = optim.WarmUp(inner, steps=4)
    assert [schedule(index) for index in range(7)] == [0.25, 0.5, 0.75, 0.5, 0.5, 0.5, 0.25]


def test_warm_up_takes_a_number_and_a_function() -> None:
    assert optim.WarmUp(0.8, steps=2)(0) == 0.4
    assert optim.WarmUp(lambda index: 10.0 + index, steps=2)(5) == 15.0


def test_binding_reaches_the_schedule_within_a_warm_up() -> None:
    schedule = optim.WarmUp(optim.Cosine(1.0, epochs=2), epochs=0.5).bind(4)
    assert schedule(0) == 0.5
    assert schedule(4) == pytest.approx(0.5)
    assert schedule(8) == 0.0


def test_binding_again_replaces_the_old_length() -> None:
    schedule = optim.Step(1.0, 0.5, epochs=1).bind(10).bind(2)
    assert [schedule(index) for index in range(4)] == [1.0, 1.0, 0.5, 0.5]


def test_steps_need_no_binding_and_ignore_it() -> None:
    assert optim.Step(1.0, 0.5, steps=1).bind(100)(1) == 0.5


def test_epochs_without_binding_say_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"Cosine: .*optimizer\.bind\(steps_per_epoch\).*steps="):
        optim.Cosine(1.0, epochs=3)(0)


def boundaries(batches: int, accumulate: int, epochs: int) -> list[int]:
    """The updates about the ends of the first few intervals of so many epochs, where an epoch has so many batches."""
    ends = [-(-k * batches * epochs // accumulate) for k in (1, 2, 3, 7)]
    return sorted({max(end + step, 0) for end in ends for step in (-1, 0, 1)})


@pytest.mark.parametrize("accumulate", range(2, 9))
def test_epochs_end_at_the_update_that_exact_arithmetic_says(accumulate: int) -> None:
    """`Trainer` binds a fraction of updates; an epoch that ends with an update must not last another one."""
    wrong = []
    for batches, epochs in itertools.product(range(1, 200), range(1, 12)):
        per_epoch = batches / accumulate
        step = optim.Step(1.0, 0.5, epochs=epochs).bind(per_epoch)
        table = optim.Piecewise((4.0, 2.0, 1.0), epochs=(epochs, epochs, 1)).bind(per_epoch)
        cosine = optim.Cosine(1.0, epochs=epochs).bind(per_epoch)
        warm = optim.WarmUp(1.0, epochs=epochs).bind(per_epoch)
        for index in boundaries(batches, accumulate, epochs):
            passed = index * accumulate // (batches * epochs)
            found = step(index), table(index), cosine(index) == 0, warm(index) == 1
            ends = passed >= 1, (index + 1) * accumulate >= batches * epochs
            if found != (0.5**passed, 4 / 2 ** min(passed, 2), *ends):
                wrong.append((batches, epochs, index, found))
    assert not wrong


@pytest.mark.parametrize(
    ("schedule", "index", "rate"),
    [
        (optim.Step(1.0, 0.1, epochs=7).bind(9 / 7), 9, 0.1),
        (optim.Step(1.0, 0.5, epochs=0.1).bind(10), 3, 0.125),
        (optim.Piecewise((1.0, 0.5), epochs=(7, 1)).bind(9 / 7), 9, 0.5),
        (optim.Piecewise((1.0, 0.5, 0.25), epochs=(0.1, 0.2, 1)).bind(10), 3, 0.25),
        (optim.Exponential(1.0, 0.5, epochs=7).bind(9 / 7), 9, 0.5),
        (optim.Step(1.0, 0.5, steps=10**9), 2 * 10**9 - 1, 0.5),  # no rounding: an update before the end
        (optim.Step(1.0, 0.5, steps=1e-320), 3, 0.0),
        (optim.Step(0.0, 10.0, steps=1), 400, 0.0),
        (optim.Exponential(0.0, 10.0, steps=1), 400, 0.0),
        (optim.Step(1.0, 0.0, steps=1), 0, 1.0),
    ],
)
def test_rates_that_rounding_or_infinity_could_spoil(schedule: optim.Schedule, index: int, rate: float) -> None:
    assert schedule(index) == rate


@pytest.mark.parametrize(
    "schedule",
    [
        optim.Constant(1.0),
        optim.Step(1.0, 0.0, steps=1),
        optim.Exponential(1.0, 0.0, steps=1),
        optim.Cosine(1.0, steps=3),
        optim.Piecewise((1.0,), steps=(3,)),
        optim.WarmUp(1.0, steps=3),
        optim.WarmUp(optim.Cosine(1.0, epochs=3), epochs=3).bind(3),
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (-1, ValueError, "must be at least 0, not -1"),
        (10**400, ValueError, "must be at most"),
        (1.5, TypeError, "must be an integer, not 1.5"),
        (True, TypeError, "must be an integer, not True"),
        ("a", TypeError, "must be an integer, not 'a'"),
    ],
    ids=["negative", "huge", "fraction", "bool", "text"],
)
def test_schedules_are_asked_about_a_number_of_updates(
    schedule: optim.Schedule, index: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=rf"^{type(schedule).__name__}: index {message}"):
        schedule(index)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.Constant(-1), ValueError, r"Constant: lr must be a number >= 0, not -1"),
        (lambda: optim.Constant("fast"), TypeError, r"Constant: lr must be a number >= 0, not 'fast'"),
        (lambda: optim.Constant(math.nan), ValueError, r"lr must be .* not nan"),
        (lambda: optim.Constant(True), TypeError, r"lr must be .* not True"),
        (lambda: optim.Step(1.0), ValueError, r"Step: either steps .* or epochs must be given"),
        (lambda: optim.Step(1.0, steps=1, epochs=1), ValueError, r"not steps=1 with epochs=1"),
        (lambda: optim.Step(1.0, -0.5, steps=1), ValueError, r"Step: factor must be"),
        (lambda: optim.Exponential(-1.0, steps=1), ValueError, r"Exponential: lr must be"),
        (lambda: optim.Cosine(1.0, steps=0), ValueError, r"Cosine: steps must be a number above 0, not 0"),
        (lambda: optim.Cosine(1.0, -0.1, epochs=1), ValueError, r"Cosine: final must be"),
        (lambda: optim.Cosine(1.0, epochs=1).bind(0), ValueError, r"Cosine.bind: steps_per_epoch must be"),
        (lambda: optim.WarmUp("slow", steps=1), TypeError, r"WarmUp: schedule must be"),
        (lambda: optim.WarmUp(1.0, steps=math.inf), ValueError, r"WarmUp: steps must be"),
        (lambda: optim.Piecewise((1.0,), epochs=(1, 2)), ValueError, r"same number of entries.*not 1 and 2"),
        (lambda: optim.Piecewise((), epochs=()), ValueError, r"at least one"),
        (lambda: optim.Piecewise((1.0,), epochs=2), TypeError, r"epochs must be sequences"),
        (lambda: optim.Piecewise((1.0, -1.0), steps=(1, 1)), ValueError, r"Piecewise: rates must be"),
        (lambda: optim.Piecewise((1.0,), steps=(0,)), ValueError, r"Piecewise: steps must be"),
    ],
)
def test_schedules_refuse_bad_values(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


# --- optimisers ---


def sgd_reference(momentum: float, nesterov: bool) -> Any:
    def update(values, grads, state, lr, decay, count):  # type: ignore[no-untyped-def]
        grads = grads + decay * values
        velocity = momentum * state.get("velocity", 0.0) + grads
        state["velocity"] = velocity
        return values - lr * (grads + momentum * velocity if nesterov else velocity)

    return update


def adam_reference(beta1: float, beta2: float, eps: float, decoupled: bool) -> Any:
    def update(values, grads, state, lr, decay, count):  # type: ignore[no-untyped-def]
        if decoupled:
            values = values - lr * decay * values
        else:
            grads = grads + decay * values
        state["m"] = beta1 * state.get("m", 0.0) + (1 - beta1) * grads
        state["v"] = beta2 * state.get("v", 0.0) + (1 - beta2) * grads**2
        mean, square = state["m"] / (1 - beta1**count), state["v"] / (1 - beta2**count)
        return values - lr * mean / (np.sqrt(square) + eps)

    return update


def rmsprop_reference(alpha: float, eps: float, momentum: float, centered: bool) -> Any:
    def update(values, grads, state, lr, decay, count):  # type: ignore[no-untyped-def]
        grads = grads + decay * values
        state["square"] = alpha * state.get("square", 0.0) + (1 - alpha) * grads**2
        state["mean"] = alpha * state.get("mean", 0.0) + (1 - alpha) * grads
        spread = state["square"] - state["mean"] ** 2 if centered else state["square"]
        state["velocity"] = momentum * state.get("velocity", 0.0) + grads / (np.sqrt(spread) + eps)
        return values - lr * state["velocity"]

    return update


CASES = {
    "sgd": (optim.SGD(0.1), sgd_reference(0.0, False)),
    "sgd, decay": (optim.SGD(0.1, weight_decay=0.02), sgd_reference(0.0, False)),
    "momentum": (optim.SGD(0.1, momentum=0.9, weight_decay=0.02), sgd_reference(0.9, False)),
    "nesterov": (optim.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.02), sgd_reference(0.9, True)),
    "adam": (optim.Adam(0.01), adam_reference(0.9, 0.999, 1e-8, False)),
    "adam, all": (
        optim.Adam(0.01, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
        adam_reference(0.8, 0.95, 1e-3, False),
    ),
    "rmsprop": (optim.RMSprop(0.01), rmsprop_reference(0.99, 1e-8, 0.0, False)),
    "rmsprop, all": (
        optim.RMSprop(0.01, 0.9, 1e-2, 0.8, True, weight_decay=0.1),
        rmsprop_reference(0.9, 1e-2, 0.8, True),
    ),
    "adamw": (optim.AdamW(0.01, weight_decay=0.1), adam_reference(0.9, 0.999, 1e-8, True)),
}


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 1e-5)])
@pytest.mark.parametrize("case", CASES)
def test_updates_follow_their_formula(case: str, dtype: Any, tolerance: float) -> None:
    optimizer, reference = CASES[case]
    rng = np.random.default_rng(3)
    values = rng.standard_normal(1001).astype(dtype)  # not a multiple of any vector's width
    slots = {name: np.zeros_like(values) for name in optimizer.slots}
    expected, state = values.astype(np.float64), {}
    for count in range(1, 6):
        grads = rng.standard_normal(values.shape).astype(dtype)
        before = grads.copy()
        rate = optimizer.rate(count) / count  # another rate each time
        decay = optimizer.weight_decay
        optimizer.update(values, grads, slots, lr=rate, weight_decay=decay, count=count)
        expected = reference(expected, grads.astype(np.float64), state, rate, decay, count)
        np.testing.assert_array_equal(grads, before)
    np.testing.assert_allclose(values, expected, rtol=tolerance, atol=tolerance)
    for name in optimizer.slots:
        np.testing.assert_allclose(slots[name], state[name], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-14), (np.float32, 1e-6)])
@pytest.mark.parametrize("size", [1, 1001, 100_000])
def test_gradients_are_measured_and_scaled(size: int, dtype: Any, tolerance: float, threaded: Any) -> None:
    grads = np.random.default_rng(4).standard_normal(size).astype(dtype)
    squares = threaded(lambda: np.array(update.sum_of_squares(grads)))
    np.testing.assert_allclose(squares, math.fsum(grads.astype(np.float64) ** 2), rtol=tolerance)

    def scaled() -> np.ndarray:
        values = grads.copy()
        update.scale(values, 0.3)
        return values

    np.testing.assert_allclose(threaded(scaled), grads * 0.3, rtol=tolerance)


def test_slots_are_only_those_needed() -> None:
    assert optim.SGD(0.1).slots == ()
    assert optim.SGD(0.1, momentum=0.5).slots == ("velocity",)
    assert optim.Adam().slots == ("m", "v")
    assert optim.RMSprop().slots == ("square",)
    assert optim.RMSprop(momentum=0.5, centered=True).slots == ("square", "mean", "velocity")


def test_rate_is_of_the_next_update() -> None:
    optimizer = optim.SGD(optim.Step(1.0, 0.5, steps=2))
    assert [optimizer.rate(index) for index in range(5)] == [1.0, 1.0, 0.5, 0.5, 0.25]


def test_a_plain_function_is_a_schedule() -> None:
    optimizer = optim.Adam(lambda index: 1 / (1 + index))
    optimizer.bind(10)
    assert [optimizer.rate(index) for index in (0, 1, 3)] == [1.0, 0.5, 0.25]


def test_a_schedule_that_returns_nonsense_is_refused_with_its_place() -> None:
    optimizer = optim.SGD(lambda index: 1.0 - index)
    assert optimizer.rate(1) == 0.0
    with pytest.raises(ValueError, match=r"SGD: the schedule's rate after 2 updates must be a number >= 0, not -1"):
        optimizer.rate(2)


def test_binding_an_optimizer_binds_its_schedule() -> None:
    optimizer = optim.SGD(optim.Step(1.0, 0.5, epochs=1))
    optimizer.bind(2)
    assert [optimizer.rate(index) for index in range(3)] == [1.0, 1.0, 0.5]


def test_groups_scale_the_rate_and_replace_the_decay() -> None:
    groups = [
        optim.ParamGroup("*.bias", weight_decay=0.0),
        optim.ParamGroup(lambda name: name.startswith("head"), lr_scale=10.0),
        optim.ParamGroup("head.weight", lr_scale=99.0),  # the group before already has it
    ]
    optimizer = optim.SGD(0.1, weight_decay=0.5, groups=groups)
    assert optimizer.settings("conv.weight") == (1.0, 0.5)
    assert optimizer.settings("conv.bias") == (1.0, 0.0)
    assert optimizer.settings("head.weight") == (10.0, 0.5)
    assert optimizer.settings("head.bias") == (1.0, 0.0)


def test_a_group_without_parameters_is_a_slip() -> None:
    optimizer = optim.Adam(groups=[optim.ParamGroup("*.biass")])
    with pytest.raises(ValueError, match=r"Adam: .*biass.* matches no parameter; the model has a.weight, a.bias"):
        optimizer.check_groups(["a.weight", "a.bias"])
    optimizer.check_groups(["a.biass"])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.SGD(-0.1), ValueError, r"SGD: lr must be a number >= 0, not -0.1"),
        (lambda: optim.SGD(None), TypeError, r"SGD: lr must be a number >= 0, not None"),
        (
            lambda: optim.SGD(0.1, momentum=1.0),
            ValueError,
            r"SGD: momentum must be a number in \[0, 1\), not 1.0",
        ),
        (lambda: optim.SGD(0.1, nesterov=True), ValueError, r"SGD: momentum must be above 0 with nesterov"),
        (lambda: optim.SGD(0.1, weight_decay=-1), ValueError, r"SGD: weight_decay must be"),
        (lambda: optim.Adam(betas=(0.9, 1.0)), ValueError, r"Adam: betas\[1\] must be a number in \[0, 1\)"),
        (lambda: optim.Adam(betas=0.9), TypeError, r"Adam: betas must be two numbers, not 0.9"),
        (lambda: optim.AdamW(eps=0), ValueError, r"AdamW: eps must be a number above 0, not 0"),
        (lambda: optim.Adam(groups=["*.bias"]), TypeError, r"Adam: groups must be ParamGroup objects"),
        (lambda: optim.ParamGroup(3), TypeError, r"ParamGroup: match must be a pattern or a function"),
        (lambda: optim.ParamGroup("*", lr_scale=-1), ValueError, r"ParamGroup: lr_scale must be"),
        (lambda: optim.ParamGroup("*", weight_decay=-1), ValueError, r"ParamGroup: weight_decay must be"),
    ],
)
def test_optimizers_refuse_bad_values(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def unaligned(count: int) -> np.ndarray:
    return np.zeros(4 * count + 1, np.uint8)[1:].view(np.float32)


RULES = [
    optim.SGD(0.1),
    optim.SGD(0.1, momentum=0.9),
    optim.Adam(),
    optim.AdamW(),
    optim.RMSprop(momentum=0.9, centered=True),
]
REFUSED_UPDATES: list[tuple[str, Any, type[Exception], str]] = [
    ("values", [1.0, 2.0, 3.0], TypeError, "values must be a float32 or float64 array, not list"),
    ("values", np.zeros(3, int), TypeError, "values must be a float32 or float64 array, not int64"),
    ("values", np.zeros(3, ">f4"), TypeError, "values must be a float32 or float64 array, not >f4"),
    ("values", np.zeros(6, "f")[::2], ValueError, "values must be contiguous and aligned"),
    ("values", unaligned(3), ValueError, "values must be contiguous and aligned"),
    ("values", read_only(np.zeros(3, "f")), ValueError, "values must be writeable"),
    ("grads", None, TypeError, "grads must be a float32 array as values are, not NoneType"),
    ("grads", np.zeros(3), TypeError, "grads must be a float32 array as values are, not float64"),
    ("grads", np.zeros(3, ">f4"), TypeError, "grads must be a float32 array as values are, not >f4"),
    ("grads", np.zeros(4, "f")[:2], ValueError, r"grads must have shape \(3,\), not \(2,\)"),
    ("grads", np.zeros((3, 1), "f"), ValueError, r"grads must have shape \(3,\), not \(3, 1\)"),
    ("grads", np.zeros(6, "f")[::2], ValueError, "grads must be contiguous and aligned"),
    ("grads", unaligned(3), ValueError, "grads must be contiguous and aligned"),
    ("count", 0, ValueError, "count must be at least 1, not 0"),
    ("count", 1.0, TypeError, "count must be an integer, not 1.0"),
    ("count", 2**63, ValueError, "count must be at most"),
    ("lr", "a", TypeError, "lr must be a number, not 'a'"),
    ("lr", 10**400, ValueError, "lr must be a number"),
    ("weight_decay", None, TypeError, "weight_decay must be a number, not None"),
    ("slots", None, TypeError, "slots must be a dict of arrays, not None"),
]
REFUSED_SLOTS: list[tuple[Any, type[Exception], str]] = [
    (None, TypeError, "must be a float32 array as values are, not NoneType"),
    (np.zeros(3), TypeError, "must be a float32 array as values are, not float64"),
    (np.zeros(4, "f")[:1], ValueError, r"must have shape \(3,\), not \(1,\)"),
    (np.zeros(6, "f")[::2], ValueError, "must be contiguous and aligned"),
    (read_only(np.zeros(3, "f")), ValueError, "must be writeable"),
]


def updated(rule: optim.Optimizer, some_slots: dict[str, Any] | None = None, **changes: Any) -> None:
    """One update of three float32 values, with some arguments in place of those that fit."""
    arguments: dict[str, Any] = {"values": np.zeros(3, "f"), "grads": np.ones(3, "f")}
    arguments["slots"] = {name: np.zeros(3, "f") for name in rule.slots} | (some_slots or {})
    rule.update(**(arguments | {"lr": 0.1, "weight_decay": 0.0, "count": 1} | changes))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{type(rule).__name__} {rule.slots}")
def test_updates_refuse_what_kernels_would_trust(rule: optim.Optimizer) -> None:
    """They write to memory as far as the values reach, whatever they are given."""
    name = type(rule).__name__
    for argument, value, error, message in REFUSED_UPDATES:
        with pytest.raises(error, match=rf"^{name}\.update: {message}"):
            updated(rule, **{argument: value})
    for slot in rule.slots:
        for value, error, message in REFUSED_SLOTS:
            with pytest.raises(error, match=rf"^{name}\.update: slots\['{slot}'\] {message}"):
                updated(rule, {slot: value})
        others = {other: np.zeros(3, "f") for other in rule.slots if other != slot}
        with pytest.raises(ValueError, match=rf"^{name}\.update: slots must have {slot}, not only "):
            updated(rule, slots=others)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{type(rule).__name__} {rule.slots}")
def test_updates_take_what_is_alike(rule: optim.Optimizer) -> None:
    updated(rule, {"another": np.zeros(1)})  # the training step keeps averages there
    updated(rule, grads=read_only(np.ones(3, "f")), lr=np.float32(0.1), weight_decay=0, count=np.int64(1))
    arrays = [np.ones((2, 3)) for _ in range(2 + len(rule.slots))]
    updated(rule, dict(zip(rule.slots, arrays[2:], strict=True)), values=arrays[0], grads=arrays[1])
    assert (arrays[0] < 1).all() and (arrays[1] == 1).all()


@pytest.mark.parametrize("rule", [optim.SGD(0.1), optim.RMSprop()], ids=repr)
def test_slots_that_a_rule_does_not_keep_are_left_alone(rule: optim.Optimizer) -> None:
    others = {"velocity": np.zeros(8)[:1], "mean": np.zeros(8)[:1]}
    updated(rule, others)
    assert all((array == 0).all() for array in others.values())


def test_a_rule_of_ones_own_is_one_method() -> None:
    class SignSGD(optim.Optimizer):
        slots = ("average",)

        def update(self, values, grads, slots, *, lr, weight_decay, count):  # type: ignore[no-untyped-def]
            average = slots["average"]
            average += 0.1 * (grads - average)
            values -= lr * (np.sign(average) + weight_decay * values)

    values, slots = np.array([1.0, -1.0]), {"average": np.zeros(2)}
    rule = SignSGD(0.5)
    rule.update(values, np.array([3.0, -2.0]), slots, lr=rule.rate(0), weight_decay=0.0, count=1)
    np.testing.assert_array_equal(values, [0.5, -0.5])


def test_the_base_class_alone_is_no_rule() -> None:
    with pytest.raises(TypeError, match="abstract"):
        optim.Optimizer(0.1)  # type: ignore[abstract]
