"""Convolution and transposed convolution, forward and backward, on random geometries and at the edges."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convkit as ck
import geometries
import reference as ref
from convkit import functional as F
from convkit import nn
from geometries import ConvCase, normal
from reference import assert_close, assert_gradient
from strange_pixels import PLACES, VALUES, assert_exact_without_winograd, assert_goes_no_further, reached, with_pixel
from strange_pixels import winograd as switched

ranks = pytest.mark.parametrize("rank", [1, 2, 3])
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def conv_arrays(case: ConvCase, seed: int, dtype: Any) -> tuple[Any, Any, Any, Any]:
    """x, weight, bias (or None) and a gradient of the output."""
    rng = np.random.default_rng(seed)
    shapes = (case.x_shape, case.weight_shape, (case.out_channels,), case.y_shape)
    x, weight, bias, grad = (normal(rng, shape, dtype) for shape in shapes)
    return x, weight, bias if case.bias else None, grad


def function(name: str, rank: int, backward: bool = False) -> Any:
    return getattr(F, f"{name}{rank}d" + ("_backward" if backward else ""))


# Random geometries ----------------------------------------------------------------------------------


@ranks
@dtypes
def test_conv_matches_the_oracle(rank: int, seed: int, dtype: Any, threaded: Any) -> None:
    case = geometries.conv_case(rank, seed)
    x, weight, bias, grad = conv_arrays(case, seed, dtype)
    y = threaded(lambda: function("conv", rank)(x, weight, bias, **case.written))
    assert_close(y, ref.conv(x, weight, bias, **case.canonical), dtype)
    gradients = threaded(lambda: function("conv", rank, True)(grad, x, weight, **case.written))
    expected = ref.conv_backward(grad, x, weight, **case.canonical)
    for name, mine, oracle in zip(("grad_x", "grad_weight", "grad_bias"), gradients, expected, strict=True):
        assert_close(mine, oracle, dtype, what=name)


@ranks
def test_conv_gradients_are_slopes(rank: int, seed: int) -> None:
    case = geometries.conv_case(rank, seed)
    x, weight, _, grad = conv_arrays(case, seed, np.float64)
    bias = np.zeros(case.out_channels)
    rng = np.random.default_rng(seed)
    conv = function("conv", rank)
    grad_x, grad_weight, grad_bias = function("conv", rank, True)(grad, x, weight, **case.written)
    assert_gradient(lambda x: conv(x, weight, bias, **case.written), x, grad, grad_x, rng)
    assert_gradient(lambda weight: conv(x, weight, bias, **case.written), weight, grad, grad_weight, rng)
    assert_gradient(lambda bias: conv(x, weight, bias, **case.written), bias, grad, grad_bias, rng)


@ranks
@dtypes
def test_conv_transpose_matches_the_oracle(rank: int, seed: int, dtype: Any, threaded: Any) -> None:
    case = geometries.transpose_case(rank, seed)
    x, weight, bias, grad = conv_arrays(case, seed, dtype)
    y = threaded(lambda: function("conv_transpose", rank)(x, weight, bias, **case.written))
    expected = ref.conv_transpose(x, weight, bias, output_padding=case.output_padding, **case.canonical)
    assert_close(y, expected, dtype)
    gradients = threaded(lambda: function("conv_transpose", rank, True)(grad, x, weight, **case.written))
    oracles = ref.conv_transpose_backward(grad, x, weight, **case.canonical)
    for name, mine, oracle in zip(("grad_x", "grad_weight", "grad_bias"), gradients, oracles, strict=True):
        assert_close(mine, oracle, dtype, what=name)


@pytest.mark.parametrize("images", [1, 16])
def test_kernels_far_larger_than_the_plane_cost_what_they_multiply(images: int) -> None:
    """Depthwise, or in lanes, each of 100,002 outputs would look at 100,000 products, three of which are not zero."""
    rng = np.random.default_rng(0)
    x, weight = normal(rng, (images, 2, 3), np.float32), normal(rng, (2, 1, 100_000), np.float32)
    layer = nn.ConvTranspose1d(2, 2, 100_000, groups=2, bias=False)
    layer.weight.assign(weight)
    expected = [
        [np.convolve(x[n, c].astype(float), weight[c, 0].astype(float)) for c in range(2)] for n in range(images)
    ]
    began = time.perf_counter()
    assert_close(layer(x), np.asarray(expected), np.float32)
    assert time.perf_counter() - began < 30  # it takes a tenth of a second, and took minutes


@ranks
def test_conv_transpose_gradients_are_slopes(rank: int, seed: int) -> None:
    case = geometries.transpose_case(rank, seed)
    x, weight, _, grad = conv_arrays(case, seed, np.float64)
    bias = np.zeros(case.out_channels)
    rng = np.random.default_rng(seed)
    conv = function("conv_transpose", rank)
    grad_x, grad_weight, grad_bias = function("conv_transpose", rank, True)(grad, x, weight, **case.written)
    assert_gradient(lambda x: conv(x, weight, bias, **case.written), x, grad, grad_x, rng)
    assert_gradient(lambda weight: conv(x, weight, bias, **case.written), weight, grad, grad_weight, rng)
    assert_gradient(lambda bias: conv(x, weight, bias, **case.written), bias, grad, grad_bias, rng)


# Every remainder of a register tile -----------------------------------------------------------------


@dtypes
@pytest.mark.parametrize("channels", geometries.TILE_REMAINDERS)
def test_every_count_of_output_channels(channels: int, dtype: Any) -> None:
    """Rows of a tile are output channels, columns are pixels."""
    rng = np.random.default_rng(channels)
    weight = normal(rng, (channels, 3, 1, 2), dtype)
    arguments: dict[str, Any] = {
        "stride": (1, 1),
        "padding": ((0, 0), (0, 0)),
        "dilation": (1, 1),
        "groups": 1,
    }
    for pixels in geometries.TILE_REMAINDERS:
        x = normal(rng, (2, 3, 1, pixels + 1), dtype)
        grad = normal(rng, (2, channels, 1, pixels), dtype)
        assert_close(F.conv2d(x, weight), ref.conv(x, weight, **arguments), dtype)
        for mine, oracle in zip(
            F.conv2d_backward(grad, x, weight), ref.conv_backward(grad, x, weight, **arguments), strict=True
        ):
            assert_close(mine, oracle, dtype, what=f"{pixels} pixels")


@dtypes
@pytest.mark.parametrize(
    ("x_shape", "weight_shape", "options"),
    [
        ((3, 1, 28, 28), (64, 1, 5, 5), {}),
        ((2, 64, 12, 12), (128, 64, 3, 3), {}),
        ((5, 10, 12, 12), (20, 10, 5, 5), {}),
        ((2, 3, 63, 63), (48, 3, 11, 11), {"stride": 4, "padding": 2}),
        ((1, 3, 56, 56), (32, 3, 7, 7), {"stride": 2, "padding": 3}),
        ((1, 256, 14, 14), (96, 256, 1, 1), {}),
        ((1, 130, 9, 9), (130, 1, 3, 3), {"groups": 130, "padding": 1}),
        ((2, 96, 13, 13), (64, 48, 5, 5), {"groups": 2, "padding": 2}),
        ((1, 130, 23, 29), (70, 130, 3, 3), {"padding": 1}),
        ((1, 128, 9, 9), (37, 128, 1, 1), {"stride": 2}),
        ((2, 128, 7, 7), (150, 128, 3, 3), {"stride": 2, "padding": 1}),
    ],
)
def test_layers_of_real_networks(
    x_shape: Any, weight_shape: Any, options: dict[str, int], dtype: Any, threaded: Any
) -> None:
    """Reductions much longer than those of the random geometries, blocked and shared out among threads."""
    rng = np.random.default_rng(3)
    x, weight = normal(rng, x_shape, dtype), normal(rng, weight_shape, dtype)
    stride, padding, groups = options.get("stride", 1), options.get("padding", 0), options.get("groups", 1)
    canonical: dict[str, Any] = {
        "stride": (stride, stride),
        "padding": ((padding, padding), (padding, padding)),
        "dilation": (1, 1),
        "groups": groups,
    }
    y = threaded(lambda: F.conv2d(x, weight, **options))
    assert_close(y, ref.conv(x, weight, **canonical), dtype)
    grad = normal(rng, y.shape, dtype)
    gradients = threaded(lambda: F.conv2d_backward(grad, x, weight, **options))
    for mine, oracle in zip(gradients, ref.conv_backward(grad, x, weight, **canonical), strict=True):
        assert_close(mine, oracle, dtype)


@pytest.mark.usefixtures("threaded")
@pytest.mark.parametrize("size", [(7, 7), (14, 14), (23, 29)])
def test_one_image_is_shared_out_among_any_number_of_threads(size: tuple[int, int]) -> None:
    """Shares end anywhere: within a box of pixels, a run of panels, the channels of both."""
    rng = np.random.default_rng(5)
    x, weight = normal(rng, (1, 130, *size), np.float32), normal(rng, (70, 130, 3, 3), np.float32)
    grad = normal(rng, (1, 70, *size), np.float32)
    ck.set_num_threads(1)
    alone = F.conv2d(x, weight, padding=1), F.conv_transpose2d(grad, weight, padding=1)
    for threads in (2, 3, 5, 8, 64):
        ck.set_num_threads(threads)
        together = F.conv2d(x, weight, padding=1), F.conv_transpose2d(grad, weight, padding=1)
        for one, many in zip(alone, together, strict=True):
            assert one.tobytes() == many.tobytes(), f"{threads} threads"


# Padding by name ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dilation", [1, 2])
def test_same_padding_promises_the_input_size_over_the_stride(stride: int, kernel: int, dilation: int) -> None:
    """TensorFlow's rule: ceil(n / stride) outputs, and an odd pixel of padding goes to the end."""
    rng = np.random.default_rng(0)
    weight = normal(rng, (1, 1, kernel), np.float64)
    for n in range(1, 14):
        x = normal(rng, (1, 1, n), np.float64)
        y = F.conv1d(x, weight, stride=stride, padding="same", dilation=dilation)
        assert y.shape == (1, 1, math.ceil(n / stride))
        total = max(0, dilation * (kernel - 1) + 1 - (n % stride or stride))
        widened = np.pad(x, ((0, 0), (0, 0), (total // 2, total - total // 2)))
        np.testing.assert_array_equal(y, F.conv1d(widened, weight, stride=stride, dilation=dilation))


def test_named_paddings_give_the_textbooks_sizes() -> None:
    x, weight = np.ones((1, 1, 9, 8)), np.ones((1, 1, 3, 5))
    assert F.conv2d(x, weight, padding="valid").shape == (1, 1, 7, 4)
    assert F.conv2d(x, weight, padding="same").shape == (1, 1, 9, 8)
    assert F.conv2d(x, weight, padding="full").shape == (1, 1, 11, 12)
    assert F.conv2d(x, weight, padding="full", dilation=2).shape == (1, 1, 13, 16)
    assert F.conv1d(np.ones((1, 1, 9)), np.ones((1, 1, 3)), padding="full")[0, 0, 0] == 1


@pytest.mark.parametrize("name", ["same", "full"])
@pytest.mark.parametrize("stride", [1, 2])
def test_backward_takes_the_same_names(name: str, stride: int) -> None:
    rng = np.random.default_rng(5)
    x, weight = normal(rng, (2, 3, 7, 6), np.float64), normal(rng, (4, 3, 4, 3), np.float64)
    pairs = geometries.named_padding(name, (7, 6), (4, 3), (stride, stride), (1, 1))
    grad = normal(rng, F.conv2d(x, weight, None, stride, name).shape, np.float64)
    named = F.conv2d_backward(grad, x, weight, stride, name)
    explicit = F.conv2d_backward(grad, x, weight, stride, pairs)
    for a, b in zip(named, explicit, strict=True):
        np.testing.assert_array_equal(a, b)


def test_asymmetric_padding_is_padding_by_hand() -> None:
    rng = np.random.default_rng(6)
    x, weight = normal(rng, (2, 3, 5, 6), np.float64), normal(rng, (4, 3, 3, 2), np.float64)
    y = F.conv2d(x, weight, padding=((0, 4), (3, 1)))
    np.testing.assert_allclose(y, F.conv2d(np.pad(x, ((0, 0), (0, 0), (0, 4), (3, 1))), weight), rtol=0, atol=1e-14)


# Edges ----------------------------------------------------------------------------------------------


@ranks
@dtypes
@pytest.mark.parametrize("name", ["conv", "conv_transpose"])
def test_an_empty_batch_has_zero_weight_gradients(name: str, rank: int, dtype: Any) -> None:
    x, weight = np.ones((0, 4, *(5,) * rank), dtype), np.ones((4, 4, *(3,) * rank), dtype)
    for attempt in range(3):  # memory that is not written may hold zeros by chance
        rubbish = np.full((4, 4, *(3,) * rank), attempt + 7, dtype)
        del rubbish
        y = function(name, rank)(x, weight)
        assert y.shape[:2] == (0, 4)
        grad_x, grad_weight, grad_bias = function(name, rank, True)(np.empty_like(y), x, weight)
        assert grad_x.shape == x.shape
        assert grad_weight.shape == weight.shape and not grad_weight.any()
        assert grad_bias.shape == (4,) and not grad_bias.any()


def test_weights_and_gradients_in_any_memory_order() -> None:
    """A weight stored transposed and an expanded gradient, which have gone wrong elsewhere."""
    rng = np.random.default_rng(8)
    x, weight = normal(rng, (2, 3, 8, 8), np.float32), normal(rng, (4, 3, 3, 3), np.float32)
    stored = np.ascontiguousarray(weight.transpose(2, 3, 1, 0)).transpose(3, 2, 0, 1)
    assert not stored.flags.c_contiguous
    grad = np.broadcast_to(np.float32(0.5), (2, 4, 6, 6))
    np.testing.assert_array_equal(F.conv2d(x, stored), F.conv2d(x, weight))
    for a, b in zip(F.conv2d_backward(grad, x, stored), F.conv2d_backward(grad.copy(), x, weight), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_conv_transpose_undoes_the_shape_of_conv(stride: int, dilation: int) -> None:
    """⟨conv(x), y⟩ = ⟨x, conv_transpose(y)⟩, also dilated, also with stride 2 where sizes do not divide."""
    rng = np.random.default_rng(9)
    weight = normal(rng, (5, 3, 3, 2), np.float64)
    for size in [(9, 9), (10, 11), (12, 8)]:
        x = normal(rng, (2, 3, *size), np.float64)
        y = F.conv2d(x, weight, stride=stride, dilation=dilation, padding=1)
        reach = [dilation * (k - 1) + 1 for k in (3, 2)]
        back = [(n - 1) * stride + m - 2 for n, m in zip(y.shape[2:], reach, strict=True)]
        left = tuple(n - b for n, b in zip(size, back, strict=True))
        grad = normal(rng, y.shape, np.float64)
        spread = F.conv_transpose2d(grad, weight, stride=stride, dilation=dilation, padding=1, output_padding=left)
        assert spread.shape == x.shape
        assert (spread * x).sum() == pytest.approx((grad * y).sum(), rel=1e-11)
        np.testing.assert_allclose(
            spread,
            F.conv2d_backward(grad, x, weight, stride=stride, dilation=dilation, padding=1)[0],
            atol=1e-12,
        )


@dtypes
@pytest.mark.parametrize(
    ("kernel", "size"),
    [((2,), (1500,)), ((3,), (7,)), ((2, 2), (40, 30)), ((1, 3), (5, 6)), ((4, 2), (7, 9)), ((2, 1, 2), (3, 4, 5))],
)
def test_transposed_windows_side_by_side(kernel: tuple[int, ...], size: tuple[int, ...], dtype: Any) -> None:
    """A kernel as long as the stride: each output has one product of each channel; in one box or in several."""
    rng = np.random.default_rng(len(kernel))
    x, weight, bias = (normal(rng, shape, dtype) for shape in ((3, 6, *size), (6, 5, *kernel), (10,)))
    zeros, ones = (0,) * len(kernel), (1,) * len(kernel)
    y = function("conv_transpose", len(kernel))(x, weight, bias, stride=kernel, groups=2)
    padding = tuple((0, 0) for _ in kernel)
    expected = ref.conv_transpose(
        x, weight, bias, output_padding=zeros, stride=kernel, padding=padding, dilation=ones, groups=2
    )
    assert_close(y, expected, dtype)
    layer = getattr(nn, f"ConvTranspose{len(kernel)}d")(6, 10, kernel, kernel, groups=2).astype(dtype)
    layer.weight.assign(weight)
    layer.bias.assign(bias)
    np.testing.assert_array_equal(nn.Sequential(layer, nn.ReLU())(x), np.maximum(y, 0))


def test_output_padding_lengthens_the_end() -> None:
    x, weight = np.ones((1, 1, 3)), np.ones((1, 1, 1))
    assert F.conv_transpose1d(x, weight, stride=2).tolist() == [[[1, 0, 1, 0, 1]]]
    assert F.conv_transpose1d(x, weight, stride=2, output_padding=1).tolist() == [[[1, 0, 1, 0, 1, 0]]]
    assert F.conv_transpose1d(x, weight, dilation=3, output_padding=2).shape == (1, 1, 5)


@dtypes
def test_not_a_number_reaches_only_its_windows(dtype: Any) -> None:
    """Padding is zeros, not rows of neighbours, and a tile's unused lanes touch nothing."""
    x, weight = np.ones((1, 2, 6, 7), dtype), np.ones((3, 2, 3, 3), dtype)
    x[0, 1, 0, 0] = np.nan
    y = F.conv2d(x, weight, padding=1)
    assert np.isnan(y[0, :, :2, :2]).all()
    assert np.isfinite(y[0, :, 2:]).all() and np.isfinite(y[0, :, :, 2:]).all()


WIDE, PLANE = 48, (28, 28)  # of which few images go Winograd's way, too


def wide_arrays(kernel: int) -> tuple[Any, Any, Any]:
    """An input, a gradient of its output, and a weight."""
    rng = np.random.default_rng(kernel)
    shapes = ((2, WIDE, *PLANE), (2, WIDE, *PLANE), (WIDE, WIDE, kernel, kernel))
    x, grad, weight = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    return x, grad, weight


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("value", VALUES)
def test_a_strange_pixel_reaches_only_its_windows_by_winograd_too(kernel: int, value: float) -> None:
    x, grad, weight = wide_arrays(kernel)
    low = kernel // 2
    for at in PLACES:
        windows = reached(PLANE, at, kernel, low, by_rows=False)

        def compute(x: Any) -> Any:
            return F.conv2d(x, weight, padding=low)

        def input_gradient(grad: Any) -> Any:
            return F.conv2d_backward(grad, x, weight, padding=low)[0]

        assert_goes_no_further(compute, x, at, value, windows, windows)
        assert_goes_no_further(input_gradient, grad, at, value, windows, windows)
        usual, strange = (
            F.conv2d_backward(given, x, weight, padding=low)[1] for given in (grad, with_pixel(grad, at, value))
        )
        kept = np.arange(WIDE) != WIDE // 2
        assert strange[kept].tobytes() == usual[kept].tobytes()


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("value", VALUES)
def test_without_winograd_a_strange_pixel_is_the_oracle_s(kernel: int, value: float) -> None:
    x, _, weight = wide_arrays(kernel)
    low = kernel // 2
    canonical: dict[str, Any] = {
        "stride": (1, 1), "padding": ((low, low), (low, low)), "dilation": (1, 1), "groups": 1,
    }  # fmt: skip
    strange = with_pixel(x, PLACES[1], value)
    assert_exact_without_winograd(
        lambda x: F.conv2d(x, weight, padding=low), strange, lambda x: ref.conv(x, weight, **canonical)
    )
    with switched(False):
        direct = F.conv2d(x, weight, padding=low)
    assert (direct != F.conv2d(x, weight, padding=low)).any()


def test_infinite_weights_times_padding_zeros() -> None:
    """An infinite weight over padding is left out or gives NaN, as over zeros; its neighbours do not care."""
    weight = np.array([[[np.inf, 1.0]]])
    y = F.conv1d(np.ones((1, 1, 3)), weight, padding=((1, 0),))
    assert y[0, 0, 1] == np.inf and y[0, 0, 2] == np.inf
    assert y[0, 0, 0] == 1 or np.isnan(y[0, 0, 0])


def test_subnormal_numbers_are_kept() -> None:
    """The library must not switch the process to flush-to-zero."""
    tiny = np.float32(1e-40)
    assert F.conv1d(np.full((1, 1, 1), tiny), np.ones((1, 1, 1), np.float32))[0, 0, 0] == tiny
    assert np.float32(1e-38) * np.float32(1e-2) > 0


def test_offsets_beyond_32_bits(run_apart: Callable[..., None]) -> None:
    """An input of more than 2³¹ values, of which large strides read a few rows: the other pages are never there."""
    run_apart(
        """
        import sys
        import numpy as np
        from convkit import functional as F
        stride = 2**10
        try:
            x = np.zeros((1, 3, 2**15, 2**15), np.float32)
        except MemoryError:
            sys.exit()
        x[0, 2, 31 * stride, 31 * stride] = 3
        weight = np.array([0, 1, 2], np.float32).reshape(1, 3, 1, 1)
        assert F.conv2d(x, weight, stride=stride)[0, 0, 31, 31] == 6
        assert F.max_pool2d(x, 1, stride)[0, 2, 31, 31] == 3
        assert F.avg_pool2d(x, 1, stride)[0, 2, 31, 31] == 3
        """,
        gigabytes=14,
    )


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_of_weights_meet_what_their_windows_meet(groups: int, value: float) -> None:
    """What is not finite in the first and the last row stays with the taps that see it, depthwise too."""
    grad = np.ones((1, 2, 4, 4), np.float32)
    for row, tap in ((0, 0), (5, 2)):
        x = np.ones((1, 2, 6, 6), np.float32)
        x[:, :, row] = value
        weight = np.zeros((2, 2 // groups, 3, 3), np.float32)
        _, grad_weight, _ = F.conv2d_backward(grad, x, weight, groups=groups)
        finite = np.isfinite(grad_weight).all((0, 1, 3))
        assert finite.tolist() == [tap != 0, True, tap != 2]
