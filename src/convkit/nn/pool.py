"""Pooling layers."""

from __future__ import annotations

from typing import Any

from convkit import functional as F
from convkit.errors import integers
from convkit.geometry import checked_padding
from convkit.nn.module import Module


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
    ) -> None:
        layer = type(self).__name__
        self.kernel_size = integers(layer, "kernel_size", kernel_size, self.rank, 1)
        self.stride = self.kernel_size if stride is None else integers(layer, "stride", stride, self.rank, 1)
        self.padding = checked_padding(layer, padding, self.rank)
        self.dilation = integers(layer, "dilation", dilation, self.rank, 1)
        self.ceil_mode = ceil_mode

    def forward(self, x: Any) -> Any:
        pool = (F.max_pool1d, F.max_pool2d)[self.rank - 1]
        return pool(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}"


class MaxPool1d(MaxPool2d):
    """Max pooling along one axis, x (N, C, L) → y (N, C, L'); arguments as in `MaxPool2d`."""

    rank = 1


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
    ) -> None:
        layer = type(self).__name__
        self.kernel_size = integers(layer, "kernel_size", kernel_size, self.rank, 1)
        self.stride = self.kernel_size if stride is None else integers(layer, "stride", stride, self.rank, 1)
        self.padding = checked_padding(layer, padding, self.rank)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, x: Any) -> Any:
        pool = (F.avg_pool1d, F.avg_pool2d)[self.rank - 1]
        return pool(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}"


class AvgPool1d(AvgPool2d):
    """Average pooling along one axis, x (N, C, L) → y (N, C, L'); arguments as in `AvgPool2d`."""

    rank = 1
