"""Who is compared: convkit and its peers, the variants of each, and the environments they run in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Framework:
    """A framework and the ways it is run.

    Attributes
    ----------
    name : str
        As the tables print it.
    module : str
        What its interpreter runs: a file of `sides`.
    variants : dict
        Options of its sessions, by the name of the variant. The fastest one counts.
    requirements : tuple of str
        What pip installs into an environment of its own.
    """

    name: str
    module: str
    variants: dict[str, dict[str, Any]]
    requirements: tuple[str, ...] = ()


CONVKIT = Framework("convkit", "benchmarks.compare.sides.convkit_side", {"": {}})

PEERS = {
    "torch": Framework(
        "PyTorch",
        "benchmarks.compare.sides.torch_side",
        {
            "NCHW, Adam": {"channels_last": False, "fused": False},
            "NCHW, fused Adam": {"channels_last": False, "fused": True},
            "channels_last, Adam": {"channels_last": True, "fused": False},
            "channels_last, fused Adam": {"channels_last": True, "fused": True},
        },
        ("torch==2.13.0", "numpy>=2"),
    ),
}


class PeerMissing(Exception):
    """A peer has no environment; the message says why."""


def interpreter(key: str, given: str | None, install: bool) -> str:
    """Find the Python interpreter of a peer.

    Parameters
    ----------
    key : str
        A key of `PEERS`.
    given : str or None
        The interpreter that the user named.
    install : bool
        Whether to create the peer's environment where there is none.

    Raises
    ------
    PeerMissing
        If there is no such interpreter, no environment, or pip could not fill one.
    """
    if given is not None:
        if shutil.which(given) is None:
            raise PeerMissing(f"--python-{key} {given}: no such program")
        return given
    folder = _environments() / key
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    ready = folder / "ready"  # written last, so that a half-filled environment is not taken for a whole one
    requirements = "\n".join(PEERS[key].requirements)
    if ready.is_file() and ready.read_text(encoding="utf-8") == requirements:
        return str(python)
    if not install:
        raise PeerMissing(f"no environment: give --python-{key} PATH, or --install")
    venv.create(folder, with_pip=True, clear=True)
    pip = subprocess.run([python, "-m", "pip", "install", "--quiet", *PEERS[key].requirements])
    if pip.returncode:
        raise PeerMissing(f"pip could not install {' '.join(PEERS[key].requirements)}")
    ready.write_text(requirements, encoding="utf-8")
    return str(python)


def _environments() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "convkit" / "peers"
