"""From seconds to medians, ratios, a Markdown table and JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from .driver import Side
from .frameworks import CONVKIT
from .works import Work


def summarize(work: Work, sides: Sequence[Side], seconds: Mapping[str, list[float]]) -> dict[str, Any]:
    """Give medians and quartiles of each side in milliseconds, and how far each peer is behind convkit.

    Returns
    -------
    dict
        "work": the work; "sides": for each side "framework", "variant", "median_ms", "quartiles_ms", "steps";
        "best": for each framework the name of its fastest side; with convkit among the sides also
        "ratios": for each peer, its best median over convkit's.
    """
    figures: dict[str, dict[str, Any]] = {}
    best: dict[str, str] = {}
    for side in sides:
        low, median, high = np.percentile(seconds[side.name], (25, 50, 75)) * 1e3
        figures[side.name] = {
            "framework": side.framework.name,
            "variant": side.variant,
            "median_ms": median,
            "quartiles_ms": [low, high],
            "steps": len(seconds[side.name]),
        }
        champion = best.get(side.framework.name)
        if champion is None or median < figures[champion]["median_ms"]:
            best[side.framework.name] = side.name
    summary: dict[str, Any] = {"work": work.as_dict(), "title": work.title, "sides": figures, "best": best}
    if CONVKIT.name in best:
        ours = figures[best[CONVKIT.name]]["median_ms"]
        summary["ratios"] = {
            name: figures[side]["median_ms"] / ours for name, side in best.items() if name != CONVKIT.name
        }
    return summary


def headline(summary: Mapping[str, Any]) -> str:
    """Say in one line how a work went: the best median of every framework."""
    best = (f"{name} {summary['sides'][side]['median_ms']:.3g} ms" for name, side in summary["best"].items())
    return f"{summary['title']}: {', '.join(best)}"


def markdown(summaries: Sequence[Mapping[str, Any]]) -> str:
    """Lay out the best of every framework, a work a row; the ratio is to the fastest peer of all."""
    names = list(summaries[0]["best"])
    rows = [["work", *(f"{name}, ms" for name in names), "fastest peer", "ratio"]]
    rows.append(["---", *("---:" for _ in names), "---", "---:"])
    for summary in summaries:
        medians = {name: summary["sides"][side]["median_ms"] for name, side in summary["best"].items()}
        peers = {name: median for name, median in medians.items() if name != CONVKIT.name}
        fastest = min(peers, key=peers.__getitem__) if peers else None
        ratio = summary.get("ratios", {}).get(fastest)
        rows.append(
            [
                summary["title"],
                *(f"{medians[name]:.3g}" for name in names),
                summary["best"][fastest] if fastest else "–",
                f"{ratio:.2f} ×" if ratio else "–",
            ]
        )
    return _table(rows)


def markdown_details(summaries: Sequence[Mapping[str, Any]]) -> str:
    """Lay out every side of every work: median and quartiles."""
    rows = [["work", "side", "median, ms", "quartiles, ms"], ["---", "---", "---:", "---:"]]
    for summary in summaries:
        for name, side in summary["sides"].items():
            low, high = side["quartiles_ms"]
            rows.append([summary["title"], name, f"{side['median_ms']:.3g}", f"{low:.3g} – {high:.3g}"])
    return _table(rows)


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def machine() -> dict[str, Any]:
    """Say where and when this runs, and how busy the machine is already: figures need an idle one."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())
