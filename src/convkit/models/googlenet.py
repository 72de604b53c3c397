"""GoogLeNet: Szegedy et al. 2015, "Going deeper with convolutions", sections 4 and 5, figures 2(b) and 3, table 1.

* `googlenet`: as in the paper, with response normalisation (whose constants the paper leaves open; they are those of
  section 3.3 of AlexNet's paper, but with a mean and k = 1, as usual for this network).
* `googlenet_bn`: torchvision's, with its names: batch normalisation behind every convolution, 3×3 where the paper has
  5×5, and a last pooling of 2×2.

In training both return a tuple: the logits, and those of two auxiliary classifiers, on the fourth and the seventh
module, whose losses count 0.3 each (section 5).  In inference they return the logits alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from convkit import functional as F
from convkit import nn
from convkit.errors import flag
from convkit.models.blocks import NormalizedConv2d, RectifiedConv2d
from convkit.models.registry import Recipe, register
from convkit.nn.module import Module
from convkit.ops.base import is_training

PAPER = "Szegedy et al. 2015, Going deeper with convolutions"

# Table 1: maps of the 1×1, 3×3 reduce, 3×3, 5×5 reduce, 5×5 and pooling projection.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


@dataclass(frozen=True)
class Form:
    """What the forms of the network differ in.

    Attributes
    ----------
    normalized : bool
        Torchvision's form with batch normalisation, else the paper's.
    part : int
        All widths are divided by it.
    small_images : bool
        The first convolution is 3×3 and there is no pooling behind it, instead of 7×7 with stride 2 and pooling.
    """

    normalized: bool
    part: int = 1
    small_images: bool = False

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> Module:
        """A convolution that keeps the size but for its stride, rectified."""
        unit = NormalizedConv2d if self.normalized else RectifiedConv2d
        return unit(in_channels, out_channels, kernel_size, stride, kernel_size // 2)

    def response_norm(self) -> Module:
        """The response normalisation of the paper's form."""
        return nn.Sequential() if self.normalized else nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)


class Inception(Module):
    """Four branches side by side, figure 2(b): (N, in_channels, H, W) → (N, outputs, H, W).

    Parameters
    ----------
    form : Form
    in_channels : int
    name : str
        Of a line of table 1.
    """

    def __init__(self, form: Form, in_channels: int, name: str) -> None:
        n1, n3_reduce, n3, n5_reduce, n5, projected = (width // form.part for width in MODULES[name])
        self.branch1 = form.conv(in_channels, n1, 1)
        self.branch2 = nn.Sequential(form.conv(in_channels, n3_reduce, 1), form.conv(n3_reduce, n3, 3))
        large = 3 if form.normalized else 5
        self.branch3 = nn.Sequential(form.conv(in_channels, n5_reduce, 1), form.conv(n5_reduce, n5, large))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), form.conv(in_channels, projected, 1))
        self.outputs = n1 + n3 + n5 + projected

    def forward(self, x: Any) -> Any:
        return F.concat([branch(x) for branch in (self.branch1, self.branch2, self.branch3, self.branch4)])


class Auxiliary(Module):
    """A classifier on the maps of a module within the network (section 5): (N, in_channels, H, W) → logits.

    Parameters
    ----------
    form : Form
    in_channels, num_classes : int
    """

    def __init__(self, form: Form, in_channels: int, num_classes: int) -> None:
        # 14×14 maps become 4×4 either way, but over different windows; the 7×7 ones of small images in the paper's
        # form become 1×1
        self.pool = nn.AdaptiveAvgPool2d(4) if form.normalized else nn.AvgPool2d(5, 3)
        side = 1 if form.small_images and not form.normalized else 4
        self.conv = form.conv(in_channels, 128 // form.part, 1)
        self.fc1 = nn.Linear(128 // form.part * side**2, 1024 // form.part, init="he_normal")
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024 // form.part, num_classes)

    def forward(self, x: Any) -> Any:
        x = F.flatten(self.conv(self.pool(x)))
        return self.fc2(self.dropout(F.relu(self.fc1(x))))


class GoogLeNet(Module):
    """Three convolutions, nine Inception modules, global mean pooling, a dense layer: (N, C, H, W) → logits.

    Parameters
    ----------
    form : Form
    in_channels, num_classes : int
    auxiliary : bool
        Whether there are auxiliary classifiers.
    """

    def __init__(self, form: Form, in_channels: int, num_classes: int, auxiliary: bool) -> None:
        auxiliary = flag("GoogLeNet", "auxiliary", auxiliary)
        narrow, wide = 64 // form.part, 192 // form.part
        self.conv1 = form.conv(in_channels, narrow, 3) if form.small_images else form.conv(in_channels, narrow, 7, 2)
        self.maxpool1 = nn.Sequential() if form.small_images else nn.MaxPool2d(3, 2, ceil_mode=True)
        self.norm1 = form.response_norm()
        self.conv2 = form.conv(narrow, narrow, 1)
        self.conv3 = form.conv(narrow, wide, 3)
        self.norm2 = form.response_norm()
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception3a = Inception(form, wide, "3a")
        self.inception3b = Inception(form, self.inception3a.outputs, "3b")
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.inception4a = Inception(form, self.inception3b.outputs, "4a")
        self.inception4b = Inception(form, self.inception4a.outputs, "4b")
        self.inception4c = Inception(form, self.inception4b.outputs, "4c")
        self.inception4d = Inception(form, self.inception4c.outputs, "4d")
        self.inception4e = Inception(form, self.inception4d.outputs, "4e")
        self.maxpool4 = nn.MaxPool2d(2 if form.normalized else 3, 2, ceil_mode=True)
        self.inception5a = Inception(form, self.inception4e.outputs, "5a")
        self.inception5b = Inception(form, self.inception5a.outputs, "5b")
        self.aux1 = Auxiliary(form, self.inception4a.outputs, num_classes) if auxiliary else None
        self.aux2 = Auxiliary(form, self.inception4d.outputs, num_classes) if auxiliary else None
        self.avgpool = nn.GlobalAvgPool()
        self.dropout = nn.Dropout(0.2 if form.normalized else 0.4)
        self.fc = nn.Linear(self.inception5b.outputs, num_classes)

    def forward(self, x: Any) -> Any:
        x = self.norm1(self.maxpool1(self.conv1(x)))
        x = self.maxpool2(self.norm2(self.conv3(self.conv2(x))))
        x = self.maxpool3(self.inception3b(self.inception3a(x)))
        early = self.inception4a(x)
        late = self.inception4d(self.inception4c(self.inception4b(early)))
        x = self.maxpool4(self.inception4e(late))
        x = self.inception5b(self.inception5a(x))
        logits = self.fc(self.dropout(self.avgpool(x)))
        if is_training() and self.aux1 is not None and self.aux2 is not None:
            return logits, self.aux1(early), self.aux2(late)
        return logits


@register(
    paper=PAPER,
    dataset=None,
    parameters=13_378_280,
    input_shape=(3, 224, 224),
    loss=nn.AuxiliaryCrossEntropyLoss,
)
def googlenet(*, in_channels: int = 3, num_classes: int = 1000, auxiliary: bool = True) -> Module:
    """Nine Inception modules: 6,998,552 parameters, 13,378,280 with the auxiliary classifiers."""
    return GoogLeNet(Form(normalized=False), in_channels, num_classes, auxiliary)


@register(
    paper=f"{PAPER}, in torchvision's form",
    dataset=None,
    parameters=13_004_888,
    input_shape=(3, 224, 224),
    loss=nn.AuxiliaryCrossEntropyLoss,
)
def googlenet_bn(*, in_channels: int = 3, num_classes: int = 1000, auxiliary: bool = True) -> Module:
    """With batch normalisation: 6,624,904 parameters, 13,004,888 with the auxiliary classifiers."""
    return GoogLeNet(Form(normalized=True), in_channels, num_classes, auxiliary)


@register(
    paper=f"after {PAPER}",
    dataset="fashion-mnist",
    parameters=407_258,
    recipe=Recipe(epochs=12, batch_size=64, optimizer="adam", lr=1e-3, schedule="cosine"),
    loss=nn.AuxiliaryCrossEntropyLoss,
)
def googlenet_small(*, in_channels: int = 1, num_classes: int = 10, auxiliary: bool = True) -> Module:
    """`googlenet` for 28×28, of a quarter of the width: 407,258 parameters."""
    return GoogLeNet(Form(False, part=4, small_images=True), in_channels, num_classes, auxiliary)


@register(
    paper=f"after {PAPER}, in torchvision's form",
    dataset="fashion-mnist",
    parameters=631_094,
    recipe=Recipe(epochs=12, batch_size=64, optimizer="nesterov", lr=0.05, schedule="cosine"),
    loss=nn.AuxiliaryCrossEntropyLoss,
)
def googlenet_bn_small(*, in_channels: int = 1, num_classes: int = 10, auxiliary: bool = True) -> Module:
    """`googlenet_bn` for 28×28, of a quarter of the width: 631,094 parameters."""
    return GoogLeNet(Form(True, part=4, small_images=True), in_channels, num_classes, auxiliary)
