r"""
Pooling
=======

Pooling makes maps smaller: of each region :math:`R_{mn}` of a map it keeps one number, the largest or the mean.

.. math::

   y_{mn} = \max_{(i,j) \in R_{mn}} x_{ij}
   \qquad\text{or}\qquad
   y_{mn} = \frac{1}{|R_{mn}|} \sum_{(i,j) \in R_{mn}} x_{ij}

Every map is pooled by itself and nothing is learned. What is left depends less on where exactly something lies in a
region.
"""

import matplotlib.pyplot as plt
import numpy as np

from convkit import data, nn
from convkit import functional as F

# %%
# Functions on arrays
# -------------------
#
# The usual regions are 2 × 2 and lie side by side: the stride is the size of the region unless something else is said.

x = np.array(
    [
        [1, 1, 2, 1, 0, 1],
        [0, 1, 3, 8, 2, 1],
        [1, 0, 4, 0, 6, 5],
        [2, 6, 0, 1, 5, 9],
        [3, 1, 7, 0, 2, 2],
        [2, 2, 1, 0, 0, 4],
    ],
    dtype="float64",
)

largest = F.max_pool2d(x[None, None], 2)[0, 0]
mean = F.avg_pool2d(x[None, None], 2)[0, 0]
overlapping = F.max_pool2d(x[None, None], kernel_size=3, stride=1)[0, 0]

regions = x.reshape(3, 2, 3, 2).swapaxes(1, 2)  # (m, n, 2, 2)
assert np.array_equal(largest, regions.max((2, 3)))
assert np.array_equal(mean, regions.mean((2, 3)))

# %%
# With a stride below the region's size regions overlap, as in AlexNet (3 × 3, stride 2). In the picture each output
# of the first two has the colour of its region; the last is shown with its first region and its output.


def draw_numbers(panel, values, colours, title):
    panel.imshow(colours, cmap="Pastel1", vmin=-0.5, vmax=8.5, alpha=0.8)
    for (row, column), value in np.ndenumerate(values):
        panel.text(column, row, f"{value:g}", ha="center", va="center")
    rows, columns = values.shape
    panel.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
    panel.set(xticks=np.arange(-0.5, columns), yticks=np.arange(-0.5, rows))
    panel.tick_params(length=0, labelbottom=False, labelleft=False)
    panel.grid(color="white", lw=1.5)
    panel.set_title(title, fontsize="medium")


colours = np.arange(9).reshape(3, 3)
plain = np.full((6, 6), 8)  # grey
first = plain.copy()
first[:3, :3] = 0
figure, panels = plt.subplots(1, 5, figsize=(11, 2.9), width_ratios=[6, 3, 3, 6, 4], layout="constrained")
draw_numbers(panels[0], x, colours.repeat(2, 0).repeat(2, 1), "$x$")
draw_numbers(panels[1], largest, colours, "max 2 × 2")
draw_numbers(panels[2], mean, colours, "mean 2 × 2")
draw_numbers(panels[3], x, first, "$x$, overlapping regions")
draw_numbers(panels[4], overlapping, np.where(np.indices((4, 4)).sum(0) == 0, 0, 8), "max 3 × 3, stride 1")

# %%
# Mean pooling is a convolution with equal weights and a stride; max pooling is not, since a maximum is not linear.

equal = np.full((1, 1, 2, 2), 1 / 4)
assert np.allclose(F.conv2d(x[None, None], equal, stride=2), F.avg_pool2d(x[None, None], 2))
assert np.array_equal(F.max_pool2d(-x[None, None], 2)[0, 0], -regions.min((2, 3)))

# %%
# Layers
# ------

images = data.fashion_mnist("train", source="sample").images[:1]  # uint8, (1, 1, 28, 28)
pools = {
    "max 2": nn.MaxPool2d(2),
    "max 4": nn.MaxPool2d(4),
    "max 3, stride 2": nn.MaxPool2d(3, stride=2),
    "mean 2": nn.AvgPool2d(2),
    "mean 4": nn.AvgPool2d(4),
    "mean 3, stride 2": nn.AvgPool2d(3, stride=2),
}
pooled = {name: pool(images) for name, pool in pools.items()}  # scaled to 0 … 1, as layers do with uint8

for name, maps in pooled.items():
    print(f"{name:17} 28 × 28 → {maps.shape[2]} × {maps.shape[3]}")
assert np.allclose(pooled["max 2"], F.max_pool2d(images / np.float32(255), 2))

# %%
# Maxima make what is bright spread, means blur it. Of regions of 4 × 4, either leaves little that could be told apart.

figure, panels = plt.subplot_mosaic(
    [["image", "max 2", "max 3, stride 2", "max 4"], ["image", "mean 2", "mean 3, stride 2", "mean 4"]],
    figsize=(10, 4.6), width_ratios=[2, 1, 1, 1], layout="constrained",
)  # fmt: skip
for name, panel in panels.items():
    picture = images[0, 0] if name == "image" else pooled[name][0, 0]
    panel.imshow(picture, cmap="gray", vmin=0, vmax=255 if name == "image" else 1)
    panel.set_title(f"{name}\n{picture.shape[0]} × {picture.shape[1]}", fontsize="medium")
    panel.set_axis_off()

plt.show()
