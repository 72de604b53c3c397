"""Batch normalisation in plans: running moments as state, folding into weights, the rectifier in the same pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import functional as F
from convkit import nn, optim
from convkit.graph.plan import Plan, spec_of
from convkit.graph.trace import symbols_of

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(1, 2, size=(6, 3, 8, 9)).astype("f4")
LABELS = RNG.integers(0, 5, 6)


def moved(model: Any, seed: int = 1) -> Any:
    """The model with moments, weights and biases that leave their mark."""
    rng = np.random.default_rng(seed)
    for name, owned in {**model.parameters(), **model.buffers()}.items():
        if not name.endswith("num_batches_tracked"):
            owned.assign(rng.uniform(0.3, 1.5, owned.shape))
    return model


def by_hand(model: Any, x: Any) -> Any:
    for layer in model.children().values():
        x = layer(x)
    return x


def ops_of(model: Any, x: Any, **options: Any) -> list[str]:
    graph, result = model.trace((spec_of(x),), **options)
    plan_outputs = symbols_of("forward", result)
    Plan(graph, plan_outputs)
    return [type(node.op).__name__ for node in graph.nodes]


# --- running moments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("layer", "shape"), [
    (nn.BatchNorm1d, (6, 4)), (nn.BatchNorm1d, (6, 4, 7)), (nn.BatchNorm2d, (6, 4, 5, 3)),
    (nn.BatchNorm3d, (2, 4, 3, 2, 5)),
])  # fmt: skip
def test_training_updates_the_running_moments_and_inference_uses_them(layer: Any, shape: tuple[int, ...]) -> None:
    norm, x = layer(4), np.random.default_rng(2).normal(3, 2, shape)
    norm.astype("float64")
    axes = (0, *range(2, len(shape)))
    y = norm(x, training=True)
    np.testing.assert_allclose(y, F.batch_norm(x, None, None, training=True), rtol=1e-12)
    np.testing.assert_allclose(norm.running_mean.value, 0.1 * x.mean(axes))
    np.testing.assert_allclose(norm.running_var.value, 0.9 + 0.1 * x.var(axes, ddof=1))
    assert norm.num_batches_tracked.value == 1
    before = norm.state_dict()
    expected = F.batch_norm(x, before["running_mean"], before["running_var"])
    np.testing.assert_allclose(norm(x), expected, rtol=1e-12)
    for name, values in before.items():
        np.testing.assert_array_equal(norm.state_dict()[name], values)


def test_every_training_step_updates_them_once() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 72, 5))
    step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.1), accumulate=2)
    expected = np.zeros(3)
    for count in range(1, 4):
        step(IMAGES, LABELS)
        expected = 0.9 * expected + 0.1 * IMAGES.mean((0, 2, 3), dtype="f8")
        np.testing.assert_allclose(model[0].running_mean.value, expected, rtol=1e-5)
        assert model[0].num_batches_tracked.value == count
    ck.value_and_grad(model, nn.CrossEntropyLoss())(IMAGES, LABELS)
    assert model[0].num_batches_tracked.value == 4


@pytest.mark.parametrize("batch", [3, 16])
def test_the_gradient_of_inference_is_that_of_what_the_model_computes(batch: int) -> None:
    model = moved(nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.5),
        nn.Flatten(), nn.Linear(36, 5),
    )).astype("float64")  # fmt: skip
    rng = np.random.default_rng(3)
    x, labels = rng.normal(size=(batch, 3, 8, 9)), rng.integers(0, 5, batch)
    direction, before = rng.normal(size=x.shape), model.state_dict()
    loss, grads, grad_x = ck.value_and_grad(model, nn.CrossEntropyLoss(), inputs=True, training=False)(x, labels)
    assert loss == pytest.approx(float(F.cross_entropy(model(x), labels)), rel=1e-12)
    up, down = (float(F.cross_entropy(model(x + step * direction), labels)) for step in (1e-6, -1e-6))
    assert (grad_x * direction).sum() == pytest.approx((up - down) / 2e-6, rel=1e-6)
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, before[name])
    for name, parameter in model.parameters().items():
        direction, losses = rng.normal(size=parameter.shape), []
        for step in (1e-6, -1e-6):
            parameter.assign(before[name] + step * direction)
            losses.append(float(F.cross_entropy(model(x), labels)))
        parameter.assign(before[name])
        assert (grads[name] * direction).sum() == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5, abs=1e-8)


def test_a_layer_used_twice_updates_them_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x: Any) -> Any:
            return self.norm(self.norm(x) * 2 + 5)

    model, single = Twice(), nn.BatchNorm2d(3)
    y = model(IMAGES, training=True)
    expected = single(single(IMAGES, training=True) * 2 + 5, training=True)
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    for name, values in single.state_dict().items():
        np.testing.assert_allclose(model.state_dict()[f"norm.{name}"], values, rtol=1e-5)


def test_without_running_moments_inference_uses_the_batch_s() -> None:
    norm = nn.BatchNorm2d(3, affine=False, track_running_stats=False)
    assert not norm.state_dict()
    np.testing.assert_array_equal(norm(IMAGES), F.batch_norm(IMAGES, None, None, training=True))


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"BatchNorm2d: x must have the axes \(N, C, H, W\)"):
        nn.BatchNorm2d(3)(IMAGES[0])
    with pytest.raises(ValueError, match="BatchNorm2d: x must have 4 channels"):
        nn.BatchNorm2d(4)(IMAGES)
    with pytest.raises(ValueError, match="BatchNorm2d: momentum must be from 0 to 1"):
        nn.BatchNorm2d(4, momentum=2.0)


def test_a_buffer_can_be_updated_by_a_module_of_ones_own() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            self.seen = nn.Buffer(np.zeros(3, "f4"))

        def forward(self, x: Any) -> Any:
            if ck.is_training():
                self.seen.update(self.seen + 1)
            return x + self.seen

    counter = Counter()
    assert counter(np.zeros(3, "f4"), training=True).tolist() == [1, 1, 1]
    assert counter(np.zeros(3, "f4"), training=True).tolist() == [2, 2, 2]
    assert counter(np.zeros(3, "f4")).tolist() == [2, 2, 2]
    counter.seen.update([5, 5, 5])
    assert counter(np.zeros(3, "f4")).tolist() == [5, 5, 5]


# --- other normalisations -----------------------------------------------------------------------------------


@pytest.mark.parametrize("affine", [True, False])
def test_group_and_layer_norm_are_layers(affine: bool) -> None:
    group, layer = moved(nn.GroupNorm(3, 3, affine=affine)), moved(nn.LayerNorm((8, 9), elementwise_affine=affine))
    group_arguments = [p.value for p in group.parameters().values()]
    layer_arguments = [p.value for p in layer.parameters().values()]
    for _ in range(2):
        np.testing.assert_array_equal(group(IMAGES), F.group_norm(IMAGES, 3, *group_arguments))
        np.testing.assert_array_equal(layer(IMAGES), F.layer_norm(IMAGES, (8, 9), *layer_arguments))
    target = np.zeros_like(IMAGES)
    for module, backward, arguments, given in [
        (group, F.group_norm_backward, 3, group_arguments),
        (layer, F.layer_norm_backward, (8, 9), layer_arguments),
    ]:
        _, grads, grad_x = ck.value_and_grad(module, nn.MSELoss(), inputs=True)(IMAGES, target)
        grad = 2 * module(IMAGES) / target.size
        expected = backward(grad, IMAGES, arguments, *given[:1])
        for found, wanted in zip([grad_x, *grads.values()], expected, strict=False):
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-7)
    with pytest.raises(ValueError, match="GroupNorm: num_channels 4 is not divisible by num_groups 3"):
        nn.GroupNorm(3, 4)


def test_local_response_norm_is_a_layer() -> None:
    layer = nn.LocalResponseNorm(5, 1e-2, 0.75, 2.0, average=False)
    np.testing.assert_array_equal(layer(IMAGES), F.local_response_norm(IMAGES, 5, 1e-2, 0.75, 2.0, average=False))
    _, _, grad_x = ck.value_and_grad(layer, nn.MSELoss(), inputs=True)(IMAGES, np.zeros_like(IMAGES))
    grad = 2 * layer(IMAGES) / IMAGES.size
    expected = F.local_response_norm_backward(grad, IMAGES, 5, 1e-2, 0.75, 2.0, average=False)
    np.testing.assert_allclose(grad_x, expected, rtol=1e-4, atol=1e-8)


# --- folding ------------------------------------------------------------------------------------------------

FOLDED = [
    (nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4)), IMAGES),
    (nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6, affine=False), nn.ReLU()), IMAGES),
    (nn.Sequential(nn.ConvTranspose2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU()), IMAGES),
    (nn.Sequential(nn.Conv1d(8, 4, 3), nn.BatchNorm1d(4)), IMAGES[:, 0]),
    (nn.Sequential(nn.Linear(9, 4), nn.BatchNorm1d(4), nn.ReLU()), IMAGES[:, 0, 0]),
]


@pytest.mark.parametrize(("model", "x"), FOLDED, ids=lambda value: type(value).__name__)
def test_an_inference_plan_folds_it_into_the_weights(model: Any, x: Any) -> None:
    model = moved(model)
    expected = by_hand(model, x)
    np.testing.assert_allclose(model(x), expected, atol=2e-6 * abs(expected).max())
    assert {"Normalize", "Relu"}.isdisjoint(ops_of(model, x)), "the normalisation should have been folded"
    assert "BatchNorm" in ops_of(model, x, training=True)


def test_folded_weights_follow_what_they_were_made_of() -> None:
    model = moved(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 42, 5)))

    def check() -> None:
        expected = by_hand(model, IMAGES)
        np.testing.assert_allclose(model(IMAGES), expected, atol=2e-6 * abs(expected).max())

    check()
    model[0].weight.assign(model[0].weight.value * 2)
    check()
    model[1].running_var.assign(model[1].running_var.value * 3)
    check()
    step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.1))
    check()
    step(IMAGES, LABELS)
    check()
    model(IMAGES, training=True)
    check()
    model.load_state_dict({name: values * 0.9 for name, values in model.state_dict().items()})
    check()


def test_what_a_plan_computes_of_parameters_alone_follows_training() -> None:
    class Doubled(nn.Module):
        def __init__(self) -> None:
            self.weight = nn.Parameter(np.ones((5, 9), "f4"))

        def forward(self, x: Any) -> Any:
            return F.linear(x, self.weight * 2.0)

    model, x = Doubled(), IMAGES[:, 0, 0]
    step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.1))
    before = model(x)
    step(x, LABELS)
    assert abs(model(x) - before).max() > 1e-3
    np.testing.assert_allclose(model(x), x @ (2 * model.weight.value).T, rtol=1e-4, atol=1e-5)


def test_folded_weights_outlast_an_input_that_nobody_reads() -> None:
    class First(nn.Module):
        def __init__(self) -> None:
            self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

        def forward(self, x: Any, unused: Any) -> Any:
            return self.layers(x)

    model, unused = moved(First()), np.full((6, 200), np.nan, "f4")
    expected = model.layers(IMAGES)
    for _ in range(2):
        np.testing.assert_array_equal(model(IMAGES, unused), expected)


def test_large_weights_are_folded_only_where_their_output_is_larger() -> None:
    model = moved(nn.Sequential(nn.Conv2d(128, 256, 3, padding=1), nn.BatchNorm2d(256)))
    model.astype("float64")
    few, many = (RNG.normal(0, 1, (1, 128, size, size)) for size in (5, 36))  # 51 kB and 2.7 MB; the weights: 2.4 MB
    assert ops_of(model, few) == ["Convolution", "Normalize"]
    assert ops_of(model, many) == ["FoldedWeights", "Convolution"]
    for x in (few, many):
        np.testing.assert_allclose(model(x), by_hand(model, x), rtol=1e-10, atol=1e-10)


def test_what_others_read_is_not_folded() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: Any) -> Any:
            y = self.conv(x)
            return y + self.norm(y)

    model = moved(Both())
    y = model.conv(IMAGES)
    np.testing.assert_allclose(model(IMAGES), y + model.norm(y), rtol=1e-5)
    assert "Normalize" in ops_of(model, IMAGES)


# --- the rectifier ------------------------------------------------------------------------------------------


def test_the_rectifier_and_its_gradient_are_one_pass_with_it() -> None:
    model = moved(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(168, 5)))
    model[1].bias.assign([-0.5, 0.5, 0.1, -2])

    class Apart(nn.Module):
        """The same, but for a sum that keeps the unrectified values wanted."""

        def __init__(self) -> None:
            self.layers = model

        def forward(self, x: Any) -> Any:
            y = self.layers[1](self.layers[0](x))
            return self.layers[4](self.layers[3](F.relu(y) + y * 0.0))

    seen: list[Any] = []
    for variant in (model, Apart()):
        loss, grads, grad_x = ck.value_and_grad(variant, nn.CrossEntropyLoss(), inputs=True)(IMAGES, LABELS)
        seen.append([loss, *grads.values(), grad_x])
    for together, apart in zip(*seen, strict=True):
        np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-6)


def test_a_residual_block_s_gradients_are_slopes() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            self.conv1, self.norm1 = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
            self.conv2, self.norm2 = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)

        def forward(self, x: Any) -> Any:
            y = F.relu(self.norm1(self.conv1(x)))
            return F.relu(self.norm2(self.conv2(y)) + x)

    model = moved(Residual()).astype("float64")
    x, target = IMAGES.astype("f8"), RNG.normal(size=IMAGES.shape)
    evaluate = ck.value_and_grad(model, nn.MSELoss(), inputs=True)
    _, grads, grad_x = evaluate(x, target)
    step = 1e-6
    for name, parameter in model.parameters().items():
        values, direction = parameter.value.copy(), RNG.normal(size=parameter.shape)
        losses = []
        for sign in (1, -1):
            parameter.assign(values + sign * step * direction)
            losses.append(evaluate(x, target)[0])
        parameter.assign(values)
        slope = (losses[0] - losses[1]) / (2 * step)
        assert slope == pytest.approx((grads[name] * direction).sum(), rel=1e-5), name
    direction = RNG.normal(size=x.shape)
    slope = (evaluate(x + step * direction, target)[0] - evaluate(x - step * direction, target)[0]) / (2 * step)
    assert slope == pytest.approx((grad_x * direction).sum(), rel=1e-5)
