"""What wheels weigh beside the samples, and that they hold nothing that only a build needs.

    python tools/check_wheel.py dist/*.whl

The exit status is 1 if one is too large, or holds too much or too little.
"""

from __future__ import annotations

import sys
from fnmatch import fnmatch
from pathlib import Path
from zipfile import ZipFile

LIMIT = 2_000_000  # bytes
SAMPLES = "convkit/data/samples/"
ONLY_FOR_BUILDS = ("*.pyx", "*.c", "*.inc.h")
LICENCES = ("LICENSE", "LICENSE-bundled.md")  # the second for the OpenMP runtime that wheels bring along


def faults(wheel: Path) -> list[str]:
    """Print where the bytes of a wheel are, and return what is wrong with it."""
    with ZipFile(wheel) as archive:
        entries = archive.infolist()
    samples = sum(entry.compress_size for entry in entries if entry.filename.startswith(SAMPLES))
    libraries = [entry for entry in entries if fnmatch(entry.filename, "*.so*") or entry.filename.endswith(".pyd")]
    native = sum(entry.compress_size for entry in libraries)
    size = wheel.stat().st_size - samples
    print(f"{wheel.name}: {size:,} bytes, {native:,} of them native code; and {samples:,} of samples")
    found = [f"{size:,} bytes beside the samples are more than {LIMIT:,}"] if size > LIMIT else []
    names = [entry.filename for entry in entries]
    found += [f"holds {name}" for name in names if any(fnmatch(name, pattern) for pattern in ONLY_FOR_BUILDS)]
    found += [f"lacks {name}" for name in LICENCES if not any(fnmatch(path, f"*/licenses/{name}") for path in names)]
    return found


def main(wheels: list[str]) -> int:
    wrong = [f"{wheel}: {fault}" for wheel in wheels for fault in faults(Path(wheel))]
    print(*wrong, sep="\n", file=sys.stderr, end="\n" if wrong else "")
    return 1 if wrong or not wheels else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
