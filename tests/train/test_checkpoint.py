"""Weights in files: what goes in comes out, and nothing else is taken for it."""

from __future__ import annotations

import hashlib
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


ABOUT = {
    "format": 1,
    "version": "9",
    "architecture": {"name": "lenet5", "arguments": {}},
    "classes": None,
    "input_shape": [1, 28, 28],
    "dtype": "float32",
}


def write_header(path: Path, **about: Any) -> None:
    save_file({"x": np.zeros(1, np.float32)}, path, metadata={"convkit": json.dumps(about)})


def test_networks_and_formats_of_the_future_are_refused(make_model: Make, tmp_path: Path) -> None:
    write_header(tmp_path / "a", **{**ABOUT, "architecture": {"name": "brain", "arguments": {}}})
    with pytest.raises(ValueError, match=r"load_model: .* is for a network 'brain', unknown here"):
        ck.load_model(tmp_path / "a")
    write_header(tmp_path / "b", format=99, version="9.0")
    with pytest.raises(ValueError, match=r"load: .* was written by convkit 9.0; .* is too old for it"):
        ck.load(make_model(), tmp_path / "b")


def rewrite(path: Path, about: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write a file with other metadata, and the checksum that belongs to them."""
    rest = {name: value for name, value in about.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(rest).encode())
    for name in sorted(arrays):
        digest.update(f"\n{name} {arrays[name].dtype} {arrays[name].shape}\n".encode() + arrays[name].tobytes())
    save_file(arrays, path, metadata={"convkit": json.dumps({"sha256": digest.hexdigest(), **rest})})


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in ABOUT.items() if key != name}


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ([], r"is no file of convkit: \[\] is where a table of its metadata should be"),
        (3, r"is no file of convkit: 3 is where a table"),
        (None, r"is no file of convkit: None is where a table"),
        (without("format"), r"is no file of convkit: its metadata lack 'format'"),
        (without("architecture"), r"its metadata lack 'architecture'"),
        (without("classes"), r"its metadata lack 'classes'"),
        (without("dtype"), r"its metadata lack 'dtype'"),
        ({**ABOUT, "format": "x"}, r"'format' cannot be 'x'"),
        ({**ABOUT, "architecture": "lenet5"}, r"'architecture' cannot be 'lenet5'"),
        ({**ABOUT, "architecture": {"name": "lenet5"}}, r"its metadata lack 'arguments'"),
        ({**ABOUT, "architecture": {"name": [], "arguments": {}}}, r"'name' cannot be \[\]"),
        (
            {**ABOUT, "architecture": {"name": "lenet5", "arguments": {"wings": 2}}},
            r"asks for a lenet5 that cannot be built: .*wings",
        ),
        ({**ABOUT, "dtype": "complex64"}, r"its dtype is 'complex64'"),
        ({**ABOUT, "dtype": None}, r"'dtype' cannot be None"),
        ({**ABOUT, "classes": "abc"}, r"'classes' cannot be 'abc'"),
        ({**ABOUT, "classes": [1, 2]}, r"its classes are \[1, 2\]"),
    ],
)
def test_metadata_that_say_something_else_are_refused(tmp_path: Path, about: Any, message: str) -> None:
    arrays = models.lenet5().state_dict()
    save_file(arrays, tmp_path / "odd.safetensors", metadata={"convkit": json.dumps(about)})
    with pytest.raises(ValueError, match=rf"load_model: .*odd\.safetensors .*{message}"):
        ck.load_model(tmp_path / "odd.safetensors")


def test_a_training_run_that_is_not_whole_is_refused(make_model: Make, train_set: data.Dataset, tmp_path: Path) -> None:
    def trainer() -> ck.Trainer:
        return ck.Trainer(make_model(), nn.CrossEntropyLoss(), optim.SGD(0.1))

    path = tmp_path / "run"
    trainer().fit(train_set, epochs=1, checkpoint=path, verbose=0)
    whole, arrays = metadata(path), load_file(path)
    for training, message in (
        ([], r"resume: .*run is no file of convkit: \[\] is where"),
        ({**whole["training"], "epoch": "1"}, r"'epoch' cannot be '1'"),
        ({**whole["training"], "settings": None}, r"'settings' cannot be None"),
        ({name: 0 for name in whole["training"] if name != "means"}, r"'settings' cannot be 0"),
    ):
        rewrite(path, {**whole, "training": training}, arrays)
        with pytest.raises(ValueError, match=message):
            trainer().fit(train_set, epochs=2, resume=path, verbose=0)


def test_a_run_whose_slots_the_optimiser_cannot_hold_is_refused(
    make_model: Make, train_set: data.Dataset, tmp_path: Path
) -> None:
    def trainer() -> ck.Trainer:
        return ck.Trainer(make_model(), nn.CrossEntropyLoss(), optim.SGD(0.1, momentum=0.9))

    path = tmp_path / "run"
    trainer().fit(train_set, epochs=1, checkpoint=path, verbose=0)
    arrays = load_file(path)
    arrays["step/velocity/0.bias"] = np.full(4, 1e300)
    rewrite(path, metadata(path), arrays)
    with pytest.raises(
        ValueError, match=r"resume: .*run is of another network or optimiser: .*velocity/0\.bias must be"
    ):
        trainer().fit(train_set, epochs=2, resume=path, verbose=0)


@pytest.mark.parametrize(("dtype", "size"), [("C64", 8), ("F8_E4M3", 1), ("Q7", 4)])
def test_values_that_parameters_cannot_have_are_refused(
    make_model: Make, tmp_path: Path, dtype: str, size: int
) -> None:
    path = tmp_path / "odd.safetensors"
    header = json.dumps({"0.weight": {"dtype": dtype, "shape": [2], "data_offsets": [0, 2 * size]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(2 * size))
    for read in (lambda: ck.load(make_model(), path), lambda: ck.load_model(path)):
        with pytest.raises(ValueError, match=rf"load(_model)?: .*odd\.safetensors .*{dtype}"):
            read()


def test_half_precision_and_integers_load(make_model: Make, tmp_path: Path) -> None:
    for dtype in ("float16", "int8"):
        arrays = {name: np.ones(values.shape, dtype) for name, values in make_model().state_dict().items()}
        save_file(arrays, tmp_path / dtype)
        model = make_model()
        ck.load(model, tmp_path / dtype)
        assert all((values == 1).all() for values in model.state_dict().values())


def test_bfloat16_loads_exactly(make_model: Make, tmp_path: Path) -> None:
    """The file beside which float16, float32 and the rest of a state lie, too."""
    whole = {name: np.float32(values) for name, values in make_model().state_dict().items()}
    halves = {name: values.view(np.uint32) >> 16 for name, values in whole.items()}
    expected = {name: (half << 16).view(np.float32) for name, half in halves.items()}
    expected["0.bias"][:] = [np.inf, -0.0, 1.5, 2.0**-133]  # the last one below the normal numbers
    halves["0.bias"] = expected["0.bias"].view(np.uint32) >> 16
    path, header, data = tmp_path / "half.safetensors", {}, b""
    for name, half in halves.items():
        part = half.astype("<u2").tobytes() if name != "5.bias" else whole[name].astype("<f4").tobytes()
        dtype = "BF16" if name != "5.bias" else "F32"
        header[name] = {"dtype": dtype, "shape": half.shape, "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    expected["5.bias"] = whole["5.bias"]
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    model = make_model()
    ck.load(model, path)
    for name, values in model.state_dict().items():
        assert values.tobytes() == expected[name].tobytes(), name


def test_files_of_networks_with_other_names_load_by_order(make_model: Make, tmp_path: Path) -> None:
    state = {name: values + 1 for name, values in make_model().state_dict().items()}
    names = {"0": "features.0", "5": "classifier"}  # in the file, the classifier comes first
    renamed = {f"{names[name[0]]}{name[1:]}": values for name, values in state.items()}
    path = tmp_path / "foreign.safetensors"
    save_file(renamed, path)
    model = make_model()
    with pytest.raises(ValueError, match=r"^load: .*foreign.* does not fit the model: .*match='order' goes by these$"):
        ck.load(model, path)
    ck.load(model, path, match="order")
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, state[name])


def test_files_in_which_layers_could_be_exchanged_are_refused(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    names = {"0": "query", "1": "key"}
    path = tmp_path / "foreign.safetensors"
    save_file({f"{names[name[0]]}{name[1:]}": values for name, values in model.state_dict().items()}, path)
    with pytest.raises(ValueError, match=r"load: .*foreign.*: key, query have the same shapes, and nothing says which"):
        ck.load(model, path, match="order")


def test_classes_may_be_an_array(tmp_path: Path) -> None:
    model = models.lenet5()
    model.classes = np.array([f"digit {number}" for number in range(10)])  # type: ignore[assignment]
    ck.save(model, tmp_path / "weights")
    assert ck.load_model(tmp_path / "weights").classes == [f"digit {number}" for number in range(10)]


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
