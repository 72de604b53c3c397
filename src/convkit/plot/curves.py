"""Pictures of how well a network does: its figures from epoch to epoch, and which classes it confuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from convkit.data.dataset import class_names
from convkit.errors import require, said, view, whole_numbers
from convkit.plot.canvas import axes_or_new, check_axes, figure_or_new, real_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from convkit.train import History

NO_CURVE = ("epoch", "lr", "seconds")
MOST_CLASSES = 1000  # of a confusion matrix, as ImageNet has


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
    TypeError
        For a history or a figure that is none.
    ValueError
        For a history without an epoch.
    ImportError
        Where matplotlib is missing; the message names the pip command.
    """
    _check(history, figure)
    names = [name for name in history.columns if not name.startswith("val_") and name not in NO_CURVE]
    if not names:
        raise ValueError("training_curves: history has no epoch yet")
    with figure_or_new("training_curves", figure, (5 * len(names), 4)) as figure:
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
        The true classes, of which there are at most 1,000.
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
        For labels that are not integers, classes that are not names and Axes that are none.
    ValueError
        For labels and predictions that do not fit each other, go beyond the names given, or are of too many classes.
    ImportError
        Where matplotlib is missing; the message names the pip command.
    """
    check_axes("confusion_matrix", ax)
    names = None if classes is None else class_names("confusion_matrix", classes)
    given, taken = view("confusion_matrix", "labels", labels), view("confusion_matrix", "predictions", predictions)
    counts = _confusion(given, taken, None if names is None else len(names))
    if names is None:
        names = tuple(str(label) for label in range(len(counts)))
    side = 2 + 0.5 * len(counts)
    with axes_or_new("confusion_matrix", ax, (side, side)) as ax:
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


def _check(history: Any, figure: Figure | SubFigure | None) -> None:
    """Refuse what is no History, and what is neither None nor a figure."""
    from convkit.train.history import History  # which draws with these functions

    if not isinstance(history, History):
        raise TypeError(f"training_curves: history must be a History, as Trainer.fit returns, not {said(history)}")
    kind = None if figure is None else require("matplotlib.figure", "plot", "plot.training_curves").FigureBase
    if kind and not isinstance(figure, kind):
        raise TypeError(f"training_curves: figure must be a matplotlib figure, not {said(figure)}")


def _confusion(labels: np.ndarray, predictions: np.ndarray, classes: int | None) -> np.ndarray:
    """(classes, classes) counts: row the true class, column the predicted one."""
    if predictions.ndim == 2:
        scores = real_numbers("confusion_matrix", "predictions", predictions)
        if not scores.shape[1]:
            raise ValueError(f"confusion_matrix: predictions must be a score for each class, not {scores.shape}")
        classes = scores.shape[1] if classes is None else classes
        predictions = scores.argmax(1)
    labels = whole_numbers("confusion_matrix", "labels", labels)
    predictions = whole_numbers("confusion_matrix", "predictions", predictions)
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
    if classes > MOST_CLASSES:
        raise ValueError(f"confusion_matrix: labels must be of at most {MOST_CLASSES} classes, not {classes}")
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts
