"""An encoder and a decoder of transposed convolutions that name the class of each pixel.

After Long, Shelhamer and Darrell 2015, "Fully convolutional networks for semantic segmentation", in small: an encoder
of convolutions and pooling, and upon it a decoder that doubles the size by transposed convolutions, which begin as
bilinear interpolation (section 3.3), and adds at each size what the encoder's maps of that size say (section 4.2,
figure 3).  Zeiler, Krishnan, Taylor and Fergus 2010, "Deconvolutional networks", first put maps through convolutions
the other way round to make images.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convkit import functional as F
from convkit import nn
from convkit.models.pixels import lit_pixels
from convkit.models.registry import Recipe, register
from convkit.nn.module import Module

PAPER = "Long, Shelhamer and Darrell 2015, Fully convolutional networks for semantic segmentation"


def bilinear(shape: tuple[int, ...]) -> np.ndarray:
    """Weights (C, C, 2s, 2s) with which a transposed convolution of stride s interpolates linearly between places.

    Each channel is interpolated on its own: weights between channels are 0.
    """
    maps_in, maps_out, size, _ = shape
    distance = np.abs(np.arange(size) - (size - 1) / 2) / (size / 2)
    triangle = 1 - distance
    return np.eye(maps_in, maps_out)[:, :, None, None] * np.outer(triangle, triangle)


class Stage(Module):
    """Two 3×3 convolutions, normalised and rectified: (N, in_channels, H, W) → (N, out_channels, H, W).

    Parameters
    ----------
    in_channels, out_channels : int
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False, init="he_normal")
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False, init="he_normal")
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)))


class EncoderDecoder(Module):
    """Images (N, in_channels, H, W), H and W divisible by 4, to scores of each pixel's class (N, num_classes, H, W).

    Parameters
    ----------
    in_channels, num_classes : int
    width : int
        Maps at full size; twice and four times as many at half and quarter size.
    """

    def __init__(self, in_channels: int, num_classes: int, width: int) -> None:
        self.encode1 = Stage(in_channels, width)
        self.encode2 = Stage(width, 2 * width)
        self.encode3 = Stage(2 * width, 4 * width)
        self.pool = nn.MaxPool2d(2)
        self.score1 = nn.Conv2d(width, num_classes, 1)
        self.score2 = nn.Conv2d(2 * width, num_classes, 1)
        self.score3 = nn.Conv2d(4 * width, num_classes, 1)
        # stride 2: 4×4 weights, and a border of 1 that makes the size exactly twice as large
        self.double2 = nn.ConvTranspose2d(num_classes, num_classes, 4, 2, 1, bias=False, init=bilinear)
        self.double3 = nn.ConvTranspose2d(num_classes, num_classes, 4, 2, 1, bias=False, init=bilinear)

    def forward(self, x: Any) -> Any:
        full = self.encode1(x)
        half = self.encode2(self.pool(full))
        quarter = self.encode3(self.pool(half))
        scores = self.double3(self.score3(quarter)) + self.score2(half)
        return self.double2(scores) + self.score1(full)


@register(
    paper=f"after {PAPER}",
    dataset="fashion-mnist",
    parameters=77_153,
    recipe=Recipe(epochs=5, batch_size=64, optimizer="adam", lr=2e-3, schedule="cosine"),
    targets=lit_pixels,
)
def encoder_decoder(*, in_channels: int = 1, num_classes: int = 11, width: int = 16) -> Module:
    """Scores of ten classes and the background for each pixel: 77,153 parameters."""
    return EncoderDecoder(in_channels, num_classes, width)
