"""Twenty training steps and a smaller last batch give PyTorch's losses, from the same weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from benchmarks.networks import NETWORKS, batches, initial_parameters

import convkit as ck
from convkit import models, nn, optim

SIZES = [64] * 20 + [37]
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}
OPTIMIZERS: dict[str, dict[str, float]] = {
    "SGD": {"lr": 0.01, "momentum": 0.9},
    "Adam": {"lr": 1e-3},
    "RMSprop": {"lr": 1e-4},
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_losses_are_those_of_torch(network: str, optimizer: str, dtype: str, ask_torch: Any) -> None:
    arguments = OPTIMIZERS[optimizer]
    images, labels = (stack[0] for stack in batches(1, sum(SIZES)))
    images = images.astype(dtype)
    initial = [values.astype(dtype) for values in initial_parameters(network)]
    case = {"network": network, "optimizer": optimizer, "arguments": arguments, "sizes": SIZES}
    given = {"images": images, "labels": labels} | {f"parameter{i}": v for i, v in enumerate(initial)}
    expected = ask_torch("train", [(case, given)])[0]["losses"]
    assert expected[-1] < 0.96 * expected[0], "the network has to learn, or equal losses say little"

    model = getattr(models, network)().astype(dtype)
    for parameter, values in zip(model.parameters().values(), initial, strict=True):
        parameter.assign(values)
    step = ck.compile_step(model, nn.CrossEntropyLoss(), getattr(optim, optimizer)(**arguments))
    losses = []
    for size, end in zip(SIZES, np.cumsum(SIZES), strict=True):
        batch = slice(end - size, end)
        losses.append(step(images[batch], labels[batch]))
    np.testing.assert_allclose(losses, expected, rtol=TOLERANCE[dtype])
