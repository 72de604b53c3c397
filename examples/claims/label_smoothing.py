"""Smoothed labels keep a network from being too sure of itself.

Szegedy et al. 2016 (section 7) train towards 1 - ε + ε/K for the right class and ε/K for the K - 1 others. Without it
a network goes on to sharpen its predictions when all training images are right already. Measured on test images:
accuracy, the plain cross-entropy, and how far the probability of the predicted class is from how often it is right
(the expected calibration error: the mean distance over ten bins of that probability, weighted by their images).
"""

from __future__ import annotations

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
    logits = np.concatenate([run.model(test.images[start : start + 250]) for start in range(0, len(test), 250)])
    probabilities = F.softmax(logits)
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == test.labels


def calibration(top: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of the images, mean probability and accuracy of each bin that has images."""
    bins = np.minimum((top * BINS).astype(int), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    used = count > 0
    sums = (np.bincount(bins, values, BINS)[used] for values in (top, right))
    mean_top, accuracy = (total / count[used] for total in sums)
    return count[used] / len(top), mean_top, accuracy


def main() -> None:
    claim = Claim(__file__, __doc__)
    epochs, seeds = claim.choose((15, 3), (2, 1))
    images, test = claim.data("fashion-mnist", 10_000)
    runs = {
        smoothing: [
            train(
                models.fashion_cnn_small,
                images,
                test,
                epochs=epochs,
                seed=claim.seed + k,
                loss=nn.CrossEntropyLoss(label_smoothing=smoothing),
                metrics=["accuracy", F.cross_entropy],
            )
            for k in range(seeds)
        ]
        for smoothing in SMOOTHING
    }
    names = {smoothing: f"ε = {smoothing}" if smoothing else "none" for smoothing in SMOOTHING}

    figure = Figure(figsize=(9, 3.2))
    accuracy, entropy, diagram = figure.subplots(1, 3)
    rows = []
    for smoothing, group in runs.items():
        for panel, column in ((accuracy, "val_accuracy"), (entropy, "val_cross_entropy")):
            by_epoch = np.array([run.history[column] for run in group])  # (seeds, epochs)
            [line] = panel.plot(range(1, epochs + 1), by_epoch.mean(axis=0), label=names[smoothing])
            panel.fill_between(
                range(1, epochs + 1), by_epoch.min(axis=0), by_epoch.max(axis=0), color=line.get_color(), alpha=0.2
            )
        top, right = (np.concatenate(parts) for parts in zip(*(surety(run, test) for run in group), strict=True))
        share, mean_top, often = calibration(top, right)
        diagram.plot(mean_top, often, marker="o", markersize=4, label=names[smoothing])
        last = [(run.history["val_accuracy"][-1], run.history["val_cross_entropy"][-1]) for run in group]
        (mean_accuracy, mean_entropy), spread = np.mean(last, axis=0), np.ptp(last, axis=0)[0]
        rows.append(
            [
                names[smoothing],
                f"{np.mean([run.history['accuracy'][-1] for run in group]):.1%}",
                f"{mean_accuracy:.2%}",
                f"{100 * spread:.2f}",
                f"{mean_entropy:.3f}",
                f"{top.mean():.1%}",
                f"{share @ np.abs(mean_top - often):.1%}",
            ]
        )
    columns = ("training accuracy", "test accuracy", "points between seeds", "test cross-entropy")
    claim.write_table(
        ["smoothing", *columns, "mean top probability", "calibration error"],
        rows,
        f"`fashion_cnn_small`, {len(images):,} training and {len(test):,} test images of Fashion-MNIST, {epochs} "
        f"epochs of batches of 64, Adam 0.001, means of {seeds} runs with seeds from {claim.seed} on; the "
        "cross-entropy is without smoothing for both.",
    )
    accuracy.set(title="test accuracy", xlabel="epoch")
    accuracy.yaxis.set_major_formatter("{x:.0%}")
    entropy.set(title="test cross-entropy", xlabel="epoch")
    diagram.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
    diagram.set(title="how often it is right, by how sure it is", xlabel="probability of the predicted class")
    diagram.set(xlim=(0.2, 1), ylim=(0.2, 1))
    for panel in (accuracy, entropy, diagram):
        panel.legend()
    claim.write_figure(figure)


if __name__ == "__main__":
    main()
