"""The command line: train, evaluate and apply the networks of `convkit.models` without writing Python.

Exit status: 0 when all went well; 2, after one line on standard error, when the arguments (or the files
they name) are bad, when a run diverges, and when the output cannot be written; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import io
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

import convkit as ck
from convkit._version import __version__
from convkit.cli.apply import evaluate, predict
from convkit.cli.benchmark import bench
from convkit.cli.names import (
    DATASETS,
    OPTIMIZERS,
    augment,
    count,
    dataset,
    decay,
    folder_path,
    model_entry,
    optimizer,
    path,
    rate,
    schedule,
    seed,
    share,
)
from convkit.cli.output import flush, note, one_line
from convkit.cli.training import train
from convkit.models import REGISTRY


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after ``convkit``; by default the process' own.

    Returns
    -------
    int
        The exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # whose encoding, on Windows, may lack a sign that we print
            stream.reconfigure(errors="replace")
    options = _parser().parse_args(arguments)
    status = _done(options, lambda: _run(options))
    written = _done(options, flush, told=status != 0)
    return status or written


def _run(options: argparse.Namespace) -> int:
    if getattr(options, "threads", None):
        ck.set_num_threads(options.threads)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *place: note(f"convkit {options.command}: {message}")
        status: int = options.run(options)
    return status


def _done(options: argparse.Namespace, work: Callable[[], int | None], told: bool = False) -> int:
    """Do some work, and give the exit status: what stops it is told in one line, unless something was `told` before."""
    try:
        return work() or 0
    except KeyboardInterrupt:
        note(f"convkit {options.command}: interrupted")
        return 130
    except BrokenPipeError:  # whoever read our output has read enough
        return 0
    except (OSError, ValueError, ImportError, FloatingPointError, MemoryError) as error:
        if not told:
            note(f"convkit {options.command}: {one_line(error)}")
        return 2


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, and leaves the rest to --help."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="convkit", description="Convolutional networks on the CPU.")
    parser.add_argument("--version", action="version", version=f"convkit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_models(commands)
    _add_summary(commands)
    _add_bench(commands)
    _add_info(commands)
    return parser


def _add_train(commands: argparse._SubParsersAction) -> None:
    about = "train a network, and keep its weights, log and curves in a folder"
    command = commands.add_parser("train", help=about, description=f"{about[0].upper()}{about[1:]}.")
    command.add_argument("model", metavar="MODEL", type=model_entry, help="a name of `convkit models`")
    command.add_argument(
        "--dataset",
        metavar="NAME",
        type=dataset,
        help=f"{', '.join(DATASETS)} (pictures of your own: see --data); each network has a default",
    )
    command.add_argument(
        "--data",
        metavar="auto|sample|DIR",
        type=folder_path,
        help="where the data set is: search for it and download it (auto, the default), the small sample "
        "that comes with convkit, or a folder; with --dataset folder the one that has folders train and test, and "
        "these a folder of pictures for each class",
    )
    command.add_argument(
        "--size", metavar="N", type=count, help="make pictures of a folder N × N (the size that the network is for)"
    )
    command.add_argument("--epochs", metavar="N", type=count, help="how often to go through all images")
    command.add_argument("--batch-size", metavar="N", type=count, help="images in one update of the weights")
    command.add_argument("--lr", metavar="RATE", type=rate, help="the learning rate to begin with")
    command.add_argument(
        "--optimizer",
        metavar="NAME",
        type=optimizer,
        help=f"{', '.join(OPTIMIZERS)} (the last two are sgd with momentum 0.9)",
    )
    command.add_argument(
        "--schedule",
        metavar="NAME",
        type=schedule,
        help="the learning rate over the run: constant; step (to a tenth after each third); exponential (to "
        "a hundredth at the end); cosine (to 0 at the end); warmup-cosine (the same, after rising over the "
        "first tenth); lecun1998 (the five rates of LeNet-5's paper, in proportion)",
    )
    command.add_argument(
        "--augment",
        metavar="CHAIN",
        type=augment,
        help="what is done to training images at random: one or more of shift=2 (pixels), flip=0.5 (of the images), "
        "rotate=10 (degrees), erase=0.5 (of the images), cutout=8 (pixels), mixup=0.2 (alpha), in turn and with "
        "commas between them, as in shift=1,flip; or none",
    )
    command.add_argument(
        "--label-smoothing", metavar="SHARE", type=share, help="the share of each target spread over all classes"
    )
    command.add_argument("--weight-decay", metavar="NUMBER", type=decay, help="how strongly weights are pulled to zero")
    command.add_argument(
        "--ema-decay",
        metavar="SHARE",
        type=share,
        help="validate and keep averages of the weights, of which each update leaves this share (0.999, for example)",
    )
    command.add_argument("--clip-norm", metavar="NUMBER", type=rate, help="the longest that a gradient may be")
    command.add_argument("--clip-value", metavar="NUMBER", type=rate, help="the largest that its entries may be")
    command.add_argument(
        "--seed", metavar="N", type=seed, help="what weights, order, dropout and augmentation are drawn from"
    )
    command.add_argument(
        "--out", metavar="DIR", type=folder_path, help="the run's folder (default: runs/MODEL-1, -2, …)"
    )
    command.add_argument("--resume", metavar="DIR", type=folder_path, help="go on with the run of this folder")
    command.add_argument("--quiet", action="store_true", help="say nothing but errors and notes")
    _add_threads(command)
    command.set_defaults(run=train)


def _add_evaluate(commands: argparse._SubParsersAction) -> None:
    about = "measure the loss and accuracy of saved weights on a test set"
    command = commands.add_parser("evaluate", help=about, description=f"{about[0].upper()}{about[1:]}.")
    command.add_argument(
        "file", metavar="FILE", type=path, help="weights of `convkit train`: best.safetensors, for example"
    )
    command.add_argument(
        "--dataset", metavar="NAME", type=dataset, help="by default the one whose classes the weights name"
    )
    command.add_argument(
        "--data", metavar="auto|sample|DIR", type=folder_path, default="auto", help="where the data set is"
    )
    command.add_argument("--batch-size", metavar="N", type=count, default=256, help="images looked at together")
    _add_threads(command)
    command.set_defaults(run=evaluate)


def _add_predict(commands: argparse._SubParsersAction) -> None:
    about = "name what is in pictures"
    command = commands.add_parser(
        "predict",
        help=about,
        description="Name what is in pictures: for each one a line with the likeliest classes and their "
        "probabilities. Pictures are PNG, JPEG or whatever else Pillow reads, or IDX files of one or many. "
        "A picture is turned upright, laid on white where it is transparent, converted to the network's "
        "colours (grey for the networks of MNIST), and its middle resized to the network's input. MNIST and "
        "Fashion-MNIST show light things on black: for dark ones on white add --invert. IDX files are taken as they "
        "are.",
    )
    command.add_argument(
        "file", metavar="MODEL-FILE", type=path, help="weights of `convkit train`: best.safetensors, for example"
    )
    command.add_argument("images", metavar="IMAGE", nargs="+", type=path, help="a picture, or an IDX file")
    command.add_argument("--top", metavar="N", type=count, default=3, help="how many classes to name (3)")
    command.add_argument("--invert", action="store_true", help="make light of dark, for dark things on white")
    _add_threads(command)
    command.set_defaults(run=predict)


def _add_models(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("models", help="list the networks", description="List the networks.")
    command.set_defaults(run=_models)


def _add_summary(commands: argparse._SubParsersAction) -> None:
    about = "show a network's layers, shapes, parameters and operations"
    command = commands.add_parser("summary", help=about, description=f"{about[0].upper()}{about[1:]}.")
    command.add_argument("model", metavar="MODEL", type=model_entry, help="a name of `convkit models`")
    command.set_defaults(run=_summary)


def _add_bench(commands: argparse._SubParsersAction) -> None:
    about = "measure kernels and training steps beside what this machine can do at most"
    command = commands.add_parser("bench", help=about, description=f"{about[0].upper()}{about[1:]}.")
    command.add_argument("--json", metavar="FILE", type=path, help="write the figures to a file, too")
    command.add_argument(
        "--seconds", metavar="S", type=rate, default=0.5, help="how long to repeat each measurement (0.5)"
    )
    _add_threads(command)
    command.set_defaults(run=bench)


def _add_info(commands: argparse._SubParsersAction) -> None:
    about = "tell version, compiler, instruction set and threads"
    command = commands.add_parser("info", help=about, description=f"{about[0].upper()}{about[1:]}.")
    command.set_defaults(run=_info)


def _add_threads(command: argparse.ArgumentParser) -> None:
    command.add_argument("--threads", metavar="N", type=count, help="how many threads to use (all there are)")


def _models(options: argparse.Namespace) -> int:
    rows = [("MODEL", "PARAMETERS", "DATA SET", "PAPER")]
    rows += [
        (name.replace("_", "-"), f"{entry.parameters:,}", entry.dataset or "–", entry.paper)
        for name, entry in sorted(REGISTRY.items())
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, parameters, data, paper in rows:
        print(f"{name:{widths[0]}}  {parameters:>{widths[1]}}  {data:{widths[2]}}  {paper}")
    return 0


def _summary(options: argparse.Namespace) -> int:
    entry = options.model
    print(entry.build().summary(entry.input_shape))
    return 0


def _info(options: argparse.Namespace) -> int:
    ck.show_config()
    return 0
