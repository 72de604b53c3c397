r"""
Stride and padding
==================

A kernel of size :math:`K` fits :math:`M - K + 1` times into an input of size :math:`M`. Two numbers change that: a
*padding* of :math:`P` zeros on each side makes more places, and a *stride* of :math:`S` keeps only every
:math:`S`-th. The output has

.. math::

   \left\lfloor \frac{M - K + 2P}{S} \right\rfloor + 1

values. Three choices have names of their own, all with stride 1:

* **narrow** (``"valid"``): :math:`P = 0`, output :math:`M - K + 1`;
* **wide** (``"full"``): :math:`P = K - 1`, output :math:`M + K - 1`;
* **equal-width** (``"same"``): :math:`P = (K - 1) / 2`, output :math:`M`.
"""

import matplotlib.pyplot as plt
import numpy as np

from convkit import functional as F
from convkit import nn

# %%
# Functions on arrays
# -------------------

M, K = 7, 3
signal, kernel = np.ones(M), np.ones(K)

assert F.correlate1d(signal, kernel, mode="valid").shape == (M - K + 1,)
assert F.correlate1d(signal, kernel, mode="full").shape == (M + K - 1,)
assert F.correlate1d(signal, kernel, mode="same").shape == (M,)
assert F.correlate1d(signal, kernel, stride=2).shape == ((M - K) // 2 + 1,)

# %%
# In the picture each output stands above the window of inputs that it is the sum of. Dashed cells are padding.


def draw_windows(panel, title, padding, stride):
    padded = np.pad(np.ones(M), padding)
    outputs = (len(padded) - K) // stride + 1
    for place, is_input in enumerate(padded):
        style = {"fc": "#9fc5e8", "ec": "0.3"} if is_input else {"fc": "white", "ec": "0.6", "ls": "--"}
        panel.add_patch(plt.Rectangle((place - padding - 0.45, 0), 0.9, 0.9, **style))
        panel.text(place - padding, 0.42, f"$x_{place - padding + 1}$" if is_input else "0", ha="center", va="center")
    for number in range(outputs):
        left = number * stride - padding
        centre = left + (K - 1) / 2
        corners = [(left - 0.45, 0.95), (left + K - 0.55, 0.95), (centre + 0.45, 2.45), (centre - 0.45, 2.45)]
        panel.add_patch(plt.Polygon(corners, fc="#e69138", alpha=0.18, ec="#b45f06", lw=0.8))
        panel.add_patch(plt.Rectangle((centre - 0.45, 2.5), 0.9, 0.9, fc="#f9cb9c", ec="0.3"))
        panel.text(centre, 2.92, f"$y_{number + 1}$", ha="center", va="center")
    panel.set(xlim=(-2.7, 8.7), ylim=(-0.15, 3.6), aspect="equal")
    panel.set_title(f"{title}: $P={padding}$, $S={stride}$, {outputs} outputs", fontsize="medium")
    panel.set_axis_off()


figure, panels = plt.subplots(2, 2, figsize=(10, 4.2), layout="constrained")
draw_windows(panels[0, 0], "narrow", padding=0, stride=1)
draw_windows(panels[0, 1], "wide", padding=K - 1, stride=1)
draw_windows(panels[1, 0], "equal-width", padding=(K - 1) // 2, stride=1)
draw_windows(panels[1, 1], "strided", padding=(K - 1) // 2, stride=2)

# %%
# Layers
# ------
#
# Layers take the same, and a number for each axis where the axes differ.
# ``padding="same"`` also works with a stride: it then gives :math:`\lceil M / S \rceil` values, by TensorFlow's rule.

images = np.zeros((1, 1, 28, 28), np.float32)
settings = [
    {"padding": "valid"},
    {"padding": "full"},
    {"padding": "same"},
    {"padding": 2, "stride": 2},
    {"padding": (0, 1), "stride": (1, 3)},
    {"padding": "same", "stride": 3},
]
for setting in settings:
    layer = nn.Conv2d(1, 1, kernel_size=5, **setting)
    print(f"{setting!s:38} 28 × 28 → {' × '.join(map(str, layer(images).shape[2:]))}")

# %%
# The formula holds for every size, kernel, padding and stride:

for size in range(5, 12):
    for k in range(1, 6):
        for p in range(4):
            for s in range(1, 5):
                y = F.conv1d(np.ones((1, 1, size)), np.ones((1, 1, k)), padding=p, stride=s)
                assert y.shape[2] == (size - k + 2 * p) // s + 1

plt.show()
