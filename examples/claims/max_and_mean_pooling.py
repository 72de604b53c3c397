"""Max against mean pooling, and mean pooling as a strided convolution.

The mean over windows of 2×2 is a convolution of each map by itself with a kernel of quarters and a stride of 2. The
same network, from the same weights, is trained with max pooling, with mean pooling, with that convolution held fixed,
and with one that begins there and learns (as the subsampling of Springenberg et al. 2015 is learnt).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.figure import Figure

import convkit as ck
from common import Claim, train
from convkit import functional as F
from convkit import nn


def quarters(shape: tuple[int, ...]) -> np.ndarray:
    """A weight (O, 1, 2, 2) with which a convolution takes means."""
    return np.full(shape, 0.25)


def convolution(maps: int, learned: bool) -> nn.Conv2d:
    """A convolution of each map by itself that begins as the mean over windows of 2×2."""
    layer = nn.Conv2d(maps, maps, 2, stride=2, groups=maps, bias=False, init=quarters)
    layer.weight.trainable = learned
    return layer


POOLING: dict[str, Callable[[int], nn.Module]] = {
    "max": lambda maps: nn.MaxPool2d(2),
    "mean": lambda maps: nn.AvgPool2d(2),
    "fixed convolution": lambda maps: convolution(maps, learned=False),
    "learned convolution": lambda maps: convolution(maps, learned=True),
}


def network(kind: str) -> nn.Sequential:
    """Two convolutions, each with pooling, and two dense layers: (N, 1, 28, 28) → logits (N, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5),
        nn.ReLU(),
        POOLING[kind](16),
        nn.Conv2d(16, 32, 3),
        nn.ReLU(),
        POOLING[kind](32),
        nn.Flatten(),
        nn.Linear(800, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def differences(x: np.ndarray, window: int) -> tuple[float, float]:
    """Largest differences between mean pooling of x (N, C, H, W) and the convolution: outputs, gradients to x."""
    maps = x.shape[1]
    weight = np.full((maps, 1, window, window), 1 / window**2, x.dtype)
    pooled, convolved = F.avg_pool2d(x, window), F.conv2d(x, weight, stride=window, groups=maps)
    grad = np.random.default_rng(1).standard_normal(pooled.shape).astype(x.dtype)
    grad_pool = F.avg_pool2d_backward(grad, x.shape, window)
    grad_convolution = F.conv2d_backward(grad, x, weight, stride=window, groups=maps)[0]
    return float(np.abs(pooled - convolved).max()), float(np.abs(grad_pool - grad_convolution).max())


def main() -> None:
    claim = Claim(__file__, __doc__)
    epochs, seeds = claim.choose((6, 3), (2, 1))
    images, test = claim.data("fashion-mnist", 10_000)
    apart = []
    for dtype in (np.float32, np.float64):
        x = np.random.default_rng(0).standard_normal((64, 16, 24, 24)).astype(dtype)
        for window in (2, 3):
            outputs, gradients = differences(x, window)
            apart.append(f"{window}×{window} in {x.dtype}: {outputs:.1e} and {gradients:.1e}")

    def begin(kind: str) -> np.ndarray:
        """Logits of the untrained network of the first seed for 256 test images."""
        ck.set_seed(claim.seed)
        return network(kind)(test.images[:256])

    runs = {
        kind: [
            train(partial(network, kind), images, test, epochs=epochs, seed=claim.seed + k) for k in range(seeds)
        ]
        for kind in POOLING
    }  # fmt: skip
    accuracy = {
        kind: np.array([run.history["val_accuracy"] for run in group])  # (seeds, epochs)
        for kind, group in runs.items()
    }
    rows = [
        [
            kind,
            f"{np.mean([run.history['loss'][-1] for run in group]):.3f}",
            f"{accuracy[kind][:, -1].mean():.2%}",
            f"{100 * np.ptp(accuracy[kind][:, -1]):.2f}",
            f"{np.abs(begin(kind) - begin('mean')).max():.1e}",
        ]
        for kind, group in runs.items()
    ]
    columns = ["training loss", "test accuracy", "points between seeds", "untrained: logits from those of mean"]
    claim.write_table(
        ["pooling", *columns],
        rows,
        f"{len(images):,} training and {len(test):,} test images of Fashion-MNIST, {epochs} epochs of batches of 64, "
        f"Adam 0.001, means of {seeds} runs with seeds from {claim.seed} on. Mean pooling and convolution of 64 × 16 "
        f"random maps of 24 × 24 differ at most by (outputs and gradients) {'; '.join(apart)}.",
    )

    figure = Figure(figsize=(5, 3.2))
    panel = figure.subplots()
    for (kind, by_epoch), style in zip(accuracy.items(), ("-", "-", "--", "-"), strict=True):
        [line] = panel.plot(range(1, epochs + 1), by_epoch.mean(axis=0), style, label=kind)
        panel.fill_between(
            range(1, epochs + 1), by_epoch.min(axis=0), by_epoch.max(axis=0), color=line.get_color(), alpha=0.15
        )
    panel.set(title="test accuracy by kind of pooling", xlabel="epoch")
    panel.yaxis.set_major_formatter("{x:.0%}")
    panel.legend()
    claim.write_figure(figure)


if __name__ == "__main__":
    main()
