r"""
Error terms by hand
===================

Back-propagation asks how the loss :math:`L` changes with each intermediate value. For a layer's net input :math:`Z`
this is its *error term*, :math:`\delta = \partial L / \partial Z`. Here a convolution, :math:`f = \mathrm{ReLU}` and
a pooling are differentiated as on paper, and each result is compared with the library's.

.. math::

   Z^p = \sum_d W^{p,d} \otimes X^d + b^p, \qquad A^p = f(Z^p), \qquad Y^p = \mathrm{pool}(A^p).
"""

import matplotlib.pyplot as plt
import numpy as np

import convkit as ck
from convkit import data, nn
from convkit import functional as F

images = data.fashion_mnist("train", source="sample").images[[0, 1]] / 255.0  # float64, (2, 1, 28, 28)
x, other = images[:1], images[1:]

# %%
# Two kernels, which look for edges across and down. The loss is the mean squared distance of the output from what
# another image gives, so its gradient says how the one image had to change to look like the other to this layer.

offset = np.arange(-2.0, 3.0)
bell = np.exp(-(offset**2) / 2)
across = np.outer(bell, offset * bell)
weight = np.stack([across, across.T])[:, None]  # (P, D, 5, 5) with P = 2 and D = 1
bias = np.array([-0.1, -0.1])

z = F.conv2d(x, weight, bias)  # (1, 2, 24, 24)
a = F.relu(z)
y = F.max_pool2d(a, 2)  # (1, 2, 12, 12)
target = F.max_pool2d(F.relu(F.conv2d(other, weight, bias)), 2)

delta_y = 2 * (y - target) / y.size  # of the mean of squares

# %%
# Through pooling: up-sampling
# ----------------------------
#
# The error of a pooled value goes back to where the value came from. For the mean each of the :math:`|R|` values of the
# region gets an equal share; for the maximum all of it goes to the largest:
#
# .. math::
#
#    \delta_A = \operatorname{up}(\delta_Y).

each = delta_y.repeat(2, axis=2).repeat(2, axis=3)  # every error once for each value of its region
is_largest = a == y.repeat(2, axis=2).repeat(2, axis=3)

assert np.allclose(each / 4, F.avg_pool2d_backward(delta_y, a.shape, 2))

# %%
# Where ReLU has made a whole region zero, all four are the largest, and the library gives the error to the first of
# them. Here it makes no difference, for the next factor is zero there:
#
# .. math::
#
#    \delta_Z = f'(Z) \odot \operatorname{up}(\delta_Y), \qquad f'(z) = 1 \text{ for } z > 0,\ 0 \text{ else}.

delta_a = F.max_pool2d_backward(delta_y, a, 2)
delta_z = (z > 0) * is_largest * each

assert np.allclose(delta_z, F.relu_backward(delta_a, z))

# %%
# Through the convolution: rot180 and the wide convolution
# --------------------------------------------------------
#
# .. math::
#
#    \frac{\partial L}{\partial X^d} = \sum_p \operatorname{rot180}(W^{p,d}) \mathbin{\tilde\otimes} \delta_Z^p,
#    \qquad
#    \frac{\partial L}{\partial W^{p,d}} = \delta_Z^p \otimes X^d,
#    \qquad
#    \frac{\partial L}{\partial b^p} = \sum_{i,j} [\delta_Z^p]_{ij}.
#
# An input value takes part in each output whose window it lies in, with the weight at its place in that window;
# collecting these means to slide the kernel, turned round, over the errors, from the first touch to the last: the
# wide form, which the tilde marks.


def rot180(kernel):
    return kernel[::-1, ::-1]


grad_x = sum(F.correlate2d(delta_z[0, p], rot180(weight[p, 0]), mode="full") for p in range(2))
grad_weight = np.stack([F.correlate2d(x[0, 0], delta_z[0, p]) for p in range(2)])[:, None]
grad_bias = delta_z.sum(axis=(0, 2, 3))

for mine, library in zip(
    (grad_x[None, None], grad_weight, grad_bias), F.conv2d_backward(delta_z, x, weight), strict=True
):
    assert np.allclose(mine, library)

# %%
# Layers
# ------
#
# ``ck.value_and_grad`` does all of that at once, for any model and loss.

model = nn.Sequential(nn.Conv2d(1, 2, kernel_size=5), nn.ReLU(), nn.MaxPool2d(2)).astype("float64")
model.load_state_dict({"0.weight": weight, "0.bias": bias})

loss, grads, grad_image = ck.value_and_grad(model, nn.MSELoss(), inputs=True)(x, target)

assert np.isclose(loss, np.mean((y - target) ** 2))
assert np.allclose(grads["0.weight"], grad_weight)
assert np.allclose(grads["0.bias"], grad_bias)
assert np.allclose(grad_image[0, 0], grad_x)

# %%
# Forward, above, the first of the two maps is computed from left to right; backward, below, its errors from right to
# left, each under the values that it belongs to. Red: the loss would grow with the value; blue: it would fall.

forward = {"$X$": x[0, 0], "$Z^1$": z[0, 0], "$A^1 = f(Z^1)$": a[0, 0], "$Y^1$, pooled": y[0, 0]}
backward = {
    "$\\partial L/\\partial X$, of both maps": grad_x,
    "$\\delta_Z = f'(Z) \\odot \\delta_A$": delta_z[0, 0],
    "$\\delta_A = \\mathrm{up}(\\delta_Y)$": delta_a[0, 0],
    "$\\delta_Y = 2 (Y - T) / n$": delta_y[0, 0],
}
figure, (above, below) = plt.subplots(2, 4, figsize=(10, 5.4), layout="constrained")
for panel, (title, values) in zip(above, forward.items(), strict=True):
    panel.imshow(values, cmap="gray", vmin=min(values.min(), 0))
    panel.set_title(title, fontsize="medium")
for panel, (title, values) in zip(below, backward.items(), strict=True):
    limit = abs(values).max()
    panel.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit)
    panel.set_title(title, fontsize="medium")
for panel in (*above, *below):
    panel.set(xticks=[], yticks=[])
above[0].set_ylabel("forward →")
below[0].set_ylabel("← backward")

plt.show()
