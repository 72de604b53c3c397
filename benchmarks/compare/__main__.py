"""``python -m benchmarks.compare``: convkit and its peers at the same works, interleaved, in one table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from convkit.errors import require

from .driver import ResultsDiffer, SideFailed, Sides, measure
from .frameworks import CONVKIT, ONE_THREAD, PEERS, Framework, PeerMissing, interpreter
from .goals import verdicts
from .operations import operation_works
from .report import headline, machine, markdown, summarize
from .works import Work, full_works, import_work, network_works


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    works = list(chosen_works(options.only, options.rounds, options.quick))
    if not works:
        print(f"--only {' '.join(options.only)}: no such work", file=sys.stderr)
        return 2
    if options.png:
        require("matplotlib", "plot", "--png")  # now, and not after all has been measured
    chosen: list[tuple[Framework, str]] = []
    if not options.peers_only:
        chosen += [(CONVKIT, sys.executable), (ONE_THREAD, sys.executable)]
    left_out = {}
    for key, framework in PEERS.items():
        try:
            chosen.append((framework, interpreter(key, getattr(options, f"python_{key}"), options.install)))
        except PeerMissing as reason:
            left_out[framework.name] = str(reason)

    where = machine()
    summaries, failures = [], []
    with Sides(chosen, options.threads) as sides:
        for work in works:
            try:
                measured, frameworks = measure(sides, work)
            except (SideFailed, ResultsDiffer) as failure:
                failures.append(f"{work.title}: {failure}")
                print(failures[-1], file=sys.stderr)
                continue
            summaries.append(summarize(work, measured, frameworks))
            print(headline(summaries[-1]), file=sys.stderr)
    report = {
        "machine": where,
        "threads": options.threads,
        "versions": sides.versions,
        "left_out": left_out | sides.left_out,
        "failures": failures,
        "works": summaries,
    }
    text = markdown(report, verdicts(summaries))
    print(text)
    options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if options.markdown:
        options.markdown.write_text(text, encoding="utf-8")
    if options.png:
        from .chart import draw

        draw(report, options.png)
    return 1 if failures else 0


def chosen_works(patterns: Sequence[str], rounds: int | None, quick: bool) -> Iterable[Work]:
    """Give the works whose titles fit one of the patterns (all without any), shortened as asked."""
    for work in (*network_works(), *full_works(), import_work(), *operation_works()):
        if patterns and not any(fnmatchcase(work.title, pattern) for pattern in patterns):
            continue
        if quick:
            yield replace(work, rounds=rounds or 1, steps=min(work.steps, 2), warm_up=min(work.warm_up, 1))
        else:
            yield replace(work, rounds=rounds or work.rounds)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    for key, framework in PEERS.items():
        parser.add_argument(f"--python-{key}", metavar="PATH", help=f"interpreter that has {framework.name}")
    parser.add_argument("--install", action="store_true", help="make environments for peers that have none")
    parser.add_argument("--peers-only", action="store_true", help="without convkit")
    parser.add_argument(
        "--only", action="append", default=[], metavar="GLOB", help="only works with such a title: 'train*', '* b1'"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, metavar="N", help="timed turns of every side (each work has its own)")
    parser.add_argument("--quick", action="store_true", help="one short turn of each: whether all works, not how fast")
    parser.add_argument("--json", type=Path, default=Path("comparison.json"), metavar="FILE", help="all figures")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the tables, as they are printed")
    parser.add_argument("--png", type=Path, metavar="FILE", help="a chart of the networks (needs matplotlib)")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
