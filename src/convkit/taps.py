"""Which input each output of a convolution meets, and under which kernel position.

Output o of an axis meets input i under kernel position (tap) t where

    convolution     i = o s - p + t d
    its adjoint     o = i s - p + t d

Outputs in the interior meet all taps, those at a border fewer; with a stride, the adjoint's meet every s-th.
Outputs that meet the same taps, at the same distances, form a *class*: one loop over taps serves any of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from convkit.geometry import Sizes, Windows


@dataclass(frozen=True)
class TapTable:
    """The outputs of one plane, cut into tiles of a few outputs of one class each, in the order of the plane.

    Attributes
    ----------
    first : int64, (classes + 1,)
        The taps of class c are number first[c] up to first[c + 1] of the next two.
    tap, distance : int64
        A kernel position, and the distance of the input under it from the output's base; positions are flat.
    tile_class, tile_count : int64, (tiles,)
    base, output : int64, (tiles, most)
        The base input and the place of each output of a tile; unused entries repeat the last.
    """

    first: np.ndarray
    tap: np.ndarray
    distance: np.ndarray
    tile_class: np.ndarray
    tile_count: np.ndarray
    base: np.ndarray
    output: np.ndarray

    @property
    def costs(self) -> np.ndarray:
        """Products of one channel pair in each tile; at least one."""
        return np.maximum(np.diff(self.first)[self.tile_class], 1) * self.tile_count


@dataclass(frozen=True)
class _Class:
    """Outputs along one axis, or in a plane, that meet the same taps."""

    taps: np.ndarray
    distances: np.ndarray
    bases: np.ndarray
    outputs: np.ndarray


def tap_table(windows: Windows, in_size: Sizes, out_size: Sizes, adjoint: bool, most: int) -> TapTable:
    """The table for a plane of `in_size` inputs and `out_size` outputs, with up to `most` outputs in a tile."""
    axes = [_axis_classes(windows, axis, in_size[axis], out_size[axis], adjoint) for axis in range(windows.rank)]
    classes = [_combined(parts, windows.kernel_size, in_size, out_size) for parts in product(*axes)]
    numbers, counts, bases, outputs = [], [], [], []
    for number, members in enumerate(classes):
        tiles = -(-len(members.outputs) // most)
        starts = len(members.outputs) * np.arange(tiles + 1) // tiles
        places = np.minimum(starts[:-1, None] + np.arange(most), starts[1:, None] - 1)
        numbers.append(np.full(tiles, number))
        counts.append(np.diff(starts))
        bases.append(members.bases[places])
        outputs.append(members.outputs[places])
    output = np.concatenate(outputs)
    order = np.argsort(output[:, 0], kind="stable")
    return TapTable(
        np.cumsum([0, *(len(members.taps) for members in classes)]),
        np.concatenate([members.taps for members in classes]),
        np.concatenate([members.distances for members in classes]),
        np.concatenate(numbers)[order],
        np.concatenate(counts)[order],
        np.concatenate(bases)[order],
        output[order],
    )


def _axis_classes(windows: Windows, axis: int, n_in: int, n_out: int, adjoint: bool) -> list[_Class]:
    stride, low, dilation = windows.stride[axis], windows.low[axis], windows.dilation[axis]
    outputs = np.arange(n_out)[:, None]
    shifts = np.arange(windows.kernel_size[axis]) * dilation
    if adjoint:
        inputs, remainder = np.divmod(outputs + low - shifts, stride)
        meets = (remainder == 0) & (inputs >= 0) & (inputs < n_in)
    else:
        inputs = outputs * stride - low + shifts
        meets = (inputs >= 0) & (inputs < n_in)
    _, numbers = np.unique(meets, axis=0, return_inverse=True)
    classes = []
    for number in range(numbers.max() + 1):
        [members] = np.nonzero(numbers.reshape(-1) == number)
        [taps] = np.nonzero(meets[members[0]])
        bases = inputs[members, taps[0]] if len(taps) else np.zeros_like(members)
        classes.append(_Class(taps, inputs[members[0], taps] - bases[0], bases, members))
    return classes


def _combined(parts: tuple[_Class, ...], kernel_size: Sizes, in_size: Sizes, out_size: Sizes) -> _Class:
    """The class of a plane whose axes have these classes."""
    taps = distances = bases = outputs = np.zeros(1, np.int64)
    for part, k, n_in, n_out in zip(parts, kernel_size, in_size, out_size, strict=True):
        taps = np.add.outer(taps * k, part.taps).reshape(-1)
        distances = np.add.outer(distances * n_in, part.distances).reshape(-1)
        bases = np.add.outer(bases * n_in, part.bases).reshape(-1)
        outputs = np.add.outer(outputs * n_out, part.outputs).reshape(-1)
    return _Class(taps, distances, bases, outputs)
