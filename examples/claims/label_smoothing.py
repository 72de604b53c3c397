"""Smoothed labels keep a network from being too sure of itself.

Szegedy et al. 2016 (section 7) train towards 1 - ε + ε/K for the right class and ε/K for the K - 1 others. Without it
a network goes on to sharpen its predictions when all training images are right already. So the claim is tried on a
short run over many images and on a long one over few. Measured on test images: accuracy, the plain cross-entropy, and
how far the probability of the predicted class is from how often it is right (the expected calibration error: the mean
distance over ten bins of that probability, weighted by their images).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from common import Claim, Run, train
from convkit import functional as F
from convkit import models, nn
from convkit.data import Dataset

SMOOTHING = (0.0, 0.1)
BINS = 10


def surety(run: Run, test: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """For each test image (N,) the probability of the predicted class, and whether it is the right one."""
    probabilities = F.softmax(run.trainer.predict(test))
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == test.labels


def calibration(runs: Sequence[Run], test: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of the images, mean probability and accuracy of each bin that has images, over the runs of all seeds."""
    top, right = (np.concatenate(parts) for parts in zip(*(surety(run, test) for run in runs), strict=True))
    bins = np.minimum((top * BINS).astype(int), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    used = count > 0
    mean_top, often = (np.bincount(bins, values, BINS)[used] / count[used] for values in (top, right))
    return count[used] / len(top), mean_top, often


def figures(runs: Sequence[Run], test: Dataset) -> list[str]:
    """The cells of the table for the runs of all seeds."""
    accuracy = [run.history["val_accuracy"][-1] for run in runs]
    share, mean_top, often = calibration(runs, test)
    return [
        f"{np.mean([run.history['accuracy'][-1] for run in runs]):.1%}",
        f"{np.mean(accuracy):.2%}",
        f"{100 * np.ptp(accuracy):.2f}",
        f"{np.mean([run.history['val_cross_entropy'][-1] for run in runs]):.3f}",
        f"{share @ mean_top:.1%}",
        f"{share @ np.abs(mean_top - often):.1%}",
    ]


def draw(panels: Sequence[Any], runs: Sequence[Run], test: Dataset, name: str) -> None:
    """Accuracy and cross-entropy by epoch, mean and range over the seeds, and how often the network is right."""
    for panel, column in zip(panels, ("val_accuracy", "val_cross_entropy"), strict=False):
        by_epoch = np.array([run.history[column] for run in runs])  # (seeds, epochs)
        epochs = range(1, by_epoch.shape[1] + 1)
        [line] = panel.plot(epochs, by_epoch.mean(axis=0), label=name)
        panel.fill_between(epochs, by_epoch.min(axis=0), by_epoch.max(axis=0), color=line.get_color(), alpha=0.2)
    _, mean_top, often = calibration(runs, test)
    panels[2].plot(mean_top, often, marker="o", markersize=4, label=name)


def main() -> None:
    claim = Claim(__file__, __doc__)
    lengths = claim.choose({10_000: 15, 2_000: 60}, {384: 2, 128: 3})  # images: epochs
    seeds = claim.choose(3, 1)
    images, test = claim.data("fashion-mnist", 10_000, test_images=5_000)

    figure = Figure(figsize=(9, 6))
    rows = []
    for panels, (count, epochs) in zip(figure.subplots(2, 3), lengths.items(), strict=True):
        for smoothing in SMOOTHING:
            runs = [
                train(
                    models.fashion_cnn_small,
                    images[:count],
                    test,
                    epochs=epochs,
                    seed=claim.seed + k,
                    loss=nn.CrossEntropyLoss(label_smoothing=smoothing),
                    metrics=["accuracy", F.cross_entropy],
                )
                for k in range(seeds)
            ]
            name = f"ε = {smoothing}" if smoothing else "none"
            rows.append([f"{count:,} images, {epochs} epochs: {name}", *figures(runs, test)])
            draw(panels, runs, test, name)
        for panel, title in zip(panels, ("test accuracy", "test cross-entropy"), strict=False):
            panel.set(title=f"{title}, {count:,} images", xlabel="epoch")
        panels[0].yaxis.set_major_formatter("{x:.0%}")
        panels[2].plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
        panels[2].set(title="share that is right", xlabel="probability of the predicted class")
        panels[2].set(xlim=(0.2, 1), ylim=(0.2, 1))
        for panel in panels:
            panel.legend()
    claim.write_figure(figure)

    columns = ["training accuracy", "test accuracy", "points between seeds", "test cross-entropy"]
    claim.write_table(
        ["smoothing", *columns, "mean top probability", "calibration error"],
        rows,
        f"`fashion_cnn_small`, training images of Fashion-MNIST and {len(test):,} test images, batches of 64, Adam "
        f"0.001, means of {seeds} runs with seeds from {claim.seed} on; the cross-entropy is without smoothing "
        "for both.",
    )


if __name__ == "__main__":
    main()
