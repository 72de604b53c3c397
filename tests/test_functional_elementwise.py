"""Activations, arithmetic, dropout, softmax, dense layers, padding and joining: on random shapes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import reference as ref
from convkit import functional as F
from geometries import TILE_REMAINDERS, normal
from reference import assert_close, assert_gradient

dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
ACTIVATIONS = ("relu", "tanh", "sigmoid")
activations = pytest.mark.parametrize("name", ACTIVATIONS)
softmaxes = pytest.mark.parametrize("name", ["softmax", "log_softmax"])


def random_shape(seed: int, rank: int | None = None) -> tuple[int, ...]:
    """Short and odd lengths; every eighth one is long enough for several threads."""
    rng = np.random.default_rng([seed, 99])
    rank = rank or int(rng.integers(1, 5))
    longest = {1: 300_000, 2: 700, 3: 80, 4: 30}[rank] if seed % 8 == 7 else {1: 80, 2: 40, 3: 12, 4: 7}[rank]
    return tuple(int(n) for n in rng.integers(1, longest + 1, rank))


# Activations ----------------------------------------------------------------------------------------


@dtypes
def test_activations_match_the_oracles(seed: int, dtype: Any, threaded: Any) -> None:
    rng = np.random.default_rng(seed)
    shape = random_shape(seed)
    x, grad = normal(rng, shape, dtype) * dtype(4), normal(rng, shape, dtype)
    for name in ACTIVATIONS:
        forward, backward = getattr(F, name), getattr(F, f"{name}_backward")
        assert_close(threaded(lambda f=forward: f(x)), getattr(ref, name)(x), dtype, what=name)
        expected = getattr(ref, f"{name}_backward")(grad, x)
        assert_close(threaded(lambda f=backward: f(grad, x)), expected, dtype, what=f"{name}_backward")


def test_activation_gradients_are_slopes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, grad = rng.standard_normal((7, 9)) * 3, rng.standard_normal((7, 9))
    x[np.abs(x) < 1e-3] = 1.0  # relu has no slope at zero
    for name in ACTIVATIONS:
        gradient = getattr(F, f"{name}_backward")(grad, x)
        forward = getattr(F, name)
        assert_gradient(forward, x, grad, gradient, rng, step=1e-5, tolerance=1e-8, what=name)


@dtypes
def test_activations_over_their_whole_range(dtype: Any) -> None:
    """Entry by entry, not by the array's scale: small results are as exact as large ones."""
    x = np.concatenate([np.linspace(-100, 100, 4001), np.geomspace(1e-30, 1, 200), -np.geomspace(1e-30, 1, 200)])
    x = x.astype(dtype)
    limit = 1e-5 if dtype is np.float32 else 1e-12
    tiny = np.finfo(dtype).tiny
    np.testing.assert_allclose(F.tanh(x), ref.tanh(x), rtol=limit, atol=0)
    normal_results = ref.sigmoid(x) > tiny
    np.testing.assert_allclose(F.sigmoid(x)[normal_results], ref.sigmoid(x)[normal_results], rtol=limit, atol=0)
    assert (F.sigmoid(x)[~normal_results] <= 2 * tiny).all()


def test_tanh_is_odd_bounded_and_right_to_the_last_bits() -> None:
    x = np.concatenate([np.geomspace(1e-38, 20, 200_000), np.linspace(0, 10, 200_000)]).astype(np.float32)
    y, exact = F.tanh(x), np.tanh(x.astype(np.float64))
    np.testing.assert_array_equal(F.tanh(-x), -y)
    assert y.max() == 1
    assert (np.abs(y - exact) <= 2.5 * np.spacing(exact.astype(np.float32))).all()


@activations
@dtypes
def test_activations_of_what_is_no_number(name: str, dtype: Any) -> None:
    for length in (1, 3, 4, 8, 19):  # in a vector and in its remainder
        x = np.full(length, np.nan, dtype)
        assert np.isnan(getattr(F, name)(x)).all()
    edges = np.array([np.inf, -np.inf, 0.0, -0.0], dtype)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(getattr(F, name)(edges), getattr(ref, name)(edges).astype(dtype))


@activations
def test_activations_of_nothing_and_of_one_number(name: str) -> None:
    for shape in [(), (0,), (3, 0, 2)]:
        x = np.zeros(shape, np.float32)
        assert getattr(F, name)(x).shape == shape
        assert getattr(F, f"{name}_backward")(x, x).shape == shape


# Arithmetic and sums --------------------------------------------------------------------------------


@dtypes
def test_arithmetic_broadcasts_as_numpy_does(seed: int, dtype: Any, threaded: Any) -> None:
    rng = np.random.default_rng(seed)
    shape = random_shape(seed)
    a = normal(rng, shape, dtype)
    b = normal(rng, tuple(1 if rng.random() < 0.3 else n for n in shape[rng.integers(len(shape)) :]), dtype)
    pairs = [(a, a[::-1]), (a, b), (b, a), (a, 2.5), (2.5, a)]
    for name, (left, right) in itertools.product(("add", "subtract", "multiply"), pairs):
        function = getattr(F, name)
        result = threaded(lambda f=function, left=left, right=right: f(left, right))
        assert result.dtype == dtype
        np.testing.assert_array_equal(result, getattr(np, name)(left, right))


@dtypes
def test_sums_and_means(seed: int, dtype: Any, threaded: Any) -> None:
    x = normal(np.random.default_rng(seed), random_shape(seed), dtype) + dtype(1)
    exact = x.astype(np.float64)
    assert_close(np.asarray(threaded(lambda: F.sum(x))), exact.sum(), dtype)
    assert_close(np.asarray(threaded(lambda: F.mean(x))), exact.mean(), dtype)


# Dropout --------------------------------------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_dropout_zeroes_a_share_and_scales_the_rest(p: float, dtype: Any, threaded: Any) -> None:
    x = np.ones((300, 401), dtype)
    y = threaded(lambda: F.dropout(x, p, seed=5))
    dropped = y == 0
    assert abs(dropped.mean() - p) < 5 * np.sqrt(p * (1 - p) / x.size) + 1e-12
    if p < 1:
        np.testing.assert_allclose(y[~dropped], 1 / (1 - p), rtol=1e-6)
    assert abs(dropped[:, 1:].astype(float) - dropped[:, :-1]).mean() == pytest.approx(2 * p * (1 - p), abs=0.01)


def test_dropout_draws_from_its_seed() -> None:
    x = np.random.default_rng(0).standard_normal((50, 60))
    y = F.dropout(x, 0.3, seed=1)
    np.testing.assert_array_equal(y, F.dropout(x, 0.3, seed=1))
    assert (y != F.dropout(x, 0.3, seed=2)).any()
    np.testing.assert_array_equal(F.dropout_backward(x, 0.3, seed=1), y)  # the same mask, the same scale
    for backward in (F.dropout_backward, F.dropout2d_backward):  # of no seed, the mask would be another
        with pytest.raises(TypeError, match=f"^{backward.__name__}: seed must be an integer, not None$"):
            backward(np.ones((2, 3, 4), np.float32), seed=None)
    assert (F.dropout(x, 0.3) != F.dropout(x, 0.3)).any()
    ones = np.ones((50, 60))
    single = F.dropout(ones.astype(np.float32), 0.3, seed=1)
    np.testing.assert_array_equal(single == 0, F.dropout(ones, 0.3, seed=1) == 0)


@pytest.mark.parametrize("p", [-0.1, 1.1, np.nan])
def test_dropout_refuses_what_is_no_probability(p: float) -> None:
    with pytest.raises(ValueError, match=r"^dropout: p must be from 0 to 1"):
        F.dropout(np.ones(3), p)


# Softmax --------------------------------------------------------------------------------------------


@dtypes
def test_softmax_matches_the_oracle(seed: int, dtype: Any, threaded: Any) -> None:
    rng = np.random.default_rng(seed)
    shape = random_shape(seed, rank=1 + seed % 4)
    if seed % 8 == 7:
        shape = tuple(min(n, 30) for n in shape)  # the oracle writes out Jacobians
    axis = int(rng.integers(-len(shape), len(shape)))
    x, grad = normal(rng, shape, dtype) * dtype(5), normal(rng, shape, dtype)
    for name in ("softmax", "log_softmax"):
        forward, backward = getattr(F, name), getattr(F, f"{name}_backward")
        assert_close(threaded(lambda f=forward: f(x, axis)), getattr(ref, name)(x, axis), dtype, what=name)
        gradient, expected = (
            threaded(lambda f=backward: f(grad, x, axis)),
            getattr(ref, f"{name}_backward")(grad, x, axis),
        )
        # y (g − Σ g y) and g − y Σ g vanish where one class has all the probability
        scale = float(np.abs(grad if name == "log_softmax" else grad * ref.softmax(x, axis)).max())
        assert_close(gradient, expected, dtype, scale=scale, what=f"{name}_backward")


@softmaxes
def test_softmax_gradient_is_the_slope(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, grad = rng.standard_normal((3, 4, 5)) * 2, rng.standard_normal((3, 4, 5))
    axis = seed % 3
    gradient = getattr(F, f"{name}_backward")(grad, x, axis)
    assert_gradient(lambda x: getattr(F, name)(x, axis), x, grad, gradient, rng, step=1e-5, tolerance=1e-8)


@softmaxes
@dtypes
def test_softmax_of_large_numbers(name: str, dtype: Any) -> None:
    x = np.array([[1000, 1000, -1000], [-3e4, -3e4, -3e4], [0, -np.inf, 0]], dtype)
    with np.errstate(all="ignore"):
        assert_close(getattr(F, name)(x, 1), getattr(ref, name)(x, 1), dtype)


# Dense layer ----------------------------------------------------------------------------------------


@dtypes
def test_linear_matches_the_oracle(seed: int, dtype: Any, threaded: Any) -> None:
    rng = np.random.default_rng(seed)
    longest = 300 if seed % 8 == 7 else 40
    n, inputs, outputs = (int(size) for size in rng.integers(1, longest + 1, 3))
    if seed % 10 == 3:
        n = 0
    x, weight, bias = (normal(rng, s, dtype) for s in [(n, inputs), (outputs, inputs), (outputs,)])
    grad = normal(rng, (n, outputs), dtype)
    assert_close(threaded(lambda: F.linear(x, weight, bias)), ref.linear(x, weight, bias), dtype)
    assert_close(threaded(lambda: F.linear(x, weight)), ref.linear(x, weight), dtype)
    gradients = threaded(lambda: F.linear_backward(grad, x, weight))
    for mine, oracle in zip(gradients, ref.linear_backward(grad, x, weight), strict=True):
        assert_close(mine, oracle, dtype)


def test_linear_gradients_are_slopes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, inputs, outputs = (int(size) for size in rng.integers(1, 20, 3))
    x, weight, bias = (rng.standard_normal(s) for s in [(n, inputs), (outputs, inputs), (outputs,)])
    grad = rng.standard_normal((n, outputs))
    grad_x, grad_weight, grad_bias = F.linear_backward(grad, x, weight)
    assert_gradient(lambda x: F.linear(x, weight, bias), x, grad, grad_x, rng)
    assert_gradient(lambda weight: F.linear(x, weight, bias), weight, grad, grad_weight, rng)
    assert_gradient(lambda bias: F.linear(x, weight, bias), bias, grad, grad_bias, rng)


@dtypes
def test_linear_at_every_remainder_of_a_tile(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    for n, outputs in itertools.product(TILE_REMAINDERS, TILE_REMAINDERS):
        x, weight = normal(rng, (n, 5), dtype), normal(rng, (outputs, 5), dtype)
        grad = normal(rng, (n, outputs), dtype)
        assert_close(F.linear(x, weight), ref.linear(x, weight), dtype, what=f"{n} by {outputs}")
        for mine, oracle in zip(F.linear_backward(grad, x, weight), ref.linear_backward(grad, x, weight), strict=True):
            assert_close(mine, oracle, dtype, what=f"{n} by {outputs}")


@dtypes
@pytest.mark.parametrize("sizes", [(64, 9216, 70), (3, 4000, 33), (1, 129, 1000), (130, 7, 257)])
def test_linear_of_real_networks(sizes: tuple[int, int, int], dtype: Any, threaded: Any) -> None:
    rng = np.random.default_rng(1)
    n, inputs, outputs = sizes
    x, weight = normal(rng, (n, inputs), dtype), normal(rng, (outputs, inputs), dtype)
    grad = normal(rng, (n, outputs), dtype)
    assert_close(threaded(lambda: F.linear(x, weight)), ref.linear(x, weight), dtype)
    gradients = threaded(lambda: F.linear_backward(grad, x, weight))
    for mine, oracle in zip(gradients, ref.linear_backward(grad, x, weight), strict=True):
        assert_close(mine, oracle, dtype)


@dtypes
@pytest.mark.parametrize("leading", [(), (4,), (2, 3), (2, 1, 3), (2, 0, 3)])
def test_linear_keeps_leading_axes(leading: tuple[int, ...], dtype: Any) -> None:
    rng = np.random.default_rng(2)
    x, weight, bias = (normal(rng, s, dtype) for s in [(*leading, 5), (4, 5), (4,)])
    grad = normal(rng, (*leading, 4), dtype)
    assert_close(F.linear(x, weight, bias), ref.linear(x, weight, bias), dtype)
    for mine, oracle in zip(F.linear_backward(grad, x, weight), ref.linear_backward(grad, x, weight), strict=True):
        assert_close(mine, oracle, dtype)


@dtypes
def test_matmul(seed: int, dtype: Any, threaded: Any) -> None:
    rng = np.random.default_rng(seed)
    m, k, n = (int(size) for size in rng.integers(0, 150 if seed % 8 == 7 else 40, 3))
    a, b = normal(rng, (m, k), dtype), normal(rng, (k, n), dtype)
    assert_close(threaded(lambda: F.matmul(a, b)), a.astype(np.float64) @ b.astype(np.float64), dtype)


def test_linear_of_an_empty_batch_has_zero_weight_gradients() -> None:
    grad_x, grad_weight, grad_bias = F.linear_backward(np.empty((0, 4)), np.empty((0, 3)), np.ones((4, 3)))
    assert grad_x.shape == (0, 3)
    assert not grad_weight.any() and not grad_bias.any()


# Padding and joining --------------------------------------------------------------------------------


@dtypes
def test_pad_and_its_gradient(seed: int, dtype: Any) -> None:
    rng = np.random.default_rng(seed)
    x = normal(rng, random_shape(seed, rank=4), dtype)
    padding = tuple((int(low), int(high)) for low, high in rng.integers(0, 4, (2, 2)))
    value = float(rng.choice([0.0, -0.1, -np.inf]))
    y = F.pad(x, padding, value)
    np.testing.assert_array_equal(y, ref.pad(x, padding, np.float64(dtype(value))))
    assert y.dtype == dtype
    grad = normal(rng, y.shape, dtype)
    np.testing.assert_array_equal(F.pad_backward(grad, padding), ref.pad_backward(grad, padding))


@dtypes
def test_concat_and_its_gradient(seed: int, dtype: Any) -> None:
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 5))
    axis = int(rng.integers(-rank, rank))
    shape = list(random_shape(seed, rank))
    lengths = [int(n) for n in rng.integers(0, 9, rng.integers(1, 5))]
    parts = []
    for length in lengths:
        shape[axis] = length
        parts.append(normal(rng, shape, dtype))
    joined = F.concat(parts, axis)
    np.testing.assert_array_equal(joined, np.concatenate(parts, axis))
    assert joined.dtype == dtype
    grad = normal(rng, joined.shape, dtype)
    for mine, oracle in zip(
        F.concat_backward(grad, parts, axis), ref.concat_backward(grad, lengths, axis), strict=True
    ):
        np.testing.assert_array_equal(mine, oracle)
