"""What the scripts of this folder share: their arguments, data, training, the table and the figure.

Each script puts one claim about convolutional networks to the test: ``python examples/claims/NAME.py`` trains for
some minutes on one core and writes ``NAME.md``, a table, and ``NAME.png``, a figure, to ``docs/claims``. With
``--quick`` it does the same in seconds on a little of the embedded sample, which shows that the script works and
nothing about the claim.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

import convkit as ck
from convkit import data, nn, optim
from convkit.data import Dataset
from convkit.train import Callback, History

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "claims"
QUICK_IMAGES = 384

STYLE = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
    "savefig.dpi": 140,
}
matplotlib.rcParams.update(STYLE)


class Claim:
    """One run of a script: what the command line asked for, and where the results go.

    Parameters
    ----------
    script : str
        The script's ``__file__``; its name is that of the results.
    description : str
        The script's ``__doc__``, for ``--help``.
    arguments : sequence of str, optional
        The command line; by default that of the process.

    Attributes
    ----------
    quick : bool
        Whether to show only that the script works.
    seed : int
        The seed of the first of the script's runs; others count on from it.
    out : Path
        The folder of the results.
    """

    def __init__(self, script: str, description: str | None, arguments: Sequence[str] | None = None) -> None:
        formatter = argparse.RawDescriptionHelpFormatter
        parser = argparse.ArgumentParser(description=description, formatter_class=formatter)
        parser.add_argument("--quick", action="store_true", help="seconds instead of minutes, on the embedded sample")
        parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="where the results go")
        parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads (default: 1)")
        parser.add_argument("--seed", type=int, default=0, metavar="N", help="of weights and shuffling (default: 0)")
        options = parser.parse_args(arguments)
        if options.quick and options.out == RESULTS:
            parser.error("--quick needs --out: its figures are no results")
        ck.set_num_threads(options.threads)
        self.name = Path(script).stem
        self.quick: bool = options.quick
        self.seed: int = options.seed
        self.out: Path = options.out

    def choose(self, full: Any, quick: Any) -> Any:
        """Return what the full or what the quick run is to use."""
        return quick if self.quick else full

    def data(self, name: str, images: int = 60_000, test_images: int = 10_000) -> tuple[Dataset, Dataset]:
        """Return the first training and test images of a data set; of its embedded sample in a quick run.

        Parameters
        ----------
        name : str
            "mnist" or "fashion-mnist".
        images, test_images : int
            How many of each; a quick run takes at most `QUICK_IMAGES`.
        """
        source = self.choose("auto", "sample")
        train, note = data.load(name, "train", source, fallback_to_sample=True)
        test, _ = data.load(name, "test", source, fallback_to_sample=True)
        if note:
            print(note, file=sys.stderr)
        most = self.choose(len(train), QUICK_IMAGES)
        return train[: min(images, most)], test[: min(test_images, most)]

    def write_table(self, header: Sequence[str], rows: Sequence[Sequence[object]], settings: str) -> None:
        """Print the table and write it as Markdown, with the settings and the processor's time under it.

        Parameters
        ----------
        header : sequence of str
            The columns; the first is words, the others are numbers and set to the right.
        rows : sequence of sequences
            A cell for each column.
        settings : str
            All it takes to know what was run: images, epochs, batch, optimiser, seeds.
        """
        lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
        table = "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
        seconds = time.process_time()
        threads = ck.get_num_threads()
        note = f"{settings} {threads} thread{'s' if threads > 1 else ''}, {seconds:.0f} seconds of processor time."
        self.out.mkdir(parents=True, exist_ok=True)
        (self.out / f"{self.name}.md").write_text(f"{table}\n\n{note}\n", encoding="utf-8")
        print(f"{table}\n\n{note}")

    def write_figure(self, figure: Figure) -> None:
        """Write the figure as a PNG file."""
        self.out.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.out / f"{self.name}.png")


@dataclass
class Run:
    """What training came to.

    Attributes
    ----------
    model : Module
        The trained network.
    history : History
        A row for each epoch, with ``val_accuracy`` and ``val_loss`` where there was test data.
    losses : list of float
        The loss of each step.
    seconds_per_step : float
        The median.
    trainer : Trainer
        What trained it, to evaluate it.
    """

    model: nn.Module
    history: History
    losses: list[float]
    seconds_per_step: float
    trainer: ck.Trainer


class Steps(Callback):
    """Keeps the loss of each step and the time it took."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.seconds: list[float] = []

    def on_epoch_begin(self, trainer: ck.Trainer) -> None:
        self.last = time.perf_counter()

    def on_batch_end(self, trainer: ck.Trainer, loss: float) -> None:
        now = time.perf_counter()
        self.losses.append(loss)
        self.seconds.append(now - self.last)
        self.last = now


def train(
    build: Callable[[], nn.Module],
    images: Any,
    test: Any = None,
    *,
    epochs: int,
    seed: int,
    batch_size: int = 64,
    optimizer: optim.Optimizer | None = None,
    loss: Callable[..., Any] | None = None,
    metrics: Sequence[Any] = ("accuracy",),
) -> Run:
    """Build a network and train it in silence, weights and shuffling drawn from the seed.

    Parameters
    ----------
    build : callable
        Makes the network, of new weights.
    images, test : Dataset or pair of arrays
        Training data, and what the network is tested on after each epoch (may be left out).
    epochs, seed, batch_size : int
    optimizer : Optimizer, optional
        By default Adam with a rate of 0.001.
    loss : callable, optional
        By default the cross-entropy.
    metrics : sequence of str or callable
        What the history has beside the loss.
    """
    ck.set_seed(seed)
    model = build()
    trainer = ck.Trainer(model, loss or nn.CrossEntropyLoss(), optimizer or optim.Adam(lr=1e-3), metrics)
    steps = Steps()
    settings: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "seed": seed, "verbose": 0}
    history = trainer.fit(images, test, callbacks=[steps], **settings)
    return Run(model, history, steps.losses, sorted(steps.seconds)[len(steps.seconds) // 2], trainer)


def smoothed(losses: Sequence[float], window: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of the losses of `window` steps and of the `window` after them, and at which step each of them ends."""
    steps = np.arange(window, len(losses) + 1, window)
    return steps, np.array([np.mean(losses[step - window : step]) for step in steps])
