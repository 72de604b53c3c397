"""The command line as a user meets it: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import convkit as ck
from convkit import data, optim
from convkit.cli import main
from convkit.cli.names import OPTIMIZERS
from convkit.cli.training import PARSERS
from convkit.data import sources
from convkit.models import REGISTRY, ModelEntry
from convkit.train import CSVLog

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = "fashion-cnn-small"


@pytest.fixture(scope="module")
def run_folder(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of six epochs."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert main(train_words(data_folder, folder)) == 0
    return folder


def train_words(data_folder: Path, out: Path, epochs: int = 6) -> list[str]:
    words = f"train {SMALL} --epochs {epochs} --batch-size 32 --lr 0.003 --schedule cosine --seed 2 --quiet"
    return [*words.split(), "--data", str(data_folder), "--out", str(out)]


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def convkit(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "convkit", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload, no-any-return]


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys() and first
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


# --- train ---


def test_train_needs_nothing_but_a_name(in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the sample for lack of a connection: see the next test for how it comes to that."""
    assert main(["train", "fashion_cnn_small", "--data", "sample", "--epochs", "2"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"fashion-cnn-small: 28,460 parameters, 1 thread; run in runs.fashion-cnn-small-1", out[0])
    assert out[1] == "fashion-mnist: 6,000 training and 1,000 test images from embedded sample"
    assert re.match(r"epoch 1/2  loss .*  val_accuracy", out[2])
    assert re.fullmatch(r"test accuracy 0\.\d{4}, at best 0\.\d{4} \(epoch \d\); runs.fashion-cnn-small-1", out[4])
    accuracy = float(out[4].split()[2].rstrip(","))
    assert accuracy > 0.6
    assert main(["train", SMALL, "--data", "sample", "--epochs", "1", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert sorted(path.name for path in Path("runs").iterdir()) == [
        "fashion-cnn-small-1",
        "fashion-cnn-small-2",
    ]


def test_without_data_it_says_so_in_a_line_and_takes_the_sample(
    in_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sources, "_search", lambda collection, split: (None, ["there is no network"]))
    assert main(["train", SMALL, "--epochs", "1", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"fashion-mnist.*there is no network.*embedded sample.*\n", err)
    stored = json.loads(Path("runs", f"{SMALL}-1", "config.json").read_text())
    assert stored["data"] == "sample"  # a resumed run goes on with what it began with


def test_a_run_writes_its_folder(run_folder: Path, data_folder: Path) -> None:
    pytest.importorskip("matplotlib")
    assert sorted(path.name for path in run_folder.iterdir()) == [
        "best.safetensors",
        "checkpoint.previous.safetensors",
        "checkpoint.safetensors",
        "config.json",
        "curves.png",
        "last.safetensors",
        "log.csv",
    ]
    assert json.loads((run_folder / "config.json").read_text()) == {
        "model": SMALL,
        "dataset": "fashion-mnist",
        "data": str(data_folder),
        "epochs": 6,
        "batch_size": 32,
        "lr": 0.003,
        "optimizer": "adam",
        "schedule": "cosine",
        "seed": 2,
        "augment": "none",
        "label_smoothing": None,
        "weight_decay": None,
        "ema_decay": None,
        "clip_norm": None,
        "clip_value": None,
        "size": None,
        "convkit": ck.__version__,
    }
    rows = list(csv.DictReader((run_folder / "log.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert float(rows[-1]["lr"]) < 0.0001
    test_set = data.fashion_mnist("test", data_folder)
    for file, expected in (
        ("best.safetensors", max(float(row["val_accuracy"]) for row in rows)),
        ("last.safetensors", float(rows[-1]["val_accuracy"])),
    ):
        model = ck.load_model(run_folder / file)
        assert model.classes == list(test_set.classes)
        assert (model(test_set.images).argmax(1) == test_set.labels).mean() == pytest.approx(expected)


def test_without_matplotlib_there_is_just_no_picture(
    in_folder: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convkit.cli.training.find_spec", lambda name: None)
    assert main(train_words(data_folder, Path("out"), epochs=1)) == 0
    assert not Path("out", "curves.png").exists()
    assert Path("out", "last.safetensors").exists()


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "sgd", "momentum", "nesterov"])
def test_optimizers_by_name(in_folder: Path, data_folder: Path, optimizer: str) -> None:
    assert main([*train_words(data_folder, Path("out"), epochs=1), "--optimizer", optimizer]) == 0
    assert json.loads(Path("out", "config.json").read_text())["optimizer"] == optimizer
    slots = {name.split("/")[1] for name in load_file(Path("out", "checkpoint.safetensors")) if "/" in name}
    assert slots - {"count", "calls"} == set(OPTIMIZERS[optimizer](optim.Constant(1.0)).slots)


@pytest.mark.parametrize(
    ("schedule", "rates"),  # of the last update of each of three epochs, with 10 updates each
    [
        ("constant", [0.003, 0.003, 0.003]),
        ("step", [0.003, 0.0003, 0.00003]),
        ("exponential", [0.003 * 0.01 ** (done / 30) for done in (9, 19, 29)]),
        ("cosine", [0.0015 * (1 + np.cos(np.pi * done / 30)) for done in (9, 19, 29)]),
        ("warmup-cosine", [0.0015 * (1 + np.cos(np.pi * done / 30)) for done in (9, 19, 29)]),
        ("lecun1998", [0.0006, 0.00006, 0.00006]),
    ],
)
def test_schedules_by_name(in_folder: Path, data_folder: Path, schedule: str, rates: list[float]) -> None:
    assert main([*train_words(data_folder, Path("out"), epochs=3), "--schedule", schedule]) == 0
    with Path("out", "log.csv").open() as log:
        assert [float(row["lr"]) for row in csv.DictReader(log)] == pytest.approx(rates)


REGULARIZED = (
    "--augment shift=1,flip --label-smoothing 0.1 --weight-decay 0.001 --ema-decay 0.9 --clip-norm 5 --clip-value 0.5"
)


@pytest.mark.parametrize(
    ("words", "settings"),
    [
        (REGULARIZED, {"augment.0.pixels": 1, "augment.1.p": 0.5, "loss.label_smoothing": 0.1}),
        (REGULARIZED, {"optimizer.weight_decay": 0.001, "ema_decay": 0.9, "clip_norm": 5.0, "clip_value": 0.5}),
        ("", {"optimizer.weight_decay": 0.0, "loss.label_smoothing": 0.0, "ema_decay": None, "clip_norm": None}),
        ("--optimizer adamw", {"optimizer.weight_decay": 0.01}),
        ("--optimizer adamw --weight-decay 0", {"optimizer.weight_decay": 0.0}),
        ("--augment mixup", {"augment.0": "MixUp", "augment.0.classes": 10, "augment.0.alpha": 0.2}),
        ("--augment rotate=5,erase=1,cutout", {"augment.0.degrees": 5.0, "augment.1.p": 1.0, "augment.2.size": 8}),
    ],
)
def test_what_the_trainer_is_told(in_folder: Path, data_folder: Path, words: str, settings: dict[str, object]) -> None:
    assert main([*train_words(data_folder, Path("out"), epochs=1), *words.split()]) == 0
    with safe_open("out/checkpoint.safetensors", "numpy") as file:
        told = json.loads(file.metadata()["convkit"])["training"]["settings"]
    assert {name: told[name] for name in settings} == settings


def test_a_network_may_have_a_loss_of_its_own(
    in_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--epochs", "1", "--quiet", "--dataset", "fashion-mnist", "--data", str(data_folder)]
    assert_fails(
        ["train", "lenet5-1998", "--label-smoothing", "0.1", *words],
        r"convkit train: --label-smoothing: the loss of lenet5-1998 has none",
        capsys,
    )
    assert_fails(
        ["train", "encoder-decoder", "--augment", "flip", *words],
        r"convkit train: --augment: the targets of encoder-decoder are pixels",
        capsys,
    )
    assert not list(in_folder.iterdir())


def test_the_last_weights_are_those_that_were_validated(in_folder: Path, data_folder: Path) -> None:
    assert main([*train_words(data_folder, Path("out"), epochs=2), "--ema-decay", "0.9"]) == 0
    model, test_set = ck.load_model("out/last.safetensors"), data.fashion_mnist("test", data_folder)
    with Path("out", "log.csv").open() as log:
        row = list(csv.DictReader(log))[-1]
    assert (model(test_set.images).argmax(1) == test_set.labels).mean() == pytest.approx(float(row["val_accuracy"]))
    trained = ck.load_model("out/checkpoint.safetensors")
    assert any((trained.state_dict()[name] != values).any() for name, values in model.state_dict().items())


@pytest.mark.parametrize("entry", REGISTRY.values(), ids=REGISTRY)
def test_recipes_are_words_that_the_command_line_knows(entry: ModelEntry) -> None:
    for name, value in asdict(entry.recipe).items():
        assert value is None or PARSERS[name](str(value)) == value


def test_threads_are_set(in_folder: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(ck, "set_num_threads", asked.append)
    assert main([*train_words(data_folder, Path("out"), epochs=1), "--threads", "3"]) == 0
    assert asked == [3]


# --- stop and resume ---


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_control_c_saves_ends_with_130_and_the_resumed_run_has_the_same_bits(
    tmp_path: Path, run_folder: Path, data_folder: Path
) -> None:
    folder = tmp_path / "broken"
    command = [sys.executable, "-m", "convkit", *train_words(data_folder, folder), "--threads", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    give_up = time.monotonic() + 30
    while not (folder / "log.csv").exists() and time.monotonic() < give_up:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert err == f"go on with: convkit train {SMALL} --resume {folder}\n"
    done = len((folder / "log.csv").read_text().splitlines()) - 1
    assert 1 <= done < 6
    assert (folder / "checkpoint.safetensors").exists() and (folder / "last.safetensors").exists()

    assert main(["train", SMALL, "--resume", str(folder), "--quiet"]) == 0
    assert_same_weights(folder / "last.safetensors", run_folder / "last.safetensors")
    assert_same_weights(folder / "best.safetensors", run_folder / "best.safetensors")


def test_a_run_goes_on_with_augmentation_and_all_else(
    in_folder: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*train_words(data_folder, Path("whole"), epochs=3), *REGULARIZED.split()]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(CSVLog, "on_epoch_end", raise_interrupt)
        assert main([*train_words(data_folder, Path("broken"), epochs=3), *REGULARIZED.split()]) == 130
    before = json.loads(Path("broken", "config.json").read_text())
    assert before["augment"] == "shift=1,flip=0.5" and before["clip_value"] == 0.5
    assert main(["train", SMALL, "--resume", "broken", "--quiet", "--augment", "shift=1,flip"]) == 0
    assert json.loads(Path("broken", "config.json").read_text()) == before
    assert_same_weights(Path("broken", "last.safetensors"), Path("whole", "last.safetensors"))


def raise_interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_a_run_of_before_there_were_these_settings_goes_on(in_folder: Path, data_folder: Path) -> None:
    assert main([*train_words(data_folder, Path("out"), epochs=1), "--schedule", "constant"]) == 0
    stored = json.loads(Path("out", "config.json").read_text())
    first = list(stored)[: list(stored).index("augment")]
    Path("out", "config.json").write_text(json.dumps({name: stored[name] for name in first}))
    assert main(["train", SMALL, "--resume", "out", "--epochs", "2", "--quiet"]) == 0
    assert len(Path("out", "log.csv").read_text().splitlines()) == 3


def test_more_epochs_can_be_had(in_folder: Path, data_folder: Path) -> None:
    assert main([*train_words(data_folder, Path("out"), epochs=1), "--schedule", "constant"]) == 0
    assert main(["train", SMALL, "--resume", "out", "--epochs", "2", "--quiet"]) == 0
    assert len(Path("out", "log.csv").read_text().splitlines()) == 3
    assert json.loads(Path("out", "config.json").read_text())["epochs"] == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed", "3"], r"--resume: seed is 2 in .*config.json, and cannot become 3"),
        (["--augment", "flip"], r"--resume: augment is none in .*, and cannot become flip=0.5"),
        (["--weight-decay", "0"], r"--resume: weight_decay is None in .*, and cannot become 0.0"),
        (["--optimizer", "sgd"], r"--resume: optimizer is adam in .*, and cannot become sgd"),
        (["--epochs", "7"], r"--resume: epochs is 6 in .*, and cannot become 7: the cosine schedule is spread over"),
        (["--out", "x"], r"--out: a resumed run stays in its folder"),
    ],
)
def test_what_decides_about_the_bits_cannot_change(
    run_folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert_fails(["train", SMALL, "--resume", str(run_folder), *words], rf"convkit train: {message}", capsys)


def test_another_network_cannot_go_on(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "lenet5", "--resume", str(run_folder)]
    assert_fails(words, r"convkit train: --resume: model is fashion-cnn-small in .*cannot become lenet5", capsys)


def test_damaged_runs_are_refused(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(run_folder, folder)
    for name in ("checkpoint.safetensors", "checkpoint.previous.safetensors"):
        (folder / name).write_bytes(b"x" * 1000)
    words = ["train", SMALL, "--resume", str(folder), "--quiet"]
    assert_fails(words, r"convkit train: resume: .*checkpoint.safetensors is damaged or not a", capsys)
    (folder / "config.json").write_text("{")
    assert_fails(words, r"convkit train: --resume: .*config.json is damaged", capsys)
    (folder / "config.json").write_text('{"model": "lenet5"}')
    assert_fails(words, r"convkit train: --resume: .*config.json is damaged \('dataset'\)", capsys)


@pytest.mark.parametrize(
    "settings", ["%s", '{"model": %s}', '{"model": "lenet5", "lr": %s}', '{"lr": "lenet5", "x": %s}']
)
def test_settings_too_deep_to_be_handled_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: str
) -> None:
    for depth in (101, *range(850, 1000, 10), 10**5):
        (tmp_path / "config.json").write_text(settings % ("[" * depth + "]" * depth))
        words = ["train", SMALL, "--resume", str(tmp_path), "--quiet"]
        assert_fails(
            words, r"convkit train: --resume: .*config.json is damaged \(JSON of more than 100 levels\)", capsys
        )


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(run_folder, folder)
    damaged = folder / "checkpoint.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert main(["train", SMALL, "--resume", str(folder), "--quiet"]) == 0
    [line] = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"convkit train: resume: .*checkpoint.safetensors is damaged or not a safetensors file \(.*\); the run goes on "
        r"from the checkpoint before it, .*checkpoint.previous.safetensors, at epoch 6, batch 1",
        line,
    )
    assert_same_weights(folder / "last.safetensors", run_folder / "last.safetensors")


def test_a_run_that_ended_before_its_first_checkpoint_begins_anew(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "early"
    folder.mkdir()
    shutil.copy(run_folder / "config.json", folder)
    assert main(["train", SMALL, "--resume", str(folder), "--quiet"]) == 0
    assert capsys.readouterr().err == f"{folder} holds no checkpoint: the run begins anew\n"
    assert_same_weights(folder / "last.safetensors", run_folder / "last.safetensors")


def test_a_run_that_diverges_says_so_in_a_line(
    in_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*train_words(data_folder, Path("out")), "--lr", "1e30", "--optimizer", "sgd"]
    assert_fails(words, r"convkit train: fit: epoch 1, after \d+ batches .*: the .*lower learning rate", capsys)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimizer": "foo"}, r"optimizer: no optimiser 'foo'; there are adam"),
        ({"schedule": "foo"}, r"schedule: no schedule 'foo'; there are constant"),
        ({"dataset": ["mnist"]}, r"dataset: no data set"),
        ({"epochs": "three"}, r"epochs: must be a whole number above 0"),
        ({"epochs": 10**400}, r"epochs: must be a whole number above 0"),
        ({"batch_size": 0.5}, r"batch_size: must be a whole number above 0"),
        ({"lr": "a"}, r"lr: must be a number above 0, not 'a'"),
        ({"seed": -1}, r"seed: must be a whole number"),
        ({"seed": 2**63}, r"seed: must be a whole number below 2\*\*63"),
        ({"lr": None}, r"lr: must be a number above 0, not 'None'"),
        ({"augment": "spin"}, r"augment: no augmentation 'spin'; there are shift"),
        ({"augment": None}, r"augment: no augmentation 'None'"),
        ({"weight_decay": -1}, r"weight_decay: must be a number from 0, not '-1'"),
        ({"ema_decay": 1}, r"ema_decay: must be a number from 0 to below 1, not '1'"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, object], message: str
) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    settings = json.loads((run_folder / "config.json").read_text()) | changed
    (folder / "config.json").write_text(json.dumps(settings))
    words = ["train", SMALL, "--resume", str(folder), "--quiet"]
    assert_fails(words, rf"convkit train: --resume: .*config.json is damaged \({message}", capsys)


def test_a_folder_with_a_run_is_not_overwritten(
    run_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run_folder / "last.safetensors").read_bytes()
    assert_fails(train_words(data_folder, run_folder), r"convkit train: --out: .* holds a run; --resume it", capsys)
    assert (run_folder / "last.safetensors").read_bytes() == before


# --- evaluate and predict ---


def test_evaluate(run_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = run_folder / "last.safetensors"
    assert main(["evaluate", str(file), "--data", str(data_folder)]) == 0
    with (run_folder / "log.csv").open() as log:
        row = list(csv.DictReader(log))[-1]
    right = round(float(row["val_accuracy"]) * 100)
    assert capsys.readouterr().out == (
        f"loss {float(row['val_loss']):.4f}  accuracy {right / 100:.4f}  ({right} of 100, fashion-mnist)\n"
    )


def test_evaluate_takes_the_data_set_whose_classes_the_weights_name(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ck.load_model(run_folder / "last.safetensors")
    model.classes = list("0123456789")
    ck.save(model, tmp_path / "digits.safetensors")
    assert main(["evaluate", str(tmp_path / "digits.safetensors"), "--data", "sample"]) == 0
    assert capsys.readouterr().out.endswith(" of 1,000, mnist)\n")
    assert (
        main(
            [
                "evaluate",
                str(tmp_path / "digits.safetensors"),
                *["--data", "sample", "--dataset", "fashion_mnist"],
            ]
        )
        == 0
    )
    assert capsys.readouterr().out.endswith(" of 1,000, fashion-mnist)\n")


def test_a_network_of_pixels_is_trained_and_evaluated_on_pixels(
    in_folder: Path, data_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "train encoder-decoder --epochs 1 --quiet --out run --data"
    assert main([*words.split(), str(data_folder)]) == 0
    assert main(["evaluate", "run/last.safetensors", "--data", str(data_folder)]) == 0
    line = capsys.readouterr().out
    [judged] = re.findall(r"of ([\d,]+), fashion-mnist", line)
    assert int(judged.replace(",", "")) == 100 * 28 * 28
    with open("run/log.csv", newline="") as file:
        [row] = csv.DictReader(file)
    assert f"accuracy {float(row['val_accuracy']):.4f}" in line
    assert_fails(["predict", "run/last.safetensors", "x.png"], r"convkit predict: .*encoder_decoder does not", capsys)


def test_predict_pictures_and_idx_files_alike(
    run_folder: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = pytest.importorskip("PIL.Image")
    file = run_folder / "best.safetensors"
    test_set = data.fashion_mnist("test", data_folder)
    model = ck.load_model(file)
    scores = model(test_set.images[:3])
    chances = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)

    images.fromarray(test_set.images[0, 0]).save(tmp_path / "first.png")
    images.fromarray(255 - test_set.images[1, 0]).save(tmp_path / "second.png")
    data.write_idx(tmp_path / "all.idx", test_set.images[:3, 0])
    data.write_idx(tmp_path / "one.idx.gz", test_set.images[2, 0])

    def line(name: str, place: int, top: int) -> str:
        likeliest = np.argsort(-chances[place])[:top]
        named = (f"{test_set.classes[label]} {chances[place, label]:.3f}" for label in likeliest)
        return f"{name}: {', '.join(named)}\n"

    paths = [str(tmp_path / name) for name in ("first.png", "all.idx", "one.idx.gz")]
    assert main(["predict", str(file), *paths]) == 0
    out = capsys.readouterr().out
    assert out == "".join(
        [
            line(paths[0], 0, 3),
            *(line(f"{paths[1]}[{place}]", place, 3) for place in range(3)),
            line(paths[2], 2, 3),
        ]
    )
    assert main(["predict", str(file), str(tmp_path / "second.png"), "--invert", "--top", "1"]) == 0
    assert capsys.readouterr().out == line(str(tmp_path / "second.png"), 1, 1)


def test_other_pictures_are_brought_into_shape(tmp_path: Path) -> None:
    images = pytest.importorskip("PIL.Image")
    from convkit.cli.pictures import read_pictures

    half = np.zeros((56, 84), np.uint8)
    half[:, 42:] = 200
    images.fromarray(half).save(tmp_path / "large.png")
    images.fromarray(np.stack([half] * 3, axis=-1)).save(tmp_path / "colour.png")
    images.fromarray(half.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    see_through = np.zeros((56, 84, 4), np.uint8)
    see_through[:, 42:, 3] = 255  # black on the right, nothing on the left
    images.fromarray(see_through).save(tmp_path / "see-through.png")
    turned = images.fromarray(np.rot90(half).copy())
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    turned.save(tmp_path / "turned.png", exif=exif)

    names = [str(tmp_path / f"{name}.png") for name in ("large", "colour", "deep", "turned", "see-through")]
    given, pictures = read_pictures(names, (1, 28, 28))
    assert given == names
    assert pictures.shape == (5, 1, 28, 28) and pictures.dtype == np.uint8
    for picture in pictures[:4]:
        np.testing.assert_allclose(picture[0, :, :12], 0, atol=2)
        np.testing.assert_allclose(picture[0, :, 16:], 200, atol=6)
    np.testing.assert_allclose(pictures[4, 0, :, :12], 255, atol=2)
    np.testing.assert_allclose(pictures[4, 0, :, 16:], 0, atol=6)
    assert read_pictures(names[:1], (3, 10, 20))[1].shape == (1, 3, 10, 20)


@pytest.mark.parametrize("size", [(64, 200), (200, 64), (50, 50)])
def test_pictures_are_seen_as_in_training(tmp_path: Path, size: tuple[int, int]) -> None:
    """They were squeezed into the network's form, of which a folder's pictures are cut out."""
    images = pytest.importorskip("PIL.Image")
    from convkit.cli.pictures import read_pictures

    (tmp_path / "pets" / "cat").mkdir(parents=True)
    path = tmp_path / "pets" / "cat" / "a.png"
    images.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    for channels, mode in ((3, "RGB"), (1, "L")):
        _, seen = read_pictures([str(path)], (channels, 32, 24))
        trained = data.image_folder(tmp_path / "pets", (32, 24), channels=mode).images[:]
        np.testing.assert_array_equal(seen, trained)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"once upon a time", r".*file is not a picture that Pillow reads"),
        (None, r".*file: No such file or directory"),
        (
            np.zeros((2, 27, 28), np.uint8),
            r".*file: expected uint8 pictures of 1 × 28 × 28, got uint8 of shape \(2, 27, 28\)",
        ),
        (np.zeros((28, 28), np.float32), r".*expected uint8 pictures .* got float32"),
        (b"\0\0\x08\x02\0\0", r".*file"),
    ],
)
def test_what_is_no_picture_is_refused(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: object, message: str
) -> None:
    pytest.importorskip("PIL")
    path = tmp_path / "file"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, np.ndarray):
        data.write_idx(path, content)
    assert_fails(["predict", str(run_folder / "best.safetensors"), str(path)], f"convkit predict: {message}", capsys)


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ([], r"load_model: .*odd is no file of convkit"),
        ({"format": 1, "architecture": {"name": "lenet5"}}, r"load_model: .*odd is no file of convkit"),
        (
            {
                "format": 1,
                "architecture": {"name": "lenet5", "arguments": {}},
                "classes": ["zero", "one"],
                "dtype": "float32",
            },
            r".*odd: names 2 classes for 10 outputs",
        ),
    ],
)
def test_a_file_that_is_no_model_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], about: object, message: str
) -> None:
    save_file(ck.models.lenet5().state_dict(), tmp_path / "odd", metadata={"convkit": json.dumps(about)})
    data.write_idx(tmp_path / "x.idx", np.zeros((28, 28), np.uint8))
    words = ["predict", str(tmp_path / "odd"), str(tmp_path / "x.idx")]
    assert_fails(words, f"convkit predict: {message}", capsys)


def test_without_pillow_the_message_names_the_command(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    words = ["predict", str(run_folder / "best.safetensors"), str(tmp_path / "x.png")]
    assert_fails(words, r'convkit predict: .*pip install "convkit\[images\]"', capsys)


# --- the rest ---


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["MODEL", "PARAMETERS", "DATA", "SET", "PAPER"]
    found = {line.split()[0]: line.split()[1:3] for line in lines[1:]}
    assert found["fashion-cnn-small"] == ["28,460", "fashion-mnist"]
    assert found["lenet5"] == ["61,706", "mnist"]


def test_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["summary", "lenet5"]) == 0
    assert capsys.readouterr().out == ck.models.lenet5().summary() + "\n"


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert ck.__version__ in out and "threads" in out


# --- data sets in colour, and of one's own ---


def test_cifar_by_its_name(
    in_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    (in_folder / "cifar-10-batches-bin").mkdir()
    for file in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        records = rng.integers(0, 256, (10, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(10)
        (in_folder / "cifar-10-batches-bin" / f"{file}.bin").write_bytes(records.tobytes())
    monkeypatch.setenv(sources.VARIABLE, str(in_folder))
    assert (
        main(["train", "resnet20", "--dataset", "cifar10", "--epochs", "1", "--batch-size", "16", "--out", "run"]) == 0
    )
    out = capsys.readouterr().out
    assert "resnet20: 269,722 parameters" in out  # section 4.2 has 0.27 million
    assert "cifar10: 50 training and 10 test images from" in out
    model = ck.load_model("run/best.safetensors")
    assert model.architecture == {"name": "resnet20", "arguments": {"in_channels": 3}}
    assert model.input_shape == (3, 32, 32)
    assert model.classes is not None and model.classes[3] == "cat"
    assert main(["evaluate", "run/best.safetensors"]) == 0  # the classes say which data set
    assert "of 10, cifar10)" in capsys.readouterr().out
    assert_fails(
        ["train", "lenet5", "--dataset", "cifar10"], r"convkit train: lenet5 cannot take images of 3 × 32", capsys
    )
    assert sorted(path.name for path in in_folder.iterdir()) == ["cifar-10-batches-bin", "run"]


@pytest.fixture
def pictures(in_folder: Path) -> Path:
    """Dark and light pictures, in folders for training and testing."""
    images = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for part, count in (("train", 24), ("test", 6)):
        for name, middle in (("dark", 60), ("light", 190)):
            (in_folder / "pictures" / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(middle - 50, middle + 50, (30, 40, 3), dtype=np.uint8)
                images.fromarray(pixels).save(in_folder / "pictures" / part / name / f"{number}.png")
    return in_folder / "pictures"


def test_a_folder_of_pictures(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "train resnet20 --dataset folder --data pictures --epochs 2 --batch-size 8 --lr 0.01 --size 16 --out run"
    assert main(words.split()) == 0
    out = capsys.readouterr().out
    assert f"folder: 48 training and 12 test images from {pictures / 'train'}" in out
    model = ck.load_model("run/last.safetensors")
    assert model.architecture == {"name": "resnet20", "arguments": {"in_channels": 3, "num_classes": 2}}
    assert (model.input_shape, model.classes) == ((3, 16, 16), ["dark", "light"])
    assert main(["evaluate", "run/best.safetensors", "--dataset", "folder", "--data", "pictures"]) == 0
    assert "accuracy 1.0000  (12 of 12, folder)" in capsys.readouterr().out
    message = r"convkit evaluate: run/best.safetensors: does not name the classes of a data set; give --dataset"
    assert_fails(["evaluate", "run/best.safetensors"], message, capsys)
    assert main(["predict", "run/best.safetensors", "pictures/test/light/0.png", "--top", "1"]) == 0
    assert capsys.readouterr().out.startswith("pictures/test/light/0.png: light ")
    assert (
        main(["train", "resnet20", "--resume", "run", "--epochs", "3", "--quiet"]) == 2
    )  # a schedule is spread over them
    assert "schedule" in capsys.readouterr().err
    (pictures / "train").rename(pictures / "gone")
    assert_fails(
        words.split()[:6], r"convkit train: --data: .*pictures should hold a folder train, but holds none", capsys
    )


def test_a_network_without_a_data_set_can_have_a_folder(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (pictures / "test").rename(pictures / "val")
    words = "train resnet18 --dataset folder --data pictures --size 32 --epochs 1 --lr 1e-4 --quiet --out run"
    assert main(words.split()) == 0
    assert ck.load_model("run/last.safetensors").input_shape == (3, 32, 32)


def test_a_network_of_ten_classes_has_ten(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "train lenet5 --dataset folder --data pictures"
    assert_fails(words.split(), r"convkit train: lenet5 has 10 outputs, which does not fit 2 classes", capsys)


def assert_fails(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on standard error, nothing on standard output, status 2."""
    try:
        status = main(words)
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert err.count("\n") == 1 and err.endswith("\n"), err
    assert re.match(message, err), err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", r"convkit: the following arguments are required: COMMAND"),
        ("fly", r"convkit: argument COMMAND: invalid choice: 'fly'"),
        ("train", r"convkit train: the following arguments are required: MODEL"),
        ("train lenet9", r"convkit train: argument MODEL: no network 'lenet9'; there are .*lenet5"),
        (
            "train lenet5 --epochs 0",
            r"convkit train: argument --epochs: must be a whole number above 0 and below 10\*\*9, not '0'",
        ),
        (
            "train alexnet --dataset mnist",
            r"convkit train: alexnet is for images of 3 × 227 × 227, of which .* no data",
        ),
        ("train lenet5 --epochs two", r"convkit train: argument --epochs: must be .* not 'two'"),
        ("train lenet5 --batch-size -1", r"convkit train: argument --batch-size: "),
        ("train lenet5 --lr -1", r"convkit train: argument --lr: must be a number above 0, not '-1'"),
        (
            "train lenet5 --augment shift,spin",
            r"convkit train: argument --augment: no augmentation 'spin'; there are shift, flip, rotate, erase, cut",
        ),
        (
            "train lenet5 --augment shift=x",
            r"convkit train: argument --augment: shift takes a whole number, as in shift=2, not 'x'",
        ),
        (
            "train lenet5 --augment flip=",
            r"convkit train: argument --augment: flip takes a number, as in flip=0.5, not ''",
        ),
        (
            "train lenet5 --augment flip=2",
            r"convkit train: argument --augment: RandomHorizontalFlip: p must be from 0 to 1, not 2.0",
        ),
        (
            "train lenet5 --label-smoothing 1",
            r"convkit train: argument --label-smoothing: must be a number from 0 to below 1, not '1'",
        ),
        (
            "train lenet5 --weight-decay inf",
            r"convkit train: argument --weight-decay: must be a number from 0, not 'inf'",
        ),
        ("train lenet5 --ema-decay x", r"convkit train: argument --ema-decay: must be a number from 0 to below 1"),
        ("train lenet5 --clip-norm 0", r"convkit train: argument --clip-norm: must be a number above 0, not '0'"),
        ("train lenet5 --clip-value -1", r"convkit train: argument --clip-value: "),
        ("train lenet5 --lr nan", r"convkit train: argument --lr: must be a number above 0, not 'nan'"),
        ("train lenet5 --seed -1", r"convkit train: argument --seed: must be a whole number below 2\*\*63, not '-1'"),
        (
            "train lenet5 --data sample --seed 99999999999999999999999",
            r"convkit train: argument --seed: must be a whole number below 2\*\*63, not '9{23}'",
        ),
        ("train lenet5 --epochs 1" + "0" * 400, r"convkit train: argument --epochs: must be a whole number"),
        ("train lenet5 --data sample --threads 99999999999", r"convkit train: argument --threads: must be a whole"),
        ("train lenet5 --data sample --threads 999999999", r"convkit train: set_num_threads: n must be at most"),
        (
            "train lenet5 --optimizer magic",
            r"convkit train: argument --optimizer: no optimiser 'magic'; there are adam",
        ),
        (
            "train lenet5 --schedule magic",
            r"convkit train: argument --schedule: no schedule 'magic'; there are constant",
        ),
        (
            "train lenet5 --dataset cats",
            r"convkit train: argument --dataset: no data set 'cats'; there are mnist",
        ),
        ("train lenet5 --dataset folder", r"convkit train: --dataset folder: --data must name the folder"),
        ("train lenet5 --size 20", r"convkit train: --size: mnist has images of one size; give it with --dataset fold"),
        ("train lenet5 --threads 0", r"convkit train: argument --threads: must be"),
        ("train lenet5 --data nowhere", r"convkit train: mnist: source must be 'auto', 'sample' or a folder"),
        ("train lenet5 --resume nowhere", r"convkit train: nowhere.config.json: No such file or directory"),
        ("train lenet5 --wings 2", r"convkit: unrecognized arguments: --wings 2"),
        ("evaluate nowhere", r"convkit evaluate: nowhere: No such file or directory"),
        ("predict nowhere", r"convkit predict: the following arguments are required: IMAGE"),
        ("predict nowhere x.png", r"convkit predict: nowhere: No such file or directory"),
        ("summary x", r"convkit summary: argument MODEL: no network 'x'"),
    ],
)
def test_bad_arguments_end_with_one_line(
    in_folder: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    assert_fails(words.split(), message, capsys)
    assert not list(in_folder.iterdir())


def test_as_a_process(tmp_path: Path) -> None:
    done = convkit("evaluate", "nowhere", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "convkit evaluate: nowhere: No such file or directory\n"
    done = convkit("--version")
    assert (done.returncode, done.stdout) == (0, f"convkit {ck.__version__}\n")
    done = convkit("train", "--help")
    assert done.returncode == 0 and "--schedule" in done.stdout


def test_signs_that_the_output_cannot_encode_are_replaced() -> None:
    done = convkit("summary", "lenet5", env=os.environ | {"PYTHONIOENCODING": "ascii:strict"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "??????" in done.stdout and "total  Sequential" in done.stdout


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
def test_a_reader_that_has_had_enough_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "convkit", "models"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_control_c_outside_of_training_is_130_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ck, "show_config", interrupted)
    assert main(["info"]) == 130
    assert capsys.readouterr().err == "convkit info: interrupted\n"
