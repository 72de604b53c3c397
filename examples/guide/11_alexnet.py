r"""
AlexNet
=======

AlexNet (Krizhevsky, Sutskever and Hinton 2012) won the ImageNet contest of 2012 by a wide margin and made everybody
turn to convolutional networks: five convolutions and three dense layers, rectifiers instead of tanh, dropout, and 61
million parameters. Three of its ideas first, then the network.
"""

import matplotlib.pyplot as plt
import numpy as np

import convkit as ck
from convkit import data, models, nn, optim, plot
from convkit import functional as F

# %%
# Two groups
# ----------
# The network was spread over two graphics processors. In most layers each half of the maps is computed from one half of
# the maps below only: two convolutions side by side, with half the weights of one. That is ``groups=2``.

rng = np.random.default_rng(0)
x = rng.normal(size=(2, 8, 13, 13))
weight = rng.normal(size=(6, 4, 3, 3))  # each output map sees 4 of the 8 input maps

in_groups = F.conv2d(x, weight, padding=1, groups=2)
by_hand = F.concat([F.conv2d(x[:, :4], weight[:3], padding=1), F.conv2d(x[:, 4:], weight[3:], padding=1)])
np.testing.assert_allclose(in_groups, by_hand)

layer = nn.Conv2d(8, 6, 3, padding=1, groups=2, bias=False).astype("float64")
layer.weight.assign(weight)
np.testing.assert_allclose(layer(x), in_groups)

# %%
# Local response normalisation
# ----------------------------
# A strong value dampens those at the same place of the neighbouring maps (section 3.3):
#
# .. math:: b_c = \frac{a_c}{\Bigl(k + \alpha \sum_{j = c - 2}^{c + 2} a_j^2\Bigr)^{\beta}},
#           \qquad k = 2,\ \alpha = 10^{-4},\ \beta = 0.75.
#
# PyTorch and ONNX divide :math:`\alpha` by the number of maps in the window, the paper does not: ``average=False``.
# (The layer has no parameters from which to know that it should compute in double precision, so it computes in single.)

squares = np.pad(x**2, ((0, 0), (2, 2), (0, 0), (0, 0)))
window_sums = sum(squares[:, shift : shift + 8] for shift in range(5))
normalised = F.local_response_norm(x, 5, alpha=1e-4, beta=0.75, k=2.0, average=False)
np.testing.assert_allclose(normalised, x / (2 + 1e-4 * window_sums) ** 0.75)
np.testing.assert_allclose(nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0, average=False)(x), normalised, rtol=1e-6)

# %%
# Overlapping pooling
# -------------------
# Windows of 3×3 two places apart overlap by one. From 13 places per axis they leave as many as windows of 2×2 do, each
# of which sees more.

overlapping, apart = F.max_pool2d(x, 3, 2), F.max_pool2d(x, 2, 2)
assert overlapping.shape == apart.shape == (2, 8, 6, 6)
assert np.all(overlapping >= apart)
np.testing.assert_allclose(nn.MaxPool2d(3, 2)(x), overlapping)
print("groups, response normalisation and overlapping pooling are what their formulas say")

# %%
# The network
# -----------
# The summary needs no image: it traces the network.

model = models.alexnet()
print(model.summary())

# %%
# The convolutions hold one parameter in twenty-six, and do nine tenths of the work. For the dense layers it is the
# other way round; that is why the networks that came after have only one, or none.

sizes = {name: p.size for name, p in model.parameters().items()}
names = ["conv 1", "conv 2", "conv 3", "conv 4", "conv 5", "dense 6", "dense 7", "dense 8"]
weights = np.array([size for name, size in sizes.items() if name.endswith("weight")])
biases = np.array([size for name, size in sizes.items() if name.endswith("bias")])
parameters = weights + biases
assert parameters.sum() == 60_965_224
assert 26 < parameters.sum() / parameters[:5].sum() < 27
multiplications = weights * np.array([55**2, 27**2, 13**2, 13**2, 13**2, 1, 1, 1])  # a weight is used at every place

figure, ax = plt.subplots(figsize=(10, 2.6), layout="constrained")
colours = [*plt.get_cmap("Blues")(np.linspace(0.25, 0.6, 5)), *plt.get_cmap("Oranges")(np.linspace(0.25, 0.5, 3))]
for row, counts in enumerate((parameters, multiplications)):
    share = counts / counts.sum()
    for name, colour, width, start in zip(names, colours, share, np.cumsum(share) - share, strict=True):
        ax.barh(row, width, left=start, color=colour, edgecolor="white", label=name if row == 0 else None)
        if width > 0.06:
            ax.text(start + width / 2, row, f"{name}\n{width:.0%}", ha="center", va="center", fontsize=9)
ax.set_yticks(
    [0, 1],
    [
        f"{parameters.sum() / 1e6:.1f} million\nparameters",
        f"{multiplications.sum() / 1e6:.0f} million\nmultiplications",
    ],
)
ax.invert_yaxis()
ax.set(xlim=(0, 1), xticks=[])
ax.spines[:].set_visible(False)
ax.tick_params(length=0)
plt.show()

# %%
# A small one, trained for a moment
# ---------------------------------
# ``models.alexnet_small`` has the same layers for 28×28 images, with fewer maps. As in the paper the first filters
# begin near zero, so that what they become is seen: mostly edges, upright, level and slanting.

train, test = data.fashion_mnist("train", source="sample"), data.fashion_mnist("test", source="sample")
ck.set_seed(0)
small = models.alexnet_small()
first = small.features[0]
first.weight.assign(0.05 * first.weight.value)
at_first = first.weight.value.copy()
trainer = ck.Trainer(small, nn.CrossEntropyLoss(), optim.Adam(lr=2e-3), metrics=["accuracy"])
trainer.fit(train[:2400], epochs=2, batch_size=32, seed=0, verbose=0)
accuracy = trainer.evaluate(test)["accuracy"]
print(f"test accuracy after two epochs of 2,400 images: {accuracy:.1%}")
assert accuracy > 0.5

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for ax, weight, title in zip(axes, (at_first, first), ("at first", "after training"), strict=True):
    plot.filters(weight, ax=ax)
    ax.set_title(title)
plt.show()
