"""JAX's side: pure functions under jit, the old state donated to the new; images (N, H, W, C), its faster layout."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax  # type: ignore[import-not-found, unused-ignore]
import jax.numpy as jnp  # type: ignore[import-not-found, unused-ignore]
import numpy as np
from jax import lax  # type: ignore[import-not-found, unused-ignore]

from ...networks import NETWORKS, channels_last_parameters
from .protocol import Arrays, Epochs, Session, parameters, serve

BETAS, EPSILON = (0.9, 0.999), 1e-8
AXES = ("NHWC", "HWIO", "NHWC")


def forward(network: str, values: list[Any], x: Any) -> Any:
    """Apply a network of `benchmarks.networks` to images (N, H, W, C)."""
    remaining = iter(values)
    for kind, *numbers in NETWORKS[network]:
        if kind == "conv":
            padding = [(numbers[3],) * 2] * 2
            x = lax.conv_general_dilated(x, next(remaining), (1, 1), padding, dimension_numbers=AXES) + next(remaining)
        elif kind == "linear":
            x = x @ next(remaining) + next(remaining)
        elif kind in ("max_pool", "avg_pool"):
            window = (1, numbers[0], numbers[0], 1)
            if kind == "max_pool":
                x = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
            else:
                x = lax.reduce_window(x, 0.0, lax.add, window, window, "VALID") / numbers[0] ** 2
        elif kind == "relu":
            x = jax.nn.relu(x)
        elif kind == "tanh":
            x = jnp.tanh(x)
        elif kind == "flatten":
            x = x.reshape(x.shape[0], -1)
    return x


def loss_of(network: str, values: list[Any], images: Any, labels: Any) -> Any:
    logarithms = jax.nn.log_softmax(forward(network, values, images))
    return -jnp.mean(jnp.take_along_axis(logarithms, labels[:, None], axis=1))


def train(network: str, learning_rate: float, state: Any, images: Any, labels: Any) -> Any:
    """Forward, backward and an Adam update: (parameters, m, v, count) and the loss."""
    values, m, v, count = state
    loss, grads = jax.value_and_grad(partial(loss_of, network))(values, images, labels)
    count = count + 1
    m = [BETAS[0] * old + (1 - BETAS[0]) * grad for old, grad in zip(m, grads, strict=True)]
    v = [BETAS[1] * old + (1 - BETAS[1]) * grad**2 for old, grad in zip(v, grads, strict=True)]
    size, root = learning_rate / (1 - BETAS[0] ** count), jnp.sqrt(1 - BETAS[1] ** count)
    values = [
        value - size * first / (jnp.sqrt(second) / root + EPSILON)
        for value, first, second in zip(values, m, v, strict=True)
    ]
    return (values, m, v, count), loss


class Network(Session):
    """A network's parameters, its images, and the functions of both."""

    def __init__(self, details: dict[str, Any], arrays: Arrays, options: dict[str, Any]) -> None:
        network = details["network"]
        self.initial = channels_last_parameters(network, parameters(arrays))
        self.images = np.ascontiguousarray(np.moveaxis(arrays["images"], -3, -1))
        self.labels = arrays.get("labels")
        self.forward = partial(forward, network)
        self.train = partial(train, network, details.get("learning_rate"))

    def reset(self) -> None:
        values = [jnp.array(value) for value in self.initial]
        zeros = [[jnp.zeros_like(value) for value in values] for _ in BETAS]
        self.state = (values, *zeros, jnp.zeros((), jnp.int32))


class TrainingStep(Network):
    """Forward, backward and an Adam update. Its results are the losses."""

    def __init__(self, details: dict[str, Any], arrays: Arrays, options: dict[str, Any]) -> None:
        super().__init__(details, arrays, options)
        self.batches = [(jnp.array(x), jnp.array(y)) for x, y in zip(self.images, self.labels, strict=True)]
        self.compiled = jax.jit(self.train, donate_argnums=0)

    def step(self, index: int) -> float:
        self.state, loss = self.compiled(self.state, *self.batches[index % len(self.batches)])
        jax.block_until_ready(self.state)
        return float(loss)


class JaxEpochs(Epochs, Network):
    """Epochs over uint8 images in memory, batches taken by shuffled indices. Their results are the mean losses."""

    def __init__(self, details: dict[str, Any], arrays: Arrays, options: dict[str, Any]) -> None:
        super().__init__(details, arrays, options)
        self.all_images, self.all_labels = jnp.array(self.images), jnp.array(self.labels)
        self.batch = details["batch"]
        self.compiled = jax.jit(self.train_on, donate_argnums=0)

    def train_on(self, state: Any, all_images: Any, all_labels: Any, chosen: Any) -> Any:
        images = all_images[chosen].astype(jnp.float32) / 255
        return self.train(state, images, all_labels[chosen])

    def step(self, index: int) -> float:
        count = len(self.images)
        losses = []
        for chosen in np.split(self.order(index, count), range(self.batch, count, self.batch)):
            self.state, loss = self.compiled(self.state, self.all_images, self.all_labels, chosen)
            losses.append(loss * len(chosen))
        jax.block_until_ready(self.state)
        return float(jnp.stack(losses).sum()) / count


class Inference(Network):
    """The forward pass, array to array."""

    def __init__(self, details: dict[str, Any], arrays: Arrays, options: dict[str, Any]) -> None:
        super().__init__(details, arrays, options)
        self.compiled = jax.jit(self.forward)

    def step(self, index: int) -> Any:
        return np.asarray(self.compiled(self.state[0], self.images[index % len(self.images)]))


def main() -> None:
    serve({"JAX": jax.__version__}, {"train": TrainingStep, "epoch": JaxEpochs, "infer": Inference})


if __name__ == "__main__":
    main()
