r"""
LeNet-5
=======

LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998) read the digits on cheques: convolutions and subsampling in turn, while
maps become smaller and more, and dense layers at the end. convkit has it twice, as it is usually written today and as
the paper has it.
"""

import matplotlib.pyplot as plt
import numpy as np

import convkit as ck
from convkit import data, models, nn, optim, plot
from convkit import functional as F
from convkit.models.lenet5_1998 import CONNECTIONS

# %%
# The usual form
# --------------
# A convolution of :math:`D` to :math:`P` maps with k×k kernels has :math:`P\,(D k^2 + 1)` parameters; a dense layer of
# :math:`n` to :math:`m` units has :math:`m\,(n + 1)`.

ck.set_seed(0)
model = models.lenet5()
print(model.summary())
by_formula = [6 * (1 * 25 + 1), 16 * (6 * 25 + 1), 120 * (400 + 1), 84 * (120 + 1), 10 * (84 + 1)]
assert sum(by_formula) == sum(parameter.size for parameter in model.parameters().values()) == 61_706

# %%
# Its forward pass, written with functions on arrays:

test = data.mnist("test", source="sample")
digits = test.images / np.float32(255)
p = {name: parameter.value for name, parameter in model.parameters().items()}

x = F.tanh(F.conv2d(digits, p["0.weight"], p["0.bias"], padding=2))
x = F.avg_pool2d(x, 2)
x = F.tanh(F.conv2d(x, p["3.weight"], p["3.bias"]))
x = F.flatten(F.avg_pool2d(x, 2))
x = F.tanh(F.linear(x, p["7.weight"], p["7.bias"]))
x = F.tanh(F.linear(x, p["9.weight"], p["9.bias"]))
x = F.linear(x, p["11.weight"], p["11.bias"])
np.testing.assert_allclose(x, model(digits), atol=1e-5)
print("functions and layers agree")

# %%
# The form of 1998
# ----------------
# Subsampling has a coefficient and a bias for each map, everything is squashed by 1.7159 tanh(2a/3), and the outputs
# are distances to ten drawn digits of 7×12 points. Only some maps of S2 go into each map of C3 (table I), which breaks
# the symmetry between maps and saves parameters: each connection is one 5×5 kernel.

paper = models.lenet5_1998()
print(paper.summary())

connected = np.zeros((6, 16), bool)
for c3_map, seen in enumerate(CONNECTIONS):
    connected[list(seen), c3_map] = True
assert paper.c3.weight.shape == (connected.sum(), 5, 5) == (60, 5, 5)

figure, (table, drawn) = plt.subplots(1, 2, figsize=(11, 3.4), width_ratios=(1.7, 1), layout="constrained")
rows, columns = np.nonzero(connected)
table.scatter(columns, rows, s=110, c="C0", marker="s")
table.set(xlabel="map of C3", ylabel="map of S2", title="60 connections of 96", xticks=range(16), yticks=range(6))
table.set(xlim=(-0.5, 15.5), ylim=(5.5, -0.5), aspect="equal")
table.set_xticks(np.arange(-0.5, 16), minor=True)
table.set_yticks(np.arange(-0.5, 6), minor=True)
table.grid(which="minor", color="0.85")
table.tick_params(length=0, which="both")
targets = paper.output.targets.value.reshape(2, 5, 12, 7)
drawn.imshow(
    np.pad(targets, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1).transpose(0, 2, 1, 3).reshape(28, 45),
    cmap="gray_r",
)
drawn.set(xticks=[], yticks=[], title="what the output units compare F6 with")
plt.show()

# %%
# Where the parameters are
# ------------------------
# Convolutions do most of the work and have few parameters, since each kernel is used at all places; four fifths belong
# to C5, which the paper calls a convolution, and which is a dense layer, since its 5×5 kernels fill maps of 5×5.

layers = ["C1", "S2", "C3", "S4", "C5", "F6", "output"]
today = [156, 0, 2_416, 0, 48_120, 10_164, 850]
paper_layers = (paper.c1, paper.s2, paper.c3, paper.s4, paper.c5, paper.f6, paper.output)
in_1998 = [sum(parameter.size for parameter in layer.parameters().values()) for layer in paper_layers]
assert today == [by_formula[0], 0, by_formula[1], 0, *by_formula[2:]] and sum(in_1998) == 60_000

figure, ax = plt.subplots(figsize=(9, 3.4), layout="constrained")
for offset, counts, label, colour in ((-0.2, in_1998, "1998", "C0"), (0.2, today, "today", "C1")):
    bars = ax.bar(np.arange(7) + offset, counts, 0.38, color=colour, label=f"{label}: {sum(counts):,}")
    ax.bar_label(bars, [f"{count:,}" if count else "none" for count in counts], padding=2, fontsize=8)
ax.set_yscale("symlog", linthresh=10)
ax.set(ylabel="parameters", ylim=(0, 200_000), yticks=[0, 10, 100, 1_000, 10_000, 100_000])
ax.set_xticks(range(7), layers)
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False, loc="upper left")
plt.show()

# %%
# Both, trained for a moment
# --------------------------
# On the 6,000 digits of the sample. The paper minimises distances to the drawn digits (its equation 9), the usual form
# the cross-entropy.

train = data.mnist("train", source="sample")
accuracies = {}
for name, network, loss in (("today", model, nn.CrossEntropyLoss()), ("1998", paper, models.MAPCriterion())):
    trainer = ck.Trainer(network, loss, optim.Adam(lr=3e-3), metrics=["accuracy"])
    trainer.fit(train, epochs=5, batch_size=64, seed=0, verbose=0)
    accuracies[name] = trainer.evaluate(test)["accuracy"]
    print(f"{name}: test accuracy {accuracies[name]:.1%} after five epochs")
assert min(accuracies.values()) > 0.85

# %%
# A digit on its way
# ------------------
# Strokes become edges, and maps smaller, until what is left is a distance to each of the ten drawings.

image = test.images[np.flatnonzero(test.labels == 4)[0]]
figure, axes = plt.subplots(1, 6, figsize=(12, 2.7), width_ratios=(1, 1.5, 1.5, 1, 1, 1.2), layout="constrained")
axes[0].imshow(image[0], cmap="gray")
axes[0].set_title("28×28")
axes[0].axis("off")
for ax, name, size in zip(axes[1:5], ("c1", "s2", "c3", "s4"), (28, 14, 10, 5), strict=True):
    plot.feature_maps(paper, name, image, ax=ax)
    ax.set_title(f"{name.upper()}, {size}×{size}")
distances = -paper(image[np.newaxis])[0]
axes[5].barh(range(10), distances, color="0.75")
axes[5].text(distances.min() + 5, distances.argmin(), "the nearest", va="center", color="C0")
axes[5].set(yticks=range(10), ylim=(9.6, -0.6), title="distances")
axes[5].spines[["top", "right"]].set_visible(False)
plt.show()
assert distances.argmin() == 4
