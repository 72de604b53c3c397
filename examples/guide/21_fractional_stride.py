r"""
Fractionally strided convolution
================================

A transposed convolution makes of :math:`n` values with a kernel of :math:`m`

.. math::

   n + m - 1

values: it is a convolution of the input with :math:`m - 1` zeros on each side. To enlarge more, put :math:`d` zeros
*between* the values, too. The kernel then moves on by one place while the input moves on by
:math:`\frac{1}{d+1}`: a stride of :math:`S = \frac{1}{d+1}`, less than one. There are now

.. math::

   (d + 1)(n - 1) + m

values. It is the transposed form of a convolution with the stride :math:`d + 1`, and that is how it is asked for.
"""

import matplotlib.pyplot as plt
import numpy as np

from convkit import data, nn
from convkit import functional as F

# %%
# Functions on arrays
# -------------------


def with_zeros(x, d):
    """Put d zeros between the values of a signal."""
    spread = np.zeros((d + 1) * (len(x) - 1) + 1)
    spread[:: d + 1] = x
    return spread


rng = np.random.default_rng(0)
for n in range(1, 8):
    for m in range(1, 6):
        for d in range(4):
            x, w = rng.standard_normal(n), rng.standard_normal(m)
            y = F.conv_transpose1d(x[None, None], w[None, None], stride=d + 1)[0, 0]
            assert len(y) == (d + 1) * (n - 1) + m
            assert np.allclose(y, F.convolve1d(with_zeros(x, d), w, mode="full"))

# %%
# In the picture the convolution runs upwards, from a few values to more. Dashed cells are zeros: those at the ends
# make the convolution wide, those between the values make its stride a fraction.


def draw_windows(panel, n, m, d):
    places = {(d + 1) * i for i in range(n)}
    last, outputs = (d + 1) * (n - 1), (d + 1) * (n - 1) + m
    for place in range(1 - m, last + m):
        style = {"fc": "#9fc5e8", "ec": "0.3"} if place in places else {"fc": "white", "ec": "0.6", "ls": "--"}
        panel.add_patch(plt.Rectangle((place - 0.45, 0), 0.9, 0.9, **style))
        label = f"$x_{place // (d + 1) + 1}$" if place in places else "0"
        panel.text(place, 0.42, label, ha="center", va="center")
    for number in range(outputs):
        left = number + 1 - m
        centre = left + (m - 1) / 2
        corners = [(left - 0.45, 0.95), (left + m - 0.55, 0.95), (centre + 0.45, 2.45), (centre - 0.45, 2.45)]
        panel.add_patch(plt.Polygon(corners, fc="#e69138", alpha=0.18, ec="#b45f06", lw=0.8))
        panel.add_patch(plt.Rectangle((centre - 0.45, 2.5), 0.9, 0.9, fc="#f9cb9c", ec="0.3"))
        panel.text(centre, 2.92, f"$y_{number + 1}$", ha="center", va="center")
    middle = last / 2
    panel.set(xlim=(middle - 6, middle + 6), ylim=(-0.15, 3.6), aspect="equal")
    stride = "1" if d == 0 else f"1/{d + 1}"
    panel.set_title(f"$n={n}$, $m={m}$, $d={d}$, stride {stride}: {outputs} outputs", fontsize="medium")
    panel.set_axis_off()


figure, panels = plt.subplots(2, 1, figsize=(8, 5), layout="constrained")
draw_windows(panels[0], n=4, m=3, d=0)
draw_windows(panels[1], n=4, m=3, d=1)

# %%
# Layers
# ------
#
# ``nn.ConvTranspose2d(…, stride=2)`` doubles images, and learns how. Two kernels by hand show what it can do. A pyramid
# interpolates between the pixels, bilinearly. With nine equal weights an output is the sum of one, two or four pixels,
# depending on its place, and a *chequerboard* appears, for which enlarging networks are known.

image = data.fashion_mnist("train", source="sample").images[:1]
pyramid = np.outer([0.5, 1.0, 0.5], [0.5, 1.0, 0.5])
equal = np.full((3, 3), pyramid.sum() / 9)

layer = nn.ConvTranspose2d(1, 1, kernel_size=3, stride=2, bias=False)
enlarged = {}
for name, kernel in {"a pyramid": pyramid, "equal weights": equal}.items():
    layer.weight.assign(kernel[None, None])
    enlarged[name] = layer(image)[0, 0]

small, large = image[0, 0] / 255, enlarged["a pyramid"][1:-1, 1:-1]
assert large.shape == (55, 55) and enlarged["equal weights"].shape == (2 * 27 + 3, 2 * 27 + 3)
assert np.allclose(large[::2, ::2], small, atol=1e-6)
assert np.allclose(large[1::2, ::2], (small[1:] + small[:-1]) / 2, atol=1e-6)

figure, panels = plt.subplots(1, 3, figsize=(10, 3.7), layout="constrained")
for panel, (name, picture) in zip(panels, {"image": small, **enlarged}.items(), strict=True):
    panel.imshow(picture, cmap="gray", vmin=0)
    panel.set_title(f"{name}, {picture.shape[0]} × {picture.shape[1]}", fontsize="medium")
    panel.set_axis_off()

plt.show()
