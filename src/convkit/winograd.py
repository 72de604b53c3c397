"""When 3 x 3 convolutions are computed by Winograd's F(2x2, 3x3) instead of the direct sum."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convkit.geometry import Windows


class Rule:
    """F(2x2, 3x3) takes 1 / 2.25 of the products; its transforms cost as much as a few channels' worth of them.

    Attributes
    ----------
    enabled : bool
        The switch; `convkit.set_winograd` turns it.
    least_for_products, least_for_sums : int
        For I inputs and O outputs, the least I O / (I + O) at which it is faster, measured: in the convolution and
        its adjoint, and in the weight gradient.
    least_for_phases : int
        The same for convolutions with dilation of ordinary arrays, whose phases are copied (`ops.phases`).
    least_outputs : int
        Of a channel of ordinary arrays: with fewer the transformed kernels cost more than is saved.
    least_covered : float
        The least share of places in vectors of neighbouring tiles that hold an output: 0.61 at 7 x 7, 0.87 at 14 x 14.
    """

    enabled = os.environ.get("CONVKIT_WINOGRAD", "1") != "0"
    least_for_products = 16
    least_for_sums = 20
    least_for_phases = 32
    least_outputs = 700
    least_covered = 0.7


def suits(windows: Windows, ins: int, outs: int, least: int) -> bool:
    """Whether a group of a convolution with these windows and channels should go Winograd's way."""
    fits = windows.kernel_size == (3, 3) and windows.stride == (1, 1)
    return Rule.enabled and fits and ins * outs >= least * (ins + outs)


def suits_planes(windows: Windows, ins: int, outs: int, least: int, y: Any) -> bool:
    """The same for ordinary arrays, with outputs (N, C, H, W) like y."""
    if not suits(windows, ins, outs, least) or windows.dilation != (1, 1) or max(windows.low) > 2:
        return False
    images, _, height, width = y.shape
    places = 4 * -(-height // 2) * (-(-width // 2) + 1)
    return images * height * width >= Rule.least_outputs and height * width >= Rule.least_covered * places
