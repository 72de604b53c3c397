r"""
Mean, Gaussian and edge filters
===============================

Long before kernels were learned they were designed. Slid over a photograph, a kernel gives a *feature map*: an image of
where, and how strongly, the photograph shows what the kernel asks for.

.. math::

   Y = W \otimes X, \qquad y_{ij} = \sum_{u,v} w_{uv} \, x_{i+u-1,\,j+v-1}

The photograph is of a cup of coffee, by Rachel Michetti, in the public domain (CC0).
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from convkit import functional as F
from convkit import nn

# The gallery runs a page in its own folder and does not tell it its name.
here = Path(__file__).parent if "__file__" in globals() else Path()

photograph = plt.imread(here / "coffee.png")  # (160, 240, 3), float32 from 0 to 1
image = photograph @ np.array([0.299, 0.587, 0.114], "float32")  # grey, as bright as the eye finds it

# %%
# Five kernels of 5 × 5:
#
# * the **mean** of 25 neighbours, :math:`w_{uv} = \frac1{25}`, blurs;
# * a **Gaussian**, :math:`w_{uv} \propto \exp(-\frac{u^2+v^2}{2\sigma^2})`, blurs more gently, since near neighbours
#   count for more;
# * differences of a Gaussian **across** and **down** (its derivatives) find edges, by their direction;
# * the **Laplacian** of a Gaussian finds edges of any direction, with a change of sign on each.
#
# Blurring kernels sum to 1, so that a plain surface stays as bright as it is; edge kernels sum to 0, so that nothing
# is left of it.

offset = np.arange(-2.0, 3.0)
distance = offset**2 + offset[:, None] ** 2
gaussian = np.exp(-distance / 2)
gaussian /= gaussian.sum()
laplacian = (distance - 2) * gaussian

kernels = {
    "mean": np.full((5, 5), 1 / 25),
    "Gaussian": gaussian,
    "edges across": offset * gaussian,
    "edges down": offset[:, None] * gaussian,
    "Laplacian": laplacian - laplacian.mean(),
}
bank = np.stack(list(kernels.values())).astype("float32")  # (5, 5, 5)

assert np.allclose(bank.sum((1, 2)), [1, 1, 0, 0, 0], atol=1e-6)

# %%
# Functions on arrays
# -------------------
#
# One kernel at a time, on a plain image:

maps = [F.correlate2d(image, kernel, mode="same") for kernel in bank]

# %%
# Layers
# ------
#
# A convolutional layer holds a whole bank of kernels and computes all feature maps at once.
# ``padding_mode="replicate"`` continues the image past its borders, where the zeros of ``mode="same"`` above would
# look like an edge.

layer = nn.Conv2d(1, len(bank), kernel_size=5, padding=2, bias=False, padding_mode="replicate")
layer.weight.assign(bank[:, None])  # (P, D, kh, kw)
features = layer(image[None, None])[0]

inside = (slice(2, -2), slice(2, -2))
for one_by_one, at_once in zip(maps, features, strict=True):
    assert np.allclose(one_by_one[inside], at_once[inside], atol=1e-6)

# %%
# The kernel stands in the corner of each map; red is positive and blue negative. The two blurs are still photographs.
# Of the cup's rim, one edge filter draws the sides and the other top and bottom, red where it brightens that way; the
# wood's grain, which runs askew, appears in both.

figure, panels = plt.subplots(2, 3, figsize=(10, 5), layout="constrained")
panels[0, 0].imshow(image, cmap="gray", vmin=0, vmax=1)
panels[0, 0].set_title("photograph $X$")
for panel, name, kernel, feature in zip(panels.flat[1:], kernels, bank, features, strict=True):
    if kernel.min() < 0:
        limit = np.quantile(abs(feature), 0.995)
        panel.imshow(feature, cmap="RdBu_r", vmin=-limit, vmax=limit)
    else:
        panel.imshow(feature, cmap="gray", vmin=0, vmax=1)
    panel.set_title(name)
    corner = panel.inset_axes([0.78, 0, 0.22, 0.33])
    corner.imshow(kernel, cmap="RdBu_r", vmin=-abs(kernel).max(), vmax=abs(kernel).max())
    corner.set(xticks=[], yticks=[])
for panel in panels.flat:
    panel.set(xticks=[], yticks=[])

plt.show()
