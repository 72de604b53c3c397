"""Weights and training runs in files of the safetensors format, which holds arrays and text and no code.

A model's file has the arrays of ``model.state_dict()`` under their own names, and one entry of metadata,
``convkit``: JSON with the architecture's name and arguments (for models of `convkit.models`), the classes,
the shape of one input and the dtype. A training checkpoint is such a file with more in it: the arrays of
``step.state_dict()`` (optimiser slots and count, from which schedule and dropout go on) under names that
begin with ``step/``, and the run's position, seed, history and callbacks in the same JSON under
``training``. So every function here reads both.

Files appear whole or not at all, and the checkpoint before the last one is kept beside it. The JSON has the SHA-256 of
itself and of all arrays: a file that some disk or copy has damaged is refused, and a run goes on from the one before.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

from convkit._version import __version__
from convkit.files import FilePath, check_regular, file_path, parse_json, write_whole
from convkit.nn.init import at_most
from convkit.nn.module import Module, check_module
from convkit.nn.state import arranged

if TYPE_CHECKING:
    from convkit.graph.step import CompiledStep

FORMAT = 2  # raised when a file of today could no longer be read, or not be checked, as one of then
_UNSUMMED = 1  # the format that had no checksum
_STEP = "step/"
_SPARE = 1 << 20  # bytes that writing takes beside its copies, at most
_PIECE = 1 << 20  # bytes read at once from a file that is only tried

# What safetensors calls the dtypes that parameters, buffers and counts can be read from; NumPy has all but BF16.
_BFLOAT16 = "BF16"
_DTYPES = ("F16", "F32", "F64", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "BOOL")

# The entries of the JSON, and of a training run's position in it, with their types.
_ABOUT = {
    "architecture": (dict, NoneType),
    "classes": (list, NoneType),
    "dtype": (str,),
}
PROGRESS = {
    "settings": (dict,),
    "epoch": (int,),
    "batch": (int,),
    "means": (dict,),
    "history": (list,),
    "callbacks": (dict,),
}


def save(model: Module, path: FilePath) -> None:
    """Write a model's weights, and what it takes to build it again, to a safetensors file.

    Parameters
    ----------
    model : Module
        The model.
    path : path
        The file, by custom ``*.safetensors``; its folder is made where it is missing.

    Raises
    ------
    TypeError
        For a model that is no Module, and a path that is none.
    OSError
        When the file cannot be written; a file that was there stays as it was.
    """
    _check_arguments("save", model, path)
    _write(path, model.state_dict(), _description(model))


def load(model: Module, path: FilePath, *, match: str = "name") -> None:
    """Read weights from a safetensors file into a model that has the same parameters.

    Files of other libraries will do, such as ``safetensors.torch.save_file(module.state_dict(), path)``.

    Parameters
    ----------
    model : Module
        The model that takes the weights, converted to its dtype (which is exact for float16 and bfloat16).
    path : path
        A file of `save`, a training checkpoint, or any safetensors file.
    match : 'name' or 'order'
        Whether arrays go to the parameters and buffers of their names, or the layers of the file (what stands before
        the last dot of a name) to the layers of the model with the same arrays, whatever they are called. A file keeps
        no order: of layers whose arrays have the same names and shapes, those with the smaller numbers in their names
        come first, and where more than numbers differs, the file is refused.

    Raises
    ------
    TypeError
        For a model that is no Module, and a path that is none.
    OSError
        When the file cannot be read.
    ValueError
        When it is damaged or no safetensors file, holds what is neither bfloat16, float16, 32 or 64 nor an integer, and
        when its arrays are not those of the model (the message lists all names and shapes that differ) or hold numbers
        that its dtype cannot; the model then stays as it was.
    """
    _check_arguments("load", model, path)
    arrays, _ = _read("load", path)
    _fill("load", path, model, arrays, match)


def load_model(path: FilePath) -> Module:
    """Build the model that a file describes, and read its weights.

    Parameters
    ----------
    path : path
        A file of `save`, or a training checkpoint, of a network of `convkit.models`.

    Returns
    -------
    Module
        The model, of the file's dtype.

    Raises
    ------
    TypeError
        For a path that is none.
    OSError
        When the file cannot be read.
    ValueError
        When it is damaged, does not name an architecture of `convkit.models` with arguments that this one
        takes, or its arrays are not that one's.
    """
    from convkit.models import REGISTRY

    file_path("load_model", "path", path)
    arrays, about = _read("load_model", path)
    architecture = about.get("architecture")
    if not architecture:
        raise ValueError(
            f"load_model: {os.fspath(path)} does not say which network its weights belong to; "
            "build the model yourself and call convkit.load(model, path)"
        )
    name, arguments = architecture["name"], architecture["arguments"]
    if name not in REGISTRY:
        raise ValueError(f"load_model: {os.fspath(path)} is for a network {name!r}, unknown here")
    try:
        with at_most(sum(values.size for values in arrays.values())):
            model = REGISTRY[name].build(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"load_model: {os.fspath(path)} asks for a {name} that cannot be built: {error}") from error
    model.astype(about["dtype"])
    model.classes = about["classes"]
    if about.get("input_shape"):
        model.input_shape = tuple(about["input_shape"])
    _fill("load_model", path, model, arrays)
    return model


def previous_of(path: FilePath) -> Path:
    """The name of the checkpoint before the one at `path`: ``run.previous.safetensors`` beside ``run.safetensors``."""
    path = Path(path)
    return path.with_name(f"{path.stem}.previous{path.suffix}")


class Checkpoints:
    """The checkpoints of one run: the last one, and the one before it, which is there in case the last is damaged.

    Files that another run has left under these names are no checkpoints of this one: they are overwritten, or removed
    when they could be taken for the one before.
    """

    def __init__(self) -> None:
        self.own: set[Path] = set()  # the files that are whole and of this run

    def save(self, path: FilePath, model: Module, step: CompiledStep, progress: dict[str, Any]) -> None:
        """Write a checkpoint from which a run goes on as if it had never stopped.

        Parameters
        ----------
        path : path
            The file. The checkpoint that it held goes to `previous_of` it.
        model : Module
            The model.
        step : CompiledStep
            Its training step, between two calls.
        progress : dict
            What else the run needs, as JSON can hold it: see `PROGRESS`.

        Raises
        ------
        OSError
            When the file cannot be written; a file that was there stays as it was.
        """
        previous = previous_of(path)  # as the file is named: a folder may be entered whose parents are closed
        last, before = Path(path).absolute(), previous.absolute()
        arrays = model.state_dict() | {_STEP + name: value for name, value in step.state_dict().items()}
        keep = last in self.own
        _write(path, arrays, _description(model) | {"training": progress}, previous=previous if keep else None)
        if not keep and before not in self.own:
            previous.unlink(missing_ok=True)
        self.own |= {last, before} if keep else {last}

    def load(
        self, path: FilePath, model: Module, step: CompiledStep, check: Callable[[dict[str, Any]], None]
    ) -> dict[str, Any]:
        """Read a checkpoint into a model and its training step; the one before it, if it is damaged or cannot be read.

        Which one was used, and why, is told by a warning where it is not the last.

        Parameters
        ----------
        path : path
            The file.
        model, step : Module, CompiledStep
            As they were when it was written: same network, same optimiser.
        check : callable
            Called with the `progress` that was written; where it raises, model and step stay as they were.

        Returns
        -------
        dict
            The `progress` that was written.

        Raises
        ------
        OSError
            When the file cannot be read, nor the one before.
        ValueError
            When it is damaged or no training checkpoint, and the one before is no help; for one of another network or
            optimiser.
        """
        before = previous_of(path)
        try:
            found, arrays, progress = path, *_read_training(path)
        except (OSError, ValueError) as error:
            try:
                found, arrays, progress = before, *_read_training(before)
            except (OSError, ValueError):
                raise error from None
            why = str(error) if isinstance(error, ValueError) else f"resume: {os.fspath(path)} {_no_access(error)}"
            place = f"epoch {progress['epoch'] + 1}, batch {progress['batch'] + 1}"
            warnings.warn(
                f"{why}; the run goes on from the checkpoint before it, {before}, at {place}",
                stacklevel=4,
            )
        check(progress)
        state = {name.removeprefix(_STEP): value for name, value in arrays.items() if name.startswith(_STEP)}
        try:
            step.load_state_dict(state)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"resume: {os.fspath(found)} is of another network or optimiser: {error}") from error
        _fill("resume", found, model, arrays)
        self.own = {Path(found).absolute(), before.absolute()}
        return progress


def _check_arguments(function: str, model: Any, path: Any) -> None:
    check_module(function, model)
    file_path(function, "path", path)


def _no_access(error: OSError) -> str:
    return "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror or error})"


def _read_training(path: FilePath) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a training checkpoint, and its run's progress."""
    arrays, about = _read("resume", path)
    if "training" not in about:
        raise ValueError(f"resume: {os.fspath(path)} holds no training run, only weights; convkit.load reads them")
    _check_entries("resume", path, about["training"], PROGRESS)
    return arrays, about["training"]


def _description(model: Module) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": __version__,
        "architecture": model.architecture,
        "classes": None if model.classes is None else [str(name) for name in model.classes],
        "input_shape": None if model.input_shape is None else [int(size) for size in model.input_shape],
        "dtype": np.dtype(model.dtype).name,
    }


def _fill(function: str, path: FilePath, model: Module, arrays: dict[str, np.ndarray], match: str = "name") -> None:
    state = {name: value for name, value in arrays.items() if not name.startswith(_STEP)}
    try:
        model.load_state_dict(arranged(function, model.named_state(), state) if match == "order" else state, match)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{function}: {os.fspath(path)} does not fit the model: {error}") from error


def _write(
    path: FilePath, arrays: dict[str, np.ndarray], about: dict[str, Any], previous: FilePath | None = None
) -> None:
    from safetensors.numpy import save as serialize

    contiguous = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    text = json.dumps({"sha256": _checksum(contiguous, about), **about})
    # safetensors ends the process where it finds no memory for its two copies: better MemoryError here.
    np.empty(2 * (sum(values.nbytes for values in contiguous.values()) + len(text)) + _SPARE, np.uint8)
    write_whole(path, serialize(contiguous, metadata={"convkit": text}), previous)


def _checksum(arrays: dict[str, np.ndarray], about: dict[str, Any]) -> str:
    """SHA-256 of the metadata but for this entry, and of all arrays with their names, dtypes and shapes."""
    digest = hashlib.sha256(json.dumps(about).encode())
    for name, values in sorted(arrays.items()):
        digest.update(f"\n{name} {values.dtype} {values.shape}\n".encode())
        digest.update(values.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _read(function: str, path: FilePath) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """All arrays of a file by name, and what its metadata say; empty for files of others."""
    from safetensors import SafetensorError, safe_open

    name = os.fspath(path)
    _read_through(name)
    try:
        with safe_open(name, framework="numpy") as file:
            names = file.keys()  # the file itself is not iterable
            dtypes = {key: file.get_slice(key).get_dtype() for key in names}
            arrays = {key: file.get_tensor(key) for key in names if dtypes[key] in _DTYPES}
            arrays |= _widened(name) if _BFLOAT16 in dtypes.values() else {}
            text = (file.metadata() or {}).get("convkit")
            about = None if text is None else parse_json(text)
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{function}: {name} is damaged or not a safetensors file ({error})") from error
    readable = (*_DTYPES, _BFLOAT16)
    for key in dtypes.keys() - arrays.keys():
        raise ValueError(f"{function}: {name} holds {key} as {dtypes[key]}; only {', '.join(readable)} can be read")
    return arrays, {} if text is None else _checked(function, path, about, arrays)


def _read_through(name: str) -> None:
    """Raise clear errors for what is missing, forbidden, a folder or no file at all, or on a disk that fails.

    A file that is mapped to memory, as it is for safetensors, ends the process where the disk fails.
    """
    check_regular(name)
    try:
        with open(name, "rb", buffering=0) as file:
            for _ in range(0, max(os.fstat(file.fileno()).st_size, 1), _PIECE):
                file.read(_PIECE)
    except OSError as error:
        error.filename = name  # which reading does not tell
        raise


def _widened(path: str) -> dict[str, np.ndarray]:
    """The bfloat16 arrays of a file as float32, whose upper halves they are."""
    from safetensors import deserialize

    with open(path, "rb") as file:
        entries = dict(deserialize(file.read()))
    return {
        name: (np.frombuffer(entry["data"], "<u2").astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])
        for name, entry in entries.items()
        if entry["dtype"] == _BFLOAT16
    }


def _checked(function: str, path: FilePath, about: Any, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Metadata, if they are what `_description` makes, and they and the arrays those that were written."""
    name = os.fspath(path)
    _check_entries(function, path, about, {"format": (int,)})
    if about["format"] > FORMAT:
        version = about.get("version")
        raise ValueError(f"{function}: {name} was written by convkit {version}; {__version__} is too old for it")
    written = about.pop("sha256", None)
    if about["format"] != _UNSUMMED and written != _checksum(arrays, about):
        raise ValueError(f"{function}: {name} is damaged (its SHA-256 is not the one that was written)")
    _check_entries(function, path, about, _ABOUT)
    if about["architecture"]:
        _check_entries(function, path, about["architecture"], {"name": (str,), "arguments": (dict,)})
    if about["dtype"] not in ("float32", "float64"):
        raise ValueError(f"{function}: {name} is no file of convkit: its dtype is {about['dtype']!r}")
    shape = about.get("input_shape")
    if shape is not None and not (isinstance(shape, list) and all(isinstance(n, int) and n > 0 for n in shape)):
        raise ValueError(f"{function}: {name} is no file of convkit: its input_shape is {shape!r}")
    if not all(isinstance(label, str) for label in about["classes"] or ()):
        raise ValueError(f"{function}: {name} is no file of convkit: its classes are {about['classes']!r}")
    checked: dict[str, Any] = about
    return checked


def _check_entries(function: str, path: FilePath, found: Any, expected: Mapping[str, tuple[type, ...]]) -> None:
    """Refuse metadata that lack an entry, or have one of another type, with what is wrong with them."""
    wrong = f"{function}: {os.fspath(path)} is no file of convkit"
    if not isinstance(found, dict):
        raise ValueError(f"{wrong}: {found!r} is where a table of its metadata should be")
    for entry, types in expected.items():
        if entry not in found:
            raise ValueError(f"{wrong}: its metadata lack {entry!r}")
        if type(found[entry]) not in types:
            raise ValueError(f"{wrong}: {entry!r} cannot be {found[entry]!r}")
