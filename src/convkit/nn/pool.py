"""Pooling layers."""

from __future__ import annotations

from typing import Any

from convkit import functional as F
from convkit.errors import LARGEST_INTEGER, flag, integer, integers, is_listing, said
from convkit.geometry import checked_padding, padding_pairs
from convkit.nn.module import Module
from convkit.ops.base import Operand


class MaxPool2d(Module):
    """The largest value of each window; see `convkit.functional.max_pool2d`.

    Shape: x (N, C, H, W) → y (N, C, H', W'), H' = floor((H + padding - dilation·(kh - 1) - 1) / stride) + 1.

    Parameters
    ----------
    kernel_size : int or one for each axis
    stride : the same, optional
        By default the kernel's size.
    padding, dilation : int or one for each axis
    ceil_mode : bool
        Keep a last window that is not filled: H' may be one more.
    return_indices : bool
        Return (y, indices), the places of the maxima within a plane, which `MaxUnpool2d` takes.

    Raises
    ------
    TypeError, ValueError
        For sizes that are not positive integers, and padding that is not of this form.
    """

    rank = 2

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> None:
        layer = type(self).__name__
        self.kernel_size = integers(layer, "kernel_size", kernel_size, self.rank, 1)
        self.stride = self.kernel_size if stride is None else integers(layer, "stride", stride, self.rank, 1)
        self.padding = checked_padding(layer, padding, self.rank)
        self.dilation = integers(layer, "dilation", dilation, self.rank, 1)
        self.ceil_mode = flag(layer, "ceil_mode", ceil_mode)
        self.return_indices = flag(layer, "return_indices", return_indices)

    def forward(self, x: Any) -> Any:
        pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[self.rank - 1]
        return pool(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode, self.return_indices)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}"


class MaxPool1d(MaxPool2d):
    """Max pooling along one axis, x (N, C, L) → y (N, C, L'); arguments as in `MaxPool2d`."""

    rank = 1


class MaxPool3d(MaxPool2d):
    """Max pooling of volumes, x (N, C, D, H, W) → y (N, C, D', H', W'); arguments as in `MaxPool2d`."""

    rank = 3


class AvgPool2d(Module):
    """The mean of each window; see `convkit.functional.avg_pool2d`.

    Shape: x (N, C, H, W) → y (N, C, H', W'), H' = floor((H + padding - kh) / stride) + 1.

    Parameters
    ----------
    kernel_size : int or one for each axis
    stride : the same, optional
        By default the kernel's size.
    padding : int or one for each axis
    ceil_mode : bool
        Keep a last window that is not filled: H' may be one more.
    count_include_pad : bool
        Whether padding counts among the values that are averaged.
    divisor_override : int, optional
        What each window's sum is divided by instead of the number of its values; not 0.

    Raises
    ------
    TypeError, ValueError
        For sizes that are not positive integers, and padding that is not of this form.
    """

    rank = 2

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        layer = type(self).__name__
        self.kernel_size = integers(layer, "kernel_size", kernel_size, self.rank, 1)
        self.stride = self.kernel_size if stride is None else integers(layer, "stride", stride, self.rank, 1)
        self.padding = checked_padding(layer, padding, self.rank)
        self.ceil_mode = flag(layer, "ceil_mode", ceil_mode)
        self.count_include_pad = flag(layer, "count_include_pad", count_include_pad)
        self.divisor_override = divisor_override
        if divisor_override is not None:
            self.divisor_override = integer(layer, "divisor_override", divisor_override, -LARGEST_INTEGER)
            if self.divisor_override == 0:
                raise ValueError(f"{layer}: divisor_override must not be 0")

    def forward(self, x: Any) -> Any:
        pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[self.rank - 1]
        return pool(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad,
            self.divisor_override,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}"


class AvgPool1d(AvgPool2d):
    """Average pooling along one axis, x (N, C, L) → y (N, C, L'); arguments as in `AvgPool2d`."""

    rank = 1


class AvgPool3d(AvgPool2d):
    """Average pooling of volumes, x (N, C, D, H, W) → y (N, C, D', H', W'); arguments as in `AvgPool2d`."""

    rank = 3


class MaxUnpool2d(Module):
    """Values put back where `MaxPool2d` found its maxima, zeros elsewhere; see `convkit.functional.max_unpool2d`.

    Shape: x and indices (N, C, H', W') → y (N, C, H, W), H = (H' - 1)·stride + kernel - padding, or the size given.

    Parameters
    ----------
    kernel_size : int or one for each axis
    stride : the same, optional
        By default the kernel's size.
    padding : int or one for each axis
        Of the pooling that is undone.

    Raises
    ------
    TypeError, ValueError
        For sizes that are not positive integers.

    References
    ----------
    Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks", section 2.1.
    """

    rank = 2
    integer_inputs = (1,)

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        layer = type(self).__name__
        self.kernel_size = integers(layer, "kernel_size", kernel_size, self.rank, 1)
        self.stride = self.kernel_size if stride is None else integers(layer, "stride", stride, self.rank, 1)
        self.padding = padding_pairs(layer, padding, self.rank)

    def __call__(self, *inputs: Any, training: bool = False) -> Any:
        """As `Module`; a third input is the output's size, as in `convkit.functional.max_unpool2d`."""
        if len(inputs) == 3 and not any(isinstance(operand, Operand) for operand in inputs):
            return self.forward(*inputs)  # without a plan, whose inputs are all arrays
        return super().__call__(*inputs, training=training)

    def forward(self, x: Any, indices: Any, output_size: Any = None) -> Any:
        unpool = (F.max_unpool1d, F.max_unpool2d, F.max_unpool3d)[self.rank - 1]
        return unpool(x, indices, self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}"


class MaxUnpool1d(MaxUnpool2d):
    """Max-unpooling along one axis, x (N, C, L') → y (N, C, L); arguments as in `MaxUnpool2d`."""

    rank = 1


class MaxUnpool3d(MaxUnpool2d):
    """Max-unpooling of volumes, x (N, C, D', H', W') → y (N, C, D, H, W); arguments as in `MaxUnpool2d`."""

    rank = 3


class _Adaptive(Module):
    """What pooling to a given size shares: that size."""

    rank: int

    def __init__(self, output_size: Any) -> None:
        layer = type(self).__name__
        listed = is_listing(output_size)
        if listed and len(output_size) != self.rank:
            raise ValueError(f"{layer}: output_size must be one size or {self.rank} of them, not {said(output_size)}")
        sizes = output_size if listed else (output_size,)
        checked = tuple(None if n is None and listed else integer(layer, "output_size", n, 1) for n in sizes)
        self.output_size = checked if listed else checked[0]

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool2d(_Adaptive):
    """Means over windows that share the input out; see `convkit.functional.adaptive_avg_pool2d`.

    Shape: x (N, C, H, W) → y ``(N, C, *output_size)``.

    Parameters
    ----------
    output_size : int or one for each axis
        None keeps an axis as it is.

    Raises
    ------
    TypeError, ValueError
        For sizes that are not positive integers.
    """

    rank = 2

    def forward(self, x: Any) -> Any:
        return (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[self.rank - 1](x, self.output_size)


class AdaptiveAvgPool1d(AdaptiveAvgPool2d):
    """Adaptive average pooling along one axis, x (N, C, L) → y (N, C, output_size)."""

    rank = 1


class AdaptiveAvgPool3d(AdaptiveAvgPool2d):
    """Adaptive average pooling of volumes, x (N, C, D, H, W) → y ``(N, C, *output_size)``."""

    rank = 3


class AdaptiveMaxPool2d(_Adaptive):
    """Largest values of windows that share the input out; see `convkit.functional.adaptive_max_pool2d`.

    Shape: x (N, C, H, W) → y ``(N, C, *output_size)``.

    Parameters
    ----------
    output_size : int or one for each axis
        None keeps an axis as it is.

    Raises
    ------
    TypeError, ValueError
        For sizes that are not positive integers.
    """

    rank = 2

    def forward(self, x: Any) -> Any:
        return (F.adaptive_max_pool1d, F.adaptive_max_pool2d, F.adaptive_max_pool3d)[self.rank - 1](x, self.output_size)


class AdaptiveMaxPool1d(AdaptiveMaxPool2d):
    """Adaptive max pooling along one axis, x (N, C, L) → y (N, C, output_size)."""

    rank = 1


class AdaptiveMaxPool3d(AdaptiveMaxPool2d):
    """Adaptive max pooling of volumes, x (N, C, D, H, W) → y ``(N, C, *output_size)``."""

    rank = 3


class GlobalAvgPool(Module):
    """The mean of each channel: x ``(N, C, *spatial)`` → y (N, C).

    References
    ----------
    Lin, Chen and Yan 2014, "Network in network", section 3.2.
    """

    def forward(self, x: Any) -> Any:
        return F.global_avg_pool(x)


class GlobalMaxPool(Module):
    """The largest value of each channel: x ``(N, C, *spatial)`` → y (N, C)."""

    def forward(self, x: Any) -> Any:
        return F.global_max_pool(x)
