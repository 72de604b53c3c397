"""What convkit means to reach: a row of the table for each goal, and how it is judged from what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from .frameworks import CONVKIT

Summary = Mapping[str, Any]

# Milliseconds that importing convkit may take beyond importing NumPy.
IMPORT_EXTRA_MS = 30.0


@dataclass(frozen=True)
class Goal:
    """A ratio to reach: the fastest peer's median over convkit's, in each of some works or in their mean.

    Attributes
    ----------
    title : str
    family, works : str
        The family of the works that are judged, and a pattern for their titles.
    at_least : float
    in_the_mean : bool
        Whether the geometric mean of the ratios counts, instead of the lowest.
    """

    title: str
    family: str
    works: str
    at_least: float
    in_the_mean: bool = False

    def is_about(self, summary: Summary) -> bool:
        return summary["family"] == self.family and fnmatchcase(summary["title"], self.works)


GOALS = (
    Goal("training step, batch 64, Adam: `fashion_cnn_small`", "train", "* fashion_cnn_small *", 3.0),
    Goal("training step, batch 64, Adam: `lenet5`", "train", "* lenet5 *", 3.0),
    Goal("training step, batch 64, Adam: `fashion_cnn_large`", "train", "* fashion_cnn_large *", 1.4),
    Goal("epoch, shuffled and converted: `fashion_cnn_small`", "epoch", "* fashion_cnn_small *", 3.0),
    Goal("epoch, shuffled and converted: `lenet5`", "epoch", "* lenet5 *", 3.0),
    Goal("epoch, shuffled and converted: `fashion_cnn_large`", "epoch", "* fashion_cnn_large *", 1.4),
    Goal("inference, batch 64: `fashion_cnn_small`", "infer", "* fashion_cnn_small b64", 3.0),
    Goal("inference, batch 64: `lenet5`", "infer", "* lenet5 b64", 3.0),
    Goal("inference, batch 64: `fashion_cnn_large`", "infer", "* fashion_cnn_large b64", 1.4),
    Goal("inference, batch 1, array to array: `fashion_cnn_small`", "infer", "* fashion_cnn_small b1", 1.5),
    Goal("inference, batch 1, array to array: `lenet5`", "infer", "* lenet5 b1", 1.5),
    Goal("full size, batch 8, SGD: step and inference, geometric mean", "full", "*", 1.0, in_the_mean=True),
    Goal("full size, batch 8, SGD: memory", "full memory", "*", 1.0),
    Goal("single layers, geometric mean", "conv", "*", 1.0, in_the_mean=True),
    Goal("single layers, each", "conv", "*", 0.6),
    Goal("max pooling and its gradient", "operation", "max_pool*", 1.0),
    Goal("average pooling and its gradient", "operation", "avg_pool*", 1.0),
    Goal("ReLU and its gradient", "operation", "relu*", 1.0),
    Goal("tanh and its gradient", "operation", "tanh*", 1.0),
    Goal("sigmoid and its gradient", "operation", "sigmoid*", 1.0),
    Goal("scale and shift of each channel", "operation", "scale_shift*", 1.0),
    Goal("elementwise sum", "operation", "add *", 1.0),
    Goal("elementwise product", "operation", "multiply *", 1.0),
    Goal("softmax and cross-entropy with gradient", "operation", "cross_entropy*", 1.0),
    Goal("im2col", "operation", "im2col*", 1.0),
    Goal("col2im", "operation", "col2im*", 1.0),
    Goal("transposed convolution", "operation", "conv_transpose*", 1.0),
    Goal("dilated convolution and its gradients", "operation", "dilated *", 1.0),
    Goal("2 threads against 1: `fashion_cnn_large`", "threads", "*", 1.8),
    Goal("memory that training `fashion_cnn_large` takes, batch 64", "memory", "*", 2.0),
)


@dataclass(frozen=True)
class Verdict:
    """How a goal was met.

    Attributes
    ----------
    goal : str
        Its title.
    works : int
        How many works were judged.
    summary : mapping or None
        The work that decided: the one with the lowest ratio; None where the mean counts.
    ratio : float or None
        What counts; None where it is no ratio.
    bar : str
        What was to be reached.
    reached : bool
    """

    goal: str
    works: int
    summary: Summary | None
    ratio: float | None
    bar: str
    reached: bool


def geometric_mean(ratios: Sequence[float]) -> float:
    """Average ratios so that "twice as fast" and "half as fast" cancel out."""
    return float(np.exp(np.mean(np.log(ratios))))


def verdicts(summaries: Sequence[Summary]) -> list[Verdict]:
    """Judge every goal whose works were measured on convkit and on a peer."""
    measured = [summary for summary in summaries if summary["ratio"] is not None]
    found = []
    for goal in GOALS:
        matching = [summary for summary in measured if goal.is_about(summary)]
        if matching:
            found.append(_judge(goal, matching))
    return found + [_judge_import(summary) for summary in measured if summary["family"] == "import"]


def _judge(goal: Goal, summaries: Sequence[Summary]) -> Verdict:
    lowest = min(summaries, key=lambda summary: float(summary["ratio"]))
    decided = None if goal.in_the_mean else lowest
    ratio = decided["ratio"] if decided else geometric_mean([summary["ratio"] for summary in summaries])
    return Verdict(goal.title, len(summaries), decided, ratio, f"{goal.at_least:g} ×", ratio >= goal.at_least)


def _judge_import(summary: Summary) -> Verdict:
    ours, _, theirs = medians(summary)
    bar = f"NumPy's + {IMPORT_EXTRA_MS:g} ms"
    return Verdict("`import convkit`", 1, summary, None, bar, ours <= theirs + IMPORT_EXTRA_MS)


def medians(summary: Summary) -> tuple[float, str, float]:
    """Give convkit's median in a work, the name of its fastest peer's side, and that one's median."""
    sides, peer = summary["sides"], summary["fastest_peer"]
    return sides[summary["best"][CONVKIT.name]]["median"], peer, sides[peer]["median"]
