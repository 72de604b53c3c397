"""What happened in each epoch of a run."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from typing import Any

from convkit.errors import require
from convkit.files import file_path, write_whole
from convkit.interrupt import held_back

Row = dict[str, float]


class History:
    """A row of figures for each epoch: ``history["loss"]`` is a column, ``history[-1]`` a row.

    A row has ``epoch`` (from 1), ``loss`` and the metrics, the same with ``val_`` before their names for the
    validation data, ``lr`` (the rate of the epoch's last update) and ``seconds``.

    Parameters
    ----------
    rows : list of dict
        Rows to begin with.

    Attributes
    ----------
    rows : list of dict
        The rows.
    interrupted : bool
        Whether the run was ended by Ctrl-C before its last epoch was complete.
    """

    def __init__(self, rows: list[Row] | None = None) -> None:
        self.rows: list[Row] = list(rows or [])
        self.interrupted = False

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, key: str | int) -> Any:
        if isinstance(key, str):
            if key not in self.columns:
                raise KeyError(f"History: there is no {key!r}, only {', '.join(self.columns) or 'no epoch yet'}")
            return [row[key] for row in self.rows if key in row]
        return self.rows[key]

    def __repr__(self) -> str:
        return f"History({len(self)} epochs: {', '.join(self.columns)})"

    @property
    def columns(self) -> list[str]:
        """Names of the figures, in the order in which they came up."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the rows as a CSV file with a header line.

        Parameters
        ----------
        path : path
            The file; it appears whole or not at all.

        Raises
        ------
        TypeError
            For a path that is none.
        """
        file_path("to_csv", "path", path)
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_whole(path, text.getvalue())

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Write the picture of `convkit.plot.training_curves` to a PNG file; Ctrl-C waits until it is drawn.

        Parameters
        ----------
        path : path
            The file; it appears whole or not at all.

        Raises
        ------
        TypeError, ValueError
            For a path that is none; where there is no epoch yet.
        ImportError
            Where matplotlib is missing; the message names the pip command.
        """
        from convkit.plot import training_curves

        file_path("plot", "path", path)
        figures = require("matplotlib.figure", "plot", "drawing the training curves")
        picture = io.BytesIO()
        with held_back():  # what a figure needs to be drawn, matplotlib imports meanwhile
            figure = figures.Figure(figsize=(10, 4), layout="constrained")
            training_curves(self, figure).savefig(picture, format="png", dpi=120)
        write_whole(path, picture.getvalue())
