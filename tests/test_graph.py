"""The graph and its plans: gradients through any network, memory shared safely, steps that follow the rules."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import tracemalloc
import weakref
from dataclasses import dataclass

import numpy as np
import pytest

import convkit as ck
from convkit import functional as F
from convkit import nn, optim
from convkit.graph.memory import assign_blocks, lay_out
from convkit.graph.symbols import Graph
from convkit.graph.trace import trace
from convkit.ops.base import Spec
from convkit.parameter import structure
from interpreter import FREE_THREADED


def gradient_error(model: nn.Module, loss_fn, x: np.ndarray, *targets: np.ndarray) -> float:
    """Largest difference between a parameter's or input's gradient and central differences, relative to its scale."""
    rng = np.random.default_rng(5)
    _, grads, grad_x = ck.value_and_grad(model, loss_fn, inputs=True)(x, *targets)
    loss = ck.value_and_grad(model, loss_fn)
    step, worst = 1e-6, 0.0
    for name, parameter in model.parameters().items():
        start, direction = parameter.value.copy(), rng.normal(size=parameter.shape)
        values = []
        for sign in (1, -1):
            parameter.assign(start + sign * step * direction)
            values.append(loss(x, *targets)[0])
        parameter.assign(start)
        expected = float((grads[name] * direction).sum())
        worst = max(worst, abs((values[0] - values[1]) / (2 * step) - expected) / (abs(expected) + 1e-3))
    direction = rng.normal(size=x.shape)
    values = [loss(x + sign * step * direction, *targets)[0] for sign in (1, -1)]
    expected = float((grad_x * direction).sum())
    return max(worst, abs((values[0] - values[1]) / (2 * step) - expected) / (abs(expected) + 1e-3))


class Residual(nn.Module):
    """y = relu(x + conv(relu(conv(x)))), with one convolution used twice."""

    def __init__(self) -> None:
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return F.relu(x + self.conv(F.relu(self.conv(x))))


class Inception(nn.Module):
    """Branches concatenated along the channels."""

    def __init__(self) -> None:
        self.one = nn.Conv2d(3, 2, 1)
        self.three = nn.Conv2d(3, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(3, 1, padding=1)

    def forward(self, x):
        return F.concat([F.tanh(self.one(x)), F.relu(self.three(x)), self.pool(x), x])


class Highway(nn.Module):
    """y = T(x) · H(x) + (1 - T(x)) · x."""

    def __init__(self) -> None:
        self.transform = nn.Conv2d(3, 3, 3, padding=1)
        self.gate = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        gate = F.sigmoid(self.gate(x))
        return gate * F.tanh(self.transform(x)) + (1.0 - gate) * x


class Upscale(nn.Module):
    """Transposed convolution, padding, average pooling, a scale broadcast over all places."""

    def __init__(self) -> None:
        self.up = nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1)
        self.scale = nn.Parameter(np.linspace(0.5, 2, 4, dtype=np.float32).reshape(4, 1, 1))

    def forward(self, x):
        return F.avg_pool2d(F.pad(F.relu(self.up(x)), 1), 3, 2) * self.scale - 0.25


class Head(nn.Module):
    def __init__(self, body: nn.Module, features: int) -> None:
        self.body = body
        self.dense = nn.Linear(features, 5)

    def forward(self, x):
        return self.dense(F.flatten(self.body(x)))


NETWORKS = {
    "residual": lambda: Head(Residual(), 3 * 36),
    "inception": lambda: Head(Inception(), 12 * 36),
    "highway": lambda: Head(Highway(), 3 * 36),
    "upscale": lambda: Head(Upscale(), 4 * 36),
    "rectified pooling": lambda: Head(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)), 4 * 9),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("batch", [1, 3])
def test_gradients_agree_with_finite_differences(name: str, batch: int) -> None:
    ck.set_seed(1)  # of some weights an activation lies at its kink: of two in 1,500
    rng = np.random.default_rng(1)
    model = NETWORKS[name]().astype("float64")
    x, labels = rng.normal(size=(batch, 3, 6, 6)), rng.integers(0, 5, batch)
    assert gradient_error(model, nn.CrossEntropyLoss(label_smoothing=0.1), x, labels) < 1e-5


def test_a_matrix_product_written_with_operators_has_right_gradients() -> None:
    class Bilinear(nn.Module):
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            self.a, self.b = nn.Parameter(rng.normal(size=(4, 3))), nn.Parameter(rng.normal(size=(3, 2)))

        def forward(self, x):
            return -(x @ self.a @ self.b).reshape(-1) * 2.0

    x = np.random.default_rng(1).normal(size=(5, 4))
    target = np.random.default_rng(2).normal(size=10)
    model = Bilinear()
    np.testing.assert_allclose(model(x), -2 * (x @ model.a.value @ model.b.value).reshape(-1), rtol=1e-12)
    assert gradient_error(model, nn.MSELoss(), x, target) < 1e-6


def test_a_parameter_used_in_two_places_adds_its_gradients_up() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            self.first = nn.Linear(4, 4)
            self.second = nn.Linear(4, 4)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(F.tanh(self.first(x)))

    model = Twice().astype("float64")
    assert list(model.parameters()) == ["first.weight", "first.bias", "second.bias"]
    x = np.random.default_rng(0).normal(size=(3, 4))
    assert gradient_error(model, nn.CrossEntropyLoss(), x, np.array([0, 1, 2])) < 1e-6


def test_a_change_after_which_a_model_cannot_run_leaves_no_plan_of_before() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            self.scale = 2.0

        def forward(self, x):
            return x * self.scale

    model, x = Scaled(), np.ones((2, 3))
    np.testing.assert_array_equal(model(x), 2 * x)
    model.scale = "much"
    for _ in range(2):
        with pytest.raises(TypeError):
            model(x)
    model.scale = 3.0
    np.testing.assert_array_equal(model(x), 3 * x)


# --- the plan against plain evaluation -----------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_a_plan_computes_what_the_functions_compute_one_by_one(name: str) -> None:
    model = NETWORKS[name]().astype("float64")
    x = np.random.default_rng(3).normal(size=(4, 3, 6, 6))
    plain = {
        "residual": lambda m, x: F.relu(x + _conv(m.conv, F.relu(_conv(m.conv, x)))),
        "inception": lambda m, x: np.concatenate(
            [np.tanh(_conv(m.one, x)), np.maximum(_conv(m.three, x), 0), F.max_pool2d(x, 3, 1, 1), x], axis=1
        ),
        "highway": lambda m, x: _highway(m, x),
        "upscale": lambda m, x: F.avg_pool2d(
            F.pad(F.relu(F.conv_transpose2d(x, m.up.weight.value, m.up.bias.value, 2, 1, 1)), 1), 3, 2
        ) * m.scale.value - 0.25,
        "rectified pooling": lambda m, x: F.max_pool2d(F.relu(_conv(m[0], x)), 2),
    }[name](model.body, x)  # fmt: skip
    expected = plain.reshape(4, -1) @ model.dense.weight.value.T + model.dense.bias.value
    np.testing.assert_allclose(model(x), expected, rtol=1e-12, atol=1e-13)


def _conv(layer, x):
    return F.conv2d(x, layer.weight.value, layer.bias.value, padding=layer.padding)


def _highway(m, x):
    gate = 1 / (1 + np.exp(-_conv(m.gate, x)))
    return gate * np.tanh(_conv(m.transform, x)) + (1 - gate) * x


def test_blocks_alive_at_the_same_time_never_overlap() -> None:
    model = Head(nn.Sequential(Inception(), nn.Conv2d(12, 3, 3, padding=1), Highway(), Residual()), 108)
    graph, output = model.trace((Spec((4, 3, 6, 6), np.dtype("f4")),))
    blocks = set(assign_blocks(graph, [output], ()).values())
    size = lay_out(blocks)
    for a in blocks:
        assert a.offset >= 0 and a.offset + a.nbytes <= size
        for b in blocks - {a}:
            if a.birth <= b.death and b.birth <= a.death:
                assert a.offset + a.nbytes <= b.offset or b.offset + b.nbytes <= a.offset
    assert size < sum(block.nbytes for block in blocks), "memory is shared by lifetime"


def test_results_belong_to_the_caller() -> None:
    model = NETWORKS["residual"]()
    first_x = np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype("f4")
    first = model(first_x)
    before = first.copy()
    model(-first_x)
    np.testing.assert_array_equal(first, before)
    assert first.flags.writeable


def test_threads_share_a_model_without_mixing_results() -> None:
    model = NETWORKS["inception"]()
    inputs = [np.random.default_rng(i).normal(size=(2, 3, 6, 6)).astype("f4") for i in range(4)]
    expected = [model(x) for x in inputs]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(30):
            if not np.array_equal(model(inputs[i]), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_assigning_a_parameter_or_a_layer_reaches_plans_already_made() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    x = np.ones((1, 2), "f4")
    model(x)
    model[0].weight.assign(np.full((2, 2), 3.0))
    np.testing.assert_array_equal(model(x), [[6, 6]])
    setattr(model, "1", nn.Tanh())
    np.testing.assert_allclose(model(x), np.tanh([[6, 6]]))


def unary(function) -> nn.Module:
    class Unary(nn.Module):
        def forward(self, x):
            return function(x)

    return Unary()


@pytest.mark.parametrize(
    "function",
    [
        F.relu, F.tanh, F.sigmoid, F.softmax, F.log_softmax, lambda x: x * 2.0, lambda x: -x,
        lambda x: x + x * 0.5, lambda x: x * x, lambda x: x - F.tanh(x), lambda x: F.concat([x, F.relu(x)]),
        lambda x: F.max_pool2d(F.relu(x), 2, return_indices=True)[0],
    ],
)  # fmt: skip
def test_what_works_in_place_computes_the_same(function) -> None:
    """Between two other ops, so that the memory of its input is free to be taken over."""
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 4))
    model = unary(lambda x: function(x * 3.0) * 0.5)
    model.double = nn.Buffer(np.zeros(1))
    np.testing.assert_allclose(model(x), 0.5 * function_on_array(function, x * 3.0), rtol=1e-13)
    loss = ck.value_and_grad(model, lambda y: (y * y).mean(), inputs=True)
    direction = np.random.default_rng(1).normal(size=x.shape)
    slope = (loss(x + 1e-6 * direction)[0] - loss(x - 1e-6 * direction)[0]) / 2e-6
    assert float((loss(x)[2] * direction).sum()) == pytest.approx(slope, rel=1e-6, abs=1e-9)


def function_on_array(function, x: np.ndarray) -> np.ndarray:
    """`function` outside of any graph, op by op into fresh memory."""
    return np.asarray(function(x))


def test_rectifying_stays_before_a_pool_whose_indices_are_read() -> None:
    x = -1 - np.random.default_rng(0).random((1, 1, 4, 4))
    _, indices = unary(lambda x: F.max_pool2d(F.relu(x), 2, return_indices=True))(x)
    np.testing.assert_array_equal(indices.ravel(), [0, 2, 8, 10])


@pytest.mark.parametrize("called", [True, False])
def test_replacing_a_parameter_drops_the_plans_even_of_modules_not_called(called: bool) -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            self.inner = nn.Linear(2, 2, bias=False)

        def forward(self, x):
            return self.inner(x) if called else F.linear(x, self.inner.weight)

    model, x = Outer(), np.ones((1, 2), "f4")
    model(x)
    model.inner.weight = nn.Parameter(np.zeros((2, 2), "f4"))
    np.testing.assert_array_equal(model(x), [[0, 0]])
    with pytest.raises(TypeError, match=r"weight is a parameter; write its values with weight.assign"):
        model.inner.weight = np.ones((2, 2), "f4")


def test_a_constant_is_what_it_was_when_traced() -> None:
    mask = np.ones(3, "f4")
    model, x = unary(lambda x: x * mask), np.ones((1, 3), "f4")
    model(x)
    mask[:] = 0
    np.testing.assert_array_equal(model(x), x)


def masked_in_place(x, target=None):
    """Three terms, for each of which one array is written anew."""
    mask, total = np.zeros((2, 3), "f4"), None
    for i in range(3):
        mask[...] = 0
        mask[:, i] = i + 1
        term = F.multiply(x, mask)
        total = term if total is None else F.add(total, term)
    return total if target is None else F.mean(F.multiply(total, total))


def test_a_constant_written_between_two_uses_has_the_values_of_each() -> None:
    x = np.ones((2, 3), "f4")
    np.testing.assert_array_equal(unary(masked_in_place)(x), [[1, 2, 3], [1, 2, 3]])
    loss, _ = ck.value_and_grad(unary(lambda x: x), masked_in_place)(x, x)
    assert loss == pytest.approx(14 / 3)


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_a_constant_used_twice_is_kept_once_until_a_bit_of_it_changes(value: float) -> None:
    graph, constant = Graph(False), np.full((2, 3), value, "f4")[:, ::2]
    first = graph.leaf(constant)
    assert graph.leaf(constant) is first
    constant[1, 1] = -0.0
    second = graph.leaf(constant)
    assert second is not first and graph.leaf(constant) is second
    constant[1, 1] = 0.0
    assert graph.leaf(constant) is not second
    np.testing.assert_array_equal(first.source, np.full((2, 2), value))


def test_a_forward_may_run_its_own_module_on_a_constant() -> None:
    class Nested(nn.Module):
        def forward(self, x):
            return x + self(np.ones(3, "f4")) if x.ndim > 1 else F.relu(x)

    np.testing.assert_array_equal(Nested()(np.ones((1, 3), "f4")), np.full((1, 3), 2.0))


def test_a_model_can_be_copied_and_dies_when_dropped() -> None:
    model = small_net()
    x, labels = batch_of(4)
    ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.1))(x, labels)
    before = model(x)
    twin = copy.deepcopy(model)
    ck.compile_step(twin, nn.CrossEntropyLoss(), optim.SGD(0.1))(x, labels)
    np.testing.assert_array_equal(model(x), before)
    assert not np.array_equal(twin(x), before)
    gc.disable()
    try:
        reference = weakref.ref(model)
        del model
        assert reference() is None
    finally:
        gc.enable()


def folded_net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


class Returning(nn.Module):
    """Whose layer returns a parameter."""

    def __init__(self) -> None:
        self.scale, self.layer = nn.Linear(3, 3), nn.Linear(64, 3)
        self.scale.forward = lambda: self.scale.weight

    def forward(self, x):
        return F.matmul(self.layer(F.flatten(x)), self.scale())


@pytest.mark.parametrize("make", [lambda: small_net(), folded_net, Returning])
@pytest.mark.parametrize(
    "use",
    [
        lambda model, x, labels: model(x),
        lambda model, x, labels: model(x, training=True),
        lambda model, x, labels: ck.value_and_grad(model, nn.CrossEntropyLoss(np.ones(3)), inputs=True)(x, labels),
        lambda model, x, labels: ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.1))(x, labels),
        lambda model, x, labels: model.summary(x.shape[1:]),
    ],
    ids=["called", "called_in_training", "differentiated", "stepped", "summarised"],
)
def test_the_weights_of_a_dropped_model_go_with_it(make, use) -> None:
    model = make()
    use(model, *batch_of(4))
    owned = [weakref.ref(part) for part in model.named_state().values()]
    if isinstance(model, Returning):
        del model.scale.forward  # a circle of the test's own
    gc.disable()
    try:
        del model
        assert [part() for part in owned] == [None] * len(owned)
    finally:
        gc.enable()


# --- the training step --------------------------------------------------------------------------------------


def small_net() -> nn.Sequential:
    ck.set_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 8), nn.Tanh(), nn.Linear(8, 3)
    )


def batch_of(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 1, 8, 8)).astype(np.uint8), rng.integers(0, 3, n)


def test_a_step_is_the_gradient_and_the_optimisers_update() -> None:
    model, twin = small_net(), small_net()
    x, labels = batch_of(10)
    step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.5))
    for n in (10, 10, 7, 10, 1):
        loss, grads = ck.value_and_grad(twin, nn.CrossEntropyLoss())(x[:n], labels[:n])
        for name, parameter in twin.parameters().items():
            parameter.assign(parameter.value - np.float32(0.5) * grads[name])
        assert step(x[:n], labels[:n]) == pytest.approx(loss, rel=1e-6)
    for name, parameter in model.parameters().items():
        np.testing.assert_allclose(parameter.value, twin.parameters()[name].value, rtol=1e-5, atol=1e-6)


def test_a_frozen_parameter_stays_and_thaws() -> None:
    model = small_net()
    x, labels = batch_of(6)
    step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.Adam(0.1))
    step(x, labels)
    model[0].weight.trainable = False
    frozen, moving = model[0].weight.value.copy(), model[4].weight.value.copy()
    step(x, labels)
    np.testing.assert_array_equal(model[0].weight.value, frozen)
    assert not np.array_equal(model[4].weight.value, moving)
    model[0].weight.trainable = True
    step(x, labels)
    assert not np.array_equal(model[0].weight.value, frozen)


def test_a_layer_replaced_after_compiling_is_trained() -> None:
    model = small_net()
    x, labels = batch_of(6)
    step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.Adam(0.1))
    step(x, labels)
    setattr(model, "6", nn.Linear(8, 3))
    start = model[6].weight.value.copy()
    step(x, labels)
    assert not np.array_equal(model[6].weight.value, start)
    assert set(step.state_dict()) >= {"m/6.weight", "v/0.bias"}


def test_a_model_converted_after_compiling_is_trained() -> None:
    model, twin = small_net(), small_net().astype("float64")
    x, labels = batch_of(6)
    step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.1))
    model.astype("float64")
    other = ck.compile_step(twin, nn.CrossEntropyLoss(), optim.SGD(0.1))
    assert [step(x, labels) for _ in range(3)] == [other(x, labels) for _ in range(3)]


def test_a_parameter_moved_by_another_step_is_still_updated() -> None:
    shared = nn.Linear(4, 4)
    one, other = nn.Sequential(shared), nn.Sequential(shared, nn.Tanh())
    x, target = np.random.default_rng(0).normal(size=(2, 3, 4)).astype("f4")
    first = ck.compile_step(one, nn.MSELoss(), optim.SGD(0.1))
    second = ck.compile_step(other, nn.MSELoss(), optim.SGD(0.1))
    del first
    third = ck.compile_step(one, nn.MSELoss(), optim.SGD(0.1))
    for step in (second, third, second):
        before = shared.weight.value.copy()
        step(x, target)
        assert not np.array_equal(shared.weight.value, before)


def test_two_parameters_with_one_gradient_are_both_updated() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            self.a, self.b = nn.Parameter(np.zeros((3, 4))), nn.Parameter(np.zeros((3, 4)))

        def forward(self, x):
            return F.linear(x, self.a + self.b)

    model = Sum()
    x = np.random.default_rng(0).normal(size=(5, 4))
    ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.1))(x, np.zeros(5, int))
    assert model.a.value.any()
    np.testing.assert_array_equal(model.a.value, model.b.value)


def test_groups_have_their_own_rate() -> None:
    model = small_net()
    start = model.state_dict()
    groups = [optim.ParamGroup("0.*", lr_scale=0.0)]
    ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.1, groups=groups))(*batch_of(6))
    np.testing.assert_array_equal(model.state_dict()["0.weight"], start["0.weight"])
    assert not np.array_equal(model.state_dict()["4.weight"], start["4.weight"])


def test_two_steps_may_train_one_model() -> None:
    model, twin = small_net(), small_net()
    x, labels = batch_of(6)
    one = ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.1))
    other = ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.1))
    alone = ck.compile_step(twin, nn.CrossEntropyLoss(), optim.SGD(0.1))
    for step in (one, other, one, other):
        assert step(x, labels) == alone(x, labels)


def test_accumulated_halves_equal_the_whole_batch() -> None:
    model, twin = small_net().astype("float64"), small_net().astype("float64")
    x, labels = batch_of(8)
    halves = ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.1), accumulate=2)
    for _ in range(3):
        halves(x[:4], labels[:4])
        halves(x[4:], labels[4:])
    whole = ck.compile_step(twin, nn.CrossEntropyLoss(), optim.SGD(0.1))
    for _ in range(3):
        whole(x, labels)
    for name, values in model.state_dict().items():
        np.testing.assert_allclose(values, twin.state_dict()[name], rtol=1e-10, atol=1e-12)


def test_clipping_bounds_the_update() -> None:
    model = small_net()
    start = model.state_dict()
    ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(1.0), clip_norm=1e-3)(*batch_of(6))
    moved = [values - start[name] for name, values in model.state_dict().items()]
    assert np.sqrt(sum(float((d**2).sum()) for d in moved)) == pytest.approx(1e-3, rel=1e-3)


def test_clipping_by_value_bounds_every_entry() -> None:
    model, twin = small_net(), small_net()
    twin.load_state_dict(model.state_dict())
    x, labels = batch_of(6)
    _, grads = ck.value_and_grad(model, nn.CrossEntropyLoss())(x, labels)
    limit = float(np.median(np.abs(grads[next(iter(grads))])))
    ck.compile_step(twin, nn.CrossEntropyLoss(), optim.SGD(1.0), clip_value=limit)(x, labels)
    for name, values in model.state_dict().items():
        expected = values - np.clip(grads[name], -limit, limit)
        np.testing.assert_allclose(twin.state_dict()[name], expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="compile_step: clip_value must be positive, not 0"):
        ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(1.0), clip_value=0)


def test_clipping_bounds_a_gradient_whose_squares_overflow() -> None:
    model = nn.Linear(2, 1, bias=False).astype("float64")
    model.weight.assign([[0.0, 0.0]])
    step = ck.compile_step(model, lambda y: F.sum(y), optim.SGD(1.0), clip_norm=10.0)
    step(np.float64([[3e200, -4e200]]))
    np.testing.assert_allclose(model.weight.value, [[-6, 8]], rtol=1e-12)
    step(np.float64([[0, np.inf]]))
    assert np.isnan(model.weight.value[0, 1]), "an infinite gradient is not clipped to something that looks right"


def test_what_one_plan_leaves_in_the_gradient_is_not_another_s() -> None:
    """Plans of a step share the gradient's memory; a parameter that this batch does not reach stays where it is."""

    class Branches(nn.Module):
        def __init__(self) -> None:
            self.two, self.other = nn.Linear(4, 1), nn.Linear(4, 1)

        def forward(self, x):
            return self.two(x) if x.shape[0] == 2 else self.other(x)

    model = Branches()
    step = ck.compile_step(model, nn.MSELoss(), optim.SGD(0.02))
    for images in (2, 3, 2):
        step(np.ones((images, 4), "f4"), np.ones((images, 1), "f4"))
    before = model.state_dict()
    step(np.ones((3, 4), "f4"), np.ones((3, 1), "f4"))
    np.testing.assert_array_equal(model.two.weight.value, before["two.weight"])
    assert np.all(model.other.weight.value != before["other.weight"])


class Embedding(nn.Module):
    """What a layer makes of a constant is added to the input."""

    def __init__(self, constant: np.ndarray) -> None:
        self.constant = constant
        self.table = nn.Linear(3, 2, bias=False)

    def forward(self, x):
        return x + F.mean(self.table(self.constant))


@pytest.mark.parametrize(
    "constant", [np.eye(3, dtype="f4"), np.eye(3), np.eye(3, dtype="u1")], ids=lambda c: str(c.dtype)
)
def test_a_layer_called_on_a_constant_is_trained_and_followed(constant: np.ndarray) -> None:
    model, x = Embedding(constant), np.zeros((2, 2), "f4")
    scale = 1 / 255 if constant.dtype == np.uint8 else 1
    model.table.weight.assign(np.full((2, 3), 6.0))
    np.testing.assert_allclose(model(x), 6 * scale, rtol=1e-6)
    model.table.weight.assign(np.full((2, 3), 12.0))
    np.testing.assert_allclose(model(x), 12 * scale, rtol=1e-6)
    assert gradient_error(Embedding(constant).astype("float64"), nn.MSELoss(), np.ones((2, 2)), np.zeros((2, 2))) < 1e-6


def test_dropout_of_a_constant_is_drawn_anew_in_training_and_left_out_in_inference() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            return x + self.drop(np.ones((1, 64), np.float32))

    model, x = Net(), np.zeros((1, 64), np.float32)
    np.testing.assert_array_equal(model(x), np.ones((1, 64)))
    one, other = model(x, training=True), model(x, training=True)
    assert set(np.unique(one)) == {0, 2} and not np.array_equal(one, other)


def test_a_loss_that_notes_something_about_itself_is_traced_once() -> None:
    class Noting(nn.CrossEntropyLoss):
        traced = 0

        def __call__(self, logits, labels):
            self.traced += 1
            return super().__call__(logits, labels)

    loss = Noting()
    step = ck.compile_step(nn.Linear(2, 2), loss, optim.SGD(0.1))
    for _ in range(3):
        step(np.ones((2, 2), "f4"), [0, 1])
    assert loss.traced == 1


def test_plans_follow_an_attribute_that_a_loss_had_not_and_one_that_is_deleted() -> None:
    class Scaled(nn.MSELoss):
        def __call__(self, prediction, target):
            return super().__call__(prediction, target) * getattr(self, "scale", 1.0)

    loss, x = Scaled(), np.ones((2, 3), "f4")
    gradient = ck.value_and_grad(unary(lambda x: x), loss)
    assert gradient(x, 0 * x)[0] == 1
    loss.scale = 3.0
    assert gradient(x, 0 * x)[0] == 3
    del loss.scale
    assert gradient(x, 0 * x)[0] == 1


def test_a_loss_made_meanwhile_drops_no_plans() -> None:
    version = structure.version
    nn.AuxiliaryCrossEntropyLoss(0.5, label_smoothing=0.1).noted = 1  # not traced yet
    assert structure.version == version


def test_a_forward_that_notes_something_about_its_module_runs_once() -> None:
    class Noting(nn.Module):
        def __init__(self) -> None:
            self.layer, self.runs = nn.Linear(2, 2), 0

        def forward(self, x):
            self.runs += 1
            self.last, self.shapes = x, {"x": [x.shape]}
            self.passing = 1
            del self.passing
            return self.layer(x)

    model, x = Noting(), np.ones((2, 2), "f4")
    step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.1))
    for runs, call in enumerate((model, lambda x: step(x, [0, 1])), 1):
        for _ in range(3):
            call(x)
            assert model.runs == runs
    model.runs = 0  # outside of forward it may mean anything
    model(x)
    assert model.runs == 1


@pytest.mark.parametrize(
    ("change", "output"),
    [
        (lambda model: setattr(model, "layers", [doubling(), doubling()]), 4),
        (lambda model: setattr(model, "layers", ()), 1),
        (lambda model: model.__delattr__("layers"), 1),
    ],
    ids=["new", "replaced", "deleted"],
)
def test_plans_follow_layers_that_a_forward_changes(change, output: float) -> None:
    class Changing(nn.Module):
        def __init__(self) -> None:
            self.layers = [doubling()]

        def forward(self, x):
            for layer in getattr(self, "layers", ()):
                x = layer(x)
            return x

    class Outer(nn.Module):
        def __init__(self) -> None:
            self.inner = Changing()

        def forward(self, x):
            if x.shape[0] == 2:
                change(self.inner)
            return self.inner(x)

    model, x = Outer(), np.ones((1, 1), "f4")
    np.testing.assert_array_equal(model(x), [[2]])
    model(np.ones((2, 1), "f4"))
    np.testing.assert_array_equal(model(x), [[output]])


def doubling() -> nn.Linear:
    return nn.Linear(1, 1, bias=False, init=lambda shape: np.full(shape, 2, "f4"))


def test_a_module_without_inputs_is_called_and_used() -> None:
    class Position(nn.Module):
        def __init__(self) -> None:
            self.weight = ck.Parameter(np.arange(4, dtype="f4"))

        def forward(self):
            return self.weight * 2.0

    class Net(nn.Module):
        def __init__(self) -> None:
            self.position = Position()

        def forward(self, x):
            return x + self.position()

    np.testing.assert_array_equal(Position()(), [0, 2, 4, 6])
    np.testing.assert_array_equal(Net()(np.ones((1, 4), "f4")), [[1, 3, 5, 7]])
    assert gradient_error(Net().astype("float64"), nn.MSELoss(), np.ones((2, 4)), np.zeros((2, 4))) < 1e-6
    with pytest.raises(TypeError, match=r"forward\(\) missing 1 required positional argument"):
        nn.Linear(2, 1)()


def test_old_values_of_a_buffer_stay_old_under_any_shape() -> None:
    class Exchange(nn.Module):
        """Returns the first buffer as it was, then exchanges the two."""

        def __init__(self) -> None:
            self.one, self.two = ck.Buffer(np.zeros(4, "f4")), ck.Buffer(np.ones(4, "f4"))

        def forward(self, x):
            old = F.reshape(F.reshape(self.one, (2, 2)), (1, 4))
            self.one.update(self.two)
            self.two.update(F.reshape(old, (4,)))
            return x + old, old

    model = Exchange()
    for call in range(3):
        _, old = model(np.ones((1, 4), "f4"))
        np.testing.assert_array_equal(old, np.full((1, 4), call % 2))
        np.testing.assert_array_equal(model.one.value, np.full(4, 1 - call % 2))
        np.testing.assert_array_equal(model.two.value, np.full(4, call % 2))


@pytest.mark.parametrize("make", [lambda: nn.Conv2d(3, 4, 3), lambda: nn.Conv2d(3, 4, 3, bias=False)])
@pytest.mark.parametrize("batch", [2, 16])
def test_normalisation_is_folded_where_its_weights_are_made_after_the_convolution(make, batch: int) -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            self.conv, self.shift = make(), ck.Parameter(np.arange(4, dtype="f4"))

        def forward(self, x):
            y = self.conv(x)
            gamma, beta = 1.0 + self.shift, F.reshape(F.mean(x), (1,)) + self.shift
            return F.batch_norm(y, np.zeros(4, "f4"), np.ones(4, "f4"), gamma, beta, eps=1e-9)

    model = Late()
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal((batch, 3, 5, 5)).astype("f4")
        y, shift = model.conv(x), np.arange(4, dtype="f4").reshape(4, 1, 1)
        np.testing.assert_allclose(model(x), y * (1 + shift) + x.mean() + shift, rtol=1e-4, atol=1e-4)


def test_a_rectifier_stays_before_a_pooling_with_empty_windows() -> None:
    x = np.random.default_rng(0).standard_normal((16, 2, 2, 2)).astype("f4")
    model = unary(lambda x: F.max_pool2d(F.relu(x), 2, 1, padding=1, dilation=3))
    expected = F.max_pool2d(F.relu(x), 2, 1, padding=1, dilation=3)
    assert np.isneginf(expected).any()
    np.testing.assert_array_equal(model(x), expected)


@pytest.mark.parametrize("other", ["mean", "variance", "weight", "eps"])
def test_a_rectifier_is_left_out_of_another_normalisation_s_gradient(other: str) -> None:
    rng = np.random.default_rng(0)
    norm = {
        "mean": rng.standard_normal(3),
        "variance": rng.uniform(0.5, 2, 3),
        "weight": rng.standard_normal(3),
        "bias": rng.standard_normal(3),
    }
    changed = {**norm, "eps": 1e-5, other: 0.7 if other == "eps" else rng.uniform(0.5, 2, 3)}

    def run(x, grad, norm, changed):
        y = F.batch_norm(x, norm["mean"], norm["variance"], norm["weight"], norm["bias"])
        return F.batch_norm_backward(
            F.relu_backward(grad, y),
            x,
            changed["mean"],
            changed["variance"],
            changed["weight"],
            eps=changed["eps"],
        )[0]

    class Net(nn.Module):
        def __init__(self) -> None:
            self.norm = {name: ck.Parameter(values) for name, values in norm.items()}
            self.changed = {**self.norm, "eps": 1e-5, other: changed[other]}

        def forward(self, x, grad):
            return run(x, grad, self.norm, self.changed)

    x, grad = rng.standard_normal((2, 4, 3, 5, 5))
    np.testing.assert_allclose(Net()(x, grad), run(x, grad, norm, changed), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("batch", [12, 15, 16])
def test_a_gradient_of_weights_within_a_forward_is_of_the_images_there_are(batch: int) -> None:
    class Inner(nn.Module):
        def __init__(self) -> None:
            self.conv = nn.Conv2d(1, 2, 3)
            self.conv.bias.assign([1, 2])

        def forward(self, x):
            y = self.conv(x)
            return F.conv2d_backward(y, x, self.conv.weight)[1:]

    model, x = Inner(), np.random.default_rng(0).standard_normal((batch, 1, 6, 6)).astype("f4")
    expected = F.conv2d_backward(model.conv(x), x, model.conv.weight.value)[1:]
    for mine, other in zip(model(x), expected, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4)


class Inverse(ck.Op):
    """Of a matrix; of some there is none."""

    def shape(self, x):
        return x

    def forward(self, x):
        return np.linalg.inv(x)


def test_what_depends_on_parameters_alone_is_tried_again_after_a_failure() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            self.weight = ck.Parameter(np.eye(2, dtype="f4"))

        def forward(self, x):
            return F.matmul(x, Inverse()(self.weight))

    model, x = Net(), np.ones((1, 2), "f4")
    np.testing.assert_array_equal(model(x), [[1, 1]])
    model.weight.assign(np.zeros((2, 2)))
    for _ in range(2):
        with pytest.raises(np.linalg.LinAlgError):
            model(x)
    model.weight.assign(2 * np.eye(2))
    np.testing.assert_array_equal(model(x), [[0.5, 0.5]])


def test_an_update_that_is_broken_off_is_seen_by_inference() -> None:
    class Interrupted(optim.SGD):
        def update(self, *arguments, **named):
            super().update(*arguments, **named)
            raise KeyboardInterrupt

    class Net(nn.Module):
        def __init__(self) -> None:
            self.weight, self.scale = ck.Parameter(np.eye(2)), ck.Parameter(np.full((2, 2), 3.0))

        def forward(self, x):
            return F.matmul(x, self.weight * self.scale)

    model, x = Net(), np.ones((1, 2))
    step = ck.compile_step(model, nn.MSELoss(), Interrupted(0.1))
    model(x)
    with pytest.raises(KeyboardInterrupt):
        step(x, x)
    assert not np.array_equal(model.weight.value, np.eye(2))
    np.testing.assert_allclose(model(x), x @ (model.weight.value * model.scale.value))


def test_averaged_weights_give_way_in_a_model_converted_meanwhile() -> None:
    model = small_net()
    step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.3), ema_decay=0.8)
    for _ in range(3):
        step(*batch_of(6))
    trained = model.state_dict()
    with step.averaged():
        model.astype("float64")
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, trained[name].astype("f8"), err_msg=name)


def test_averaged_weights_follow_their_formula_and_give_way_again() -> None:
    model = small_net().astype("float64")
    x, labels = batch_of(6)
    step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.3, momentum=0.5), ema_decay=0.8)
    average = model.state_dict()
    for _ in range(5):
        step(x, labels)
        average = {name: 0.8 * values + 0.2 * model.state_dict()[name] for name, values in average.items()}
    trained, output = model.state_dict(), model(x)
    with step.averaged():
        for name, values in model.state_dict().items():
            np.testing.assert_allclose(values, average[name], rtol=1e-10, atol=1e-12)
        assert abs(model(x) - output).max() > 1e-3
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, trained[name])
    np.testing.assert_array_equal(model(x), output)
    plain = ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.3))
    with pytest.raises(ValueError, match="averaged: no averages are kept"), plain.averaged():
        pass
    with pytest.raises(ValueError, match="compile_step: ema_decay must be a number in"):
        ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.3), ema_decay=1.0)


def test_the_average_of_a_parameter_thawed_later_begins_with_it() -> None:
    model = small_net().astype("float64")
    name, frozen = next(iter(model.parameters().items()))
    frozen.trainable = False
    step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.3), ema_decay=0.9)
    step(*batch_of(6))
    frozen.trainable = True
    before = frozen.value.copy()
    step(*batch_of(6))
    expected = 0.9 * before + 0.1 * frozen.value
    with step.averaged():
        np.testing.assert_allclose(model.parameters()[name].value, expected, rtol=1e-12)


def test_outputs_for_metrics_are_those_before_the_update() -> None:
    model = small_net()
    x, labels = batch_of(5)
    expected = model(x)
    step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.5), outputs=True)
    step(x, labels)
    np.testing.assert_allclose(step.outputs, expected, rtol=1e-5, atol=1e-6)


def test_the_state_of_a_step_moves_to_another() -> None:
    model, twin = small_net(), small_net()
    x, labels = batch_of(6)
    step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.Adam(0.01))
    for _ in range(3):
        step(x, labels)
    twin.load_state_dict(model.state_dict())
    other = ck.compile_step(twin, nn.CrossEntropyLoss(), optim.Adam(0.01))
    other.load_state_dict(step.state_dict())
    assert [step(x, labels) for _ in range(3)] == [other(x, labels) for _ in range(3)]


def test_a_step_allocates_nothing_after_the_first() -> None:
    model = small_net()
    x, labels = batch_of(32)
    step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.Adam(0.01))
    for _ in range(3):
        step(x, labels)
    tracemalloc.start()
    for _ in range(5):
        step(x, labels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < (30_000 if FREE_THREADED else 20_000), "only the loss and bookkeeping, whose objects may have locks"


@pytest.mark.parametrize("threads", [2, 3, 7])
def test_bits_do_not_depend_on_the_number_of_threads(threads: int) -> None:
    def train(n: int) -> dict[str, np.ndarray]:
        ck.set_num_threads(n)
        ck.set_seed(0)
        model = ck.models.fashion_cnn_small()
        step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.Adam(1e-3))
        rng = np.random.default_rng(0)
        for size in (64, 64, 33):
            step(rng.integers(0, 256, (size, 1, 28, 28)).astype(np.uint8), rng.integers(0, 10, size))
        return model.state_dict()

    before = ck.get_num_threads()
    try:
        alone, together = train(1), train(threads)
    finally:
        ck.set_num_threads(before)
    for name in alone:
        np.testing.assert_array_equal(alone[name], together[name])


# --- modes, dropout, several inputs, one's own ops -----------------------------------------------------------


def test_dropout_works_in_training_only_and_follows_the_seed() -> None:
    model = nn.Sequential(nn.Dropout(0.5))
    x = np.ones((4, 100), "f4")
    np.testing.assert_array_equal(model(x), x)
    dropped = model(x, training=True)
    assert set(np.unique(dropped)) == {0.0, 2.0}
    assert 0.3 < (dropped == 0).mean() < 0.7


def test_dropout_draws_anew_in_ones_own_loop() -> None:
    model = unary(lambda x: F.dropout(x, 0.5))
    x = np.ones((1, 1000), "f4")
    np.testing.assert_array_equal(model(x), x)
    assert not np.array_equal(model(x, training=True), model(x, training=True))
    loss = ck.value_and_grad(model, lambda y: y.sum(), inputs=True)
    assert not np.array_equal(loss(x)[2], loss(x)[2])


def test_the_gradient_of_dropout_uses_the_mask_of_the_forward_pass() -> None:
    class Dropped(nn.Module):
        def __init__(self) -> None:
            self.scale = nn.Parameter(np.ones(1000))

        def forward(self, x):
            return F.dropout(x * self.scale, 0.3)

    model = Dropped()
    step = ck.compile_step(model, lambda y: y.sum(), optim.SGD(1.0), outputs=True, seed=5)
    step(np.ones((1, 1000)))
    np.testing.assert_allclose(1.0 - model.scale.value, step.outputs[0], rtol=1e-12)
    first = step.outputs.copy()
    step(np.ones((1, 1000)))
    assert not np.array_equal(first == 0, step.outputs == 0), "another step draws another mask"


def test_several_inputs_and_outputs() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            self.dense = nn.Linear(3, 2)

        def forward(self, a, b):
            return self.dense(a + b), a * b

    model = Pair().astype("float64")
    a, b = np.random.default_rng(0).normal(size=(2, 4, 3))
    y, product = model(a, b)
    np.testing.assert_allclose(product, a * b)
    loss, grads, (grad_a, grad_b) = ck.value_and_grad(
        model, lambda outputs, t: F.mse_loss(outputs[0], t) + outputs[1].sum(), inputs=True
    )((a, b), np.zeros((4, 2)))
    assert loss == pytest.approx((y**2).mean() + (a * b).sum())
    np.testing.assert_allclose(grad_a - b, grad_b - a, atol=1e-12)
    assert set(grads) == {"dense.weight", "dense.bias"}


class Cube(ck.Op):
    def shape(self, x):
        return x

    def forward(self, x):
        return x**3

    def backward(self, grad_output, inputs, output):
        return (3 * inputs[0] ** 2 * grad_output,)


def test_an_op_of_ones_own_takes_part() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            self.dense = nn.Linear(4, 3)

        def forward(self, x):
            return Cube()(self.dense(x))

    np.testing.assert_array_equal(Cube()(np.float64([1, 2])), [1, 8])
    x = np.random.default_rng(0).normal(size=(5, 4))
    assert gradient_error(Net().astype("float64"), nn.CrossEntropyLoss(), x, np.zeros(5, int)) < 1e-6


def test_an_op_of_ones_own_cannot_write_over_its_inputs() -> None:
    class Greedy(Cube):
        def forward(self, x):
            x *= 2
            return x

    with pytest.raises(ValueError, match="read-only"):
        Greedy()(np.ones(3))
    with pytest.raises(ValueError, match="read-only"):
        unary(lambda x: Greedy()(x * 1.0))(np.ones((2, 3)))


def one_sided(**methods) -> ck.Op:
    """A `Cube` with some methods replaced."""
    return type("Own", (Cube,), {name: staticmethod(method) for name, method in methods.items()})()


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (one_sided(shape=lambda x: 3), "Own.shape must return a tuple of integers, not 3"),
        (one_sided(shape=lambda x: (3, "a")), "Own.shape: what it returns must be an integer, not 'a'"),
        (one_sided(forward=lambda x: x + 1j), "Own.forward returned complex"),
        (one_sided(forward=lambda x: x.astype(object)), "Own.forward returned object"),
        (one_sided(backward=lambda grad, inputs, output: None), "Own.backward must return a tuple of gradients"),
        (one_sided(backward=lambda grad, inputs, output: (grad * 1j,)), "Own.backward returned complex"),
    ],
)
def test_what_an_op_of_ones_own_returns_is_looked_at(op: ck.Op, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        ck.value_and_grad(unary(lambda x: op(x * 1.0)), lambda y: F.sum(y), inputs=True)(np.ones((2, 3), "f4"))


def test_an_op_of_ones_own_takes_one_dtype() -> None:
    with pytest.raises(
        TypeError, match="Cube: arguments must share one dtype, but came as input 0 float32, input 1 float64"
    ):
        Cube()(np.ones(2, "f4"), np.ones(2))
    with pytest.raises(TypeError, match="Cube: an op has one input or more"):
        Cube()()


def test_a_gradient_that_no_op_gives_is_an_error_not_zero() -> None:
    class Distilled(nn.Module):
        def __init__(self) -> None:
            self.student, self.teacher = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x):
            return self.student(x), F.softmax(self.teacher(x))

    with pytest.raises(
        NotImplementedError, match="ProbabilityCrossEntropy: no gradient is known to its argument 1, of shape"
    ):
        ck.value_and_grad(Distilled(), lambda y: F.cross_entropy(*y))(np.ones((2, 4), "f4"))


# --- what is refused -----------------------------------------------------------------------------------------


def in_forward(function) -> nn.Module:
    class Bad(nn.Module):
        def forward(self, x):
            return function(x)

    return Bad()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (np.exp, "use the functions of convkit.functional"),
        (lambda x: x if x.sum() > 0 else -x, "not supported|must not depend"),
        (lambda x: x if x.sum() else -x, "must not depend"),
        (lambda x: [row for row in x], "not iterated"),
        (lambda x: x[0], "indexing"),
        (lambda x: np.zeros(3), "must return what was computed"),
    ],
)
def test_what_a_graph_cannot_record_is_a_type_error(function, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        in_forward(function)(np.ones((2, 3), "f4"))


def test_item_assignment_is_a_type_error() -> None:
    def assign(x):
        x[0] = 1

    with pytest.raises(TypeError, match="not assigned"):
        in_forward(assign)(np.ones((2, 3), "f4"))


def test_a_symbol_kept_between_calls_is_refused() -> None:
    kept = []
    in_forward(lambda x: (kept.append(x), x)[1])(np.ones((2, 3), "f4"))
    with pytest.raises(TypeError, match="outlived"):
        F.relu(kept[0])
    with pytest.raises(TypeError, match="another graph"):
        in_forward(lambda x: x + kept[0])(np.ones((2, 3), "f4"))


def test_wrong_inputs_are_named() -> None:
    model = small_net()
    with pytest.raises(TypeError, match="int64"):
        model(np.ones((2, 1, 8, 8), int))
    with pytest.raises(ValueError, match="loss must be one number"):
        ck.value_and_grad(model, lambda y, t: y)(batch_of(2)[0], np.zeros(2, int))
    with pytest.raises(ValueError, match="label 7 is none of the 3 classes"):
        ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.1))(batch_of(2)[0], [0, 7])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 3}, "model must be a Module, not 3"),
        ({"loss_fn": 3}, "loss_fn must be a function of outputs and targets, not 3"),
        ({"optimizer": 0.1}, "optimizer must be an Optimizer, not 0.1"),
        ({"clip_norm": "a"}, "clip_norm must be a number, not 'a'"),
        ({"clip_norm": True}, "clip_norm must be a number, not True"),
        ({"clip_norm": -1}, "clip_norm must be positive, not -1"),
        ({"clip_value": [1]}, r"clip_value must be a number, not \[1\]"),
        ({"clip_value": np.nan}, "clip_value must be positive, not nan"),
        ({"accumulate": 0}, "accumulate must be at least 1, not 0"),
        ({"seed": 2**70}, "seed must be at most"),
        ({"seed": 1.5}, "seed must be an integer, not 1.5"),
        ({"outputs": "no"}, "outputs must be True or False, not 'no'"),
        ({"check_finite": "no"}, "check_finite must be True or False, not 'no'"),
    ],
)
def test_what_a_step_is_made_of_is_checked(arguments, message: str) -> None:
    valid = {"model": nn.Linear(2, 2), "loss_fn": nn.CrossEntropyLoss(), "optimizer": optim.SGD(0.1)}
    with pytest.raises((TypeError, ValueError), match=f"compile_step: {message}"):
        ck.compile_step(**valid | arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": 3}, "model must be a Module, not 3"),
        ({"loss_fn": 3}, "loss_fn must be a function of outputs and targets, not 3"),
        ({"inputs": "no"}, "inputs must be True or False, not 'no'"),
        ({"training": "no"}, "training must be True or False, not 'no'"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
    ],
)
def test_what_a_gradient_is_made_of_is_checked(arguments, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"value_and_grad: {message}"):
        ck.value_and_grad(**{"model": nn.Linear(2, 2), "loss_fn": nn.CrossEntropyLoss()} | arguments)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"count": 1.5}, "count must be of numbers that int64 can hold, not float64"),
        ({"count": -5}, "count must be at least 0, not -5"),
        ({"calls": "a"}, "calls must be of numbers that int64 can hold, not <U1"),
        ({"velocity/bias": np.ones(2, "c8")}, "velocity/bias must be of numbers that float32 can hold, not complex64"),
        ({"velocity/bias": None}, r"velocity/bias must have shape \(2,\), not \(\)"),
        ({"velocity/bias": np.ones(3, "f4")}, r"velocity/bias must have shape \(2,\), not \(3,\)"),
        (
            {"velocity/bias": np.full(2, 1e300)},
            r"velocity/bias must be of numbers that float32 can hold, up to 3.4e\+38",
        ),
        ({1: 2}, "the state has 1, which this step does not"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(entries, message: str) -> None:
    step = ck.compile_step(nn.Linear(2, 2), nn.CrossEntropyLoss(), optim.SGD(0.1, momentum=0.9))
    step(np.ones((2, 2), "f4"), [0, 1])
    before = step.state_dict()
    other = {name: values + 1 for name, values in before.items()}
    with pytest.raises((TypeError, ValueError), match=f"load_state_dict: {message}"):
        step.load_state_dict(other | entries)
    for name, values in step.state_dict().items():
        np.testing.assert_array_equal(values, before[name], err_msg=name)
    with pytest.raises(TypeError, match="load_state_dict: state must be a mapping of names to arrays, not None"):
        step.load_state_dict(None)


@pytest.mark.parametrize("copied", [copy.deepcopy, pickle.dumps])
def test_a_step_says_that_it_is_not_copied(copied) -> None:
    with pytest.raises(TypeError, match="a CompiledStep is not copied or pickled: its model is"):
        copied(ck.compile_step(nn.Linear(2, 2), nn.CrossEntropyLoss(), optim.SGD(0.1)))


def test_a_module_that_holds_itself_is_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].parent = model
    with pytest.raises(ValueError, match="Sequential: 0.parent is a module that holds itself"):
        model.parameters()
    with pytest.raises(ValueError, match="Sequential: 0.parent is a module that holds itself"):
        repr(model)


def test_a_module_may_be_within_its_equal() -> None:
    @dataclass
    class Wrapped(nn.Module):
        inside: tuple = ()

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Wrapped)

        __hash__ = None

    model = Wrapped((Wrapped((nn.Linear(2, 2),)),))
    assert list(model.parameters()) == ["inside.0.inside.0.weight", "inside.0.inside.0.bias"]


@pytest.mark.parametrize("container", [[], {}])
def test_a_container_that_holds_itself_is_refused(container) -> None:
    if isinstance(container, dict):
        container["self"] = [container]
    else:
        container.append((container,))
    model = nn.Sequential(nn.Linear(2, 2))
    model[0].kept = container
    with pytest.raises(ValueError, match=f"Linear: kept must not be or hold a {type(container).__name__} that holds"):
        model.parameters()


@pytest.mark.parametrize("dtype", [None, "int32", "what", np.float16])
def test_a_model_is_converted_to_floats_only(dtype) -> None:
    with pytest.raises(TypeError, match="astype: dtype must be float32 or float64, not"):
        nn.Linear(2, 2).astype(dtype)


def test_a_model_is_not_converted_by_half() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)).astype("float64")
    model[1].bias.assign([1e300, 0])
    with pytest.raises(TypeError, match=r"astype: 1.bias must be of numbers that float32 can hold, up to 3.4e\+38"):
        model.astype("float32")
    assert model[0].weight.dtype == np.float64


@pytest.mark.filterwarnings("error")
def test_what_float32_cannot_hold_is_infinite_without_a_warning() -> None:
    assert np.isinf(nn.Linear(1, 1, bias=False)(np.full((1, 1), 1e300))).all()
    _, grads = ck.value_and_grad(nn.Linear(1, 1), nn.MSELoss())(np.ones((1, 1), "f4"), np.full((1, 1), -1e300))
    assert np.isinf(grads["bias"]).all()


def test_a_trace_leaves_nothing_behind_when_forward_fails() -> None:
    def fail(x):
        raise RuntimeError("in forward")

    with pytest.raises(RuntimeError):
        in_forward(fail)(np.ones((2, 3), "f4"))
    assert not ck.is_training()
    np.testing.assert_array_equal(F.relu(np.float32([-1, 2])), [0, 2])


def test_trace_returns_a_graph_of_the_ops_called() -> None:
    graph, output = trace(lambda x: F.relu(x) + 1.0, [Spec((2, 3), np.dtype("f4"))], np.dtype("f4"), False)
    assert isinstance(graph, Graph)
    assert [type(node.op).__name__ for node in graph.nodes] == ["Relu", "Shift"]
    assert output.shape == (2, 3)
