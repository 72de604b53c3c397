"""The folder of a run, which nothing but that run may change, and output that nobody reads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import convkit as ck
from convkit.cli import main, training
from convkit.train import BestCheckpoint, CSVLog, progress

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = "fashion-cnn-small"
EPOCHS = 4
posix = pytest.mark.skipif(os.name != "posix", reason="shells and pipes of POSIX")


@pytest.fixture(scope="module")
def whole(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert main(new_run(data_folder, folder)) == 0
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def new_run(data_folder: Path, out: Path | str) -> list[str]:
    words = f"train {SMALL} --epochs {EPOCHS} --batch-size 64 --lr 0.003 --schedule constant --seed 2 --quiet"
    return [*words.split(), "--data", str(data_folder), "--out", str(out)]


def going_on(folder: Path) -> list[str]:
    return ["train", SMALL, "--resume", str(folder), "--quiet"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / f"{name}.safetensors").read_bytes() for name in ("best", "last")}


def log_of(folder: Path) -> list[str]:
    """The lines of the log without the time that each epoch took."""
    return [line.rpartition(",")[0] for line in (folder / "log.csv").read_text().splitlines()]


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error with which a command ends with status 2."""
    capsys.readouterr()
    try:
        status: Any = main(words)
    except SystemExit as stop:
        status = stop.code
    out, err = capsys.readouterr()
    assert (status, out) == (2, ""), (status, out, err)
    assert err.count("\n") == 1 and err.endswith("\n"), err
    return err.rstrip("\n")


# --- paths ---


@pytest.mark.parametrize(
    ("words", "argument"),
    [
        (["train", SMALL, "--data", "sample", "--epochs", "1", "--out", ""], "--out"),
        (["train", SMALL, "--data", "sample", "--epochs", "1", "--resume", ""], "--resume"),
        (["train", SMALL, "--resume", ".", "--out", ""], "--out"),
        (["train", SMALL, "--epochs", "1", "--data", ""], "--data"),
        (["train", SMALL, "--resume", ".", "--data="], "--data"),
        (["evaluate", "", "--data", "sample"], "FILE"),
        (["evaluate", "best.safetensors", "--data", ""], "--data"),
        (["predict", "", "x.png"], "MODEL-FILE"),
        (["predict", "best.safetensors", "x.png", ""], "IMAGE"),
        (["bench", "--seconds", "0.001", "--json", ""], "--json"),
    ],
)
def test_an_empty_path_is_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], argument: str
) -> None:
    """Such as that of a variable that is not set, in a folder that holds a run and could be taken for it."""
    monkeypatch.chdir(run)
    before = contents(run)
    assert refusal(words, capsys) == f"convkit {words[0]}: argument {argument}: must be a path, not ''"
    assert contents(run) == before


def test_an_empty_path_in_the_settings_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = run / "config.json"
    settings.write_text(settings.read_text().replace('"data": "', '"data": "", "was": "'))
    assert refusal(going_on(run), capsys).endswith("config.json is damaged (data: must be a path, not '')")


@posix
def test_a_home_folder_is_found_by_all_commands(
    data_folder: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(data_folder.parent))
    monkeypatch.chdir(tmp_path)
    named = f"~/{data_folder.name}"
    assert main(["train", SMALL, "--epochs", "1", "--quiet", f"--data={named}", "--out", "new"]) == 0
    assert f'"data": "{data_folder}"' in Path("new", "config.json").read_text()
    assert main(["evaluate", str(run / "best.safetensors"), f"--data={named}"]) == 0
    assert main([*going_on(run), f"--data={named}"]) == 0


@posix
def test_a_run_has_its_folder_in_the_home_folder(
    data_folder: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(elsewhere)
    assert main([*new_run(data_folder, "unused"), "--out=~/run"]) == 0
    assert main(["train", SMALL, "--resume=~/run", "--epochs", str(EPOCHS), "--quiet"]) == 0
    assert results(home / "run") == results(whole) and not list(elsewhere.iterdir())


@posix
@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["train", SMALL, "--epochs", "1"], "--data"),
        (["train", "resnet20", "--dataset", "folder", "--epochs", "1"], "--data"),
        (["train", SMALL, "--epochs", "1"], "--out"),
        (["train", SMALL], "--resume"),
        (["evaluate", "best.safetensors"], "--data"),
        (["evaluate", "best.safetensors", "--dataset", "folder"], "--data"),
    ],
)
def test_the_home_of_nobody_is_refused(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], option: str
) -> None:
    monkeypatch.chdir(run)
    line = refusal([*words, f"{option}=~nouser/x"], capsys)
    assert line == f"convkit {words[0]}: argument {option}: ~nouser/x begins with a home folder that is not known"


# --- a folder is one run's ---


@pytest.mark.parametrize(
    "name",
    ["checkpoint.safetensors", "checkpoint.previous.safetensors", "best.safetensors", "last.safetensors", "log.csv"],
)
def test_what_is_left_of_a_run_is_not_overwritten(
    data_folder: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = tmp_path / "left"
    folder.mkdir()
    shutil.copy(whole / name, folder)
    before = contents(folder)
    line = refusal(new_run(data_folder, folder), capsys)
    assert line == f"convkit train: --out: {folder} holds {name} of a run without config.json; name another folder"
    assert contents(folder) == before


def remove(*patterns: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for pattern in patterns:
            for path in folder.glob(pattern):
                path.unlink()

    return change


def shorten_log(folder: Path) -> None:
    remove("checkpoint*")(folder)
    log = folder / "log.csv"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:2]))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (remove("checkpoint*"), "last.safetensors, a log of 4 epochs"),
        (remove("checkpoint*", "last*"), "a log of 4 epochs"),
        (remove("checkpoint*", "log.csv"), "last.safetensors"),
        (shorten_log, "last.safetensors"),
    ],
)
def test_a_run_whose_checkpoints_are_gone_does_not_begin_anew(
    run: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Path], None], found: str
) -> None:
    remove("curves.png")(run)
    change(run)
    before = contents(run)
    assert refusal(going_on(run), capsys) == (
        f"convkit train: --resume: {run} holds {found}, but no checkpoint any more: put checkpoint.safetensors back, "
        "or begin a new run in another folder"
    )
    assert contents(run) == before


class Killed(BaseException):
    """Ends a run without a checkpoint, as SIGKILL does."""


def kill(*arguments: object) -> None:
    raise Killed


@pytest.mark.parametrize(
    "place", [(BestCheckpoint, "on_epoch_end"), (CSVLog, "on_epoch_end"), (ck.Trainer, "save_checkpoint")]
)
def test_a_run_that_was_killed_before_its_first_checkpoint_begins_anew(
    data_folder: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: tuple[type, str],
) -> None:
    """With best weights and a line of the log, or without."""
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(*place, kill)
        with pytest.raises(Killed):
            main(new_run(data_folder, folder))
    assert (folder / "config.json").exists() and not list(folder.glob("checkpoint*"))
    assert (folder / "log.csv").exists() == (place[1] == "save_checkpoint")
    capsys.readouterr()
    assert main(going_on(folder)) == 0
    assert capsys.readouterr().err == f"{folder} holds no checkpoint: the run begins anew\n"
    assert (results(folder), log_of(folder)) == (results(whole), log_of(whole))


def test_of_two_runs_with_one_folder_the_second_is_refused(
    data_folder: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The first one begins while the second reads its data."""
    folder, real = tmp_path / "run", training.load

    def load(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(training, "load", real)
        assert main(new_run(data_folder, folder)) == 0
        return real(*arguments, **options)

    monkeypatch.setattr(training, "load", load)
    line = refusal([*new_run(data_folder, folder), "--seed", "3"], capsys)
    assert line == f"convkit train: --out: {folder} holds a run that was begun meanwhile; name another folder"


@posix
@pytest.mark.parametrize("option", ["--out", "--resume"])
def test_one_run_at_a_time_trains_in_a_folder(
    data_folder: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: str,
) -> None:
    """A second one would write its own epochs over those of the first, and between the lines of its log."""
    folder, real, lines = tmp_path / "run", BestCheckpoint.on_epoch_end, []

    def on_epoch_end(self: BestCheckpoint, *arguments: Any) -> None:
        monkeypatch.setattr(BestCheckpoint, "on_epoch_end", real)
        lines.append(refusal(going_on(folder), capsys))
        real(self, *arguments)

    if option == "--resume":
        assert main([*new_run(data_folder, folder), "--epochs", "2"]) == 0
    monkeypatch.setattr(BestCheckpoint, "on_epoch_end", on_epoch_end)
    words = new_run(data_folder, folder) if option == "--out" else [*going_on(folder), "--epochs", str(EPOCHS)]
    assert main(words) == 0
    assert lines == [f"convkit train: --resume: another process is training in {folder}"]
    assert (results(folder), log_of(folder)) == (results(whole), log_of(whole))
    assert (results(folder), log_of(folder)) == (results(whole), log_of(whole))


def refuse_links(*arguments: object) -> None:
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.parametrize("links", [True, False])
def test_a_folder_is_claimed_where_files_can_have_one_name_only_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    from convkit.files import write_new

    if not links:
        monkeypatch.setattr(os, "link", refuse_links)
    path = tmp_path / "config.json"
    write_new(path, "first")
    with pytest.raises(FileExistsError) as error:
        write_new(path, "second")
    assert error.value.filename == str(path)
    assert contents(tmp_path) == {"config.json": b"first"}


@pytest.mark.parametrize(
    ("spoilt", "message"),
    [
        (["--data", "nowhere"], "convkit train: fashion-mnist: source must be 'auto', 'sample' or a folder"),
        (["--threads", "99999"], "convkit train: set_num_threads: n must be"),
        (["--dataset", "folder", "--data", "."], "convkit train: --data: "),
    ],
)
def test_a_command_that_failed_before_training_can_be_corrected(
    data_folder: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    spoilt: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal([*new_run(data_folder, "run"), *spoilt], capsys).startswith(message)
    assert main(new_run(data_folder, "run")) == 0
    assert results(Path("run")) == results(whole)


@pytest.mark.parametrize("error", [ValueError("no such step"), MemoryError(), OSError(5, "Input/output error")])
def test_a_run_that_fails_as_it_begins_leaves_its_folder_free(
    data_folder: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*arguments: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(ck.Trainer, "_begin", fail)
        assert main(new_run(data_folder, tmp_path / "run")) == 2
    assert main(new_run(data_folder, tmp_path / "run")) == 0
    assert results(tmp_path / "run") == results(whole)


def interrupt_in_epoch(number: int) -> Callable[..., None]:
    def on_batch_end(self: Any, trainer: ck.Trainer, loss: float) -> None:
        if trainer.epoch == number - 1 and trainer.batch == 2:
            raise KeyboardInterrupt

    return on_batch_end


@pytest.mark.parametrize(("interrupted_in", "refused", "taken"), [(3, (1, 2), 3), (2, (1,), 2), (None, (1, 3), 4)])
def test_fewer_epochs_than_are_done_are_refused(
    data_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    interrupted_in: int | None,
    refused: tuple[int, ...],
    taken: int,
) -> None:
    """And so is the number of those done where batches of one more are; nothing is changed by that."""
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        if interrupted_in is not None:
            patch.setattr(CSVLog, "on_batch_end", interrupt_in_epoch(interrupted_in))
        assert main(new_run(data_folder, folder)) == (0 if interrupted_in is None else 130)
    before = contents(folder)
    for epochs in refused:
        line = refusal([*going_on(folder), "--epochs", str(epochs)], capsys)
        assert line.startswith("convkit train: ") and "epochs must be at least" in line, line
        assert contents(folder) == before
    assert main([*going_on(folder), "--epochs", str(taken)]) == 0
    assert len(log_of(folder)) == 1 + taken


# --- output that nobody reads ---


def shell(script: str, words: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script of bash in which "$@" is a command of ours."""
    return subprocess.run(
        ["bash", "-c", script, "bash", sys.executable, "-m", "convkit", *words],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PATH": f"{os.environ['PATH']}{os.pathsep}{os.defpath}"} | environment,
    )


@posix
@pytest.mark.parametrize(
    ("script", "lines"),
    [
        ('"$@" | head -n 3; echo ${PIPESTATUS[0]}', 3),
        ('"$@" | true; echo ${PIPESTATUS[0]}', 0),
        ('"$@" 2>&1 | head -n 1; echo ${PIPESTATUS[0]}', 1),
        ('PYTHONUNBUFFERED=1 "$@" | head -n 3; echo ${PIPESTATUS[0]}', 3),
    ],
)
def test_training_goes_on_when_the_reader_has_had_enough(
    data_folder: Path, whole: Path, tmp_path: Path, script: str, lines: int
) -> None:
    folder = tmp_path / "run"
    words = [word for word in new_run(data_folder, folder) if word != "--quiet"]
    done = shell(script, words)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == lines + 1 and done.stdout.endswith("\n0\n" if lines else "0\n")
    assert (results(folder), log_of(folder)) == (results(whole), log_of(whole))
    assert contents(folder).keys() == contents(whole).keys()


@posix
def test_notes_that_nobody_reads_do_not_end_training(run: Path, whole: Path) -> None:
    """Of a damaged checkpoint, here, and of curves that cannot be drawn."""
    (run / "checkpoint.safetensors").write_bytes(b"damaged")
    (run / "last.safetensors").unlink()
    done = shell('"$@" 2>&1 >/dev/null | true; echo ${PIPESTATUS[0]}', going_on(run), MPLBACKEND="nonsense")
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert results(run) == results(whole)


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_that_does_not_fit_is_told_after_training(data_folder: Path, whole: Path, tmp_path: Path) -> None:
    words = [word for word in new_run(data_folder, tmp_path / "run") if word != "--quiet"]
    done = shell('"$@" >/dev/full', words)
    assert (done.returncode, done.stderr) == (2, "convkit train: [Errno 28] No space left on device\n")
    assert results(tmp_path / "run") == results(whole)
    done = shell('"$@" >/dev/full', ["models"])
    assert (done.returncode, done.stderr) == (2, "convkit models: [Errno 28] No space left on device\n")


@posix
def test_training_goes_on_when_the_terminal_is_gone(data_folder: Path, whole: Path, tmp_path: Path) -> None:
    """Where the process is not told so by SIGHUP; the last line, which cannot be shown, makes it no success."""
    words = [word for word in new_run(data_folder, tmp_path / "run") if word != "--quiet"]
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "convkit", *words],
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    while b"epoch 1/" not in shown:
        shown += os.read(ours, 1000)
    os.close(ours)
    assert process.communicate(timeout=120)[1] == "convkit train: [Errno 5] Input/output error\n"
    assert process.returncode == 2
    assert (results(tmp_path / "run"), log_of(tmp_path / "run")) == (results(whole), log_of(whole))


@posix
@pytest.mark.parametrize("script", ['"$@" >&-', '"$@" >&- 2>&-'])
@pytest.mark.parametrize("command", ["models", "info", "train", "summary lenet5", "evaluate", "predict"])
def test_without_standard_output_all_goes_well(
    data_folder: Path, whole: Path, tmp_path: Path, script: str, command: str
) -> None:
    file = str(whole / "best.safetensors")
    words = {
        "train": [word for word in new_run(data_folder, tmp_path / "run") if word != "--quiet"],
        "evaluate": ["evaluate", file, "--data", str(data_folder)],
        "predict": ["predict", file, str(data_folder / "t10k-images-idx3-ubyte")],
    }
    done = shell(script, words.get(command, command.split()))
    assert (done.returncode, done.stderr) == (0, "")
    if command == "train":
        assert results(tmp_path / "run") == results(whole)


@posix
def test_without_standard_output_a_mistake_is_still_told() -> None:
    done = shell('"$@" >&-', ["evaluate", "nowhere"])
    assert (done.returncode, done.stderr) == (2, "convkit evaluate: nowhere: No such file or directory\n")
    assert shell('"$@" >&- 2>&-', ["evaluate", "nowhere"]).returncode == 2


@pytest.mark.parametrize("verbose", [1, 2])
def test_without_standard_output_fit_shows_nothing(monkeypatch: pytest.MonkeyPatch, verbose: int) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    shown = progress.reporter(verbose)
    assert type(shown) is progress.Lines
    shown.say("nothing")


# --- curves ---


def test_curves_that_cannot_be_drawn_do_not_make_a_run_a_failure(
    data_folder: Path, whole: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    words = [sys.executable, "-m", "convkit", *new_run(data_folder, tmp_path / "run")]
    environment = os.environ | {"MPLBACKEND": "nonsense"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=environment)
    assert (done.returncode, done.stdout) == (0, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"convkit train: {tmp_path / 'run' / 'curves.png'} could not be drawn: ")
    assert "'nonsense' is not a valid value for backend" in line
    assert results(tmp_path / "run") == results(whole)
