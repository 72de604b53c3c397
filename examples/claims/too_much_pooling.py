"""Pooling over too large a window loses what the classifier needs.

Two convolutions, pooling over windows of p×p, and a dense layer on what is left: with p = 28 that is one number for
each map, whether it occurs and no longer where. Larger windows leave fewer numbers and fewer weights; both are part of
the claim.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from matplotlib.figure import Figure

from common import Claim, train
from convkit import nn

MAPS = 16
POOLING = {"max": nn.MaxPool2d, "mean": nn.AvgPool2d}


def network(kind: str, window: int) -> nn.Sequential:
    """Two 3×3 convolutions, pooling, and a dense layer: (N, 1, 28, 28) → logits (N, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, MAPS, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(MAPS, MAPS, 3, padding=1),
        nn.ReLU(),
        POOLING[kind](window),
        nn.Flatten(),
        nn.Linear(MAPS * (28 // window) ** 2, 10),
    )


def main() -> None:
    claim = Claim(__file__, __doc__)
    windows = claim.choose((1, 2, 4, 7, 14, 28), (2, 28))
    epochs, seeds = claim.choose((3, 2), (1, 1))
    images, test = claim.data("fashion-mnist", 10_000, test_images=5_000)

    def accuracies(kind: str, window: int) -> list[float]:
        """Test accuracy of each seed."""
        runs = (
            train(partial(network, kind, window), images, test, epochs=epochs, seed=claim.seed + k)
            for k in range(seeds)
        )
        return [run.history["val_accuracy"][-1] for run in runs]

    results = {(kind, window): accuracies(kind, window) for kind in POOLING for window in windows}
    rows = []
    for window in windows:
        numbers = MAPS * (28 // window) ** 2
        cells = [f"{np.mean(results[kind, window]):.1%}" for kind in POOLING]
        rows.append([f"{window} × {window}", f"{numbers:,}", f"{10 * numbers + 10:,}", *cells])
    columns = [f"test accuracy, {kind}" for kind in POOLING]
    claim.write_table(
        ["window", "numbers left", "weights of the classifier", *columns],
        rows,
        f"{len(images):,} training and {len(test):,} test images of Fashion-MNIST, {epochs} epochs of batches of 64, "
        f"Adam 0.001, mean of {seeds} runs with seeds from {claim.seed} on.",
    )

    figure = Figure(figsize=(5, 3.2))
    panel = figure.subplots()
    places = np.arange(len(windows))
    for kind, marker in zip(POOLING, "os", strict=True):
        values = np.array([results[kind, window] for window in windows])  # (windows, seeds)
        [line] = panel.plot(places, values.mean(axis=1), marker=marker, label=f"{kind} pooling")
        panel.fill_between(places, values.min(axis=1), values.max(axis=1), color=line.get_color(), alpha=0.2)
    panel.set_xticks(places, [f"{window} × {window}" for window in windows])
    panel.set(title="test accuracy by pooling window", xlabel="window")
    panel.yaxis.set_major_formatter("{x:.0%}")
    panel.legend()
    claim.write_figure(figure)


if __name__ == "__main__":
    main()
