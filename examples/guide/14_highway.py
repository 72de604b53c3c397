r"""
Highway networks
================

A highway layer (Srivastava, Greff and Schmidhuber 2015) decides for each unit how much of what it computes it takes,
and how much of its input it lets pass. The transform gate :math:`T` is a layer of its own, whose outputs lie between 0
and 1:

.. math:: y = H(x) \cdot T(x) + x \cdot \bigl(1 - T(x)\bigr), \qquad T(x) = \sigma(W_T\, x + b_T).

Where the gate is shut, :math:`y = x` and the gradient passes unchanged; where it is open, :math:`y = H(x)`. The bias
:math:`b_T` is negative at first, so that a deep network begins nearly as the identity and opens gates as it learns.
"""

import matplotlib.pyplot as plt
import numpy as np

import convkit as ck
from convkit import data, models, nn, optim
from convkit import functional as F

# %%
# By functions on arrays
# ----------------------

rng = np.random.default_rng(0)
x = rng.normal(size=(3, 50))
weight, gate_weight = rng.normal(scale=0.2, size=(2, 50, 50))


def highway(x, gate_bias):
    """One dense highway layer."""
    h = F.relu(F.linear(x, weight))
    t = F.sigmoid(F.linear(x, gate_weight, np.full(50, gate_bias)))
    return h * t + x * (1 - t)


np.testing.assert_allclose(highway(x, -40.0), x)
np.testing.assert_allclose(highway(x, +40.0), F.relu(F.linear(x, weight)), atol=1e-12)
print("gates shut: the input comes out; gates open: an ordinary layer")

# %%
# By layers
# ---------
# The same as a module. The plain layer and its gate may as well be convolutions: ``models.highway_conv16`` is made so.


class Highway(nn.Module):
    """A dense layer of the input's width, and a gate beside it."""

    def __init__(self, width, gate_bias):
        self.plain = nn.Linear(width, width, init="he_normal")
        self.gate = nn.Linear(width, width)
        self.gate.bias.assign(np.full(width, gate_bias))

    def forward(self, x):
        h, t = F.relu(self.plain(x)), F.sigmoid(self.gate(x))
        return h * t + x * (1 - t)


layer = Highway(50, gate_bias=-2.0).astype("float64")
layer.plain.weight.assign(weight)
layer.gate.weight.assign(gate_weight)
np.testing.assert_allclose(layer(x), highway(x, -2.0))

# %%
# Twenty layers, eight epochs
# ---------------------------
# On the embedded part of MNIST, beside a plain network with as many layers and about as many parameters.

train, test = data.mnist("train", source="sample"), data.mnist("test", source="sample")
images = test.images / np.float32(255)
depth, width, gate_bias = 20, 50, -3.0


def fit(model):
    """Train for eight epochs; return the loss of each, and the test accuracy."""
    trainer = ck.Trainer(model, nn.CrossEntropyLoss(), optim.Adam(lr=3e-3), metrics=["accuracy"])
    history = trainer.fit(train, epochs=8, batch_size=64, seed=0, verbose=0)
    return history["loss"], trainer.evaluate(test)["accuracy"]


ck.set_seed(0)
first = nn.Sequential(nn.Flatten(), nn.Linear(784, width, init="he_normal"), nn.ReLU())
layers = [Highway(width, gate_bias) for _ in range(depth - 2)]
highway_losses, highway_accuracy = fit(nn.Sequential(first, *layers, nn.Linear(width, 10)))
plain_losses, plain_accuracy = fit(models.plain_dense(depth=depth))
print(f"test accuracy, highway: {highway_accuracy:.1%}, plain: {plain_accuracy:.1%}")
assert highway_losses[-1] < plain_losses[-1]

# %%
# Which gates open
# ----------------
# Every gate began near :math:`\sigma(-3) \approx 0.05`. A row of the first two pictures is a layer, a column a unit:
# the mean of its gate over 1,000 digits, and its gate for a single one. The third shows what the layers hand on for
# that digit. Columns that stay the same from row to row are the highway: values that pass many layers untouched.

x = first(images)
gates, states = [], []
for layer in layers:
    gates.append(F.sigmoid(layer.gate(x)))
    x = layer(x)
    states.append(x)
gates, states = np.array(gates), np.array(states)  # (layers, digits, units)
digit = 1

figure, axes = plt.subplot_mosaic("abc\nddd", figsize=(11, 6.4), height_ratios=(3, 2), layout="constrained")
pictures = {
    "a": (gates.mean(1), "Blues", 0, 1, "gates, mean over the test digits"),
    "b": (gates[:, digit], "Blues", 0, 1, f"gates for a single {test.labels[digit]}"),
    "c": (states[:, digit], "Reds", 0, 6, f"what the layers hand on for that {test.labels[digit]}"),
}
for place, (values, cmap, low, high, title) in pictures.items():
    ax = axes[place]
    picture = ax.imshow(values, cmap=cmap, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    figure.colorbar(picture, ax=ax, location="bottom", shrink=0.8, aspect=30)
    ax.set(title=title, xlabel="unit")
    ax.set_yticks([0, 5, 11, 17], [2, 7, 13, 19])
axes["a"].set_ylabel("layer")

axes["d"].plot(range(1, 9), plain_losses, "o-", color="C1", label="plain, 20 layers")
axes["d"].plot(range(1, 9), highway_losses, "o-", color="C0", label="highway, 20 layers")
axes["d"].set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
axes["d"].spines[["top", "right"]].set_visible(False)
axes["d"].legend(frameon=False)
plt.show()

# %%
# After so short a training most gates are still nearly shut, and the few that are open differ from digit to digit.

mean_gates = gates.mean((1, 2))
for first_layer in (0, 6, 12):
    share = mean_gates[first_layer : first_layer + 6].mean()
    print(f"layers {first_layer + 2:2d} to {first_layer + 7:2d}: gates open by {share:.0%} on average")
assert gates.max() > 0.9 and gates.mean() < 0.25
