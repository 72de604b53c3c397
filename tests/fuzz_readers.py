"""Damage valid files in ways that mean something, and read them; only the documented errors may come of it.

Every reader of files from elsewhere takes part: IDX, CIFAR, pictures, weights and checkpoints in safetensors, ONNX. A
file is cut, spliced and sprinkled with odd bytes, and changed where its own structure is: sizes in headers that lie,
tables of metadata with rubbish in them, nodes that read each other, arrays that claim to lie in other files. Nothing
may crash, take seconds, take more memory than the address space allowed here, or open a file outside of the folder.

Each input follows from reader, seed and number alone. `test_fuzz_readers.py` runs some of each; for longer,

    python tests/fuzz_readers.py --seconds 60 --seed 1

runs every reader for so long, in a process of its own, and prints how many inputs there were and what came of them.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import lzma
import os
import re
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

SECONDS = 30  # of a processor's time that one file may take
GIGABYTES = 2  # of address space that files may take, on top of what the process has before the first
SEVERAL = 4  # changes of one file, at most

# How messages begin: who speaks, or the file of which is spoken.
VOICE = r"[\w.]+( '.*')?: |/"

Rng = np.random.Generator

NUMBERS: list[Any] = [0, 1, 2, 3, 7, 127, 255, 2**15, 2**16, 10**7, 10**9, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62]
NUMBERS += [2**63 - 1, -1, -2, -(2**31), -(2**63)]
TEXTS: list[Any] = ["", "x", "same", "F64", "float64", "../secret", "/etc/passwd", "C:\\secret", "é" * 40, "x" * 3000]
TEXTS += ["a\0b", "weight", "resnet20", "highway_dense", "depth", "width", "num_classes"]


@dataclass(frozen=True)
class Reader:
    """A reader: files that it takes, how to change one, the errors that it documents, and files to be changed, too, of
    which it may refuse some as they are."""

    seeds: list[bytes]
    change: Callable[[bytes, Rng], bytes]
    read: Callable[[Path], object]
    errors: tuple[type[Exception], ...]
    others: list[bytes] = field(default_factory=list)

    @property
    def files(self) -> list[bytes]:
        return [*self.seeds, *self.others]

    def damaged(self, rng: Rng) -> bytes:
        """A file after some changes, of its structure mostly, else of its bytes."""
        content: bytes = pick(rng, self.files)
        for _ in range(rng.integers(1, SEVERAL + 1)):
            if rng.random() < 0.9:
                content = self.change(content, rng)
            else:
                content = bytes_changed(content, pick(rng, self.files), rng)
        return content


# Changes of bytes and of tables -------------------------------------------------------------------


def pick(rng: Rng, choices: Any) -> Any:
    return choices[rng.integers(len(choices))]


def bytes_changed(content: bytes, other: bytes, rng: Rng) -> bytes:
    """Cut, flip, overwrite with a number, take out, double, or go on with the rest of another file."""
    at = int(rng.integers(len(content) + 1))
    end = min(len(content), at + int(rng.integers(1, 40)))
    kind = rng.integers(6)
    if kind == 0:
        return content[:at]
    if kind == 1:
        flipped = bytearray(content)
        for place in rng.integers(len(content), size=rng.integers(1, 9)) if content else ():
            flipped[place] ^= 1 << int(rng.integers(8))
        return bytes(flipped)
    if kind == 2:
        number = pick(rng, NUMBERS) % 2**64
        written = pick(rng, [struct.pack(">I", number % 2**32), struct.pack("<Q", number)])
        return content[:at] + written + content[at + len(written) :]
    if kind == 3:
        return content[:at] + content[end:]
    if kind == 4:
        return content[:end] + content[at:]
    return content[:at] + other[int(rng.integers(len(other) + 1)) :]


def table_changed(table: Any, rng: Rng) -> Any:
    """JSON with one entry somewhere in it replaced, taken out, renamed or taken from elsewhere."""
    places = list(_places(table))
    if not places:
        return _rubbish(rng)
    holder, key = pick(rng, places)
    kind = rng.integers(6)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[pick(rng, TEXTS)] = holder.pop(key)
    elif kind == 2:
        other, place = pick(rng, places)
        holder[key] = json.loads(json.dumps(other[place]))
    else:
        holder[key] = _rubbish(rng)
    return table


def _places(table: Any) -> Iterator[tuple[Any, Any]]:
    for key in list(table) if isinstance(table, dict) else range(len(table)) if isinstance(table, list) else ():
        yield table, key
        yield from _places(table[key])


def _rubbish(rng: Rng) -> Any:
    others = [None, True, 0.5, float("nan"), float("inf"), {}, [], [[]], {"": {}}, 10**400, [1] * 100]
    return pick(rng, [*NUMBERS, *TEXTS, *others])


# IDX ----------------------------------------------------------------------------------------------


def idx_reader(folder: Path, thorough: bool) -> Reader:
    """Plain and compressed files, one of which is a thousand times what it was compressed to."""
    from convkit.data.idx import IdxError, encode_idx, read_idx

    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, shape).astype(kind) for shape, kind in [((3, 4, 5), "u1"), ((7,), "f8"), ((), "i4")]]
    arrays.append(np.zeros((1, 1 << 20), np.uint8))
    plain = [encode_idx(array) for array in arrays]
    seeds = [*plain[:-1], *map(gzip.compress, plain), *map(lzma.compress, plain)]
    return Reader(seeds, _idx_changed, read_idx, (IdxError,))


def _idx_changed(content: bytes, rng: Rng) -> bytes:
    try:
        if content.startswith(b"\x1f\x8b"):
            return gzip.compress(_idx_changed(gzip.decompress(content), rng), 1)
        if content.startswith(b"\xfd7zXZ"):
            return lzma.compress(_idx_changed(lzma.decompress(content), rng), preset=0)
    except (EOFError, OSError, zlib.error, lzma.LZMAError):  # damaged by an earlier change
        return content
    changed = bytearray(content)
    if len(changed) < 8:
        return bytes(changed) + b"\0" * 8
    kind = rng.integers(3)
    if kind == 0:
        changed[2] = pick(rng, range(0x07, 0x10))
    elif kind == 1:
        changed[3] = pick(rng, [0, 1, 2, 3, 4, 5, 32, 64, 65, 255])
    else:
        axis = int(rng.integers(max(1, min(changed[3], 8))))
        changed[4 + 4 * axis : 8 + 4 * axis] = struct.pack(">I", pick(rng, NUMBERS) % 2**32)
    return bytes(changed)


# CIFAR and pictures -------------------------------------------------------------------------------


def cifar_reader(folder: Path, thorough: bool) -> Reader:
    """Records, bare and in an archive, which may say that its files lie anywhere."""
    from convkit import data

    records = bytes([3, *bytes(3072)]) * 2
    archives = [_archive("cifar-10-batches-bin/test_batch.bin", records), _archive("../../secret", records)]

    def change(content: bytes, rng: Rng) -> bytes:
        try:
            inside = bytearray(gzip.decompress(content))
        except (EOFError, OSError, zlib.error):  # bare records, or damaged by an earlier change
            return bytes_changed(content, records, rng)
        place, length = pick(rng, [(0, 100), (100, 8), (124, 12), (148, 8), (156, 1), (157, 100), (257, 8), (345, 155)])
        start = 512 * int(rng.integers(2))
        number = f"{pick(rng, NUMBERS) % 8**11:o}".encode()
        written = pick(
            rng, [rng.bytes(length), number, b"-1", b"\x80" + b"\xff" * 11, b"../../secret", b"2", b"x", b"L"]
        )
        inside[start + place : start + place + length] = written[:length].ljust(length, b"\0")
        if rng.random() < 0.9:
            inside[start + 148 : start + 156] = b" " * 8
            inside[start + 148 : start + 156] = b"%06o\0 " % sum(inside[start : start + 512])
        return gzip.compress(bytes(inside), 1)

    def read(path: Path) -> None:
        home = path.parent / "cifar"
        home.mkdir(exist_ok=True)
        packed = path.read_bytes()[:2] == b"\x1f\x8b"
        (home / "test_batch.bin").unlink(missing_ok=True)
        path.rename(home / ("cifar-10-binary.tar.gz" if packed else "test_batch.bin"))
        data.cifar10("test", source=home)

    errors = (data.CifarError, data.DataNotFound)
    return Reader([records, archives[0], archives[0]], change, read, errors, [archives[1]])


def _archive(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def pictures_reader(folder: Path, thorough: bool) -> Reader:
    """PNG and JPEG files in a folder of classes; the checks of a PNG's pieces are made to fit what was changed."""
    from PIL import Image

    from convkit import data

    rng = np.random.default_rng(0)
    seeds = []
    for kind, mode in [("PNG", "RGB"), ("PNG", "P"), ("PNG", "I;16"), ("PNG", "RGBA"), ("JPEG", "RGB"), ("JPEG", "L")]:
        buffer = io.BytesIO()
        picture = Image.fromarray(rng.integers(0, 256, (11, 9, 3), dtype=np.uint8))
        (picture.convert("L").convert("I").convert(mode) if mode == "I;16" else picture.convert(mode)).save(
            buffer, kind
        )
        seeds.append(buffer.getvalue())
    narrow = io.BytesIO()
    Image.new("L", (1, 60_000)).save(narrow, "PNG")
    seeds.append(narrow.getvalue())

    def change(content: bytes, rng: Rng) -> bytes:
        if not content.startswith(b"\x89PNG"):
            return bytes_changed(content, pick(rng, seeds), rng)
        pieces = _png_pieces(content)
        if not pieces:
            return content
        at = int(rng.integers(len(pieces)))
        kind, inside = pieces[at]
        choice = rng.integers(4)
        if choice == 0:
            pieces.insert(int(rng.integers(len(pieces))), pieces.pop(at))
        elif choice == 1:
            pieces[at] = (pick(rng, [b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"zTXt", b"iCCP", b"eXIf", b"acTL"]), inside)
        elif choice == 2 and kind == b"IHDR" and len(inside) == 13:
            sizes = [struct.pack(">I", pick(rng, NUMBERS) % 2**32), inside[4:8]]
            pieces[at] = (kind, b"".join(sizes if rng.random() < 0.5 else sizes[::-1]) + inside[8:])
        else:
            pieces[at] = (kind, bytes_changed(inside, content, rng))
        packed = (struct.pack(">I", len(i)) + k + i + struct.pack(">I", zlib.crc32(k + i)) for k, i in pieces)
        return content[:8] + b"".join(packed)

    def read(path: Path) -> None:
        home = path.parent / "pictures" / "one"
        home.mkdir(parents=True, exist_ok=True)
        path.rename(home / "picture.png")
        data.image_folder(home.parent, 8, in_memory=True)

    return Reader(seeds, change, read, (ValueError,))


def _png_pieces(content: bytes) -> list[tuple[bytes, bytes]]:
    pieces, at = [], 8
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        pieces.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += length + 12
    return pieces


# Weights and checkpoints --------------------------------------------------------------------------


def weights_reader(folder: Path, thorough: bool) -> Reader:
    """Weights for a model that is there."""
    from safetensors.numpy import save

    import convkit as ck
    from convkit import nn

    def model() -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))

    def read(path: Path) -> None:
        refused = []
        for match in ("name", "order"):
            try:
                ck.load(model(), path, match=match)
            except ValueError as error:
                refused.append(error)
        if refused:
            raise refused[0]

    ck.save(model(), folder / "seed")
    seeds = [
        _unsummed((folder / "seed").read_bytes()),
        save({n: v.astype(np.float16) for n, v in model().state_dict().items()}),
    ]
    seeds.append(seeds[1].replace(b'"F16"', b'"BF16"'))
    seeds[2] = struct.pack("<Q", int.from_bytes(seeds[2][:8], "little") + seeds[2].count(b'"BF16"')) + seeds[2][8:]
    return Reader(seeds, _safetensors_changed, read, (ValueError,))


def networks_reader(folder: Path, thorough: bool) -> Reader:
    """Weights with what it takes to build the network."""
    import convkit as ck
    from convkit import models

    ck.save(models.fashion_cnn_small(), folder / "one")
    ck.save(models.highway_dense(depth=3, width=5), folder / "two")
    seeds = [_unsummed((folder / name).read_bytes()) for name in ("one", "two")]
    return Reader(seeds, _safetensors_changed, ck.load_model, (ValueError,))


def checkpoints_reader(folder: Path, thorough: bool) -> Reader:
    """Training runs to be resumed, in the middle of an epoch too."""
    import convkit as ck
    from convkit import nn, optim
    from convkit.train import Callback, CSVLog, EarlyStopping

    class Keep(Callback):
        def on_batch_end(self, trainer: Any, loss: float) -> None:
            trainer.save_checkpoint(folder / f"batch {trainer.batch}")

    x, labels = np.arange(40, dtype=np.float32).reshape(10, 4), np.arange(10) % 3

    def fit(*callbacks: Any, **options: Any) -> None:
        ck.set_seed(0)
        trainer = ck.Trainer(nn.Linear(4, 3), nn.CrossEntropyLoss(), optim.Adam(0.1), ["accuracy"], ema_decay=0.9)
        callbacks = (*callbacks, EarlyStopping("loss", 9), CSVLog(folder / "log.csv"))
        trainer.fit((x, labels), epochs=3, batch_size=4, callbacks=callbacks, verbose=0, **options)

    fit(Keep(), checkpoint=folder / "end")
    seeds = [_unsummed((folder / name).read_bytes()) for name in ("batch 1", "batch 2", "end")]
    errors = (TypeError, ValueError, FloatingPointError)  # the last where what is gone on with diverges
    return Reader(seeds, _safetensors_changed, lambda path: fit(resume=path), errors)


def _unsummed(content: bytes) -> bytes:
    """A file as the first format had it, without a checksum, by which a newer one would refuse every change."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    about = json.loads(header["__metadata__"]["convkit"])
    about.pop("sha256", None)
    header["__metadata__"]["convkit"] = json.dumps(about | {"format": 1})
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def _safetensors_changed(content: bytes, rng: Rng) -> bytes:
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError):  # damaged by an earlier change
        return content
    kind = rng.random()
    about = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    if isinstance(about, dict) and isinstance(about.get("convkit"), str) and kind < 0.6:
        try:
            about["convkit"] = json.dumps(table_changed(json.loads(about["convkit"]), rng))
        except (ValueError, RecursionError):
            return content
        if kind < 0.03:
            about["convkit"] = pick(rng, ["[" * 10**6, '{"a":' * 10**5, "1" * 10**5, "", "null", "[]"])
    else:
        header = table_changed(header, rng)
    text = json.dumps(header).encode()
    if kind > 0.98:
        text = pick(rng, [b"[" * 10**6, b'{"a":' * 10**5, b"", b"{}", b"1"])
    claimed = pick(rng, NUMBERS) % 2**64 if 0.95 < kind < 0.97 else len(text)
    return claimed.to_bytes(8, "little") + text + content[8 + length :]


# ONNX ---------------------------------------------------------------------------------------------


def onnx_reader(folder: Path, thorough: bool) -> Reader:
    """Networks, and single nodes of all operators (of ONNX's own tests, where time allows)."""
    import onnx

    import convkit as ck
    from convkit import nn
    from convkit import onnx as ck_onnx

    network = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.ConvTranspose2d(2, 2, 2),
        nn.AvgPool2d(2, ceil_mode=True), nn.LocalResponseNorm(3), nn.Upsample(2), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip
    network.input_shape = (1, 8, 8)
    ck.set_seed(0)
    ck_onnx.save(network, folder / "seed")
    protos, cases = [onnx.load(os.fspath(folder / "seed")), *_nodes()], _cases() if thorough else ()
    (folder / "beside").write_bytes(bytes(4096))

    def read(path: Path) -> None:
        module = ck_onnx.load(path)
        inputs = _inputs(onnx.load(os.fspath(path), load_external_data=False), module.input_names)
        if inputs is not None:
            module(*inputs)

    errors = (NotImplementedError, TypeError, ValueError, MemoryError)  # a graph is a program and may ask for much
    seeds, others = ([proto.SerializeToString() for proto in files] for files in (protos, cases))
    return Reader(seeds, _onnx_changed, read, errors, others)


def _nodes() -> Iterator[Any]:
    """Graphs that compute shapes, take parts, and draw on further operators."""
    from onnx import TensorProto, helper, numpy_helper

    ints = {"shape": [1, -1], "starts": [1], "ends": [3], "axes": [1], "pads": [0, 1, 0, 2], "two": [2, 2], "k": [1]}
    for nodes in (
        [("Shape", "x", "s"), ("Gather", "s k", "n"), ("ConstantOfShape", "n", "c"), ("Reshape", "x shape", "y")],
        [("Slice", "x starts ends axes", "a"), ("Pad", "a pads", "b"), ("Tile", "b two", "c"), ("Sum", "c c", "y")],
        [("Transpose", "x", "a"), ("Concat", "a a", "b"), ("Split", "b", "c d"), ("MatMul", "x a", "y")],
        [("Unsqueeze", "x axes", "a"), ("ReduceMean", "a axes", "b"), ("Add", "b x", "c"), ("TopK", "c k", "y i")],
    ):  # fmt: skip
        made = [helper.make_node(kind, source.split(), target.split()) for kind, source, target in nodes]
        initializers = [numpy_helper.from_array(np.int64(values), name) for name, values in ints.items()]
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 4])
        graph = helper.make_graph(made, "g", [x], [helper.make_empty_tensor_value_info("y")], initializers)
        yield helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])


def _cases() -> Iterator[Any]:
    """Those of ONNX's cases whose operators convkit has; of inputs that decide shapes, the values are put in."""
    from onnx import numpy_helper
    from onnx.backend.test.case.node import collect_testcases

    from convkit.onnx.load import shape_inputs
    from convkit.onnx.operators import OPERATORS

    for case in collect_testcases(None):
        proto = case.model
        if proto is None or proto.ByteSize() > 20_000 or not {n.op_type for n in proto.graph.node} <= set(OPERATORS):
            continue
        try:
            fixed = shape_inputs(proto)
        except NotImplementedError:
            continue
        names = [value.name for value in proto.graph.input]
        given = dict(zip(names, case.data_sets[0][0], strict=False)) if case.data_sets else {}
        proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(given[n]), n) for n in fixed if n in given)
        yield proto


def _inputs(proto: Any, names: tuple[str, ...]) -> list[np.ndarray] | None:
    """Zeros for the declared inputs, unless these are large."""
    from onnx import helper

    declared = {value.name: value.type.tensor_type for value in proto.graph.input}
    shapes = [[size.dim_value or 1 for size in declared[name].shape.dim] for name in names]
    if any(min(shape, default=1) < 0 or np.prod(shape, dtype=float) > 1e6 for shape in shapes):
        return None
    kinds = [helper.tensor_dtype_to_np_dtype(declared[name].elem_type) for name in names]
    return [np.zeros(shape, kind) for shape, kind in zip(shapes, kinds, strict=True)]


def _onnx_changed(content: bytes, rng: Rng) -> bytes:
    import onnx
    from google.protobuf.message import DecodeError

    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
        if rng.random() < 0.05 and proto.graph.initializer:
            _claim_other_file(pick(rng, proto.graph.initializer), rng)
        else:
            _message_changed(pick(rng, list(_messages(proto))), rng)
        return proto.SerializeToString()
    except (DecodeError, UnicodeDecodeError):  # damaged by an earlier change, as a whole or in a text
        return content


def _claim_other_file(tensor: Any, rng: Rng) -> None:
    """Let an initialiser say that its values lie in a file."""
    tensor.data_location = tensor.EXTERNAL
    locations = ["beside", "../secret", "/etc/passwd", "sub/../../secret", "link", "", ".", "a\0b", "x" * 5000]
    for key, value in (
        ("location", pick(rng, locations)),
        ("offset", str(pick(rng, NUMBERS))),
        ("length", pick(rng, ["4", "x", "-1", str(2**62)])),
    ):
        if rng.random() < 0.7:
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value


def _messages(message: Any) -> Iterator[Any]:
    yield message
    for descriptor, value in message.ListFields():
        if descriptor.type == descriptor.TYPE_MESSAGE:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from _messages(inner)


def _message_changed(message: Any, rng: Rng) -> None:
    """One field of a message cleared, set to rubbish, or, of many entries, one replaced, doubled or moved."""
    descriptor = pick(rng, message.DESCRIPTOR.fields)
    name = descriptor.name
    if rng.random() < 0.7 and message.ListFields():
        descriptor = pick(rng, message.ListFields())[0]
        name = descriptor.name
    value = getattr(message, name)
    if rng.random() < 0.15:
        message.ClearField(name)
    elif hasattr(value, "append") or hasattr(value, "add"):  # repeated
        entries = list(value)
        if descriptor.type == descriptor.TYPE_MESSAGE:
            copies = [type(entry).FromString(entry.SerializeToString()) for entry in entries]
            copies += [pick(rng, copies)] if copies and rng.random() < 0.5 else []
            del value[:]
            value.extend([copies[i] for i in rng.permutation(len(copies))])
        else:
            place = int(rng.integers(len(entries) + 1))
            entries[place : place + int(rng.integers(2))] = [_field_value(descriptor, entries, rng)]
            del value[:]
            value.extend(entries)
    elif descriptor.type == descriptor.TYPE_MESSAGE:
        value.SetInParent()
    else:
        setattr(message, name, _field_value(descriptor, [], rng))


def _field_value(descriptor: Any, others: list[Any], rng: Rng) -> Any:
    if descriptor.type == descriptor.TYPE_ENUM:
        return pick(rng, descriptor.enum_type.values).number
    if descriptor.type == descriptor.TYPE_STRING:
        return pick(rng, [*others, *TEXTS, "y", "s", "a", "Add", "Loop", "Conv", "kernel_shape", "axis", "pads"])
    if descriptor.type == descriptor.TYPE_BYTES:
        return rng.bytes(int(rng.integers(40)))
    if descriptor.type in (descriptor.TYPE_FLOAT, descriptor.TYPE_DOUBLE):
        return pick(rng, [0.0, -1.0, 1e-40, 1e30, float("inf"), float("nan")])
    bits = 31 if descriptor.type in (descriptor.TYPE_INT32,) else 63
    fitting = [number for number in NUMBERS if -(2**bits) <= number < 2**bits]
    return pick(rng, [number for number in fitting if descriptor.type != descriptor.TYPE_UINT64 or number >= 0])


# Running ------------------------------------------------------------------------------------------

READERS: dict[str, Callable[[Path, bool], Reader]] = {
    "idx": idx_reader,
    "cifar": cifar_reader,
    "pictures": pictures_reader,
    "weights": weights_reader,
    "networks": networks_reader,
    "checkpoints": checkpoints_reader,
    "onnx": onnx_reader,
}


def run(name: str, seed: int, *, inputs: int = 10**9, seconds: float = 1e9, only: int | None = None) -> dict[str, Any]:
    """Read damaged files in this process, whose address space is limited from then on, and count what comes of it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "folder"
        folder.mkdir()
        (Path(place) / "secret").write_bytes(bytes(4096))
        (folder / "link").symlink_to(Path(place) / "secret")
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return _run(READERS[name](folder, seconds < 1e9), name, seed, folder, inputs, seconds, only)


def _run(
    reader: Reader, name: str, seed: int, folder: Path, inputs: int, seconds: float, only: int | None
) -> dict[str, Any]:
    path = folder / "file"
    faults = _seed_faults(reader, path)  # all are read, so that what is imported then is there
    escapes = _watched(folder.parent)
    _limit_memory()
    outcomes: Counter[str] = Counter()
    began = time.perf_counter()
    number = 0 if only is None else only
    last = inputs if only is None else only + 1
    while number < last and time.perf_counter() - began < seconds:
        content = reader.damaged(np.random.default_rng([seed, sorted(READERS).index(name), number]))
        path.write_bytes(content)
        print(f"{name} seed {seed} number {number}", flush=True)
        outcome = _outcome(reader, path, f"number {number}", faults)
        if escapes:
            outcome = "opened another file"
            faults.setdefault(f"opened {escapes.pop()}", f"number {number}")
            escapes.clear()
        outcomes[outcome] += 1
        number += 1
    if only is None and "read" not in outcomes:
        faults["none of the inputs was read"] = f"{number} inputs"
    done = {"reader": name, "inputs": sum(outcomes.values()), "seconds": round(time.perf_counter() - began)}
    return done | {"outcomes": dict(outcomes.most_common()), "faults": faults}


def _seed_faults(reader: Reader, path: Path) -> dict[str, str]:
    """What is wrong with a reader that refuses what it takes: none of its errors would mean anything."""

    def refusal(content: bytes) -> str:
        path.write_bytes(content)
        try:
            reader.read(path)
        except reader.errors as error:
            return f"{type(error).__name__}: {str(error)[:200]}"
        return ""

    faults = {f"seed {number} is refused": refusal(content) for number, content in enumerate(reader.seeds)}
    others = [refusal(content) for content in reader.others]
    if len(others) > 1 and all(others):  # a single one may be made to be refused
        faults["all other seeds are refused"] = others[0]
    return {fault: text for fault, text in faults.items() if text}


def _outcome(reader: Reader, path: Path, where: str, faults: dict[str, str]) -> str:
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # which ends the process
    try:
        reader.read(path)
    except reader.errors as error:
        if not re.match(VOICE, str(error)) and not isinstance(error, MemoryError):
            faults.setdefault(f"not in the house's voice: {str(error)[:60]}", where)
        return type(error).__name__
    except Exception as error:  # whatever it is, it is what this program looks for
        frame = traceback.extract_tb(error.__traceback__)[-1]
        key = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
        faults.setdefault(key, f"{where}: {str(error)[:200]}")
        return f"NOT DOCUMENTED: {type(error).__name__}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "read"


def _watched(place: Path) -> list[str]:
    """The list to which every file opened from now on that lies neither in the folder nor in Python's is added."""
    opened: list[str] = []
    homes = [
        Path(home).resolve() for home in (place / "folder", sys.prefix, sys.base_prefix, *sys.path, "/proc", "/sys")
    ]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            path = Path(os.path.realpath(os.fsdecode(arguments[0])))
            if not any(path.is_relative_to(home) for home in homes):
                opened.append(os.fspath(path))

    sys.addaudithook(hook)
    return opened


def _limit_memory() -> None:
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + (GIGABYTES << 30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> int:
    parser = argparse.ArgumentParser(description="Read damaged files, and count what comes of it.")
    parser.add_argument("--seconds", type=float, default=60, help="for each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", default=",".join(READERS))
    parser.add_argument("--number", type=int, help="only this input")
    parser.add_argument("--here", action="store_true", help="in this process; prints what came of it as JSON")
    options = parser.parse_args()
    if options.here:
        done = run(options.readers, options.seed, seconds=options.seconds, only=options.number)
        print(json.dumps(done), flush=True)
        return bool(done["faults"])
    status = 0
    for name in options.readers.split(","):
        arguments = [sys.executable, "-X", "faulthandler", *sys.argv, "--readers", name, "--here"]
        child = subprocess.run(arguments, stdout=subprocess.PIPE, text=True)
        last = (child.stdout.splitlines() or [""])[-1]
        print(last if last.startswith("{") else f"exit status {child.returncode} after {last}", flush=True)
        status |= child.returncode != 0
    return status


if __name__ == "__main__":
    sys.exit(main())
