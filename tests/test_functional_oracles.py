"""The oracles themselves: against definitions written as loops, NumPy and SciPy, and each other.

Nothing here calls the library. An oracle that is wrong would make the library wrong in the same way at best.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import geometries
import reference as ref
from reference import Array, assert_gradient, relative_error


def small_conv_cases(count: int) -> list[geometries.ConvCase]:
    """The smallest of the random convolutions, in one, two and three dimensions."""
    cases = [geometries.conv_case(rank, seed) for rank in (1, 2, 3) for seed in range(40) if seed % 8 != 7]
    work = {id(case): math.prod(case.y_shape) * math.prod(case.weight_shape[1:]) for case in cases}
    return sorted((c for c in cases if work[id(c)] > 0), key=lambda c: work[id(c)])[:count]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


# Convolution --------------------------------------------------------------------------------------


def conv_by_loops(x: Array, w: Array, case: geometries.ConvCase) -> Array:
    """y[n, o, p] = Σ w[o, c, k]·x[n, group's c, p·stride − low + k·dilation], entry by entry."""
    y = np.zeros(case.y_shape)
    per_group = case.out_channels // case.groups
    low = [pair[0] for pair in case.padding]
    for n, o, *place in np.ndindex(*y.shape):
        for c, *tap in np.ndindex(*w.shape[1:]):
            axes = zip(place, case.stride, low, tap, case.dilation, strict=True)
            at = [p * s - b + k * d for p, s, b, k, d in axes]
            if all(0 <= a < size for a, size in zip(at, case.size, strict=True)):
                entry, filter_entry = (n, o, *place), (o, c, *tap)
                pixel = (n, (o // per_group) * w.shape[1] + c, *at)
                y[entry] += w[filter_entry] * x[pixel]
    return y


@pytest.mark.parametrize("case", small_conv_cases(25), ids=repr)
def test_conv_follows_its_definition(case: geometries.ConvCase, rng: np.random.Generator) -> None:
    x, w = rng.standard_normal(case.x_shape), rng.standard_normal(case.weight_shape)
    assert relative_error(ref.conv(x, w, **case.canonical), conv_by_loops(x, w, case)) < 1e-13


def test_conv_matches_scipy(rng: np.random.Generator) -> None:
    signal = pytest.importorskip("scipy.signal")
    x, w = rng.standard_normal((1, 1, 11, 9, 8)), rng.standard_normal((1, 1, 3, 2, 4))
    dilated = np.zeros((5, 3, 4))
    dilated[::2, ::2, :] = w[0, 0]
    expected = signal.correlate(np.pad(x[0, 0], ((1, 2), (0, 3), (2, 0))), dilated, mode="valid")[::2, :, ::3]
    padding = ((1, 2), (0, 3), (2, 0))
    y = ref.conv(x, w, stride=(2, 1, 3), padding=padding, dilation=(2, 2, 1), groups=1)
    assert relative_error(y[0, 0], expected) < 1e-13


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("number", range(6))
def test_conv_gradients_are_slopes(rank: int, number: int, rng: np.random.Generator) -> None:
    case = geometries.conv_case(rank, number)
    x, w = rng.standard_normal(case.x_shape), rng.standard_normal(case.weight_shape)
    b, grad = rng.standard_normal(case.out_channels), rng.standard_normal(case.y_shape)
    grad_x, grad_w, grad_b = ref.conv_backward(grad, x, w, **case.canonical)
    assert_gradient(lambda x: ref.conv(x, w, b, **case.canonical), x, grad, grad_x, rng)
    assert_gradient(lambda w: ref.conv(x, w, b, **case.canonical), w, grad, grad_w, rng)
    assert_gradient(lambda b: ref.conv(x, w, b, **case.canonical), b, grad, grad_b, rng)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("number", range(12))
def test_conv_transpose_is_the_adjoint_of_conv(rank: int, number: int, rng: np.random.Generator) -> None:
    """⟨conv_transpose(x), y⟩ = ⟨x, conv(y)⟩, where y has the size that the transposed convolution makes."""
    case = geometries.transpose_case(rank, number)
    x, w = rng.standard_normal(case.x_shape), rng.standard_normal(case.weight_shape)
    y = rng.standard_normal(case.y_shape)
    spread = ref.conv_transpose(x, w, output_padding=case.output_padding, **case.canonical)
    assert spread.shape == y.shape
    gathered = ref.conv(y, w, **case.canonical)
    windows: ref.Index = (..., *map(slice, case.size))  # output_padding ≥ stride leaves room for more of them
    scale = 1 + np.linalg.norm(spread) * np.linalg.norm(y)
    assert abs((spread * y).sum() - (x * gathered[windows]).sum()) <= 1e-11 * scale


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("number", range(6))
def test_conv_transpose_gradients_are_slopes(rank: int, number: int, rng: np.random.Generator) -> None:
    case = geometries.transpose_case(rank, number)
    x, w = rng.standard_normal(case.x_shape), rng.standard_normal(case.weight_shape)
    b, grad = rng.standard_normal(case.out_channels), rng.standard_normal(case.y_shape)
    forward = {"output_padding": case.output_padding, **case.canonical}
    grad_x, grad_w, grad_b = ref.conv_transpose_backward(grad, x, w, **case.canonical)
    assert_gradient(lambda x: ref.conv_transpose(x, w, b, **forward), x, grad, grad_x, rng)
    assert_gradient(lambda w: ref.conv_transpose(x, w, b, **forward), w, grad, grad_w, rng)
    assert_gradient(lambda b: ref.conv_transpose(x, w, b, **forward), b, grad, grad_b, rng)


def test_conv_transpose_of_one_pixel_is_its_kernel() -> None:
    w = np.arange(6.0).reshape(1, 1, 2, 3)
    y = ref.conv_transpose(
        [[[[2.0]]]],
        w,
        stride=(1, 1),
        padding=((0, 0), (0, 1)),
        output_padding=(1, 0),
        dilation=(2, 1),
        groups=1,
    )
    assert y.tolist() == [[[[0, 2], [0, 0], [6, 8], [0, 0]]]]


@pytest.mark.parametrize("number", range(10))
def test_im2col_times_weight_is_conv(number: int, rng: np.random.Generator) -> None:
    case = geometries.conv_case(2, number)
    x, w = rng.standard_normal(case.x_shape), rng.standard_normal((3, case.in_channels, *case.kernel))
    windows: dict[str, Any] = {
        "stride": case.stride,
        "padding": case.padding,
        "dilation": case.dilation,
    }
    cols = ref.im2col(x, case.kernel, **windows)
    y = w.reshape(3, math.prod(w.shape[1:])) @ cols
    expected = ref.conv(x, w, groups=1, **windows)
    assert relative_error(y.reshape(expected.shape), expected) < 1e-13
    back = rng.standard_normal(cols.shape)
    added = ref.col2im(back, case.size, case.kernel, **windows)
    scale = 1 + np.linalg.norm(back) * np.linalg.norm(cols)
    assert abs((added * x).sum() - (back * cols).sum()) <= 1e-12 * scale


# Pooling ------------------------------------------------------------------------------------------


def pool_windows(case: geometries.PoolCase) -> list[tuple[tuple[int, ...], list[tuple[int, ...]]]]:
    """Every place of the output with the coordinates of its window, those in the padding too."""
    low = [pair[0] for pair in case.padding]
    windows = []
    for place in np.ndindex(*case.out):
        axes = [
            [p * s - b + k * d for k in range(m)]
            for p, s, b, m, d in zip(place, case.stride, low, case.kernel, case.dilation, strict=True)
        ]
        windows.append((place, list(itertools.product(*axes))))
    return windows


def is_within(at: tuple[int, ...], size: tuple[int, ...], padding: ref.Padding) -> bool:
    return all(-low <= a < n + high for a, n, (low, high) in zip(at, size, padding, strict=True))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("number", range(10))
def test_pools_follow_their_definitions(rank: int, number: int, rng: np.random.Generator) -> None:
    none = ((0, 0),) * rank
    largest = geometries.pool_case(rank, number, dilated=True)
    plane = rng.integers(-3, 3, largest.size).astype(float)
    plane[rng.random(largest.size) < 0.1] = np.nan
    options: dict[str, Any] = {
        "stride": largest.stride,
        "padding": largest.padding,
        "dilation": largest.dilation,
    }
    values, index = ref.max_pool(plane[None, None], largest.kernel, ceil_mode=largest.ceil_mode, **options)
    for place, window in pool_windows(largest):
        pixels = [at for at in window if is_within(at, largest.size, none)]
        at = pixels[int(np.argmax([plane[at] for at in pixels]))]  # argmax: the first, and NaN before all
        assert index[0, 0][place] == np.ravel_multi_index(at, largest.size)
        np.testing.assert_equal(values[0, 0][place], plane[at])

    mean = geometries.pool_case(rank, number, dilated=False)
    plane = rng.standard_normal(mean.size)
    averages = ref.avg_pool(
        plane[None, None],
        mean.kernel,
        stride=mean.stride,
        padding=mean.padding,
        ceil_mode=mean.ceil_mode,
        count_include_pad=mean.count_include_pad,
    )
    for place, window in pool_windows(mean):
        total = sum(plane[at] for at in window if is_within(at, mean.size, none))
        count = sum(is_within(at, mean.size, mean.padding if mean.count_include_pad else none) for at in window)
        assert averages[0, 0][place] == pytest.approx(total / count, rel=1e-12, abs=1e-12)


def test_ceil_mode_counts_windows_as_the_formula_does() -> None:
    """The formula of PyTorch and ONNX, ceil((n + low + high − reach) / stride) + 1, less an idle last one."""
    sides, small = (0, 1), range(1, 5)
    for n, k, s, low, high, d in itertools.product(range(1, 9), small, small, sides, sides, (1, 2)):
        reach = d * (k - 1) + 1
        formula = math.ceil((n + low + high - reach) / s) + 1
        formula -= (formula - 1) * s >= n + low
        assert len(ref.window_starts_ceil(n, k, s, (low, high), d)) == max(0, formula)


@pytest.mark.parametrize("number", range(10))
def test_pool_gradients_are_slopes(number: int, rng: np.random.Generator) -> None:
    case = geometries.pool_case(2, number, dilated=True)
    x = rng.permutation(math.prod(case.x_shape)).reshape(case.x_shape).astype(float)
    options: dict[str, Any] = {"stride": case.stride, "padding": case.padding, "ceil_mode": case.ceil_mode}
    y, index = ref.max_pool(x, case.kernel, dilation=case.dilation, **options)
    grad = rng.standard_normal(y.shape)
    grad_x = ref.max_pool_backward(grad, index, case.size)
    assert_gradient(
        lambda x: ref.max_pool(x, case.kernel, dilation=case.dilation, **options)[0],
        x,
        grad,
        grad_x,
        rng,
        step=0.01,
        tolerance=1e-8,
    )
    case = geometries.pool_case(2, number, dilated=False)
    options = {"stride": case.stride, "padding": case.padding, "ceil_mode": case.ceil_mode}
    options["count_include_pad"] = case.count_include_pad
    x = rng.standard_normal(case.x_shape)
    y = ref.avg_pool(x, case.kernel, **options)
    grad = rng.standard_normal(y.shape)
    grad_x = ref.avg_pool_backward(grad, case.size, case.kernel, **options)
    assert_gradient(lambda x: ref.avg_pool(x, case.kernel, **options), x, grad, grad_x, rng)


# Dense layer, activations, loss -------------------------------------------------------------------


def test_linear_gradients_are_slopes(rng: np.random.Generator) -> None:
    x, w, b = rng.standard_normal((2, 5, 3)), rng.standard_normal((4, 3)), rng.standard_normal(4)
    grad = rng.standard_normal((2, 5, 4))
    np.testing.assert_allclose(ref.linear(x, w, b), x @ w.T + b, rtol=1e-13)
    grad_x, grad_w, grad_b = ref.linear_backward(grad, x, w)
    assert_gradient(lambda x: ref.linear(x, w, b), x, grad, grad_x, rng)
    assert_gradient(lambda w: ref.linear(x, w, b), w, grad, grad_w, rng)
    assert_gradient(lambda b: ref.linear(x, w, b), b, grad, grad_b, rng)


@pytest.mark.parametrize("name", ["relu", "tanh", "sigmoid"])
def test_activation_gradients_are_slopes(name: str, rng: np.random.Generator) -> None:
    x, grad = rng.standard_normal(200) * 3, rng.standard_normal(200)
    x[np.abs(x) < 1e-3] = 1.0
    forward, backward = getattr(ref, name), getattr(ref, f"{name}_backward")
    assert_gradient(forward, x, grad, backward(grad, x), rng, step=1e-5, tolerance=1e-8)


def test_activations_far_out() -> None:
    far = [-800.0, -40.0, 0.0, 40.0, 800.0]
    np.testing.assert_allclose(ref.sigmoid(far), [0.0, math.exp(-40), 0.5, 1.0, 1.0], rtol=1e-14)
    slopes = [0, 4 * math.exp(-80), 1, 4 * math.exp(-80), 0]
    np.testing.assert_allclose(ref.tanh_backward(np.ones(5), far), slopes)
    np.testing.assert_allclose(ref.softmax([[1000.0, 1000.0, -1000.0]], 1), [[0.5, 0.5, 0.0]])


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_gradients_are_slopes(name: str, axis: int, rng: np.random.Generator) -> None:
    x, grad = rng.standard_normal((3, 4, 5)) * 3, rng.standard_normal((3, 4, 5))
    np.testing.assert_allclose(ref.softmax(x, axis).sum(axis=axis), 1, rtol=1e-13)
    forward, backward = getattr(ref, name), getattr(ref, f"{name}_backward")
    gradient = backward(grad, x, axis)
    assert_gradient(lambda x: forward(x, axis), x, grad, gradient, rng, step=1e-5, tolerance=1e-8)


@pytest.mark.parametrize("shape", [(6, 4), (3, 4, 2, 3)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["integers", "ignored", "probabilities"])
def test_cross_entropy(
    shape: tuple[int, ...], weighted: bool, smoothing: float, kind: str, rng: np.random.Generator
) -> None:
    """Row by row: −Σ w_c t_c log p_c with smoothed targets t, over the sum of the rows' weights."""
    logits = rng.standard_normal(shape) * 2
    classes = shape[1]
    weight = rng.random(classes) + 0.5 if weighted else None
    w = np.ones(classes) if weight is None else weight
    rows = np.moveaxis(logits, 1, -1).reshape(-1, classes)
    ignore = 2 if kind == "ignored" else None
    labels: Any = rng.integers(0, classes, (shape[0], *shape[2:]))
    if kind == "probabilities":
        labels = np.moveaxis(rng.dirichlet(np.ones(classes), labels.shape), -1, 1)
        targets = np.moveaxis(labels, 1, -1).reshape(-1, classes)
    else:
        targets = np.eye(classes)[labels.ravel()]
    total, divisor = 0.0, 0.0
    for row, target in zip(rows, targets, strict=True):
        if kind == "ignored" and target[2] == 1:
            continue
        log_p = row - math.log(sum(math.exp(value) for value in row))
        total -= float((w * ((1 - smoothing) * target + smoothing / classes) * log_p).sum())
        divisor += 1.0 if kind == "probabilities" else float(w @ target)
    options: dict[str, Any] = {"label_smoothing": smoothing, "weight": weight, "ignore_index": ignore}
    assert ref.cross_entropy(logits, labels, **options) == pytest.approx(total / divisor, rel=1e-12)
    gradient = ref.cross_entropy_backward(logits, labels, **options)
    assert_gradient(
        lambda logits: ref.cross_entropy(logits, labels, **options),
        logits,
        1.0,
        gradient,
        rng,
        step=1e-5,
        tolerance=1e-8,
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["cross_entropy", "nll_loss"])
def test_losses_and_their_gradients(name: str, reduction: str, rng: np.random.Generator) -> None:
    scores, labels = rng.standard_normal((3, 4, 2)), rng.integers(0, 4, (3, 2))
    options: dict[str, Any] = {"weight": rng.random(4) + 0.5, "ignore_index": int(labels[0, 0])}
    log_p = ref.log_softmax(scores, 1) if name == "cross_entropy" else scores
    rows = np.zeros((3, 2))
    for (n, i), label in np.ndenumerate(labels):
        if label != labels[0, 0]:
            rows[n, i] = -log_p[n, label, i] * options["weight"][label]
    divisor = options["weight"][labels[labels != labels[0, 0]]].sum()
    expected = {"none": rows, "sum": rows.sum(), "mean": rows.sum() / divisor}[reduction]
    loss, gradient = ref.losses(name, scores, labels, reduction, **options)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    assert_gradient(
        lambda x: ref.losses(name, x, labels, reduction, **options)[0], scores, np.ones(np.shape(loss)), gradient, rng,
        step=1e-5, tolerance=1e-8,
    )  # fmt: skip


# Borders, sizes, channels -------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "numpys"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")])
def test_borders_are_numpys(mode: str, numpys: Any, rng: np.random.Generator) -> None:
    x, pairs = rng.standard_normal((2, 3, 5, 4)), ((4, 2), (0, 3))
    y = ref.pad_by(x, pairs, mode)
    np.testing.assert_array_equal(y, np.pad(x, ((0, 0), (0, 0), *pairs), numpys))
    grad = rng.standard_normal(y.shape)
    assert_gradient(lambda x: ref.pad_by(x, pairs, mode), x, grad, ref.pad_by_backward(grad, pairs, mode), rng)


@pytest.mark.parametrize(("mode", "corners"), [("nearest", False), ("bilinear", False), ("bilinear", True)])
def test_interpolation_gradients_are_slopes(mode: str, corners: bool, rng: np.random.Generator) -> None:
    x, grad = rng.standard_normal((2, 3, 4, 5)), rng.standard_normal((2, 3, 7, 3))
    gradient = ref.interpolate_backward(grad, (4, 5), mode, corners)
    assert_gradient(lambda x: ref.interpolate(x, (7, 3), mode, corners), x, grad, gradient, rng)


def test_unpooling_gradients_are_slopes(rng: np.random.Generator) -> None:
    x, index, grad = rng.standard_normal((2, 3, 4)), rng.integers(0, 6, (2, 3, 4)), rng.standard_normal((2, 3, 6))
    assert_gradient(lambda x: ref.max_unpool(x, index, (6,)), x, grad, ref.max_unpool_backward(grad, index), rng)


def test_unshuffling_undoes_shuffling(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 18, 3, 2))
    np.testing.assert_array_equal(ref.pixel_unshuffle(ref.pixel_shuffle(x, 3), 3), x)


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_local_response_gradients_are_slopes(size: int, rng: np.random.Generator) -> None:
    x, grad, options = rng.standard_normal((2, 5, 3)), rng.standard_normal((2, 5, 3)), (size, 0.7, 0.75, 2.0, True)
    gradient = ref.local_response_norm_backward(grad, x, *options)
    function = lambda x: ref.local_response_norm(x, *options)  # noqa: E731
    assert_gradient(function, x, grad, gradient, rng, step=1e-5, tolerance=1e-8)


@pytest.mark.parametrize("count", [1, 3])
def test_prelu_gradients_are_slopes(count: int, rng: np.random.Generator) -> None:
    x, weight, grad = rng.standard_normal((2, 3, 4)), rng.standard_normal(count), rng.standard_normal((2, 3, 4))
    grad_x, grad_weight = ref.prelu_backward(grad, x, weight)
    assert_gradient(lambda x: ref.prelu(x, weight), x, grad, grad_x, rng, step=1e-6, tolerance=1e-8)
    assert_gradient(lambda weight: ref.prelu(x, weight), weight, grad, grad_weight, rng)


# The textbook's pair ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["valid", "full", "same"])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5])
def test_pair_matches_numpy_in_one_dimension(mode: Any, length: int, rng: np.random.Generator) -> None:
    signal, kernel = rng.standard_normal(9), rng.standard_normal(length)
    for mine, numpys in [(ref.convolve, np.convolve), (ref.correlate, np.correlate)]:
        np.testing.assert_allclose(mine(signal, kernel, mode), numpys(signal, kernel, mode), atol=1e-13)


@pytest.mark.parametrize("mode", ["valid", "full", "same"])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (3, 3), (4, 2), (5, 4)])
def test_pair_matches_scipy_in_two_dimensions(mode: str, shape: tuple[int, int], rng: np.random.Generator) -> None:
    scipy_signal = pytest.importorskip("scipy.signal")
    image, kernel = rng.standard_normal((7, 8)), rng.standard_normal(shape)
    for mine, theirs in [(ref.convolve, scipy_signal.convolve2d), (ref.correlate, scipy_signal.correlate)]:
        expected = theirs(image, kernel, mode)
        np.testing.assert_allclose(mine(image, kernel, mode), expected, atol=1e-12)
        np.testing.assert_allclose(mine(image, kernel, mode, 2), expected[::2, ::2], atol=1e-12)


# Updates ------------------------------------------------------------------------------------------


def test_updates_follow_their_recursions(rng: np.random.Generator) -> None:
    start, gradients = rng.standard_normal(7), list(rng.standard_normal((5, 7)))
    for decoupled in (False, True):
        w, m, v = start.copy(), np.zeros(7), np.zeros(7)
        for t, gradient in enumerate(gradients, 1):
            g = gradient + (0 if decoupled else 0.1 * w)
            w -= 0.02 * 0.1 * w if decoupled else 0
            m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2
            w -= 0.02 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-3)
        options: dict[str, Any] = {"lr": 0.02, "beta1": 0.8, "beta2": 0.9, "eps": 1e-3, "weight_decay": 0.1}
        assert relative_error(ref.adam(start, gradients, decoupled=decoupled, **options), w) < 1e-13
    two_steps = ref.sgd([1.0], [[1.0], [2.0]], lr=0.5, momentum=0.5)
    assert two_steps.tolist() == [1.0 - 0.5 * 1.0 - 0.5 * (0.5 * 1.0 + 2.0)]
    nesterov = ref.sgd([1.0], [[1.0]], lr=0.5, momentum=0.5, nesterov=True, weight_decay=1.0)
    assert nesterov.tolist() == [1.0 - 0.5 * (2.0 + 0.5 * 2.0)]


# Measures and generator ---------------------------------------------------------------------------


def test_relative_error_is_over_the_whole_array() -> None:
    assert relative_error([1.0, 100.0], [2.0, 100.0]) == 0.01
    assert relative_error([np.nan, np.inf, 1.0], [np.nan, np.inf, 1.0]) == 0.0
    assert relative_error([0.0, 1.0], [np.nan, 1.0]) == np.inf
    assert relative_error([np.inf, 1.0], [-np.inf, 1.0]) == np.inf
    assert relative_error([0.5], [0.0]) == 0.5


def test_assert_gradient_sees_a_wrong_gradient(rng: np.random.Generator) -> None:
    x, grad = rng.standard_normal(5), np.ones(5)
    assert_gradient(lambda x: 3 * x, x, grad, 3 * grad, rng)
    with pytest.raises(AssertionError, match="slope off"):
        assert_gradient(lambda x: 3 * x, x, grad, 3 * grad + [0, 0, 1e-6, 0, 0], rng)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_generator_reaches_what_it_promises(rank: int) -> None:
    cases = [geometries.conv_case(rank, seed) for seed in range(200)]
    written = [case.written.get("padding") for case in cases]
    assert {"valid", "same", "full"} <= {padding for padding in written if isinstance(padding, str)}
    assert {case.batch for case in cases} >= {0, 1, 2, 3}
    assert {k for case in cases for k in case.kernel} >= {1, 2, 3, 4, 5, 7}
    assert {s for case in cases for s in case.stride} == {1, 2, 3}
    assert {d for case in cases for d in case.dilation} == {1, 2, 3}
    for remainder in range(16):
        assert any(case.out_channels % 16 == remainder for case in cases)
        assert any(math.prod(case.out) % 16 == remainder for case in cases)
    depthwise = [case for case in cases if case.groups == case.in_channels > 1]
    assert any(case.out_channels == case.groups for case in depthwise)
    assert any(case.out_channels > case.groups for case in depthwise)
    assert any(1 < case.groups < case.in_channels for case in cases)
    assert max(case.out_channels for case in cases) > 32
    axes = [axis for c in cases for axis in zip(c.size, c.kernel, c.dilation, c.padding, strict=True)]
    assert any(low != high for _, _, _, (low, high) in axes)
    assert any(low > d * (k - 1) for _, k, d, (low, _) in axes)
    assert any(d * (k - 1) + 1 > n for n, k, d, _ in axes)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_generator_reaches_rare_transposes_and_pools(rank: int) -> None:
    transposed = [geometries.transpose_case(rank, seed) for seed in range(200)]
    assert any(max(case.output_padding) > 0 for case in transposed)
    assert any(e >= s for c in transposed for e, s in zip(c.output_padding, c.stride, strict=True))
    pools = [geometries.pool_case(rank, seed, dilated=True) for seed in range(200)]
    floor = [ref.output_shape(c.size, c.kernel, c.stride, c.padding, c.dilation) for c in pools]
    assert any(case.out != out for case, out in zip(pools, floor, strict=True))
