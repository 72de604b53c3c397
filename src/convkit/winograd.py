"""When convolutions go Winograd's way, F(2x2, 3x3), F(2x2, 5x5) or, along rows, F(4, 5), instead of the direct sum."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from convkit.geometry import Windows


class Rule:
    """They take 1 / 2.25 and 1 / 2.8 of the products; the transforms cost as much as a few channels' worth of them.

    Attributes
    ----------
    enabled : bool
        The switch; `convkit.set_winograd` turns it.
    least_for_products, least_for_sums : dict
        By the size of the kernel, for I inputs and O outputs, the least I O / (I + O) at which it is faster, measured:
        in the convolution and its adjoint, and in the weight gradient.
    least_for_planes, least_for_plane_sums : dict
        The same for ordinary arrays, which are taken apart first.
    least_for_phases : dict
        The same for convolutions with dilation of ordinary arrays, whose phases are copied (`ops.phases`).
    most_for_rows : float
        The I O / (I + O) from which on kernels 5 wide in lanes no longer go along rows only: there tiles of two axes
        cost a sixth more, and have a third of the rounding error.
    least_row : int
        The least width of planes for those.
    most_border : float
        For those, the most zeros before an axis, in sizes of the kernel.
    least_side : dict
        By the size of the kernel, the least size of the plane of outputs: of smaller ones, much is border, where the
        direct sum has fewer terms.
    least_outputs, least_of_many, many : int
        Of a channel of ordinary arrays: with fewer the transformed kernels cost more than is saved.  In the convolution
        and its adjoint more are needed from so many pairs of channels on, since caches near the cores no longer hold
        them, and where image rows could be read in place instead (`_kernels.direct`).
    least_covered : float
        The least share of places in vectors of neighbouring tiles that hold an output: for 3 x 3 0.61 at 7 x 7, 0.87 at
        14 x 14.
    """

    enabled = os.environ.get("CONVKIT_WINOGRAD", "1") != "0"
    least_for_products: ClassVar = {3: 16, 5: 5}
    least_for_sums: ClassVar = {3: 20, 5: 24}
    least_for_planes: ClassVar = {3: 16, 5: 10}
    least_for_plane_sums: ClassVar = {3: 20, 5: 24}
    least_for_phases: ClassVar = {3: 32}
    least_side: ClassVar = {3: 1, 5: 8}
    most_for_rows = 24.0
    least_row = 4
    most_border = 0.5
    least_outputs, least_of_many, many = 96, 700, 200_000
    least_covered = 0.7


def suits(windows: Windows, ins: int, outs: int, least: Mapping[int, int], plane: Sequence[int]) -> bool:
    """Whether a group of a convolution with these windows, channels and planes of outputs should go Winograd's way."""
    size = windows.kernel_size[0]
    fits = windows.kernel_size == (size, size) and windows.stride == (1, 1) and size in least
    return Rule.enabled and fits and ins * outs >= least[size] * (ins + outs) and min(plane) >= Rule.least_side[size]


def suits_planes(windows: Windows, ins: int, outs: int, y: Any, in_place: bool = False) -> bool:
    """The same for ordinary arrays, with outputs (N, C, H, W) like y, and for the adjoint that makes such ones."""
    few = Rule.least_of_many if in_place or ins * outs >= Rule.many else Rule.least_outputs
    return _suits_planes(windows, ins, outs, Rule.least_for_planes, y, few)


def suits_plane_sums(windows: Windows, ins: int, outs: int, y: Any) -> bool:
    """The same for the weight gradient of a convolution with such outputs."""
    return _suits_planes(windows, ins, outs, Rule.least_for_plane_sums, y, Rule.least_outputs)


def suits_phases(windows: Windows, ins: int, outs: int, y: Any) -> bool:
    """The same for a convolution of phases, with outputs like y, or its weight gradient."""
    return _suits_planes(windows, ins, outs, Rule.least_for_phases, y, Rule.least_of_many)


def _suits_planes(windows: Windows, ins: int, outs: int, least: Mapping[int, int], y: Any, few: int) -> bool:
    if not suits(windows, ins, outs, least, y.shape[2:]) or windows.dilation != (1, 1):
        return False
    size = windows.kernel_size[0]
    images, _, height, width = y.shape
    places = 4 * -(-height // 2) * (-(-width // 2) + size // 2)
    enough = images * height * width >= few and height * width >= Rule.least_covered * places
    return enough and max(windows.low) < size


def suits_rows(windows: Windows, ins: int, outs: int, size: Sequence[int], adjoint: bool) -> bool:
    """Whether a group of a convolution in lanes with these windows, or its adjoint, should make planes of this size
    along rows only, F(4, 5): narrow ones, unless much of what they read is border.
    """
    if windows.rank != 2 or windows.kernel_size[1] != 5 or windows.stride != (1, 1) or windows.dilation != (1, 1):
        return False
    borders = [k - 1 - low if adjoint else low for k, low in zip(windows.kernel_size, windows.low, strict=True)]
    inside = all(border <= Rule.most_border * k for k, border in zip(windows.kernel_size, borders, strict=True))
    narrow = ins * outs < Rule.most_for_rows * (ins + outs) and size[1] >= Rule.least_row
    return Rule.enabled and narrow and inside
