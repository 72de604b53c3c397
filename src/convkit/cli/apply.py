"""``convkit evaluate`` and ``convkit predict``: weights from a file, put to use."""

from __future__ import annotations

import argparse

import numpy as np

from convkit import functional as F
from convkit import optim
from convkit.cli.datasets import load
from convkit.cli.output import note
from convkit.cli.pictures import read_pictures
from convkit.data.sources import COLLECTIONS
from convkit.models import REGISTRY, ModelEntry
from convkit.nn import Module
from convkit.train import Trainer, load_model


def evaluate(options: argparse.Namespace) -> int:
    """Run ``convkit evaluate``."""
    model, entry = _load(options.file)
    name = options.dataset or (_dataset_of(model) if model.classes else entry.dataset)
    if name is None:
        raise ValueError(f"{options.file}: does not name the classes of a data set; give --dataset")
    shape = model.input_shape or entry.input_shape
    test_set, lack = load(name, "test", options.data, shape, model.classes, fallback_to_sample=True)
    if lack:
        note(lack)
    trainer = Trainer(model, entry.loss(), optim.SGD(0.0), metrics=["accuracy"])
    result = trainer.evaluate(entry.samples(test_set), options.batch_size)
    judged = len(test_set) if entry.targets is None else test_set.images.size
    share = f"{round(result['accuracy'] * judged):,} of {judged:,}, {name}"
    print(f"loss {result['loss']:.4f}  accuracy {result['accuracy']:.4f}  ({share})")
    return 0


def predict(options: argparse.Namespace) -> int:
    """Run ``convkit predict``."""
    model, entry = _load(options.file)
    if entry.targets is not None:
        raise ValueError(f"{options.file}: {entry.name} does not classify pictures but their pixels")
    names, images = read_pictures(options.images, model.input_shape or entry.input_shape, invert=options.invert)
    for start in range(0, len(images), _BATCH):
        probabilities = F.softmax(model(images[start : start + _BATCH]))
        if model.classes and len(model.classes) != probabilities.shape[1]:
            raise ValueError(f"{options.file}: names {len(model.classes)} classes for {probabilities.shape[1]} outputs")
        for name, row in zip(names[start : start + _BATCH], probabilities, strict=True):
            likeliest = np.argsort(-row, kind="stable")[: options.top]
            print(f"{name}: {', '.join(f'{_class(model, place)} {row[place]:.3f}' for place in likeliest)}")
    return 0


_BATCH = 256


def _load(path: str) -> tuple[Module, ModelEntry]:
    model = load_model(path)
    assert model.architecture is not None  # load_model refuses files without one
    return model, REGISTRY[model.architecture["name"]]


def _dataset_of(model: Module) -> str | None:
    """The data set whose classes the model names."""
    matching = [name for name, known in COLLECTIONS.items() if list(known.classes) == list(model.classes or ())]
    return matching[0] if matching else None


def _class(model: Module, place: int) -> str:
    return model.classes[place] if model.classes else f"class {place}"
