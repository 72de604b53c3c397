"""Single nodes from ONNX files: values at the edges of what operators mean, and refusals of what they do not take."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import convkit as ck
from convkit import onnx as ck_onnx


def node_model(
    kind: str, inputs: Sequence[Any], known: Sequence[int] = (), outputs: int = 1, opset: int = 17, **attributes: Any
) -> tuple[onnx.ModelProto, list[np.ndarray]]:
    """A model of one node, and what it is fed: its inputs, None where left out, but for those known from the file."""
    infos, initializers, names, fed = [], [], [], []
    for i, value in enumerate(inputs):
        names.append("" if value is None else f"i{i}")
        if i in known:
            initializers.append(numpy_helper.from_array(np.asarray(value), names[i]))
        elif value is not None:
            fed.append(np.asarray(value))
            dtype = helper.np_dtype_to_tensor_dtype(fed[-1].dtype)
            infos.append(helper.make_tensor_value_info(names[i], dtype, fed[-1].shape))
    results = [f"o{i}" for i in range(outputs)]
    node = helper.make_node(kind, names, results, **attributes)
    ends = [helper.make_value_info(name, onnx.TypeProto()) for name in results]
    graph = helper.make_graph([node], "graph", infos, ends, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), fed


def computed(kind: str, inputs: Sequence[Any], *args: Any, **attributes: Any) -> Any:
    proto, fed = node_model(kind, inputs, *args, **attributes)
    return ck_onnx.load(proto)(*fed)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def whole(dtype: str, *shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, shape).astype(dtype)


def check_same(y: np.ndarray, expected: Any, rtol: float = 0) -> None:
    expected = np.asarray(expected)
    assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_allclose(y, expected, rtol=rtol)


# --- as ONNX's reference computes it ------------------------------------------------------------------------

TWICE = np.float32([1, 1, 2, 0.6])
SQUARE = np.float32([1, 1, 2, 2])

# (operator, inputs, those known from the file, attributes)
AS_REFERENCE: dict[str, tuple[str, list[Any], tuple[int, ...], dict[str, Any]]] = {
    "prelu of the last axis, as long as the channels": ("PRelu", [noise(2, 3, 4, 3), np.float32([1, 2, 3])], (), {}),
    "prelu of channels, where nothing else fits": ("PRelu", [noise(2, 3, 4), np.float32([1, 2, 3])], (1,), {}),
    **{
        f"resize of {dtype}, {mode}": ("Resize", [whole(dtype, 1, 1, 4, 5), None, TWICE], (2,), {"mode": mode})
        for dtype in ("uint8", "int8", "int32")
        for mode in ("linear", "cubic")
    },
    "resize of uint8 to more than 255": (
        "Resize", [np.uint8([[[[0, 0, 255, 255]]]]), None, SQUARE], (2,), {"mode": "cubic"},
    ),
    "resize to a value beyond, rounded": (
        "Resize", [whole("int32", 1, 1, 4, 4), np.float32([0, 0, -0.3, 0, 1, 1, 0.8, 1]), None, [1, 1, 4, 4]], (1, 3),
        {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 9.7},
    ),
    **{
        f"cumsum of {values}, exclusive {exclusive}, reverse {reverse}": (
            "CumSum", [np.float32(values), 0], (1,), {"exclusive": exclusive, "reverse": reverse},
        )
        for values in ([1e30, 1, 2], [np.inf, 1, 2], [3])
        for exclusive, reverse in product((0, 1), (0, 1))
    },
    **{
        f"division by {divisor}": ("Div", [np.float32([1e-38, -3e-39, 0, 49, 1e38]), np.float32(divisor)], (1,), {})
        for divisor in (1e-40, 2.0**-149, 2.0**127, 2.0, -0.25, 49, 3e38, np.inf, np.nan, 0)
    },
    "length of int32": ("ReduceL2", [np.int32([[3, 4], [5, 13]])], (), {"axes": [1]}),
    "length of uint64, all axes": ("ReduceL2", [np.uint64([[3, 4], [12, 84]])], (), {"keepdims": 0}),
    **{
        f"celu, alpha {alpha}": ("Celu", [np.float32([-3, -1e-3, 0, 1e-3, 2])], (), {"alpha": alpha})
        for alpha in (-1.5, -0.25, 0.5, 2.0)
    },
    "trilu, k of one axis": ("Trilu", [noise(3, 3), [1]], (1,), {}),
    "clip, bounds of one axis or more": ("Clip", [noise(3, 3), np.float32([-0.2]), np.float32([[0.5]])], (1, 2), {}),
    "clip from a bound of one axis": ("Clip", [noise(3, 3), np.float32([-0.2])], (1,), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", AS_REFERENCE)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the reference, where values overflow
def test_values_are_those_of_the_reference(name: str) -> None:
    kind, inputs, known, attributes = AS_REFERENCE[name]
    proto, fed = node_model(kind, inputs, known, **attributes)
    feeds = {info.name: value for info, value in zip(proto.graph.input, fed, strict=True)}
    [expected] = ReferenceEvaluator(proto).run(None, feeds)
    integers = np.asarray(expected).dtype.kind in "iu"
    check_same(ck_onnx.load(proto)(*fed), expected, rtol=0 if integers or kind in ("Div", "CumSum") else 1e-6)


@pytest.mark.parametrize("two", [2, [2], [[2]], [[[2]]]])
def test_a_square_has_the_axes_of_its_exponent(two: Any) -> None:
    proto, [x] = node_model("Pow", [noise(2, 3), np.float32(two)], (1,))
    value = proto.graph.initializer.pop()  # of which a weight would be made
    proto.graph.node.insert(0, helper.make_node("Constant", [], [value.name], value=value))
    check_same(ck_onnx.load(proto)(x), x ** np.float32(two), rtol=1e-6)


# --- by definition, where the reference refuses or errs ------------------------------------------------------


def test_slopes_belong_to_channels_before_opset_7() -> None:
    x, slope = noise(2, 3, 4, 3), np.float32([1, 2, 3])
    y = computed("PRelu", [x, slope], opset=6)
    check_same(y, np.where(x < 0, x * slope[:, None, None], x), rtol=1e-6)


def test_resize_for_tensorflow_takes_the_pixel_under_the_centre() -> None:
    x = np.float32([[[[0, 10, 20, 30]]]])
    how = {"coordinate_transformation_mode": "tf_half_pixel_for_nn", "opset": 11}
    scales = np.float32([1, 1, 1, 2])  # output i lies at (i + 0.5) / 2
    y = computed("Resize", [x, np.float32([]), scales], (1, 2), mode="nearest", nearest_mode="floor", **how)
    check_same(y, np.float32([[[[0, 0, 10, 10, 20, 20, 30, 30]]]]))
    y = computed("Resize", [x, np.float32([]), scales], (1, 2), mode="linear", **how)
    check_same(y, np.float32([[[[2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30, 30]]]]))


def test_the_largest_integers_do_not_wrap_around() -> None:
    x = np.full((1, 1, 1, 2), 2**63 - 1, np.int64)
    y = computed("Resize", [x, None, SQUARE], (2,), mode="linear")
    check_same(y, np.full((1, 1, 2, 4), 2**63 - 1, np.int64))


def averages(x: np.ndarray, k: int, s: int, d: int, lo: int, hi: int, ceil_mode: int, with_pad: int) -> np.ndarray:
    """Window by window; the last one with `ceil_mode` begins inside of x or of the padding before it."""
    n, extent = len(x), d * (k - 1) + 1
    starts = [i * s - lo for i in range(n + lo + hi) if i * s - lo + extent <= n + hi]
    if ceil_mode and (n + lo + hi - extent) % s and starts[-1] + s < n:
        starts.append(starts[-1] + s)
    means = []
    for start in starts:
        places = [start + j * d for j in range(k)]
        count = sum(-lo <= p < n + hi if with_pad else 0 <= p < n for p in places)
        means.append(sum(float(x[p]) for p in places if 0 <= p < n) / max(count, 1))
    return np.float32(means)


@pytest.mark.parametrize("n", [3, 5, 8])
def test_averages_of_dilated_windows_that_hang_over_the_end(n: int) -> None:
    x = noise(n)
    tried = 0
    for k, s, d, lo, hi, ceil_mode, with_pad in product((2, 3), (1, 2, 4), (2, 3), (0, 2), (0, 2), (0, 1), (0, 1)):
        if d * (k - 1) + 1 <= n + lo + hi:
            y = computed("AveragePool", [x[None, None]], opset=19, kernel_shape=[k], strides=[s], dilations=[d],
                         pads=[lo, hi], ceil_mode=ceil_mode, count_include_pad=with_pad)  # fmt: skip
            expected = averages(x, k, s, d, lo, hi, ceil_mode, with_pad)
            np.testing.assert_allclose(y, expected[None, None], rtol=1e-5, atol=1e-6)
            tried += 1
    assert tried >= 100


def test_averages_of_dilated_planes() -> None:
    x = noise(2, 3, 3, 6)
    y = computed("AveragePool", [x], opset=19, kernel_shape=[2, 2], strides=[4, 3], dilations=[2, 3],
                 pads=[0, 1, 2, 1], ceil_mode=1, count_include_pad=1)  # fmt: skip
    rows = np.apply_along_axis(averages, 2, x, 2, 4, 2, 0, 2, 1, 1)
    np.testing.assert_allclose(y, np.apply_along_axis(averages, 3, rows, 2, 3, 3, 1, 1, 1, 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "uint64"])
@pytest.mark.parametrize("kind", ["ReduceLogSum", "ReduceLogSumExp"])
def test_logarithms_of_sums_of_integers_are_integers(kind: str, dtype: str) -> None:
    x = np.array([[3, 4], [5, 13]], dtype)
    sums = x.sum(1) if kind == "ReduceLogSum" else np.exp(x.astype(float)).sum(1)
    check_same(computed(kind, [x], axes=[1], keepdims=0), np.log(sums).astype(dtype))


def test_integers_are_divided_towards_zero() -> None:
    a, b = np.int8([-128, -128, 7, -7, -7, 6, 127]), np.int8([2, 3, -2, 2, -2, 3, -128])
    check_same(computed("Div", [a, b]), np.int8([-64, -42, -3, -3, 3, 2, 0]))


def test_a_quotient_by_a_constant_is_rounded_once() -> None:
    x = np.arange(1, 2000, dtype=np.float32)
    for divisor in np.float32([3, 49, 255, 0.1]):
        check_same(computed("Div", [x * divisor, divisor], (1,)), x * divisor / divisor)


def test_a_range_may_be_given_by_arrays_of_one_value() -> None:
    check_same(computed("Range", [[1], [[6]], [2]], (0, 1, 2)), np.int64([1, 3, 5]))
    check_same(computed("Dropout", [noise(3), np.float32([0.5])], (1,)), noise(3))


def test_the_gradient_of_celu_with_a_negative_alpha() -> None:
    proto, _ = node_model("Celu", [np.float64([-2, -0.5, 0.5, 2])], alpha=-1.5)
    x = np.float64([-2, -0.5, 0.5, 2])
    _, _, grad = ck.value_and_grad(ck_onnx.load(proto), lambda y: y.sum(), inputs=True)(x)
    np.testing.assert_allclose(grad, np.where(x < 0, np.exp(x / -1.5), 1))


@pytest.mark.parametrize(("axis", "places"), [(0, [[0], [-1]]), (1, [[2, -3, 1, 1]]), (-1, [[0], [1], [2]])])
def test_places_in_a_part_of_an_array(axis: int, places: list[list[int]]) -> None:
    x, indices = noise(3, 3), np.int64(places)
    expected = np.empty(indices.shape, np.float32)
    for i, j in np.ndindex(indices.shape):
        expected[i, j] = x[indices[i, j], j] if axis == 0 else x[i, indices[i, j]]
    check_same(computed("GatherElements", [x, indices], axis=axis), expected)


def test_unpooled_places_count_over_the_whole_array() -> None:
    places = np.int64([[[3, 1], [6, 15]], [[16, 0], [30, 9]]])[None]
    y = computed("MaxUnpool", [np.float32(places + 1), places], kernel_shape=[2, 2], strides=[2, 2])
    expected = np.zeros(32, np.float32)
    expected[places.ravel()] = places.ravel() + 1
    check_same(y, expected.reshape(1, 2, 4, 4))


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("storage_order", [0, 1])
def test_pooled_integers_have_places(dtype: str, storage_order: int) -> None:
    x = np.random.default_rng(1).permutation(np.arange(60)).astype(dtype).reshape(1, 2, 5, 6)
    y, places = computed("MaxPool", [x], (), 2, kernel_shape=[3, 2], strides=[2, 2], storage_order=storage_order)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 2), (2, 3))[:, :, ::2, ::2]
    check_same(y, windows.max((4, 5)))
    assert places.dtype == np.int64
    planes = x.swapaxes(2, 3) if storage_order else x
    np.testing.assert_array_equal(planes.ravel()[places], y)


# --- refusals -----------------------------------------------------------------------------------------------

KERNEL = np.ones((1, 1, 3, 3), np.float32)
PLANE = np.ones((1, 1, 4, 4), np.float32)

# (operator, inputs, those known from the file, attributes, what is said)
REFUSED: list[tuple[str, list[Any], tuple[int, ...], dict[str, Any], str]] = [
    ("Squeeze", [noise(2, 1, 3), [0]], (1,), {}, r"axes must be those of size 1 of shape \(2, 1, 3\), not \[0\]"),
    ("DepthToSpace", [noise(1, 6, 2, 2)], (), {"blocksize": 2}, "blocksize .* square divides the 6 channels .* not 2"),
    ("DepthToSpace", [noise(1, 4, 2, 2)], (), {"blocksize": 0}, "blocksize must be at least 1, not 0"),
    ("DepthToSpace", [noise(1, 4, 2, 2)], (), {"blocksize": 2, "mode": "RCD"}, "mode must be 'DCR' or 'CRD', not 'RC"),
    ("DepthToSpace", [noise(1, 4, 2)], (), {"blocksize": 2}, r"x must have 4 axes \(N, C, H, W\), not shape \(1, 4, 2"),
    ("SpaceToDepth", [noise(1, 1, 5, 4)], (), {"blocksize": 2}, "blocksize must divide 5 and 4.* which 2 does not"),
    ("Split", [noise(5), [-1, 6]], (1,), {"outputs": 2}, r"split must be sizes from 0 on that make 5.* not \[-1, 6\]"),
    ("Split", [noise(5), [1, 1]], (1,), {"outputs": 2}, r"split must be sizes from 0 on that make 5.* not \[1, 1\]"),
    ("Split", [noise(5), [3, 4]], (1,), {"outputs": 2}, r"split must be sizes from 0 on that make 5.* not \[3, 4\]"),
    ("Flatten", [noise(2, 3)], (), {"axis": 3}, "axis must be at most 2, not 3"),
    ("Flatten", [noise(2, 3)], (), {"axis": -3}, "axis must be at least -2, not -3"),
    ("GatherElements", [noise(3, 3), [[-4, 0, 0]]], (), {}, "indices must be from -3 to 2, not -4"),
    ("GatherElements", [noise(3, 3), [0, 1]], (), {}, r"indices must have 2 axes, .* not shape \(2,\)"),
    ("GatherElements", [noise(3, 1), [[0, 1]]], (), {}, r"indices must have .* but axis 0 .* not shape \(1, 2\)"),
    ("Pad", [noise(3), [0, -5]], (1,), {}, r"pads must not remove more than x of shape \(3,\) has, as \[\(0, -5\)\]"),
    ("Pad", [noise(3), [-2, -2]], (1,), {}, "pads must not remove more than x"),
    ("Pad", [noise(3), [1, 1]], (1,), {"mode": "mean"}, "mode must be 'constant', 'reflect', 'edge' or 'wrap', not 'm"),
    ("Pad", [noise(3), [1, 1]], (1,), {"mode": "symmetric"}, "mode must be .* not 'symmetric'"),
    ("MaxUnpool", [noise(1, 1, 1), [[[2]]]], (), {"kernel_shape": [2]}, "indices must be from 0 to 1, not 2"),
    ("MaxUnpool", [noise(1, 1, 1), [[[-1]]]], (), {"kernel_shape": [2]}, "indices must be from 0 to 1, not -1"),
    ("Conv", [PLANE, KERNEL], (1,), {"kernel_shape": [2, 2]}, r"kernel_shape must be .* \(3, 3\), not \(2, 2\)"),
    ("ConvTranspose", [PLANE, KERNEL], (1,), {"kernel_shape": [5, 5]}, r"kernel_shape .* \(3, 3\), not \(5, 5\)"),
    ("Conv", [PLANE, KERNEL], (1,), {"auto_pad": "SAME"}, "auto_pad must be 'NOTSET', .* or 'VALID', not 'SAME'"),
    ("ConvTranspose", [PLANE, KERNEL], (1,), {"auto_pad": "SAME"}, "auto_pad must be 'NOTSET', .* not 'SAME'"),
    ("MaxPool", [PLANE], (), {"kernel_shape": [2, 2], "auto_pad": "same"}, "auto_pad must be 'NOTSET', .* not 'same'"),
    ("AveragePool", [PLANE], (), {"kernel_shape": [2, 2], "auto_pad": "x"}, "auto_pad must be 'NOTSET', .* not 'x'"),
    ("Resize", [PLANE, None, SQUARE], (2,), {"mode": "area"}, "mode must be 'nearest', 'linear' or 'cubic', not 'are"),
    (
        "Resize", [PLANE, None, SQUARE], (2,), {"coordinate_transformation_mode": "half"},
        "coordinate_transformation_mode must be 'half_pixel', .* not 'half'",
    ),
    ("Resize", [PLANE, None, SQUARE], (2,), {"nearest_mode": "round"}, "nearest_mode must be 'round_pr.* not 'round'"),
    (
        "Resize", [PLANE, None, None, [1, 1, 7, 7]], (3,), {"opset": 18, "keep_aspect_ratio_policy": "keep"},
        "keep_aspect_ratio_policy must be 'stretch', 'not_larger' or 'not_smaller', not 'keep'",
    ),
    *(
        ("Resize", [PLANE, None, np.float32([1, 1, 1, scale])], (2,), {}, f"scales must be .* above 0, not {said}")
        for scale, said in ((0, "0.0"), (-2, "-2.0"), (np.nan, "nan"), (np.inf, "inf"))
    ),
    ("Resize", [PLANE, None, None, [1, 1, -2, 4]], (3,), {}, "sizes must be at least 0, not -2"),
    ("Resize", [PLANE > 0, None, SQUARE], (2,), {"mode": "linear"}, "x must be numbers where mode is 'linear', not bo"),
    ("Upsample", [PLANE, SQUARE], (1,), {"opset": 9, "mode": "bilinear"}, "mode must be 'nearest' or 'linear', not 'b"),
    ("Trilu", [noise(3, 3), [1, 2]], (1,), {}, r"k must be one value, not an array of shape \(2,\)"),
    ("Range", [[1], [], [1]], (0, 1, 2), {}, r"limit must be one value, not an array of shape \(0,\)"),
    ("Clip", [noise(2), np.float32([0, 1])], (1,), {}, r"min must be one value, not an array of shape \(2,\)"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "inputs", "known", "attributes", "message"), REFUSED)
def test_what_an_operator_does_not_take_is_refused_by_name(
    kind: str, inputs: list[Any], known: tuple[int, ...], attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"(^|cannot be computed: ){kind}: {message}"):
        computed(kind, inputs, known, **attributes)
