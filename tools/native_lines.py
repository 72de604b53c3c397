"""Of the lines of native code that tests reach: a table, with the lines that none reaches (tools/coverage.sh).

    python tools/native_lines.py lines.json

The file is what `gcovr --json` writes.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

CYTHON = (".pyx", ".pxd")


def lines_of(file: dict) -> dict[int, bool]:
    """The lines of a file, and whether they were run.

    A line of C counts for float and for double, so both must have been run. A line of Cython has code of several
    functions, some of which Cython adds for itself, and what it adds in the end stands at lines without code.
    """
    runs: dict[int, dict[str, bool]] = defaultdict(lambda: defaultdict(bool))
    for line in file["lines"]:
        runs[line["line_number"]][line.get("function_name", "")] |= line["count"] > 0
    if not file["file"].endswith(CYTHON):
        return {number: all(of_each.values()) for number, of_each in runs.items()}
    text = ["", *Path(file["file"]).read_text("utf-8").splitlines()]
    code = {number for number, line in enumerate(text) if line.strip() and not line.lstrip().startswith(("#", '"'))}
    return {number: any(of_each.values()) for number, of_each in runs.items() if number in code}


def ranges(numbers: list[int]) -> str:
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def main(report: str) -> None:
    counts = {"Cython": [0, 0], "C": [0, 0]}
    for file in json.loads(Path(report).read_text("utf-8"))["files"]:
        lines = lines_of(file)
        missed = [number for number, run in lines.items() if not run]
        print(f"{Path(file['file']).name:24}{len(lines):6}{len(missed):6}   {ranges(missed)}")
        language = counts["Cython" if file["file"].endswith(CYTHON) else "C"]
        language[0] += len(lines)
        language[1] += len(missed)
    for language, (total, missed) in counts.items():
        print(f"{language}: {total - missed} of {total} lines, {100 * (1 - missed / total):.1f} %")


if __name__ == "__main__":
    main(sys.argv[1])
