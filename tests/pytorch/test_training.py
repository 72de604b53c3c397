"""Twenty training steps and a smaller last batch give PyTorch's losses, from the same weights and state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from benchmarks.networks import NETWORKS, batches, initial_parameters

import convkit as ck
from convkit import functional as F
from convkit import models, nn, optim

SIZES = [64] * 20 + [37]
TOLERANCE = {"float32": 2e-5, "float64": 1e-9}

# In float32, rounding decides on which side of zero one or two of a batch's two million inputs of rectifiers lie.
# Optimisers that divide by a gradient's size make a full step of what little follows, and losses part from the sixth
# step on, by up to 0.2 %; smooth networks' and SGD's do not.
BEFORE_THEY_PART, PARTED = 5, 5e-3

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
    may_part = dtype == "float32" and network != "lenet5" and optimizer != "SGD"
    alike = BEFORE_THEY_PART if may_part else len(SIZES)
    np.testing.assert_allclose(losses[:alike], expected[:alike], rtol=TOLERANCE[dtype])
    np.testing.assert_allclose(losses[alike:], expected[alike:], rtol=PARTED)


class Residual(nn.Module):
    """Batch normalisation wherever it can stand: before a rectifier, before a sum, behind a dense layer."""

    def __init__(self) -> None:
        self.conv1, self.norm1 = nn.Conv2d(1, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8, momentum=0.3)
        self.linear, self.norm3 = nn.Linear(8, 6, bias=False), nn.BatchNorm1d(6, affine=False)
        self.last = nn.Linear(6, 10)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.leaky_relu(x + self.norm2(self.conv2(x)), 0.1)
        return self.last(F.elu(self.norm3(self.linear(F.global_avg_pool(x)))))


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_normalised_network_trains_as_torch_s(dtype: str, ask_torch: Any) -> None:
    """Losses, every parameter and running moment, and what inference makes of them; states move under their names."""
    images, labels = (stack[0] for stack in batches(1, sum(SIZES)))
    images = images.astype(dtype)
    ck.set_seed(1)
    model = Residual().astype(dtype)
    given = model.state_dict() | {"images": images, "labels": labels}
    [expected] = ask_torch("train_residual", [({"sizes": SIZES}, given)])
    step = ck.compile_step(model, nn.CrossEntropyLoss(), optim.SGD(0.05, momentum=0.9))
    ends = np.cumsum(SIZES)
    losses = [step(images[e - n : e], labels[e - n : e]) for n, e in zip(SIZES, ends, strict=True)]
    assert losses[-1] < 0.9 * losses[0], "the network has to learn, or equal losses say little"
    tolerance = {"float32": 2e-3, "float64": 1e-9}[dtype]  # roundings grow from step to step
    np.testing.assert_allclose(losses, expected["losses"], rtol=tolerance)
    for name, values in model.state_dict().items():
        np.testing.assert_allclose(values, expected[name], rtol=tolerance, atol=tolerance, err_msg=name)
    np.testing.assert_allclose(model(images), expected["outputs"], rtol=10 * tolerance, atol=10 * tolerance)
