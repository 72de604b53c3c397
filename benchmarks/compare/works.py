"""What is compared: a `Work` is one thing that several sides do; here are those about whole networks.

Those about single layers and operations are in `operations`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import convkit as ck
from convkit import models

from ..networks import NETWORKS, batches, initial_parameters

BATCH = 64
LEARNING_RATE = 1e-3
ROTATION = 8  # batches that follow one another

FULL = ("alexnet", "googlenet", "inception_v3", "resnet18", "resnet50")  # networks for images of full size
FULL_BATCH = 8
FULL_ROTATION = 2
MOMENTUM = 0.9
SEED = 0  # of their weights


@dataclass(frozen=True)
class Work:
    """One thing that several sides do.

    Attributes
    ----------
    title : str
        Its name in tables, unique.
    family : str
        What decides who takes part: see `frameworks.Variant`.
    kind : str
        Which session a side opens for it.
    details : dict
        What the session needs to know; goes to the side, and into the report.
    arrays : callable
        Makes the arrays that every side is given: rotating inputs, initial parameters.
    steps, warm_up : int
        How often a turn repeats it, timed and before that untimed.
    rounds : int
        How many timed turns every side has.
    tolerance : float
        Largest difference between two sides' results, relative to the largest result.
    checked : int or None
        Turns whose results are held against each other: all (None), but for deep networks that train on from turn to
        turn, whose rounding errors grow with every step.
    """

    title: str
    family: str
    kind: str
    details: dict[str, Any]
    arrays: Callable[[], dict[str, NDArray[Any]]]
    steps: int
    warm_up: int = 3
    rounds: int = 10
    tolerance: float = 1e-3
    checked: int | None = None


def network_works() -> Iterator[Work]:
    """Training steps, epochs, inference, threads and memory."""
    for network, steps in (("fashion_cnn_small", 30), ("lenet5", 30), ("fashion_cnn_large", 8)):
        arrays = partial(training_arrays, network)
        # TensorFlow adds Adam's epsilon to a root that is not yet corrected for its bias: the same rule after some
        # thousand steps, but in the first dozens its losses differ from the others' by some thousandths.
        yield Work(f"train {network} b{BATCH}", "train", "train", _training(network), arrays, steps, tolerance=0.01)
    # Fewer images where a step takes long, or an epoch would outlast all else.
    for network, images in (("fashion_cnn_small", 6400), ("lenet5", 6400), ("fashion_cnn_large", 1280)):
        yield Work(
            f"epoch {network} b{BATCH}",
            "epoch",
            "epoch",
            _training(network) | {"images": images},
            partial(epoch_arrays, network, images),
            steps=3,  # the first of them plans the step, on convkit's side
            warm_up=0,
            rounds=3,
            tolerance=0.01,  # after hundreds of updates, small differences have grown
        )
    for batch, steps in ((BATCH, 20), (1, 200)):
        for network in NETWORKS:
            title = f"infer {network} b{batch}"
            details = {"network": network, "batch": batch}
            arrays = partial(inference_arrays, network, batch)
            yield Work(title, "infer", "infer", details, arrays, steps, tolerance=1e-4)
    large = "fashion_cnn_large"
    arrays = partial(training_arrays, large)
    yield Work(f"threads {large} b{BATCH}", "threads", "train", _training(large), arrays, steps=8)
    yield Work(f"memory {large} b{BATCH}", "memory", "train", _training(large), arrays, steps=10, rounds=3)


def full_works() -> Iterator[Work]:
    """Networks for images of full size: time and memory of a training step (SGD with momentum) and of inference."""
    for network in FULL:
        loss = models.REGISTRY[network].loss()
        shares = {name: getattr(loss, name, 0.0) for name in ("auxiliary_weight", "label_smoothing")}
        details = {
            "network": network,
            "batch": FULL_BATCH,
            "learning_rate": LEARNING_RATE,
            "momentum": MOMENTUM,
            "seed": SEED,
            **shares,
        }
        arrays = partial(full_arrays, network)
        for kind, tolerance in (("step", 0.01), ("infer", 1e-3)):
            title = f"{kind} {network} b{FULL_BATCH}"
            yield Work(
                f"full {title}", "full", f"full {kind}", details, arrays,
                steps=2, warm_up=0, rounds=5, tolerance=tolerance, checked=1,
            )  # fmt: skip
            yield Work(
                f"memory {title}", "full memory", f"full {kind}", details, arrays,
                steps=2, warm_up=0, rounds=1, tolerance=tolerance,
            )  # fmt: skip


def import_work() -> Work:
    """The import of convkit beside that of NumPy."""
    return Work("import", "import", "import", {}, dict, steps=1, rounds=15)


def _training(network: str) -> dict[str, Any]:
    return {"network": network, "batch": BATCH, "learning_rate": LEARNING_RATE}


def training_arrays(network: str) -> dict[str, NDArray[Any]]:
    images, labels = batches(ROTATION, BATCH)
    return {"images": images, "labels": labels, **_parameters(network)}


def epoch_arrays(network: str, count: int) -> dict[str, NDArray[Any]]:
    images, labels = batches(1, count)
    return {"images": (255 * images[0]).astype(np.uint8), "labels": labels[0], **_parameters(network)}


def inference_arrays(network: str, batch: int) -> dict[str, NDArray[Any]]:
    images, _ = batches(ROTATION, batch)
    return {"images": images, **_parameters(network)}


def full_arrays(network: str) -> dict[str, NDArray[Any]]:
    """Images of noise, labels, and the weights and running moments of a new network, by their names."""
    rng = np.random.default_rng(0)
    ck.set_seed(SEED)
    model = models.REGISTRY[network].build()
    images = rng.standard_normal((FULL_ROTATION, FULL_BATCH, *model.input_shape), np.float32)
    labels = rng.integers(1000, size=(FULL_ROTATION, FULL_BATCH))
    return {"images": images, "labels": labels, **model.state_dict()}


def _parameters(network: str) -> dict[str, NDArray[Any]]:
    return {f"parameter{i}": values for i, values in enumerate(initial_parameters(network))}
