r"""
An op of one's own
==================

What convkit lacks can be added in NumPy. An op is a pure function of arrays with its gradient beside it: subclass
``ck.Op`` and write three methods. It then takes part in networks like any other, in training and inference.

The example is pooling by the root mean square, between mean and maximum: large values count more, but all count. Over
the :math:`m` values of a window :math:`R`,

.. math::

   y = \sqrt{\frac{1}{m} \sum_{i \in R} x_i^2 + \varepsilon}, \qquad
   \frac{\partial L}{\partial x_i} = \frac{\partial L}{\partial y} \cdot \frac{x_i}{m\, y}.
"""

from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np

import convkit as ck
from convkit import data, nn, optim
from convkit import functional as F

# %%
# The op
# ------
# ``shape`` says what comes out, ``forward`` computes it, ``backward`` returns a gradient for each input. The arrays are
# read-only. The op's own settings are fields of a frozen dataclass.


@dataclass(frozen=True)
class RootMeanSquarePool(ck.Op):
    """The root mean square of windows that do not overlap: (N, C, H, W) → (N, C, H/size, W/size)."""

    size: int
    eps: float = 1e-6

    def shape(self, x):
        n, c, h, w = x
        return n, c, h // self.size, w // self.size

    def forward(self, x):
        n, c, h, w = self.shape(x.shape)
        windows = x.reshape(n, c, h, self.size, w, self.size)
        return np.sqrt((windows**2).mean((3, 5)) + self.eps)

    def backward(self, grad_output, inputs, output):
        [x] = inputs
        share = grad_output / (self.size**2 * output)
        return (x * share.repeat(self.size, 2).repeat(self.size, 3),)


# %%
# On arrays an op runs at once. The three ways of pooling an image:

test = data.fashion_mnist("test", source="sample")
image = test.images[np.flatnonzero(test.labels == 9)[:1]] / np.float32(255)
pooled = {
    "image, 28 × 28": image,
    "mean": F.avg_pool2d(image, 4),
    "root mean square": RootMeanSquarePool(4)(image),
    "maximum": F.max_pool2d(image, 4),
}
assert np.all(pooled["mean"] <= pooled["root mean square"] + 1e-6)
assert np.all(pooled["root mean square"] <= pooled["maximum"] + 1e-3)

figure, axes = plt.subplots(1, 4, figsize=(10, 2.8), layout="constrained")
for ax, (title, values) in zip(axes, pooled.items(), strict=True):
    picture = ax.imshow(values[0, 0], cmap="magma", vmin=0, vmax=1)
    ax.set_title(title)
    ax.axis("off")
figure.colorbar(picture, ax=axes, shrink=0.8)
plt.show()

# %%
# Is the gradient right?
# ----------------------
# Finite differences tell: for a small step :math:`\delta` in a random direction :math:`v`,
#
# .. math:: \frac{L(x + \delta v) - L(x - \delta v)}{2 \delta} \approx \langle \nabla L(x), v \rangle.
#
# With shrinking steps the difference falls as :math:`\delta^2`, until rounding errors, which grow as :math:`1/\delta`,
# take over. Beside it is an op whose gradient lacks the division by :math:`y`: its error stays where it is.


class Careless(RootMeanSquarePool):
    """The same with a mistake."""

    def backward(self, grad_output, inputs, output):
        return super().backward(grad_output * output, inputs, output)


class Pool(nn.Module):
    """An op as a layer."""

    def __init__(self, op):
        self.op = op

    def forward(self, x):
        return self.op(x)


def build(op):
    """A network for 28×28 images that pools by the op."""
    features = [nn.Conv2d(1, 8, 5), nn.Tanh(), Pool(op), nn.Conv2d(8, 16, 3), nn.Tanh(), Pool(op)]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(400, 10))


rng = np.random.default_rng(0)
x, direction = rng.normal(size=(2, 16, 1, 28, 28))
labels = rng.integers(10, size=16)
steps = 10.0 ** np.arange(-8, -0.5, 0.5)


def slope_errors(op):
    """The relative error of the slope along the direction, by finite differences of each step."""
    ck.set_seed(0)
    evaluate = ck.value_and_grad(build(op).astype("float64"), F.cross_entropy, inputs=True)
    slope = np.sum(evaluate(x, labels)[2] * direction)
    differences = [evaluate(x + d * direction, labels)[0] - evaluate(x - d * direction, labels)[0] for d in steps]
    return np.abs(differences / (2 * steps) - slope) / abs(slope)


errors = slope_errors(RootMeanSquarePool(2))
careless = slope_errors(Careless(2))
assert errors.min() < 1e-8 < 1e-2 < careless.min()

figure, ax = plt.subplots(figsize=(7.5, 4), layout="constrained")
ax.loglog(steps, careless, "o-", color="C1", label="gradient with a mistake")
ax.loglog(steps, errors, "o-", color="C0", label="gradient as above")
ax.loglog(steps[6:], errors[-3] * (steps[6:] / steps[-3]) ** 2, ":", color="grey", label=r"slope of $\delta^2$")
ax.set(xlabel=r"step $\delta$", ylabel="relative error")
ax.grid(alpha=0.3)
ax.legend()
plt.show()

# %%
# Training with it
# ----------------
# The op is written in NumPy, so it runs at NumPy's speed; everything around it is planned and fused as ever.

train = data.fashion_mnist("train", source="sample")
ck.set_seed(0)
network = build(RootMeanSquarePool(2))
trainer = ck.Trainer(network, nn.CrossEntropyLoss(), optim.Adam(lr=2e-3), metrics=["accuracy"])
history = trainer.fit(train, epochs=2, batch_size=64, seed=0, verbose=0)
accuracy = trainer.evaluate(test)["accuracy"]
print(f"loss of the first epoch {history['loss'][0]:.2f}, of the second {history['loss'][1]:.2f}")
print(f"test accuracy {accuracy:.1%}")
assert accuracy > 0.65
