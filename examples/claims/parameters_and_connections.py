"""A convolutional layer has n·m connections and m parameters where a dense one has n·n of both.

The claim, in two halves. *Local connections*: each of n outputs sees m inputs instead of all n. *Shared weights*: it
sees them through the same kernel, so that m numbers (and a bias) describe the layer, whatever n is.

Both counts are taken from the layers themselves: a layer without bias is a matrix, its Jacobian, whose columns are the
layer's answers to unit vectors. Its entries that are not zero are the connections, its different entries the
parameters. Then networks are trained that differ in one of the two properties only, and others that have as many
parameters or as many connections as a convolutional network, but dense.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

import convkit as ck
from common import Claim, train
from convkit import functional as F
from convkit import nn, optim
from convkit.data import Dataset
from convkit.models import fashion_cnn_small
from convkit.seeding import generator

M = 5


def jacobian(layer: nn.Module, *size: int) -> np.ndarray:
    """The matrix (outputs, inputs) by which a layer without bias multiplies one input of shape `size`."""
    n = prod(size)
    return layer(np.eye(n, dtype=np.float32).reshape(n, *size)).reshape(n, -1).T


def convolution() -> nn.Module:
    """A one-dimensional convolution, n → n, of signals closed to a ring, so that there is no border."""
    return nn.Conv1d(1, 1, M, padding="same", padding_mode="circular", bias=False)


def dense(n: int) -> nn.Module:
    return nn.Linear(n, n, bias=False)


def counts(layer: nn.Module, *size: int) -> tuple[int, int]:
    """Parameters and connections of a layer, from its matrix when its weights are 1, 2, 3, …"""
    layer.weight.assign(np.arange(1, layer.weight.size + 1, dtype=np.float32).reshape(layer.weight.shape))
    matrix = jacobian(layer, *size)
    entries = matrix[matrix != 0]
    return len(np.unique(entries)), len(entries)


# The first layer of the networks that differ in one property only: 784 → 10 maps of 12×12 = 1440.
KERNEL, STRIDE = (10, 1, 5, 5), 2


class LocallyConnected(nn.Module):
    """A layer whose outputs see what a convolution's see, each through weights of its own.

    It is a dense layer in whose matrix only the entries are trained that a convolution's matrix has, too.
    """

    def __init__(self) -> None:
        matrix = jacobian(nn.Conv2d(1, 10, 5, STRIDE, bias=False), 1, 28, 28)
        self.connected = (matrix != 0).astype(np.float32)
        own = nn.init.glorot_uniform(KERNEL).std() * generator().standard_normal(matrix.shape)
        self.weight = nn.Parameter(np.float32(own) * self.connected)
        self.bias = nn.Parameter(np.zeros(len(matrix), np.float32))

    def forward(self, x: Any) -> Any:
        return F.linear(F.flatten(x), self.weight * self.connected, self.bias)


def shared() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 10, 5, STRIDE), nn.ReLU(), nn.Flatten(), nn.Linear(1440, 10))


def local() -> nn.Module:
    return nn.Sequential(LocallyConnected(), nn.ReLU(), nn.Linear(1440, 10))


def dense_network(hidden: int) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 10))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "784 → 1440 → 10, first layer dense": dense_network(1440),
    "784 → 1440 → 10, first layer local": local,
    "784 → 1440 → 10, first layer local, weights shared: convolution": shared,
    "`fashion_cnn_small`": fashion_cnn_small,
    "784 → 36 → 10, dense, as many parameters": dense_network(36),
    "784 → 621 → 10, dense, as many connections": dense_network(621),
}


@dataclass
class Result:
    """A network's counts, biases included, and what training it came to."""

    parameters: int
    connections: int
    accuracies: Sequence[float] = ()
    milliseconds: float = 0.0


def size_of(model: nn.Module) -> Result:
    """Count a chain of layers by formula: positions of the output times (weights that each sees, and its bias)."""
    parameters = connections = 0
    x = np.zeros((1, 1, 28, 28), np.float32)
    for layer in model.children().values():
        x = layer(x)
        if isinstance(layer, nn.Conv2d):
            own = layer.weight.size + layer.out_channels  # out · (in · kh · kw + 1)
            parameters, connections = parameters + own, connections + own * prod(x.shape[2:])
        elif isinstance(layer, nn.Linear):
            own = layer.weight.size + layer.bias.size
            parameters, connections = parameters + own, connections + own
        elif isinstance(layer, LocallyConnected):
            own = int(layer.connected.sum()) + layer.bias.size
            parameters, connections = parameters + own, connections + own
    return Result(parameters, connections)


def milliseconds_per_step(build: Callable[[], nn.Module], images: Dataset, steps: int) -> float:
    """Processor time of one training step on a batch of 64: other programs at work disturb it less than the clock."""
    step = ck.compile_step(build(), nn.CrossEntropyLoss(), optim.Adam())
    batch = images.images[:64], images.labels[:64]
    step(*batch)
    began = time.process_time()
    for _ in range(steps):
        step(*batch)
    return 1e3 * (time.process_time() - began) / steps


def check_that_convolution_is_a_sparse_dense_layer() -> None:
    """A dense layer with the convolution's matrix computes what the convolution computes."""
    layer = nn.Conv2d(1, 10, 5, STRIDE, bias=False)
    image = generator().random((1, 1, 28, 28)).astype(np.float32)
    product = jacobian(layer, 1, 28, 28) @ image.reshape(784)
    np.testing.assert_allclose(layer(image).reshape(-1), product, rtol=1e-4, atol=1e-5)


def draw(sizes: Sequence[int], counted: dict[str, np.ndarray], results: dict[str, Result]) -> Figure:
    figure = Figure(figsize=(12, 4))
    matrices, growth, accuracy = figure.subfigures(1, 3, width_ratios=(3, 4, 7))
    draw_matrices(matrices)
    draw_growth(growth.subplots(), sizes, counted)
    draw_accuracy(accuracy.subplots(), results)
    return figure


def draw_matrices(figure: SubFigure) -> None:
    """Each weight has a colour of its own."""
    figure.suptitle(f"The matrix of a layer, n = 24, m = {M}", fontsize=10)
    layers = {"dense": (dense(24), (24,)), "convolution": (convolution(), (1, 24))}
    for axes, (name, (layer, size)) in zip(figure.subplots(2, 1), layers.items(), strict=True):
        colours = generator().permutation(layer.weight.size) + np.float32(1)
        layer.weight.assign(colours.reshape(layer.weight.shape))
        matrix = jacobian(layer, *size)
        axes.imshow(np.where(matrix == 0, np.nan, matrix), cmap="turbo")
        axes.set(title=name, xticks=[], yticks=[], xlabel="inputs", ylabel="outputs")


def draw_growth(axes: Axes, sizes: Sequence[int], counted: dict[str, np.ndarray]) -> None:
    n = np.array(sizes)
    formulas = {
        "connections and parameters, dense: n·n": n * n,
        "connections, convolution: n·m": n * M,
        "parameters, convolution: m": n * 0 + M,
    }
    measured = (counted["dense"][:, 1], counted["convolution"][:, 1], counted["convolution"][:, 0])
    for (name, line), dots, colour in zip(formulas.items(), measured, ("C1", "C0", "C2"), strict=True):
        axes.loglog(n, line, color=colour, label=name)
        axes.loglog(n, dots, "o", color=colour)
    axes.set(title="Formula (lines) and count (dots)", xlabel="n, inputs and outputs", ylim=(None, 2e7))
    axes.set(xticks=sizes, xticklabels=sizes)
    axes.minorticks_off()
    axes.legend(fontsize=8)


def draw_accuracy(axes: Axes, results: dict[str, Result]) -> None:
    for place, (name, result) in enumerate(results.items()):
        percent = 100 * np.array(result.accuracies)
        label = name.replace("`", "").replace(", ", ",\n", 1)
        colour = f"C{place}"
        axes.plot(np.full(len(percent), result.parameters), percent, "o", color=colour, label=label)
        axes.plot(np.full(len(percent), result.connections), percent, "x", color=colour)
        axes.plot((result.parameters, result.connections), (percent.mean(),) * 2, color=colour, alpha=0.4)
    axes.set(
        title="Parameters (dots) and connections (crosses)", xlabel="number", ylabel="test accuracy, %", xscale="log"
    )
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))


def main() -> None:
    claim = Claim(__file__, __doc__)
    sizes = claim.choose((16, 32, 64, 128, 256, 512), (16, 64))
    counted = {
        "dense": np.array([counts(dense(n), n) for n in sizes]),
        "convolution": np.array([counts(convolution(), 1, n) for n in sizes]),
    }
    check_that_convolution_is_a_sparse_dense_layer()

    images, test = claim.data("fashion-mnist", 30_000)
    epochs, seeds = claim.choose(6, 1), claim.choose(3, 1)
    results = {}
    for name, build in NETWORKS.items():
        runs = []
        for seed in range(claim.seed, claim.seed + seeds):
            optimizer = optim.Adam(optim.Cosine(3e-3, epochs=epochs))
            runs.append(train(build, images, test, epochs=epochs, seed=seed, optimizer=optimizer))
        results[name] = size_of(build())
        results[name].accuracies = [run.history[-1]["val_accuracy"] for run in runs]
        results[name].milliseconds = milliseconds_per_step(build, images, claim.choose(200, 5))

    rows: list[list[str]] = []
    for kind, matrices in counted.items():
        parameters, connections = matrices[-1]
        name = f"one layer, {sizes[-1]} → {sizes[-1]}, {kind}{f', m = {M}' * (kind == 'convolution')}, counted"
        rows.append([name, f"{parameters:,}", f"{connections:,}", "", ""])
    for name, result in results.items():
        mean, spread = np.mean(result.accuracies), np.ptp(result.accuracies) / 2
        cells = [
            f"{result.parameters:,}",
            f"{result.connections:,}",
            f"{mean:.2%} ± {spread:.2%}",
            f"{result.milliseconds:.2f}",
        ]
        rows.append([name, *cells])
    claim.write_table(
        ["", "parameters", "connections", "test accuracy", "ms a step"],
        rows,
        f"Fashion-MNIST, {len(images):,} training and {len(test):,} test images; {epochs} epochs, batch 64, Adam with "
        f"a rate falling from 0.003 to 0 as a cosine; mean ± half the range of {seeds} seeds. Of networks, biases are "
        "counted, pooling is not. A step's time is the processor's; the local layer is computed as a dense one whose "
        "other weights are held at 0.",
    )
    claim.write_figure(draw(sizes, counted, results))


if __name__ == "__main__":
    main()
