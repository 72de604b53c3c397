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
from convkit.ops.base import Primitive
from convkit.train import Callback

from ...bound import Call, bind, calls_of, then
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


class FitEpochs(Session):
    """Epochs of one `Trainer.fit`, from uint8 images. Their results are the mean losses."""

    def __init__(self, details: Details, arrays: Arrays, options: Details) -> None:
        classes = [str(label) for label in range(10)]
        self.train = data.Dataset(arrays["images"], arrays["labels"], classes=classes)
        self.initial = parameters(arrays)
        self.model = getattr(models, details["network"])()
        self.learning_rate, self.batch = details["learning_rate"], details["batch"]

    def run(self, first: int, warm_up: int, steps: int) -> tuple[list[float], list[list[float]]]:
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
    return Calls(OPERATIONS[details["op"]](details, rotations(arrays)))


def windows(details: Details) -> Windows:
    pairs = tuple((padding, padding) for padding in details["padding"])
    return Windows(tuple(details["kernel"]), (details["stride"],) * 2, pairs, (details["dilation"],) * 2)


def picked(rotating: list[Named], *names: str | None) -> list[list[Any]]:
    """Give the arrays of these names, in this order, for each step of the rotation."""
    return [[None if name is None else named[name] for name in names] for named in rotating]


def conv_forward(details: Details, rotating: list[Named]) -> list[Call]:
    op = conv.Convolution(windows(details), details["groups"])
    return calls_of(op, picked(rotating, "x", "weight", "bias"))


def conv_input_grad(details: Details, rotating: list[Named]) -> list[Call]:
    op = conv.ConvTranspose(windows(details), details["groups"], tuple(details["size"]))
    return calls_of(op, picked(rotating, "grad", "weight", None))


def conv_weight_grad(details: Details, rotating: list[Named]) -> list[Call]:
    op = conv.ConvolutionWeightGrad(windows(details), details["groups"])
    inputs = picked(rotating, "grad", "x")
    weight = np.zeros(op.infer(*inputs[0])[0].shape, np.float32)
    return [then(weight, op.bind(pair, (weight, None)).run) for pair in inputs]


def conv_transpose(details: Details, rotating: list[Named]) -> list[Call]:
    op = conv.ConvTranspose(windows(details), details["groups"], tuple(details["size"]))
    return calls_of(op, picked(rotating, "x", "weight", "bias"))


def max_pool_grad(details: Details, rotating: list[Named]) -> list[Call]:
    op = pool.MaxPool(windows(details))
    pairs = [(named["grad"], op.evaluate([named["x"]])[1]) for named in rotating]
    return calls_of(pool.MaxPoolGrad(rotating[0]["x"].shape), pairs)


def avg_pool_grad(details: Details, rotating: list[Named]) -> list[Call]:
    shape = (*rotating[0]["grad"].shape[:2], *details["size"])
    return calls_of(pool.AvgPoolGrad(windows(details), True, shape), picked(rotating, "grad"))


def scale_shift(details: Details, rotating: list[Named]) -> list[Call]:
    """x · scale + shift, a pair of them for each channel."""
    factors = [(named["x"], named["scale"].reshape(-1, 1, 1)) for named in rotating]
    multiply, [product] = bind(elementwise.Multiply(), factors)
    add, [total] = bind(elementwise.Add(), [(product, named["shift"].reshape(-1, 1, 1)) for named in rotating])
    return [then(total, *pair) for pair in zip(multiply, add, strict=True)]


def cross_entropy(details: Details, rotating: list[Named]) -> list[Call]:
    """The loss and its gradient; the gradient is the result."""
    forward, [_, probabilities] = bind(loss.CrossEntropy(0.0, None), picked(rotating, "logits", "labels", None))
    one = np.ones((), np.float32)
    inputs = [(probabilities, named["labels"], None, one) for named in rotating]
    backward, [grad] = bind(loss.CrossEntropyGrad(0.0, None), inputs)
    return [then(grad, *pair) for pair in zip(forward, backward, strict=True)]


Operation = Callable[[Details, list[Named]], list[Call]]


def of(op: Callable[[Details], Primitive], *names: str) -> Operation:
    """An operation that is one op of the arrays with these names."""
    return lambda details, rotating: calls_of(op(details), picked(rotating, *names))


def activation_grad(op: type[elementwise.Activation]) -> Operation:
    return of(lambda details: elementwise.ActivationGrad(op), "y", "grad")


OPERATIONS: dict[str, Operation] = {
    "conv_forward": conv_forward,
    "conv_input_grad": conv_input_grad,
    "conv_weight_grad": conv_weight_grad,
    "conv_transpose": conv_transpose,
    "im2col": of(lambda details: conv.Im2col(windows(details)), "x"),
    "col2im": of(lambda details: conv.Col2im(windows(details), tuple(details["size"])), "columns"),
    "max_pool": of(lambda details: pool.MaxPool(windows(details)), "x"),
    "max_pool_grad": max_pool_grad,
    "avg_pool": of(lambda details: pool.AvgPool(windows(details)), "x"),
    "avg_pool_grad": avg_pool_grad,
    "relu": of(lambda details: elementwise.Relu(), "x"),
    "relu_grad": activation_grad(elementwise.Relu),
    "tanh": of(lambda details: elementwise.Tanh(), "x"),
    "tanh_grad": activation_grad(elementwise.Tanh),
    "sigmoid": of(lambda details: elementwise.Sigmoid(), "x"),
    "sigmoid_grad": activation_grad(elementwise.Sigmoid),
    "scale_shift": scale_shift,
    "add": of(lambda details: elementwise.Add(), "a", "b"),
    "multiply": of(lambda details: elementwise.Multiply(), "a", "b"),
    "cross_entropy": cross_entropy,
}


def main() -> None:
    ck.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    serve(
        {"convkit": ck.__version__},
        {"train": TrainingStep, "epoch": FitEpochs, "infer": inference, "operation": operation},
    )


if __name__ == "__main__":
    main()
