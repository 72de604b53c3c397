"""What the tests with PyTorch and Keras share: a network here, its data, and its training here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

import convkit as ck
from convkit import data, nn, optim
from convkit import functional as F
from convkit.data.sources import SYSTEM_FOLDER, VARIABLE


def full_data() -> str:
    """The folder of the whole of Fashion-MNIST, empty where it is not on this machine."""
    places = (os.environ.get(VARIABLE), SYSTEM_FOLDER)
    folders = (Path(place) / "fashion-mnist" for place in places if place)
    return next((str(folder) for folder in folders if folder.is_dir()), "")


class Net(nn.Module):
    """Two convolutions, normalised and pooled, and two dense layers."""

    def __init__(self, eps: float = 1e-5, momentum: float = 0.1) -> None:
        self.conv1, self.norm1 = nn.Conv2d(1, 8, 5), nn.BatchNorm2d(8, eps, momentum)
        self.conv2, self.norm2 = nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16, eps, momentum)
        self.fc1, self.fc2 = nn.Linear(400, 32), nn.Linear(32, 10)

    def forward(self, x: Any) -> Any:
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)
        return self.fc2(F.relu(self.fc1(F.flatten(x))))


def trainer_of(model: nn.Module) -> ck.Trainer:
    return ck.Trainer(model, nn.CrossEntropyLoss(), optim.Adam(lr=1e-3), metrics=["accuracy"])


def parts(source: str) -> tuple[data.Dataset, data.Dataset]:
    return data.fashion_mnist("train", source=source), data.fashion_mnist("test", source=source)


def raised(function: Any, *arguments: Any, **named: Any) -> str:
    """The kind and message of what a call raises."""
    try:
        function(*arguments, **named)
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("nothing was raised")


def worst(a: Any, b: Any) -> float:
    """The largest difference between two arrays, relative to the largest value."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape
    return float(np.abs(a - b).max() / np.abs(b).max())
