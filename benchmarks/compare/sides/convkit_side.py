"""convkit's own side: the networks as they are shipped, planned steps, and single kernels as a plan binds them.

A kernel is bound once to its arrays, results included, and then runs without allocating anything: that is how a
plan uses it, and so it is measured here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

import convkit as ck
from convkit import data, models, nn, optim
from convkit.geometry import Windows
from convkit.ops import conv, elementwise, loss, pool
from convkit.train import Callback

from ...bound import bind, call_of
from .protocol import Arrays, Calls, Session, parameters, rotations, serve

Details = dict[str, Any]
Named = dict[str, np.ndarray]


# --- networks -----------------------------------------------------------------------------------------------


def assign(model: nn.Module, values: list[np.ndarray]) -> None:
    """Give a model its initial parameters."""
    for parameter, value in zip(model.parameters().values(), values, strict=True):
        parameter.assign(value)


class TrainingStep(Session):
    """One planned training step. Its results are the losses."""

    def __init__(self, details: Details, arrays: Arrays, options: Details) -> None:
        self.images, self.labels, self.initial = arrays["images"], arrays["labels"], parameters(arrays)
        self.model = getattr(models, details["network"])()
        optimizer = optim.Adam(lr=details["learning_rate"])
        self.compiled = ck.compile_step(self.model, nn.CrossEntropyLoss(), optimizer)
        self.fresh = self.compiled.state_dict()

    def reset(self) -> None:
        assign(self.model, self.initial)
        self.compiled.load_state_dict(self.fresh)

    def step(self, index: int) -> float:
        batch = index % len(self.images)
        return self.compiled(self.images[batch], self.labels[batch])


class Epochs(Session):
    """Epochs of one `Trainer.fit`, from uint8 images. Their results are the mean losses."""

    def __init__(self, details: Details, arrays: Arrays, options: Details) -> None:
        classes = [str(label) for label in range(10)]
        self.train = data.Dataset(arrays["images"], arrays["labels"], classes=classes)
        self.initial = parameters(arrays)
        self.model = getattr(models, details["network"])()
        self.learning_rate, self.batch = details["learning_rate"], details["batch"]

    def run(self, warm_up: int, steps: int) -> tuple[list[float], list[list[float]]]:
        assign(self.model, self.initial)
        trainer = ck.Trainer(self.model, nn.CrossEntropyLoss(), optim.Adam(lr=self.learning_rate))
        clock = EpochClock()
        history = trainer.fit(
            self.train, epochs=warm_up + steps, batch_size=self.batch, callbacks=[clock], verbose=0
        )  # fmt: skip
        return clock.seconds[warm_up:], [[mean] for mean in history["loss"][warm_up:]]


class EpochClock(Callback):
    """Notes what each epoch took."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_epoch_begin(self, trainer: ck.Trainer) -> None:
        self.began = perf_counter()

    def on_epoch_end(self, trainer: ck.Trainer, row: dict[str, Any]) -> None:
        self.seconds.append(perf_counter() - self.began)


def inference(details: Details, arrays: Arrays, options: Details) -> Session:
    """Open the forward pass of a network, array to array."""
    model = getattr(models, details["network"])()
    assign(model, parameters(arrays))
    return Calls([lambda x=x: model(x) for x in arrays["images"]])


# --- single operations --------------------------------------------------------------------------------------


def operation(details: Details, arrays: Arrays, options: Details) -> Session:
    """Open one operation, its kernels bound to each of the rotating inputs."""
    return Calls([OPERATIONS[details["op"]](details, named) for named in rotations(arrays)])


def windows(details: Details) -> Windows:
    pairs = tuple((padding, padding) for padding in details["padding"])
    return Windows(tuple(details["kernel"]), (details["stride"],) * 2, pairs, (details["dilation"],) * 2)


def conv_forward(details: Details, named: Named) -> Callable[[], np.ndarray]:
    op = conv.Convolution(windows(details), details["groups"])
    return call_of(op, named["x"], named["weight"], named["bias"])


def conv_input_grad(details: Details, named: Named) -> Callable[[], np.ndarray]:
    op = conv.ConvTranspose(windows(details), details["groups"], tuple(details["size"]))
    return call_of(op, named["grad"], named["weight"], None)


def conv_weight_grad(details: Details, named: Named) -> Callable[[], np.ndarray]:
    op = conv.ConvolutionWeightGrad(windows(details), details["groups"])
    weight = np.empty(op.infer(named["grad"], named["x"])[0].shape, np.float32)
    run = op.bind((named["grad"], named["x"]), (weight, None)).run

    def call() -> np.ndarray:
        run()
        return weight

    return call


def conv_transpose(details: Details, named: Named) -> Callable[[], np.ndarray]:
    op = conv.ConvTranspose(windows(details), details["groups"], tuple(details["size"]))
    return call_of(op, named["x"], named["weight"], named["bias"])


def max_pool_grad(details: Details, named: Named) -> Callable[[], np.ndarray]:
    run, (_, indices) = bind(pool.MaxPool(windows(details)), named["x"])
    run()
    return call_of(pool.MaxPoolGrad(named["x"].shape), named["grad"], indices)


def avg_pool_grad(details: Details, named: Named) -> Callable[[], np.ndarray]:
    shape = (*named["grad"].shape[:2], *details["size"])
    return call_of(pool.AvgPoolGrad(windows(details), True, shape), named["grad"])


def scale_shift(details: Details, named: Named) -> Callable[[], np.ndarray]:
    """x · scale + shift, a pair of them for each channel."""
    multiply, (product,) = bind(elementwise.Multiply(), named["x"], named["scale"].reshape(-1, 1, 1))
    add, (total,) = bind(elementwise.Add(), product, named["shift"].reshape(-1, 1, 1))

    def call() -> np.ndarray:
        multiply()
        add()
        return total

    return call


def cross_entropy(details: Details, named: Named) -> Callable[[], np.ndarray]:
    """The loss and its gradient; the gradient is the result."""
    op = loss.CrossEntropy(0.0, None)
    forward, (_, probabilities) = bind(op, named["logits"], named["labels"], None)
    grad_loss = np.ones((), np.float32)
    backward = call_of(loss.CrossEntropyGrad(0.0, None), probabilities, named["labels"], None, grad_loss)

    def call() -> np.ndarray:
        forward()
        return backward()

    return call


def activation(op: type[elementwise.Activation]) -> Callable[[Details, Named], Callable[[], np.ndarray]]:
    return lambda details, named: call_of(op(), named["x"])


def activation_grad(op: type[elementwise.Activation]) -> Callable[[Details, Named], Callable[[], np.ndarray]]:
    return lambda details, named: call_of(elementwise.ActivationGrad(op), named["y"], named["grad"])


OPERATIONS: dict[str, Callable[[Details, Named], Callable[[], np.ndarray]]] = {
    "conv_forward": conv_forward,
    "conv_input_grad": conv_input_grad,
    "conv_weight_grad": conv_weight_grad,
    "conv_transpose": conv_transpose,
    "im2col": lambda details, named: call_of(conv.Im2col(windows(details)), named["x"]),
    "col2im": lambda details, named: call_of(conv.Col2im(windows(details), tuple(details["size"])), named["columns"]),
    "max_pool": lambda details, named: call_of(pool.MaxPool(windows(details)), named["x"]),
    "max_pool_grad": max_pool_grad,
    "avg_pool": lambda details, named: call_of(pool.AvgPool(windows(details)), named["x"]),
    "avg_pool_grad": avg_pool_grad,
    "relu": activation(elementwise.Relu),
    "relu_grad": activation_grad(elementwise.Relu),
    "tanh": activation(elementwise.Tanh),
    "tanh_grad": activation_grad(elementwise.Tanh),
    "sigmoid": activation(elementwise.Sigmoid),
    "sigmoid_grad": activation_grad(elementwise.Sigmoid),
    "scale_shift": scale_shift,
    "add": lambda details, named: call_of(elementwise.Add(), named["a"], named["b"]),
    "multiply": lambda details, named: call_of(elementwise.Multiply(), named["a"], named["b"]),
    "cross_entropy": cross_entropy,
}


def main() -> None:
    ck.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    serve(
        {"convkit": ck.__version__},
        {"train": TrainingStep, "epoch": Epochs, "infer": inference, "operation": operation},
    )


if __name__ == "__main__":
    main()
