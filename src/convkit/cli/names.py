"""What words on the command line stand for: networks, data sets, optimisers, schedules, numbers."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

from convkit import optim
from convkit.data.sources import COLLECTIONS
from convkit.models import REGISTRY, ModelEntry

DATASETS = tuple(COLLECTIONS)

OPTIMIZERS: dict[str, Callable[[optim.Schedule], optim.Optimizer]] = {
    "adam": optim.Adam,
    "adamw": optim.AdamW,
    "sgd": optim.SGD,
    "momentum": lambda lr: optim.SGD(lr, momentum=0.9),
    "nesterov": lambda lr: optim.SGD(lr, momentum=0.9, nesterov=True),
}

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


def _one_of(known: Iterable[str], kind: str, name: str) -> str:
    if name not in known:
        raise argparse.ArgumentTypeError(f"no {kind} {name!r}; there are {', '.join(known)}")
    return name


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
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value
