"""
Fashion-MNIST, twice
====================

The same network for photographs of clothes, written in two ways: as those do who come from Keras, a list of layers and
one call that trains it, and as those do who come from PyTorch, a class with a ``forward`` and a loop of one's own. Both
are the same network to convkit: from the same weights they reach the same weights, bit for bit.
"""

import matplotlib.pyplot as plt
import numpy as np

import convkit as ck
from convkit import data, nn, optim, plot
from convkit import functional as F

train, test = data.fashion_mnist("train", source="sample"), data.fashion_mnist("test", source="sample")
print(train, test, sep="\n")

# %%
# A list of layers, and ``fit``
# -----------------------------
# ``Trainer`` holds the loop: it shuffles, trains, measures, and remembers.

ck.set_seed(0)
layers = nn.Sequential(
    nn.Conv2d(1, 10, 5),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(10, 20, 5),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Linear(320, 70),
    nn.ReLU(),
    nn.Linear(70, 10),
)
weights_at_first = layers.state_dict()

trainer = ck.Trainer(layers, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam(lr=2e-3), metrics=["accuracy"])
history = trainer.fit(train, validation=test, epochs=6, batch_size=64, seed=0, verbose=2)

plot.training_curves(history)
plt.show()

# %%
# A class, and a loop
# -------------------
# ``forward`` says what happens, in any order that Python allows. ``compile_step`` plans one training step, gradients
# and update included; the loop around it is yours.


class Network(nn.Module):
    """Two convolutions and two dense layers."""

    def __init__(self):
        self.conv1 = nn.Conv2d(1, 10, 5)
        self.conv2 = nn.Conv2d(10, 20, 5)
        self.fc1 = nn.Linear(320, 70)
        self.fc2 = nn.Linear(70, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(F.flatten(x)))
        return self.fc2(x)


network = Network()
network.load_state_dict(dict(zip(network.state_dict(), weights_at_first.values(), strict=True)))

step = ck.compile_step(network, F.cross_entropy, optim.Adam(lr=2e-3))
batches = data.Batches(train, batch_size=64, seed=0)
losses, accuracies = [], []
for epoch in range(6):
    for images, labels in batches.epoch(epoch):
        losses.append(step(images, labels))
    scores = network(test.images)
    accuracies.append(np.mean(scores.argmax(1) == test.labels))
    print(f"epoch {epoch + 1}: loss of the last batch {losses[-1]:.3f}, test accuracy {accuracies[-1]:.1%}")

# %%
# The same, bit for bit
# ---------------------

for (name, own), fitted in zip(network.state_dict().items(), layers.state_dict().values(), strict=True):
    assert np.array_equal(own, fitted), name
assert accuracies == history["val_accuracy"]
print("all weights are equal after six epochs, and so are the accuracies")

# %%
# What the loop saw, batch by batch, and what ``fit`` kept, the mean of each epoch:

figure, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
ax.plot(np.arange(1, len(losses) + 1) / len(batches), losses, color="C0", alpha=0.45, linewidth=1, label="loop")
ax.plot(np.arange(6) + 0.5, history["loss"], "o-", color="C1", label="fit")
ax.set(xlabel="epochs", ylabel="training loss", xlim=(0, 6), ylim=(0, None))
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False)
plt.show()

# %%
# The loop without an optimiser
# -----------------------------
# ``value_and_grad`` returns the loss and the gradients as arrays, for those who want to write the update, too. Here it
# is plain gradient descent, once more beside the planned step; in double precision, so that rounding stays out of it.

planned, written = Network().astype("float64"), Network().astype("float64")
written.load_state_dict(planned.state_dict())
step = ck.compile_step(planned, F.cross_entropy, optim.SGD(lr=0.05))
loss_and_gradients = ck.value_and_grad(written, F.cross_entropy)

for images, labels in batches.epoch(0):
    planned_loss = step(images, labels)
    loss, gradients = loss_and_gradients(images, labels)
    for name, parameter in written.parameters().items():
        parameter.assign(parameter.value - 0.05 * gradients[name])
    assert np.isclose(loss, planned_loss, rtol=1e-6)
print(f"loss of the last batch: {planned_loss:.9f} and {loss:.9f}")

# %%
# What it learnt
# --------------
# Sixteen test images with their right names, and under them what the network takes them for.

scores = network(test.images[:16])
figure, axes = plt.subplots(2, 8, figsize=(11, 3.6), layout="constrained")
for ax, image, label, score in zip(axes.flat, test.images, test.labels, scores, strict=False):
    answer = score.argmax()
    ax.imshow(image[0], cmap="gray_r")
    ax.set_title(test.classes[label], fontsize=10)
    ax.set_xlabel(test.classes[answer], fontsize=10, color="C2" if answer == label else "C3")
    ax.set(xticks=[], yticks=[])
plt.show()
