"""Whatever ends a run, what was saved before is intact, and the run goes on from there to the same bits."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import data, files, nn, optim
from convkit import functional as F
from convkit.train import Callback

Make = Callable[[], nn.Sequential]

EPOCHS = 3


def new_trainer(make_model: Make) -> ck.Trainer:
    return ck.Trainer(make_model(), nn.CrossEntropyLoss(), optim.Adam(1e-2), metrics=["accuracy"])


def go_on(make_model: Make, train_set: Any, path: Path, **options: Any) -> ck.Trainer:
    """Train to the end, from the checkpoint where there is one."""
    resume = path if path.exists() or path.with_name("run.previous.safetensors").exists() else None
    trainer = new_trainer(make_model)
    settings: dict[str, Any] = {"epochs": EPOCHS, "batch_size": 64, "checkpoint": path, "resume": resume, "verbose": 0}
    trainer.fit(train_set, **{**settings, **options})
    return trainer


def state(trainer: ck.Trainer) -> dict[str, bytes]:
    return {name: values.tobytes() for name, values in trainer.model.state_dict().items()}


@pytest.fixture
def unbroken(make_model: Make, train_set: data.Dataset) -> dict[str, bytes]:
    trainer = new_trainer(make_model)
    trainer.fit(train_set, epochs=EPOCHS, batch_size=64, verbose=0)
    return state(trainer)


@pytest.fixture
def run(make_model: Make, train_set: data.Dataset, tmp_path: Path) -> Path:
    """The checkpoints of a run that has come to the end of epoch 2."""
    path = tmp_path / "run.safetensors"
    go_on(make_model, train_set, path, epochs=2)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def in_child(work: Callable[[], Any]) -> int:
    """Do some work in a forked process, and return how it ended: 0, 1 after an exception, minus the signal."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


# --- killed ---


def dying_at(line: int, work: Callable[[], Any]) -> Callable[[], None]:
    """The work, ended by SIGKILL just before so many lines of `convkit.files` have run."""

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal line
        if frame.f_code.co_filename != files.__file__:
            return None
        line -= event == "line"
        if line == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    def run() -> None:
        sys.settrace(trace)
        work()

    return run


@forks
def test_killed_while_checkpoints_are_written(
    make_model: Make, train_set: data.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a thousand of them, and the disk is not what dies
    few = train_set[:32]
    unbroken = state(go_on(make_model, few, tmp_path / "whole"))
    for line in range(1, 500, 3):
        path = tmp_path / str(line) / "run.safetensors"
        status = in_child(dying_at(line, lambda path=path: go_on(make_model, few, path)))
        assert status in (0, -signal.SIGKILL)
        assert state(go_on(make_model, few, path)) == unbroken, f"killed at line {line}"
        if status == 0:
            break
    assert 60 < line < 200  # three checkpoints


@forks
def test_killed_at_random_again_and_again(
    make_model: Make, train_set: data.Dataset, tmp_path: Path, unbroken: dict[str, bytes]
) -> None:
    moments, path = random.Random(3), tmp_path / "run.safetensors"

    def killed_soon() -> None:
        signal.signal(signal.SIGALRM, lambda *arguments: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, moments.uniform(0.001, 0.05))
        go_on(make_model, train_set, path)

    kills = 0
    while in_child(killed_soon) == -signal.SIGKILL:
        kills += 1
        moments.random()  # the child's draws are lost with it
    assert kills
    assert state(go_on(make_model, train_set, path)) == unbroken


def test_what_a_killed_writer_left_is_removed_when_it_is_old(tmp_path: Path) -> None:
    path = tmp_path / "run[1].safetensors"
    old, new, other = (files.temporary_beside(tmp_path / name) for name in ("run[1].safetensors",) * 2 + ("other",))
    for file in (old, new, other):
        file.write_text("half")
    for file in (old, other):
        os.utime(file, (time.time() - 7200,) * 2)
    files.write_whole(path, "whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, new, other])


# --- no room, no permission, Ctrl-C ---


@forks
@pytest.mark.parametrize("limit", [0, 1000, 3000])
def test_a_full_disk_leaves_the_last_checkpoint(
    make_model: Make, train_set: data.Dataset, run: Path, unbroken: dict[str, bytes], limit: int
) -> None:
    resource = pytest.importorskip("resource")
    before = contents(run.parent)
    assert len(before) == 2 and all(len(content) > limit for content in before.values())

    def with_little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with pytest.raises(OSError, match=r"File too large: '.*run\.safetensors'"):
            go_on(make_model, train_set, run)

    assert in_child(with_little_room) == 0
    assert contents(run.parent) == before
    assert state(go_on(make_model, train_set, run)) == unbroken


@forks
def test_a_folder_that_cannot_be_written_is_named_and_left_alone(
    make_model: Make, train_set: data.Dataset, run: Path, unbroken: dict[str, bytes]
) -> None:
    before = contents(run.parent)

    def without_permission() -> None:
        # Folders on the way are entered before the rights are given up: root may write everywhere.
        os.chdir(run.parent)
        if os.geteuid() == 0:
            os.setuid(65534)
        with pytest.raises(PermissionError, match=r"Permission denied: 'run\.safetensors'"):
            go_on(make_model, train_set, Path(run.name))

    run.parent.chmod(0o555)
    try:
        assert in_child(without_permission) == 0
    finally:
        run.parent.chmod(0o755)
    assert contents(run.parent) == before
    assert state(go_on(make_model, train_set, run)) == unbroken


class PressAfter(Callback):
    """Ctrl-C after a batch; and a second time when its checkpoint is written."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def on_batch_end(self, trainer: ck.Trainer, loss: float) -> None:
        if trainer.batch == self.batch:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("place", ["fsync", "replace", "link"])
def test_a_second_ctrl_c_while_the_checkpoint_is_written_leaves_the_one_before(
    make_model: Make,
    train_set: data.Dataset,
    run: Path,
    unbroken: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    real = getattr(os, place)

    def pressed(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return real(*arguments)

    last = run.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, place, pressed)
        with pytest.raises(KeyboardInterrupt):
            go_on(make_model, train_set, run, callbacks=[PressAfter(2)])
    assert run.read_bytes() == last
    assert len(list(run.parent.iterdir())) == 2
    assert state(go_on(make_model, train_set, run)) == unbroken


# --- damaged ---


def refused(make_model: Make, path: Path) -> str:
    """Why `resume` refuses a file."""
    trainer = new_trainer(make_model)
    with pytest.raises(ValueError, match=r"^(resume|fit): ") as refusal:
        trainer.fit(BARS, epochs=EPOCHS, batch_size=64, resume=path, verbose=0)
    return str(refusal.value)


BARS = (np.zeros((150, 1, 8, 8), np.uint8), np.zeros(150, np.int64))


def test_a_checkpoint_cut_anywhere_is_refused(make_model: Make, run: Path, tmp_path: Path) -> None:
    content, cut = run.read_bytes(), tmp_path / "cut.safetensors"
    for length in [*range(0, len(content), 97), len(content) - 1]:
        cut.write_bytes(content[:length])
        assert "cut.safetensors is damaged or not a safetensors file" in refused(make_model, cut), length


def test_a_checkpoint_with_a_bit_changed_anywhere_is_refused(run: Path, tmp_path: Path) -> None:
    from convkit.train import checkpoint

    content, damaged = bytearray(run.read_bytes()), tmp_path / "damaged.safetensors"
    generator = random.Random(5)
    for place in range(0, len(content), 7):
        bit = 1 << generator.randrange(8)
        content[place] ^= bit
        damaged.write_bytes(content)
        with pytest.raises(ValueError, match=r"^resume: .*damaged\.safetensors "):
            checkpoint._read_training(damaged)
        content[place] ^= bit
    damaged.write_bytes(content)
    checkpoint._read_training(damaged)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 4
    path.write_bytes(content)


def retold(path: Path) -> None:
    """An epoch that is not the one that was written, in JSON that is well-formed."""
    path.write_bytes(path.read_bytes().replace(b'\\"epoch\\": 2, \\"batch\\"', b'\\"epoch\\": 1, \\"batch\\"'))


def broken(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'\\"training\\": {', b'\\"training\\": ['))


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [cut, emptied, zeroed, flipped, retold, broken, removed])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    make_model: Make,
    train_set: data.Dataset,
    run: Path,
    unbroken: dict[str, bytes],
    damage: Callable[[Path], None],
) -> None:
    content = run.read_bytes()
    damage(run)
    assert not run.exists() or run.read_bytes() != content
    why = "is not there" if damage is removed else "is damaged"
    message = rf"run\.safetensors {why}.* goes on from the checkpoint before it, .*run\.previous.*, at epoch 2, batch 1"
    with pytest.warns(UserWarning, match=message):
        resumed = go_on(make_model, train_set, run)
    assert state(resumed) == unbroken


def test_when_both_checkpoints_are_damaged_the_last_is_named(
    make_model: Make, train_set: data.Dataset, run: Path
) -> None:
    cut(run)
    cut(run.with_name("run.previous.safetensors"))
    with pytest.raises(ValueError, match=r"resume: .*run\.safetensors is damaged"):
        go_on(make_model, train_set, run)


def on_a_failing_disk(path: Path) -> None:
    """Let the file be one that can be opened, but whose first byte cannot be read."""
    path.unlink()
    path.symlink_to("/proc/self/mem")
    with path.open("rb") as file, pytest.raises(OSError, match="Input/output error"):
        file.read(1)


fails = pytest.mark.skipif(sys.platform != "linux", reason="reading fails in a file of Linux")


@fails
def test_a_checkpoint_that_cannot_be_read_is_named_and_the_one_before_it_used(
    make_model: Make, train_set: data.Dataset, run: Path, unbroken: dict[str, bytes]
) -> None:
    on_a_failing_disk(run)
    message = (
        r"^resume: .*run\.safetensors cannot be read \(Input/output error\); the run goes on from the checkpoint "
        r"before it, .*run\.previous\.safetensors, at epoch 2, batch 1$"
    )
    with pytest.warns(UserWarning, match=message):
        resumed = go_on(make_model, train_set, run)
    assert state(resumed) == unbroken
    assert (epoch_of(run), epoch_of(run.with_name("run.previous.safetensors"))) == (3, 2)


@fails
def test_when_no_checkpoint_can_be_read_the_last_is_named(make_model: Make, train_set: data.Dataset, run: Path) -> None:
    on_a_failing_disk(run)
    for damage in (cut, on_a_failing_disk, removed):
        damage(run.with_name("run.previous.safetensors"))
        with pytest.raises(OSError, match=r"Input/output error: '.*run\.safetensors'"):
            go_on(make_model, train_set, run)


@forks
def test_a_checkpoint_that_is_forbidden_is_named_and_the_one_before_it_used(
    make_model: Make, train_set: data.Dataset, run: Path, unbroken: dict[str, bytes]
) -> None:
    def without_permission() -> None:
        os.chdir(run.parent)
        if os.geteuid() == 0:
            os.setuid(65534)
        with pytest.warns(
            UserWarning, match=r"run\.safetensors cannot be read \(Permission denied\); .*epoch 2, batch 1"
        ):
            resumed = go_on(make_model, train_set, Path(run.name))
        assert state(resumed) == unbroken

    run.chmod(0)
    run.parent.chmod(0o777)
    assert in_child(without_permission) == 0


def epoch_of(path: Path) -> int:
    header = path.read_bytes()
    size = int.from_bytes(header[:8], "little")
    about = json.loads(json.loads(header[8 : 8 + size])["__metadata__"]["convkit"])
    epoch: int = about["training"]["epoch"]
    return epoch


def test_a_damaged_checkpoint_never_takes_the_place_of_the_good_one_before(
    make_model: Make, train_set: data.Dataset, run: Path
) -> None:
    before = run.with_name("run.previous.safetensors")
    cut(run)
    with pytest.warns(UserWarning, match="damaged"):
        go_on(make_model, train_set, run, epochs=2)
    assert (epoch_of(run), epoch_of(before)) == (2, 1)
    go_on(make_model, train_set, run, epochs=4)
    assert (epoch_of(run), epoch_of(before)) == (4, 3)


def test_checkpoints_of_another_run_are_not_taken_for_the_one_before(
    make_model: Make, train_set: data.Dataset, run: Path
) -> None:
    new_trainer(make_model).fit(train_set, epochs=1, batch_size=64, checkpoint=run, verbose=0)
    assert list(run.parent.iterdir()) == [run]


def test_where_files_have_one_name_only_the_old_one_is_moved(
    make_model: Make, train_set: data.Dataset, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    go_on(make_model, train_set, run)
    assert (epoch_of(run), epoch_of(run.with_name("run.previous.safetensors"))) == (3, 2)


# --- other data ---


def test_a_run_does_not_go_on_with_other_data(make_model: Make, train_set: data.Dataset, run: Path) -> None:
    images, labels = train_set.images.copy(), train_set.labels.copy()
    images[77, 0, 3, 3] ^= 1
    labels[5] = (labels[5] + 1) % 3
    for other, message in (
        ((images, train_set.labels), r"fit: train data\.0 must be uint8 array \(150, 1, 8, 8\), checksum \w+, as in"),
        (
            (train_set.images, labels),
            r"fit: train data\.1 must be int64 array \(150,\), checksum \w+, as in the run of",
        ),
        (
            (train_set.images[:149], train_set.labels[:149]),
            r"train data\.0 must be .* not uint8 array \(149, 1, 8, 8\)",
        ),
        (data.Batches(train_set, 64, seed=1), r"fit: train data must be 2 entries, as in the run of .*, not Batches"),
    ):
        with pytest.raises(ValueError, match=message):
            go_on(make_model, other, run)
    with pytest.raises(ValueError, match=r"fit: validation data must be None, .* not 2 entries"):
        go_on(make_model, train_set, run, validation=train_set)


def test_batches_are_compared_with_their_settings(make_model: Make, train_set: data.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    go_on(make_model, data.Batches(train_set, 64, seed=1), path, epochs=1)
    with pytest.raises(ValueError, match=r"fit: train data\.seed must be 1, as in the run of .*, not 2"):
        go_on(make_model, data.Batches(train_set, 64, seed=2), path)
    go_on(make_model, data.Batches(train_set, 64, seed=1), path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of three classes, eight each."""
    images = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for name in ("top", "middle", "bottom"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(8):
            pixels = rng.integers(0, 256, (12, 10), dtype=np.uint8)
            images.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path / "pictures"


def pictures(folder: Path, **options: Any) -> data.Dataset:
    return data.image_folder(folder, **{"size": 8, "channels": "L", **options})


def repainted(folder: Path) -> data.Dataset:
    """Another picture in a file whose size and times stay as they were."""
    path = folder / "middle" / "3.png"
    times, content = path.stat(), bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return pictures(folder)


def exchanged(folder: Path) -> data.Dataset:
    """The same pictures of the same classes, two of which stand in each other's places."""
    one, other = folder / "top" / "1.png", folder / "top" / "2.png"
    one.rename(folder / "top" / "x")
    other.rename(one)
    (folder / "top" / "x").rename(other)
    return pictures(folder)


def renamed(folder: Path) -> data.Dataset:
    (folder / "top" / "7.png").rename(folder / "top" / "8.png")
    return pictures(folder)


def one_fewer(folder: Path) -> data.Dataset:
    (folder / "top" / "7.png").unlink()
    return pictures(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (repainted, r"data\.0\.files must be checksum \w+, as in the run of .*, not checksum \w+$"),
        (exchanged, r"data\.0\.files must be checksum \w+, as in the run of .*, not checksum \w+$"),
        (renamed, r"data\.0\.files must be checksum \w+, as in the run of .*, not checksum \w+$"),
        (one_fewer, r"data\.0 must be pictures \(24, 1, 8, 8\), as in the run of .*, not pictures \(23, 1, 8, 8\)$"),
        (lambda folder: pictures(folder, resize=9), r"data\.0\.resize must be None, as in the run of .*, not 9$"),
        (lambda folder: pictures(folder, size=(8, 6)), r"data\.0 must be pictures .*, not pictures \(24, 1, 8, 6\)$"),
        (lambda folder: pictures(folder, channels="RGB"), r"data\.0 must be pictures .*\(24, 3, 8, 8\)$"),
        (lambda folder: pictures(folder, in_memory=True), r"data\.0 must be pictures .*, not uint8 array .*"),
    ],
)
@pytest.mark.parametrize("argument", ["train", "validation"])
def test_a_run_does_not_go_on_with_other_pictures(
    make_model: Make,
    folder: Path,
    tmp_path: Path,
    argument: str,
    change: Callable[[Path], data.Dataset],
    message: str,
) -> None:
    """The colours of the pictures that train are the model's; here they are refused before it sees any."""
    path, arrays = tmp_path / "run" / "run.safetensors", (np.zeros((4, 1, 8, 8), np.uint8), np.arange(4) % 3)

    def train(pictured: data.Dataset, epochs: int) -> ck.Trainer:
        sets = {"train_set": arrays, argument if argument == "validation" else "train_set": pictured}
        return go_on(make_model, path=path, epochs=epochs, batch_size=8, **sets)

    moved = folder.with_name("moved")
    shutil.copytree(folder, moved)  # with other times
    train(pictures(folder), 2)
    before = contents(path.parent)
    with pytest.raises(ValueError, match=rf"^fit: {argument} {message}"):
        train(change(folder), EPOCHS)
    assert contents(path.parent) == before
    resumed = state(train(pictures(moved), EPOCHS))
    shutil.rmtree(path.parent)
    assert resumed == state(train(pictures(moved), EPOCHS))


def test_batches_of_other_pictures_are_refused(make_model: Make, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    go_on(make_model, data.Batches(pictures(folder), 8), path, epochs=1)
    resized = pictures(folder, resize=np.int64(10))
    with pytest.raises(ValueError, match=r"fit: train data\.arrays\.0\.resize must be None, .* not 10"):
        go_on(make_model, data.Batches(resized, 8), path)
    go_on(make_model, data.Batches(pictures(folder), 8), path)


@pytest.mark.parametrize("kind", [tuple, data.Dataset])
def test_after_a_refusal_the_right_data_go_on(
    make_model: Make, train_set: data.Dataset, run: Path, unbroken: dict[str, bytes], kind: type
) -> None:
    def given(images: np.ndarray) -> Any:
        pair = images, train_set.labels
        return pair if kind is tuple else data.Dataset(*pair, classes=train_set.classes)

    other = train_set.images.copy()
    other[149, 0, 7, 7] ^= 128
    before = contents(run.parent)
    with pytest.raises(ValueError, match=r"^fit: train data\.0 must be uint8 array .* checksum"):
        go_on(make_model, given(other), run)
    assert contents(run.parent) == before
    assert state(go_on(make_model, given(train_set.images), run)) == unbroken


# --- diverging ---


def points() -> tuple[np.ndarray, np.ndarray]:
    return np.random.default_rng(1).standard_normal((16, 3)).astype(np.float32), np.arange(16) % 2


def with_moments() -> nn.Sequential:
    ck.set_seed(2)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_a_run_that_diverges_names_epoch_batch_and_layer_and_keeps_the_weights_of_before(tmp_path: Path) -> None:
    class Spoil(Callback):
        """Makes the third layer explode in the second epoch."""

        def on_batch_end(self, trainer: ck.Trainer, loss: float) -> None:
            if (trainer.epoch, trainer.batch) == (1, 2):
                weight = trainer.model.parameters()["2.weight"]
                weight.assign(np.full(weight.shape, 3e38))

    path = tmp_path / "run.safetensors"
    trainer = ck.Trainer(with_moments(), nn.CrossEntropyLoss(), optim.SGD(0.1))
    message = (
        r"fit: epoch 2, after 2 batches \(6 updates of the run\): the loss is nan; the first that is not finite is the "
        r"output of layer 2 \(Linear\)\. The model has the weights again that it had when fit came to this epoch, and "
        r".*run\.safetensors holds the run as it was then"
    )
    with pytest.raises(FloatingPointError, match=message):
        trainer.fit(points(), epochs=3, batch_size=4, callbacks=[Spoil()], checkpoint=path, verbose=0)
    assert len(trainer.history) == 1
    saved = with_moments()
    ck.load(saved, path)
    for name, values in saved.state_dict().items():
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(trainer.model.state_dict()[name], values, err_msg=name)


def test_an_update_that_overflows_is_noticed_before_it_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    trainer = ck.Trainer(with_moments(), nn.CrossEntropyLoss(), optim.SGD(lambda update: 0.1 if update < 8 else 1e40))
    first = trainer.model.state_dict()
    with pytest.raises(
        FloatingPointError,
        match=r"epoch 1, after 1 batches \(1 updates of the run\): the update has left 0\.weight not",
    ):
        ck.Trainer(trainer.model, trainer.loss, optim.SGD(1e40)).fit(points(), epochs=1, batch_size=16, verbose=0)
    for name, values in trainer.model.state_dict().items():
        np.testing.assert_array_equal(values, first[name], err_msg=name)
    with pytest.raises(FloatingPointError, match=r"fit: epoch 3, after 1 batches .*is parameter 0\.weight"):
        trainer.fit(points(), epochs=4, batch_size=4, checkpoint=path, verbose=0)
    assert epoch_of(path) == 2


def test_running_moments_that_overflow_are_a_divergence() -> None:
    """Normalised by the batch's own moments, an exploding network has a finite loss; inference would be NaN."""
    ck.set_seed(0)
    model = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)
    )
    good = model.state_dict()

    class Overflow(Callback):
        def on_batch_end(self, trainer: ck.Trainer, loss: float) -> None:
            trainer.model[4].running_var.assign(np.full(4, np.inf))

    with pytest.raises(
        FloatingPointError, match=r"fit: epoch 1, .*the forward pass has left 4\.running_var not finite"
    ):
        ck.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(0.1)).fit(
            points(), epochs=1, callbacks=[Overflow()], verbose=0
        )
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, good[name], err_msg=name)


def test_a_buffer_that_never_was_finite_is_no_divergence() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            self.dense, self.mask = nn.Linear(3, 3), ck.Buffer(np.float32([0, 0, -np.inf]))

        def forward(self, x: Any) -> Any:
            return self.dense(x)

    model = Masked()
    ck.Trainer(model, nn.CrossEntropyLoss(), optim.SGD(0.1)).fit(points(), epochs=1, verbose=0)
    assert np.isneginf(model.mask.value[2])


def test_averages_of_before_come_back_with_the_weights() -> None:
    trainer = ck.Trainer(
        with_moments(), nn.CrossEntropyLoss(), optim.SGD(lambda update: 0.1 if update < 5 else 1e30), ema_decay=0.9
    )
    seen: list[dict[str, np.ndarray]] = []

    class Remember(Callback):
        def on_epoch_end(self, trainer: ck.Trainer, row: dict[str, float]) -> None:
            with trainer.averaged():
                seen.append(trainer.model.state_dict())

    with pytest.raises(FloatingPointError, match="fit: epoch 2"):
        trainer.fit(points(), epochs=3, batch_size=4, callbacks=[Remember()], verbose=0)
    with trainer.averaged():
        for name, values in trainer.model.state_dict().items():
            np.testing.assert_array_equal(values, seen[-1][name], err_msg=name)


def test_a_batch_in_which_no_label_counts_is_no_divergence() -> None:
    x, labels = points()
    labels[:8] = -1
    trainer = ck.Trainer(with_moments(), nn.CrossEntropyLoss(ignore_index=-1), optim.SGD(0.1))
    trainer.fit([(x[:8], labels[:8]), (x[8:], labels[8:])], epochs=2, verbose=0)
    assert all(np.isfinite(values).all() for values in trainer.model.state_dict().values())


class Own(nn.Module):
    """Multiplies on its own between two layers, the second of which lies deeper."""

    def __init__(self, factor: float) -> None:
        self.first, self.factor = nn.Linear(3, 3), factor
        self.rest = nn.Sequential(nn.LeakyReLU(), nn.Linear(3, 2))

    def forward(self, x: Any) -> Any:
        return self.rest(self.first(x) * self.factor)


CROSS_ENTROPY = nn.CrossEntropyLoss()


@pytest.mark.parametrize(
    ("factor", "x", "loss", "first"),
    [
        (1.0, np.nan, CROSS_ENTROPY, r"array 0 of the batch"),
        (1.0, 3e38, CROSS_ENTROPY, r"the output of layer first \(Linear\)"),
        (np.inf, 1.0, CROSS_ENTROPY, r"the output of Scale in the model's own forward"),
        (1.0, 1.0, lambda y, t: CROSS_ENTROPY(y, t) * np.inf, r"the output of Scale in the loss"),
        (
            1.0,
            0.0,
            lambda y, t: F.mean(y) * 1e30 * 1e30,
            r"the gradient to the output of \w+ in the loss",
        ),
        (
            1e30,
            0.0,
            lambda y, t: F.mean(y) * 1e30,
            r"the gradient to the output of layer first \(Linear\)",
        ),
    ],
)
def test_the_first_value_that_is_not_finite_is_found(factor: float, x: float, loss: Any, first: str) -> None:
    ck.set_seed(2)
    model = Own(factor)
    step = ck.compile_step(model, loss, optim.SGD(0.1), check_finite=True)
    before = model.state_dict()
    with pytest.raises(FloatingPointError, match=rf"step: the loss is .*; the first that is not finite is {first}"):
        step(np.full((4, 3), x, np.float32), np.array([0, 1, 0, 1]))
    assert step.count == 0
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, before[name])


def test_a_parameter_that_is_not_finite_to_begin_with_is_named() -> None:
    model = Own(1.0)
    model.first.bias.assign(np.array([0, np.inf, 0]))
    step = ck.compile_step(model, CROSS_ENTROPY, optim.SGD(0.1), check_finite=True)
    with pytest.raises(FloatingPointError, match=r"the first that is not finite is parameter first\.bias"):
        step(np.ones((4, 3), np.float32), np.array([0, 1, 0, 1]))
