"""Convolutional layers: they hold weight and bias, and call the function of the same name."""

from __future__ import annotations

from typing import Any

from convkit import functional as F
from convkit.errors import flag, integer, integers, one_of, said
from convkit.geometry import checked_padding, windows
from convkit.nn.init import Initializer, constant, initial
from convkit.nn.module import Module
from convkit.parameter import Parameter

SIZES = "in_channels, out_channels and kernel_size"  # which decide how many values there are
PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Conv(Module):
    """What all convolutional layers share: the arguments, checked, and the parameters."""

    rank: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
        bias: bool,
        init: str | Initializer,
    ) -> None:
        layer = type(self).__name__
        self.in_channels = integer(layer, "in_channels", in_channels, 1)
        self.out_channels = integer(layer, "out_channels", out_channels, 1)
        self.kernel_size = integers(layer, "kernel_size", kernel_size, self.rank, 1)
        self.stride = integers(layer, "stride", stride, self.rank, 1)
        self.padding = checked_padding(layer, padding, self.rank)
        self.dilation = integers(layer, "dilation", dilation, self.rank, 1)
        self.groups = integer(layer, "groups", groups, 1)
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ValueError(f"{layer}: {name} {getattr(self, name)} is not divisible by groups {groups}")
        self.weight = Parameter(initial(layer, init, (*self._channels(), *self.kernel_size), SIZES))
        self.bias = Parameter(constant(layer, 0.0, (self.out_channels,), SIZES)) if flag(layer, "bias", bias) else None

    def _channels(self) -> tuple[int, int]:
        return self.out_channels, self.in_channels // self.groups

    def extra_repr(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"]
        ones, zeros = (1,) * self.rank, ((0, 0),) * self.rank
        defaults = {"stride": ones, "padding": zeros, "dilation": ones, "groups": 1}
        parts += [f"{name}={getattr(self, name)}" for name, usual in defaults.items() if getattr(self, name) != usual]
        return ", ".join(parts + (["bias=False"] if self.bias is None else []))


class Conv2d(_Conv):
    """Two-dimensional convolution, y[n, o] = bias[o] + Σ_i weight[o, i] ⋆ x[n, i].

    Shape: x (N, in_channels, H, W) → y (N, out_channels, H', W'),
    H' = floor((H + padding - dilation·(kh - 1) - 1) / stride) + 1.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, dilation : int or one for each axis
    padding : int, one for each axis, pairs (low, high), 'valid', 'same' or 'full'
    groups : int
        Channels are split into this many groups that do not see each other.
    bias : bool
        Whether to add a bias to each output channel.
    padding_mode : {'zeros', 'reflect', 'replicate', 'circular'}
        What the padding consists of; see `convkit.functional.pad`.
    init : str or callable
        Initialiser of the weight: a name in `convkit.nn.init`, or a function from a shape to an array.

    Attributes
    ----------
    weight : Parameter, (out_channels, in_channels / groups, kh, kw)
    bias : Parameter, (out_channels,), zero at first; or None

    Raises
    ------
    TypeError, ValueError
        For sizes that are not positive integers, channels not divisible by `groups`, and an unknown `init`.
    """

    rank = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        init: str | Initializer = "glorot_uniform",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, init)
        self.padding_mode = one_of(type(self).__name__, "padding_mode", padding_mode, PADDING_MODES)

    def forward(self, x: Any) -> Any:
        convolve = (F.conv1d, F.conv2d, F.conv3d)[self.rank - 1]
        padding = self.padding
        if self.padding_mode != "zeros" and len(x.shape) == self.rank + 2:
            size = tuple(x.shape[2:])
            pairs = windows(type(self).__name__, size, self.kernel_size, self.stride, padding, self.dilation).padding
            x, padding = F.pad(x, pairs, mode=self.padding_mode), "valid"
        return convolve(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        mode = "" if self.padding_mode == "zeros" else f", padding_mode={said(self.padding_mode)}"
        return super().extra_repr() + mode


class Conv1d(Conv2d):
    """One-dimensional convolution; arguments and attributes as in `Conv2d`, with one spatial axis.

    Shape: x (N, in_channels, L) → y (N, out_channels, L').
    """

    rank = 1


class Conv3d(Conv2d):
    """Three-dimensional convolution; arguments and attributes as in `Conv2d`, with three spatial axes.

    Shape: x (N, in_channels, D, H, W) → y (N, out_channels, D', H', W').
    """

    rank = 3


class ConvTranspose2d(_Conv):
    """Two-dimensional transposed convolution, the adjoint of `Conv2d` with the same weight.

    Shape: x (N, in_channels, H, W) → y (N, out_channels, H', W'),
    H' = (H - 1)·stride + dilation·(kh - 1) + 1 - padding + output_padding.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, padding, dilation : int or one for each axis
        Of the convolution whose adjoint this is; padding may also be pairs (low, high).
    output_padding : int or one for each axis
        Values appended to the output, to choose among the sizes that the convolution maps to the same one.
    groups, bias, init : as in `Conv2d`

    Attributes
    ----------
    weight : Parameter, (in_channels, out_channels / groups, kh, kw)
    bias : Parameter, (out_channels,), zero at first; or None

    Raises
    ------
    TypeError, ValueError
        For sizes that are not positive integers, channels not divisible by `groups`, and an unknown `init`.

    References
    ----------
    Dumoulin and Visin 2016, "A guide to convolution arithmetic for deep learning", section 4.
    """

    rank = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        *,
        init: str | Initializer = "glorot_uniform",
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, init)
        self.output_padding = integers(type(self).__name__, "output_padding", output_padding, self.rank, 0)

    def _channels(self) -> tuple[int, int]:
        return self.in_channels, self.out_channels // self.groups

    def forward(self, x: Any) -> Any:
        transpose = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.rank - 1]
        return transpose(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )


class ConvTranspose1d(ConvTranspose2d):
    """One-dimensional transposed convolution; arguments and attributes as in `ConvTranspose2d`, with one axis.

    Shape: x (N, in_channels, L) → y (N, out_channels, L').
    """

    rank = 1


class ConvTranspose3d(ConvTranspose2d):
    """Three-dimensional transposed convolution; arguments and attributes as in `ConvTranspose2d`, with three axes.

    Shape: x (N, in_channels, D, H, W) → y (N, out_channels, D', H', W').
    """

    rank = 3
