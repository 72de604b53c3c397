"""Make the source say a version, or check that it says the one a tag names.

    python tools/release.py 0.2.0              # write 0.2.0 and today's date into the version file and the changelog
    python tools/release.py 0.3.0.dev0         # after the release: what is written from here on
    python tools/release.py --check v0.2.0     # exit status 1 unless the tag, the version and the changelog agree

The version stands in one file, so an archive without git builds, and says the same.
"""

from __future__ import annotations

import argparse
import re
import sys
from datetime import date
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
UNRELEASED = "## Unreleased"


def version_file(checkout: Path) -> Path:
    return checkout / "src" / "convkit" / "_version.py"


def changelog(checkout: Path) -> Path:
    return checkout / "CHANGELOG.md"


def read_version(checkout: Path) -> str:
    match = re.fullmatch(r'__version__ = "(.+)"\n', version_file(checkout).read_text("utf-8"))
    if match is None:
        raise SystemExit(f"{version_file(checkout)} is not one line: __version__ = ...")
    return match[1]


def write(checkout: Path, version: str, today: date) -> None:
    """A release gets the unreleased changes under its name; the section for new ones stays, empty."""
    if not re.fullmatch(r"\d+\.\d+\.\d+(rc\d+|\.dev0)?", version):
        raise SystemExit(f"{version!r} is no version: expected 1.2.3, 1.2.3rc1 or 1.2.3.dev0")
    if not version.endswith(".dev0"):
        text = changelog(checkout).read_text("utf-8")
        if text.count(f"{UNRELEASED}\n") != 1:
            raise SystemExit(f"CHANGELOG.md needs one section {UNRELEASED!r}")
        text = text.replace(UNRELEASED, f"{UNRELEASED}\n\n## {version} ({today.isoformat()})")
        changelog(checkout).write_text(text, "utf-8")
    version_file(checkout).write_text(f'__version__ = "{version}"\n', "utf-8")


def disagreements(checkout: Path, tag: str) -> list[str]:
    version = read_version(checkout)
    found = []
    if tag != f"v{version}":
        found.append(f"the tag is {tag}, the version {version}")
    if f"\n## {version} (" not in changelog(checkout).read_text("utf-8"):
        found.append(f"CHANGELOG.md has no section {version} with a date")
    return found


def main(arguments: list[str], checkout: Path = CHECKOUT) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("version", nargs="?", help="the version to write")
    what.add_argument("--check", metavar="TAG", help="a tag to compare with")
    options = parser.parse_args(arguments)
    if options.version:
        write(checkout, options.version, date.today())
        return 0
    found = disagreements(checkout, options.check)
    print("\n".join(found) or f"{options.check} it is")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
