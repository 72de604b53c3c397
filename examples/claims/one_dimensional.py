"""A one-dimensional convolutional network tells signals apart in noise, wherever in time they are.

The claim: a convolution is made for signals, for the chapter begins with one that filters a decaying signal; its
kernels are filters, and with shared weights they find a feature at any time. Here are oscillations of random frequency,
phase, length and place in 256 samples, which are steady, decay, grow, rise in pitch or fall in pitch, in white noise.
A network of three one-dimensional convolutions is compared with dense ones of as many and of many more parameters:

1. trained and tested on signals anywhere in the window, at signal-to-noise ratios from -10 to 20 dB;
2. trained on signals in the first half of the window, and tested on signals in its middle and its second half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure, SubFigure

from common import Claim, train
from convkit import nn

LENGTH = 256
KINDS = ("steady", "decaying", "growing", "rising", "falling")
RATIOS = (-10, -5, 0, 5, 10, 15, 20)  # dB
ANYWHERE, FIRST_HALF, MIDDLE, SECOND_HALF = (0, 256), (0, 128), (64, 192), (128, 256)

Signals = tuple[np.ndarray, np.ndarray]


def signals(count: int, ratios: Sequence[float], place: tuple[int, int], rng: np.random.Generator) -> Signals:
    """Draw signals in noise: x (count, 1, 256) float32 of standard deviation 1, and what kind each one is.

    Parameters
    ----------
    count : int
    ratios : sequence of float
        Ratios of the power of the signal to that of the noise over the window, in dB, of which each draws one.
    place : (int, int)
        The part of the window in which the whole signal lies.
    rng : Generator
    """
    kinds = rng.integers(len(KINDS), size=count)

    def draw(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (count, 1))

    duration = draw(64, 128)
    begin = place[0] + draw(0, 1) * (place[1] - place[0] - duration)
    t = (np.arange(LENGTH) - begin) / duration  # 0 … 1 while the signal lasts
    kind = {name: (kinds == number)[:, None] for number, name in enumerate(KINDS)}
    envelope = ((t >= 0) & (t <= 1)) * np.exp(-4 * t * kind["decaying"] - 4 * (1 - t) * kind["growing"])

    # The frequency goes from one end of an octave and a half to the other, or stays where it is.
    low, ratio = draw(0.03, 0.08), 2.0**1.5
    first = np.where(kind["falling"], ratio, 1.0)
    last = np.where(kind["rising"], ratio, 1.0)
    middle = np.where(kind["rising"] | kind["falling"], 1.0, ratio ** draw(0, 1))
    cycles = low * middle * duration * (first * t + (last - first) * t**2 / 2)
    signal = envelope * np.sin(2 * np.pi * (cycles + draw(0, 1)))

    signal /= signal.std(1, keepdims=True)
    noise = rng.standard_normal(signal.shape) * 10 ** (-rng.choice(ratios, (count, 1)) / 20)
    x = signal + noise
    return np.float32(x / x.std(1, keepdims=True))[:, None], kinds


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(1, 8, 17, padding=8),
        nn.ReLU(),
        nn.MaxPool1d(4),
        nn.Conv1d(8, 16, 9, padding=4),
        nn.ReLU(),
        nn.MaxPool1d(4),
        nn.Conv1d(16, 32, 5, padding=2),
        nn.ReLU(),
        nn.GlobalMaxPool(),
        nn.Linear(32, len(KINDS)),
    )


def dense_network(hidden: int) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(LENGTH, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 5)
    )


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "convolutional": convolutional,
    "dense, 256 → 15 → 15 → 5": dense_network(15),
    "dense, 256 → 256 → 256 → 5": dense_network(256),
}


def accuracy(model: nn.Module, test: Signals) -> float:
    x, kinds = test
    return float((model(x).argmax(1) == kinds).mean())


def draw(curves: dict[str, np.ndarray], halves: dict[str, np.ndarray], kernels: np.ndarray) -> Figure:
    figure = Figure(figsize=(11, 6.4))
    top, bottom = figure.subfigures(2, 1, height_ratios=(4, 5))
    draw_examples(top)
    noise, place, filters = bottom.subfigures(1, 3, width_ratios=(5, 3, 6))
    axes = noise.subplots()
    for name, percent in curves.items():
        axes.plot(RATIOS, percent.mean(0), ".-", label=name)
        axes.fill_between(RATIOS, percent.min(0), percent.max(0), alpha=0.2, linewidth=0)
    axes.axhline(100 / len(KINDS), color="0.5", linestyle=":", label="chance")
    axes.set(title="Signals anywhere", xlabel="signal to noise, dB", ylabel="test accuracy, %", ylim=(0, 102))
    axes.legend(fontsize=7, loc="lower right", bbox_to_anchor=(1.02, 0.37))

    axes = place.subplots()
    for number, percent in enumerate(halves.values()):
        axes.plot(percent.mean(0), "o-", color=f"C{number}")
    axes.axhline(100 / len(KINDS), color="0.5", linestyle=":")
    axes.set(title="Trained on the first half", xticks=range(3), xticklabels=("first", "middle", "second"))
    axes.set(xlabel="half in which tested", xlim=(-0.3, 2.3), ylim=(0, 102))
    draw_filters(filters, kernels)
    return figure


def draw_examples(figure: SubFigure) -> None:
    figure.suptitle("A signal of each kind, at 20 dB and at 0 dB", fontsize=10)
    for line, ratio in zip(figure.subplots(2, len(KINDS), sharex=True), (20, 0), strict=True):
        x, kinds = signals(64, [ratio], ANYWHERE, np.random.default_rng(1))
        for number, (axes, name) in enumerate(zip(line, KINDS, strict=True)):
            axes.plot(x[kinds == number][0, 0], linewidth=0.7)
            axes.set(yticks=[], xticks=(0, 128, 256))
            axes.set_title(name if ratio == 20 else "")


def draw_filters(figure: SubFigure, kernels: np.ndarray) -> None:
    """The first layer's kernels, and what frequencies each lets pass."""
    figure.suptitle("Learned filters of the first layer, and their frequency response", fontsize=10)
    for place, axes in enumerate(figure.subplots(4, 4, width_ratios=(1, 1.2, 1, 1.2)).flat):
        kernel = kernels[place // 2, 0]
        if place % 2:
            axes.plot(np.linspace(0, 0.5, 65), np.abs(np.fft.rfft(kernel, 128)), color="C3", linewidth=1)
            axes.set(xticks=(0, 0.25, 0.5), ylim=(0, None))
        else:
            axes.plot(kernel, ".-", markersize=3, linewidth=0.8)
            axes.set(xticks=[])
        axes.set(yticks=[])
        axes.tick_params(labelsize=6)


def main() -> None:
    claim = Claim(__file__, __doc__)
    rng = np.random.default_rng(claim.seed)
    many, few = claim.choose((20_000, 4_000), (384, 128))
    epochs, seeds = claim.choose(12, 1), claim.choose(3, 1)
    anywhere = signals(many, RATIOS, ANYWHERE, rng)
    by_ratio = [signals(few, [ratio], ANYWHERE, rng) for ratio in RATIOS]
    first_half = signals(many, RATIOS, FIRST_HALF, rng)
    tests = [signals(few, [10], place, rng) for place in (FIRST_HALF, MIDDLE, SECOND_HALF)]

    curves, halves, rows = {}, {}, []
    for name, build in NETWORKS.items():
        seeded = range(claim.seed, claim.seed + seeds)
        models = [train(build, anywhere, epochs=epochs, seed=seed).model for seed in seeded]
        curves[name] = 100 * np.array([[accuracy(model, test) for test in by_ratio] for model in models])
        others = [train(build, first_half, epochs=epochs, seed=seed).model for seed in seeded]
        halves[name] = 100 * np.array([[accuracy(model, test) for test in tests] for model in others])
        if build is convolutional:
            kernels = models[0].state_dict()["0.weight"]
        size = sum(parameter.size for parameter in models[0].parameters().values())
        means = [*curves[name].mean(0)[::2], *halves[name].mean(0)]
        rows.append([name, f"{size:,}", *(f"{percent:.1f}%" for percent in means)])

    claim.write_table(
        ["network", "parameters", *(f"{ratio} dB" for ratio in RATIOS[::2]), "first half", "middle", "second half"],
        rows,
        f"{many:,} training signals, {few:,} test signals for each figure; {epochs} epochs, batch 64, Adam with rate "
        f"0.001; test accuracy, mean of {seeds} seeds; chance is 20%. The last three columns: trained on signals in "
        "the first half, tested at 10 dB on signals there, in the middle and in the second half.",
    )
    claim.write_figure(draw(curves, halves, kernels))


if __name__ == "__main__":
    main()
