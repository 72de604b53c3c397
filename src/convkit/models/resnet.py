"""Residual networks for ImageNet: He, Zhang, Ren and Sun 2016, "Deep residual learning for image recognition".

Section 3.3 describes them, table 1 has their sizes; figure 5 shows the two blocks.  Where the size changes, the
shortcut is a projection (option B).  As everywhere today, and in torchvision, whose names the parameters bear, the
3×3 convolution of a bottleneck has the stride that the paper gives to the 1×1 one before it.

The `_small` networks have the blocks of their namesakes, a quarter of the maps, and for a head, as in section 4.2, a
3×3 convolution without pooling.
"""

from __future__ import annotations

from typing import Any

from convkit import functional as F
from convkit import nn
from convkit.models.registry import Recipe, register
from convkit.nn.module import Module

PAPER = "He, Zhang, Ren and Sun 2016, Deep residual learning for image recognition, table 1"


def convolution(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that halves the size where the stride is 2; the shift of the normalisation behind is its bias."""
    padding = kernel_size // 2
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False, init="he_normal")


def projection(in_channels: int, out_channels: int, stride: int) -> Module | None:
    """The shortcut of a block: a 1×1 convolution where shapes differ (equation 2), else nothing (equation 1)."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(convolution(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


class BasicBlock(Module):
    """Two 3×3 convolutions and a shortcut around them (figure 5, left): (N, C, H, W) → (N, width, H/s, W/s).

    Parameters
    ----------
    in_channels, width, stride : int
    """

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        self.conv1 = convolution(in_channels, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = projection(in_channels, width, stride)

    def forward(self, x: Any) -> Any:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(Module):
    """1×1, 3×3, 1×1 and a shortcut around them (figure 5, right): (N, C, H, W) → (N, 4·width, H/s, W/s).

    Parameters
    ----------
    in_channels, width, stride : int
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int = 1) -> None:
        self.conv1 = convolution(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = convolution(width, self.expansion * width, 1)
        self.bn3 = nn.BatchNorm2d(self.expansion * width)
        self.downsample = projection(in_channels, self.expansion * width, stride)

    def forward(self, x: Any) -> Any:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def stage(
    block: type[BasicBlock] | type[Bottleneck], in_channels: int, width: int, depth: int, stride: int
) -> nn.Sequential:
    """Blocks one after the other, the first of which changes size and maps."""
    rest = [block(block.expansion * width, width) for _ in range(depth - 1)]
    return nn.Sequential(block(in_channels, width, stride), *rest)


class ResNet(Module):
    """A head, four stages of blocks, each of twice the width and half the size, global mean pooling, a dense layer.

    Parameters
    ----------
    block : BasicBlock or Bottleneck
    depths : four ints
        Blocks in each stage.
    in_channels, num_classes : int
    width : int
        Of the first stage.
    small_images : bool
        The head is a 3×3 convolution, instead of a 7×7 one and max pooling that leave a sixteenth of the places.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: tuple[int, int, int, int],
        in_channels: int,
        num_classes: int,
        width: int = 64,
        small_images: bool = False,
    ) -> None:
        self.conv1 = convolution(in_channels, width, 3 if small_images else 7, 1 if small_images else 2)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = None if small_images else nn.MaxPool2d(3, 2, padding=1)
        maps = block.expansion * width
        self.layer1 = stage(block, width, width, depths[0], stride=1)
        self.layer2 = stage(block, maps, 2 * width, depths[1], stride=2)
        self.layer3 = stage(block, 2 * maps, 4 * width, depths[2], stride=2)
        self.layer4 = stage(block, 4 * maps, 8 * width, depths[3], stride=2)
        self.avgpool = nn.GlobalAvgPool()
        self.fc = nn.Linear(8 * maps, num_classes)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.bn1(self.conv1(x)))
        if self.maxpool is not None:
            x = self.maxpool(x)
        for blocks in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = blocks(x)
        return self.fc(self.avgpool(x))


@register(paper=PAPER, dataset=None, parameters=11_689_512, input_shape=(3, 224, 224))
def resnet18(*, in_channels: int = 3, num_classes: int = 1000) -> Module:
    """Eight basic blocks: 11,689,512 parameters."""
    return ResNet(BasicBlock, (2, 2, 2, 2), in_channels, num_classes)


@register(paper=PAPER, dataset=None, parameters=21_797_672, input_shape=(3, 224, 224))
def resnet34(*, in_channels: int = 3, num_classes: int = 1000) -> Module:
    """Sixteen basic blocks: 21,797,672 parameters."""
    return ResNet(BasicBlock, (3, 4, 6, 3), in_channels, num_classes)


@register(paper=PAPER, dataset=None, parameters=25_557_032, input_shape=(3, 224, 224))
def resnet50(*, in_channels: int = 3, num_classes: int = 1000) -> Module:
    """Sixteen bottlenecks: 25,557,032 parameters."""
    return ResNet(Bottleneck, (3, 4, 6, 3), in_channels, num_classes)


@register(paper=PAPER, dataset=None, parameters=44_549_160, input_shape=(3, 224, 224))
def resnet101(*, in_channels: int = 3, num_classes: int = 1000) -> Module:
    """Thirty-three bottlenecks: 44,549,160 parameters."""
    return ResNet(Bottleneck, (3, 4, 23, 3), in_channels, num_classes)


@register(paper=PAPER, dataset=None, parameters=60_192_808, input_shape=(3, 224, 224))
def resnet152(*, in_channels: int = 3, num_classes: int = 1000) -> Module:
    """Fifty bottlenecks: 60,192,808 parameters."""
    return ResNet(Bottleneck, (3, 8, 36, 3), in_channels, num_classes)


SMALL = Recipe(epochs=10, batch_size=64, optimizer="nesterov", lr=0.05, schedule="cosine")


@register(paper=f"after {PAPER}", dataset="fashion-mnist", parameters=701_178, recipe=SMALL)
def resnet18_small(*, in_channels: int = 1, num_classes: int = 10) -> Module:
    """ResNet-18 for small images, of a quarter of the width: 701,178 parameters."""
    return ResNet(BasicBlock, (2, 2, 2, 2), in_channels, num_classes, width=16, small_images=True)


@register(paper=f"after {PAPER}", dataset="fashion-mnist", parameters=1_483_898, recipe=SMALL)
def resnet50_small(*, in_channels: int = 1, num_classes: int = 10) -> Module:
    """ResNet-50 for small images, of a quarter of the width: 1,483,898 parameters."""
    return ResNet(Bottleneck, (3, 4, 6, 3), in_channels, num_classes, width=16, small_images=True)
