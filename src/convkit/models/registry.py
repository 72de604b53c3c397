"""What convkit knows about each network: how to build it, on what to train it, and how."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import numpy as np

from convkit.data import Dataset
from convkit.errors import integer, is_listing, said
from convkit.nn import CrossEntropyLoss
from convkit.nn.module import Module


@dataclass(frozen=True)
class Recipe:
    """How `convkit train` trains a network unless told otherwise.

    Words are those of its options. Weight decay and label smoothing that are None are the optimiser's and the loss'
    own.
    """

    epochs: int = 10
    batch_size: int = 64
    optimizer: str = "adam"
    lr: float = 1e-3
    schedule: str = "constant"
    augment: str = "none"
    label_smoothing: float | None = None
    weight_decay: float | None = None
    ema_decay: float | None = None
    clip_norm: float | None = None
    clip_value: float | None = None


@dataclass(frozen=True)
class ModelEntry:
    """One network of the literature.

    Attributes
    ----------
    dataset : str or None
        What it is trained on unless told otherwise; None where convkit has no images of its size.
    parameters : int
        Trainable ones, of the network as it is built without arguments.
    loss : callable
        What makes its loss, without arguments.
    targets : callable or None
        What a data set's targets are made into for this network; None where they are the labels.
    """

    name: str
    build: Callable[..., Module]
    paper: str
    dataset: str | None
    parameters: int
    input_shape: tuple[int, ...]
    recipe: Recipe = field(default_factory=Recipe)
    loss: Callable[..., Callable[..., Any]] = CrossEntropyLoss
    targets: Callable[[Dataset], np.ndarray] | None = None

    def build_for(self, shape: tuple[int, ...], classes: int, **told: Any) -> Module:
        """The network for images of a shape and so many classes, which is told of both what it wants to know.

        Parameters
        ----------
        shape : tuple of int
            Channels, height and width.
        classes : int
            How many outputs it shall have.
        **told
            Further arguments, for networks that have them.

        Returns
        -------
        Module

        Raises
        ------
        TypeError, ValueError
            For a shape and classes that are not integers from 1 on; if the network cannot take these images, or has
            another number of outputs.
        """
        shape, classes = _image_shape("build_for", shape), integer("build_for", "classes", classes, 1)
        told["in_channels"] = shape[0]
        if self.targets is None:  # else the outputs are not the data set's classes
            told["num_classes"] = classes
        known = inspect.signature(self.build).parameters
        arguments = {word: value for word, value in told.items() if word in known and known[word].default != value}
        model = self.build(**arguments)
        model.input_shape = shape
        self._try(model, shape, classes)
        return model

    def _try(self, model: Module, shape: tuple[int, ...], classes: int) -> None:
        sizes = " × ".join(map(str, shape))
        try:
            outputs = model(np.zeros((1, *shape), np.float32))
        except ValueError as error:
            raise ValueError(f"{self.name} cannot take images of {sizes}: {error}") from error
        if self.targets is None and outputs.shape[1] != classes:
            raise ValueError(f"{self.name} has {outputs.shape[1]} outputs, which does not fit {classes} classes")

    def samples(self, dataset: Dataset) -> Dataset | tuple[Any, np.ndarray]:
        """What a trainer of this network is given of a data set."""
        return dataset if self.targets is None else (dataset.images, self.targets(dataset))


def _image_shape(where: str, shape: Any) -> tuple[int, ...]:
    """`shape` as a tuple of ints, of which the first are the channels."""
    expected = f"{where}: shape must be channels, height and width, not {said(shape)}"
    if not is_listing(shape):
        raise TypeError(expected)
    if len(shape) == 0:
        raise ValueError(expected)
    return tuple(integer(where, "shape", size, 1) for size in shape)


REGISTRY: dict[str, ModelEntry] = {}


def register(
    *,
    paper: str,
    dataset: str | None,
    parameters: int,
    input_shape: tuple[int, ...] = (1, 28, 28),
    recipe: Recipe | None = None,
    loss: Callable[..., Callable[..., Any]] = CrossEntropyLoss,
    targets: Callable[[Dataset], np.ndarray] | None = None,
) -> Callable[[Callable[..., Module]], Callable[..., Module]]:
    """Enter a builder into the registry; the models it builds know their architecture and input shape.

    Its docstring, of one line, is given the paper and the data set.
    """

    def enter(build: Callable[..., Module]) -> Callable[..., Module]:
        name = build.__name__

        @wraps(build)
        def built(**arguments: Any) -> Module:
            model = build(**arguments)
            model.architecture = {"name": name, "arguments": arguments}
            model.input_shape = (arguments.get("in_channels", input_shape[0]), *input_shape[1:])
            return model

        trained_on = f"trained on {dataset}" if dataset else "of which convkit has no data set"
        built.__doc__ = (
            f"{build.__doc__}\n\nFor inputs {input_shape}, {trained_on}.\n\nReferences\n----------\n{paper}."
        )
        REGISTRY[name] = ModelEntry(
            name, built, paper, dataset, parameters, input_shape, recipe or Recipe(), loss, targets
        )
        return built

    return enter
