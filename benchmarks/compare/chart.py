"""The comparison as a picture: ``python -m benchmarks.compare.chart comparison.json chart.png [GLOB]``.

A panel for each work about whole networks; with a pattern, for those whose titles fit it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from convkit.errors import require

from .frameworks import CONVKIT
from .report import figure

COLUMNS = 3
PANELS = ("train", "epoch", "infer")  # the families that are drawn
OURS, OTHERS = "#d1495b", "#8d99ae"


def draw(report: Mapping[str, Any], target: Path, pattern: str = "*") -> None:
    """Draw the median of each framework's fastest side, a panel for each work.

    Raises
    ------
    ImportError
        Where matplotlib is missing; the message names the pip command.
    """
    figures = require("matplotlib.figure", "plot", "drawing the comparison")
    works = [work for work in report["works"] if work["family"] in PANELS and fnmatchcase(work["title"], pattern)]
    rows = -(-len(works) // COLUMNS)
    canvas = figures.Figure(figsize=(3.4 * COLUMNS, 2.4 * max(rows, 1)), layout="constrained")
    panels = canvas.subplots(max(rows, 1), COLUMNS, squeeze=False).flat
    for panel, work in zip(panels, works, strict=False):
        names = list(work["best"])
        medians = [work["sides"][work["best"][name]]["median"] for name in names]
        colors = [OURS if name == CONVKIT.name else OTHERS for name in names]
        bars = panel.barh(names, medians, height=0.6, color=colors)
        panel.bar_label(bars, labels=[f"{figure(median)} {work['unit']}" for median in medians], padding=2, fontsize=8)
        panel.set_title(work["title"], fontsize=9)
        panel.set_xlim(0, 1.3 * max(medians))
        panel.invert_yaxis()
    for panel in canvas.axes:
        panel.set_xticks([])
        panel.tick_params(labelsize=8, length=0)
        panel.spines[["top", "right", "bottom"]].set_visible(False)
    for panel in canvas.axes[len(works) :]:
        panel.set_visible(False)
    canvas.suptitle(f"Shorter is better · threads: {report['threads']}, {report['machine']['processor']}", fontsize=9)
    canvas.savefig(target, dpi=160)


if __name__ == "__main__":
    source, picture, *patterns = sys.argv[1:]
    draw(json.loads(Path(source).read_text(encoding="utf-8")), Path(picture), *patterns)
