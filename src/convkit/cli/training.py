"""``convkit train``: one run, in a folder of its own.

The folder holds ``config.json`` (what it takes to repeat the run), ``log.csv`` (a line for each epoch),
``best.safetensors`` and ``last.safetensors`` (weights of the epoch with the best test accuracy, and of the
last one), ``checkpoint.safetensors`` (from which the run can be resumed), ``checkpoint.previous.safetensors``
(the one before it, should it be damaged) and, where matplotlib is there, ``curves.png``.
"""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import convkit as ck
from convkit import optim
from convkit._version import __version__
from convkit.cli.datasets import FOLDER, load, shape_of_pictures
from convkit.cli.folders import (
    BEST,
    CHECKPOINT,
    CONFIG,
    CURVES,
    LAST,
    LOG,
    alone_in,
    checkpoint_in,
    new_folder,
    refuse_lost,
    refuse_taken,
    take,
)
from convkit.cli.names import (
    OPTIMIZERS,
    SCHEDULES,
    augment,
    augmentations,
    count,
    dataset,
    decay,
    folder_path,
    optimizer,
    rate,
    schedule,
    seed,
    share,
)
from convkit.cli.output import note, one_line, say
from convkit.data.augment import Augmentation
from convkit.files import parse_json, write_whole
from convkit.models import ModelEntry
from convkit.nn import Module
from convkit.train import BestCheckpoint, Callback, CSVLog, History, Trainer

# What may be named anew for a run that is resumed (the epochs where no schedule is spread over them). All else
# is as it was, or the bits would be others.
MAY_CHANGE = ("epochs", "data")


@dataclass
class Config:
    """All that decides what a run does; what has a default may be missing from config.json, or null."""

    model: str
    dataset: str
    data: str
    epochs: int
    batch_size: int
    lr: float
    optimizer: str
    schedule: str
    seed: int
    augment: str = "none"
    label_smoothing: float | None = None  # the loss' own
    weight_decay: float | None = None  # the optimiser's own
    ema_decay: float | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    size: int | None = None  # the network's own


# How each of them is read.
PARSERS: dict[str, Callable[[str], Any]] = {
    "model": str,
    "dataset": dataset,
    "data": folder_path,
    "epochs": count,
    "batch_size": count,
    "lr": rate,
    "optimizer": optimizer,
    "schedule": schedule,
    "seed": seed,
    "augment": augment,
    "label_smoothing": share,
    "weight_decay": decay,
    "ema_decay": share,
    "clip_norm": rate,
    "clip_value": rate,
    "size": count,
}
DEFAULTS = {field.name: field.default for field in fields(Config) if field.default is not MISSING}


def train(options: argparse.Namespace) -> int:
    """Run the command."""
    entry: ModelEntry = options.model
    config = _fresh(options) if options.resume is None else _resumed(options)
    shape = shape_of_pictures(entry, config.size)
    train_set, lack = load(config.dataset, "train", config.data, shape, fallback_to_sample=True)
    if lack:
        note(lack)
        config.data = "sample"
    test_set, _ = load(config.dataset, "test", config.data, shape, train_set.classes)

    ck.set_seed(config.seed)
    model = entry.build_for(train_set.images.shape[1:], len(train_set.classes))
    trainer = Trainer(
        model,
        _loss(entry, config),
        _optimizer(config),
        metrics=["accuracy"],
        clip_norm=config.clip_norm,
        clip_value=config.clip_value,
        ema_decay=config.ema_decay,
    )
    chain = _augment(entry, config, len(train_set.classes))

    folder = new_folder(options.out, config.model) if options.resume is None else Path(options.resume)
    if not options.quiet:
        threads = ck.get_num_threads()
        plural = "" if threads == 1 else "s"
        say(f"{config.model}: {_parameters(model):,} parameters, {threads} thread{plural}; run in {folder}")
        images = f"{len(train_set):,} training and {len(test_set):,} test images"
        say(f"{config.dataset}: {images} from {train_set.source}")
    model.classes = list(train_set.classes)
    with alone_in(folder, "--out" if options.resume is None else "--resume"):
        history = trainer.fit(
            entry.samples(train_set),
            validation=entry.samples(test_set),
            epochs=config.epochs,
            batch_size=config.batch_size,
            seed=config.seed,
            augment=chain,
            callbacks=[
                _Settings(folder, config, new=options.resume is None),
                BestCheckpoint(folder / BEST, "val_accuracy"),
                CSVLog(folder / LOG),
            ],
            checkpoint=folder / CHECKPOINT,
            resume=None if options.resume is None else checkpoint_in(folder),
            verbose=0 if options.quiet else 1,
        )
        with trainer.averaged():
            ck.save(model, folder / LAST)
        if len(history) and find_spec("matplotlib"):
            _draw(history, folder / CURVES)
    if history.interrupted:
        note(f"go on with: convkit train {config.model} --resume {folder}")
        return 130
    if not options.quiet:
        accuracy = history["val_accuracy"]
        best = f"{max(accuracy):.4f} (epoch {accuracy.index(max(accuracy)) + 1})"
        print(f"test accuracy {accuracy[-1]:.4f}, at best {best}; {folder}")
    return 0


class _Settings(Callback):
    """Writes config.json when the run begins: what is refused before that has changed nothing."""

    def __init__(self, folder: Path, config: Config, new: bool) -> None:
        self._folder, self._config, self._new = folder, config, new

    def on_fit_begin(self, trainer: Trainer) -> None:
        settings = json.dumps({**asdict(self._config), "convkit": __version__}, indent=2) + "\n"
        if self._new:
            take(self._folder, settings)
        else:
            write_whole(self._folder / CONFIG, settings)


def _draw(history: History, curves: Path) -> None:
    """Draw the curves; where matplotlib cannot, say so: the run is whole without them."""
    try:
        history.plot(curves)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        note(f"convkit train: {curves} could not be drawn: {one_line(error)}")


def _parameters(model: Module) -> int:
    return sum(parameter.value.size for parameter in model.parameters().values() if parameter.trainable)


def _optimizer(config: Config) -> optim.Optimizer:
    rates = SCHEDULES[config.schedule](config.lr, config.epochs)
    own = {} if config.weight_decay is None else {"weight_decay": config.weight_decay}
    return OPTIMIZERS[config.optimizer](rates, **own)


def _loss(entry: ModelEntry, config: Config) -> Callable[..., Any]:
    if config.label_smoothing is None:
        return entry.loss()
    if "label_smoothing" not in inspect.signature(entry.loss).parameters:
        raise ValueError(f"--label-smoothing: the loss of {config.model} has none")
    return entry.loss(label_smoothing=config.label_smoothing)


def _augment(entry: ModelEntry, config: Config, classes: int) -> list[Augmentation]:
    if config.augment != "none" and entry.targets is not None:
        raise ValueError(f"--augment: the targets of {config.model} are pixels, which would have to move with images")
    return augmentations(config.augment, classes)


def _fresh(options: argparse.Namespace) -> Config:
    """The recipe of the network, with what the arguments change."""
    entry: ModelEntry = options.model
    if options.out is not None:
        refuse_taken(Path(options.out))
    given = _given(options)
    if entry.dataset is None and given.get("dataset") != FOLDER:
        size = " × ".join(map(str, entry.input_shape))
        raise ValueError(f"{entry.name} is for images of {size}, of which convkit has no data set")
    config = Config(
        model=entry.name.replace("_", "-"),
        dataset=entry.dataset or FOLDER,
        data="auto",
        seed=0,
        **asdict(entry.recipe),
    )
    for name, value in given.items():
        setattr(config, name, value)
    if config.size is not None and config.dataset != FOLDER:
        raise ValueError(f"--size: {config.dataset} has images of one size; give it with --dataset {FOLDER}")
    return config


def _resumed(options: argparse.Namespace) -> Config:
    """The settings of the run that is resumed; arguments may change only what `MAY_CHANGE` names."""
    if options.out is not None:
        raise ValueError("--out: a resumed run stays in its folder")
    settings = Path(options.resume, CONFIG)
    try:
        stored = parse_json(settings.read_text(encoding="utf-8"))
        config = Config(**{name: _parsed(name, {**DEFAULTS, **stored}[name]) for name in PARSERS})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"--resume: {settings} is damaged ({error})") from error
    refuse_lost(Path(options.resume))
    wanted = {"model": options.model.name.replace("_", "-"), **_given(options)}
    for name, value in wanted.items():
        kept = getattr(config, name)
        spread = name == "epochs" and config.schedule != "constant"
        if name in MAY_CHANGE and not spread:
            setattr(config, name, value)
        elif value != kept:
            why = f": the {config.schedule} schedule is spread over them" if spread else ""
            raise ValueError(f"--resume: {name} is {kept} in {settings}, and cannot become {value}{why}")
    return config


def _parsed(name: str, stored: Any) -> Any:
    """A setting of config.json, held to the rules of the command line."""
    if stored is None and DEFAULTS.get(name, "none") is None:
        return None
    try:
        return PARSERS[name](str(stored))
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{name}: {error}") from error


def _given(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that were named on the command line."""
    names = [field.name for field in fields(Config) if field.name != "model"]
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    if given.get("data", "auto") not in ("auto", "sample"):
        given["data"] = str(Path(given["data"]).absolute())  # a run may be resumed from elsewhere
    return given
