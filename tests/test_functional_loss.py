"""Cross-entropy and its gradient: every kind of label, smoothing, class weights, ignored labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import convkit as ck
import reference as ref
from convkit import functional as F
from convkit import nn
from geometries import normal
from reference import assert_close, assert_gradient, relative_error

dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
LIMIT = {np.float32: 1e-5, np.float64: 1e-12}


def draw(seed: int, dtype: Any) -> tuple[Any, Any, dict[str, Any]]:
    """Logits, labels and options: (N, C) or (N, C, H, W), numbers or probabilities."""
    rng = np.random.default_rng(seed)
    n, classes = int(rng.integers(1, 20)), int(rng.integers(1, 40))
    if seed % 8 == 7:
        n = int(rng.integers(500, 4000))
    positions = tuple(int(size) for size in rng.integers(1, 5, 2)) if seed % 3 == 2 else ()
    logits = normal(rng, (n, classes, *positions), dtype) * dtype(3)
    options: dict[str, Any] = {}
    if rng.random() < 0.5:
        options["label_smoothing"] = float(rng.choice([0.1, 0.25, 1.0]))
    if rng.random() < 0.5:
        options["weight"] = (rng.random(classes) + 0.2).astype(dtype)
    if rng.random() < 0.3:
        labels: Any = rng.dirichlet(np.ones(classes), (n, *positions)).astype(dtype)
        return logits, np.moveaxis(labels, -1, 1), options
    labels = rng.integers(0, classes, (n, *positions)).astype(rng.choice(["int64", "int32", "uint8"]))
    if rng.random() < 0.4:
        options["ignore_index"] = int(labels.flat[0]) if rng.random() < 0.7 else -100
        if options["ignore_index"] == -100:
            labels = labels.astype(np.int64)
            labels[rng.random(labels.shape) < 0.3] = -100
        if (labels == options["ignore_index"]).all():
            del options["ignore_index"]
            labels[labels < 0] = 0
    return logits, labels, options


@dtypes
def test_cross_entropy_matches_the_oracle(seed: int, dtype: Any, threaded: Any) -> None:
    logits, labels, options = draw(seed, dtype)
    loss = threaded(lambda: F.cross_entropy(logits, labels, **options))
    expected = ref.cross_entropy(logits, labels, **options)
    assert relative_error(loss, expected) <= LIMIT[dtype]
    gradient = threaded(lambda: F.cross_entropy_backward(logits, labels, **options))
    assert_close(gradient, ref.cross_entropy_backward(logits, labels, **options), dtype)


def test_cross_entropy_gradient_is_the_slope(seed: int) -> None:
    logits, labels, options = draw(seed, np.float64)
    gradient = F.cross_entropy_backward(logits, labels, **options)
    rng = np.random.default_rng(seed)
    assert_gradient(
        lambda logits: F.cross_entropy(logits, labels, **options),
        logits,
        1.0,
        gradient,
        rng,
        step=1e-4,
        tolerance=1e-6,
    )


@dtypes
def test_losses_are_averaged_added_up_or_left_as_they_are(seed: int, dtype: Any) -> None:
    logits, labels, options = draw(seed, dtype)
    expected = ref.cross_entropy_each(logits, labels, **options)
    reductions = {"none": expected, "sum": expected.sum(), "mean": ref.cross_entropy(logits, labels, **options)}
    for reduction, values in reductions.items():
        loss = F.cross_entropy(logits, labels, **options, reduction=reduction)
        assert_close(loss, values, dtype)
        if np.asarray(labels).dtype.kind in "iu" and "label_smoothing" not in options:
            likelihood = F.nll_loss(F.log_softmax(logits), labels, **options, reduction=reduction)
            assert_close(likelihood, values, dtype)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_gradient_of_every_reduction_is_the_slope(reduction: str, seed: int) -> None:
    logits, labels, options = draw(seed, np.float64)
    rng = np.random.default_rng(seed)
    grad = rng.standard_normal(np.shape(F.cross_entropy(logits, labels, **options, reduction=reduction)))
    gradient = F.cross_entropy_backward(logits, labels, **options, reduction=reduction, grad_output=grad)
    assert_gradient(
        lambda x: F.cross_entropy(x, labels, **options, reduction=reduction),
        logits, grad, gradient, rng, step=1e-4, tolerance=1e-6,
    )  # fmt: skip
    if np.asarray(labels).dtype.kind in "iu":
        options.pop("label_smoothing", None)
        gradient = F.nll_loss_backward(logits, labels, **options, reduction=reduction, grad_output=grad)
        assert_gradient(lambda x: F.nll_loss(x, labels, **options, reduction=reduction), logits, grad, gradient, rng)


@pytest.mark.parametrize("function", [F.cross_entropy, F.cross_entropy_backward, F.nll_loss, F.nll_loss_backward])
def test_a_reduction_of_another_name_is_refused(function: Any) -> None:
    with pytest.raises(ValueError, match=f"^{function.__name__}: reduction must be 'mean', 'sum' or 'none', not 'max'"):
        function(np.zeros((2, 3)), [0, 1], reduction="max")


@pytest.mark.parametrize("function", [F.cross_entropy_backward, F.nll_loss_backward])
def test_a_gradient_for_other_losses_is_refused(function: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{function.__name__}: grad_output must have shape \(2,\), not \(3,\)"):
        function(np.zeros((2, 3)), [0, 1], reduction="none", grad_output=np.ones(3))


def test_equal_logits_cost_the_logarithm_of_the_classes() -> None:
    assert F.cross_entropy(np.zeros((5, 10)), np.arange(5)) == pytest.approx(math.log(10), rel=1e-14)


@dtypes
def test_hopeless_and_certain_predictions_are_finite(dtype: Any) -> None:
    logits = np.array([[1e4, 0.0, -1e4]], dtype)
    assert F.cross_entropy(logits, [0]) == 0
    assert F.cross_entropy(logits, [2]) == pytest.approx(2e4)
    gradient = F.cross_entropy_backward(logits, [2])
    np.testing.assert_allclose(gradient, [[1, 0, -1]], atol=1e-6)


def test_labels_may_be_of_any_integer_type() -> None:
    logits = np.random.default_rng(0).standard_normal((4, 3))
    expected = F.cross_entropy(logits, np.array([0, 1, 2, 1]))
    for dtype in (np.int8, np.uint8, np.int16, np.int32, np.uint64, ">i4"):
        assert F.cross_entropy(logits, np.array([0, 1, 2, 1], dtype)) == expected
    assert F.cross_entropy(logits, [0, 1, 2, 1]) == expected
    assert F.cross_entropy(logits, np.array([0, 9, 1, 9, 2, 9, 1, 9])[::2]) == expected


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0], [0, 2**31], [0, -(2**40)]])
def test_labels_outside_of_the_classes_are_refused(labels: Any) -> None:
    """They would be read from beyond the array."""
    for function in (F.cross_entropy, F.cross_entropy_backward):
        with pytest.raises(ValueError, match=r"^cross_entropy.*label"):
            function(np.zeros((2, 3)), np.array(labels))


def test_an_ignored_label_may_be_outside_of_the_classes() -> None:
    logits = np.random.default_rng(1).standard_normal((3, 4))
    loss = F.cross_entropy(logits, np.array([1, -1, 2]), ignore_index=-1)
    assert loss == pytest.approx(F.cross_entropy(logits[[0, 2]], np.array([1, 2])), rel=1e-14)
    assert not F.cross_entropy_backward(logits, np.array([1, -1, 2]), ignore_index=-1)[1].any()


@pytest.mark.parametrize(
    ("logits", "labels", "options"),
    [
        ((2, 3), (3,), {}),
        ((2, 3), (2, 1), {}),
        ((2, 3, 4, 5), (2, 5, 4), {}),
        ((2, 3, 4, 5), (2,), {}),
        ((3,), (3,), {}),
        ((2, 3), (2,), {"label_smoothing": -0.1}),
        ((2, 3), (2,), {"label_smoothing": 1.1}),
        ((2, 3), (2,), {"label_smoothing": math.nan}),
        ((2, 3), (2,), {"weight": np.ones(2)}),
        ((2, 3), (2,), {"weight": np.ones((3, 1))}),
    ],
)
def test_what_does_not_belong_together_is_refused(logits: Any, labels: Any, options: Any) -> None:
    for function in (F.cross_entropy, F.cross_entropy_backward):
        with pytest.raises(ValueError, match=r"^cross_entropy"):
            function(np.zeros(logits), np.zeros(labels, np.int64), **options)


# What does not count ---------------------------------------------------------------------------------

reductions = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
layouts = pytest.mark.parametrize("layout", ["rows", "planes"])  # two kernels


def in_layout(layout: str, *arrays: Any) -> list[Any]:
    """Scores (N, C) and labels (N,) as they are, or each sample as a position of one image."""
    if layout == "rows":
        return list(arrays)
    return [a.T[None, :, None].copy() if a.ndim == 2 else a[None, None] for a in arrays]


@reductions
@layouts
@dtypes
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_what_stands_at_an_ignored_position_spreads_nowhere(
    reduction: str, layout: str, dtype: Any, bad: float, smoothing: float
) -> None:
    rng = np.random.default_rng(0)
    values, numbers = normal(rng, (40, 3), dtype), rng.integers(0, 3, 40)
    options = {"label_smoothing": smoothing, "weight": np.array([0.5, 1, 2], dtype), "reduction": reduction}
    numbers[::5] = 9
    logits, labels = in_layout(layout, values.copy(), numbers)
    expected = F.cross_entropy(logits, labels, ignore_index=9, **options)
    slope = F.cross_entropy_backward(logits, labels, ignore_index=9, **options)
    values[::5, 1] = bad
    logits, labels = in_layout(layout, values, numbers)
    np.testing.assert_array_equal(F.cross_entropy(logits, labels, ignore_index=9, **options), expected)
    gradient = F.cross_entropy_backward(logits, labels, ignore_index=9, **options)
    np.testing.assert_array_equal(gradient, slope)
    assert not np.moveaxis(gradient, 1, -1).reshape(40, 3)[::5].any()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@layouts
def test_in_a_graph_an_ignored_position_has_no_gradient_either(reduction: str, layout: str) -> None:
    logits, labels = in_layout(layout, np.array([[np.nan, 1], [0, 0]], "f4"), np.array([9, 1]))
    loss_fn = partial(F.cross_entropy, ignore_index=9, reduction=reduction)
    loss, _, grad = ck.value_and_grad(nn.Sequential(), lambda x, t: loss_fn(x, t), inputs=True)(logits, labels)
    assert loss == pytest.approx(math.log(2))
    np.testing.assert_allclose(grad, in_layout(layout, np.array([[0, 0], [0.5, -0.5]]))[0])


@reductions
def test_a_gradient_from_above_that_is_infinite_leaves_ignored_positions_alone(reduction: str) -> None:
    for function in (F.cross_entropy_backward, F.nll_loss_backward):
        gradient = function(np.zeros((2, 2)), [9, 1], ignore_index=9, reduction=reduction, grad_output=np.inf)
        np.testing.assert_array_equal(gradient[0], 0)


@reductions
@layouts
@dtypes
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("absent", [math.inf, math.nan])
def test_the_weight_of_a_class_that_no_label_names_may_be_anything(
    reduction: str, layout: str, dtype: Any, soft: bool, absent: float
) -> None:
    """As 1 / counts is infinite for a class that does not occur."""
    rng = np.random.default_rng(1)
    values, numbers = normal(rng, (30, 3), dtype), rng.integers(1, 3, 30)
    numbers[::4] = 0 if soft else 9
    weight = np.array([absent, 0.5, 2], dtype)
    if soft:
        probabilities = np.eye(3, dtype=dtype)[numbers]
        probabilities[::4] = [0, 0.25, 0.75]
        logits, labels = in_layout(layout, values, probabilities)
        options: dict[str, Any] = {"reduction": reduction}
    else:
        logits, labels = in_layout(layout, values, numbers)
        options = {"reduction": reduction, "ignore_index": 9}
    usual = np.array([1, 0.5, 2], dtype)
    for function in (F.cross_entropy, F.cross_entropy_backward):
        got = function(logits, labels, weight=weight, **options)
        np.testing.assert_array_equal(got, function(logits, labels, weight=usual, **options))
        assert np.isfinite(got).all()


@reductions
@layouts
@dtypes
@pytest.mark.parametrize("smoothing", [0.0, 0.5])
@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_target_of_zero_adds_nothing_whatever_the_logit(
    reduction: str, layout: str, dtype: Any, smoothing: float, bad: float
) -> None:
    """0 · log 0 = 0: for probabilities of 0, for classes of weight 0, in every reduction."""
    rng = np.random.default_rng(2)
    values, numbers = normal(rng, (20, 5), dtype), rng.integers(1, 5, 20)
    shares = np.concatenate([np.zeros((20, 1)), rng.dirichlet(np.ones(4), 20)], 1).astype(dtype)
    values[:, 0] = -np.inf
    weight = np.array([0, 1, 0.5, 2, 1], dtype)
    options: dict[str, Any] = {"reduction": reduction, "weight": weight, "label_smoothing": smoothing}
    for targets in (numbers, shares):
        results = []
        for worst in (-np.inf, -200.0):  # of which exp is as much 0
            values[:, 0] = worst
            logits, labels = in_layout(layout, values, targets)
            results.append([f(logits, labels, **options) for f in (F.cross_entropy, F.cross_entropy_backward)])
        for got, expected in zip(*results, strict=True):
            assert np.isfinite(got).all()
            assert_close(got, expected, dtype)
    # A position of which no target is above 0.
    values[3], numbers[3], shares[3] = bad, 0, np.eye(5)[0]
    if smoothing == 0:
        for targets in (numbers, shares):
            logits, labels = in_layout(layout, values, targets)
            assert np.isfinite(F.cross_entropy(logits, labels, **options)).all()
            gradient = np.moveaxis(F.cross_entropy_backward(logits, labels, **options), 1, -1).reshape(20, 5)
            assert np.isfinite(gradient).all() and not gradient[3].any() and gradient[4].any()


def test_a_plan_follows_class_weights_that_are_assigned() -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            self.weight = nn.Buffer(np.ones(3, "f4"))

        def forward(self, x: Any) -> Any:
            return x

    model, rng = Weighted(), np.random.default_rng(3)
    logits, labels = normal(rng, (2, 3, 4, 5), np.float32), rng.integers(0, 3, (2, 4, 5))
    gradient = ck.value_and_grad(
        model, lambda x, t: F.cross_entropy(x, t, weight=model.weight, label_smoothing=0.3), inputs=True
    )
    for weight in ([1, 1, 1], [5, 1, 2]):
        model.weight.assign(np.array(weight, "f4"))
        expected = ref.cross_entropy_backward(logits, labels, weight=np.array(weight), label_smoothing=0.3)
        assert_close(gradient(logits, labels)[2], expected, np.float32)


def test_a_target_above_zero_meets_its_logit() -> None:
    """Nothing else is hidden: neither a loss that is infinite nor one that is not known."""
    logits = np.array([[-np.inf, 1, 2]])
    for reduction in ("mean", "sum"):
        for targets in ([[0.25, 0.75, 0]], [0]):
            assert F.cross_entropy(logits, np.array(targets), reduction=reduction) == np.inf
        assert np.isnan(F.cross_entropy(np.array([[np.nan, 1, 2]]), [1], reduction=reduction))
        assert np.isnan(F.cross_entropy(np.array([[np.nan, 1, 2]]), np.array([[0, 0, 1.0]]), reduction=reduction))


# Mean squared error ---------------------------------------------------------------------------------


@dtypes
def test_mean_squared_error(seed: int, dtype: Any, threaded: Any) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 300 if seed % 8 == 7 else 12, rng.integers(1, 4)))[:2]
    prediction, target = normal(rng, shape, dtype), normal(rng, shape, dtype)
    difference = prediction.astype(np.float64) - target
    loss = threaded(lambda: F.mse_loss(prediction, target))
    assert relative_error(loss, (difference**2).mean()) <= LIMIT[dtype]
    grad_prediction, grad_target = threaded(lambda: F.mse_loss_backward(prediction, target))
    assert_close(grad_prediction, 2 * difference / difference.size, dtype)
    assert_close(grad_target, -2 * difference / difference.size, dtype)
    assert_close(F.mse_loss_backward(prediction, target, grad_output=3.0)[0], 6 * difference / difference.size, dtype)


def test_cross_entropy_gradient_is_scaled_by_what_comes_from_above() -> None:
    logits, labels = np.random.default_rng(0).standard_normal((4, 3)), np.array([0, 2, 1, 1])
    twice = F.cross_entropy_backward(logits, labels, grad_output=2.0)
    np.testing.assert_allclose(twice, 2 * F.cross_entropy_backward(logits, labels), rtol=1e-14)


def test_no_label_that_counts_makes_no_mean() -> None:
    loss = F.cross_entropy(np.zeros((2, 3)), np.array([1, 1]), ignore_index=1)
    assert np.isnan(loss)


def test_labels_that_are_written_to_while_they_are_read_crash_nothing(run_apart: Callable[..., None]) -> None:
    """A loader that uses its buffer again, too soon: each call takes what it has checked, or refuses it."""
    run_apart(
        """
        import threading
        import time
        import numpy as np
        from convkit import functional as F

        def write():
            while not done:
                labels[10000:] = 1 << 34
                labels[10000:] = 1

        logits, labels, done = np.zeros((20000, 10), "f4"), np.zeros(20000, np.int64), []
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            for function in (F.cross_entropy, F.cross_entropy_backward):
                try:
                    function(logits, labels)
                except ValueError as error:
                    assert "is none of the 10 classes" in str(error)
        done.append(True)
        writer.join()
        """
    )
