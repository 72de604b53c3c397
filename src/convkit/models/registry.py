"""What convkit knows about each network: how to build it, on what to train it, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from convkit.nn import CrossEntropyLoss
from convkit.nn.module import Module


@dataclass(frozen=True)
class Recipe:
    """How `convkit train` trains a network unless told otherwise."""

    epochs: int = 10
    batch_size: int = 64
    optimizer: str = "adam"
    lr: float = 1e-3
    schedule: str = "constant"


@dataclass(frozen=True)
class ModelEntry:
    """One network of the literature."""

    name: str
    build: Callable[..., Module]
    paper: str
    dataset: str
    parameters: int
    input_shape: tuple[int, ...]
    recipe: Recipe = field(default_factory=Recipe)
    loss: Callable[[], Callable[..., Any]] = CrossEntropyLoss


REGISTRY: dict[str, ModelEntry] = {}


def register(
    *,
    paper: str,
    dataset: str,
    parameters: int,
    input_shape: tuple[int, ...] = (1, 28, 28),
    recipe: Recipe | None = None,
    loss: Callable[[], Callable[..., Any]] = CrossEntropyLoss,
) -> Callable[[Callable[..., Module]], Callable[..., Module]]:
    """Enter a builder into the registry; the models it builds know their architecture and input shape."""

    def enter(build: Callable[..., Module]) -> Callable[..., Module]:
        name = build.__name__

        @wraps(build)
        def built(**arguments: Any) -> Module:
            model = build(**arguments)
            model.architecture = {"name": name, "arguments": arguments}
            model.input_shape = input_shape
            return model

        REGISTRY[name] = ModelEntry(name, built, paper, dataset, parameters, input_shape, recipe or Recipe(), loss)
        return built

    return enter
