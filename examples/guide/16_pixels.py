r"""
Networks that name each pixel
=============================

A classifier pools until one answer is left. To say for every pixel what it belongs to, a network must see far around it
and still answer at full size. There are two ways.

* An **encoder and decoder** (after Long, Shelhamer and Darrell 2015) pools, and makes the maps large again by
  transposed convolutions of stride :math:`s`. From :math:`n` places they make

  .. math:: (n - 1)\, s - 2p + k, \qquad \text{with } k = 4,\ s = 2,\ p = 1 \text{ exactly } 2n.

* A **context network** (after Yu and Koltun 2016) keeps the size and dilates its kernels. Layers of kernels
  :math:`k_l` dilated by :math:`d_l` see

  .. math:: 1 + \sum_l d_l\, (k_l - 1) \quad \text{places along each axis.}
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap

import convkit as ck
from convkit import data, models, nn, optim, plot
from convkit import functional as F

# %%
# By functions on arrays
# ----------------------
# A transposed convolution whose kernel is a triangle in both directions interpolates: it is bilinear upsampling, with
# which the decoder begins, and from which it learns to do better.

triangle = np.array([0.25, 0.75, 0.75, 0.25])
kernel = np.outer(triangle, triangle).reshape(1, 1, 4, 4)
maps = np.random.default_rng(0).normal(size=(1, 1, 7, 7))
doubled = F.conv_transpose2d(maps, kernel, stride=2, padding=1)
assert doubled.shape == (1, 1, 14, 14)

bilinear = F.interpolate(maps, scale_factor=2, mode="bilinear")
np.testing.assert_allclose(doubled[..., 1:-1, 1:-1], bilinear[..., 1:-1, 1:-1])
print("within the border the transposed convolution is bilinear interpolation")

# %%
# The context module of the paper begins as the identity on scores that are not negative, and learns from there:

scores = np.abs(np.random.default_rng(1).normal(size=(1, 21, 32, 32))).astype(np.float32)
np.testing.assert_allclose(models.context_basic()(scores), scores, rtol=1e-5)
print("the untrained context module hands on its input")

# %%
# By layers
# ---------
# ``models.encoder_decoder`` has three sizes, 28, 14 and 7, and adds at each what the encoder's maps of that size say.
# ``models.context_small`` is a context network as its paper has it; the one written here learns faster, since its
# layers are normalised.


def context_network(width, dilations, classes):
    """Dilated 3×3 convolutions, and a 1×1 one that scores the classes: the size of the maps never changes."""
    layers, maps = [], 1
    for d in dilations:
        conv = nn.Conv2d(maps, width, 3, padding=d, dilation=d, bias=False, init="he_normal")
        layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        maps = width
    return nn.Sequential(*layers, nn.Conv2d(maps, classes, 1))


ck.set_seed(0)
dilations = (1, 2, 4, 8, 1)
encoder_decoder = models.encoder_decoder()
context = context_network(16, dilations, classes=11)

# %%
# What the middle pixel sees, measured by gradients: 33×33 places, as the formula says.

seen = 1 + sum(d * (3 - 1) for d in dilations)
ax = plot.receptive_field(context, "", (1, 41, 41))
ax.set_title(f"{seen} × {seen} places behind five dilated convolutions")
plt.show()

# %%
# Masks
# -----
# The sample says what is in an image, not where. Its background is 0, so the truth is made of the label: each lit pixel
# belongs to the image's class, the others to an eleventh. Two epochs on a quarter of the images give a first answer.

train = data.fashion_mnist("train", source="sample")[:1500]
test = data.fashion_mnist("test", source="sample")


def masks(dataset):
    """The class of each pixel, 10 for the background: (N, 28, 28)."""
    return np.where(dataset.images[:, 0] > 0, dataset.labels[:, None, None], 10)


truth = masks(test)
predictions = {}
for name, model in {"encoder–decoder": encoder_decoder, "dilated": context}.items():
    optimizer = optim.Adam(lr=optim.Cosine(1e-2, epochs=2))
    trainer = ck.Trainer(model, nn.CrossEntropyLoss(), optimizer, metrics=["accuracy"])
    trainer.fit((train.images, masks(train)), epochs=2, batch_size=32, seed=0, verbose=0)
    predictions[name] = trainer.predict(test.images).argmax(1)
    right = predictions[name] == truth
    print(
        f"{name}: {right[truth == 10].mean():.1%} of the background right, {right[truth < 10].mean():.1%} of the rest"
    )
    assert right[truth == 10].mean() > 0.95 and right[truth < 10].mean() > 0.3

# %%
# The networks find the outline at once; what they disagree about with the truth is the class, and sometimes within one
# image.

chosen = [np.flatnonzero(test.labels == label)[1] for label in range(10)]
colours = ListedColormap([*plt.get_cmap("tab10").colors, "#eeeeee"])
rows = {"image": test.images[:, 0], "truth": truth, **predictions}
figure, axes = plt.subplots(len(rows), 10, figsize=(11, 5), layout="constrained")
for row, (name, values) in zip(axes, rows.items(), strict=True):
    row[0].set_ylabel(name.replace("–", "–\n"), fontsize=11)
    for ax, place in zip(row, chosen, strict=True):
        if name == "image":
            ax.imshow(values[place], cmap="gray_r")
            ax.set_title(test.classes[test.labels[place]], fontsize=9)
        else:
            ax.imshow(values[place], cmap=colours, vmin=0, vmax=10, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
patches = [plt.Rectangle((0, 0), 1, 1, color=colours(label)) for label in range(11)]
figure.legend(patches, [*test.classes, "background"], loc="outside lower center", ncols=6, frameon=False)
plt.show()
