"""Normalisation over the batch, over groups and layers, and by neighbouring channels: on random shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import reference as ref
from convkit import functional as F
from geometries import normal
from reference import assert_close, assert_gradient

dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
EPS = 1e-3


def random_shape(seed: int) -> tuple[int, ...]:
    """(N, C, *spatial) with 0 to 3 spatial axes; every eighth one is long enough for several threads."""
    rng = np.random.default_rng([seed, 41])
    rank = seed % 4
    longest = {0: 300, 1: 9000, 2: 90, 3: 20}[rank] if seed % 8 >= 6 else {0: 20, 1: 40, 2: 12, 3: 6}[rank]
    batch, channels = int(rng.integers(2, 8)), int(rng.integers(1, 140 if rank == 0 else 12))
    return batch, channels, *(int(n) for n in rng.integers(1, longest + 1, rank))


def drawn(seed: int, dtype: Any) -> tuple[Any, ...]:
    """x, its gradient, and a weight, a bias, a mean and a variance for each channel."""
    rng = np.random.default_rng(seed)
    shape = random_shape(seed)
    weight, bias, mean, variance = (normal(rng, shape[1:2], dtype) for _ in range(4))
    return normal(rng, shape, dtype) * dtype(3), normal(rng, shape, dtype), weight, bias, mean, np.abs(variance)


# Over the batch -------------------------------------------------------------------------------------


@dtypes
def test_batch_norm_matches_the_oracle(seed: int, dtype: Any, threaded: Any) -> None:
    x, grad, weight, bias, *_ = drawn(seed, dtype)
    axes = ref.over_batch(x)
    x_hat = ref.standardized(x, axes, EPS)
    expected = x_hat * ref.on_channels(weight, x) + ref.on_channels(bias, x)
    y = threaded(lambda: F.batch_norm(x, None, None, weight, bias, True, eps=EPS))
    assert_close(y, expected, dtype)
    assert_close(F.batch_norm(x, None, None, None, None, True, eps=EPS), x_hat, dtype)
    gradients = threaded(lambda: F.batch_norm_backward(grad, x, None, None, weight, True, EPS))
    inner = grad * ref.on_channels(weight, x)
    scale = np.abs(grad).astype(np.float64).sum(axes).max()
    assert_close(gradients[0], ref.standardized_backward(inner, x, axes, EPS), dtype, scale=np.abs(inner).max())
    assert_close(gradients[1], (grad.astype(np.float64) * x_hat).sum(axes), dtype, scale=scale)
    assert_close(gradients[2], grad.astype(np.float64).sum(axes), dtype, scale=scale)


@dtypes
def test_batch_norm_by_running_moments(seed: int, dtype: Any, threaded: Any) -> None:
    x, grad, weight, bias, mean, variance = drawn(seed, dtype)
    root = 1 / np.sqrt(ref.on_channels(variance, x) + EPS)
    x_hat = (x - ref.on_channels(mean, x)) * root
    expected = x_hat * ref.on_channels(weight, x) + ref.on_channels(bias, x)
    scale = np.abs(x_hat * ref.on_channels(weight, x)).max()
    y = threaded(lambda: F.batch_norm(x, mean, variance, weight, bias, eps=EPS))
    assert_close(y, expected, dtype, scale=scale)
    gradients = threaded(lambda: F.batch_norm_backward(grad, x, mean, variance, weight, eps=EPS))
    assert_close(gradients[0], grad * ref.on_channels(weight, x) * root, dtype)
    scale = np.abs(grad * x_hat).sum(ref.over_batch(x)).max()
    assert_close(gradients[1], (grad * x_hat).sum(ref.over_batch(x)), dtype, scale=scale)


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_gradients_are_slopes(seed: int, training: bool) -> None:
    x, grad, weight, bias, mean, variance = drawn(seed % 6, np.float64)

    def y(x: Any, weight: Any, bias: Any) -> Any:
        moments = (None, None) if training else (mean, variance)
        return F.batch_norm(x, *moments, weight, bias, training, eps=EPS)

    rng = np.random.default_rng(seed)
    grad_x, grad_weight, grad_bias = F.batch_norm_backward(grad, x, mean, variance, weight, training, EPS)
    assert_gradient(lambda x: y(x, weight, bias), x, grad, grad_x, rng, step=1e-5, tolerance=1e-6)
    assert_gradient(lambda w: y(x, w, bias), weight, grad, grad_weight, rng)
    assert_gradient(lambda b: y(x, weight, b), bias, grad, grad_bias, rng)


@dtypes
def test_training_moves_the_running_moments(dtype: Any) -> None:
    x, _, _, _, mean, variance = drawn(2, dtype)
    axes = ref.over_batch(x)
    expected_mean = 0.7 * mean.astype(np.float64) + 0.3 * x.astype(np.float64).mean(axes)
    expected_variance = 0.7 * variance.astype(np.float64) + 0.3 * x.astype(np.float64).var(axes, ddof=1)
    F.batch_norm(x, mean, variance, training=True, momentum=0.3)
    assert_close(mean, expected_mean, dtype, scale=3)
    assert_close(variance, expected_variance, dtype)


@pytest.mark.parametrize("shape", [(6, 5, 40, 40), (4000, 3)])
def test_the_variance_of_values_far_from_zero_is_exact(shape: tuple[int, ...]) -> None:
    """The mean of squares less the square of the mean would have no digit left."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32) + np.float32(3e4)
    variance = np.zeros(shape[1], np.float32)
    F.batch_norm(x, np.zeros_like(variance), variance, training=True, momentum=1.0)
    assert_close(variance, x.astype(np.float64).var(ref.over_batch(x), ddof=1), np.float32)


def test_the_variance_after_a_first_sample_far_from_the_others() -> None:
    """The values are shifted by what came first, which here is the worst choice."""
    x = np.random.default_rng(0).standard_normal((64, 2, 30, 30)).astype(np.float32)
    x[0] += 1000
    variance = np.zeros(2, np.float32)
    F.batch_norm(x, np.zeros_like(variance), variance, training=True, momentum=1.0)
    assert_close(variance, x.astype(np.float64).var((0, 2, 3), ddof=1), np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros(3)}, "x must have 2 axes"),
        ({"weight": np.zeros(3)}, r"weight must have shape \(4,\)"),
        ({"running_var": None}, "running_var must be given"),
        ({"running_mean": np.zeros(2)}, r"running_mean must have shape \(4,\)"),
        ({"eps": 0.0}, "eps must be a number above 0"),
        ({"training": True, "momentum": 1.5}, "momentum must be from 0 to 1"),
        ({"training": True, "x": np.zeros((1, 4))}, "training needs two values or more for each channel"),
    ],
)
def test_batch_norm_refuses(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"x": np.zeros((2, 4, 5)), "running_mean": np.zeros(4), "running_var": np.ones(4)}
    with pytest.raises(ValueError, match=f"^batch_norm: {message}"):
        F.batch_norm(**arguments | change)


def test_running_moments_that_cannot_be_written_are_refused() -> None:
    moment = np.zeros(4)
    moment.flags.writeable = False
    with pytest.raises(TypeError, match="running_mean is overwritten while training"):
        F.batch_norm(np.zeros((2, 4)), moment, np.ones(4), training=True)


# Over groups and layers -----------------------------------------------------------------------------


@dtypes
def test_group_norm_matches_the_oracle(seed: int, dtype: Any, threaded: Any) -> None:
    x, grad, weight, bias, *_ = drawn(seed, dtype)
    channels = x.shape[1]
    groups = int(np.random.default_rng(seed).choice([g for g in range(1, channels + 1) if channels % g == 0]))
    split = (x.shape[0], groups, -1)
    x_hat = ref.standardized(x.reshape(split), (2,), EPS).reshape(x.shape)
    if x.size // x.shape[0] == groups:
        return  # one value a group: nothing is left of it
    y = threaded(lambda: F.group_norm(x, groups, weight, bias, EPS))
    assert_close(y, x_hat * ref.on_channels(weight, x) + ref.on_channels(bias, x), dtype)
    gradients = threaded(lambda: F.group_norm_backward(grad, x, groups, weight, EPS))
    inner = (grad * ref.on_channels(weight, x)).reshape(split)
    expected = ref.standardized_backward(inner, x.reshape(split), (2,), EPS).reshape(x.shape)
    assert_close(gradients[0], expected, dtype, scale=np.abs(inner).max() * 3)
    axes = ref.over_batch(x)
    scale = np.abs(grad * x_hat).sum(axes).max()
    assert_close(gradients[1], (grad * x_hat).sum(axes), dtype, scale=scale)
    assert_close(gradients[2], grad.astype(np.float64).sum(axes), dtype, scale=np.abs(grad).sum(axes).max())


@dtypes
@pytest.mark.parametrize("last", [1, 2, 3])
def test_layer_norm_matches_the_oracle(last: int, dtype: Any, threaded: Any) -> None:
    rng = np.random.default_rng(last)
    x, grad = normal(rng, (3, 5, 4, 6), dtype), normal(rng, (3, 5, 4, 6), dtype)
    shape = x.shape[-last:]
    weight, bias = normal(rng, shape, dtype), normal(rng, shape, dtype)
    axes, rest = tuple(range(4 - last, 4)), tuple(range(4 - last))
    x_hat = ref.standardized(x, axes, EPS)
    assert_close(threaded(lambda: F.layer_norm(x, shape, weight, bias, EPS)), x_hat * weight + bias, dtype)
    gradients = threaded(lambda: F.layer_norm_backward(grad, x, shape, weight, EPS))
    assert_close(gradients[0], ref.standardized_backward(grad * weight, x, axes, EPS), dtype)
    assert_close(gradients[1], (grad * x_hat).sum(rest), dtype)
    assert_close(gradients[2], grad.astype(np.float64).sum(rest), dtype)


def test_group_and_layer_norm_gradients_are_slopes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, grad, weight = rng.standard_normal((3, 6, 5)), rng.standard_normal((3, 6, 5)), rng.standard_normal(6)
    grad_x, grad_weight, grad_bias = F.group_norm_backward(grad, x, 2, weight, EPS)
    assert_gradient(lambda x: F.group_norm(x, 2, weight, None, EPS), x, grad, grad_x, rng, step=1e-5, tolerance=1e-7)
    assert_gradient(lambda w: F.group_norm(x, 2, w, None, EPS), weight, grad, grad_weight, rng)
    assert_gradient(lambda b: F.group_norm(x, 2, weight, b, EPS), weight, grad, grad_bias, rng)
    weight = rng.standard_normal((6, 5))
    grad_x, grad_weight, _ = F.layer_norm_backward(grad, x, (6, 5), weight, EPS)
    function = lambda x: F.layer_norm(x, (6, 5), weight, None, EPS)  # noqa: E731
    assert_gradient(function, x, grad, grad_x, rng, step=1e-5, tolerance=1e-7)
    assert_gradient(lambda w: F.layer_norm(x, (6, 5), w, None, EPS), weight, grad, grad_weight, rng)


def test_groups_and_layers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="^group_norm: num_groups 4 does not divide the 6 channels"):
        F.group_norm(np.zeros((2, 6, 3)), 4)
    with pytest.raises(ValueError, match=r"^layer_norm: x must end with normalized_shape \(6,\)"):
        F.layer_norm(np.zeros((2, 6, 3)), 6)


# By neighbouring channels ---------------------------------------------------------------------------


def response_of(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, 5])
    return {
        "size": int(rng.integers(1, 8)),
        "alpha": float(rng.uniform(0.01, 2)),
        "beta": float(rng.choice([0.75, 0.5, 1.3])),
        "k": float(rng.uniform(0.5, 3)),
        "average": bool(rng.random() < 0.5),
    }


@dtypes
def test_local_response_norm_matches_the_oracle(seed: int, dtype: Any, threaded: Any) -> None:
    x = drawn(seed, dtype)[0]
    x = x[..., None] if x.ndim == 2 else x
    arguments = response_of(seed)
    y = threaded(lambda: F.local_response_norm(x, **arguments))
    assert_close(y, ref.local_response_norm(x, **arguments), dtype)


def test_local_response_norm_gradient_is_the_slope(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, grad = rng.standard_normal((2, 9, 300)), rng.standard_normal((2, 9, 300))
    arguments = response_of(seed)
    gradient = F.local_response_norm_backward(grad, x, **arguments)
    function = lambda x: F.local_response_norm(x, **arguments)  # noqa: E731
    assert_gradient(function, x, grad, gradient, rng, step=1e-5, tolerance=1e-7)
    single = F.local_response_norm_backward(grad.astype(np.float32), x.astype(np.float32), **arguments)
    assert_close(single, gradient, np.float32)


def test_the_response_of_the_paper_does_not_divide_alpha() -> None:
    x = np.random.default_rng(0).standard_normal((1, 7, 3))
    paper = F.local_response_norm(x, 5, 1e-4, 0.75, 2.0, average=False)
    np.testing.assert_allclose(paper, F.local_response_norm(x, 5, 5e-4, 0.75, 2.0), rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 3)), 5), "x must have 3 axes"),
        ((np.zeros((2, 3, 4)), 0), "size must be at least 1"),
        ((np.zeros((2, 3, 4)), 5, -1.0), "alpha must be a number >= 0"),
        ((np.zeros((2, 3, 4)), 5, 1e-4, 0.75, 0.0), "k must be a number above 0"),
        ((np.zeros((2, 3, 4), "f4"), 5, 1e-4, 0.75, 1e-60), "k must be a number above 0 in float32, too, not 1e-60"),
    ],
)
def test_local_response_norm_refuses(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"^local_response_norm: {message}"):
        F.local_response_norm(*arguments)
