"""The command line where something comes in between: Ctrl-C, a full disk, one that is read-only, other data."""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import data
from convkit.cli import main
from convkit.train import CSVLog

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = "fashion-cnn-small"
EPOCHS = 4


def write_images(folder: Path, split: str, part: data.Dataset) -> None:
    prefix = "t10k" if split == "test" else split
    data.write_idx(folder / f"{prefix}-images-idx3-ubyte", part.images[:, 0])
    data.write_idx(folder / f"{prefix}-labels-idx1-ubyte", part.labels.astype(np.uint8))


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of 300 training and 100 test images from the sample, as IDX files."""
    folder = tmp_path_factory.mktemp("data")
    write_images(folder, "train", data.fashion_mnist("train", "sample")[:300])
    write_images(folder, "test", data.fashion_mnist("test", "sample")[:100])
    return folder


def new_run(data_folder: Path, out: Path) -> list[str]:
    words = f"train {SMALL} --epochs {EPOCHS} --batch-size 32 --lr 0.003 --schedule cosine --seed 2 --quiet --threads 1"
    return [*words.split(), "--data", str(data_folder), "--out", str(out)]


def going_on(folder: Path) -> list[str]:
    return ["train", SMALL, "--resume", str(folder), "--quiet", "--threads", "1"]


def weights(folder: Path) -> dict[str, bytes]:
    """All that is of weights in the folder of a run; that of the whole one and that of a resumed one are the same."""
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / f"{name}.safetensors").read_bytes() for name in ("best", "last")}


@pytest.fixture(scope="module")
def whole(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing came in between of."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert main(new_run(data_folder, folder)) == 0
    return folder


@pytest.fixture(scope="module")
def stopped(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped at the end of its second epoch, with both checkpoints; not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    real = CSVLog.on_epoch_end

    def stop(self: CSVLog, trainer: ck.Trainer, row: dict[str, float]) -> None:
        real(self, trainer, row)
        if trainer.epoch == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CSVLog, "on_epoch_end", stop)
        assert main(new_run(data_folder, folder)) == 130
    return folder


@pytest.fixture
def run(stopped: Path, tmp_path: Path) -> Path:
    """A copy of the run that was stopped."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def start(words: list[str], **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "convkit", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def convkit(words: list[str]) -> tuple[int, list[str]]:
    """The status of a command, and the lines on standard error; there are none on standard output."""
    process = start(words)
    out, err = process.communicate(timeout=120)
    assert out == ""
    return process.returncode, err.splitlines()


# --- other data ---


def repaint(folder: Path) -> None:
    path = folder / "train-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def relabel(folder: Path) -> None:
    path = folder / "t10k-labels-idx1-ubyte"
    content = bytearray(path.read_bytes())
    content[-5] = (content[-5] + 1) % 10
    path.write_bytes(content)


def shorten(folder: Path) -> None:
    write_images(folder, "train", data.fashion_mnist("train", "sample")[:299])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (repaint, "fit: train data.0 must be uint8 array (300, 1, 28, 28), checksum"),
        (relabel, "fit: validation data.1 must be int64 array (100,), checksum"),
        (shorten, "fit: train data.0 must be uint8 array (300, 1, 28, 28), checksum"),
    ],
)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_data_set_that_was_changed_is_refused_and_the_run_is_left_alone(
    data_folder: Path,
    whole: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    message: str,
    elsewhere: bool,
) -> None:
    """Changed in its place, or another one that --data names; the one of before is taken again."""
    own, folder = Path(shutil.copytree(data_folder, tmp_path / "data")), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(CSVLog, "on_epoch_end", interrupt)
        assert main(new_run(own, folder)) == 130
    other = Path(shutil.copytree(own, tmp_path / "other")) if elsewhere else own
    change(other)
    before = contents(folder)
    capsys.readouterr()
    assert main([*going_on(folder), *(["--data", str(other)] if elsewhere else [])]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"convkit train: {message}")
    assert contents(folder) == before
    if not elsewhere:
        shutil.copytree(data_folder, own, dirs_exist_ok=True)
    assert main(going_on(folder)) == 0
    assert results(folder) == results(whole)


def interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_pictures_that_were_changed_are_refused_and_the_run_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, rng = pytest.importorskip("PIL.Image"), np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("dark", "light"):
            (tmp_path / "pictures" / part / name).mkdir(parents=True)
            for number in range(4):
                pixels = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)
                images.fromarray(pixels).save(tmp_path / "pictures" / part / name / f"{number}.png")
    shutil.copytree(tmp_path / "pictures", tmp_path / "kept")
    words = f"train resnet20 --dataset folder --data {tmp_path}/pictures --size 8 --epochs 2 --quiet --out".split()
    assert main([*words, str(tmp_path / "whole")]) == 0
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(CSVLog, "on_epoch_end", interrupt)
        assert main([*words, str(folder)]) == 130
    before = contents(folder)
    changed = tmp_path / "pictures" / "test" / "light" / "2.png"
    changed.write_bytes((tmp_path / "kept" / "test" / "light" / "1.png").read_bytes())
    capsys.readouterr()
    assert main(["train", "resnet20", "--resume", str(folder), "--quiet"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("convkit train: fit: validation data.0.files must be checksum ")
    assert contents(folder) == before
    assert main(["train", "resnet20", "--resume", str(folder), "--quiet", "--data", str(tmp_path / "kept")]) == 0
    assert results(folder) == results(tmp_path / "whole")


# --- Ctrl-C ---


def wait_until_begun(process: subprocess.Popen[str]) -> None:
    """Wait until the process' own code runs: while Python and NumPy start, Ctrl-C is answered by Python."""
    maps = Path(f"/proc/{process.pid}/maps")
    give_up = time.monotonic() + 60
    while "_kernels/elementwise" not in maps.read_text() and process.poll() is None and time.monotonic() < give_up:
        time.sleep(0.001)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into the process by a facility of Linux")
def test_control_c_twice_at_any_moment_is_130_and_nothing_is_lost(
    data_folder: Path, whole: Path, tmp_path: Path
) -> None:
    moments, presses, runs = random.Random(4), 0, 0
    while presses < 10:
        folder = tmp_path / str(runs)
        status = 130
        while status == 130:
            process = start(going_on(folder) if (folder / "config.json").exists() else new_run(data_folder, folder))
            wait_until_begun(process)
            time.sleep(moments.uniform(0, 0.6) if presses < 10 else 0)
            if presses < 10:
                process.send_signal(signal.SIGINT)
                time.sleep(moments.choice([0, 0.001, 0.01, 0.1]))
                process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
            status = process.returncode
            if status == -signal.SIGINT:  # Python's last steps have let go of all handlers; a shell says 130, too
                status = 130
            assert status in (0, 130) and out == "" and "Traceback" not in err, err
            lines = [line for line in err.splitlines() if not line.endswith("holds no checkpoint: the run begins anew")]
            assert len(lines) <= 1, err
            presses += status == 130
            whole_and_legible(folder)
        assert results(folder) == results(whole)
        runs += 1


def whole_and_legible(folder: Path) -> None:
    """Nothing in the folder of a run is half of something."""
    for path in folder.glob("*"):
        if path.suffix == ".safetensors":
            ck.load_model(path)
    assert not list(folder.glob(".*"))


def deaf() -> None:
    """Ignore Ctrl-C, as a shell has the commands do that it starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@posix
@pytest.mark.skipif(shutil.which("timeout") is None, reason="there is no command timeout")
@pytest.mark.parametrize("before", [None, deaf])
@pytest.mark.parametrize("seconds", [1.2, 2.0])
def test_timeout_may_send_it_once_or_twice(
    data_folder: Path, whole: Path, tmp_path: Path, seconds: float, before: Callable[[], None] | None
) -> None:
    """It tells the process and then its group, which may be heard as one or as two; and heard it is in any case."""
    folder = tmp_path / "run"
    done = subprocess.run(
        ["timeout", "-s", "INT", str(seconds), sys.executable, "-m", "convkit", *new_run(data_folder, folder)],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=before,
    )
    assert done.returncode in (0, 124) and done.stdout == ""  # 124 is what timeout has to say
    if folder.exists():  # before that, it may have been Python that was starting, not yet convkit
        assert len(done.stderr.splitlines()) <= 1, done.stderr
        whole_and_legible(folder)
    assert convkit(going_on(folder) if (folder / "config.json").exists() else new_run(data_folder, folder))[0] == 0
    assert results(folder) == results(whole)


def test_control_c_while_curves_are_drawn_is_130_and_they_are_drawn(
    run: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What savefig imports makes an ImportError of it, as extension modules do with whatever stops them."""
    figures = pytest.importorskip("matplotlib.figure")
    real = figures.Figure.savefig

    def savefig(*arguments: Any, **options: Any) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise ImportError("initialization failed") from error
        real(*arguments, **options)

    monkeypatch.setattr(figures.Figure, "savefig", savefig)
    assert main(going_on(run)) == 130
    assert capsys.readouterr() == ("", "convkit train: interrupted\n")
    assert (run / "curves.png").exists()
    assert results(run) == results(whole)


@posix
def test_in_the_background_of_a_script_control_c_is_not_meant(data_folder: Path, whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start(new_run(data_folder, folder), preexec_fn=deaf)
    give_up = time.monotonic() + 60
    while not (folder / "log.csv").exists() and time.monotonic() < give_up:
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0
    assert results(folder) == results(whole)


# --- disks ---

NEW_NAMESPACE, NEW_USER = 0x20000, 0x10000000


def where_mounting_is_possible(work: Callable[[], None]) -> None:
    """Run something in a child that may mount file systems, which nobody else sees; skip where that is refused."""
    refused = 77
    child = os.fork()
    if child == 0:
        signal.alarm(300)
        status = 1
        try:
            status = 0 if _may_mount() else refused
            if status == 0:
                work()
        except BaseException:
            status = 1
            traceback.print_exc()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == refused:
        pytest.skip("this system does not let this user mount file systems")
    assert status == 0


def _may_mount() -> bool:
    libc, user, group = ctypes.CDLL(None), os.getuid(), os.getgid()
    if libc.unshare(NEW_NAMESPACE | (NEW_USER if user else 0)):
        return False
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    private = subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, check=False)
    return private.returncode == 0


def mount(folder: Path, options: str) -> None:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True)


mounts = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("mount") is None, reason="file systems are mounted by a command of Linux"
)


@mounts
@pytest.mark.parametrize(
    ("kilobytes", "checkpoints"),
    [(4, None), (60, 0), (300, 0), (600, 1), (900, 2)],
)
def test_a_full_disk_keeps_what_it_has_and_with_more_room_the_run_goes_on(
    data_folder: Path, whole: Path, tmp_path: Path, kilobytes: int, checkpoints: int | None
) -> None:
    """Full at the settings, at the best weights, at the first, the second and the third checkpoint."""

    def work() -> None:
        disk, folder = tmp_path / "disk", tmp_path / "disk" / "run"
        mount(disk, f"size={kilobytes}k")
        if checkpoints is None:
            (disk / "other").write_bytes(bytes(1024 * kilobytes))
        status, lines = convkit(new_run(data_folder, folder))
        assert status == 2 and len(lines) == 1, lines
        assert lines[0].startswith(f"convkit train: {folder}") and lines[0].endswith(": No space left on device"), lines
        whole_and_legible(folder)
        if checkpoints is None:
            assert not list(folder.iterdir())
        else:
            assert len(list(folder.glob("checkpoint*"))) == checkpoints
            before = weights(folder)
            status, lines = convkit(going_on(folder))
            assert status == 2 and lines[-1].endswith(": No space left on device"), lines
            assert len(lines) == 1 if checkpoints else lines[0].endswith("holds no checkpoint: the run begins anew")
            assert weights(folder) == before
        subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
        status, lines = convkit(new_run(data_folder, folder) if checkpoints is None else going_on(folder))
        assert status == 0 and len(lines) == (checkpoints == 0), lines
        assert results(folder) == results(whole)

    where_mounting_is_possible(work)


@mounts
def test_a_read_only_disk_is_named_and_left_alone(data_folder: Path, whole: Path, run: Path, tmp_path: Path) -> None:
    def work() -> None:
        disk, folder = tmp_path / "disk", tmp_path / "disk" / "run"
        mount(disk, "size=10m")
        shutil.copytree(run, folder)
        before = contents(folder)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for words, place in (
            (going_on(folder), folder / "config.json"),
            (new_run(data_folder, disk / "new"), disk / "new"),
        ):
            assert convkit(words) == (2, [f"convkit train: {place}: Read-only file system"])
        assert contents(folder) == before and list(disk.iterdir()) == [folder]
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        assert convkit(going_on(folder)) == (0, [])
        assert results(folder) == results(whole)

    where_mounting_is_possible(work)


@mounts
def test_a_disk_that_fails_under_the_last_checkpoint_costs_one_epoch(whole: Path, run: Path) -> None:
    last = run / "checkpoint.safetensors"
    last.unlink()
    last.symlink_to("/proc/self/mem")  # it can be opened, but its first byte cannot be read
    status, [line] = convkit(going_on(run))
    assert status == 0
    assert f"{last} cannot be read (Input/output error); the run goes on from the checkpoint before it" in line
    assert results(run) == results(whole)


# --- memory ---


def test_memory_that_runs_out_is_told_in_a_line(
    run: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError("Unable to allocate 7. TiB for an array")

    before = weights(run)
    with monkeypatch.context() as patch:
        patch.setattr(ck.Trainer, "_tell", fail)
        assert main(going_on(run)) == 2
    assert capsys.readouterr() == ("", "convkit train: out of memory: Unable to allocate 7. TiB for an array\n")
    assert weights(run) == before
    assert main(going_on(run)) == 0
    assert results(run) == results(whole)
