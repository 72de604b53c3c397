r"""
Transposed convolution
======================

A convolution is linear: it multiplies its input, laid out as one long vector, by a matrix. For a signal of five
values and a kernel of three,

.. math::

   z = w \otimes x = C x, \qquad C = \begin{pmatrix}
   w_1 & w_2 & w_3 & 0 & 0 \\
   0 & w_1 & w_2 & w_3 & 0 \\
   0 & 0 & w_1 & w_2 & w_3
   \end{pmatrix}.

:math:`C` makes three values of five. Its transpose :math:`C^{\mathsf T}` makes five of three: multiplying by it is the
*transposed convolution*. Networks use it to make maps larger.
"""

import matplotlib.pyplot as plt
import numpy as np

from convkit import functional as F
from convkit import nn

# %%
# Functions on arrays
# -------------------
#
# ``F.convolution_matrix`` writes :math:`C` down, for signals and images, with any stride, padding, dilation and groups.

w = np.array([[[1.0, 2.0, 3.0]]])  # (O, I, k)
C = F.convolution_matrix(w, input_size=5)
print(C)

x = np.array([2.0, 0.0, 1.0, 5.0, 3.0])
assert np.array_equal(C @ x, F.conv1d(x[None, None], w)[0, 0])

z = np.array([1.0, 4.0, 2.0])
assert np.array_equal(C.T @ z, F.conv_transpose1d(z[None, None], w)[0, 0])

# %%
# Written out, each column of :math:`C^{\mathsf T}` is the kernel, moved on by one: every input value stamps the kernel,
# times itself, on the output, and stamps add up where they overlap. That is the textbook's convolution, which turns the
# kernel round, in its wide form:

assert np.array_equal(C.T @ z, F.convolve1d(z, w[0, 0], mode="full"))

# %%
# On images, rows and columns of :math:`C` count pixels, row by row. A 6 × 6 image with a 3 × 3 kernel gives 4 × 4
# values: :math:`C` is 16 × 36, and most of it is zero. The picture has a colour for each of the nine weights. A block
# of :math:`C` is one row of the kernel against one row of the image, and blocks repeat along the diagonal as weights
# do within them.

kernel = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)
C = F.convolution_matrix(kernel, input_size=6)
assert C.shape == (16, 36)
assert np.count_nonzero(C) == 16 * 9

colours = plt.get_cmap("tab10", 10)
figure, panels = plt.subplots(1, 3, figsize=(10, 4.7), width_ratios=[3, 36, 16], layout="constrained")
pictures = {
    "$W$": kernel[0, 0],
    "$C$: 36 values to 16, a convolution": C,
    "$C^\\mathsf{T}$: 16 to 36": C.T,
}
for panel, (title, picture) in zip(panels, pictures.items(), strict=True):
    panel.imshow(np.ma.masked_equal(picture, 0), cmap=colours, vmin=0.5, vmax=10.5)
    panel.set_title(title, fontsize="medium")
    panel.set(xticks=np.arange(-0.5, picture.shape[1]), yticks=np.arange(-0.5, picture.shape[0]))
    panel.tick_params(length=0, labelbottom=False, labelleft=False)
    panel.grid(color="0.9", lw=0.4)

# %%
# It is the gradient, not the inverse
# -----------------------------------
#
# The gradient of :math:`C x` with respect to :math:`x` is :math:`C^{\mathsf T}` times the gradient that arrives, so the
# backward pass of every convolution is a transposed convolution, and the other way round. An inverse it is not: of a
# convolution's output, :math:`C^{\mathsf T}` restores the shape, not the values.

rng = np.random.default_rng(0)
image, grad = rng.standard_normal((1, 1, 6, 6)), rng.standard_normal((1, 1, 4, 4))

grad_image, _, _ = F.conv2d_backward(grad, image, kernel)
assert np.allclose(grad_image.ravel(), C.T @ grad.ravel())
assert np.allclose(grad_image, F.conv_transpose2d(grad, kernel))
assert not np.allclose(C.T @ (C @ image.ravel()), image.ravel())

# %%
# Layers
# ------
#
# ``nn.ConvTranspose2d`` with the arguments and the weight of an ``nn.Conv2d`` goes the way back. Here both have a
# stride, a padding and several maps; ``output_padding`` says which of the sizes that a stride maps to the same one is
# meant.

down = nn.Conv2d(2, 4, kernel_size=3, stride=2, padding=1, bias=False)
up = nn.ConvTranspose2d(4, 2, kernel_size=3, stride=2, padding=1, output_padding=1, bias=False)
up.weight.assign(down.weight)  # (4, 2, 3, 3): output first in the one, input first in the other

maps = rng.standard_normal((1, 2, 8, 8)).astype("float32")
small = down(maps)
large = up(small)
print(maps.shape, "→", small.shape, "→", large.shape)

C = F.convolution_matrix(down.weight.value, input_size=8, stride=2, padding=1)
assert np.allclose(small.ravel(), C @ maps.ravel(), atol=1e-5)
assert np.allclose(large.ravel(), C.T @ small.ravel(), atol=1e-5)

plt.show()
