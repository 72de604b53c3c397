"""What several networks are built of."""

from __future__ import annotations

from typing import Any

from convkit import functional as F
from convkit import nn
from convkit.nn.module import Module


class RectifiedConv2d(Module):
    """A convolution and a rectifier; arguments as of `convkit.nn.Conv2d`."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: int = 1, padding: Any = 0
    ) -> None:
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, init="he_normal")

    def forward(self, x: Any) -> Any:
        return F.relu(self.conv(x))


class NormalizedConv2d(Module):
    """A convolution, batch normalisation and a rectifier; arguments as of `convkit.nn.Conv2d`."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: int = 1, padding: Any = 0
    ) -> None:
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False, init="he_normal")
        self.bn = nn.BatchNorm2d(out_channels, eps=1e-3)

    def forward(self, x: Any) -> Any:
        return F.relu(self.bn(self.conv(x)))
