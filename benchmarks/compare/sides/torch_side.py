"""PyTorch's side: a network from rows, its training step, epochs and inference, and single operations.

Options: ``channels_last`` (the memory format of images and weights), ``fused`` (Adam in one kernel) and
``compiled`` (the network by torch.compile).

Single operations are called below autograd, so that exactly the result asked for is computed. PyTorch allocates
that result, as it does in every step of a network.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch  # type: ignore[import-not-found, unused-ignore]
import torch.nn.functional as F  # type: ignore[import-not-found, unused-ignore]
from torch import nn  # type: ignore[import-not-found, unused-ignore]

from ...networks import NETWORKS
from .protocol import Arrays, Calls, Epochs, Session, parameters, rotations, serve

Details = dict[str, Any]
Named = dict[str, Any]
Call = Callable[[], Any]

aten = torch.ops.aten


# --- networks -----------------------------------------------------------------------------------------------


def build_network(name: str) -> nn.Sequential:
    """Build a network of `benchmarks.networks`; its parameters come in the order of its layers."""
    layers = {
        "conv": lambda inputs, outputs, size, padding: nn.Conv2d(inputs, outputs, size, padding=padding),
        "linear": nn.Linear,
        "max_pool": nn.MaxPool2d,
        "avg_pool": nn.AvgPool2d,
        "relu": nn.ReLU,
        "tanh": nn.Tanh,
        "flatten": nn.Flatten,
    }
    return nn.Sequential(*(layers[kind](*numbers) for kind, *numbers in NETWORKS[name]))


class Network(Session):
    """A network in its layout, its parameters, and its optimiser."""

    def __init__(self, details: Details, arrays: Arrays, options: Details) -> None:
        self.options = options
        self.layout = torch.channels_last if options.get("channels_last") else torch.contiguous_format
        self.initial = [torch.from_numpy(values) for values in parameters(arrays)]
        self.model = build_network(details["network"]).to(memory_format=self.layout)
        self.forward = torch.compile(self.model) if options.get("compiled") else self.model
        self.loss = nn.CrossEntropyLoss()
        self.learning_rate = details.get("learning_rate")

    def reset(self) -> None:
        with torch.no_grad():
            for parameter, values in zip(self.model.parameters(), self.initial, strict=True):
                parameter.copy_(values)
        fused = self.options["fused"] or None
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=self.learning_rate, fused=fused)

    def train(self, images: Any, labels: Any) -> Any:
        """Forward, backward, an update; returns the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.forward(images), labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


class TrainingStep(Network):
    """Forward, backward and an Adam update. Its results are the losses."""

    def __init__(self, details: Details, arrays: Arrays, options: Details) -> None:
        super().__init__(details, arrays, options)
        # Batches are in the layout before the clock runs: a data loader would do that beside the step.
        self.images = [torch.from_numpy(x).contiguous(memory_format=self.layout) for x in arrays["images"]]
        self.labels = [torch.from_numpy(y) for y in arrays["labels"]]

    def step(self, index: int) -> float:
        batch = index % len(self.images)
        return float(self.train(self.images[batch], self.labels[batch]).item())


class TorchEpochs(Epochs, Network):
    """Epochs over uint8 images in memory, batches taken by shuffled indices. Their results are the mean losses."""

    def __init__(self, details: Details, arrays: Arrays, options: Details) -> None:
        super().__init__(details, arrays, options)
        self.images, self.labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])
        self.batch = details["batch"]

    def step(self, index: int) -> float:
        total = torch.zeros(())
        for chosen in torch.from_numpy(self.order(index, len(self.images))).split(self.batch):
            images = self.images[chosen].to(torch.float32, memory_format=self.layout).div_(255)
            total += self.train(images, self.labels[chosen]) * len(chosen)
        return float(total.item()) / len(self.images)


class Inference(Network):
    """The forward pass, array to array."""

    def __init__(self, details: Details, arrays: Arrays, options: Details) -> None:
        super().__init__(details, arrays, options)
        self.images = arrays["images"]
        self.model.eval()

    def reset(self) -> None:
        with torch.no_grad():
            for parameter, values in zip(self.model.parameters(), self.initial, strict=True):
                parameter.copy_(values)

    def step(self, index: int) -> Any:
        with torch.inference_mode():
            images = torch.from_numpy(self.images[index % len(self.images)]).contiguous(memory_format=self.layout)
            return self.forward(images).numpy()


# --- networks for images of full size -----------------------------------------------------------------------


class FullNetwork(Session):
    """A network of `tests/pytorch/torch_networks.py`, with the weights and running moments that it is given."""

    training = False

    def __init__(self, details: Details, arrays: Arrays, options: Details) -> None:
        sys.path.append(str(Path(__file__).resolve().parents[3] / "tests" / "pytorch"))
        import torch_networks  # type: ignore[import-not-found, unused-ignore]

        self.layout = torch.channels_last if options["channels_last"] else torch.contiguous_format
        state = {name: self.laid_out(arrays[name]) for name in arrays if name not in ("images", "labels")}
        self.net = torch_networks.Net(state, self.training)
        self.network = torch_networks.NETWORKS[details["network"]]
        self.details = details
        self.images, self.labels = arrays["images"], arrays["labels"]

    def laid_out(self, array: Any) -> Any:
        """A tensor in the layout, if it is an image or the weight of a convolution."""
        return torch.from_numpy(array).contiguous(
            memory_format=self.layout if array.ndim == 4 else torch.contiguous_format
        )


class FullStep(FullNetwork):
    """A training step by SGD with momentum; turns go on from one another. Its results are the losses."""

    training = True

    def __init__(self, details: Details, arrays: Arrays, options: Details) -> None:
        super().__init__(details, arrays, options)
        self.images = [self.laid_out(x) for x in self.images]
        self.labels = [torch.from_numpy(y) for y in self.labels]
        trained = [tensor.requires_grad_() for name, tensor in self.net.state.items() if "running" not in name]
        rule = {"lr": details["learning_rate"], "momentum": details["momentum"]}
        self.optimizer = torch.optim.SGD(trained, fused=True, **rule)

    def step(self, index: int) -> float:
        batch = index % len(self.images)
        self.optimizer.zero_grad(set_to_none=True)
        outputs = self.network(self.net, self.images[batch])
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        shares = [1.0] + [self.details["auxiliary_weight"]] * (len(outputs) - 1)
        smoothing = self.details["label_smoothing"]
        losses = [F.cross_entropy(y, self.labels[batch], label_smoothing=smoothing) for y in outputs]
        loss = sum(share * part for share, part in zip(shares, losses, strict=True))
        loss.backward()
        self.optimizer.step()
        return float(loss.item())


class FullInference(FullNetwork):
    """The forward pass, array to array."""

    def step(self, index: int) -> Any:
        with torch.inference_mode():
            outputs = self.network(self.net, self.laid_out(self.images[index % len(self.images)]))
            return (outputs[0] if isinstance(outputs, tuple) else outputs).numpy()


# --- single operations --------------------------------------------------------------------------------------


def operation(details: Details, arrays: Arrays, options: Details) -> Session:
    """Open one operation, called with each of the rotating inputs, all in the layout before the clock runs."""
    layout = torch.channels_last if options["channels_last"] else torch.contiguous_format
    details = details | {"layout": layout}

    def tensors(named: dict[str, Any]) -> Named:
        return {
            name: torch.from_numpy(array).contiguous(
                memory_format=layout if array.ndim == 4 else torch.contiguous_format
            )
            for name, array in named.items()
        }

    return Operation([OPERATIONS[details["op"]](details, tensors(named)) for named in rotations(arrays)])


class Operation(Calls):
    def step(self, index: int) -> Any:
        with torch.inference_mode():
            return super().step(index)


def conv_forward(details: Details, named: Named) -> Call:
    x, weight, bias = named["x"], named["weight"], named["bias"]
    stride, padding, dilation, groups = (details[name] for name in ("stride", "padding", "dilation", "groups"))
    return lambda: torch.conv2d(x, weight, bias, stride, padding, dilation, groups)


def conv_backward(details: Details, grad: Any, x: Any, weight: Any, wanted: int) -> Call:
    """One of the gradients to (input, weight, bias), the others left out."""
    strides, dilations = [details["stride"]] * 2, [details["dilation"]] * 2
    mask = [place == wanted for place in range(3)]

    def call() -> Any:
        return aten.convolution_backward(
            grad, x, weight, None, strides, details["padding"], dilations, False, [0, 0], details["groups"], mask
        )[wanted]

    return call


def conv_input_grad(details: Details, named: Named) -> Call:
    grad, weight = named["grad"], named["weight"]
    channels = weight.shape[1] * details["groups"]
    # Only the shape of the input counts for this gradient, and its layout decides that of the result.
    x = torch.empty(grad.shape[0], channels, *details["size"]).contiguous(memory_format=details["layout"])
    return conv_backward(details, grad, x, weight, 0)


def conv_weight_grad(details: Details, named: Named) -> Call:
    grad, x = named["grad"], named["x"]
    shape = (grad.shape[1], x.shape[1] // details["groups"], *details["kernel"])
    weight = torch.empty(shape).contiguous(memory_format=details["layout"])
    return conv_backward(details, grad, x, weight, 1)


def conv_transpose(details: Details, named: Named) -> Call:
    x, weight, bias = named["x"], named["weight"], named["bias"]
    arguments = details["stride"], details["padding"], 0, details["groups"], details["dilation"]
    return lambda: F.conv_transpose2d(x, weight, bias, *arguments)


def _window(details: Details) -> tuple[Any, ...]:
    return details["kernel"], details["dilation"], details["padding"], details["stride"]


def im2col(details: Details, named: Named) -> Call:
    return lambda: F.unfold(named["x"], *_window(details))


def col2im(details: Details, named: Named) -> Call:
    return lambda: F.fold(named["columns"], details["size"], *_window(details))


def _pooling(details: Details) -> tuple[Any, ...]:
    return details["kernel"], [details["stride"]] * 2, details["padding"]


def max_pool(details: Details, named: Named) -> Call:
    return lambda: aten.max_pool2d_with_indices(named["x"], *_pooling(details))[0]


def max_pool_grad(details: Details, named: Named) -> Call:
    grad, x = named["grad"], named["x"]
    indices = aten.max_pool2d_with_indices(x, *_pooling(details))[1]
    arguments = (grad, x, *_pooling(details), [1, 1], False, indices)
    return lambda: aten.max_pool2d_with_indices_backward(*arguments)


def avg_pool(details: Details, named: Named) -> Call:
    return lambda: F.avg_pool2d(named["x"], *_pooling(details))


def avg_pool_grad(details: Details, named: Named) -> Call:
    grad = named["grad"]
    x = torch.empty(*grad.shape[:2], *details["size"]).contiguous(memory_format=details["layout"])
    return lambda: aten.avg_pool2d_backward(grad, x, *_pooling(details), False, True, None)


def scale_shift(details: Details, named: Named) -> Call:
    """x · scale + shift, a pair of them for each channel: a batch normalisation by mean 0 and variance 1."""
    x, scale, shift = named["x"], named["scale"], named["shift"]
    mean, variance = torch.zeros_like(scale), torch.ones_like(scale)
    return lambda: torch.batch_norm(x, scale, shift, mean, variance, False, 0.0, 0.0, False)


def cross_entropy(details: Details, named: Named) -> Call:
    """The loss and its gradient; the gradient is the result."""
    logits, labels = named["logits"], named["labels"]
    one, mean = torch.ones(()), 1

    def call() -> Any:
        probabilities = aten._log_softmax(logits, 1, False)
        _, weight = aten.nll_loss_forward(probabilities, labels, None, mean, -100)
        grad = aten.nll_loss_backward(one, probabilities, labels, None, mean, -100, weight)
        return aten._log_softmax_backward_data(grad, probabilities, 1, torch.float32)

    return call


OPERATIONS: dict[str, Callable[[Details, Named], Call]] = {
    "conv_forward": conv_forward,
    "conv_input_grad": conv_input_grad,
    "conv_weight_grad": conv_weight_grad,
    "conv_transpose": conv_transpose,
    "im2col": im2col,
    "col2im": col2im,
    "max_pool": max_pool,
    "max_pool_grad": max_pool_grad,
    "avg_pool": avg_pool,
    "avg_pool_grad": avg_pool_grad,
    "relu": lambda details, named: lambda: torch.relu(named["x"]),
    "relu_grad": lambda details, named: lambda: aten.threshold_backward(named["grad"], named["y"], 0),
    "tanh": lambda details, named: lambda: torch.tanh(named["x"]),
    "tanh_grad": lambda details, named: lambda: aten.tanh_backward(named["grad"], named["y"]),
    "sigmoid": lambda details, named: lambda: torch.sigmoid(named["x"]),
    "sigmoid_grad": lambda details, named: lambda: aten.sigmoid_backward(named["grad"], named["y"]),
    "scale_shift": scale_shift,
    "add": lambda details, named: lambda: torch.add(named["a"], named["b"]),
    "multiply": lambda details, named: lambda: torch.mul(named["a"], named["b"]),
    "cross_entropy": cross_entropy,
}


def main() -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    serve(
        {"PyTorch": torch.__version__},
        {
            "train": TrainingStep,
            "epoch": TorchEpochs,
            "infer": Inference,
            "full step": FullStep,
            "full infer": FullInference,
            "operation": operation,
        },
    )


if __name__ == "__main__":
    main()
