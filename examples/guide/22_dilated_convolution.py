r"""
Dilated convolution
===================

To see more of its input without more weights, a kernel can leave gaps: of :math:`K` weights with a *dilation* of
:math:`D`, neighbours meet inputs that are :math:`D` apart. The kernel then spans

.. math::

   K' = K + (K - 1)(D - 1)

values. Of layers on top of each other, each widens the *receptive field*, which is what one output depends on, by its
own span less one:

.. math::

   R = 1 + \sum_l (K_l - 1) D_l.

With dilations 1, 2, 4, … it grows exponentially with depth, while weights and size of the maps stay the same (Yu and
Koltun 2016, "Multi-scale context aggregation by dilated convolutions").
"""

import matplotlib.pyplot as plt
import numpy as np

import convkit as ck
from convkit import functional as F
from convkit import nn

# %%
# Functions on arrays
# -------------------
#
# A dilated convolution is one with a larger kernel, most of whose weights are zero; but these are never multiplied.


def with_gaps(kernel, dilation):
    """Put dilation − 1 zeros between the weights of a kernel."""
    span = len(kernel) + (len(kernel) - 1) * (dilation - 1)
    spread = np.zeros((span, span))
    spread[::dilation, ::dilation] = kernel
    return spread


rng = np.random.default_rng(0)
image, kernel = rng.standard_normal((24, 24)), rng.standard_normal((3, 3))
for dilation in (1, 2, 3, 4):
    dilated = F.conv2d(image[None, None], kernel[None, None], dilation=dilation)[0, 0]
    assert np.allclose(dilated, F.correlate2d(image, with_gaps(kernel, dilation)))
    assert dilated.shape == (24 - (3 + 2 * (dilation - 1)) + 1,) * 2

# %%
# Three kernels of nine weights, and what they span:

figure, panels = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
for panel, dilation in zip(panels, (1, 2, 4), strict=True):
    taps = with_gaps(np.ones((3, 3)), dilation)
    grid = np.zeros((11, 11))
    low, high = 5 - len(taps) // 2, 6 + len(taps) // 2
    grid[low:high, low:high] = 0.25 + 0.75 * taps
    panel.imshow(grid, cmap="Blues", vmin=0, vmax=1.2)
    panel.set(xticks=np.arange(-0.5, 11), yticks=np.arange(-0.5, 11))
    panel.tick_params(length=0, labelbottom=False, labelleft=False)
    panel.grid(color="white", lw=1)
    panel.set_title(f"$D = {dilation}$, $K' = {len(taps)}$", fontsize="medium")

# %%
# Layers
# ------
#
# The receptive field can be measured: it is where the gradient of one output with respect to the input is not zero.
# Each stack below has three layers of nine weights. Padding by :math:`D` keeps the size of the maps.


def stack(dilations):
    layers = [nn.Conv2d(1, 1, kernel_size=3, padding=d, dilation=d, bias=False) for d in dilations]
    for layer in layers:
        layer.weight.assign(np.full((1, 1, 3, 3), 1 / 9))
    return nn.Sequential(*layers).astype("float64")


def influence(model, size=17):
    """The gradient of the middle output with respect to an input of size × size."""
    middle = np.zeros((1, 1, size, size))
    middle[..., size // 2, size // 2] = 1
    chosen = ck.value_and_grad(model, lambda y, mask: F.sum(F.multiply(y, mask)), inputs=True)
    _, _, grad = chosen(np.zeros((1, 1, size, size)), middle)
    return grad[0, 0]


# %%
# With the same 27 weights, dilations 1, 2, 4 see 15 × 15 pixels where plain kernels see 7 × 7, and leave none of them
# out. With 2, 2, 2 an output sees only every second pixel: dilations with a common divisor leave gaps that no depth
# closes.

figure, panels = plt.subplots(1, 3, figsize=(9, 3.5), layout="constrained")
for panel, dilations in zip(panels, [(1, 1, 1), (1, 2, 4), (2, 2, 2)], strict=True):
    field = influence(stack(dilations))
    reach = np.flatnonzero(field.any(axis=0))
    measured = reach[-1] - reach[0] + 1
    assert measured == 1 + sum(2 * d for d in dilations)
    panel.imshow(np.ma.masked_equal(field, 0), cmap="viridis")
    panel.set(xticks=np.arange(-0.5, 17), yticks=np.arange(-0.5, 17))
    panel.tick_params(length=0, labelbottom=False, labelleft=False)
    panel.grid(color="0.9", lw=0.5)
    panel.set_title(f"dilations {', '.join(map(str, dilations))}: {measured} × {measured}", fontsize="medium")

plt.show()
