r"""
Inception
=========

How large should a kernel be? An Inception block (Szegedy et al. 2015) does not choose: it applies 1×1, 3×3 and 5×5
convolutions and a maximum pooling side by side, and stacks their maps along the axis of channels. What makes this
affordable is a 1×1 convolution before each large one. It leaves the places as they are and reduces the :math:`D` maps
to fewer, :math:`R`, so that of the multiplications for one place

.. math:: k^2\, D\, P \quad \text{only} \quad D\, R + k^2\, R\, P \quad \text{are left.}
"""

import matplotlib.pyplot as plt
import numpy as np

import convkit as ck
from convkit import functional as F
from convkit import nn, plot
from convkit.models.googlenet import MODULES

# %%
# By functions on arrays
# ----------------------
# Module 3a of GoogLeNet takes 192 maps of 28×28. Four branches see the same input; paddings keep the size.

rng = np.random.default_rng(0)
x = rng.normal(size=(2, 192, 28, 28)).astype(np.float32)


def kernels(outputs, inputs, size):
    """Weights to begin with: (outputs, inputs, size, size)."""
    scale = np.sqrt(2 / (inputs * size**2))
    return rng.normal(scale=scale, size=(outputs, inputs, size, size)).astype(np.float32)


one = kernels(64, 192, 1)
three_reduce, three = kernels(96, 192, 1), kernels(128, 96, 3)
five_reduce, five = kernels(16, 192, 1), kernels(32, 16, 5)
projection = kernels(32, 192, 1)

branches = [
    F.relu(F.conv2d(x, one)),
    F.relu(F.conv2d(F.relu(F.conv2d(x, three_reduce)), three, padding=1)),
    F.relu(F.conv2d(F.relu(F.conv2d(x, five_reduce)), five, padding=2)),
    F.relu(F.conv2d(F.max_pool2d(x, 3, 1, padding=1), projection)),
]
y = F.concat(branches)
print("maps of the branches:", *(branch.shape[1] for branch in branches), "together:", y.shape)

# %%
# By layers
# ---------


def conv(inputs, outputs, size):
    """A convolution that keeps the size, rectified."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, padding=size // 2), nn.ReLU())


class Inception(nn.Module):
    """Four branches side by side: (N, inputs, H, W) → (N, n1 + n3 + n5 + projected, H, W)."""

    def __init__(self, inputs, n1, n3_reduce, n3, n5_reduce, n5, projected):
        self.branch1 = conv(inputs, n1, 1)
        self.branch2 = nn.Sequential(conv(inputs, n3_reduce, 1), conv(n3_reduce, n3, 3))
        self.branch3 = nn.Sequential(conv(inputs, n5_reduce, 1), conv(n5_reduce, n5, 5))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), conv(inputs, projected, 1))

    def forward(self, x):
        return F.concat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)])


block = Inception(192, 64, 96, 128, 16, 32, 32)
weights = [p for name, p in block.parameters().items() if name.endswith("weight")]
for parameter, values in zip(weights, (one, three_reduce, three, five_reduce, five, projection), strict=True):
    parameter.assign(values)
np.testing.assert_allclose(block(x), y, atol=1e-4)
print(block.summary((192, 28, 28)))

# %%
# The block as a graph: what ``forward`` recorded.

plot.graph(block, (192, 28, 28))
plt.show()

# %%
# What the reduction saves
# ------------------------
# Millions of multiplications in the nine modules of GoogLeNet (its table 1 has the widths), with the reducing 1×1
# convolutions and without them: the large kernels see all maps, and the pooled maps are passed on as they are.

places = {"3": 28**2, "4": 14**2, "5": 7**2}
inputs = 192
names, reduced, naive = [], [], []
for name, (n1, n3_reduce, n3, n5_reduce, n5, projected) in MODULES.items():
    millions = places[name[0]] / 1e6
    branch3 = inputs * n3_reduce + 9 * n3_reduce * n3
    branch5 = inputs * n5_reduce + 25 * n5_reduce * n5
    names.append(name)
    reduced.append(millions * np.array([inputs * n1, branch3, branch5, inputs * projected]))
    naive.append(millions * np.array([inputs * n1, 9 * inputs * n3, 25 * inputs * n5, 0]))
    inputs = n1 + n3 + n5 + projected
reduced, naive = np.array(reduced), np.array(naive)
print(f"all modules: {reduced.sum():.0f} million multiplications instead of {naive.sum():.0f}")

per_place = sum(parameter.size for parameter in weights)  # every weight is used once at each place
np.testing.assert_allclose(reduced[0].sum(), per_place * 28**2 / 1e6)

figure, ax = plt.subplots(figsize=(9, 4), layout="constrained")
positions = np.arange(len(names))
labels = ("1×1", "3×3", "5×5", "pooling")
for offset, values, alpha in ((-0.21, naive, 0.45), (0.21, reduced, 1.0)):
    bottoms = np.cumsum(values, axis=1) - values
    for branch in range(4):
        label = labels[branch] if alpha == 1 else None
        ax.bar(
            positions + offset,
            values[:, branch],
            0.38,
            bottoms[:, branch],
            color=f"C{branch}",
            alpha=alpha,
            label=label,
        )
ax.set(ylim=(0, 900), ylabel="million multiplications", title="left, pale: without reduction; right: as in the paper")
ax.set_xticks(positions, names)
ax.spines[["top", "right"]].set_visible(False)
ax.legend(title="branch", frameon=False)
plt.show()

# %%
# Factorised kernels
# ------------------
# Inception v3 (Szegedy et al. 2016) makes large kernels of small ones. Two 3×3 convolutions see as far as a 5×5 one
# with 18 instead of 25 weights for a pair of maps; a 1×n convolution and an n×1 one see as far as an n×n one, with 2n
# instead of n². Any kernel that is a product of a column and a row can be had so:

row, column = rng.normal(size=(2, 7))
image = rng.normal(size=(1, 1, 28, 28))
at_once = F.conv2d(image, np.outer(column, row).reshape(1, 1, 7, 7), padding=3)
in_turn = F.conv2d(F.conv2d(image, row.reshape(1, 1, 1, 7), padding=(0, 3)), column.reshape(1, 1, 7, 1), padding=(3, 0))
np.testing.assert_allclose(in_turn, at_once, atol=1e-12)

ck.set_seed(0)
variants = {
    "one 5×5": nn.Sequential(conv(64, 64, 5)),
    "two 3×3": nn.Sequential(conv(64, 64, 3), conv(64, 64, 3)),
    "one 7×7": nn.Sequential(conv(64, 64, 7)),
    "1×7 and 7×1": nn.Sequential(
        nn.Conv2d(64, 64, (1, 7), padding=(0, 3)), nn.ReLU(), nn.Conv2d(64, 64, (7, 1), padding=(3, 0)), nn.ReLU()
    ),
}
figure, axes = plt.subplots(1, 4, figsize=(11, 3.2), layout="constrained")
for ax, (name, layers) in zip(axes, variants.items(), strict=True):
    plot.receptive_field(layers, "", (64, 15, 15), samples=2, ax=ax)
    parameters = sum(parameter.size for parameter in layers.parameters().values())
    ax.set_title(f"{name}\n{parameters:,} parameters")
plt.show()
