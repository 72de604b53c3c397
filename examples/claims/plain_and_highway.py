"""The deeper a plain dense network, the worse it trains; with gates in its layers, depth hardly matters.

Srivastava, Greff and Schmidhuber 2015 (section 3.1, figure 1): up to 20 layers plain networks keep up with highway
networks, beyond that their training loss grows with the depth. Both have about the same number of parameters, and each
is given the better of two learning rates here; the paper searches for its settings, too.
"""

from __future__ import annotations

from functools import partial

from matplotlib.figure import Figure

from common import Claim, Run, smoothed, train
from convkit import models, optim

RATES = (1e-3, 3e-4)
KINDS = {"plain": models.plain_dense, "highway": models.highway_dense}


def final_loss(run: Run) -> float:
    """The mean training loss of the last epoch."""
    return run.history["loss"][-1]


def main() -> None:
    claim = Claim(__file__, __doc__)
    depths = claim.choose((10, 20, 30, 50), (4, 8))
    epochs = claim.choose(4, 1)
    images, test = claim.data("mnist", 30_000)

    def best(kind: str, depth: int) -> tuple[float, Run]:
        """The rate, and the run, of the lowest training loss."""
        tried = [
            (
                rate,
                train(
                    partial(KINDS[kind], depth=depth),
                    images,
                    test,
                    epochs=epochs,
                    seed=claim.seed,
                    optimizer=optim.Adam(lr=rate),
                ),
            )
            for rate in RATES
        ]
        return min(tried, key=lambda pair: final_loss(pair[1]))

    runs = {(kind, depth): best(kind, depth) for kind in KINDS for depth in depths}
    rows = []
    for (kind, depth), (rate, run) in runs.items():
        parameters = sum(parameter.size for parameter in run.model.parameters().values())
        accuracy = run.history["val_accuracy"][-1]
        rows.append([f"{kind}, {depth} layers", f"{parameters:,}", rate, f"{final_loss(run):.4f}", f"{accuracy:.2%}"])
    claim.write_table(
        ["network", "parameters", "rate", "training loss", "test accuracy"],
        rows,
        f"{len(images):,} training and {len(test):,} test images of MNIST, {epochs} epochs of batches of 64, Adam, "
        f"seed {claim.seed}; loss: mean of the last epoch.",
    )

    figure = Figure(figsize=(9, 3.2))
    *curves, by_depth = figure.subplots(1, 3, width_ratios=(3, 3, 2))
    for panel, kind in zip(curves, KINDS, strict=True):
        for shade, depth in enumerate(depths):
            losses = runs[kind, depth][1].losses
            panel.plot(*smoothed(losses, max(len(losses) // 40, 1)), color=f"C{shade}", label=f"{depth} layers")
        panel.set(title=f"{kind}: training loss", xlabel="step", yscale="log", ylim=(0.02, 3))
        panel.legend()
    for kind, shade in zip(KINDS, ("0.6", "0.1"), strict=True):
        losses = [final_loss(runs[kind, depth][1]) for depth in depths]
        by_depth.plot(depths, losses, color=shade, marker="o", label=kind)
    by_depth.set(title="in the last epoch", xlabel="layers", xticks=depths, yscale="log", ylim=(0.02, 3))
    by_depth.legend()
    claim.write_figure(figure)


if __name__ == "__main__":
    main()
