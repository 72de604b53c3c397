"""convkit's own side: the networks as they are shipped, planned steps, and single kernels as a plan binds them.

A kernel is bound once to its arrays, results included, and then runs without allocating anything: that is how a
plan uses it, and so it is measured here. As in a plan, batches that fill the lanes have the image innermost; they are
put into that layout before the clock runs, as PyTorch's are into channels_last.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

import convkit as ck
from convkit import data, geometry, models, nn, optim
from convkit.geometry import Windows
from convkit.ops import conv, elementwise, lanes, loss, norm, pool
from convkit.ops.base import Primitive
from convkit.train import Callback

from ...bound import Call, bind, calls_of, then
from .protocol import Arrays, Calls, Session, parameters, rotations, serve

Details = dict[str, Any]
Named = dict[str, np.ndarray]
Operation = Callable[[Details, list[Named]], list[Call]]


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


# --- networks for images of full size -----------------------------------------------------------------------


class FullNetwork(Session):
    """A network for images of full size, without dropout; it draws the weights that the others are given."""

    def __init__(self, details: Details, arrays: Arrays, options: Details) -> None:
        self.entry = models.REGISTRY[details["network"]]
        ck.set_seed(details["seed"])
        self.model = self.entry.build()
        for _, layer in self.model.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = 0.0
        self.images, self.labels = arrays["images"], arrays["labels"]


class FullStep(FullNetwork):
    """A training step by SGD with momentum; turns go on from one another. Its results are the losses."""

    def __init__(self, details: Details, arrays: Arrays, options: Details) -> None:
        super().__init__(details, arrays, options)
        optimizer = optim.SGD(lr=details["learning_rate"], momentum=details["momentum"])
        self.compiled = ck.compile_step(self.model, self.entry.loss(), optimizer)

    def step(self, index: int) -> float:
        batch = index % len(self.images)
        return self.compiled(self.images[batch], self.labels[batch])


class FullInference(FullNetwork):
    """The forward pass, array to array."""

    def step(self, index: int) -> np.ndarray:
        logits: np.ndarray = self.model(self.images[index % len(self.images)])
        return logits


# --- single operations --------------------------------------------------------------------------------------


def operation(details: Details, arrays: Arrays, options: Details) -> Session:
    """Open one operation, its kernels bound to each of the rotating inputs."""
    rotating = rotations(arrays)
    images = len(
        next(rotating[0][name] for name in ("x", "grad", "y", "a", "logits", "columns") if name in rotating[0])
    )
    if details["op"] in OPERATIONS_IN_LANES and lanes.fills_lanes(images, np.float32):
        return Calls(OPERATIONS_IN_LANES[details["op"]](details, rotating))
    return Calls(OPERATIONS[details["op"]](details, rotating))


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
    """x · scale + shift, a pair of them for each channel: a normalisation by mean 0 and variance 1."""
    zeros, ones = np.zeros_like(rotating[0]["scale"]), np.ones_like(rotating[0]["scale"])
    inputs = [(named["x"], zeros, ones, named["scale"], named["shift"]) for named in rotating]
    return calls_of(norm.Normalize(0.0), inputs)


def cross_entropy(details: Details, rotating: list[Named]) -> list[Call]:
    """The loss and its gradient; the gradient is the result."""
    forward, [_, probabilities] = bind(loss.CrossEntropy(0.0, None), picked(rotating, "logits", "labels", None))
    one = np.ones((), np.float32)
    inputs = [(probabilities, named["labels"], None, one) for named in rotating]
    backward, [grad] = bind(loss.CrossEntropyGrad(0.0, None), inputs)
    return [then(grad, *pair) for pair in zip(forward, backward, strict=True)]


# --- the same with the image innermost ----------------------------------------------------------------------


@dataclass
class InLanes:
    """A result in lanes; who looks at it sees it as it would have been."""

    values: np.ndarray
    images: int

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(lanes.FromLanes(self.images)(self.values))


def entered(named: Named, *names: str) -> list[np.ndarray]:
    return [np.asarray(lanes.ToLanes()(named[name])) for name in names]


def lane_calls(op: Primitive, inputs: list[list[Any]], images: int) -> list[Call]:
    """Bind an op to inputs in lanes; each call runs it and returns its first output."""
    runs, [result, *_] = bind(op, inputs)
    return [then(InLanes(result, images), run) for run in runs]


def lane_conv(adjoint: bool, source: str, bias: str | None) -> Operation:
    """The convolution of the array named `source`, or its adjoint."""

    def calls(details: Details, rotating: list[Named]) -> list[Call]:
        images, size = len(rotating[0][source]), tuple(details["size"])
        if not adjoint:
            size = geometry.output_size("convolution", size, windows(details))
        op = lanes.LaneConvolution(windows(details), details["groups"], size, adjoint)
        inputs = [[*entered(n, source), n["weight"], n[bias] if bias else None] for n in rotating]
        return lane_calls(op, inputs, images)

    return calls


def lane_conv_weight_grad(details: Details, rotating: list[Named]) -> list[Call]:
    op = lanes.LaneWeightGrad(windows(details), details["groups"])
    inputs = [entered(named, "grad", "x") for named in rotating]
    weight = np.zeros(op.infer(*inputs[0])[0].shape, np.float32)
    return [then(weight, op.bind(pair, (weight, None)).run) for pair in inputs]


def pooled_size(details: Details) -> tuple[int, ...]:
    return geometry.output_size("pooling", tuple(details["size"]), windows(details))


def lane_pool(op: Callable[[Windows, tuple[int, ...]], Primitive]) -> Operation:
    return lambda details, rotating: lane_calls(
        op(windows(details), pooled_size(details)), [entered(n, "x") for n in rotating], len(rotating[0]["x"])
    )


def lane_max_pool_grad(details: Details, rotating: list[Named]) -> list[Call]:
    pooling = lanes.LaneMaxPool(windows(details), pooled_size(details))
    inputs = []
    for named in rotating:
        grad, x = entered(named, "grad", "x")
        inputs.append([grad, pooling.evaluate([x])[1]])
    op = lanes.LaneMaxPoolGrad(windows(details), tuple(details["size"]))
    return lane_calls(op, inputs, len(rotating[0]["x"]))


def lane_avg_pool_grad(details: Details, rotating: list[Named]) -> list[Call]:
    op = lanes.LaneAvgPoolGrad(windows(details), tuple(details["size"]), True)
    return lane_calls(op, [entered(named, "grad") for named in rotating], len(rotating[0]["grad"]))


OPERATIONS_IN_LANES: dict[str, Operation] = {
    "conv_forward": lane_conv(False, "x", "bias"),
    "conv_input_grad": lane_conv(True, "grad", None),
    "conv_weight_grad": lane_conv_weight_grad,
    "conv_transpose": lane_conv(True, "x", "bias"),
    "max_pool": lane_pool(lanes.LaneMaxPool),
    "max_pool_grad": lane_max_pool_grad,
    "avg_pool": lane_pool(lambda windows, size: lanes.LaneAvgPool(windows, size, True)),
    "avg_pool_grad": lane_avg_pool_grad,
}


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
        {
            "train": TrainingStep,
            "epoch": FitEpochs,
            "infer": inference,
            "full step": FullStep,
            "full infer": FullInference,
            "operation": operation,
        },
    )


if __name__ == "__main__":
    main()
