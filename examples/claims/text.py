"""A one-dimensional convolution over characters: its kernels are detectors of short strings.

The claim: convolution along one axis suits text, too; a kernel that spans five characters learns to answer to strings
of five, wherever they are. Here 64 characters are shown, one channel for each character, and the network is to say
whether they come from the code, the docstrings or the comments of a Python program. The text is Python's own standard
library, so every reader has it; networks are tested on modules that they were not trained on. The comparison: a dense
network on the same characters and places, and a linear one that only counts characters.
"""

from __future__ import annotations

import ast
import os
import platform
import tokenize
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from common import Claim, train
from convkit import functional as F
from convkit import nn

KINDS = ("code", "docstrings", "comments")
LENGTH = 64
CHARACTERS = [chr(code) for code in range(32, 127)]  # a channel for each, and one for all others
KERNEL = 5

DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
Texts = tuple[np.ndarray, np.ndarray, list[str]]


def parts_of(module: Path) -> dict[str, str]:
    """The code, docstrings and comments of a module, each run of white space one space."""
    tree = ast.parse(module.read_bytes())
    docstrings = []
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and (docstring := ast.get_docstring(node)):
            docstrings.append(docstring)
            node.body = node.body[1:] or [ast.Pass()]
    with tokenize.open(module) as lines:
        tokens = tokenize.generate_tokens(lines.readline)
        comments = [token.string.strip("#!-= ") for token in tokens if token.type == tokenize.COMMENT]
    raw = zip(KINDS, (ast.unparse(tree), " ".join(docstrings), " ".join(comments)), strict=True)
    return {kind: " ".join(text.split()) for kind, text in raw}


def pieces(modules: Sequence[Path]) -> Iterator[tuple[str, int]]:
    """Pieces of 64 characters and the number of their kind."""
    for module in modules:
        for kind, text in parts_of(module).items():
            for start in range(0, len(text) - LENGTH + 1, LENGTH):
                yield text[start : start + LENGTH], KINDS.index(kind)


def encoded(texts: Sequence[str]) -> np.ndarray:
    """A channel for each character: uint8 (count, 96, 64), 255 where it stands, which networks read as 1."""
    codes = np.array([[ord(character) for character in text] for text in texts]) - 32
    channel = np.where((codes >= 0) & (codes < len(CHARACTERS)), codes, len(CHARACTERS))
    return np.uint8(255) * (channel[:, None] == np.arange(len(CHARACTERS) + 1)[:, None])


def balanced(modules: Sequence[Path], most: int, rng: np.random.Generator) -> Texts:
    """As many pieces of each kind, in random order: encoded, their kinds, and as they read."""
    texts, kinds = map(np.array, zip(*pieces(modules), strict=True))
    each = min(most // len(KINDS), *np.bincount(kinds))
    chosen = np.concatenate([rng.permutation(np.flatnonzero(kinds == kind))[:each] for kind in range(len(KINDS))])
    rng.shuffle(chosen)
    return encoded(texts[chosen]), kinds[chosen], list(texts[chosen])


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(len(CHARACTERS) + 1, 48, KERNEL), nn.ReLU(), nn.GlobalMaxPool(), nn.Linear(48, len(KINDS))
    )


def dense() -> nn.Module:
    inputs = (len(CHARACTERS) + 1) * LENGTH
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 48), nn.ReLU(), nn.Linear(48, len(KINDS)))


class Counting(nn.Module):
    """A linear layer on how often each character occurs."""

    def __init__(self) -> None:
        self.linear = nn.Linear(len(CHARACTERS) + 1, len(KINDS))

    def forward(self, x: Any) -> Any:
        return self.linear(F.global_avg_pool(x) * LENGTH)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "convolution over 5 characters, maximum over places": convolutional,
    "dense, on characters and places": dense,
    "linear, on counts of characters": Counting,
}


def strings_found(answers: np.ndarray, texts: Sequence[str], count: int) -> list[str]:
    """The different strings in the texts to which a kernel answers most; answers: (texts, places)."""
    strongest = np.argsort(-answers, axis=None)[:1000]
    places = zip(*np.unravel_index(strongest, answers.shape), strict=True)
    return list(dict.fromkeys(texts[text][start : start + KERNEL].replace(" ", "␣") for text, start in places))[:count]


def kernels_by_kind(model: nn.Module, test: Texts, kernels: int, strings: int) -> list[list[str]]:
    """A line for each of the kernels that speak for a kind most: their vote, and the strings they answer to."""
    x, _, texts = test
    state = model.state_dict()
    answers = F.conv1d(np.float32(x / 255), state["0.weight"])  # (texts, kernels, places)
    votes = state["3.weight"] - state["3.weight"].mean(0)  # (kinds, kernels)

    def line(vote: np.ndarray, kernel: int) -> str:
        return f"{vote[kernel]:+.2f}  {' '.join(strings_found(answers[:, kernel], texts, strings))}"

    return [[line(vote, kernel) for kernel in np.argsort(-vote)[:kernels]] for vote in votes]


def draw(accuracies: dict[str, np.ndarray], found: list[list[str]]) -> Figure:
    figure = Figure(figsize=(12, 3.6))
    left, right = figure.subfigures(1, 2, width_ratios=(2, 7))
    axes = left.subplots()
    for place, percent in enumerate(accuracies.values()):
        axes.bar(place, percent.mean(), color=f"C{place}", alpha=0.5)
        axes.plot(np.full(len(percent), place), percent, "o", color=f"C{place}", markersize=4)
    axes.set(title="64 characters: which kind of text?", ylabel="test accuracy, %", ylim=(100 / len(KINDS), 100))
    axes.set(xticks=range(3), xticklabels=("convolution", "dense", "counts"))

    right.suptitle("Kernels that speak for a kind most: their vote, and the strings that they answer to", fontsize=10)
    for axes, kind, lines in zip(right.subplots(1, len(KINDS)), KINDS, found, strict=True):
        axes.set_axis_off()
        axes.set_title(kind)
        for row, line in enumerate(lines):
            axes.text(0, 0.95 - row / len(lines), line, family="monospace", fontsize=8, va="top", parse_math=False)
    return figure


def main() -> None:
    claim = Claim(__file__, __doc__)
    modules = sorted(Path(os.__file__).parent.glob("*.py"))[: claim.choose(None, 40)]
    rng = np.random.default_rng(claim.seed)
    most, most_test = claim.choose((15_000, 3_000), (300, 150))
    training = balanced([module for place, module in enumerate(modules) if place % 4], most, rng)
    test = balanced(modules[::4], most_test, rng)
    epochs, seeds = claim.choose(6, 1), claim.choose(3, 1)

    accuracies, rows = {}, []
    for name, build in NETWORKS.items():
        runs = [train(build, training[:2], test[:2], epochs=epochs, seed=claim.seed + i) for i in range(seeds)]
        percent = 100 * np.array([run.history["val_accuracy"] for run in runs])
        accuracies[name] = percent[:, -1]
        if build is convolutional:
            found = kernels_by_kind(runs[0].model, test, 8, 4)
        size = sum(parameter.size for parameter in runs[0].model.parameters().values())
        on_training = 100 * np.mean([run.history[-1]["accuracy"] for run in runs])
        last = accuracies[name]
        rows.append([name, f"{size:,}", f"{on_training:.1f}%", f"{last.mean():.1f}% ± {np.ptp(last) / 2:.1f}%"])

    claim.write_table(
        ["network", "parameters", "training accuracy", "test accuracy"],
        rows,
        f"{len(modules)} modules of the standard library of Python {platform.python_version()}, every fourth for "
        f"testing; {len(training[1]):,} training and {len(test[1]):,} test pieces, a third of each kind; {epochs} "
        f"epochs, batch 64, Adam with rate 0.001; mean ± half the range of {seeds} seeds; chance is 33.3%.",
    )
    claim.write_figure(draw(accuracies, found))


if __name__ == "__main__":
    main()
