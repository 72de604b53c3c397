"""PyTorch's side, eager: a network from rows, and its training step.

Options: ``channels_last`` (the memory format of images and weights) and ``fused`` (Adam in one kernel).
"""

from __future__ import annotations

import os
from typing import Any

import torch  # type: ignore[import-not-found, unused-ignore]
from torch import nn  # type: ignore[import-not-found, unused-ignore]

from ...networks import NETWORKS
from .protocol import Arrays, serve


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


class TrainingStep:
    """Forward, backward and an Adam update. Its results are the losses."""

    def __init__(self, work: dict[str, Any], arrays: Arrays, options: dict[str, Any]) -> None:
        self.layout = torch.channels_last if options["channels_last"] else torch.contiguous_format
        self.fused = options["fused"]
        self.learning_rate = work["learning_rate"]
        # Batches are in the layout before the clock runs: a data loader would do that beside the step.
        self.images = [torch.from_numpy(x).contiguous(memory_format=self.layout) for x in arrays.images]
        self.labels = [torch.from_numpy(y) for y in arrays.labels]
        self.initial = [torch.from_numpy(values) for values in arrays.parameters]
        self.model = build_network(work["network"]).to(memory_format=self.layout)
        self.loss = nn.CrossEntropyLoss()

    def reset(self) -> None:
        with torch.no_grad():
            for parameter, values in zip(self.model.parameters(), self.initial, strict=True):
                parameter.copy_(values)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=self.learning_rate, fused=self.fused or None)

    def step(self, index: int) -> float:
        batch = index % len(self.images)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.model(self.images[batch]), self.labels[batch])
        loss.backward()
        self.optimizer.step()
        return float(loss.item())


def main() -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    serve({"PyTorch": torch.__version__}, {"train": TrainingStep})


if __name__ == "__main__":
    main()
