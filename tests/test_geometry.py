"""Output sizes, paddings and their errors: counted by brute force over every small geometry."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

import geometries
import reference as ref
from convkit import geometry
from convkit.errors import GeometryError

SMALL = list(itertools.product(range(1, 9), range(1, 5), range(1, 4), range(3), range(3), range(1, 4)))


def one_axis(n: int, kernel: int, stride: int = 1, padding: Any = 0, dilation: int = 1) -> geometry.Windows:
    return geometry.windows("conv1d", (n,), (kernel,), stride, padding, dilation)


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_output_size_counts_the_windows(ceil_mode: bool) -> None:
    for n, k, s, low, high, d in SMALL:
        windows = one_axis(n, k, s, ((low, high),), d)
        room = n + low + high - (d * (k - 1) + 1)
        # ceil(room / s) + 1 windows in ceil mode: one also where not even the first is filled.
        if room < 0 and not (ceil_mode and -s < room):
            with pytest.raises(GeometryError, match="conv1d"):
                geometry.output_size("conv1d", (n,), windows, ceil_mode)
            continue
        if ceil_mode and max(low, high) > (d * (k - 1) + 1) // 2:
            continue  # pooling refuses a padding above half the window
        expected = ref.output_shape((n,), (k,), (s,), ((low, high),), (d,), ceil_mode)
        assert geometry.output_size("conv1d", (n,), windows, ceil_mode) == expected, (n, k, s, low, high, d)


def test_transposed_output_size_is_what_the_kernel_is_spread_over() -> None:
    for n, k, s, low, high, d in SMALL:
        windows = one_axis(n, k, s, ((low, high),), d)
        for extra in range(max(s, d)):
            expected = ref.conv_transpose_shape((n,), (k,), (s,), ((low, high),), (extra,), (d,))
            if expected[0] >= 1:
                assert geometry.transposed_output_size("f", (n,), windows, (extra,)) == expected
            else:
                with pytest.raises(GeometryError):
                    geometry.transposed_output_size("f", (n,), windows, (extra,))


@pytest.mark.parametrize("name", ["valid", "same", "full"])
def test_named_padding(name: str) -> None:
    for n, k, s, _, _, d in SMALL:
        windows = one_axis(n, k, s, name, d)
        assert windows.padding == geometries.named_padding(name, (n,), (k,), (s,), (d,))
        if name == "same":
            assert geometry.output_size("conv1d", (n,), windows) == (math.ceil(n / s),)


def test_paddings_may_be_written_in_three_ways() -> None:
    assert geometry.padding_pairs("f", 2, 2) == ((2, 2), (2, 2))
    assert geometry.padding_pairs("f", (1, 2), 2) == ((1, 1), (2, 2))
    assert geometry.padding_pairs("f", [[1, 2], (3, 4)], 2) == ((1, 2), (3, 4))


@pytest.mark.parametrize("padding", [-1, (1, -1), ((1, -1), (0, 0)), (1,), (1, 2, 3), ((1, 2),), ((1, 2, 3), (1, 2))])
def test_impossible_paddings_are_refused(padding: Any) -> None:
    with pytest.raises(ValueError, match=r"conv2d: padding"):
        geometry.padding_pairs("conv2d", padding, 2)


@pytest.mark.parametrize("padding", [1.0, None, (1, 2.5), ((1, 2), (3, "x")), True, b"11"])
def test_paddings_that_are_no_integers_are_refused(padding: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"conv2d: padding"):
        geometry.padding_pairs("conv2d", padding, 2)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"conv1d: padding .*'valid', 'same' or 'full'.*'reflect'"):
        one_axis(5, 3, padding="reflect")


@pytest.mark.parametrize("argument", ["stride", "dilation"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_stride_or_dilation_of_zero_is_refused(argument: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"conv1d: {argument} must be at least 1, not {value}"):
        one_axis(5, 3, **{argument: value})


def test_a_kernel_that_does_not_fit_says_what_would() -> None:
    with pytest.raises(GeometryError, match=r"conv1d: .*size 3.*dilation 4.*spans 9.*5 \+ 1 \+ 0") as caught:
        geometry.output_size("conv1d", (5,), one_axis(5, 3, 1, ((1, 0),), 4))
    assert "size 2 or less" in str(caught.value) and "3 more of padding" in str(caught.value)
    assert geometry.output_size("conv1d", (5,), one_axis(5, 2, 1, ((1, 0),), 4)) == (2,)
    assert geometry.output_size("conv1d", (5,), one_axis(5, 3, 1, ((1, 3),), 4)) == (1,)


@pytest.mark.parametrize("dilation", [2**31, 2**32, 2**62, 2**63 - 1])
def test_a_huge_dilation_does_not_wrap_around(dilation: int) -> None:
    """(k − 1)·d in machine integers would overflow to something that fits."""
    with pytest.raises(GeometryError, match="spans"):
        geometry.output_size("conv1d", (100,), one_axis(100, 5, dilation=dilation))


@pytest.mark.parametrize("dilation", [2**63, 2**64, 2**70])
def test_what_no_machine_integer_holds_is_refused_by_name(dilation: int) -> None:
    with pytest.raises(ValueError, match=f"conv1d: dilation must be at most {2**63 - 1}, not {dilation}"):
        one_axis(100, 5, dilation=dilation)


@pytest.mark.parametrize(("stride", "dilation", "limit"), [(1, 1, 1), (2, 1, 2), (1, 3, 3), (3, 2, 3)])
def test_output_padding_stays_below_stride_or_dilation(stride: int, dilation: int, limit: int) -> None:
    windows = one_axis(5, 3, stride, 0, dilation)
    geometry.transposed_output_size("f", (5,), windows, (limit - 1,))
    with pytest.raises(GeometryError, match=rf"f: output_padding {limit} .*smaller than .*{limit}"):
        geometry.transposed_output_size("f", (5,), windows, (limit,))


def test_an_axis_of_size_zero_is_refused() -> None:
    with pytest.raises(GeometryError, match="size 0"):
        geometry.output_size("conv1d", (0,), one_axis(0, 1, 1, 3))
    with pytest.raises(GeometryError, match="size 0"):
        geometry.transposed_output_size("f", (0,), one_axis(0, 3), (0,))


def test_a_volume_beyond_memory_is_refused() -> None:
    geometry.check_volume("f", (2**24, 2**24))
    with pytest.raises(GeometryError, match=r"f: .*more values"):
        geometry.check_volume("f", (2**24, 2**24, 2))
