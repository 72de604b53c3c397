"""What an output sees of the input: by formula, by gradients, and how much of it matters.

Layers with kernels k, dilations d and strides s, one on the other, see 1 + Σ (k - 1)·d·Π s inputs on each axis, the
product over the strides of the layers before. The claims: dilations 1, 1, 2, 4, 8, 16, 1 let seven 3×3 layers see
67×67 inputs where undilated ones see 15×15 (Yu and Koltun 2016, table 1). And: what is seen does not count alike, but
with Gaussian weight, of σ = √(n(k² - 1)/12) after n layers of equal weights, so that the *effective* field grows as √n
only; and training widens it (Luo, Li, Urtasun and Zemel 2016, sections 2 and 3).

Both are measured by the gradient of one output to the whole input. An input is in the receptive field when it has a
gradient at all, and in the effective one when its gradient exceeds 4.55% of the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np
from matplotlib.figure import Figure, SubFigure

import convkit as ck
from common import Claim, train
from convkit import functional as F
from convkit import nn

EFFECTIVE = 0.0455  # of the largest gradient: two standard deviations of a Gaussian
DILATIONS = (1, 1, 2, 4, 8, 16, 1)
DEPTHS = (5, 10, 20, 40)


def by_formula(layers: Sequence[Any]) -> tuple[int, float]:
    """Side and σ of convolutions and pooling: 1 + Σ (k - 1)·d·Π s and, for equal weights, √Σ (k² - 1)·(d·Π s)²/12."""
    side, variance, step = 1, 0.0, 1
    for layer in layers:
        names = ("kernel_size", "stride", "dilation")
        kernel, stride, dilation = (int(np.ravel(getattr(layer, name, 1))[0]) for name in names)
        side += (kernel - 1) * dilation * step
        variance += (kernel**2 - 1) * (dilation * step) ** 2 / 12
        step *= stride
    return side, sqrt(variance)


def gradient_of_the_middle(model: nn.Module, x: np.ndarray) -> np.ndarray:
    """Mean magnitude (H, W) of the gradient, over images and channels, of the output in the middle."""
    output = model(x)
    middle = np.zeros_like(output)
    middle[:, :, output.shape[2] // 2, output.shape[3] // 2] = 1
    evaluate = ck.value_and_grad(model, lambda y, chosen: F.sum(y * chosen), inputs=True)
    _, _, gradient = evaluate(x, middle)
    return np.abs(gradient).mean((0, 1))


@dataclass
class Field:
    """A receptive field as gradients show it, their magnitudes being `gradient` (H, W)."""

    gradient: np.ndarray

    @property
    def side(self) -> int:
        """Of the smallest square around all inputs that have a gradient."""
        rows = np.flatnonzero(self.gradient.any(1))
        return int(rows[-1] - rows[0] + 1)

    @property
    def seen(self) -> float:
        """The share of the inputs in that square which have a gradient."""
        return np.count_nonzero(self.gradient) / self.side**2

    @property
    def effective_side(self) -> float:
        """Of a square of as many inputs as have more than `EFFECTIVE` of the largest gradient."""
        return sqrt(np.count_nonzero(self.gradient > EFFECTIVE * self.gradient.max()))

    @property
    def sigma(self) -> float:
        """Standard deviation of the profile, taken as a distribution."""
        profile = self.profile
        places = np.arange(len(profile))
        mean = profile @ places
        return sqrt(profile @ (places - mean) ** 2)

    @property
    def profile(self) -> np.ndarray:
        """Gradient summed over the rows, of sum 1."""
        return self.gradient.sum(0) / self.gradient.sum()


def equal(shape: tuple[int, ...]) -> np.ndarray:
    """Weights that take the mean."""
    return np.full(shape, 1 / prod(shape[1:]))


def convolutions(dilations: Sequence[int], kernel: int = 3, stride: int = 1) -> list[Any]:
    return [nn.Conv2d(1, 1, kernel, stride, dilation=d, init=equal) for d in dilations]


def stacks() -> dict[str, list[Any]]:
    """Layers whose weights are equal, so that no gradients cancel."""
    large = [nn.Conv2d(1, 1, 5, init=equal), nn.AvgPool2d(2), nn.Conv2d(1, 1, 3, init=equal), nn.AvgPool2d(2)]
    return {
        "one 5×5": convolutions((1,), kernel=5),
        "two 3×3": convolutions((1, 1)),
        "seven 3×3": convolutions((1,) * 7),
        "3×3, dilations 1, 2, 4": convolutions((1, 2, 4)),
        "3×3, dilations 2, 2, 2": convolutions((2, 2, 2)),
        "3×3, dilations 1, 1, 2, 4, 8, 16, 1": convolutions(DILATIONS),
        "four 3×3 of stride 2": convolutions((1,) * 4, stride=2),
        "`fashion_cnn_large`: 5×5, pool, 3×3, pool": large,
    }


def measured(layers: Sequence[Any]) -> Field:
    """The field of linear layers, whose gradient is the same for all inputs."""
    model = nn.Sequential(*layers).astype("float64")
    side = 2 * by_formula(layers)[0] + 1  # so large that the middle output sees no border
    return Field(gradient_of_the_middle(model, np.zeros((1, 1, side, side))))


def random_stack(depth: int, rectified: bool, draws: int) -> Field:
    """The mean field of 3×3 layers of 8 channels with random weights; between them rectifiers, or nothing."""
    side = 2 * depth + 1
    total = np.zeros((side, side))
    for draw in range(draws):
        layers: list[Any] = []
        for layer in range(depth):
            layers.append(nn.Conv2d(8 if layer else 1, 8, 3, init="he_normal" if rectified else "lecun_normal"))
            layers += [nn.ReLU()] * rectified
        x = np.random.default_rng(draw).standard_normal((1, 1, side, side)).astype(np.float32)
        total += gradient_of_the_middle(nn.Sequential(*layers), x)
    return Field(total)


class Deep(nn.Module):
    """Eight 3×3 layers that keep the size, and a classifier on the means of their maps."""

    def __init__(self) -> None:
        body: list[Any] = []
        for layer in range(8):
            body += [nn.Conv2d(12 if layer else 1, 12, 3, padding=1, init="he_normal"), nn.ReLU()]
        self.body = nn.Sequential(*body)
        self.head = nn.Sequential(nn.GlobalAvgPool(), nn.Linear(12, 10))

    def forward(self, x: Any) -> Any:
        return self.head(self.body(x))


def before_and_after_training(claim: Claim) -> tuple[list[Field], str]:
    """The field of the middle output of `Deep.body` on test images, and how the network was trained."""
    images, test = claim.data("fashion-mnist", 10_000)
    epochs = claim.choose(4, 1)
    ck.set_seed(claim.seed)
    untrained = Deep()
    run = train(Deep, images, test, epochs=epochs, seed=claim.seed)
    x = np.float32(test.images[:256]) / 255
    accuracy = run.history[-1]["val_accuracy"]
    settings = f"on {len(images):,} images of Fashion-MNIST, {epochs} epochs, test accuracy {accuracy:.1%}"
    return [Field(gradient_of_the_middle(model.body, x)) for model in (untrained, run.model)], settings


def row(name: str, side: int, sigma: float | None, field: Field) -> list[str]:
    return [
        name,
        f"{side}",
        f"{field.side}",
        f"{field.seen:.0%}",
        "" if sigma is None else f"{sigma:.2f}",
        f"{field.sigma:.2f}",
        f"{field.effective_side:.1f}",
    ]


def draw(deep: dict[str, list[Field]], trained: Sequence[Field]) -> Figure:
    figure = Figure(figsize=(11, 7))
    maps, below = figure.subfigures(2, 1, height_ratios=(5, 5))
    draw_maps(maps)
    profiles, growth, training = below.subfigures(1, 3, width_ratios=(4, 4, 4))
    draw_profiles(profiles, deep["equal weights"])
    draw_growth(growth, deep)
    training.suptitle("Eight layers, before and after training", fontsize=10)
    for axes, field, name in zip(training.subplots(1, 2), trained, ("before", "after"), strict=True):
        middle = len(field.gradient) // 2
        window = slice(middle - 9, middle + 10)
        axes.imshow(field.gradient[window, window], cmap="magma")
        axes.set(title=f"{name}: side {field.effective_side:.1f}", xticks=[], yticks=[])
    return figure


def draw_maps(figure: SubFigure) -> None:
    """What an output sees after each of the seven layers, dilated and not: all windows are 69×69 inputs wide."""
    figure.suptitle(
        "Gradient (its square root) of one output to 69×69 inputs, after each of seven 3×3 layers", fontsize=10
    )
    for line, dilations in zip(figure.subplots(2, 7), (DILATIONS, (1,) * 7), strict=True):
        for depth, axes in enumerate(line, start=1):
            field = measured(convolutions(dilations[:depth]))
            middle = len(field.gradient) // 2
            window = np.zeros((69, 69))
            reach = min(middle, 34)
            inside = slice(middle - reach, middle + reach + 1)
            window[34 - reach : 35 + reach, 34 - reach : 35 + reach] = field.gradient[inside, inside]
            axes.imshow(np.where(window > 0, window, np.nan) ** 0.5, cmap="viridis", vmin=0)
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"dilation {dilations[depth - 1]}: {field.side}×{field.side}", fontsize=8)
            axes.set_facecolor("0.93")


def draw_profiles(figure: SubFigure, fields: Sequence[Field]) -> None:
    axes = figure.subplots()
    for place, (depth, field) in enumerate(zip(DEPTHS, fields, strict=True)):
        _, sigma = by_formula(convolutions((1,) * depth))
        x, fine = np.arange(len(field.profile)) - len(field.profile) // 2, np.linspace(-12, 12, 200)
        gaussian = np.exp(-((fine / sigma) ** 2) / 2) / (sigma * sqrt(2 * np.pi))
        axes.plot(x, field.profile, ".", color=f"C{place}", label=f"{depth} layers")
        axes.plot(fine, gaussian, color=f"C{place}", linewidth=0.8)
    axes.set(title="Equal weights: gradient (dots), Gaussian (lines)", xlabel="inputs from the middle", xlim=(-12, 12))
    axes.legend()


def draw_growth(figure: SubFigure, deep: dict[str, list[Field]]) -> None:
    axes = figure.subplots()
    axes.loglog(DEPTHS, [2 * depth + 1 for depth in DEPTHS], "k-", label="receptive field, 2n + 1")
    for name, fields in deep.items():
        axes.loglog(DEPTHS, [field.effective_side for field in fields], "o-", label=f"effective, {name}")
    axes.loglog(DEPTHS, 3 * np.sqrt(DEPTHS), "k:", label="growth as √n")
    axes.set(title="Side of the field", xlabel="layers of 3×3", xticks=DEPTHS, xticklabels=DEPTHS)
    axes.set(yticks=(5, 10, 20, 40, 80), yticklabels=(5, 10, 20, 40, 80), ylim=(5, 250))
    axes.minorticks_off()
    axes.legend(fontsize=8)


def main() -> None:
    claim = Claim(__file__, __doc__)
    ck.set_seed(claim.seed)
    rows = [row(name, *by_formula(layers), measured(layers)) for name, layers in stacks().items()]

    draws = claim.choose(20, 2)
    kinds: dict[str, Callable[[int], Field]] = {
        "equal weights": lambda depth: measured(convolutions((1,) * depth)),
        "random weights": lambda depth: random_stack(depth, False, draws),
        "random weights and ReLU": lambda depth: random_stack(depth, True, draws),
    }
    deep = {name: [field(depth) for depth in DEPTHS] for name, field in kinds.items()}
    for name, fields in deep.items():
        for depth, field in zip(DEPTHS, fields, strict=True):
            side, sigma = by_formula(convolutions((1,) * depth))
            rows.append(row(f"{depth} × 3×3, {name}", side, sigma if name == "equal weights" else None, field))

    trained, settings = before_and_after_training(claim)
    for name, field in zip(("before", "after"), trained, strict=True):
        rows.append(row(f"8 × 3×3 and ReLU, {name} training", 17, None, field))

    claim.write_table(
        ["layers", "side by formula", "by gradients", "seen of it", "σ by formula", "by gradients", "effective side"],
        rows,
        f"Equal weights in float64; random ones of 8 channels, mean of {draws} draws; the last two rows: 12 channels, "
        f"the middle output on 256 test images, trained {settings}.",
    )
    claim.write_figure(draw(deep, trained))


if __name__ == "__main__":
    main()
