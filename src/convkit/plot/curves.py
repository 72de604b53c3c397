"""Pictures of how well a network does: its figures from epoch to epoch, and which classes it confuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from convkit.errors import view
from convkit.plot.canvas import axes_or_new, figure_or_new

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from convkit.train import History

NO_CURVE = ("epoch", "lr", "seconds")


def training_curves(history: History, figure: Figure | None = None) -> Figure:
    """Draw loss and metrics over the epochs, training beside validation: one Axes for each.

    Parameters
    ----------
    history : History
        What `Trainer.fit` returns.
    figure : matplotlib.figure.Figure, optional
        Where to draw; by default a new one.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For a history without an epoch.
    ImportError
        Where matplotlib is missing; the message names the pip command.
    """
    names = [name for name in history.columns if not name.startswith("val_") and name not in NO_CURVE]
    if not names:
        raise ValueError("training_curves: history has no epoch yet")
    figure = figure_or_new("training_curves", figure, (5 * len(names), 4))
    for place, name in enumerate(names, start=1):
        ax = figure.add_subplot(1, len(names), place)
        for column, label in ((name, "training"), (f"val_{name}", "validation")):
            drawn = [(row["epoch"], row[column]) for row in history if column in row]
            if drawn:
                ax.plot(*zip(*drawn, strict=True), marker=".", label=label)
        ax.set(title=name, xlabel="epoch")
        ax.locator_params(axis="x", integer=True)
        ax.grid(alpha=0.3)
        ax.legend()
    return figure


def confusion_matrix(
    labels: Any, predictions: Any, classes: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw how often each class (rows) was taken for each (columns).

    Colours are shares of the row, numbers are counts; the diagonal is what was right.

    Parameters
    ----------
    labels : array of integers (N,)
        The true classes.
    predictions : array of integers (N,), or of scores (N, classes)
        What they were taken for; of scores the largest counts.
    classes : sequence of str, optional
        Their names; by default their numbers.
    ax : matplotlib.axes.Axes, optional
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    TypeError
        For labels that are not integers.
    ValueError
        For labels and predictions that do not fit each other, or go beyond the names given.
    ImportError
        Where matplotlib is missing; the message names the pip command.
    """
    given, taken = view("confusion_matrix", "labels", labels), view("confusion_matrix", "predictions", predictions)
    counts = _confusion(given, taken, None if classes is None else len(classes))
    names = list(classes) if classes is not None else [str(label) for label in range(len(counts))]
    side = 2 + 0.5 * len(counts)
    ax = axes_or_new("confusion_matrix", ax, (side, side))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for true, taken in np.argwhere(counts > 0):
        ax.text(
            taken,
            true,
            f"{counts[true, taken]}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if shares[true, taken] > 0.5 else "black",
        )
    places = range(len(names))
    ax.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(places, names)
    ax.set(xlabel="taken for", ylabel="is")
    return ax


def _confusion(labels: np.ndarray, predictions: np.ndarray, classes: int | None) -> np.ndarray:
    """(classes, classes) counts: row the true class, column the predicted one."""
    if predictions.ndim == 2:
        classes = predictions.shape[1] if classes is None else classes
        predictions = predictions.argmax(1)
    for name, values in (("labels", labels), ("predictions", predictions)):
        if values.dtype.kind not in "iu":
            raise TypeError(f"confusion_matrix: {name} must be integers, not {values.dtype}")
    if labels.ndim != 1 or labels.shape != predictions.shape:
        raise ValueError(
            "confusion_matrix: labels and predictions must have one length (N,), "
            f"not shapes {labels.shape} and {predictions.shape}"
        )
    both = np.concatenate([labels, predictions])
    if classes is None:
        classes = int(both.max(initial=0)) + 1
    if both.size and not 0 <= both.min() <= both.max() < classes:
        found = f"{both.min()} … {both.max()}"
        raise ValueError(f"confusion_matrix: labels must be 0 … {classes - 1} for {classes} classes, but are {found}")
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts
