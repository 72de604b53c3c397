"""From measurements to medians, ratios, Markdown tables and JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from .frameworks import CONVKIT, SINGLE
from .goals import Verdict, geometric_mean, medians
from .works import Work

Summary = Mapping[str, Any]

WORST = 5  # single layers that the report lists


def summarize(work: Work, measured: Mapping[str, list[float]], frameworks: Mapping[str, str]) -> dict[str, Any]:
    """Give medians and quartiles of each side, and how far the fastest peer is behind convkit.

    Parameters
    ----------
    work : Work
    measured : mapping
        What each side took, by its name.
    frameworks : mapping
        The framework of each side.

    Returns
    -------
    dict
        "title", "family", "details" of the work; "unit"; "sides": for each side "framework", "median",
        "quartiles", "count"; "best": for each framework the name of its fastest side; "fastest_peer": the
        fastest side of all that are not convkit's; and "ratio": its median over convkit's. The last two are
        None where there is no peer, or no convkit.
    """
    figures: dict[str, dict[str, Any]] = {}
    best: dict[str, str] = {}
    for side, values in measured.items():
        low, median, high = map(float, np.percentile(values, (25, 50, 75)))
        framework = frameworks[side]
        figures[side] = {"framework": framework, "median": median, "quartiles": [low, high], "count": len(values)}
        if framework not in best or median < figures[best[framework]]["median"]:
            best[framework] = side
    peers = [side for framework, side in best.items() if framework != CONVKIT.name]
    fastest = min(peers, key=lambda side: float(figures[side]["median"]), default=None)
    both = fastest is not None and CONVKIT.name in best
    return {
        "title": work.title,
        "family": work.family,
        "details": work.details,
        "unit": "MB" if work.family.endswith("memory") else "ms",
        "sides": figures,
        "best": best,
        "fastest_peer": fastest,
        "ratio": figures[fastest]["median"] / figures[best[CONVKIT.name]]["median"] if both else None,
    }


def headline(summary: Summary) -> str:
    """Say in one line how fast each framework was."""
    unit = summary["unit"]
    best = [f"{name} {figure(summary['sides'][side]['median'])} {unit}" for name, side in summary["best"].items()]
    ratio = "" if summary["ratio"] is None else f" (× {summary['ratio']:.2f})"
    return f"{summary['title']}: {', '.join(best)}{ratio}"


def figure(value: float) -> str:
    """Write a positive number with three digits, or all those before the point."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


# --- Markdown -----------------------------------------------------------------------------------------------


def goal_table(found: Sequence[Verdict]) -> str:
    """Lay out every goal: what was reached, and whether that is enough."""
    rows = [["work", "convkit", "fastest peer", "ratio", "at least", ""]]
    rows.append(["---", "---:", "---:", "---:", "---:", "---"])
    for verdict in found:
        goal, ours, theirs = verdict.goal, "", ""
        if verdict.summary is not None:
            unit = verdict.summary["unit"]
            median, peer, other = medians(verdict.summary)
            ours, theirs = f"{figure(median)} {unit}", f"{figure(other)} {unit}, {peer}"
        if verdict.works > 1:
            decided = "" if verdict.summary is None else f"; lowest: {verdict.summary['title']}"
            goal += f" ({verdict.works} works{decided})"
        ratio = "" if verdict.ratio is None else f"{verdict.ratio:.2f} ×"
        rows.append([goal, ours, theirs, ratio, verdict.bar, "reached" if verdict.reached else "falls short"])
    return _table(rows)


def framework_table(summaries: Sequence[Summary]) -> str:
    """Lay out works about whole networks: the best of every framework."""
    chosen = [summary for summary in summaries if summary["family"] not in SINGLE]
    names = list(dict.fromkeys(name for summary in chosen for name in summary["best"]))
    rows = [["work", *names], ["---", *("---:" for _ in names)]]
    for summary in chosen:
        cells = []
        for name in names:
            side = summary["best"].get(name)
            cells.append(f"{figure(summary['sides'][side]['median'])} {summary['unit']}" if side else "–")
        rows.append([summary["title"], *cells])
    return _table(rows) if chosen else ""


def layer_tables(summaries: Sequence[Summary]) -> str:
    """Lay out single layers: the geometric mean of the ratios for each network, and the worst of all."""
    layers = [summary for summary in summaries if summary["family"] == "conv" and summary["ratio"] is not None]
    if not layers:
        return ""
    operations = list(dict.fromkeys(layer["details"]["op"] for layer in layers))
    batches = list(dict.fromkeys(layer["title"].rpartition(" ")[2] for layer in layers))
    columns = [(operation, batch) for operation in operations for batch in batches]
    networks = sorted({network for layer in layers for network in layer["details"]["networks"]})
    rows = [["network", *(f"{operation} {batch}" for operation, batch in columns)]]
    rows.append(["---", *("---:" for _ in columns)])
    for network in networks:
        rows.append([f"`{network}`", *(_mean_of(layers, network, *column) for column in columns)])
    worst = sorted(layers, key=lambda layer: float(layer["ratio"]))[:WORST]
    return "\n\n".join(
        [
            "Geometric means of PyTorch's time (in its faster layout) over convkit's:",
            _table(rows),
            f"The {len(worst)} lowest of {len(layers)}:",
            operation_table(worst),
        ]
    )


def _mean_of(layers: Sequence[Summary], network: str, operation: str, batch: str) -> str:
    ratios = [
        layer["ratio"]
        for layer in layers
        if network in layer["details"]["networks"]
        and layer["details"]["op"] == operation
        and layer["title"].endswith(f" {batch}")
    ]
    return f"{geometric_mean(ratios):.2f}" if ratios else "–"


def operation_table(summaries: Sequence[Summary]) -> str:
    """Lay out single operations that a peer did, too: medians, ratio, and the rate where the arithmetic is known."""
    rows = [["work", "convkit, ms", "GFLOP/s", "fastest peer", "its ms", "ratio"]]
    rows.append(["---", "---:", "---:", "---", "---:", "---:"])
    for summary in summaries:
        ours, peer, theirs = medians(summary)
        flops = summary["details"].get("flops")
        rate = f"{flops / ours / 1e6:.0f}" if flops else ""
        rows.append([summary["title"], figure(ours), rate, peer, figure(theirs), f"{summary['ratio']:.2f} ×"])
    return _table(rows)


def side_table(summaries: Sequence[Summary]) -> str:
    """Lay out every side of works about whole networks: median and quartiles."""
    rows = [["work", "side", "median", "quartiles", "count"], ["---", "---", "---:", "---:", "---:"]]
    for summary in summaries:
        for name, side in summary["sides"].items():
            low, high = side["quartiles"]
            median = f"{figure(side['median'])} {summary['unit']}"
            rows.append([summary["title"], name, median, f"{figure(low)} – {figure(high)}", str(side["count"])])
    return _table(rows)


def markdown(report: Mapping[str, Any], found: Sequence[Verdict]) -> str:
    """Write the whole report."""
    where, summaries = report["machine"], report["works"]
    operations = [summary for summary in summaries if summary["family"] == "operation" and summary["ratio"]]
    networks = [summary for summary in summaries if summary["family"] not in SINGLE]
    versions = "; ".join(
        f"{name} ({', '.join(' '.join(item) for item in found.items())})" for name, found in report["versions"].items()
    )
    parts = [
        f"{where['processor']}, threads: {report['threads']}, load before {where['load']}, {where['date'][:10]}. "
        "Medians; sides interleaved; the ratio is the fastest peer's time over convkit's.",
        versions,
        *(f"Left out: {name}: {why}" for name, why in report["left_out"].items()),
        *(f"Failed: {failure}" for failure in report["failures"]),
        goal_table(found) if found else "",
        "## Networks\n\n" + framework_table(summaries) if networks else "",
        "## Single layers\n\n" + layer_tables(summaries) if layer_tables(summaries) else "",
        "## Operations\n\n" + operation_table(operations) if operations else "",
        "## Every side\n\n" + side_table(networks) if networks else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


# --- the machine --------------------------------------------------------------------------------------------


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
