"""What words on the command line stand for: networks, data sets, optimisers, schedules, augmentation, numbers."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable

from convkit import data, optim
from convkit.cli.datasets import FOLDER
from convkit.data.augment import Augmentation
from convkit.data.sources import COLLECTIONS
from convkit.models import REGISTRY, ModelEntry
from convkit.optim.optimizers import BY_NAME as OPTIMIZERS

DATASETS = (*COLLECTIONS, FOLDER)

# All of them spread over the run: their lengths follow from the number of epochs.
SCHEDULES: dict[str, Callable[[float, int], optim.Schedule]] = {
    "constant": lambda lr, epochs: optim.Constant(lr),
    "step": lambda lr, epochs: optim.Step(lr, factor=0.1, epochs=epochs / 3),
    "exponential": lambda lr, epochs: optim.Exponential(lr, factor=0.01, epochs=epochs),
    "cosine": lambda lr, epochs: optim.Cosine(lr, epochs=epochs),
    "warmup-cosine": lambda lr, epochs: optim.WarmUp(optim.Cosine(lr, epochs=epochs), epochs=epochs / 10),
    "lecun1998": lambda lr, epochs: optim.Piecewise(
        tuple(lr * part for part in (1, 0.4, 0.2, 0.1, 0.02)),
        epochs=tuple(epochs * part / 20 for part in (2, 3, 3, 4, 8)),
    ),
}

# The number that each takes, unless told otherwise, and what becomes of it and the number of classes.
AUGMENTATIONS: dict[str, tuple[int | float, Callable[..., Augmentation]]] = {
    "shift": (2, lambda pixels, classes: data.RandomShift(pixels)),
    "flip": (0.5, lambda p, classes: data.RandomHorizontalFlip(p)),
    "rotate": (10.0, lambda degrees, classes: data.RandomRotation(degrees)),
    "erase": (0.5, lambda p, classes: data.RandomErasing(p)),
    "cutout": (8, lambda size, classes: data.Cutout(size)),
    "mixup": (0.2, lambda alpha, classes: data.MixUp(classes, alpha)),
}


def model_entry(name: str) -> ModelEntry:
    """The network of this name, with '-' or '_' between its words."""
    entries = {known.replace("_", "-"): entry for known, entry in REGISTRY.items()}
    try:
        return entries[name.replace("_", "-")]
    except KeyError:
        raise argparse.ArgumentTypeError(f"no network {name!r}; there are {', '.join(sorted(entries))}") from None


def dataset(name: str) -> str:
    """The data set of this name, with '-' or '_' between its words."""
    return _one_of(DATASETS, "data set", name.replace("_", "-"))


def optimizer(name: str) -> str:
    """The optimiser of this name."""
    return _one_of(OPTIMIZERS, "optimiser", name)


def schedule(name: str) -> str:
    """The schedule of this name."""
    return _one_of(SCHEDULES, "schedule", name)


def augment(text: str) -> str:
    """A chain of augmentations with every number named: "shift,flip=1" is "shift=2,flip=1.0"; or "none"."""
    if text == "none":
        return text
    steps = [_augmentation(word) for word in text.split(",")]
    try:
        augmentations(",".join(steps), classes=1)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return ",".join(steps)


def augmentations(text: str, classes: int) -> list[Augmentation]:
    """What a chain as `augment` gives it does to batches of so many classes."""
    steps = [] if text == "none" else [step.split("=") for step in text.split(",")]
    return [AUGMENTATIONS[name][1](_number_like(AUGMENTATIONS[name][0], value), classes) for name, value in steps]


def _augmentation(word: str) -> str:
    name, given, value = word.partition("=")
    usual, _ = AUGMENTATIONS[_one_of(AUGMENTATIONS, "augmentation", name)]
    try:
        return f"{name}={_number_like(usual, value) if given else usual}"
    except ValueError:
        kind = "a whole number" if isinstance(usual, int) else "a number"
        raise argparse.ArgumentTypeError(f"{name} takes {kind}, as in {name}={usual}, not {value!r}") from None


def _number_like(usual: int | float, text: str) -> int | float:
    return type(usual)(text)


def _one_of(known: Iterable[str], kind: str, name: str) -> str:
    if name not in known:
        raise argparse.ArgumentTypeError(f"no {kind} {name!r}; there are {', '.join(known)}")
    return name


def path(text: str) -> str:
    """A path that is not empty, as that of a shell's variable without a value is."""
    if not text:
        raise argparse.ArgumentTypeError(f"must be a path, not {text!r}")
    return text


def folder_path(text: str) -> str:
    """A path, with the user's own or another's home folder for ~, which a shell leaves as it is behind a =."""
    place = os.path.expanduser(path(text))
    if place.startswith("~"):
        raise argparse.ArgumentTypeError(f"{text} begins with a home folder that is not known")
    return place


def count(text: str) -> int:
    """A whole number above 0, of at most nine digits."""
    if not _is_whole(text, digits=9) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0 and below 10**9, not {text!r}")
    return int(text)


def seed(text: str) -> int:
    """A whole number that fits where the kernels keep it."""
    if not _is_whole(text, digits=19) or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"must be a whole number below 2**63, not {text!r}")
    return int(text)


def _is_whole(text: str, digits: int) -> bool:
    return text.isascii() and text.isdigit() and len(text.lstrip("0")) <= digits


def rate(text: str) -> float:
    """A finite number above 0."""
    return _number(text, "a number above 0", lambda value: 0 < value < float("inf"))


def decay(text: str) -> float:
    """A finite number that is not below 0."""
    return _number(text, "a number from 0", lambda value: 0 <= value < float("inf"))


def share(text: str) -> float:
    """A number from 0 to below 1."""
    return _number(text, "a number from 0 to below 1", lambda value: 0 <= value < 1)


def _number(text: str, expected: str, fits: Callable[[float], bool]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not fits(value):
        raise argparse.ArgumentTypeError(f"must be {expected}, not {text!r}")
    return value
