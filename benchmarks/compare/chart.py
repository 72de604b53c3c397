"""``python -m benchmarks.compare.chart comparison.json chart.png``: the comparison as a picture (needs matplotlib)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def draw(report: dict[str, Any], target: Path) -> None:
    """Draw the median of each framework's fastest side, a panel for each work."""
    works = report["works"]
    figure, panels = plt.subplots(1, len(works), figsize=(3.2 * len(works), 2.6), layout="constrained", squeeze=False)
    for panel, work in zip(panels[0], works, strict=True):
        names = list(work["best"])
        medians = [work["sides"][work["best"][name]]["median_ms"] for name in names]
        bars = panel.bar(names, medians, width=0.6, color=["#d1495b", *["#8d99ae"] * (len(names) - 1)])
        panel.bar_label(bars, labels=[f"{median:.1f} ms" for median in medians], padding=2)
        panel.set_title(work["title"], fontsize=10)
        panel.set_ylim(0, 1.18 * max(medians))
        panel.set_yticks([])
        panel.spines[["top", "right", "left"]].set_visible(False)
    figure.suptitle(f"Shorter is better · {report['threads']} threads, {report['machine']['processor']}", fontsize=9)
    figure.savefig(target, dpi=160)


if __name__ == "__main__":
    source, picture = map(Path, sys.argv[1:])
    draw(json.loads(source.read_text(encoding="utf-8")), picture)
