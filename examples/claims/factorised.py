"""Two 3×3 convolutions for one of 5×5, and 1×n then n×1 for n×n: less work, much the same accuracy.

Szegedy et al. 2016 (sections 3.1 and 3.2) count 18/25 of the multiplications for the first and 2/n for the second.
Here one network is built with each form in two places; around them everything stays.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.figure import Figure

import convkit as ck
from common import Claim, train
from convkit import nn, optim
from convkit.data import Dataset
from convkit.ops.base import Spec

WIDTH = 24

# The kernels of each form, one after the other.
FORMS: dict[str, list[tuple[int, int]]] = {
    "5×5": [(5, 5)],
    "two 3×3": [(3, 3), (3, 3)],
    "1×5, 5×1": [(1, 5), (5, 1)],
    "7×7": [(7, 7)],
    "three 3×3": [(3, 3), (3, 3), (3, 3)],
    "1×7, 7×1": [(1, 7), (7, 1)],
}


def form(name: str) -> nn.Sequential:
    """Convolutions that keep the size, each with a rectifier: (N, WIDTH, H, W) → the same shape."""
    layers: list[nn.Module] = []
    for kernel in FORMS[name]:
        border = tuple(size // 2 for size in kernel)
        layers += [nn.Conv2d(WIDTH, WIDTH, kernel, padding=border, init="he_uniform"), nn.ReLU()]
    return nn.Sequential(*layers)


def network(name: str) -> nn.Sequential:
    """A convolution, the form on 14×14 and on 7×7 places, a dense layer: (N, 1, 28, 28) → logits (N, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, WIDTH, 3, padding=1, init="he_uniform"),
        nn.ReLU(),
        nn.MaxPool2d(2),
        form(name),
        nn.MaxPool2d(2),
        form(name),
        nn.Flatten(),
        nn.Linear(WIDTH * 7 * 7, 10),
    )


def flops(model: nn.Module, shape: tuple[int, ...]) -> int:
    """Floating-point operations of one image (C, H, W) forward, two for a multiplication and an addition."""
    graph, _ = model.trace((Spec((1, *shape), model.dtype),))
    return sum(node.op.flops(node.inputs, node.outputs) for node in graph.nodes)


def step_times(names: Sequence[str], images: Dataset, rounds: int) -> dict[str, float]:
    """Processor time of a training step of 64 images: the shortest of many, taken in turns with the other networks."""
    x, labels = images.images[:64], images.labels[:64]
    steps = {name: ck.compile_step(network(name), nn.CrossEntropyLoss(), optim.Adam(lr=1e-3)) for name in names}
    shortest = dict.fromkeys(names, np.inf)
    for _ in range(rounds):
        for name, step in steps.items():
            began = time.process_time()
            step(x, labels)
            shortest[name] = min(shortest[name], time.process_time() - began)
    return shortest


def main() -> None:
    claim = Claim(__file__, __doc__)
    names = list(FORMS)
    epochs, seeds = claim.choose((4, 2), (1, 1))
    images, test = claim.data("fashion-mnist", 6_400, test_images=5_000)
    seconds = step_times(names, images, rounds=claim.choose(50, 3))
    accuracy = {
        name: [
            train(partial(network, name), images, epochs=epochs, seed=claim.seed + k).trainer.evaluate(test)["accuracy"]
            for k in range(seeds)
        ]
        for name in names
    }

    parameters = {name: sum(p.size for p in form(name).parameters().values()) for name in names}
    work = {name: flops(form(name), (WIDTH, 14, 14)) for name in names}
    rows = [
        [
            name,
            f"{parameters[name]:,}",
            f"{work[name] / 1e6:.2f}",
            f"{1e3 * seconds[name]:.1f}",
            f"{np.mean(accuracy[name]):.1%}",
            f"{100 * np.ptp(accuracy[name]):.1f}",
        ]
        for name in names
    ]
    claim.write_table(
        ["form", "parameters", "MFLOPs", "ms a step", "test accuracy", "points between seeds"],
        rows,
        f"Parameters and FLOPs (forward, one image, 14 × 14 places, {WIDTH} maps) of the form alone; processor time "
        "of a training step of 64 images with the whole network, the shortest of many in turns; "
        f"{len(images):,} training and {len(test):,} test images of Fashion-MNIST, {epochs} epochs of batches of 64, "
        f"Adam 0.001, mean of {seeds} runs with seeds from {claim.seed} on.",
    )

    figure = Figure(figsize=(9, 3.2))
    panels = figure.subplots(1, 4, sharey=True)
    shades = ["C0" if len(FORMS[name]) == 1 else "C1" for name in names]
    figures = {
        "parameters": list(parameters.values()),
        "MFLOPs forward": [work[name] / 1e6 for name in names],
        "milliseconds a step": [1e3 * seconds[name] for name in names],
    }
    for panel, (title, values) in zip(panels, figures.items(), strict=False):
        panel.barh(names, values, color=shades)
        panel.set_title(title)
    for shade, name in zip(shades, names, strict=True):
        panels[3].plot(accuracy[name], [name] * seeds, "o", color=shade, alpha=0.7)
    panels[3].set_title("test accuracy, each seed")
    panels[3].xaxis.set_major_formatter("{x:.0%}")
    panels[0].invert_yaxis()
    claim.write_figure(figure)


if __name__ == "__main__":
    main()
