"""AlexNet, in two columns as its paper has it and in one.

* `alexnet`: Krizhevsky, Sutskever and Hinton 2012, "ImageNet classification with deep convolutional neural networks",
  section 3 and figure 2.  The two graphics processors of the paper are two groups of channels here.  Its response
  normalisation (section 3.3) sums over five maps and does not divide alpha by their number, as PyTorch and ONNX do.
  Initial values are those of section 5.
* `alexnet_one_column`: Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks", as
  torchvision builds it and with its names: one column, no response normalisation.

The paper says 224×224, but 55×55 places of the first layer need 227×227 (or a border of 2 around 224×224).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convkit import nn
from convkit.models.registry import Recipe, register
from convkit.nn.init import normal
from convkit.nn.module import Module

PAPER = "Krizhevsky, Sutskever and Hinton 2012, ImageNet classification with deep convolutional neural networks"
ONE_COLUMN = "Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks"

SMALL = Recipe(epochs=12, batch_size=64, optimizer="adam", lr=1e-3, schedule="cosine")


def narrow_normal(shape: tuple[int, ...]) -> np.ndarray:
    """N(0, 0.01²), from which section 5 draws all weights."""
    return normal(shape, 0.01)


def response_norm() -> nn.LocalResponseNorm:
    """That of section 3.3: k = 2, n = 5, alpha = 1e-4, beta = 0.75, a sum and no mean."""
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=2.0, average=False)


class AlexNet(Module):
    """Convolutions, their maps at few places, and dense layers with dropout upon these.

    Parameters
    ----------
    features : Module
        Images (N, C, H, W) to maps (N, *maps).
    maps : (int, int, int)
        Channels, height and width of these.
    hidden, num_classes : int
        Units of the two hidden dense layers, and of the last.
    init : str or callable
        Initialiser of the dense layers' weights.
    """

    def __init__(
        self,
        features: Module,
        maps: tuple[int, int, int],
        hidden: int,
        num_classes: int,
        init: Any = "he_normal",
    ) -> None:
        channels, height, width = maps
        self.features = features
        self.avgpool = nn.AdaptiveAvgPool2d((height, width))  # no more than a copy at the size the network is made for
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(channels * height * width, hidden, init=init),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(hidden, hidden, init=init),
            nn.ReLU(),
            nn.Linear(hidden, num_classes, init=init),
        )
        self.flatten = nn.Flatten()

    def forward(self, x: Any) -> Any:
        return self.classifier(self.flatten(self.avgpool(self.features(x))))


@register(paper=PAPER, dataset=None, parameters=60_965_224, input_shape=(3, 227, 227))
def alexnet(*, in_channels: int = 3, num_classes: int = 1000) -> Module:
    """Two groups, response normalisation, overlapping pooling, dropout: 60,965,224 parameters."""
    init = narrow_normal
    features = nn.Sequential(
        nn.Conv2d(in_channels, 96, 11, stride=4, init=init),
        nn.ReLU(),
        response_norm(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(96, 256, 5, padding=2, groups=2, init=init),
        nn.ReLU(),
        response_norm(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1, init=init),
        nn.ReLU(),
        nn.Conv2d(384, 384, 3, padding=1, groups=2, init=init),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, groups=2, init=init),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
    )
    model = AlexNet(features, (256, 6, 6), 4096, num_classes, init)
    # Section 5: ones where a rectifier would else see too little that is positive, in the second, fourth and fifth
    # convolution and the hidden dense layers.
    biases = [f"features.{place}.bias" for place in (4, 10, 12)] + [f"classifier.{place}.bias" for place in (1, 4)]
    for name in biases:
        parameter = model.parameters()[name]
        parameter.assign(np.ones(parameter.shape))
    return model


@register(paper=ONE_COLUMN, dataset=None, parameters=61_100_840, input_shape=(3, 224, 224))
def alexnet_one_column(*, in_channels: int = 3, num_classes: int = 1000) -> Module:
    """One column, without response normalisation, for 224×224: 61,100,840 parameters."""
    features = nn.Sequential(
        nn.Conv2d(in_channels, 64, 11, stride=4, padding=2, init="he_normal"),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2, init="he_normal"),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1, init="he_normal"),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1, init="he_normal"),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1, init="he_normal"),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
    )
    return AlexNet(features, (256, 6, 6), 4096, num_classes)


@register(paper=f"after {PAPER}", dataset="fashion-mnist", parameters=367_242, recipe=SMALL)
def alexnet_small(*, in_channels: int = 1, num_classes: int = 10) -> Module:
    """The layers of `alexnet` for 28×28, with fewer maps and units: 367,242 parameters."""
    features = nn.Sequential(
        nn.Conv2d(in_channels, 32, 5, padding=2, init="he_normal"),
        nn.ReLU(),
        response_norm(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(32, 64, 5, padding=2, groups=2, init="he_normal"),
        nn.ReLU(),
        response_norm(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 96, 3, padding=1, init="he_normal"),
        nn.ReLU(),
        nn.Conv2d(96, 96, 3, padding=1, groups=2, init="he_normal"),
        nn.ReLU(),
        nn.Conv2d(96, 64, 3, padding=1, groups=2, init="he_normal"),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1),
    )
    return AlexNet(features, (64, 3, 3), 256, num_classes)


@register(paper=f"after {ONE_COLUMN}", dataset="fashion-mnist", parameters=415_850, recipe=SMALL)
def alexnet_one_column_small(*, in_channels: int = 1, num_classes: int = 10) -> Module:
    """The layers of `alexnet_one_column` for 28×28, with fewer maps and units: 415,850 parameters."""
    features = nn.Sequential(
        nn.Conv2d(in_channels, 32, 5, padding=2, init="he_normal"),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(32, 64, 5, padding=2, init="he_normal"),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 96, 3, padding=1, init="he_normal"),
        nn.ReLU(),
        nn.Conv2d(96, 64, 3, padding=1, init="he_normal"),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1, init="he_normal"),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, padding=1),
    )
    return AlexNet(features, (64, 3, 3), 256, num_classes)
