r"""
Residual networks
=================

A network of many layers should be at least as good as one of few: the layers too many need only hand on what they
get. Ordinary layers learn that badly. He, Zhang, Ren and Sun (2016) let each block of layers :math:`f` compute what is
to be *added* to its input,

.. math:: h(x) = x + f(x),

so that a block with small weights is near the identity from the start. On the way back the same sum keeps gradients
alive:

.. math::

   \frac{\partial L}{\partial x}
   = \Bigl(I + \frac{\partial f}{\partial x}\Bigr)^{\!\top} \frac{\partial L}{\partial h}
   = \frac{\partial L}{\partial h} + \Bigl(\frac{\partial f}{\partial x}\Bigr)^{\!\top} \frac{\partial L}{\partial h}.
"""

import matplotlib.pyplot as plt
import numpy as np

import convkit as ck
from convkit import data, nn, plot
from convkit import functional as F

# %%
# By functions on arrays
# ----------------------
# The block's :math:`f` is twice a rectifier and a convolution. Forward, the shortcut is one addition; backward, it is
# one too.

rng = np.random.default_rng(0)
x = rng.normal(size=(2, 8, 14, 14))
weight1, weight2 = rng.normal(scale=0.1, size=(2, 8, 8, 3, 3))

hidden = F.conv2d(F.relu(x), weight1, padding=1)
h = x + F.conv2d(F.relu(hidden), weight2, padding=1)

grad_h = rng.normal(size=h.shape)  # whatever comes from above
grad_hidden, grad_weight2, _ = F.conv2d_backward(grad_h, F.relu(hidden), weight2, padding=1)
grad_hidden = F.relu_backward(grad_hidden, hidden)
grad_f, grad_weight1, _ = F.conv2d_backward(grad_hidden, F.relu(x), weight1, padding=1)
grad_x = grad_h + F.relu_backward(grad_f, x)

# %%
# By layers
# ---------
# ``forward`` is ordinary Python, so a shortcut is a plus sign. :func:`convkit.value_and_grad` finds the gradients that
# were written out above.


class Block(nn.Module):
    """Twice a rectifier and a convolution, and around them a shortcut or none."""

    def __init__(self, channels, shortcut, normalised=False):
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(channels) if normalised else nn.Sequential()
        self.norm2 = nn.BatchNorm2d(channels) if normalised else nn.Sequential()
        self.shortcut = shortcut

    def forward(self, x):
        hidden = self.conv1(F.relu(self.norm1(x)))
        f = self.conv2(F.relu(self.norm2(hidden)))
        return x + f if self.shortcut else f


block = Block(8, shortcut=True).astype("float64")
block.conv1.weight.assign(weight1)
block.conv2.weight.assign(weight2)
np.testing.assert_allclose(block(x), h)

with_grad_h = ck.value_and_grad(block, lambda outputs, grad: F.sum(outputs * grad), inputs=True)
_, grads, grad_x_found = with_grad_h(x, grad_h)
np.testing.assert_allclose(grad_x_found, grad_x)
np.testing.assert_allclose(grads["conv1.weight"], grad_weight1)
np.testing.assert_allclose(grads["conv2.weight"], grad_weight2)
print("the layers' gradients are those written out by hand")

plot.graph(block, (8, 14, 14))
plt.show()

# %%
# What reaches the first block
# ----------------------------
# Twenty blocks, forty convolutions, none trained yet. The gradient of the loss to what enters block :math:`l` is the
# gradient to the input of the network that is left when the blocks before it are cut off.


def gradient_lengths(blocks, head, x, labels):
    """The length of the loss' gradient to the input of each block."""
    lengths = []
    for first, block in enumerate(blocks):
        rest = nn.Sequential(*blocks[first:], *head)
        _, _, grad_x = ck.value_and_grad(rest, F.cross_entropy, inputs=True)(x, labels)
        lengths.append(np.linalg.norm(grad_x))
        x = block(x, training=True)
    return np.array(lengths)


sample = data.fashion_mnist("train", source="sample")[:16]
images = F.avg_pool2d(sample.images / np.float32(255), 2)
measured = {}
for normalised in (False, True):
    for shortcut in (False, True):
        ck.set_seed(0)
        maps = nn.Conv2d(1, 8, 3, padding=1)(images)
        blocks = [Block(8, shortcut, normalised) for _ in range(20)]
        head = [nn.GlobalAvgPool(), nn.Linear(8, 10)]
        measured[normalised, shortcut] = gradient_lengths(blocks, head, maps / maps.std(), sample.labels)

figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharex=True, sharey=True, layout="constrained")
titles = {False: "convolutions alone", True: "with batch normalisation"}
for (normalised, shortcut), lengths in measured.items():
    ax = axes[int(normalised)]
    label, colour = ("residual, $x + f(x)$", "C0") if shortcut else ("plain, $f(x)$", "C1")
    ax.semilogy(np.arange(1, 21), lengths / lengths[-1], "o-", color=colour, label=label, markersize=4)
    ax.set_title(titles[normalised])
    ax.set_xlabel("block $l$")
    ax.set_xticks([1, 5, 10, 15, 20])
    ax.grid(alpha=0.3)
axes[0].set_ylabel("gradient at block $l$ / gradient at block 20")
axes[1].legend()
plt.show()

# %%
# In the plain network the gradient is multiplied by a factor in each block. Twenty such factors below one leave nothing
# for the first blocks; with batch normalisation they are above one, and the gradient explodes. The 1 in
# :math:`1 + \partial f/\partial x` keeps the residual network's gradients within about one power of
# ten either way.

for normalised, title in titles.items():
    for shortcut, name in ((False, "plain"), (True, "residual")):
        lengths = measured[normalised, shortcut]
        print(f"{title:25s} {name:9s} first block / last block: {lengths[0] / lengths[-1]:.1e}")

swings = {key: abs(np.log10(lengths[0] / lengths[-1])) for key, lengths in measured.items()}
assert swings[False, False] > 5 and swings[True, False] > 2
assert swings[False, True] < 1.5 and swings[True, True] < 1.5

# %%
# ``models.resnet20`` to ``resnet110`` are built of such blocks for small images, ``models.resnet18`` to ``resnet152``
# for large ones; ``models.plain20`` and its like are the same without shortcuts.
