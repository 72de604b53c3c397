"""PyTorch's side of these tests, run by an interpreter that has it: arrays in, results and gradients out.

Reads one JSON object a line, ``{"question", "cases", "folder"}``, answers each case with the arrays of
``folder/given.npz``, writes ``folder/answers.npz`` and says "done".
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torch_networks
from benchmarks.compare.sides.torch_side import build_network

Tensors = dict[str, torch.Tensor]


def conv(case: dict[str, Any], given: Tensors) -> Tensors:
    """Convolve; PyTorch's own padding is the same on both sides, so zeros are put around the input before."""
    function = _of_rank("conv", given)
    margins = _margins(case.pop("padding"))

    def call(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        return function(F.pad(x, margins), weight, bias, **case)

    return _with_gradients(call, given)


def conv_transpose(case: dict[str, Any], given: Tensors) -> Tensors:
    """Convolve, transposed; padding cuts the output, on each side by an amount of its own."""
    function = _of_rank("conv_transpose", given)
    margins = [-margin for margin in _margins(case.pop("padding"))]

    def call(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        return F.pad(function(x, weight, bias, **case), margins)

    return _with_gradients(call, given)


def max_pool(case: dict[str, Any], given: Tensors) -> Tensors:
    function = _of_rank("max_pool", given)
    _, indices = function(given["x"], **case, return_indices=True)
    return {"indices": indices} | _with_gradients(lambda x: function(x, **case), given)


def avg_pool(case: dict[str, Any], given: Tensors) -> Tensors:
    function = _of_rank("avg_pool", given)
    return _with_gradients(lambda x: function(x, **case), given)


def call(case: dict[str, Any], given: Tensors) -> Tensors:
    """Call the function of `torch.nn.functional` that the case names; say what it made of its `fixed` arguments too.

    These have no gradient; PyTorch's functions overwrite running moments.
    """
    function, fixed = getattr(F, case.pop("function")), {name: given.pop(name) for name in case.pop("fixed", [])}
    answers = _with_gradients(lambda x, **named: function(x, **named, **fixed, **case), given)
    return answers | {f"after_{name}": tensor for name, tensor in fixed.items()}


def train(case: dict[str, Any], given: Tensors) -> Tensors:
    """Train a network on batches of the sizes given, and return the loss of every step."""
    model = build_network(case["network"]).to(given["images"].dtype)
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            parameter.copy_(given[f"parameter{index}"])
    optimizer = getattr(torch.optim, case["optimizer"])(model.parameters(), **case["arguments"])
    losses = []
    batches = zip(given["images"].split(case["sizes"]), given["labels"].split(case["sizes"]), strict=True)
    for images, labels in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return {"losses": torch.stack(losses)}


class Residual(torch.nn.Module):
    """The network of `test_training.Residual`, attribute by attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = torch.nn.Conv2d(1, 8, 3, 2, 1, bias=False), torch.nn.BatchNorm2d(8)
        self.conv2, self.norm2 = torch.nn.Conv2d(8, 8, 3, 1, 1, bias=False), torch.nn.BatchNorm2d(8, momentum=0.3)
        self.linear, self.norm3 = torch.nn.Linear(8, 6, bias=False), torch.nn.BatchNorm1d(6, affine=False)
        self.last = torch.nn.Linear(6, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.leaky_relu(x + self.norm2(self.conv2(x)), 0.1)
        return self.last(F.elu(self.norm3(self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1)))))


def train_residual(case: dict[str, Any], given: Tensors) -> Tensors:
    """Train `Residual` from the given state; return losses, the state then, and outputs of inference."""
    images, labels = given.pop("images"), given.pop("labels")
    model = Residual().to(images.dtype)
    model.load_state_dict(given)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for batch, targets in zip(images.split(case["sizes"]), labels.split(case["sizes"]), strict=True):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(batch), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    with torch.no_grad():
        outputs = model.eval()(images)
    return {"losses": torch.stack(losses), "outputs": outputs} | dict(model.state_dict())


def _of_rank(name: str, given: Tensors) -> Callable[..., Any]:
    """The function for as many spatial axes as the input has."""
    return getattr(F, f"{name}{given['x'].dim() - 2}d")


def _margins(padding: list[list[int]]) -> list[int]:
    """Turn pairs, first axis first, into the order of `torch.nn.functional.pad`: last axis first."""
    return [margin for pair in reversed(padding) for margin in pair]


def _with_gradients(function: Callable[..., torch.Tensor], given: Tensors) -> Tensors:
    """Call the function, draw a gradient of its output, and carry that back to all arguments."""
    arguments = {name: tensor.requires_grad_() for name, tensor in given.items()}
    output = function(**arguments)
    grad_output = torch.randn_like(output)
    gradients = torch.autograd.grad(output, list(arguments.values()), grad_output)
    return {"output": output.detach(), "grad_output": grad_output} | {
        f"grad_{name}": gradient for name, gradient in zip(arguments, gradients, strict=True)
    }


def network(case: dict[str, Any], given: Tensors) -> Tensors:
    """Evaluate and differentiate one of `torch_networks.NETWORKS`."""
    return torch_networks.answer(case, given)


ANSWERS = (conv, conv_transpose, max_pool, avg_pool, call, train, train_residual, network)
QUESTIONS = {function.__name__: function for function in ANSWERS}


def main() -> None:
    torch.manual_seed(0)
    for line in sys.stdin:
        request = json.loads(line)
        folder = Path(request["folder"])
        given: list[Tensors] = [{} for _ in request["cases"]]
        with np.load(folder / "given.npz") as file:
            for key, array in file.items():
                index, name = key.split("/")
                given[int(index)][name] = torch.from_numpy(array)
        answers = {}
        for index, case in enumerate(request["cases"]):
            for name, tensor in QUESTIONS[request["question"]](case, given[index]).items():
                answers[f"{index}/{name}"] = tensor.numpy()
        np.savez(folder / "answers.npz", **answers)
        print("done", flush=True)


if __name__ == "__main__":
    main()
