r"""
Normalisation
=============

Deep networks learn faster when each layer finds its inputs at the same scale. Normalisation gives values mean 0 and
variance 1, and then a scale :math:`\gamma_c` and a shift :math:`\beta_c` that are learned for each channel:

.. math:: y = \gamma_c \, \frac{x - \mu_S}{\sqrt{\sigma_S^2 + \varepsilon}} + \beta_c.

The kinds differ in the set :math:`S` of values that share a mean and a variance. Maps have four axes (N, C, H, W):
samples, channels and the two of the image.
"""

import matplotlib.pyplot as plt
import numpy as np

import convkit as ck
from convkit import data, nn
from convkit import functional as F

# %%
# Which values are taken together
# -------------------------------
# Each cube holds the maps of four samples with six channels, height and width laid along one edge; the blue values
# share one mean and one variance. Batch normalisation takes a channel over the whole batch (Ioffe and Szegedy 2015),
# layer normalisation a whole sample (Ba, Kiros and Hinton 2016), group normalisation some channels of a sample (Wu and
# He 2018); with as many groups as channels it is called instance normalisation.

shared = {
    "batch": (slice(None), slice(0, 1)),
    "layer": (slice(0, 1), slice(None)),
    "group": (slice(0, 1), slice(0, 3)),
    "instance": (slice(0, 1), slice(0, 1)),
}
figure, axes = plt.subplots(1, 4, figsize=(11, 3.4), subplot_kw={"projection": "3d"})
for ax, (name, (samples, channels)) in zip(axes, shared.items(), strict=True):
    cube = np.ones((6, 4, 6), bool)  # channels, samples, places
    colours = np.full(cube.shape, "#d5d9e0", dtype=object)
    colours[channels, samples] = "#3b7dd8"
    ax.voxels(cube, facecolors=colours, edgecolor="white", linewidth=0.6, shade=False)
    ax.view_init(elev=22, azim=-122)
    ax.set_box_aspect((6, 4, 6), zoom=1.15)
    ax.set(xticks=[], yticks=[], zticks=[], xlabel="C", ylabel="N", zlabel="H, W", title=f"{name} normalisation")
    ax.xaxis.labelpad = ax.yaxis.labelpad = ax.zaxis.labelpad = -14
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.pane.set_visible(False)
        axis.line.set_visible(False)
figure.subplots_adjust(left=0.025, right=1, bottom=0, top=0.92, wspace=0)
plt.show()

# %%
# By functions on arrays
# ----------------------
# Each function returns what the formula says, written in NumPy: the axes are those of the blue values.

train = data.fashion_mnist("train", source="sample")
images = train.images[:64] / np.float32(255)
ck.set_seed(0)
conv = nn.Conv2d(1, 6, 5)
maps = conv(images)  # (64, 6, 24, 24)


def normalised(x, axes, eps=1e-5):
    """Mean 0 and variance 1 over the given axes."""
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)


running_mean, running_var = np.zeros(6, np.float32), np.ones(6, np.float32)
by_batch = F.batch_norm(maps, running_mean, running_var, training=True)
by_layer = F.layer_norm(maps, maps.shape[1:])
by_group = F.group_norm(maps, 2)

np.testing.assert_allclose(by_batch, normalised(maps, (0, 2, 3)), atol=1e-4)
np.testing.assert_allclose(by_layer, normalised(maps, (1, 2, 3)), atol=1e-4)
in_groups = maps.reshape(64, 2, 3, 24, 24)
np.testing.assert_allclose(by_group, normalised(in_groups, (2, 3, 4)).reshape(maps.shape), atol=1e-4)

print("mean of each channel, before:", maps.mean((0, 2, 3)).round(2))
print("                       after:", by_batch.mean((0, 2, 3)).round(2) + 0.0)

# %%
# By layers
# ---------
# ``nn.BatchNorm2d`` holds the scale and the shift, and running moments: in training it normalises by the batch and lets
# them follow, in inference it uses them, so that the answer for an image does not depend on its neighbours. Whether it
# trains is said with each call.

norm = nn.BatchNorm2d(6, momentum=0.1)
np.testing.assert_allclose(norm(maps, training=True), by_batch, atol=1e-5)
np.testing.assert_allclose(norm.running_mean.value, 0.1 * maps.mean((0, 2, 3)), rtol=1e-4)

alone, in_company = norm(maps[:1]), norm(maps)[:1]
np.testing.assert_allclose(alone, in_company, atol=1e-6)

# The two others have nothing to remember: their moments come from the sample itself.
np.testing.assert_allclose(nn.GroupNorm(2, 6)(maps), by_group, atol=1e-5)
np.testing.assert_allclose(nn.LayerNorm(maps.shape[1:])(maps), by_layer, atol=1e-5)

# %%
# In inference it is free
# -----------------------
# With fixed moments, batch normalisation is a factor and a shift of each channel, and these fit into the convolution
# before it:
#
# .. math:: w' = \frac{\gamma}{\sqrt{\sigma^2 + \varepsilon}}\, w, \qquad
#           b' = \frac{\gamma}{\sqrt{\sigma^2 + \varepsilon}}\, (b - \mu) + \beta.
#
# convkit does this itself when a network is called without training; here it is by hand.

network = nn.Sequential(conv, norm)
factor = norm.weight.value / np.sqrt(norm.running_var.value + norm.eps)
weight = factor[:, None, None, None] * conv.weight.value
bias = factor * (conv.bias.value - norm.running_mean.value) + norm.bias.value

np.testing.assert_allclose(F.conv2d(images, weight, bias), network(images), atol=1e-5)
print("one convolution with other weights gives the same as convolution and normalisation")
