"""Test images are shifted, scaled and rotated: how fast do a convolutional and a dense network lose them?

The claim: local connections, shared weights and pooling make a convolutional network to some degree invariant to
shift, scaling and rotation; a dense network must learn each position anew. All networks here are trained on digits as
they are, in the middle and upright, and tested on digits that are not. Beside `fashion_cnn_small` stand a dense network
with as many parameters, a dense one that is nearly as accurate on the digits as they are, and a convolutional network
without dense layers, whose last maps are averaged over all places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure
from scipy import ndimage

from common import Claim, train
from convkit import nn, optim
from convkit.data import Batches, Dataset
from convkit.models import fashion_cnn_small


def moved(dataset: Dataset, *, shift: float = 0.0, angle: float = 0.0, scale: float = 1.0) -> Dataset:
    """The same images with what they show shifted, turned or made larger, interpolated linearly; outside is black.

    Parameters
    ----------
    dataset : Dataset of images (N, 1, H, W)
    shift : float
        Pixels to the right.
    angle : float
        Degrees, about the middle of the image.
    scale : float
        The factor by which all lengths grow.
    """
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    # An output pixel p shows what was at middle + matrix · (p - middle - shift).
    matrix = np.array([[cosine, sine], [-sine, cosine]]) / scale
    middle = (np.array(dataset.images.shape[2:]) - 1) / 2
    offset = middle - matrix @ (middle + np.array([0, shift]))
    images = np.stack([ndimage.affine_transform(image, matrix, offset, order=1) for image in dataset.images[:, 0]])
    return Dataset(images[:, None], dataset.labels, classes=dataset.classes)


def dense_network(hidden: int) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Flatten(), nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def without_dense_layers() -> nn.Module:
    """Convolutions and pooling to the end: each class is the mean of a map."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 10, 3, padding=1),
        nn.GlobalAvgPool(),
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "convolutional, dense layers at the end": fashion_cnn_small,
    "convolutional, mean over places at the end": without_dense_layers,
    "dense, 784 → 36 → 10": dense_network(36),
    "dense, 784 → 800 → 10": dense_network(800),
}
Curves = dict[str, dict[float, float]]  # by kind of change, and how much of it: the accuracy


def accuracy(model: nn.Module, dataset: Dataset) -> float:
    batches = Batches(dataset, 500, shuffle=False).epoch(0)
    return sum(int((model(x).argmax(1) == labels).sum()) for x, labels in batches) / len(dataset)


def measure(model: nn.Module, changed: dict[str, dict[float, Dataset]]) -> Curves:
    return {
        kind: {amount: accuracy(model, dataset) for amount, dataset in datasets.items()}
        for kind, datasets in changed.items()
    }


def table_row(name: str, parameters: int, curves: Sequence[Curves]) -> list[str]:
    """As they are, and the means over runs at the amounts that the header names."""

    def mean(kind: str, amount: float) -> str:
        return f"{np.mean([curve[kind][amount] for curve in curves]):.1%}"

    return [
        name,
        f"{parameters:,}",
        *(mean("shift", amount) for amount in (0, 2, 4)),
        *(mean("scale", amount) for amount in (0.7, 1.3)),
        *(mean("angle", amount) for amount in (15, 30, 45)),
    ]


def draw(results: dict[str, list[Curves]], test: Dataset) -> Figure:
    figure = Figure(figsize=(11, 5.2))
    panels = figure.subfigures(1, 3)
    labels = {"shift": "pixels to the right", "scale": "scaled by", "angle": "turned by, degrees"}
    for panel, (kind, label) in zip(panels, labels.items(), strict=True):
        grid = panel.add_gridspec(2, 5, height_ratios=(1, 5))
        axes = panel.add_subplot(grid[1, :])
        for place, (name, curves) in enumerate(results.items()):
            amounts = list(curves[0][kind])
            percent = 100 * np.array([[curve[kind][amount] for amount in amounts] for curve in curves])
            axes.plot(amounts, percent.mean(0), f"C{place}{'-' if place < 2 else '--'}", marker=".", label=name)
            axes.fill_between(amounts, percent.min(0), percent.max(0), color=f"C{place}", alpha=0.2, linewidth=0)
        axes.set(xlabel=label, xticks=amounts[::2], ylim=(0, 101))
        for column, amount in enumerate(amounts[:: len(amounts) // 4][:5]):
            picture = panel.add_subplot(grid[0, column])
            picture.imshow(moved(test[:1], **{kind: amount}).images[0, 0], cmap="gray")
            picture.set_axis_off()
            picture.set_title(f"{amount:g}", fontsize=8)
    figure.axes[0].set_ylabel("test accuracy, %")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def main() -> None:
    claim = Claim(__file__, __doc__)
    images, test = claim.data("mnist", 20_000, claim.choose(3_000, 100))
    epochs, seeds = claim.choose(5, 1), claim.choose(3, 1)
    amounts = {
        "shift": [float(pixels) for pixels in range(-8, 9)],
        "scale": [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
        "angle": [float(degrees) for degrees in range(-90, 91, 15)],
    }
    changed = {kind: {amount: moved(test, **{kind: amount}) for amount in by} for kind, by in amounts.items()}

    results: dict[str, list[Curves]] = {}
    rows = []
    for name, build in NETWORKS.items():
        models = []
        for seed in range(claim.seed, claim.seed + seeds):
            optimizer = optim.Adam(optim.Cosine(3e-3, epochs=epochs))
            models.append(train(build, images, epochs=epochs, seed=seed, optimizer=optimizer).model)
        results[name] = [measure(model, changed) for model in models]
        parameters = sum(parameter.size for parameter in models[0].parameters().values())
        rows.append(table_row(name, parameters, results[name]))

    header = ["", "parameters", "as they are", "2 pixels", "4 pixels", "× 0.7", "× 1.3", "15°", "30°", "45°"]
    claim.write_table(
        header,
        rows,
        f"MNIST, the first {len(images):,} training and {len(test):,} test images; {epochs} epochs, batch 64, Adam "
        "with a rate falling from 0.003 to 0 as a cosine; test accuracy, mean of "
        f"{seeds} seeds (the figure's bands: their range).",
    )
    claim.write_figure(draw(results, test))


if __name__ == "__main__":
    main()
