"""What plans compute with the image innermost: each kernel against its oracle, and whole networks image by image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import convkit as ck
import geometries
import reference as ref
from convkit import functional as F
from convkit import nn, winograd
from convkit.geometry import Windows
from convkit.ops import conv, lanes
from convkit.ops.elementwise import Sigmoid, Tanh
from geometries import ConvCase, PoolCase, normal
from reference import assert_close
from strange_pixels import PLACES, VALUES, assert_exact_without_winograd, assert_goes_no_further, reached, with_pixel
from strange_pixels import winograd as switched

ranks = pytest.mark.parametrize("rank", [1, 2, 3])
planar_ranks = pytest.mark.parametrize("rank", [1, 2])  # volumes are pooled in the ordinary layout
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


ACTIVATIONS = {None: lambda y: y, "relu": ref.relu, "tanh": ref.tanh, "sigmoid": ref.sigmoid}


def windows_of(case: ConvCase | PoolCase) -> Windows:
    return Windows(case.kernel, case.stride, case.padding, case.dilation)


def with_batch(case: Any, seed: int, dtype: Any) -> Any:
    """The case with one image, a block less one, a block, or a block and a bit."""
    width = lanes.lanes_of(dtype)
    return replace(case, batch=(1, width - 1, width, width + 3)[seed % 4])


def entering(x: np.ndarray) -> np.ndarray:
    return np.asarray(lanes.ToLanes()(x))


def leaving(x: np.ndarray, images: int) -> np.ndarray:
    return np.asarray(lanes.FromLanes(images)(x))


@dtypes
@pytest.mark.parametrize("images", [1, 7, 8, 16, 35])
@pytest.mark.parametrize("size", [(), (1,), (3, 5), (41, 53)])
def test_entering_and_leaving(images: int, size: tuple[int, ...], dtype: Any) -> None:
    x = normal(np.random.default_rng(images), (images, 3, *size), dtype)
    width = lanes.lanes_of(dtype)
    y = entering(x)
    padded = np.concatenate([x, np.zeros((-images % width, *x.shape[1:]), dtype)])
    np.testing.assert_array_equal(y, np.moveaxis(padded.reshape(-1, width, *x.shape[1:]), 1, -1))
    np.testing.assert_array_equal(leaving(y, images), x)


@ranks
@dtypes
def test_convolution_matches_the_oracle(rank: int, seed: int, dtype: Any, threaded: Any) -> None:
    case = with_batch(geometries.conv_case(rank, seed), seed, dtype)
    check_convolution(case, seed, dtype, threaded)


def check_convolution(case: ConvCase, seed: int, dtype: Any, threaded: Any) -> None:
    rng = np.random.default_rng(seed)
    x, weight = normal(rng, case.x_shape, dtype), normal(rng, case.weight_shape, dtype)
    bias = normal(rng, (case.out_channels,), dtype) if case.bias else None
    grad = normal(rng, case.y_shape, dtype)
    windows = windows_of(case)
    y = ref.conv(x, weight, bias, **case.canonical)
    plain = lanes.LaneConvolution(windows, case.groups, case.out)
    followed = [plain.followed_by(kind(), entering(x), weight, bias) for kind in (Tanh, Sigmoid)]
    for convolution in (plain, replace(plain, activation="relu"), *filter(None, followed)):
        mine = threaded(lambda op=convolution: op(entering(x), weight, bias))
        expected = ACTIVATIONS[convolution.activation](y)
        assert_close(leaving(mine, case.batch), expected, dtype, scale=abs(y).max(initial=0))
    grad_x, grad_weight, grad_bias = ref.conv_backward(grad, x, weight, **case.canonical)
    adjoint = lanes.LaneConvolution(windows, case.groups, case.size, adjoint=True)
    mine = threaded(lambda: adjoint(entering(grad), weight, None))
    assert_close(leaving(mine, case.batch), grad_x, dtype, what="grad_x")
    weight_grad = lanes.LaneWeightGrad(windows, case.groups)
    mine_weight, mine_bias = threaded(lambda: weight_grad(entering(grad), entering(x)))
    assert_close(mine_weight, grad_weight, dtype, what="grad_weight")
    assert_close(mine_bias, grad_bias, dtype, what="grad_bias")


@ranks
@dtypes
def test_turned_weight_gradient_matches_the_oracle(
    rank: int, seed: int, dtype: Any, threaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "LEAST_WIDE", 0)
    monkeypatch.setattr(winograd.Rule, "enabled", False)
    case = with_batch(geometries.conv_case(rank, seed), seed, dtype)
    rng = np.random.default_rng(seed)
    x, grad = normal(rng, case.x_shape, dtype), normal(rng, case.y_shape, dtype)
    weight_grad = lanes.LaneWeightGrad(windows_of(case), case.groups)
    mine_weight, mine_bias = threaded(lambda: weight_grad(entering(grad), entering(x)))
    _, grad_weight, grad_bias = ref.conv_backward(grad, x, np.zeros(case.weight_shape), **case.canonical)
    assert_close(mine_weight, grad_weight, dtype, what="grad_weight")
    assert_close(mine_bias, grad_bias, dtype, what="grad_bias")


@dtypes
@pytest.mark.parametrize(
    ("ins", "outs", "size", "kernel", "options"),
    [
        (70, 50, (9, 7), (1, 1), {}),
        (45, 57, (10, 11), (1, 1), {"stride": (2, 2)}),
        (57, 45, (4, 5), (1, 1), {"padding": ((1, 0), (0, 2))}),
        (70, 50, (13, 11), (3, 3), {"padding": ((1, 1), (1, 1))}),
        (50, 24, (12, 9), (5, 5), {"padding": ((2, 2), (2, 2))}),
        (40, 40, (11, 12), (3, 3), {"stride": (2, 2), "padding": ((1, 1), (1, 1))}),
        (35, 35, (9, 10), (3, 3), {"stride": (2, 1), "padding": ((1, 1), (1, 1)), "groups": 35}),
        (3, 7, (60, 55), (3, 3), {}),
        (4, 12, (121, 110), (3, 3), {"stride": (2, 2), "padding": ((1, 1), (0, 2)), "groups": 2}),
    ],
)
def test_wide_layers(
    ins: int, outs: int, size: tuple[int, int], kernel: tuple[int, int], options: dict[str, Any], dtype: Any,
    threaded: Any,
) -> None:  # fmt: skip
    """More channels and larger planes than the random geometries have: packed, turned by panels, by groups, by bands of
    rows; shared out among threads."""
    defaults = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
    images = lanes.lanes_of(dtype) + 3
    case = ConvCase(images, ins, outs, size, kernel, bias=True, written={}, **(defaults | options))
    check_convolution(case, 3, dtype, threaded)


@ranks
@dtypes
def test_transposed_convolution_matches_the_oracle(rank: int, seed: int, dtype: Any, threaded: Any) -> None:
    case = with_batch(geometries.transpose_case(rank, seed), seed, dtype)
    rng = np.random.default_rng(seed)
    x, weight = normal(rng, case.x_shape, dtype), normal(rng, case.weight_shape, dtype)
    bias = normal(rng, (case.out_channels,), dtype) if case.bias else None
    op = lanes.LaneConvolution(windows_of(case), case.groups, case.out, adjoint=True)
    y = threaded(lambda: op(entering(x), weight, bias))
    expected = ref.conv_transpose(x, weight, bias, output_padding=case.output_padding, **case.canonical)
    assert_close(leaving(y, case.batch), expected, dtype)


@pytest.fixture
def always_winograd(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let 3 x 3 and 5 x 5 kernels of any number of channels go Winograd's way."""
    monkeypatch.setattr(winograd.Rule, "enabled", True)
    for rule in ("products", "sums", "planes", "plane_sums", "phases"):
        monkeypatch.setattr(winograd.Rule, f"least_for_{rule}", {3: 0, 5: 0})
    monkeypatch.setattr(winograd.Rule, "least_side", {3: 0, 5: 0})
    monkeypatch.setattr(winograd.Rule, "least_outputs", 0)
    monkeypatch.setattr(winograd.Rule, "least_of_many", 0)
    monkeypatch.setattr(winograd.Rule, "least_covered", 0.0)
    monkeypatch.setattr(winograd.Rule, "most_for_rows", 0.0)
    yield


@pytest.fixture
def always_by_rows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let kernels 5 wide go Winograd's way along rows, whatever the planes and the zeros around them."""
    monkeypatch.setattr(winograd.Rule, "enabled", True)
    monkeypatch.setattr(winograd.Rule, "most_for_rows", 1e9)
    monkeypatch.setattr(winograd.Rule, "least_row", 1)
    monkeypatch.setattr(winograd.Rule, "most_border", 10.0)
    for other in ("LaneConvolution", "LanePool"):
        monkeypatch.setattr(lanes.kernels, other, None)
    yield


def phased_case(rng: np.random.Generator) -> ConvCase:
    """With dilation, and padding before each axis that is a multiple of it."""
    dilation = tuple(int(d) for d in rng.choice([1, 2, 2, 3, 4], 2))
    dilation = (2, 3) if max(dilation) == 1 else dilation
    case = winograd_case(rng, dilations=[1], beyond=0)
    pads = tuple((int(d * rng.integers(0, case.kernel[0])), int(rng.integers(0, 4))) for d in dilation)
    size = planes_under(rng, case.kernel, pads, dilation)
    return replace(case, size=size, padding=pads, dilation=dilation, batch=int(rng.choice([1, 1, 2, 3, 4, 5])))


def planes_under(rng: np.random.Generator, kernel: Any, pads: Any, dilation: Any) -> tuple[int, ...]:
    """A size of planes that such a kernel fits in, with padding."""
    least = [max(1, (k - 1) * d + 1 - lo - hi) for k, (lo, hi), d in zip(kernel, pads, dilation, strict=True)]
    return tuple(int(rng.integers(n, n + 9)) for n in least)


def winograd_case(rng: np.random.Generator, dilations: Sequence[int], beyond: int) -> ConvCase:
    """With padding before each axis as far as the kernel reaches, and so much beyond."""
    kernel = (3, 3) if rng.integers(2) else (5, 5)
    groups = int(rng.choice([1, 1, 2]))
    ins, outs = (groups * int(n) for n in rng.choice([1, 2, 5, 8, 16, 17, 33], 2))
    pads = tuple((int(lo), int(hi)) for lo, hi in rng.integers(0, [kernel[0] + beyond, 4], (2, 2)))
    dilation = tuple(int(d) for d in rng.choice(dilations, 2))
    size = planes_under(rng, kernel, pads, dilation)
    return ConvCase(1, ins, outs, size, kernel, (1, 1), pads, dilation, groups, bool(rng.integers(2)), {})


@dtypes
@pytest.mark.parametrize("dilated", [False, True])
@pytest.mark.usefixtures("always_winograd")
def test_winograd_of_ordinary_arrays_matches_the_oracle(
    seed: int, dilated: bool, dtype: Any, threaded: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("ConvForward", "ConvInputGrad", "ConvWeightGrad"):
        monkeypatch.setattr(conv.kernels, other, None)
    rng = np.random.default_rng(seed)
    case = replace(winograd_case(rng, dilations=[1], beyond=0), batch=int(rng.integers(1, 9)))
    if dilated:
        case = phased_case(rng)
    x, weight = normal(rng, case.x_shape, dtype), normal(rng, case.weight_shape, dtype)
    bias = normal(rng, (case.out_channels,), dtype) if case.bias else None
    grad, windows = normal(rng, case.y_shape, dtype), windows_of(case)
    y = ref.conv(x, weight, bias, **case.canonical)
    for relu in (False, True):
        convolution = conv.Convolution(windows, case.groups, relu)
        mine = threaded(lambda op=convolution: op(x, weight, bias))
        assert_close(mine, np.maximum(y, 0) if relu else y, dtype, scale=abs(y).max(initial=0))
    grad_x, grad_weight, grad_bias = ref.conv_backward(grad, x, weight, **case.canonical)
    adjoint = conv.ConvTranspose(windows, case.groups, case.size)
    assert_close(threaded(lambda: adjoint(grad, weight, None)), grad_x, dtype, what="grad_x")
    weight_grad = conv.ConvolutionWeightGrad(windows, case.groups)
    mine_weight, mine_bias = threaded(lambda: weight_grad(grad, x))
    assert_close(mine_weight, grad_weight, dtype, what="grad_weight")
    assert_close(mine_bias, grad_bias, dtype, what="grad_bias")


@dtypes
@pytest.mark.usefixtures("always_winograd")
def test_winograd_in_lanes_matches_the_oracle(seed: int, dtype: Any, threaded: Any) -> None:
    case = winograd_case(np.random.default_rng(seed), dilations=[1, 1, 2, 3], beyond=1)
    check_convolution(with_batch(case, seed, dtype), seed, dtype, threaded)


def rows_case(rng: np.random.Generator) -> ConvCase:
    """Kernels of any height and 5 wide, with padding as far as they reach and two beyond, on both sides."""
    kernel = (int(rng.integers(1, 7)), 5)
    groups = int(rng.choice([1, 1, 2, 3]))
    ins, outs = (groups * int(n) for n in (rng.choice([1, 2, 3, 11]), rng.choice([1, 2, 3, 4, 5, 7, 10])))
    pads = tuple((int(lo), int(hi)) for lo, hi in (rng.integers(0, [k + 2, k + 2]) for k in kernel))
    size = planes_under(rng, kernel, pads, (1, 1))
    return ConvCase(1, ins, outs, size, kernel, (1, 1), pads, (1, 1), groups, bool(rng.integers(2)), {})


@dtypes
@pytest.mark.usefixtures("always_by_rows")
def test_winograd_along_rows_matches_the_oracle(seed: int, dtype: Any, threaded: Any) -> None:
    rng = np.random.default_rng(seed)
    check_convolution(with_batch(rows_case(rng), seed, dtype), seed, dtype, threaded)


@dtypes
@pytest.mark.usefixtures("always_by_rows")
def test_winograd_along_rows_by_chunks(dtype: Any, threaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """More channels than go through the cache at once: columns of tiles, and of one column some rows."""
    for ins, size in ((40, (9, 11)), (150, (40, 6))):
        case = ConvCase(3, ins, 4, size, (5, 5), (1, 1), ((2, 2), (2, 1)), (1, 1), 1, True, {})
        check_convolution(case, 1, dtype, threaded)


@dtypes
@pytest.mark.parametrize("kind", ["max", "mean"])
@pytest.mark.usefixtures("always_by_rows")
def test_winograd_along_rows_pools_what_it_makes(kind: str, seed: int, dtype: Any, threaded: Any) -> None:
    rng = np.random.default_rng(seed)
    case = rows_case(rng)
    case = with_batch(replace(case, size=tuple(n + 1 for n in case.size)), seed, dtype)
    check_pooled_rows(kind, case, rng, dtype, threaded)


@dtypes
@pytest.mark.parametrize("kind", ["max", "mean"])
@pytest.mark.usefixtures("always_by_rows")
def test_winograd_along_rows_pools_by_chunks(kind: str, dtype: Any, threaded: Any) -> None:
    case = ConvCase(3, 150, 4, (43, 6), (5, 5), (1, 1), ((2, 2), (2, 1)), (1, 1), 1, True, {})
    check_pooled_rows(kind, case, np.random.default_rng(0), dtype, threaded)


def check_pooled_rows(kind: str, case: ConvCase, rng: np.random.Generator, dtype: Any, threaded: Any) -> None:
    x, weight = normal(rng, case.x_shape, dtype), normal(rng, case.weight_shape, dtype)
    half = tuple(n // 2 for n in case.out)
    pool = lanes.LaneMaxPool(lanes.HALVING, half) if kind == "max" else lanes.LaneAvgPool(lanes.HALVING, half, True)
    activation = [None, "relu", "tanh", "sigmoid"][rng.integers(4)]
    op = lanes.LaneConvolution(windows_of(case), case.groups, case.out, activation=activation)
    op = op.followed_by(pool, entering(x), weight, None)
    assert op is not None
    y = ACTIVATIONS[activation](ref.conv(x, weight, None, **case.canonical))
    windows = y[..., : 2 * half[0], : 2 * half[1]].reshape(*y.shape[:2], half[0], 2, half[1], 2)
    windows = windows.swapaxes(3, 4).reshape(*y.shape[:2], *half, 4)
    made = threaded(lambda: op(entering(x), weight, None))
    if kind == "mean":
        assert_close(leaving(made, case.batch), windows.mean(-1), dtype, scale=abs(y).max(initial=0))
        return
    mine, codes = leaving(made[0], case.batch), leaving(made[1].astype(dtype), case.batch)
    assert_close(mine, windows.max(-1), dtype, scale=abs(y).max(initial=0))
    chosen = np.take_along_axis(windows, codes[..., None].astype(int), -1)[..., 0]
    assert_close(mine, chosen, dtype, scale=abs(y).max(initial=0))
    alone = np.empty_like(made[0])  # as where no gradient needs the codes
    op.bind([entering(x), weight, None], [alone]).run()
    np.testing.assert_array_equal(alone, made[0])


@planar_ranks
@dtypes
def test_max_pooling_matches_the_oracle(rank: int, seed: int, dtype: Any, threaded: Any) -> None:
    """Of numbers, of equal numbers, and of numbers among infinities and NaN."""
    case = with_batch(geometries.pool_case(rank, seed, dilated=True), seed, dtype)
    rng = np.random.default_rng(seed)
    x, grad = normal(rng, case.x_shape, dtype), normal(rng, case.y_shape, dtype)
    wild = np.round(x)
    for value, share in [(-np.inf, 0.3), (np.inf, 0.1), (np.nan, 0.2)]:
        wild[rng.random(x.shape) < share] = value
    pool = lanes.LaneMaxPool(windows_of(case), case.out)
    back = lanes.LaneMaxPoolGrad(windows_of(case), case.size)
    options = {name: getattr(case, name) for name in ("stride", "padding", "dilation", "ceil_mode")}
    for numbers in (x, np.round(x), wild):
        y, codes = threaded(lambda numbers=numbers: pool(entering(numbers)))
        values, index = ref.max_pool(numbers, case.kernel, **options)
        np.testing.assert_array_equal(leaving(y, case.batch), values)
        if numbers is not wild:  # which of several NaNs is chosen has a test of its own
            grad_x = threaded(lambda codes=codes: back(entering(grad), codes))
            expected = ref.max_pool_backward(grad, index, case.size)
            assert_close(leaving(grad_x, case.batch), expected, dtype)


@dtypes
def test_the_first_of_several_nans_wins(dtype: Any) -> None:
    x = np.full((lanes.lanes_of(dtype), 1, 2, 2), np.nan, dtype)
    x[:, 0, 0, 0] = np.inf
    windows = Windows((2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
    y, codes = lanes.LaneMaxPool(windows, (1, 1))(entering(x))
    assert np.isnan(y).all() and (codes == 1).all()


@planar_ranks
@dtypes
def test_average_pooling_matches_the_oracle(rank: int, seed: int, dtype: Any, threaded: Any) -> None:
    case = with_batch(geometries.pool_case(rank, seed, dilated=False), seed, dtype)
    rng = np.random.default_rng(seed)
    x, grad = normal(rng, case.x_shape, dtype), normal(rng, case.y_shape, dtype)
    options = {name: getattr(case, name) for name in ("stride", "padding", "ceil_mode", "count_include_pad")}
    pool = lanes.LaneAvgPool(windows_of(case), case.out, case.count_include_pad)
    y = threaded(lambda: pool(entering(x)))
    assert_close(leaving(y, case.batch), ref.avg_pool(x, case.kernel, **options), dtype)
    back = lanes.LaneAvgPoolGrad(windows_of(case), case.size, case.count_include_pad)
    grad_x = threaded(lambda: back(entering(grad)))
    expected = ref.avg_pool_backward(grad, case.size, case.kernel, **options)
    assert_close(leaving(grad_x, case.batch), expected, dtype)


# Whole networks: a batch in lanes is what its images are one by one -----------------------------------


class Branches(nn.Module):
    """Two branches that leave and enter the layout: concatenation, a residual, both poolings, an uneven last block."""

    def __init__(self) -> None:
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.wide = nn.Conv2d(4, 4, 3, padding=1)
        self.back = nn.ConvTranspose2d(8, 3, 2, stride=2)
        self.dense = nn.Linear(48, 3)

    def forward(self, x: Any) -> Any:
        y = F.max_pool2d(F.tanh(self.first(x)), 2)
        y = F.relu(y + self.wide(y))
        y = self.back(F.concat([y, F.avg_pool2d(y, 3, stride=1, padding=1)], axis=1))
        y = F.max_pool2d(F.avg_pool2d(y, 2), 3, stride=1, padding=1)
        return self.dense(F.flatten(y))


@pytest.mark.parametrize("images", [8, 16, 19, 30])
def test_a_batch_is_its_images(images: int) -> None:
    rng = np.random.default_rng(images)
    model = Branches().astype("float64")
    x, labels = rng.normal(size=(images, 2, 8, 8)), rng.integers(0, 3, images)
    loss, grads, grad_x = ck.value_and_grad(model, nn.CrossEntropyLoss(), inputs=True)(x, labels)
    alone = ck.value_and_grad(model, nn.CrossEntropyLoss(), inputs=True)
    singles = [alone(x[i : i + 1], labels[i : i + 1]) for i in range(images)]
    assert loss == pytest.approx(np.mean([single[0] for single in singles]), rel=1e-12)
    for name, grad in grads.items():
        np.testing.assert_allclose(grad, np.mean([s[1][name] for s in singles], axis=0), rtol=0, atol=1e-13)
    np.testing.assert_allclose(grad_x, np.concatenate([s[2] for s in singles]) / images, rtol=0, atol=1e-13)
    one_by_one = np.concatenate([model(x[i : i + 1]) for i in range(images)])
    np.testing.assert_allclose(model(x), one_by_one, rtol=0, atol=1e-12)


def test_winograd_can_be_turned_off() -> None:
    """The switch changes which kernel computes the next plan, and the sums' rounding with it."""
    rng = np.random.default_rng(4)
    model = nn.Sequential(nn.Conv2d(32, 32, 3))
    x = rng.standard_normal((16, 32, 12, 12)).astype(np.float32)
    before = ck.get_winograd()
    try:
        ck.set_winograd(False)
        direct = model(x)
        ck.set_winograd(True)
        transformed = model(x)
    finally:
        ck.set_winograd(before)
    assert (direct != transformed).any()
    assert_close(direct, transformed, np.float32)


@pytest.mark.parametrize(
    ("ins", "outs", "kernel", "low", "width", "adjoint", "rows"),
    [
        (1, 6, (5, 5), 2, 28, False, True),
        (16, 32, (3, 5), 1, 28, False, True),
        (16, 32, (5, 5), 2, 28, True, True),
        (16, 32, (5, 5), 0, 24, False, True),
        (16, 32, (5, 5), 0, 28, True, False),  # the adjoint reads four zeros before each axis
        (48, 64, (5, 5), 2, 35, False, False),  # wide
        (16, 32, (5, 5), 0, 3, False, False),  # a tile has four outputs
        (16, 32, (5, 3), 2, 28, False, False),
    ],
)
def test_which_convolutions_go_along_rows(
    ins: int, outs: int, kernel: tuple[int, int], low: int, width: int, adjoint: bool, rows: bool
) -> None:
    windows = Windows(kernel, (1, 1), ((low, low), (low, low)), (1, 1))
    assert winograd.suits_rows(windows, ins, outs, (9, width), adjoint) is rows


# Values that are not finite ---------------------------------------------------------------------------

WINOGRAD_LAYERS = {"3 x 3": (3, 48, 48), "5 x 5": (5, 48, 64), "along rows": (5, 6, 16)}
kinds = pytest.mark.parametrize("kind", WINOGRAD_LAYERS)
values = pytest.mark.parametrize("value", VALUES)
places = pytest.mark.parametrize("at", PLACES)
PLANE = (12, 13)


def layer_and_arrays(kind: str) -> tuple[nn.Conv2d, Any, Any]:
    """A layer that goes this way, its input, and a gradient of its output."""
    kernel, ins, outs = WINOGRAD_LAYERS[kind]
    rng = np.random.default_rng(3)
    layer = nn.Conv2d(ins, outs, kernel, padding=kernel // 2, bias=False)
    layer.weight.assign(rng.standard_normal(layer.weight.shape))
    x, grad = (rng.standard_normal((16, channels, *PLANE)).astype(np.float32) for channels in (ins, outs))
    return layer, x, grad


@kinds
def test_these_layers_go_winograd_s_way(kind: str) -> None:
    layer, x, _ = layer_and_arrays(kind)
    transformed = layer(x)
    with switched(False):
        assert (layer(x) != transformed).any()


def oracle(layer: nn.Conv2d, x: Any) -> Any:
    return ref.conv(x, layer.weight.value, stride=(1, 1), padding=layer.padding, dilation=(1, 1), groups=1)


@kinds
@values
@places
def test_a_strange_pixel_goes_no_further_than_its_tiles(kind: str, value: float, at: tuple[int, int]) -> None:
    layer, x, _ = layer_and_arrays(kind)
    kernel, low = layer.kernel_size[0], layer.kernel_size[0] // 2
    windows = reached(PLANE, at, kernel, low, by_rows=False)
    reach = reached(PLANE, at, kernel, low, by_rows=kind == "along rows")
    assert_goes_no_further(layer, x, at, value, reach, windows)


@kinds
@values
def test_without_winograd_a_strange_pixel_is_the_oracle_s(kind: str, value: float) -> None:
    layer, x, _ = layer_and_arrays(kind)
    assert_exact_without_winograd(layer, with_pixel(x, PLACES[1], value), lambda x: oracle(layer, x))


@kinds
@values
@places
def test_a_strange_gradient_goes_no_further_than_its_tiles(kind: str, value: float, at: tuple[int, int]) -> None:
    layer, x, grad = layer_and_arrays(kind)
    gradients = ck.value_and_grad(layer, lambda y, grad: F.sum(F.multiply(y, grad)), inputs=True)
    kernel = layer.kernel_size[0]
    low = kernel - 1 - kernel // 2
    windows = reached(PLANE, at, kernel, low, by_rows=False)
    reach = reached(PLANE, at, kernel, low, by_rows=kind == "along rows")
    assert_goes_no_further(lambda grad: gradients(x, grad)[2], grad, at, value, reach, windows)
    usual, strange = (gradients(x, given)[1]["weight"] for given in (grad, with_pixel(grad, at, value)))
    kept = np.arange(len(usual)) != len(usual) // 2
    assert strange[kept].tobytes() == usual[kept].tobytes()
