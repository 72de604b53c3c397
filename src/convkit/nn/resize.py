"""Layers that change the size of images."""

from __future__ import annotations

from typing import Any

from convkit import functional as F
from convkit.errors import flag, integer, is_listing, one_of, said
from convkit.functional.resize import LARGEST_FACTOR
from convkit.nn.module import Module


class PixelShuffle(Module):
    """An image r times as large of r² channels each; see `convkit.functional.pixel_shuffle`.

    Shape: x (N, C·r², H, W) → y (N, C, H·r, W·r).

    Parameters
    ----------
    upscale_factor : int
        r.

    References
    ----------
    Shi et al. 2016, "Real-time single image and video super-resolution using an efficient sub-pixel convolutional
    neural network", equation 4.
    """

    def __init__(self, upscale_factor: int) -> None:
        self.upscale_factor = integer("PixelShuffle", "upscale_factor", upscale_factor, 1, LARGEST_FACTOR)

    def forward(self, x: Any) -> Any:
        return F.pixel_shuffle(x, self.upscale_factor)

    def extra_repr(self) -> str:
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """r² channels of each channel of an image r times as large; see `convkit.functional.pixel_unshuffle`.

    Shape: x (N, C, H·r, W·r) → y (N, C·r², H, W).

    Parameters
    ----------
    downscale_factor : int
        r.
    """

    def __init__(self, downscale_factor: int) -> None:
        self.downscale_factor = integer("PixelUnshuffle", "downscale_factor", downscale_factor, 1, LARGEST_FACTOR)

    def forward(self, x: Any) -> Any:
        return F.pixel_unshuffle(x, self.downscale_factor)

    def extra_repr(self) -> str:
        return f"downscale_factor={self.downscale_factor}"


class Upsample(Module):
    """Signals, images or volumes of another size, by the nearest value or linearly; `convkit.functional.interpolate`.

    Shape: x (N, C, L), (N, C, H, W) or (N, C, D, H, W) → y ``(N, C, *size)``.

    Parameters
    ----------
    size : int or one for each axis, optional
        The output's size; this or `scale_factor`.
    scale_factor : int or one for each axis, optional
        How many times as large the output is.
    mode : {'nearest', 'linear', 'bilinear', 'trilinear'}
        'linear' is for signals, 'bilinear' for images, 'trilinear' for volumes.
    align_corners : bool
        Whether the outermost outputs are the outermost inputs; not for 'nearest'.

    Raises
    ------
    ValueError
        For an unknown mode, and where neither or both of `size` and `scale_factor` are given.
    """

    def __init__(
        self, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool = False
    ) -> None:
        if (size is None) == (scale_factor is None):
            raise ValueError("Upsample: exactly one of size and scale_factor must be given")
        self.size = None if size is None else _sizes("size", size)
        self.scale_factor = None if scale_factor is None else _sizes("scale_factor", scale_factor)
        self.mode = one_of("Upsample", "mode", mode, ("nearest", "linear", "bilinear", "trilinear"))
        self.align_corners = flag("Upsample", "align_corners", align_corners)

    def forward(self, x: Any) -> Any:
        return F.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self) -> str:
        wanted = f"size={self.size}" if self.size is not None else f"scale_factor={self.scale_factor}"
        return f"{wanted}, mode={self.mode!r}"


def _sizes(argument: str, value: Any) -> int | tuple[int, ...]:
    """One integer for all axes as it is, or one for each of the one to three that there are."""
    if not is_listing(value):
        return integer("Upsample", argument, value, 1)
    if not 1 <= len(value) <= 3:
        raise ValueError(f"Upsample: {argument} must be one integer or one for each axis, not {said(value)}")
    return tuple(integer("Upsample", argument, n, 1) for n in value)
