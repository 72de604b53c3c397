"""LeNet-5 in the form in which it is usually met today."""

from __future__ import annotations

from convkit import nn
from convkit.models.registry import register
from convkit.nn.module import Module


@register(
    paper="after LeCun, Bottou, Bengio and Haffner 1998, Gradient-based learning applied to document recognition",
    dataset="mnist",
    parameters=61_706,
)
def lenet5() -> Module:
    """Padding instead of a 32×32 image, plain mean pooling, tanh, a dense output layer: 61,706 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.Tanh(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, 10),
    )
