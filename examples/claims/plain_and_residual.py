"""Deep plain networks train worse than shallow ones; with shortcuts they do not.

He, Zhang, Ren and Sun 2016 (figure 1 and figure 6) train the same network with and without shortcuts: without, the
training loss of 56 layers stays above that of 20, so the depth hurts optimisation and not generalisation; with them it
does not. The same networks are trained here for the first steps on images of 14×14, the means of windows of 2×2.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from matplotlib.figure import Figure

from common import Claim, smoothed, train
from convkit import functional as F
from convkit import optim
from convkit.data import Dataset
from convkit.models.resnet_cifar import SmallImageResNet

BATCH = 64
RATE = 0.03
KINDS = {"plain": False, "residual": True}


def halved(images: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Images of half the size (N, 1, 14, 14) in [0, 1], and their labels."""
    return F.avg_pool2d(images.images.astype(np.float32) / 255, 2), images.labels


def main() -> None:
    claim = Claim(__file__, __doc__)
    depths = claim.choose((20, 32, 44, 56), (8, 14))
    steps = claim.choose(200, 4)
    last = steps // 4
    images, test = claim.data("fashion-mnist", BATCH * steps, test_images=2_000)
    runs = {
        (kind, depth): train(
            partial(SmallImageResNet, depth, 1, 10, residual),
            halved(images),
            halved(test),
            epochs=1,
            seed=claim.seed,
            batch_size=BATCH,
            optimizer=optim.SGD(RATE, momentum=0.9, nesterov=True),
        )
        for kind, residual in KINDS.items()
        for depth in depths
    }

    final = {key: np.mean(run.losses[-last:]) for key, run in runs.items()}
    rows = [
        [
            depth,
            f"{sum(p.size for p in runs['plain', depth].model.parameters().values()):,}",
            *(f"{final[kind, depth]:.3f}" for kind in KINDS),
            *(f"{runs[kind, depth].history['val_accuracy'][-1]:.1%}" for kind in KINDS),
        ]
        for depth in depths
    ]
    columns = [*(f"training loss, {kind}" for kind in KINDS), *(f"test accuracy, {kind}" for kind in KINDS)]
    claim.write_table(
        ["layers", "parameters", *columns],
        rows,
        f"{len(images):,} training images of Fashion-MNIST, seen once, and {len(test):,} test images, both 14 × 14; "
        f"{len(images) // BATCH} steps of {BATCH}, SGD {RATE} with Nesterov's momentum 0.9, seed {claim.seed}; "
        f"loss: mean of the last {last} steps.",
    )

    figure = Figure(figsize=(9, 3.2))
    *curves, by_depth = figure.subplots(1, 3, width_ratios=(3, 3, 2))
    for panel, kind in zip(curves, KINDS, strict=True):
        for shade, depth in enumerate(depths):
            curve = smoothed(runs[kind, depth].losses, max(steps // 20, 1))
            panel.plot(*curve, color=f"C{shade}", label=f"{depth} layers")
        panel.set(title=f"{kind}: training loss", xlabel="step", ylim=(0, 3))
        panel.legend()
    for kind, shade in zip(KINDS, ("0.6", "0.1"), strict=True):
        by_depth.plot(depths, [final[kind, depth] for depth in depths], color=shade, marker="o", label=kind)
    by_depth.set(title="in the end", xlabel="layers", xticks=depths, ylim=(0, None))
    by_depth.legend()
    claim.write_figure(figure)


if __name__ == "__main__":
    main()
