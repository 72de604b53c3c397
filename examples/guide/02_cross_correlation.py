r"""
Cross-correlation and flipping
==============================

The convolution of an image :math:`X` with a kernel :math:`W` turns the kernel round by 180° before it slides over the
image; *cross-correlation* slides it as it is:

.. math::

   (W * X)_{ij} = \sum_{u,v} w_{uv} \, x_{i-u+1,\,j-v+1}
   \qquad
   (W \otimes X)_{ij} = \sum_{u,v} w_{uv} \, x_{i+u-1,\,j+v-1}
   \qquad
   W * X = \operatorname{rot180}(W) \otimes X.
"""

import matplotlib.pyplot as plt
import numpy as np

from convkit import functional as F
from convkit import nn

# %%
# Functions on arrays
# -------------------
#
# A single point shows what each does to the kernel: the convolution writes the kernel to every point, upright; the
# cross-correlation writes it upside down. (It asks of each place how well the image around it agrees with the kernel,
# and a point agrees with the kernel's *first* value at the window that *ends* on it.)

kernel = np.array(
    [
        [1.0, 1.0, 1.0, 1.0, 1.0],
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [1.0, 1.0, 1.0, 1.0, 0.0],
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [1.0, 0.0, 0.0, 0.0, 0.0],
    ]
)
points = np.zeros((17, 17))
points[3, 3] = points[8, 11] = points[13, 4] = 1

convolved = F.convolve2d(points, kernel, mode="same")
correlated = F.correlate2d(points, kernel, mode="same")


def rot180(image):
    return image[::-1, ::-1]


assert np.allclose(convolved, F.correlate2d(points, rot180(kernel), mode="same"))

pictures = {
    "kernel $W$": kernel,
    "$\\mathrm{rot180}(W)$": rot180(kernel),
    "points $X$": points,
    "convolution $W * X$": convolved,
    "cross-correlation $W \\otimes X$": correlated,
}
figure, panels = plt.subplots(1, 5, figsize=(11, 3.3), width_ratios=[5, 5, 10, 10, 10], layout="constrained")
for panel, (title, picture) in zip(panels, pictures.items(), strict=True):
    panel.imshow(picture, cmap="Blues", vmin=0, vmax=1)
    panel.set_title(title, fontsize="medium")
    panel.set(xticks=np.arange(-0.5, len(picture)), yticks=np.arange(-0.5, len(picture)))
    panel.tick_params(length=0, labelbottom=False, labelleft=False)
    panel.grid(color="0.85", lw=0.5)

# %%
# Layers
# ------
#
# ``nn.Conv2d`` and ``F.conv2d`` cross-correlate, as those of every framework do. A kernel that is learned comes out
# turned round or not as the layer needs it, so nothing is lost; a kernel that is taken from a book on signals has to
# be turned first.

layer = nn.Conv2d(1, 1, kernel_size=5, padding=2, bias=False)
images = points.astype("float32")[None, None]  # (N, C, H, W)

layer.weight.assign(kernel[None, None])
assert np.allclose(layer(images)[0, 0], correlated)

layer.weight.assign(rot180(kernel)[None, None])
assert np.allclose(layer(images)[0, 0], convolved)

# %%
# Image and kernel change places
# ------------------------------
#
# Convolution commutes: in its wide form :math:`W * X = X * W`. For cross-correlation that means
#
# .. math::
#
#    \operatorname{rot180}(W) \mathbin{\tilde\otimes} X = \operatorname{rot180}(X) \mathbin{\tilde\otimes} W,
#
# where the tilde marks the wide form, ``mode="full"``. The gradients of a convolutional layer rest on this;
# :ref:`sphx_glr_guide_07_error_terms.py` works them out.

assert np.allclose(
    F.correlate2d(points, rot180(kernel), mode="full"),
    F.correlate2d(kernel, rot180(points), mode="full"),
)
assert np.allclose(F.convolve2d(points, kernel, mode="full"), F.convolve2d(kernel, points, mode="full"))

plt.show()
