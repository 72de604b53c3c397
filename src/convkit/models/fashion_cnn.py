"""Two small networks for Fashion-MNIST, as courses and tutorials write them in Keras and in PyTorch."""

from __future__ import annotations

from convkit import nn
from convkit.models.registry import register
from convkit.nn.module import Module


@register(
    paper="the Keras network of Qiu, Neural Networks and Deep Learning, chapter 5",
    dataset="fashion-mnist",
    parameters=897_546,
)
def fashion_cnn_large() -> Module:
    """Two convolutions with rectifier and mean pooling, two dense layers: 897,546 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 64, 5),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(64, 128, 3),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(3200, 256),
        nn.ReLU(),
        nn.Linear(256, 10),
    )


@register(
    paper="the PyTorch network of Qiu, Neural Networks and Deep Learning, chapter 5",
    dataset="fashion-mnist",
    parameters=28_460,
)
def fashion_cnn_small() -> Module:
    """Two convolutions with rectifier and max pooling, two dense layers: 28,460 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 10, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(10, 20, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(320, 70),
        nn.ReLU(),
        nn.Linear(70, 10),
    )
