"""The convolutions of known networks, read from tables in ``shapes/``, a file a network.

Columns: layer, times (how often the network has this very shape), channels, height and width of the input,
output channels, kernel height and width, stride, padding of rows and of columns, dilation, groups.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path

SHAPES = Path(__file__).parent / "shapes"


@dataclass(frozen=True)
class ConvLayer:
    """One convolution of a network."""

    network: str
    layer: str
    times: int
    c: int
    h: int
    w: int
    out: int
    kh: int
    kw: int
    stride: int
    ph: int
    pw: int
    dilation: int
    groups: int

    def __str__(self) -> str:
        return f"{self.network}.{self.layer}"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self.c, self.h, self.w

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return self.out, self.c // self.groups, self.kh, self.kw

    @property
    def output_shape(self) -> tuple[int, int, int]:
        rows = (self.h + 2 * self.ph - self.dilation * (self.kh - 1) - 1) // self.stride + 1
        columns = (self.w + 2 * self.pw - self.dilation * (self.kw - 1) - 1) // self.stride + 1
        return self.out, rows, columns

    @property
    def flops(self) -> int:
        """Arithmetic of one image's forward pass, two a multiplication and addition."""
        out, rows, columns = self.output_shape
        return 2 * out * rows * columns * (self.c // self.groups) * self.kh * self.kw


def conv_layers(network: str) -> list[ConvLayer]:
    """Read the table of one network."""
    with (SHAPES / f"{network}.csv").open(newline="", encoding="utf-8") as file:
        return [
            ConvLayer(network, row.pop("layer"), **{name: int(value) for name, value in row.items()})
            for row in csv.DictReader(file)
        ]


def networks() -> list[str]:
    """Name the networks that have a table."""
    return sorted(path.stem for path in SHAPES.glob("*.csv"))


def distinct_layers() -> list[tuple[ConvLayer, list[str]]]:
    """List the shapes that differ, each as the first layer that has it, with all networks that do."""
    found: dict[ConvLayer, tuple[ConvLayer, list[str]]] = {}
    for network in networks():
        for layer in conv_layers(network):
            _, users = found.setdefault(replace(layer, network="", layer="", times=1), (layer, []))
            users.append(network)
    return list(found.values())
