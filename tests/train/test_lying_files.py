"""Files of weights and of runs that are well formed and yet lie: refused by name, before they cost memory or time."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import convkit as ck
from convkit import models, nn, optim
from convkit.train import Callback, EarlyStopping


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the metadata of a file, as the first format had them, without a checksum."""
    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no dict)
        about = json.loads(file.metadata()["convkit"])
    about.pop("sha256", None)
    about["format"] = 1
    changed = change(about)
    save_file(arrays, path, {"convkit": changed if isinstance(changed, str) else json.dumps(about)})


# About where Python's parser, and what handles its results, come to their ends; and far beyond.
DEPTHS = [101, *range(850, 1000, 7), 10**5]


def nest(path: Path, whole: bytes, entries: tuple[str, ...], depth: int) -> None:
    """Put lists in lists where the metadata of a file have an entry."""

    def change(about: dict[str, Any]) -> str:
        table = about
        for entry in entries[:-1]:
            table = table[entry]
        table[entries[-1]] = "nested"
        return json.dumps(about).replace('"nested"', "[" * depth + "]" * depth)

    path.write_bytes(whole)
    rewrite(path, change)


@pytest.mark.parametrize("entry", ["format", "version", "architecture", "classes", "dtype", "input_shape", "training"])
def test_metadata_too_deep_to_be_handled_are_refused(entry: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    ck.save(models.fashion_cnn_small(), path)
    whole = path.read_bytes()
    for depth in DEPTHS:
        nest(path, whole, (entry,), depth)
        message = r"^load_model: .*file is damaged or not a safetensors file \(JSON of more than 100 levels\)$"
        with pytest.raises(ValueError, match=message):
            ck.load_model(path)


@pytest.mark.parametrize(
    "entries", [("epoch",), ("settings", "seed"), ("means", "loss"), ("history",), ("callbacks", "Counter 1", "seen")]
)
def test_runs_too_deep_to_be_handled_are_refused(entries: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "run"
    fit(checkpoint=path)
    whole = path.read_bytes()
    (tmp_path / "run.previous").unlink()
    for depth in DEPTHS:
        nest(path, whole, ("training", *entries), depth)
        with pytest.raises(ValueError, match=r"^resume: .*run is damaged or not a safetensors file \(JSON of more"):
            fit(resume=path)


def test_a_header_too_deep_is_refused(tmp_path: Path) -> None:
    header = b'{"__metadata__":' + b"[" * 10**5 + b"]" * 10**5 + b"}"
    (tmp_path / "file").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match=r"^load_model: .*file is damaged or not a safetensors file"):
        ck.load_model(tmp_path / "file")


@pytest.mark.parametrize(
    "architecture",
    [
        {"name": "resnet20", "arguments": {"num_classes": 2**45}},
        {"name": "highway_dense", "arguments": {"depth": 10_000, "width": 2}},
        {"name": "encoder_decoder", "arguments": {"width": 10**6}},
    ],
    ids=lambda architecture: architecture["name"],
)
def test_a_network_larger_than_its_file_is_not_built(architecture: dict[str, Any], tmp_path: Path) -> None:
    ck.save(models.fashion_cnn_small(), tmp_path / "file")
    rewrite(tmp_path / "file", lambda about: about.update(architecture=architecture))
    message = rf"asks for a {architecture['name']} that cannot be built: .* are more than the file holds$"
    with pytest.raises(ValueError, match=message):
        ck.load_model(tmp_path / "file")
    assert models.resnet20().parameters()  # what is built otherwise is not limited


class Counter(Callback):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.seen = state["seen"]

    def state_dict(self) -> dict[str, Any]:
        return {"seen": 1}


def fit(**options: Any) -> ck.Trainer:
    ck.set_seed(0)
    trainer = ck.Trainer(nn.Linear(4, 3), nn.CrossEntropyLoss(), optim.SGD(0.1))
    x, labels = np.ones((6, 4), np.float32), np.arange(6) % 3
    trainer.fit((x, labels), epochs=2, batch_size=3, verbose=0, callbacks=[EarlyStopping("loss"), Counter()], **options)
    return trainer


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: run.update(epoch=-(10**12)), "is no training run: its epoch cannot be -1000000000000"),
        (lambda run: run.update(batch=-1), "is no training run: its batch cannot be -1"),
        (lambda run: run.update(epoch=1, batch=2**63), f"is no training run: its batch cannot be {2**63}"),
        (lambda run: run.update(means={"loss": []}), "is no training run: its means cannot be"),
        (lambda run: run.update(means={"loss": [1.0, "x"]}), "is no training run: its means cannot be"),
        (lambda run: run.update(means={"loss": [10**400, 1]}), "is no training run: its means cannot be"),
        (lambda run: run.update(history=[1]), "is no training run: its history cannot be"),
        (lambda run: run.update(history=[{"loss": "x"}]), "is no training run: its history cannot be"),
        (lambda run: run.update(callbacks={"Counter 1": 3}), "is no training run: its callbacks cannot be"),
        (lambda run: run["callbacks"].update({"Counter 1": {}}), "has no state of Counter 1: KeyError.*seen"),
        (lambda run: run["callbacks"]["EarlyStopping 1"].clear(), "has no state of EarlyStopping 1: .*best"),
        (lambda run: run["callbacks"]["EarlyStopping 1"].update(best="x"), "best must be a number, not 'x'"),
        (lambda run: run["callbacks"]["EarlyStopping 1"].update(best=10**400), "best must be a number, not 10{400}"),
        (lambda run: run["callbacks"]["EarlyStopping 1"].update(waited=0.5), "waited must be an integer, not 0.5"),
    ],
)
def test_positions_that_no_run_has_are_refused(change: Callable[[Any], None], message: str, tmp_path: Path) -> None:
    fit(checkpoint=tmp_path / "run")
    rewrite(tmp_path / "run", lambda about: None)
    assert len(fit(resume=tmp_path / "run").history) == 2
    rewrite(tmp_path / "run", lambda about: change(about["training"]))
    with pytest.raises(ValueError, match=rf"^fit: .*run .*{message}"):
        fit(resume=tmp_path / "run")
