"""LeNet-5 as its paper has it, part by part: LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning
applied to document recognition", section II.B (the network), II.C (what it minimises) and appendix A (squashing
function, initial weights).

The output units measure how far a digit is from each class: the smallest penalty is the answer.  The model
returns the penalties with their sign turned, so that here as elsewhere the largest output is the answer and
accuracy, `argmax` and softmax mean what they always mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convkit import functional as F
from convkit import nn
from convkit.errors import positive
from convkit.models.registry import Recipe, register
from convkit.nn.loss import Loss
from convkit.nn.module import Module
from convkit.ops.shape import Scatter
from convkit.seeding import generator

# Table I: for each map of C3, the maps of S2 that it sees.
CONNECTIONS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip

# What F6 should show for each class: the digit drawn on 7×12 points, in the manner of the paper's figure 3.
DIGITS = """
..###..  ...##..  .#####.  .#####.  ....##.  #######  ..####.  #######  .#####.  .#####.
.##.##.  ..###..  ##...##  ##...##  ...###.  ##.....  .##....  .....##  ##...##  ##...##
##...##  .####..  .....##  .....##  ...###.  ##.....  ##.....  .....##  ##...##  ##...##
##...##  ...##..  .....##  .....##  ..####.  ##.....  ##.....  ....##.  ##...##  ##...##
##...##  ...##..  .....##  .....##  ..#.##.  ######.  ######.  ....##.  ##...##  ##...##
##...##  ...##..  ....##.  ..####.  .##.##.  .....##  ##...##  ...##..  .#####.  ##...##
##...##  ...##..  ...##..  .....##  .#..##.  .....##  ##...##  ...##..  ##...##  .######
##...##  ...##..  ..##...  .....##  ##..##.  .....##  ##...##  ..##...  ##...##  .....##
##...##  ...##..  .##....  .....##  #######  .....##  ##...##  ..##...  ##...##  .....##
##...##  ...##..  ##.....  .....##  ....##.  .....##  ##...##  .##....  ##...##  .....##
.##.##.  ...##..  ##.....  ##...##  ....##.  ##...##  ##...##  .##....  ##...##  ....##.
..###..  .######  #######  .#####.  ....##.  .#####.  .#####.  .##....  .#####.  .####..
"""


def bitmaps() -> np.ndarray:
    """The ten drawings, int8 (10, 12, 7): +1 where there is ink, -1 where there is none."""
    rows = np.array([list(seven_points) for seven_points in DIGITS.split()]).reshape(12, 10, 7)
    return np.where(rows.transpose(1, 0, 2) == "#", 1, -1).astype(np.int8)


def squash(a: Any) -> Any:
    """1.7159 · tanh(2a / 3), equation 6: with these constants ±1 is mapped to ±1 (appendix A)."""
    return F.tanh(a * (2 / 3)) * 1.7159


def uniform_by_inputs(shape: tuple[int, ...], inputs: int | None = None) -> np.ndarray:
    """U(-2.4 / F, 2.4 / F) for units with F inputs (appendix A), by default those of a weight of this shape."""
    limit = 2.4 / (inputs or nn.init.fans(shape)[0])
    return generator().uniform(-limit, limit, shape)


# --- layers, each with its squashing function -----------------------------------------------------------------


class Frame(Module):
    """Images (N, 1, 28, 28) of ink from 0 to 1, framed to 32×32, the background at -0.1 and ink at 1.175.

    The mean over MNIST is then about 0.
    """

    def forward(self, x: Any) -> Any:
        return F.pad(x * (1.175 + 0.1) - 0.1, 2, value=-0.1)


class SquashedConv2d(nn.Conv2d):
    """A convolution of all input maps, squashed."""

    def forward(self, x: Any) -> Any:
        return squash(super().forward(x))


class ConnectedConv2d(Module):
    """A convolution in which each output map sees some of the input maps, squashed.

    Parameters
    ----------
    connections : sequence of sequences of int
        For each output map, the numbers of the input maps that it sees.
    in_channels, kernel_size : int

    Attributes
    ----------
    weight : Parameter, (connections in all, kernel_size, kernel_size)
        One kernel for each connection, in the order of the table.
    bias : Parameter, (output maps,), zero at first
    """

    def __init__(self, connections: Sequence[Sequence[int]], in_channels: int, kernel_size: int) -> None:
        self.in_channels, self.out_channels, self.kernel_size = in_channels, len(connections), kernel_size
        self.places = tuple(o * in_channels + i for o, seen in enumerate(connections) for i in seen)
        kernels = [uniform_by_inputs((1, len(seen), kernel_size, kernel_size))[0] for seen in connections]
        self.weight = nn.Parameter(np.concatenate(kernels).astype(np.float32))
        self.bias = nn.Parameter(np.zeros(self.out_channels, np.float32))

    def forward(self, x: Any) -> Any:
        all_kernels = Scatter(self.places, self.out_channels * self.in_channels)(self.weight)
        weight = all_kernels.reshape(self.out_channels, self.in_channels, self.kernel_size, self.kernel_size)
        return squash(F.conv2d(x, weight, self.bias))

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, connections={len(self.places)}"


class Subsampling(Module):
    """The sum of each 2×2 window times a coefficient of the map's, plus a bias of the map's, squashed.

    Parameters
    ----------
    channels : int

    Attributes
    ----------
    weight, bias : Parameter, (channels,)
    """

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.weight = nn.Parameter(uniform_by_inputs((channels,), inputs=4).astype(np.float32))
        self.bias = nn.Parameter(np.zeros(channels, np.float32))

    def forward(self, x: Any) -> Any:
        of_mean = (4 * self.weight).reshape(self.channels, 1, 1)  # a sum of four is four times the mean
        return squash(F.avg_pool2d(x, 2) * of_mean + self.bias.reshape(self.channels, 1, 1))

    def extra_repr(self) -> str:
        return f"{self.channels}"


class SquashedLinear(nn.Linear):
    """Units connected to all inputs, squashed."""

    def forward(self, x: Any) -> Any:
        return squash(super().forward(F.flatten(x)))


class RadialBasis(Module):
    """The penalties y_i = Σ_j (x_j - w_ij)² of equation 7 with their sign turned: -y, so that the largest wins.

    Parameters
    ----------
    targets : array (classes, features) of -1 and +1

    Attributes
    ----------
    targets : Buffer, (classes, features)
        The w_ij; they are not trained.
    """

    def __init__(self, targets: np.ndarray) -> None:
        self.targets = nn.Buffer(targets.astype(np.float32))

    def forward(self, x: Any) -> Any:
        classes, features = self.targets.shape
        # -y = 2 Σ w x - (Σ x² + Σ w²): two dense layers, the second with ones for weights; all w² are 1.
        ones, squared_lengths = np.ones((classes, features), x.dtype), np.full(classes, features, x.dtype)
        return 2 * F.linear(x, self.targets) - F.linear(x * x, ones, squared_lengths)


# --- what is minimised ------------------------------------------------------------------------------------------


class MLECriterion:
    """The mean over a batch of y_D, the penalty of the right class (equation 8), from outputs -y.

    It pulls the right penalty down and does not push the others up.
    """

    def __call__(self, outputs: Any, labels: Any) -> Any:
        return F.nll_loss(outputs, labels)


class MAPCriterion(Loss):
    """The mean over a batch of y_D + log(exp(-j) + Σ_i exp(-y_i)) (equation 9), from outputs -y.

    y_D is the penalty of the right class.  This is the cross-entropy of the classes and of one more, that of
    rubbish, whose penalty is always j; so a label that follows the last class stands for an image of no class.

    Parameters
    ----------
    rubbish_penalty : float
        j, above 0: penalties far above it are not pushed further up.
    """

    def __init__(self, rubbish_penalty: float = 1.0) -> None:
        self.rubbish_penalty = positive("MAPCriterion", "rubbish_penalty", rubbish_penalty)

    def __call__(self, outputs: Any, labels: Any) -> Any:
        rubbish = np.full((outputs.shape[0], 1), -self.rubbish_penalty, outputs.dtype)
        return F.cross_entropy(F.concat([outputs, rubbish]), labels)


# --- the network ------------------------------------------------------------------------------------------------


class LeNet5(Module):
    """Images (N, 1, 28, 28) to ten penalties with their sign turned; see `lenet5_1998`."""

    def __init__(self) -> None:
        self.frame = Frame()
        self.c1 = SquashedConv2d(1, 6, 5, init=uniform_by_inputs)
        self.s2 = Subsampling(6)
        self.c3 = ConnectedConv2d(CONNECTIONS, 6, 5)
        self.s4 = Subsampling(16)
        # 5×5 over maps of 5×5: the convolution C5 is a full connection
        self.c5 = SquashedLinear(16 * 5 * 5, 120, init=uniform_by_inputs)
        self.f6 = SquashedLinear(120, 84, init=uniform_by_inputs)
        self.output = RadialBasis(bitmaps().reshape(10, 84))

    def forward(self, x: Any) -> Any:
        for layer in (self.frame, self.c1, self.s2, self.c3, self.s4, self.c5, self.f6, self.output):
            x = layer(x)
        return x


@register(
    paper="LeCun, Bottou, Bengio and Haffner 1998, Gradient-based learning applied to document recognition",
    dataset="mnist",
    parameters=60_000,
    recipe=Recipe(epochs=20, lr=3e-3, schedule="cosine"),
    loss=MAPCriterion,
)
def lenet5_1998() -> Module:
    """Trainable subsampling, C3's table of connections, scaled tanh, distances to drawn digits: 60,000 parameters."""
    return LeNet5()
