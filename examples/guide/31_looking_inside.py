r"""
Looking at a trained network
============================

One number, the accuracy, says little about a network. Which classes it confuses, which images it is wrong about, and
what in an image it looks at can be seen at a glance. For the last, the gradient of a class' score :math:`s_c` to the
pixels tells how much each of them matters (Simonyan, Vedaldi and Zisserman 2014):

.. math:: M_{ij} = \left| \frac{\partial s_c}{\partial x_{ij}} \right|.
"""

import matplotlib.pyplot as plt
import numpy as np

import convkit as ck
from convkit import data, models, nn, optim, plot
from convkit import functional as F

train, test = data.fashion_mnist("train", source="sample"), data.fashion_mnist("test", source="sample")
ck.set_seed(0)
model = models.fashion_cnn_small()
trainer = ck.Trainer(model, nn.CrossEntropyLoss(), optim.Adam(lr=2e-3), metrics=["accuracy"])
trainer.fit(train, epochs=8, batch_size=64, seed=0, verbose=0)
scores = trainer.predict(test.images)
answers = scores.argmax(1)
accuracy = trainer.evaluate(test)["accuracy"]
print(f"test accuracy {accuracy:.1%}")

# %%
# What is taken for what
# ----------------------
# A row is a class, a column what it was taken for. Shirts are the hard ones.

ax = plot.confusion_matrix(test.labels, scores, test.classes)
plt.show()

counts = np.zeros((10, 10), int)
np.add.at(counts, (test.labels, answers), 1)
assert np.trace(counts) / counts.sum() == accuracy

# %%
# The worst mistakes
# ------------------
# Those where the score of the wrong answer is furthest above that of the right one.

plot.mistakes(model, test, count=12)
plt.show()

# %%
# What it looks at
# ----------------
# ``value_and_grad`` gives the gradient to the input, too. The loss is here the sum of the scores that the images won
# with, which depends on each image by its own score only.

first_of_class = np.array([np.flatnonzero((test.labels == label) & (answers == label))[0] for label in range(10)])
images = test.images[first_of_class] / np.float32(255)
won = np.eye(10, dtype=np.float32)
total, _, gradients = ck.value_and_grad(model, lambda outputs, which: F.sum(outputs * which), inputs=True)(images, won)
assert np.isclose(total, scores[first_of_class, range(10)].sum(), rtol=1e-4)

figure, axes = plt.subplots(2, 10, figsize=(11, 2.7), layout="constrained")
for (above, below), image, gradient, name in zip(axes.T, images[:, 0], gradients[:, 0], test.classes, strict=True):
    above.imshow(image, cmap="gray_r")
    above.set_title(name, fontsize=10)
    below.imshow(np.abs(gradient), cmap="inferno")
    for ax in (above, below):
        ax.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("image")
axes[1, 0].set_ylabel(r"$|\partial s_c / \partial x|$")
plt.show()

# %%
# How little it takes
# -------------------
# The same gradient shows how to deceive the network (Goodfellow, Shlens and Szegedy 2015): a small step of each pixel
# in the direction that raises the loss does far more harm than steps as large in random directions.

images = test.images / np.float32(255)
_, _, gradients = ck.value_and_grad(model, F.cross_entropy, inputs=True)(images, test.labels)
random_signs = np.random.default_rng(0).choice(np.float32([-1, 1]), images.shape)
sizes = np.linspace(0, 0.1, 11, dtype=np.float32)


def accuracies(signs):
    """The accuracy after steps of each size in these directions."""
    return [np.mean(model(np.clip(images + size * signs, 0, 1)).argmax(1) == test.labels) for size in sizes]


deceived, disturbed = accuracies(np.sign(gradients)), accuracies(random_signs)
assert deceived[0] == disturbed[0] == accuracy
assert deceived[-1] < 0.5 < disturbed[-1]

stepped = np.clip(images + sizes[5] * np.sign(gradients), 0, 1)
changed_answers = model(stepped).argmax(1)
place = np.flatnonzero((answers == test.labels) & (changed_answers != test.labels))[0]
figure, axes = plt.subplots(1, 3, figsize=(11, 3.2), width_ratios=(2.2, 1, 1), layout="constrained")
axes[0].plot(sizes, disturbed, "o-", color="C0", label="random signs")
axes[0].plot(sizes, deceived, "o-", color="C3", label="signs of the gradient")
axes[0].set(xlabel="step of each pixel (white to black is 1)", ylabel="test accuracy", ylim=(0, 1))
axes[0].spines[["top", "right"]].set_visible(False)
axes[0].legend(frameon=False)
for ax, pictures, answer in zip(axes[1:], (images, stepped), (answers, changed_answers), strict=True):
    ax.imshow(pictures[place, 0], cmap="gray_r", vmin=0, vmax=1)
    ax.set_title(f"taken for: {test.classes[answer[place]]}")
    ax.set(xticks=[], yticks=[])
axes[1].set_xlabel("as it is")
axes[2].set_xlabel(f"each pixel ± {sizes[5]:.2f}")
plt.show()
