"""Who is compared: convkit and its peers, the variants of each, and the environments they run in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SINGLE = ("conv", "operation")  # the families of single layers and operations
FULL = ("full", "full memory")  # those of networks for images of full size


@dataclass(frozen=True)
class Variant:
    """A way to run a framework.

    Attributes
    ----------
    name : str
        What tables put in brackets behind the framework's name; may be empty.
    families : tuple of str
        The families of works in which it takes part. Of a framework's variants the fastest counts.
    options : mapping
        What its sessions are told.
    """

    name: str
    families: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Framework:
    """A framework and the ways it is run.

    Attributes
    ----------
    name : str
        As the tables print it.
    module : str
        What its interpreter runs: a file of `sides`.
    variants : tuple of Variant
    requirements : tuple of str
        What pip installs into an environment of its own.
    threads : int, optional
        How many threads it uses, where that is not for the user to say.
    """

    name: str
    module: str
    variants: tuple[Variant, ...]
    requirements: tuple[str, ...] = ()
    threads: int | None = None


def _torch(name: str, *families: str, **options: bool) -> Variant:
    defaults = {"channels_last": "channels_last" in name, "fused": "fused" in name, "compiled": "compiled" in name}
    return Variant(name, families, defaults | options)


CONVKIT = Framework(
    "convkit",
    "benchmarks.compare.sides.convkit_side",
    (Variant("", ("train", "epoch", "infer", "threads", "memory", *FULL, *SINGLE)),),
)

# A peer in the works about threads: every framework would do, but only convkit's gain is looked at.
ONE_THREAD = Framework(
    "convkit, 1 thread", "benchmarks.compare.sides.convkit_side", (Variant("", ("threads",)),), threads=1
)

PEERS = {
    "torch": Framework(
        "PyTorch",
        "benchmarks.compare.sides.torch_side",
        (
            _torch("NCHW, Adam", "train"),
            _torch("NCHW, fused Adam", "train", "epoch", "memory"),
            _torch("channels_last, Adam", "train"),
            _torch("channels_last, fused Adam", "train", "epoch", "memory"),
            _torch("compiled, NCHW, fused Adam", "train"),
            _torch("compiled, channels_last, fused Adam", "train"),
            _torch("NCHW", "infer", *FULL, *SINGLE),
            _torch("channels_last", "infer", *FULL, *SINGLE),
            _torch("compiled, NCHW", "infer"),
            _torch("compiled, channels_last", "infer"),
        ),
        ("torch==2.13.0", "numpy>=2"),
    ),
    "tf": Framework(
        "TensorFlow",
        "benchmarks.compare.sides.tensorflow_side",
        (
            Variant("fused Adam", ("train", "epoch"), {"fused": True}),
            Variant("Keras' Adam", ("train",), {"fused": False}),
            Variant("", ("infer",)),
        ),
        ("tensorflow==2.21.0", "numpy>=2"),
    ),
    "jax": Framework(
        "JAX",
        "benchmarks.compare.sides.jax_side",
        (Variant("", ("train", "epoch", "infer")),),
        ("jax==0.10.2", "numpy>=2"),
    ),
    "ort": Framework(
        "onnxruntime",
        "benchmarks.compare.sides.onnxruntime_side",
        (Variant("", ("infer",)),),
        ("onnxruntime==1.32.0", "onnx==1.23.2", "numpy>=2"),
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
