"""An example or two of every layer: how it is made, shapes that it takes and refuses, and what it computes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import reference as ref
from convkit import functional as F
from convkit import nn
from reference import Shape


@dataclass(frozen=True)
class Example:
    """A layer, the shapes of single inputs that it takes, and those of batches that it refuses.

    `oracle` takes the layer and a batch in double precision; where it is None, the layer in double precision is one.
    """

    make: Callable[[], nn.Module]
    shapes: tuple[Shape, ...]
    refused: tuple[Shape, ...] = ()
    oracle: Callable[[Any, Any], Any] | None = None
    least: int = 0  # images
    name: str = ""

    @property
    def layer(self) -> str:
        return self.name or type(self.make()).__name__


class Unpooled(nn.Module):
    """Pooling and its undoing, which takes two inputs."""

    def __init__(self, pool: nn.Module, unpool: nn.Module) -> None:
        self.pool, self.unpool = pool, unpool

    def forward(self, x: Any) -> Any:
        return self.unpool(*self.pool(x), x.shape[2:])


def weights(layer: Any) -> tuple[Any, Any]:
    return layer.weight.value, None if layer.bias is None else layer.bias.value


def convolved(layer: Any, x: Any) -> Any:
    options = {"stride": layer.stride, "dilation": layer.dilation, "groups": layer.groups}
    padding = layer.padding
    if layer.padding_mode != "zeros":
        x, padding = ref.pad_by(x, padding, layer.padding_mode), ((0, 0),) * len(padding)
    return ref.conv(x, *weights(layer), padding=padding, **options)


def spread(layer: Any, x: Any) -> Any:
    options = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "groups": layer.groups}
    return ref.conv_transpose(x, *weights(layer), output_padding=(0,) * layer.rank, **options)


def largest(layer: Any, x: Any) -> Any:
    options = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    return ref.max_pool(x, layer.kernel_size, ceil_mode=layer.ceil_mode, **options)[0]


def averaged(layer: Any, x: Any) -> Any:
    options = {"stride": layer.stride, "padding": layer.padding, "ceil_mode": layer.ceil_mode}
    return ref.avg_pool(x, layer.kernel_size, count_include_pad=layer.count_include_pad, **options)


def unpooled(layer: Any, x: Any) -> Any:
    y, index = ref.max_pool(
        x, layer.pool.kernel_size, stride=layer.pool.stride, padding=layer.pool.padding, dilation=layer.pool.dilation,
        ceil_mode=False,
    )  # fmt: skip
    return ref.max_unpool(y, index, x.shape[2:])


def adaptive(pool: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    def oracle(layer: Any, x: Any) -> Any:
        y = pool(x, (layer.output_size,) * layer.rank)
        return y[0] if isinstance(y, tuple) else y

    return oracle


def over_planes(pool: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    def oracle(layer: Any, x: Any) -> Any:
        y = pool(x, (1,) * (x.ndim - 2))
        return (y[0] if isinstance(y, tuple) else y).reshape(x.shape[:2])

    return oracle


def batch_normed(layer: Any, x: Any) -> Any:
    root = np.sqrt(ref.on_channels(layer.running_var.value, x) + layer.eps)
    x_hat = (x - ref.on_channels(layer.running_mean.value, x)) / root
    return x_hat * ref.on_channels(layer.weight.value, x) + ref.on_channels(layer.bias.value, x)


def group_normed(layer: Any, x: Any) -> Any:
    rows = x.reshape(len(x) * layer.num_groups, math.prod(x.shape[1:]) // layer.num_groups)
    x_hat = ref.standardized(rows, (1,), layer.eps).reshape(x.shape)
    return x_hat * ref.on_channels(layer.weight.value, x) + ref.on_channels(layer.bias.value, x)


def layer_normed(layer: Any, x: Any) -> Any:
    axes = tuple(range(x.ndim - len(layer.normalized_shape), x.ndim))
    return ref.standardized(x, axes, layer.eps) * layer.weight.value + layer.bias.value


def response_normed(layer: Any, x: Any) -> Any:
    return ref.local_response_norm(x, layer.size, layer.alpha, layer.beta, layer.k, layer.average)


def resized(layer: Any, x: Any) -> Any:
    rank = x.ndim - 2
    factor = layer.scale_factor or 1
    out = (layer.size,) * rank if layer.size else tuple(n * factor for n in x.shape[2:])
    return ref.interpolate(x, out, layer.mode, layer.align_corners)


def scalar(name: str, *constants: float) -> Callable[[Any, Any], Any]:
    function = getattr(ref, name, None) or (lambda x: ref.activation(name, x, *constants))
    return lambda layer, x: function(x)


SIZES = {1: (9, 20), 2: (9, 7), 3: (5, 4, 6)}
ANY_SHAPE: tuple[Shape, ...] = ((), (5,), (3, 4), (3, 6, 5), (2, 3, 2, 4))
OF_RANK: dict[int, tuple[Shape, ...]] = {
    1: ((3, 9), (3, 20)), 2: ((3, 9, 7), (3, 12, 12), (3, 4, 4)), 3: ((3, 5, 4, 6), (3, 4, 4, 4))
}  # fmt: skip


def others(rank: int, channels: bool = True) -> tuple[Shape, ...]:
    """Batches of another rank, without values on an axis, and of other channels."""
    shape = (2, 3, *SIZES[rank][:rank])
    more = ((2, 4, *shape[2:]),) if channels else ()
    return (*more, (*shape[:-1], 0), (1,) * (rank + 1), (1,) * (rank + 3), (2, 3))


def by_rank(make: Callable[..., Any], oracle: Any, channels: bool = True, **options: Any) -> list[Example]:
    """One example for signals, images and volumes each; `make` takes the rank."""
    refused = [others(rank, channels) for rank in (1, 2, 3)]
    return [Example(lambda r=r: make(r), OF_RANK[r], refused[r - 1], oracle, **options) for r in (1, 2, 3)]


def of(name: str, *arguments: Any, **options: Any) -> Callable[[int], nn.Module]:
    return lambda rank: getattr(nn, f"{name}{rank}d")(*arguments, **options)


LAYERS: list[Example] = [
    *by_rank(of("Conv", 3, 4, 3, stride=2, padding=1), convolved),
    *by_rank(of("Conv", 3, 6, 3, dilation=2, padding=((2, 1),), groups=3, bias=False), convolved)[:1],
    Example(lambda: nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), OF_RANK[2], others(2), convolved),
    Example(lambda: nn.Conv2d(3, 8, 5, padding=2), ((3, 12, 12), (3, 9, 16)), others(2), convolved),
    Example(lambda: nn.Conv2d(40, 36, 3, padding=1), ((40, 9, 7), (40, 17, 16)), others(2), convolved),
    *by_rank(of("ConvTranspose", 3, 4, 3, stride=2, padding=1), spread),
    *by_rank(of("MaxPool", 3, 2, 1), largest, channels=False),
    *by_rank(of("MaxPool", 2, ceil_mode=True), largest, channels=False),
    *by_rank(of("AvgPool", 3, 2, 1, count_include_pad=False), averaged, channels=False),
    *by_rank(of("AvgPool", 2), averaged, channels=False),
    *[
        Example(lambda r=r: Unpooled(of("MaxPool", 2, return_indices=True)(r), of("MaxUnpool", 2)(r)), OF_RANK[r],
                others(r, channels=False), unpooled, name=f"MaxUnpool{r}d")
        for r in (1, 2, 3)
    ],
    *by_rank(of("AdaptiveAvgPool", 4), adaptive(ref.adaptive_avg_pool), channels=False),
    *by_rank(of("AdaptiveMaxPool", 3), adaptive(ref.adaptive_max_pool), channels=False),
    Example(nn.GlobalAvgPool, OF_RANK[1] + OF_RANK[3], ((2, 3), (1,) * 6), over_planes(ref.adaptive_avg_pool)),
    Example(nn.GlobalMaxPool, OF_RANK[1] + OF_RANK[3], ((2, 3), (1,) * 6), over_planes(ref.adaptive_max_pool)),
    Example(lambda: nn.BatchNorm1d(3), ((3,), (3, 9)), ((2, 4), (3,), (1,) * 4), batch_normed, least=3),
    Example(lambda: nn.BatchNorm2d(3), OF_RANK[2], ((2, 4, 3, 3), (2, 3), (1,) * 5), batch_normed, least=1),
    Example(lambda: nn.BatchNorm3d(3), OF_RANK[3], ((2, 4, 3, 3, 3), (2, 3), (1,) * 4), batch_normed, least=1),
    Example(lambda: nn.GroupNorm(2, 6), ((6,), (6, 4), (6, 3, 4)), ((2, 4), (6,)), group_normed),
    Example(lambda: nn.LayerNorm((3, 4)), ((3, 4), (5, 3, 4)), ((2, 3), (2, 4, 3), (4,)), layer_normed),
    Example(lambda: nn.LocalResponseNorm(3, 0.5), ((5, 4), (7, 3, 4)), ((2, 3),), response_normed),
    Example(lambda: nn.Linear(4, 3), ((4,), (5, 4), (2, 3, 4)), ((2, 3), (2, 4, 5), ()),
            lambda layer, x: ref.linear(x, *weights(layer))),
    Example(lambda: nn.PixelShuffle(2), ((8, 3, 2), (4, 1, 1)), ((2, 3, 2, 2), (2, 8, 3)),
            lambda layer, x: ref.pixel_shuffle(x, 2)),
    Example(lambda: nn.PixelUnshuffle(2), ((2, 6, 4), (1, 2, 2)), ((2, 3, 3, 2), (2, 8, 4)),
            lambda layer, x: ref.pixel_unshuffle(x, 2)),
    Example(lambda: nn.Upsample(5), OF_RANK[1] + OF_RANK[2] + OF_RANK[3], ((2, 3), (1,) * 6), resized),
    Example(lambda: nn.Upsample(scale_factor=2, mode="bilinear"), OF_RANK[2], ((2, 3), (1,) * 5), resized),
    Example(lambda: nn.Flatten(), ANY_SHAPE[1:], ((),), lambda layer, x: x.reshape(len(x), math.prod(x.shape[1:]))),
    Example(lambda: nn.Softmax(), ANY_SHAPE[1:], ((3,),), lambda layer, x: ref.softmax(x, 1)),
    Example(lambda: nn.PReLU(3), ((3,), (3, 4), (3, 2, 5)), ((2, 4), (2, 5, 3)),
            lambda layer, x: ref.prelu(x, layer.weight.value)),
    Example(lambda: nn.GELU("tanh"), ANY_SHAPE, (), scalar("gelu_tanh")),
    Example(lambda: nn.LeakyReLU(0.2), ANY_SHAPE, (), scalar("leaky_relu", 0.2)),
    Example(lambda: nn.ELU(0.7), ANY_SHAPE, (), scalar("elu", 0.7)),
    Example(lambda: nn.Softplus(2.0), ANY_SHAPE, (), scalar("softplus", 2.0)),
    Example(lambda: nn.Hardtanh(-0.5, 1.5), ANY_SHAPE, (), scalar("hardtanh", -0.5, 1.5)),
    *[
        Example(getattr(nn, name), ANY_SHAPE, (), scalar(name.lower()))
        for name in ("ReLU", "Tanh", "Sigmoid", "SELU", "GELU", "SiLU", "Hardsigmoid", "Hardswish")
    ],
    Example(nn.Dropout, ANY_SHAPE, (), lambda layer, x: x),
    Example(nn.Dropout2d, ANY_SHAPE[3:], ((3, 4),), lambda layer, x: x),
    Example(nn.Dropout3d, ANY_SHAPE[4:], ((3, 4),), lambda layer, x: x),
]  # fmt: skip

# Public names of `nn` that are no layers, or have a property of their own.
NO_LAYERS = {"Module", "Parameter", "Buffer", "Sequential", "FeatureExtractor", "init"}
LOSSES = {"CrossEntropyLoss", "AuxiliaryCrossEntropyLoss", "MSELoss"}


def sum_of_products(y: Any, weights: Any) -> Any:
    """A loss whose gradient to y is what it is given."""
    return F.sum(F.multiply(y, weights))
