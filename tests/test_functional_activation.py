"""Activations with constants of their own, dropout of whole channels, images of another size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convkit as ck
import reference as ref
from convkit import functional as F
from convkit import nn, optim
from geometries import normal
from reference import assert_close, assert_gradient
from test_functional_elementwise import random_shape

dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])

# Names of the oracle and of the function, and constants in the order of the function's arguments.
ACTIVATIONS: list[tuple[str, str, tuple[Any, ...]]] = [
    ("leaky_relu", "leaky_relu", (0.2,)),
    ("elu", "elu", (0.7,)),
    ("selu", "selu", ()),
    ("gelu", "gelu", ()),
    ("gelu_tanh", "gelu", ("tanh",)),
    ("silu", "silu", ()),
    ("softplus", "softplus", (2.0, 6.0)),
    ("hardsigmoid", "hardsigmoid", ()),
    ("hardswish", "hardswish", ()),
    ("hardtanh", "hardtanh", (-0.5, 2.0)),
]
activations = pytest.mark.parametrize(("oracle", "name", "constants"), ACTIVATIONS, ids=[a[0] for a in ACTIVATIONS])


def numbers(constants: tuple[Any, ...]) -> list[float]:
    return [c for c in constants if not isinstance(c, str)]


@dtypes
@activations
def test_activations_match_the_oracles(oracle: str, name: str, constants: Any, dtype: Any, threaded: Any) -> None:
    for seed in (0, 1, 2, 7):
        rng = np.random.default_rng(seed)
        x, grad = normal(rng, random_shape(seed), dtype) * dtype(3), normal(rng, random_shape(seed), dtype)
        if x.size > 60_000:
            x, grad = x.ravel()[:60_000], grad.ravel()[:60_000]
        forward, backward = getattr(F, name), getattr(F, f"{name}_backward")
        expected = ref.activation(oracle, x, *numbers(constants))
        assert_close(threaded(lambda f=forward, x=x: f(x, *constants)), expected, dtype)
        slope = ref.activation_slope(oracle, x, *numbers(constants))
        assert_close(threaded(lambda f=backward, x=x, g=grad: f(g, x, *constants)), grad * slope, dtype)


@activations
def test_activation_gradients_are_slopes(oracle: str, name: str, constants: Any) -> None:
    rng = np.random.default_rng(0)
    x, grad = rng.standard_normal((9, 40)) * 3, rng.standard_normal((9, 40))
    for kink in (-3, -0.5, 0, 2, 3):
        x[np.abs(x - kink) < 1e-3] = 1.0
    gradient = getattr(F, f"{name}_backward")(grad, x, *constants)
    function = lambda x: getattr(F, name)(x, *constants)  # noqa: E731
    assert_gradient(function, x, grad, gradient, rng, step=1e-5, tolerance=1e-8)


@dtypes
@activations
def test_activations_over_their_whole_range(oracle: str, name: str, constants: Any, dtype: Any) -> None:
    near = np.geomspace(1e-30, 1, 100)
    x = np.concatenate([np.linspace(-60, 60, 2401), near, -near, near - 3, -near - 3]).astype(dtype)
    expected = ref.activation(oracle, x, *numbers(constants))
    limit, tiny = (1e-5, 1e-36) if dtype is np.float32 else (1e-12, 1e-300)
    y = getattr(F, name)(x, *constants)
    np.testing.assert_allclose(y, expected, rtol=limit, atol=tiny)
    assert np.isnan(getattr(F, name)(np.full(19, np.nan, dtype), *constants)).all()


@dtypes
@activations
def test_slopes_far_from_zero(oracle: str, name: str, constants: Any, dtype: Any) -> None:
    far = np.geomspace(1e3, np.finfo(dtype).max / 2, 50).astype(dtype)
    backward = getattr(F, f"{name}_backward")
    for x in (far, -far):
        slope = backward(np.ones_like(x), x, *constants)
        np.testing.assert_allclose(slope, np.full_like(x, slope[0]), atol=1e-30)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.leaky_relu(x, -1.0), "leaky_relu: negative_slope must be a number >= 0"),
        (lambda x: F.softplus(x, 0.0), "softplus: beta must be a number above 0"),
        (lambda x: F.hardtanh(x, 1.0, 1.0), "hardtanh: min_val must be below max_val"),
        (lambda x: F.gelu(x, "fast"), "gelu: approximate must be 'none' or 'tanh'"),
        (lambda x: F.prelu(x, np.ones(4)), r"prelu: weight must have shape \(1,\) or \(3,\), not \(4,\)"),
    ],
)
def test_constants_out_of_range_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(np.zeros((2, 3)))


@dtypes
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5), (4, 3, 5, 2)])
@pytest.mark.parametrize("size", [1, 3])
def test_prelu(shape: tuple[int, ...], size: int, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x, grad, weight = normal(rng, shape, dtype), normal(rng, shape, dtype), normal(rng, (size,), dtype)
    slope = np.where(x > 0, 1.0, weight.reshape(-1, *(1,) * (len(shape) - 2)))
    np.testing.assert_array_equal(F.prelu(x, weight), (x * slope).astype(dtype))
    grad_x, grad_weight = F.prelu_backward(grad, x, weight)
    assert_close(grad_x, grad * slope, dtype)
    sums = np.where(x > 0, 0.0, grad.astype(np.float64) * x).sum(tuple(i for i in range(x.ndim) if i != 1))
    assert_close(grad_weight, sums if size == 3 else sums.sum()[None], dtype)


def test_the_gradient_of_prelus_weight_comes_from_values_that_are_not_positive() -> None:
    weight = np.array([0.25], "f4")
    for grad, x, expected in [
        ([np.inf, 1], [2, -1], -1),
        ([np.nan, 1], [2, -1], -1),
        ([1, 1], [np.inf, -1], -1),
        ([1, 1], [np.nan, -1], np.nan),
        ([np.nan, 1], [-2, -1], np.nan),
        ([np.inf, 1], [-2, -1], -np.inf),
    ]:
        _, grad_weight = F.prelu_backward(np.array(grad, "f4"), np.array(x, "f4"), weight)
        np.testing.assert_array_equal(grad_weight, [expected])


def test_layers_train_their_parameters_and_call_their_functions() -> None:
    x = np.random.default_rng(0).standard_normal((6, 4)).astype("f4")
    layers = [nn.LeakyReLU(0.3), nn.ELU(0.5), nn.SELU(), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Softplus(2.0)]
    layers += [nn.Hardsigmoid(), nn.Hardswish(), nn.Hardtanh(-0.5, 0.5), nn.PReLU(4)]
    functions = [
        F.leaky_relu(x, 0.3), F.elu(x, 0.5), F.selu(x), F.gelu(x), F.gelu(x, "tanh"), F.silu(x), F.softplus(x, 2.0),
        F.hardsigmoid(x), F.hardswish(x), F.hardtanh(x, -0.5, 0.5), F.prelu(x, np.full(4, 0.25, "f4")),
    ]  # fmt: skip
    for layer, expected in zip(layers, functions, strict=True):
        np.testing.assert_array_equal(layer(x), expected)
        _, _, grad_x = ck.value_and_grad(layer, nn.MSELoss(), inputs=True)(x, x)
        assert np.isfinite(grad_x).all()
    model = nn.Sequential(nn.Linear(4, 3), nn.PReLU(3), nn.Linear(3, 2))
    step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.5))
    losses = [step(x, np.arange(6) % 2) for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]
    assert (model[1].weight.value != 0.25).all()


# Dropout of whole channels --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(40, 50, 3), (40, 50, 2, 3)])
def test_dropout2d_drops_channels_as_a_whole(shape: tuple[int, ...]) -> None:
    y = F.dropout2d(np.ones(shape), 0.3, seed=1)
    planes = y.reshape(2000, -1)
    assert (planes == planes[:, :1]).all()
    assert abs((planes[:, 0] == 0).mean() - 0.3) < 0.05
    np.testing.assert_allclose(planes[planes > 0], 1 / 0.7)
    np.testing.assert_array_equal(F.dropout2d_backward(np.ones(shape), 0.3, seed=1), y)
    assert (F.dropout2d(np.ones(shape), 0.3) != F.dropout2d(np.ones(shape), 0.3)).any()


def test_dropout2d_is_a_layer_that_works_in_training_alone() -> None:
    layer, x = nn.Dropout2d(0.5), np.ones((20, 30, 2, 2), "f4")
    np.testing.assert_array_equal(layer(x), x)
    first, second = layer(x, training=True), layer(x, training=True)
    assert set(np.unique(first)) == {0, 2} and (first != second).any()
    _, _, grad_x = ck.value_and_grad(layer, nn.MSELoss(), inputs=True)(x, np.zeros_like(x))
    dropped = grad_x.reshape(600, 4) == 0
    assert (dropped == dropped[:, :1]).all() and 0.3 < dropped.mean() < 0.7
    with pytest.raises(ValueError, match="Dropout2d: p must be from 0 to 1"):
        nn.Dropout2d(-1)
    with pytest.raises(ValueError, match=r"dropout2d: x must have 3 axes"):
        F.dropout2d(np.ones((2, 3)))


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_dropped_channel_is_zero_whatever_it_held(bad: float, axes: int) -> None:
    shape = (30, 20, *range(2, 2 + axes))
    kept = F.dropout2d(np.ones(shape, "f4"), 0.4, seed=1) != 0
    x = np.where(kept, np.float32(3), np.float32(bad))
    expected = np.where(kept, np.float32(3) * np.float32(1 / 0.6), np.float32(0))
    np.testing.assert_array_equal(F.dropout2d(x, 0.4, seed=1), expected)
    np.testing.assert_array_equal(F.dropout2d_backward(x, 0.4, seed=1), expected)
    assert not F.dropout2d(np.full(shape, bad), 1, seed=1).any()
    assert not F.dropout2d_backward(np.full(shape, bad), 1, seed=1).any()


@pytest.mark.parametrize(("layer", "rank"), [(nn.Dropout2d, 2), (nn.Dropout3d, 3)])
def test_in_training_a_dropped_channel_is_zero_and_has_no_gradient(layer: Any, rank: int) -> None:
    dropping = layer(0.5)
    shape = (30, 20, *(2,) * rank)
    y = dropping(np.full(shape, np.inf, "f4"), training=True)
    assert set(np.unique(y)) == {0, np.inf} and 0.3 < (y == 0).mean() < 0.7

    def loss(y: Any, factor: Any) -> Any:
        return F.sum(F.multiply(y, factor))

    _, _, grad = ck.value_and_grad(dropping, loss, inputs=True)(np.ones(shape, "f4"), np.full(shape, np.inf, "f4"))
    assert set(np.unique(grad)) == {0, np.inf} and 0.3 < (grad == 0).mean() < 0.7


# Images of another size -----------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("r", [1, 2, 3])
def test_pixel_shuffle_and_its_inverse(r: int, dtype: Any) -> None:
    rng = np.random.default_rng(r)
    x = normal(rng, (2, 3 * r**2, 4, 5), dtype)
    y = F.pixel_shuffle(x, r)
    np.testing.assert_array_equal(y, ref.pixel_shuffle(x, r))
    np.testing.assert_array_equal(F.pixel_unshuffle(y, r), x)
    grad = normal(rng, y.shape, dtype)
    np.testing.assert_array_equal(F.pixel_shuffle_backward(grad, r), F.pixel_unshuffle(grad, r))
    np.testing.assert_array_equal(F.pixel_unshuffle_backward(x, r), y)
    np.testing.assert_array_equal(nn.PixelUnshuffle(r)(nn.PixelShuffle(r)(x.astype("f4"))), x.astype("f4"))


@dtypes
@pytest.mark.parametrize(("mode", "align_corners"), [("nearest", False), ("linear", False), ("linear", True)])
def test_interpolation_matches_the_oracle(seed: int, mode: str, align_corners: bool, dtype: Any) -> None:
    rng = np.random.default_rng([seed, 3])
    rank = 1 + seed % 3
    size, out = (tuple(int(n) for n in rng.integers(1, 9, rank)) for _ in range(2))
    if seed % 4 == 0:
        out = tuple(2 * n for n in size)
    x, grad = normal(rng, (2, 3, *size), dtype), normal(rng, (2, 3, *out), dtype)
    name = mode if mode == "nearest" else ("linear", "bilinear", "trilinear")[rank - 1]
    y = F.interpolate(x, out, mode=name, align_corners=align_corners)
    assert_close(y, ref.interpolate(x, out, mode, align_corners), dtype)
    if seed % 4 == 0:
        np.testing.assert_array_equal(F.interpolate(x, scale_factor=2, mode=name, align_corners=align_corners), y)
    gradient = F.interpolate_backward(grad, x.shape, name, align_corners)
    expected = grad.astype(np.float64)
    for axis in range(2, 2 + rank):
        matrix = ref.interpolation(size[axis - 2], out[axis - 2], mode, align_corners)
        expected = np.moveaxis(np.tensordot(matrix.T, expected, (1, axis)), 0, axis)
    assert_close(gradient, expected, dtype, scale=float(np.abs(grad).max()))


def test_upsampling_is_a_layer() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype("f4")
    np.testing.assert_array_equal(nn.Upsample(scale_factor=2)(x), x.repeat(2, 2).repeat(2, 3))
    layer = nn.Upsample((6, 9), mode="bilinear", align_corners=True)
    np.testing.assert_array_equal(layer(x), F.interpolate(x, (6, 9), mode="bilinear", align_corners=True))
    target = np.zeros((2, 3, 6, 9), "f4")
    _, _, grad_x = ck.value_and_grad(layer, nn.MSELoss(), inputs=True)(x, target)
    expected = F.interpolate_backward(2 * layer(x) / target.size, x.shape, "bilinear", True)
    np.testing.assert_allclose(grad_x, expected, rtol=1e-5, atol=1e-8)


@dtypes
def test_interpolation_is_a_mean_of_neighbours_of_any_size(dtype: Any) -> None:
    large = dtype(3e38) if dtype is np.float32 else 1.7e308
    y = F.interpolate(np.array([[[large, -large]]], dtype), size=4, mode="linear")
    np.testing.assert_allclose(y, np.array([[[1, 0.5, -0.5, -1]]]) * large, rtol=1e-6)
    assert np.isfinite(F.interpolate(np.full((1, 1, 3, 3), large, dtype), size=(7, 5), mode="bilinear")).all()


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_an_output_that_lies_on_an_input_meets_no_other(bad: float) -> None:
    corners = F.interpolate(np.array([[[1, bad, 3]]], "f4"), size=5, mode="linear", align_corners=True)
    np.testing.assert_array_equal(corners, [[[1, bad, bad, bad, 3]]])
    same = np.array([[[1, bad, 3, bad]]])
    for align_corners in (False, True):
        np.testing.assert_array_equal(F.interpolate(same, 4, mode="linear", align_corners=align_corners), same)
    thirds = F.interpolate(np.array([[[bad, 2]]]), 6, mode="linear")  # the last two lie beyond the last input
    np.testing.assert_array_equal(thirds, [[[bad, bad, bad, bad, 2, 2]]])


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_the_gradient_of_an_output_goes_to_no_input_that_it_was_not_made_of(bad: float) -> None:
    grad = np.array([[[1, 1, bad, 1, 1]]], "f4")
    gradient = F.interpolate_backward(grad, (1, 1, 3), "linear", align_corners=True)
    np.testing.assert_array_equal(gradient, [[[1.5, bad, 1.5]]])


@pytest.mark.parametrize("size", [10, 15, 29, 50, 98, 104])
def test_grid_points_are_met_exactly(size: int) -> None:
    """Also where the step from one output to the next is no number that a computer has."""
    x = np.random.default_rng(0).standard_normal((1, 1, size))
    for factor in (2, 3, 49, 107):
        out = factor * (size - 1) + 1
        y = F.interpolate(x, out, mode="linear", align_corners=True)
        np.testing.assert_array_equal(y[..., ::factor], x)
        down = F.interpolate(y, size, mode="linear", align_corners=True)
        np.testing.assert_array_equal(down, x)
    odd = F.interpolate(x, scale_factor=3, mode="linear")
    np.testing.assert_array_equal(odd[..., 1::3], x)


@dtypes
def test_interpolations_gradient_is_its_adjoint(seed: int, dtype: Any) -> None:
    """To the bit: each column is what the other has as a row."""
    size, out = (int(n) for n in np.random.default_rng(seed).integers(1, 30, 2))
    for align_corners in (False, True):
        forward = F.interpolate(np.eye(size, dtype=dtype)[:, None], out, mode="linear", align_corners=align_corners)
        shape = (out, 1, size)
        backward = F.interpolate_backward(np.eye(out, dtype=dtype)[:, None], shape, "linear", align_corners)
        np.testing.assert_array_equal(forward[:, 0], backward[:, 0].T)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of size and scale_factor"),
        ({"size": 3, "scale_factor": 2}, "exactly one of size and scale_factor"),
        ({"size": 0}, "size must be at least 1"),
        ({"size": 3, "mode": "linear"}, "mode must be 'nearest' or 'bilinear'"),
        ({"size": 3, "mode": "trilinear"}, "mode must be 'nearest' or 'bilinear'"),
        ({"size": 3, "align_corners": True}, "align_corners is for mode 'bilinear'"),
    ],
)
def test_interpolation_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^interpolate: {message}"):
        F.interpolate(np.zeros((1, 1, 4, 4)), **arguments)


def test_pixels_that_cannot_be_shuffled() -> None:
    with pytest.raises(ValueError, match="^pixel_shuffle: x has 6 channels, which 2² does not divide"):
        F.pixel_shuffle(np.zeros((1, 6, 2, 2)), 2)
    with pytest.raises(ValueError, match=r"^pixel_unshuffle: x has the size \(3, 2\), which 2 does not divide"):
        F.pixel_unshuffle(np.zeros((1, 6, 3, 2)), 2)


def test_prelu_takes_a_single_number() -> None:
    x, weight = np.array(-2.0), np.array([0.25])
    y = F.prelu(x, weight)
    assert y.shape == () and y == -0.5
    grad_x, grad_weight = F.prelu_backward(np.array(3.0), x, weight)
    assert grad_x.shape == () and grad_x == 0.75
    np.testing.assert_array_equal(grad_weight, [-6.0])
