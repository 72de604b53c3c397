"""Inception v3: Szegedy et al. 2016, "Rethinking the Inception architecture for computer vision".

Table 1 has the network, figures 5 to 7 the modules: two 3×3 convolutions for one 5×5, 1×n and n×1 for n×n, 1×3 beside
3×1 at the coarsest size, and reduction of the size by branches side by side (figure 10).  Details and the parameters'
names are torchvision's.

In training the network returns a tuple: the logits, and those of the auxiliary classifier of section 4.  Its loss
counts 0.4, which the paper leaves open; labels are smoothed by 0.1 (section 7).  In inference the network returns the
logits alone.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from convkit import functional as F
from convkit import nn
from convkit.errors import flag
from convkit.models.blocks import NormalizedConv2d
from convkit.models.registry import Recipe, register
from convkit.nn.module import Module
from convkit.ops.base import is_training

PAPER = "Szegedy et al. 2016, Rethinking the Inception architecture for computer vision"

smoothed_loss = partial(nn.AuxiliaryCrossEntropyLoss, auxiliary_weight=0.4, label_smoothing=0.1)


class Factorised5x5(Module):
    """1×1, 5×5, two 3×3 for a 5×5, pooling (figure 5): (N, in_channels, H, W) → (N, outputs, H, W).

    Parameters
    ----------
    in_channels, pooled : int
        Maps of the input, and of the branch that pools.
    part : int
        All other widths are divided by it.
    """

    def __init__(self, in_channels: int, pooled: int, part: int) -> None:
        n48, n64, n96 = 48 // part, 64 // part, 96 // part
        self.branch1x1 = NormalizedConv2d(in_channels, n64, 1)
        self.branch5x5_1 = NormalizedConv2d(in_channels, n48, 1)
        self.branch5x5_2 = NormalizedConv2d(n48, n64, 5, padding=2)
        self.branch3x3dbl_1 = NormalizedConv2d(in_channels, n64, 1)
        self.branch3x3dbl_2 = NormalizedConv2d(n64, n96, 3, padding=1)
        self.branch3x3dbl_3 = NormalizedConv2d(n96, n96, 3, padding=1)
        self.branch_pool = NormalizedConv2d(in_channels, pooled, 1)
        self.outputs = 2 * n64 + n96 + pooled

    def forward(self, x: Any) -> Any:
        one = self.branch1x1(x)
        five = self.branch5x5_2(self.branch5x5_1(x))
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return F.concat([one, five, double, self.branch_pool(F.avg_pool2d(x, 3, 1, 1))])


class Reduction3x3(Module):
    """Half the size: 3×3, two 3×3, pooling (figure 10): (N, in_channels, H, W) → (N, outputs, H', W').

    Parameters
    ----------
    in_channels, part : int
    """

    def __init__(self, in_channels: int, part: int) -> None:
        n64, n96, n384 = 64 // part, 96 // part, 384 // part
        self.branch3x3 = NormalizedConv2d(in_channels, n384, 3, stride=2)
        self.branch3x3dbl_1 = NormalizedConv2d(in_channels, n64, 1)
        self.branch3x3dbl_2 = NormalizedConv2d(n64, n96, 3, padding=1)
        self.branch3x3dbl_3 = NormalizedConv2d(n96, n96, 3, stride=2)
        self.outputs = n384 + n96 + in_channels

    def forward(self, x: Any) -> Any:
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return F.concat([self.branch3x3(x), double, F.max_pool2d(x, 3, 2)])


class Factorised7x7(Module):
    """1×1, one 7×7, two 7×7, each as 1×7 and 7×1, and pooling (figure 6): (N, in_channels, H, W) → (N, outputs, H, W).

    Parameters
    ----------
    in_channels, width : int
        Maps of the input, and between the factors.
    part : int
        Widths other than that of the input are divided by it.
    """

    def __init__(self, in_channels: int, width: int, part: int) -> None:
        n, n192 = width // part, 192 // part
        self.branch1x1 = NormalizedConv2d(in_channels, n192, 1)
        self.branch7x7_1 = NormalizedConv2d(in_channels, n, 1)
        self.branch7x7_2 = NormalizedConv2d(n, n, (1, 7), padding=(0, 3))
        self.branch7x7_3 = NormalizedConv2d(n, n192, (7, 1), padding=(3, 0))
        self.branch7x7dbl_1 = NormalizedConv2d(in_channels, n, 1)
        self.branch7x7dbl_2 = NormalizedConv2d(n, n, (7, 1), padding=(3, 0))
        self.branch7x7dbl_3 = NormalizedConv2d(n, n, (1, 7), padding=(0, 3))
        self.branch7x7dbl_4 = NormalizedConv2d(n, n, (7, 1), padding=(3, 0))
        self.branch7x7dbl_5 = NormalizedConv2d(n, n192, (1, 7), padding=(0, 3))
        self.branch_pool = NormalizedConv2d(in_channels, n192, 1)
        self.outputs = 4 * n192

    def forward(self, x: Any) -> Any:
        single = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return F.concat([self.branch1x1(x), single, double, self.branch_pool(F.avg_pool2d(x, 3, 1, 1))])


class Reduction7x7(Module):
    """Half the size: 3×3, a factorised 7×7 and 3×3, pooling: (N, in_channels, H, W) → (N, outputs, H', W').

    Parameters
    ----------
    in_channels, part : int
    """

    def __init__(self, in_channels: int, part: int) -> None:
        n192, n320 = 192 // part, 320 // part
        self.branch3x3_1 = NormalizedConv2d(in_channels, n192, 1)
        self.branch3x3_2 = NormalizedConv2d(n192, n320, 3, stride=2)
        self.branch7x7x3_1 = NormalizedConv2d(in_channels, n192, 1)
        self.branch7x7x3_2 = NormalizedConv2d(n192, n192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = NormalizedConv2d(n192, n192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = NormalizedConv2d(n192, n192, 3, stride=2)
        self.outputs = n320 + n192 + in_channels

    def forward(self, x: Any) -> Any:
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return F.concat([self.branch3x3_2(self.branch3x3_1(x)), seven, F.max_pool2d(x, 3, 2)])


class Expanded3x3(Module):
    """1×3 beside 3×1 for the coarsest size (figure 7): (N, in_channels, H, W) → (N, outputs, H, W).

    Parameters
    ----------
    in_channels, part : int
    """

    def __init__(self, in_channels: int, part: int) -> None:
        n192, n320, n384, n448 = 192 // part, 320 // part, 384 // part, 448 // part
        self.branch1x1 = NormalizedConv2d(in_channels, n320, 1)
        self.branch3x3_1 = NormalizedConv2d(in_channels, n384, 1)
        self.branch3x3_2a = NormalizedConv2d(n384, n384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = NormalizedConv2d(n384, n384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = NormalizedConv2d(in_channels, n448, 1)
        self.branch3x3dbl_2 = NormalizedConv2d(n448, n384, 3, padding=1)
        self.branch3x3dbl_3a = NormalizedConv2d(n384, n384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = NormalizedConv2d(n384, n384, (3, 1), padding=(1, 0))
        self.branch_pool = NormalizedConv2d(in_channels, n192, 1)
        self.outputs = n320 + 4 * n384 + n192

    def forward(self, x: Any) -> Any:
        three = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return F.concat(
            [
                self.branch1x1(x),
                self.branch3x3_2a(three),
                self.branch3x3_2b(three),
                self.branch3x3dbl_3a(double),
                self.branch3x3dbl_3b(double),
                self.branch_pool(F.avg_pool2d(x, 3, 1, 1)),
            ]
        )


class Auxiliary(Module):
    """A classifier on 17×17 maps (figure 8), or on the 6×6 ones of small images: (N, in_channels, H, W) → logits.

    Parameters
    ----------
    in_channels, num_classes, part : int
    small_images : bool
    """

    def __init__(self, in_channels: int, num_classes: int, part: int, small_images: bool) -> None:
        self.pool = nn.Sequential() if small_images else nn.AvgPool2d(5, 3)
        self.conv0 = NormalizedConv2d(in_channels, 128 // part, 1)
        self.conv1 = NormalizedConv2d(128 // part, 768 // part, 5)
        self.fc = nn.Linear(768 // part, num_classes)

    def forward(self, x: Any) -> Any:
        return self.fc(F.global_avg_pool(self.conv1(self.conv0(self.pool(x)))))


class InceptionV3(Module):
    """Five convolutions, eleven modules, global mean pooling, dropout, a dense layer: (N, C, H, W) → logits.

    Parameters
    ----------
    in_channels, num_classes : int
    auxiliary : bool
        Whether there is an auxiliary classifier.
    part : int
        All widths are divided by it.
    small_images : bool
        The first five convolutions keep the size, and there is one pooling among them, not two.
    """

    def __init__(
        self, in_channels: int, num_classes: int, auxiliary: bool, part: int = 1, small_images: bool = False
    ) -> None:
        auxiliary = flag("InceptionV3", "auxiliary", auxiliary)
        n32, n64, n80, n192 = 32 // part, 64 // part, 80 // part, 192 // part
        stride, border = (1, 1) if small_images else (2, 0)
        self.Conv2d_1a_3x3 = NormalizedConv2d(in_channels, n32, 3, stride, border)
        self.Conv2d_2a_3x3 = NormalizedConv2d(n32, n32, 3, padding=border)
        self.Conv2d_2b_3x3 = NormalizedConv2d(n32, n64, 3, padding=1)
        self.maxpool1 = nn.MaxPool2d(3, 2, padding=border)
        self.Conv2d_3b_1x1 = NormalizedConv2d(n64, n80, 1)
        self.Conv2d_4a_3x3 = NormalizedConv2d(n80, n192, 3, padding=border)
        self.maxpool2 = nn.Sequential() if small_images else nn.MaxPool2d(3, 2)
        self.Mixed_5b = Factorised5x5(n192, 32 // part, part)
        self.Mixed_5c = Factorised5x5(self.Mixed_5b.outputs, n64, part)
        self.Mixed_5d = Factorised5x5(self.Mixed_5c.outputs, n64, part)
        self.Mixed_6a = Reduction3x3(self.Mixed_5d.outputs, part)
        self.Mixed_6b = Factorised7x7(self.Mixed_6a.outputs, 128, part)
        self.Mixed_6c = Factorised7x7(self.Mixed_6b.outputs, 160, part)
        self.Mixed_6d = Factorised7x7(self.Mixed_6c.outputs, 160, part)
        self.Mixed_6e = Factorised7x7(self.Mixed_6d.outputs, 192, part)
        self.AuxLogits = Auxiliary(self.Mixed_6e.outputs, num_classes, part, small_images) if auxiliary else None
        self.Mixed_7a = Reduction7x7(self.Mixed_6e.outputs, part)
        self.Mixed_7b = Expanded3x3(self.Mixed_7a.outputs, part)
        self.Mixed_7c = Expanded3x3(self.Mixed_7b.outputs, part)
        self.avgpool = nn.GlobalAvgPool()
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(self.Mixed_7c.outputs, num_classes)

    def forward(self, x: Any) -> Any:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(self.maxpool1(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(self.maxpool2(x))))
        for module in (self.Mixed_6a, self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e):
            x = module(x)
        maps = x
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        logits = self.fc(self.dropout(self.avgpool(x)))
        if is_training() and self.AuxLogits is not None:
            return logits, self.AuxLogits(maps)
        return logits


@register(paper=PAPER, dataset=None, parameters=27_161_264, input_shape=(3, 299, 299), loss=smoothed_loss)
def inception_v3(*, in_channels: int = 3, num_classes: int = 1000, auxiliary: bool = True) -> Module:
    """Eleven modules: 23,834,568 parameters, 27,161,264 with the auxiliary classifier."""
    return InceptionV3(in_channels, num_classes, auxiliary)


@register(
    paper=f"after {PAPER}",
    dataset="fashion-mnist",
    parameters=387_888,
    recipe=Recipe(epochs=12, batch_size=64, optimizer="nesterov", lr=0.05, schedule="cosine"),
    loss=smoothed_loss,
)
def inception_v3_small(*, in_channels: int = 1, num_classes: int = 10, auxiliary: bool = True) -> Module:
    """`inception_v3` for 28×28, of an eighth of the width: 387,888 parameters."""
    return InceptionV3(in_channels, num_classes, auxiliary, part=8, small_images=True)
