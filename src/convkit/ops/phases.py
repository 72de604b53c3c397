"""Dilated convolutions as ordinary ones of the images' phases, for which Winograd's way is open.

With dilation d, output p sums inputs p - low + k·d: all of them in one phase, p - low modulo d.  Where low is a
multiple of d, phase a of the output comes from phase a of the input alone, by an undilated convolution with padding
low / d.  Copying costs little beside many channels' products, and the phases of an image fill the lanes.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from convkit import winograd
from convkit._kernels.core import Kernel, Series
from convkit._kernels.phases import MergePhases, SplitPhases
from convkit._kernels.winograd import WinogradConvolution, WinogradWeightGrad
from convkit.geometry import Windows
from convkit.ops.base import Spec
from convkit.ops.lanes import fills_lanes, in_lanes


class Phases:
    """How the phases of images are laid out, for a convolution with these windows.

    Attributes
    ----------
    windows : Windows
        Of the convolution of phases.
    """

    def __init__(self, windows: Windows, images: int, dtype: Any) -> None:
        self.dilation = windows.dilation
        low = tuple(n // d for n, d in zip(windows.low, windows.dilation, strict=True))
        self.windows = replace(windows, dilation=(1, 1), padding=tuple((n, n) for n in low))
        self.count, self.dtype = images * prod(windows.dilation), dtype
        self.lie_in_lanes = fills_lanes(self.count, dtype)

    def size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Of the phases of images of this size."""
        return tuple(-(-n // d) for n, d in zip(size, self.dilation, strict=True))

    def room(self, channels: int, size: tuple[int, ...]) -> np.ndarray:
        """An array for the phases of images of this size."""
        shape = (self.count, channels, *self.size(size))
        return np.empty(in_lanes(shape, self.dtype) if self.lie_in_lanes else shape, self.dtype)

    def suit(self, ins: int, outs: int, size: tuple[int, ...]) -> bool:
        """Whether a group of the convolution, with outputs of this size, goes Winograd's way by phases."""
        if self.lie_in_lanes:
            return winograd.suits(self.windows, ins, outs, winograd.Rule.least_for_phases, self.size(size))
        return winograd.suits_phases(self.windows, ins, outs, Spec((self.count, outs, *self.size(size)), self.dtype))


def phases_of(windows: Windows, ins: int, outs: int, images: Any, size: tuple[int, ...]) -> Phases | None:
    """How to compute a convolution of images with outputs of this size by phases, or None where that does not pay."""
    if windows.rank != 2 or prod(windows.dilation) == 1 or images.shape[0] == 0:
        return None
    if any(n % d for n, d in zip(windows.low, windows.dilation, strict=True)):
        return None
    phases = Phases(windows, images.shape[0], images.dtype)
    return phases if phases.suit(ins, outs, size) else None


def convolution_of_phases(
    phases: Phases, x: Any, weight: Any, bias: Any, y: Any, groups: int, adjoint: bool, relu: bool
) -> Kernel:
    """The convolution or its adjoint, from x to y, (N, C, H, W) each."""
    inside, outside = phases.room(x.shape[1], x.shape[2:]), phases.room(y.shape[1], y.shape[2:])
    low, size = phases.windows.low, phases.size(y.shape[2:])
    kernel = WinogradConvolution(inside, weight, bias, outside, size, low, (1, 1), groups, adjoint, relu)
    return Series([SplitPhases(x, inside, phases.dilation), kernel, MergePhases(outside, y, phases.dilation)])


def weight_grad_of_phases(phases: Phases, grad: Any, x: Any, grad_weight: Any, grad_bias: Any, groups: int) -> Kernel:
    """The gradients to weight and bias."""
    outside, inside = phases.room(grad.shape[1], grad.shape[2:]), phases.room(x.shape[1], x.shape[2:])
    kernel = WinogradWeightGrad(outside, inside, grad_weight, grad_bias, phases.windows.low, (1, 1), groups)
    return Series([SplitPhases(grad, outside, phases.dilation), SplitPhases(x, inside, phases.dilation), kernel])
