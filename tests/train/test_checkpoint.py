"""Weights in files: what goes in comes out, and nothing else is taken for it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import convkit as ck
from convkit import data, models, nn, optim

Make = Callable[[], nn.Module]


def assert_same_state(one: nn.Module, other: nn.Module) -> None:
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys() and first
    for name in first:
        assert first[name].dtype == second[name].dtype
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def metadata(path: Path) -> dict[str, Any]:
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["convkit"])


def test_save_and_load(make_model: Make, tmp_path: Path) -> None:
    model = make_model()
    ck.save(model, tmp_path / "weights.safetensors")
    assert load_file(tmp_path / "weights.safetensors").keys() == model.state_dict().keys()
    other = make_model()
    for parameter in other.parameters().values():
        parameter.assign(np.zeros(parameter.shape))
    ck.load(other, tmp_path / "weights.safetensors")
    assert_same_state(other, model)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_load_model_builds_what_was_saved(tmp_path: Path, dtype: str) -> None:
    model = models.lenet5()
    model.astype(dtype)
    model.classes = [f"digit {number}" for number in range(10)]
    path = tmp_path / "lenet5.safetensors"
    ck.save(model, path)
    about = metadata(path)
    assert about["architecture"]["name"] == "lenet5"
    assert about["dtype"] == dtype
    loaded = ck.load_model(path)
    assert_same_state(loaded, model)
    assert loaded.classes == model.classes
    assert tuple(loaded.input_shape) == (1, 28, 28)
    x = np.random.default_rng(0).integers(0, 256, (2, 1, 28, 28), dtype=np.uint8)
    np.testing.assert_array_equal(loaded(x), model(x))


def test_the_same_model_is_the_same_bytes(make_model: Make, tmp_path: Path) -> None:
    ck.save(make_model(), tmp_path / "a")
    ck.save(make_model(), tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_weights_are_converted_to_the_models_dtype(make_model: Make, tmp_path: Path) -> None:
    ck.save(make_model(), tmp_path / "single")
    double = make_model()
    double.astype("float64")
    ck.load(double, tmp_path / "single")
    for name, values in double.state_dict().items():
        assert values.dtype == np.float64
        np.testing.assert_array_equal(values, make_model().state_dict()[name])


def test_files_of_other_libraries_load_by_name(make_model: Make, tmp_path: Path) -> None:
    arrays = make_model().state_dict()
    save_file({name: values + 1 for name, values in arrays.items()}, tmp_path / "foreign.safetensors")
    model = make_model()
    ck.load(model, tmp_path / "foreign.safetensors")
    np.testing.assert_array_equal(model.state_dict()["0.weight"], arrays["0.weight"] + 1)
    with pytest.raises(ValueError, match=r"load_model: .*foreign.* does not say which network"):
        ck.load_model(tmp_path / "foreign.safetensors")


def test_a_training_checkpoint_is_a_models_file_too(make_model: Make, train_set: data.Dataset, tmp_path: Path) -> None:
    trainer = ck.Trainer(make_model(), nn.CrossEntropyLoss(), optim.Adam())
    trainer.fit(train_set, epochs=1, checkpoint=tmp_path / "run.safetensors", verbose=0)
    model = make_model()
    ck.load(model, tmp_path / "run.safetensors")
    assert_same_state(model, trainer.model)


def test_a_model_without_architecture_is_loaded_by_hand_only(make_model: Make, tmp_path: Path) -> None:
    ck.save(make_model(), tmp_path / "own")
    with pytest.raises(ValueError, match=r"build the model yourself and call convkit.load\(model, path\)"):
        ck.load_model(tmp_path / "own")


def write_header(path: Path, **about: Any) -> None:
    save_file({"x": np.zeros(1, np.float32)}, path, metadata={"convkit": json.dumps(about)})


def test_networks_and_formats_of_the_future_are_refused(make_model: Make, tmp_path: Path) -> None:
    write_header(tmp_path / "a", format=1, version="9", architecture={"name": "brain", "arguments": {}})
    with pytest.raises(ValueError, match=r"load_model: .* is for a network 'brain', unknown here"):
        ck.load_model(tmp_path / "a")
    write_header(tmp_path / "b", format=99, version="9.0")
    with pytest.raises(ValueError, match=r"load: .* was written by convkit 9.0; .* is too old for it"):
        ck.load(make_model(), tmp_path / "b")


@pytest.mark.parametrize("damage", ["cut header", "cut data", "text", "empty", "torch", "not JSON"])
def test_damaged_and_foreign_files_are_refused(make_model: Make, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "weights.safetensors"
    ck.save(make_model(), path)
    content = path.read_bytes()
    if damage == "not JSON":
        save_file({"x": np.zeros(1)}, path, metadata={"convkit": "{"})
    else:
        path.write_bytes(
            {
                "cut header": content[:60],
                "cut data": content[:-5],
                "text": b"once upon a time there was a network\n" * 9,
                "empty": b"",
                "torch": b"PK\x03\x04" + bytes(200),
            }[damage]
        )
    model = make_model()
    for read in (lambda: ck.load(model, path), lambda: ck.load_model(path)):
        with pytest.raises(ValueError, match=r"load(_model)?: .*weights.safetensors is damaged or not a safetens"):
            read()
    assert_same_state(model, make_model())


def test_missing_files_and_folders(make_model: Make, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors"):
        ck.load(make_model(), tmp_path / "nothing.safetensors")
    with pytest.raises(OSError):
        ck.load_model(tmp_path)


def test_weights_of_another_network_are_refused_and_change_nothing(make_model: Make, tmp_path: Path) -> None:
    ck.save(nn.Sequential(nn.Conv2d(1, 5, 3)), tmp_path / "other")
    model = make_model()
    with pytest.raises(ValueError, match=r"load: .*other does not fit the model: "):
        ck.load(model, tmp_path / "other")
    assert_same_state(model, make_model())


def test_resuming_from_weights_alone_is_refused(make_model: Make, train_set: data.Dataset, tmp_path: Path) -> None:
    ck.save(make_model(), tmp_path / "weights")
    trainer = ck.Trainer(make_model(), nn.CrossEntropyLoss(), optim.Adam())
    with pytest.raises(ValueError, match=r"resume: .*weights holds no training run, only weights"):
        trainer.fit(train_set, epochs=1, resume=tmp_path / "weights", verbose=0)


def test_a_failure_while_saving_leaves_the_old_weights(
    make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights"
    ck.save(make_model(), path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        ck.save(nn.Sequential(nn.Linear(3, 3)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
