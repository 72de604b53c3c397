r"""
The convolutional layer
=======================

A convolutional layer takes :math:`D` input maps :math:`X^1, \dots, X^D`, such as the three colours of a photograph,
and makes :math:`P` output maps. Each output map looks at all input maps, with a kernel for each; the results are
added up with a bias, and a non-linear function :math:`f` follows:

.. math::

   Z^p = \sum_{d=1}^{D} W^{p,d} \otimes X^d + b^p, \qquad Y^p = f(Z^p).

That takes :math:`P \times D` kernels of :math:`U \times V` weights, and :math:`P` biases.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from convkit import functional as F
from convkit import nn

# The gallery runs a page in its own folder and does not tell it its name.
here = Path(__file__).parent if "__file__" in globals() else Path()

photograph = plt.imread(here / "coffee.png")  # (160, 240, 3)
x = photograph.transpose(2, 0, 1)[None]  # (N, D, H, W)

# %%
# Two output maps, :math:`P = 2`. The first asks for red that is neither green nor blue: a little blur of the red map,
# minus half of that of each other one. The second asks for edges from dark to bright, going down, in any colour.

blur = np.array([1.0, 2.0, 1.0]) / 4
smooth, edge = np.outer(blur, blur), np.outer([-1.0, 0.0, 1.0], blur)
weight = np.stack([[smooth, -smooth / 2, -smooth / 2], [edge, edge, edge]]).astype("float32")  # (P, D, 3, 3)
bias = np.array([-0.3, -0.2], "float32")

# %%
# Functions on arrays
# -------------------
#
# The formula, written down map by map with the textbook's cross-correlation of one image with one kernel, is what
# ``F.conv2d`` computes in one call:

parts = np.array([[F.correlate2d(x[0, d], weight[p, d]) for d in range(3)] for p in range(2)])  # W^{p,d} ⊗ X^d
z_by_hand = parts.sum(axis=1) + bias[:, None, None]

z = F.conv2d(x, weight, bias)
y = F.relu(z)

assert z.shape == (1, 2, 158, 238)
assert np.allclose(z[0], z_by_hand, atol=1e-6)

# %%
# Layers
# ------

model = nn.Sequential(nn.Conv2d(3, 2, kernel_size=3), nn.ReLU())
model.load_state_dict({"0.weight": weight, "0.bias": bias})

assert np.allclose(model(x), y, atol=1e-6)
print(model.summary(input_shape=(3, 160, 240)))
assert sum(parameter.size for parameter in model.parameters().values()) == 2 * 3 * 3 * 3 + 2

# %%
# Input maps stand in the first row. Below them stands a row for each output map: what each kernel makes of its input
# map, and what comes of their sum. The white cup is brightest in each colour, but in :math:`Y^1` the three cancel out
# and the red saucer is left, with the reddest of the wood.

figure, panels = plt.subplots(3, 4, figsize=(11, 6.2), layout="constrained")
for panel in panels.flat:
    panel.set(xticks=[], yticks=[])
for d, colour in enumerate(["red", "green", "blue"]):
    panels[0, d].imshow(photograph * np.eye(3)[d])
    panels[0, d].set_title(f"$X^{d + 1}$, {colour}")
panels[0, 3].imshow(photograph)
panels[0, 3].set_title("photograph")
for p in range(2):
    limit = np.quantile(abs(parts[p]), 0.995)
    for d in range(3):
        panels[p + 1, d].imshow(parts[p, d], cmap="RdBu_r", vmin=-limit, vmax=limit)
        panels[p + 1, d].set_title(f"$W^{{{p + 1},{d + 1}}} \\otimes X^{d + 1}$")
    panels[p + 1, 3].imshow(y[0, p], cmap="magma", vmin=0, vmax=np.quantile(y[0, p], 0.995))
    panels[p + 1, 3].set_title(f"$Y^{p + 1} = f(\\Sigma_d\\, W^{{{p + 1},d}} \\otimes X^d + b^{p + 1})$")

plt.show()
