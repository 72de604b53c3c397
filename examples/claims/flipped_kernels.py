"""Whether kernels are flipped before they slide makes no difference to what a network can learn.

The convolution of mathematics turns the kernel by 180° and then slides it; what networks call convolution leaves the
turning out, which is cross-correlation. The claim: where kernels are learned the two are equivalent. Here the same
network is trained with both, in two ways:

1. from the same function: the initial kernels of one are those of the other, turned. Then every step must have the
   same loss and the learned kernels must remain each other's turned image;
2. from independent weights, several times: then accuracies must be alike but for chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure, SubFigure

import convkit as ck
from common import Claim, Run, train
from convkit import functional as F
from convkit import nn


def rot180(kernels: np.ndarray) -> np.ndarray:
    """Turn the kernels of a weight (O, I, kh, kw) by 180°."""
    return np.flip(kernels, (-2, -1))


class Rot180(ck.Op):
    """`rot180` as an op: the gradient of a turned array is the turned gradient."""

    def shape(self, kernels: tuple[int, ...]) -> tuple[int, ...]:
        return kernels

    def forward(self, kernels: np.ndarray) -> np.ndarray:
        return rot180(kernels)

    def backward(self, grad_output: np.ndarray, inputs: Any, output: Any) -> tuple[np.ndarray]:
        return (rot180(grad_output),)


class Convolution2d(nn.Conv2d):
    """The convolution of mathematics as a layer: Y^p = Σ_d W^{p,d} * X^d + b^p with kernels turned round."""

    def forward(self, x: Any) -> Any:
        return F.conv2d(x, Rot180()(self.weight), self.bias)


def network(layer: type[nn.Conv2d]) -> nn.Module:
    """`convkit.models.fashion_cnn_small` with convolutional layers of one kind or the other."""
    return nn.Sequential(
        layer(1, 10, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        layer(10, 20, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(320, 70),
        nn.ReLU(),
        nn.Linear(70, 10),
    )


def correlating() -> nn.Module:
    return network(nn.Conv2d)


def convolving() -> nn.Module:
    return network(Convolution2d)


def convolving_the_same_function() -> nn.Module:
    """The network that computes what `correlating` computes, when both are built from the same seed."""
    model = convolving()
    for layer in model.children().values():
        if isinstance(layer, Convolution2d):
            layer.weight.assign(rot180(layer.weight.value))
    return model


def largest_difference(plain: Run, turned: Run) -> tuple[float, float]:
    """The largest differences of losses over all steps, and of the learned weights, kernels turned back."""
    losses = np.abs(np.subtract(plain.losses, turned.losses)).max()
    weights, others = plain.model.state_dict(), turned.model.state_dict()
    back = {name: rot180(array) if array.ndim == 4 else array for name, array in others.items()}
    return float(losses), max(float(np.abs(weights[name] - back[name]).max()) for name in weights)


def draw(plain: Run, turned: Run, accuracies: Sequence[Sequence[float]]) -> Figure:
    figure = Figure(figsize=(11, 5))
    kernels, measured = figure.subfigures(1, 2, width_ratios=(6, 5))
    draw_kernels(kernels, plain.model.state_dict()["0.weight"], turned.model.state_dict()["0.weight"])
    curves, dots = measured.subplots(2, 1)

    curves.plot(plain.losses, color="C0", linewidth=2.5, alpha=0.4, label="as they are")
    curves.plot(turned.losses, color="C1", linewidth=0.5, label="flipped")
    curves.set(title="From the same function: each step's loss", xlabel="step", ylabel="loss", yscale="log")
    curves.legend(ncols=2)

    for row, values in enumerate(accuracies):
        percent = 100 * np.array(values)
        dots.plot(percent, np.full(len(percent), row), "o", color=f"C{row}", alpha=0.6)
        dots.errorbar(percent.mean(), row + 0.3, xerr=percent.std(ddof=1), fmt="|", color=f"C{row}", capsize=3)
    dots.set(title="Independent weights: all runs, mean ± standard deviation", xlabel="test accuracy, %")
    dots.set(ylim=(-0.5, 1.8), yticks=(0, 1), yticklabels=("as they are", "flipped"))
    return figure


def draw_kernels(figure: SubFigure, plain: np.ndarray, turned: np.ndarray) -> None:
    """The kernels of the first layer: as learned by both, and those of the second turned back."""
    rows = {"as they are": plain, "flipped": turned, "flipped,\nturned back": rot180(turned)}
    limit = np.abs(plain).max()
    figure.suptitle("Kernels of the first layer, learned from the same function", fontsize=10)
    blocks = figure.subfigures(2, 1)
    for block, half in zip(blocks, np.split(np.arange(len(plain)), 2), strict=True):
        for line, (name, kernels) in zip(block.subplots(3, len(half)), rows.items(), strict=True):
            line[0].set_ylabel(name, rotation=0, ha="right", va="center")
            for axes, number in zip(line, half, strict=True):
                axes.imshow(kernels[number, 0], cmap="RdBu_r", vmin=-limit, vmax=limit)
                axes.set(xticks=[], yticks=[])


def main() -> None:
    claim = Claim(__file__, __doc__)
    epochs, runs = claim.choose(4, 1), claim.choose(5, 2)
    images, test = claim.data("fashion-mnist", 30_000)

    plain = train(correlating, images, test, epochs=epochs, seed=claim.seed)
    turned = train(convolving_the_same_function, images, test, epochs=epochs, seed=claim.seed)
    losses, weights = largest_difference(plain, turned)

    first = claim.seed + 1
    seeds = [range(first, first + runs), range(first + runs, first + 2 * runs)]
    accuracies = [
        [train(build, images, test, epochs=epochs, seed=seed).history[-1]["val_accuracy"] for seed in of_kind]
        for build, of_kind in zip((correlating, convolving), seeds, strict=True)
    ]
    (mean, spread), (other_mean, other_spread) = ((np.mean(a), np.std(a, ddof=1)) for a in accuracies)
    error = np.hypot(spread, other_spread) / runs**0.5

    rows = [
        [
            "test accuracy, from the same function",
            *(f"{run.history[-1]['val_accuracy']:.2%}" for run in (plain, turned)),
        ],
        ["largest difference of losses, all steps", "", f"{losses:.1e}" if losses else "0"],
        ["largest difference of weights, turned back", "", f"{weights:.1e}" if weights else "0"],
        ["test accuracy, independent weights", f"{mean:.2%} ± {spread:.2%}", f"{other_mean:.2%} ± {other_spread:.2%}"],
        ["difference of these means ± its standard error", "", f"{other_mean - mean:+.2%} ± {error:.2%}"],
    ]
    claim.write_table(
        ["", "kernels as they are (correlation)", "kernels flipped (convolution)"],
        rows,
        f"Fashion-MNIST, {len(images):,} training and {len(test):,} test images; `fashion_cnn_small`, {epochs} epochs, "
        f"batch 64, Adam with rate 0.001; {runs} runs of each kind with independent weights.",
    )
    claim.write_figure(draw(plain, turned, accuracies))


if __name__ == "__main__":
    main()
