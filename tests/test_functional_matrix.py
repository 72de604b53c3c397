"""A convolution as a matrix: C by the convolution's definition, Cᵀ by the transposed one's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import geometries
import reference as ref
from convkit import functional as F
from convkit import nn
from geometries import normal
from reference import assert_close

ranks = pytest.mark.parametrize("rank", [1, 2, 3])
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@ranks
@dtypes
def test_matrix_is_the_convolution_and_its_transpose_the_adjoint(rank: int, seed: int, dtype: Any) -> None:
    case = geometries.conv_case(rank, seed)
    rows, columns = math.prod(case.y_shape[1:]), math.prod(case.x_shape[1:])
    if rows * columns > 5_000_000:
        pytest.skip("a matrix of more than five million values")
    rng = np.random.default_rng(seed)
    x, y = normal(rng, (1, *case.x_shape[1:]), dtype), normal(rng, (1, *case.y_shape[1:]), dtype)
    weight = normal(rng, case.weight_shape, dtype)
    matrix = F.convolution_matrix(weight, case.size, **case.written)
    assert matrix.shape == (rows, columns)
    assert matrix.dtype == dtype
    assert_close((matrix @ x.reshape(-1)).reshape(y.shape), ref.conv(x, weight, **case.canonical), dtype)
    grad_x, _, _ = ref.conv_backward(y, x, weight, **case.canonical)
    assert_close((matrix.T @ y.reshape(-1)).reshape(x.shape), grad_x, dtype)


@pytest.mark.parametrize("groups", [1, 3])
def test_transpose_is_the_transposed_convolution(groups: int) -> None:
    rng = np.random.default_rng(groups)
    weight = normal(rng, (6, 6 // groups, 3, 2), np.float64)
    options: dict[str, Any] = {"stride": 2, "padding": 1, "groups": groups}
    matrix = F.convolution_matrix(weight, (7, 6), **options)
    y = normal(rng, (1, 6, 4, 4), np.float64)
    spread = F.conv_transpose2d(y, weight, **options)
    np.testing.assert_allclose((matrix.T @ y.reshape(-1)).reshape(spread.shape), spread, atol=1e-12)


def test_rows_are_the_kernel_moved_along() -> None:
    """Five values to three, as a textbook writes it down."""
    weight = np.array([[[1.0, 2.0, 3.0]]])
    narrow = [[1, 2, 3, 0, 0], [0, 1, 2, 3, 0], [0, 0, 1, 2, 3]]
    assert F.convolution_matrix(weight, 5).tolist() == narrow
    assert F.convolution_matrix(weight, 5, stride=2).tolist() == narrow[::2]
    assert F.convolution_matrix(weight, 3, padding=1).tolist() == [[2, 3, 0], [1, 2, 3], [0, 1, 2]]
    assert F.convolution_matrix(weight, 5, dilation=2).tolist() == [[1, 0, 2, 0, 3]]


def test_one_size_serves_all_axes() -> None:
    weight = np.ones((1, 1, 2, 2))
    np.testing.assert_array_equal(F.convolution_matrix(weight, 3), F.convolution_matrix(weight, (3, 3)))


@pytest.mark.parametrize(
    ("weight", "size", "options", "message"),
    [
        (
            np.ones((3, 3)),
            5,
            {},
            r"weight must have axes \(O, I, k\) or .* or \(O, I, kd, kh, kw\), not shape \(3, 3\)",
        ),
        (np.ones((1, 1, 3)), (5, 5), {}, r"input_size must be one integer, not \(5, 5\)"),
        (np.ones((1, 1, 3)), 0, {}, "input_size must be at least 1, not 0"),
        (np.ones((1, 1, 3)), 2, {}, "a kernel of size 3 .* would fit"),
        (np.ones((3, 1, 3)), 5, {"groups": 2}, "weight has 3 output channels .* not divisible by groups 2"),
        (np.ones((1, 0, 3)), 5, {}, "weight must not be empty"),
        (np.ones((1, 1, 3)), 2**40, {}, "the (output|matrix) .*would have shape .* more values than can be addressed"),
    ],
)
def test_what_does_not_fit_is_refused(weight: Any, size: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^convolution_matrix: {message}"):
        F.convolution_matrix(weight, size, **options)


def test_parameters_are_given_as_values() -> None:
    layer = nn.Conv1d(1, 1, 3)
    with pytest.raises(TypeError, match="^convolution_matrix: weight must be an array; of a parameter, give its value"):
        F.convolution_matrix(layer.weight, 5)
    assert F.convolution_matrix(layer.weight.value, 5).shape == (3, 5)
