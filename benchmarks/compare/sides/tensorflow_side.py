"""TensorFlow's side: tf.function without XLA, images (N, H, W, C) as its CPU kernels want them.

Option: ``fused`` (Adam in one kernel for each variable, instead of Keras' optimizer).
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import tensorflow as tf  # type: ignore[import-not-found, unused-ignore]

from ...networks import NETWORKS, channels_last_parameters
from .protocol import Arrays, Epochs, Session, parameters, serve

BETAS, EPSILON = (0.9, 0.999), 1e-8


class Network(Session):
    """A network of `benchmarks.networks`, its variables and their optimiser."""

    def __init__(self, details: dict[str, Any], arrays: Arrays, options: dict[str, Any]) -> None:
        self.rows = NETWORKS[details["network"]]
        self.initial = channels_last_parameters(details["network"], parameters(arrays))
        self.variables = [tf.Variable(values) for values in self.initial]
        self.images = np.ascontiguousarray(np.moveaxis(arrays["images"], -3, -1))  # (…, H, W, C)
        self.labels = arrays.get("labels")
        if "learning_rate" in details:
            rule = FusedAdam if options["fused"] else KerasAdam
            self.optimizer = rule(details["learning_rate"], self.variables)

    def logits(self, x: Any) -> Any:
        remaining = iter(self.variables)
        for kind, *numbers in self.rows:
            if kind == "conv":
                same = numbers[3] > 0  # half the kernel, in all of the networks
                x = tf.nn.bias_add(tf.nn.conv2d(x, next(remaining), 1, "SAME" if same else "VALID"), next(remaining))
            elif kind == "linear":
                x = tf.nn.bias_add(tf.matmul(x, next(remaining)), next(remaining))
            elif kind == "max_pool":
                x = tf.nn.max_pool2d(x, numbers[0], numbers[0], "VALID")
            elif kind == "avg_pool":
                x = tf.nn.avg_pool2d(x, numbers[0], numbers[0], "VALID")
            elif kind == "relu":
                x = tf.nn.relu(x)
            elif kind == "tanh":
                x = tf.tanh(x)
            elif kind == "flatten":
                x = tf.reshape(x, (-1, np.prod(x.shape[1:])))
        return x

    def reset(self) -> None:
        for variable, values in zip(self.variables, self.initial, strict=True):
            variable.assign(values)
        if hasattr(self, "optimizer"):
            self.optimizer.reset()

    def train(self, images: Any, labels: Any) -> Any:
        """Forward, backward, an update; returns the loss."""
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, self.logits(images))
            loss = tf.reduce_mean(losses)
        self.optimizer.apply(tape.gradient(loss, self.variables))
        return loss


class KerasAdam:
    def __init__(self, learning_rate: float, variables: list[Any]) -> None:
        self.variables = variables
        self.optimizer = tf.keras.optimizers.Adam(learning_rate, *BETAS, EPSILON)
        self.optimizer.build(variables)
        self.fresh = [variable.numpy() for variable in self.optimizer.variables]

    def reset(self) -> None:
        for variable, values in zip(self.optimizer.variables, self.fresh, strict=True):
            variable.assign(values)

    def apply(self, gradients: list[Any]) -> None:
        self.optimizer.apply_gradients(zip(gradients, self.variables, strict=True))


class FusedAdam:
    def __init__(self, learning_rate: float, variables: list[Any]) -> None:
        self.learning_rate = learning_rate
        self.variables = variables
        self.slots = [[tf.Variable(tf.zeros_like(variable)) for _ in BETAS] for variable in variables]
        self.powers = [tf.Variable(beta) for beta in BETAS]

    def reset(self) -> None:
        for slot in (slot for pair in self.slots for slot in pair):
            slot.assign(tf.zeros_like(slot))
        for power, beta in zip(self.powers, BETAS, strict=True):
            power.assign(beta)

    def apply(self, gradients: list[Any]) -> None:
        for variable, (m, v), gradient in zip(self.variables, self.slots, gradients, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=self.powers[0],
                beta2_power=self.powers[1],
                lr=self.learning_rate,
                beta1=BETAS[0],
                beta2=BETAS[1],
                epsilon=EPSILON,
                grad=gradient,
            )
        for power, beta in zip(self.powers, BETAS, strict=True):
            power.assign(power * beta)


class TrainingStep(Network):
    """Forward, backward and an Adam update. Its results are the losses."""

    def __init__(self, details: dict[str, Any], arrays: Arrays, options: dict[str, Any]) -> None:
        super().__init__(details, arrays, options)
        self.batches = [(tf.constant(x), tf.constant(y)) for x, y in zip(self.images, self.labels, strict=True)]
        self.compiled = tf.function(self.train, jit_compile=False)

    def step(self, index: int) -> float:
        return float(self.compiled(*self.batches[index % len(self.batches)]))


class TensorFlowEpochs(Epochs, Network):
    """Epochs over uint8 images in memory, batches taken by shuffled indices. Their results are the mean losses."""

    def __init__(self, details: dict[str, Any], arrays: Arrays, options: dict[str, Any]) -> None:
        super().__init__(details, arrays, options)
        self.all_images, self.all_labels = tf.constant(self.images), tf.constant(self.labels)
        self.batch = details["batch"]
        self.compiled = tf.function(self.train_on, jit_compile=False)

    def train_on(self, chosen: Any) -> Any:
        images = tf.cast(tf.gather(self.all_images, chosen), tf.float32) / 255.0
        return self.train(images, tf.gather(self.all_labels, chosen))

    def step(self, index: int) -> float:
        count = len(self.images)
        chunks = np.split(self.order(index, count), range(self.batch, count, self.batch))
        losses = [self.compiled(tf.constant(chosen)) * len(chosen) for chosen in chunks]
        return float(tf.add_n(losses)) / count


class Inference(Network):
    """The forward pass, array to array."""

    def __init__(self, details: dict[str, Any], arrays: Arrays, options: dict[str, Any]) -> None:
        super().__init__(details, arrays, options)
        self.compiled = tf.function(self.logits, jit_compile=False)

    def step(self, index: int) -> Any:
        return self.compiled(tf.constant(self.images[index % len(self.images)])).numpy()


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(int(os.environ["OMP_NUM_THREADS"]))
    serve({"TensorFlow": tf.__version__}, {"train": TrainingStep, "epoch": TensorFlowEpochs, "infer": Inference})


if __name__ == "__main__":
    main()
