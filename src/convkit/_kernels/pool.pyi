from collections.abc import Sequence

from convkit._kernels.core import Array, Kernel

class MaxPoolForward(Kernel):
    def __init__(
        self,
        x: Array,
        y: Array,
        indices: Array | None,
        kernel_size: Sequence[int],
        stride: Sequence[int],
        pad: Sequence[int],
        dilation: Sequence[int],
    ) -> None: ...

class MaxPoolBackward(Kernel):
    def __init__(self, dy: Array, indices: Array, dx: Array) -> None: ...

class AvgPoolForward(Kernel):
    def __init__(
        self,
        x: Array,
        y: Array,
        kernel_size: Sequence[int],
        stride: Sequence[int],
        pad: Sequence[int],
        pad_high: Sequence[int],
        count_include_pad: bool,
    ) -> None: ...

class AvgPoolBackward(Kernel):
    def __init__(
        self,
        dy: Array,
        dx: Array,
        kernel_size: Sequence[int],
        stride: Sequence[int],
        pad: Sequence[int],
        pad_high: Sequence[int],
        count_include_pad: bool,
    ) -> None: ...
