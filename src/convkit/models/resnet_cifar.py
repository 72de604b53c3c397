"""Residual networks for small images, and the plain networks beside them.

He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition", section 4.2: a 3×3 convolution, three
stages of 2n convolutions each with 16, 32 and 64 maps, global mean pooling and a dense layer, 6n + 2 layers with
weights in all.  Shortcuts have no parameters (option A): where a stage begins, they take every second place, and the
maps that are not there before are zero.  The plain network is the same without shortcuts.

The paper trains on 32×32 images of three colours; ``resnet20(in_channels=3)`` is that network.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convkit import functional as F
from convkit import nn
from convkit.models.registry import Recipe, register
from convkit.models.resnet import convolution
from convkit.nn.module import Module

PAPER = "He, Zhang, Ren and Sun 2016, Deep residual learning for image recognition, section 4.2"

# Section 4.2 has 0.1, divided by 10 twice, batches of 128, a weight decay of 1e-4, shifts by up to 4 pixels and flips,
# for 64,000 updates; here are 5,628.
RECIPE = Recipe(
    epochs=12,
    batch_size=128,
    optimizer="nesterov",
    lr=0.1,
    schedule="warmup-cosine",
    augment="shift=2,flip=0.5",
    weight_decay=5e-4,
)


def shortcut(x: Any, out_channels: int, stride: int) -> Any:
    """Every stride-th place of x (N, C, H, W), and maps of zeros behind the C maps, to (N, out_channels, H/s, W/s)."""
    if stride == 1:
        return x
    x = F.max_pool2d(x, 1, stride)  # of windows of one place
    samples, channels, height, width = x.shape
    return F.concat([x, np.zeros((samples, out_channels - channels, height, width), x.dtype)])


class Block(Module):
    """Two 3×3 convolutions, around them a shortcut or nothing: (N, C, H, W) → (N, width, H/s, W/s).

    Parameters
    ----------
    in_channels, width, stride : int
    residual : bool
        Whether there is a shortcut.
    """

    def __init__(self, in_channels: int, width: int, stride: int, residual: bool) -> None:
        self.width, self.stride, self.residual = width, stride, residual
        self.conv1 = convolution(in_channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Any) -> Any:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + shortcut(x, self.width, self.stride) if self.residual else y)


def stage(in_channels: int, width: int, depth: int, stride: int, residual: bool) -> nn.Sequential:
    """Blocks one after the other, the first of which changes size and maps."""
    rest = [Block(width, width, 1, residual) for _ in range(depth - 1)]
    return nn.Sequential(Block(in_channels, width, stride, residual), *rest)


class SmallImageResNet(Module):
    """6n + 2 layers for small images, residual or plain: (N, in_channels, H, W) → logits (N, num_classes).

    Parameters
    ----------
    depth : int
        6n + 2.
    in_channels, num_classes : int
    residual : bool
        Whether blocks have shortcuts.

    Raises
    ------
    ValueError
        For a depth that is not 6n + 2.
    """

    def __init__(self, depth: int, in_channels: int, num_classes: int, residual: bool = True) -> None:
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"SmallImageResNet: depth must be 6n + 2, as 20 and 56 are, not {depth}")
        self.conv1 = convolution(in_channels, 16, 3)
        self.bn1 = nn.BatchNorm2d(16)
        blocks = depth // 6
        self.layer1 = stage(16, 16, blocks, 1, residual)
        self.layer2 = stage(16, 32, blocks, 2, residual)
        self.layer3 = stage(32, 64, blocks, 2, residual)
        self.avgpool = nn.GlobalAvgPool()
        self.fc = nn.Linear(64, num_classes)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x))


@register(paper=PAPER, dataset="fashion-mnist", parameters=269_434, recipe=RECIPE)
def resnet20(*, in_channels: int = 1, num_classes: int = 10) -> Module:
    """20 layers with shortcuts: 269,434 parameters."""
    return SmallImageResNet(20, in_channels, num_classes)


@register(paper=PAPER, dataset="fashion-mnist", parameters=463_866, recipe=RECIPE)
def resnet32(*, in_channels: int = 1, num_classes: int = 10) -> Module:
    """32 layers with shortcuts: 463,866 parameters."""
    return SmallImageResNet(32, in_channels, num_classes)


@register(paper=PAPER, dataset="fashion-mnist", parameters=658_298, recipe=RECIPE)
def resnet44(*, in_channels: int = 1, num_classes: int = 10) -> Module:
    """44 layers with shortcuts: 658,298 parameters."""
    return SmallImageResNet(44, in_channels, num_classes)


@register(paper=PAPER, dataset="fashion-mnist", parameters=852_730, recipe=RECIPE)
def resnet56(*, in_channels: int = 1, num_classes: int = 10) -> Module:
    """56 layers with shortcuts: 852,730 parameters."""
    return SmallImageResNet(56, in_channels, num_classes)


@register(paper=PAPER, dataset="fashion-mnist", parameters=1_727_674, recipe=RECIPE)
def resnet110(*, in_channels: int = 1, num_classes: int = 10) -> Module:
    """110 layers with shortcuts: 1,727,674 parameters."""
    return SmallImageResNet(110, in_channels, num_classes)


@register(paper=PAPER, dataset="fashion-mnist", parameters=269_434, recipe=RECIPE)
def plain20(*, in_channels: int = 1, num_classes: int = 10) -> Module:
    """20 layers without shortcuts: 269,434 parameters."""
    return SmallImageResNet(20, in_channels, num_classes, residual=False)


@register(paper=PAPER, dataset="fashion-mnist", parameters=463_866, recipe=RECIPE)
def plain32(*, in_channels: int = 1, num_classes: int = 10) -> Module:
    """32 layers without shortcuts: 463,866 parameters."""
    return SmallImageResNet(32, in_channels, num_classes, residual=False)


@register(paper=PAPER, dataset="fashion-mnist", parameters=658_298, recipe=RECIPE)
def plain44(*, in_channels: int = 1, num_classes: int = 10) -> Module:
    """44 layers without shortcuts: 658,298 parameters."""
    return SmallImageResNet(44, in_channels, num_classes, residual=False)


@register(paper=PAPER, dataset="fashion-mnist", parameters=852_730, recipe=RECIPE)
def plain56(*, in_channels: int = 1, num_classes: int = 10) -> Module:
    """56 layers without shortcuts: 852,730 parameters."""
    return SmallImageResNet(56, in_channels, num_classes, residual=False)


@register(paper=PAPER, dataset="fashion-mnist", parameters=1_727_674, recipe=RECIPE)
def plain110(*, in_channels: int = 1, num_classes: int = 10) -> Module:
    """110 layers without shortcuts: 1,727,674 parameters."""
    return SmallImageResNet(110, in_channels, num_classes, residual=False)
