"""``python -m benchmarks.compare``: convkit and its peers at the same work, interleaved, in one table."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .driver import ResultsDiffer, SideFailed, compare, start
from .frameworks import CONVKIT, PEERS, Framework, PeerMissing, interpreter
from .report import headline, machine, markdown, markdown_details, summarize
from .works import WORKS


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    chosen: list[tuple[Framework, str]] = [] if options.peers_only else [(CONVKIT, sys.executable)]
    left_out = {}
    for key, framework in PEERS.items():
        try:
            chosen.append((framework, interpreter(key, getattr(options, f"python_{key}"), options.install)))
        except PeerMissing as reason:
            left_out[framework.name] = str(reason)
    if not chosen:
        print("nothing to run:", *(f"{name}: {why}" for name, why in left_out.items()), file=sys.stderr)
        return 2

    where = machine()
    try:
        with start(chosen, options.threads) as sides:
            summaries = []
            for work in WORKS:
                if options.works in work.title:
                    seconds = compare(sides, work, options.rounds, options.warm_up)
                    summaries.append(summarize(work, sides, seconds))
                    print(headline(summaries[-1]), file=sys.stderr)
            versions = {side.framework.name: side.versions for side in sides}
    except (SideFailed, ResultsDiffer) as failure:
        print(failure, file=sys.stderr)
        return 1

    print(f"{where['processor']}, {options.threads} threads, load before {where['load']}, {where['date'][:10]}")
    print("; ".join(f"{name} {found[name]}" for name, found in versions.items()), end="\n\n")
    print(markdown(summaries), markdown_details(summaries), sep="\n\n")
    for name, why in left_out.items():
        print(f"\n{name} is left out: {why}")
    report = {
        "machine": where,
        "threads": options.threads,
        "rounds": options.rounds,
        "versions": versions,
        "left_out": left_out,
        "works": summaries,
    }
    options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    for key, framework in PEERS.items():
        parser.add_argument(f"--python-{key}", metavar="PATH", help=f"interpreter that has {framework.name}")
    parser.add_argument("--install", action="store_true", help="make environments for peers that have none")
    parser.add_argument("--peers-only", action="store_true", help="without convkit")
    parser.add_argument("--works", default="", metavar="TEXT", help="only works with this in their title")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10, help="timed turns of every side")
    parser.add_argument("--warm-up", type=int, default=5, help="untimed steps at the head of a turn")
    parser.add_argument("--json", type=Path, default=Path("comparison.json"), help="where the figures go")
    options = parser.parse_args(arguments)
    if not any(options.works in work.title for work in WORKS):
        parser.error(f"--works {options.works}: no such work; there are {', '.join(w.title for w in WORKS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
