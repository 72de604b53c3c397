"""Windows as columns and back: im2col and col2im."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import geometries
import reference as ref
from convkit import functional as F
from geometries import normal
from reference import assert_close

dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def window_arguments(case: geometries.ConvCase) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of im2col as written for the library, and as the oracle takes them."""
    canonical = {name: getattr(case, name) for name in ("stride", "padding", "dilation")}
    return {k: v for k, v in case.written.items() if k != "groups"}, canonical


@pytest.mark.parametrize("rank", [1, 2, 3])
@dtypes
def test_im2col_and_col2im_match_the_oracles(rank: int, seed: int, dtype: Any, threaded: Any) -> None:
    case = geometries.conv_case(rank, seed)
    written, canonical = window_arguments(case)
    rng = np.random.default_rng(seed)
    x = normal(rng, case.x_shape, dtype)
    expected = ref.im2col(x, case.kernel, **canonical)
    cols = threaded(lambda: F.im2col(x, case.kernel, **written))
    assert cols.dtype == dtype
    np.testing.assert_array_equal(cols, expected)  # values are moved, not computed
    grad = normal(rng, expected.shape, dtype)
    back = threaded(lambda: F.col2im(grad, case.size, case.kernel, **written))
    assert_close(back, ref.col2im(grad, case.size, case.kernel, **canonical), dtype)


def test_more_than_three_axes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^im2col: x must have axes .* or \(N, C, D, H, W\), not shape"):
        F.im2col(np.ones((1, 1, 2, 2, 2, 2)), 1)
    with pytest.raises(ValueError, match="^col2im: output_size must have one to three entries, not"):
        F.col2im(np.ones((1, 1, 16)), (2, 2, 2, 2), 1)


def test_rows_are_channels_then_taps_and_columns_are_windows() -> None:
    """The order of PyTorch's unfold."""
    x = np.arange(18.0).reshape(1, 2, 3, 3)
    cols = F.im2col(x, 2)
    assert cols.shape == (1, 8, 4)
    assert cols[0, 0].tolist() == [0, 1, 3, 4]  # channel 0, tap (0, 0)
    assert cols[0, 1].tolist() == [1, 2, 4, 5]  # channel 0, tap (0, 1)
    assert cols[0, 2].tolist() == [3, 4, 6, 7]  # channel 0, tap (1, 0)
    assert cols[0, 4].tolist() == [9, 10, 12, 13]  # channel 1, tap (0, 0)


def test_convolution_is_a_product_with_the_columns() -> None:
    rng = np.random.default_rng(0)
    x, weight = normal(rng, (2, 3, 9, 8), np.float64), normal(rng, (4, 3, 3, 2), np.float64)
    options: dict[str, Any] = {"stride": 2, "padding": ((1, 0), (0, 2)), "dilation": (1, 2)}
    y = F.conv2d(x, weight, **options)
    product = weight.reshape(4, -1) @ F.im2col(x, (3, 2), **options)
    np.testing.assert_allclose(y.reshape(product.shape), product, atol=1e-12)


def test_col2im_counts_how_often_a_pixel_is_seen() -> None:
    cols = F.im2col(np.ones((1, 1, 4, 4)), 3)
    assert F.col2im(cols, (4, 4), 3)[0, 0].tolist() == [
        [1, 2, 2, 1],
        [2, 4, 4, 2],
        [2, 4, 4, 2],
        [1, 2, 2, 1],
    ]


def test_col2im_is_the_adjoint_of_im2col(seed: int) -> None:
    case = geometries.conv_case(2, seed)
    written, _ = window_arguments(case)
    rng = np.random.default_rng(seed)
    x = normal(rng, case.x_shape, np.float64)
    cols = F.im2col(x, case.kernel, **written)
    grad = normal(rng, cols.shape, np.float64)
    back = F.col2im(grad, case.size, case.kernel, **written)
    assert (back * x).sum() == pytest.approx((grad * cols).sum(), rel=1e-11, abs=1e-11)
