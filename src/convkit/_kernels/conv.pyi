from collections.abc import Sequence

from convkit._kernels.core import Array, Kernel

class ConvForward(Kernel):
    def __init__(
        self,
        x: Array,
        weight: Array,
        bias: Array | None,
        y: Array,
        stride: Sequence[int],
        pad: Sequence[int],
        dilation: Sequence[int],
        groups: int,
        relu: bool = False,
    ) -> None: ...

class ConvInputGrad(Kernel):
    def __init__(
        self,
        dy: Array,
        weight: Array,
        dx: Array,
        stride: Sequence[int],
        pad: Sequence[int],
        dilation: Sequence[int],
        groups: int,
        bias: Array | None = None,
        relu: bool = False,
    ) -> None: ...

class ConvWeightGrad(Kernel):
    def __init__(
        self,
        dy: Array,
        x: Array,
        dweight: Array,
        dbias: Array | None,
        stride: Sequence[int],
        pad: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> None: ...

class ChannelSum(Kernel):
    def __init__(self, dy: Array, dbias: Array) -> None: ...

class Im2col(Kernel):
    def __init__(
        self,
        x: Array,
        cols: Array,
        kernel_size: Sequence[int],
        stride: Sequence[int],
        pad: Sequence[int],
        dilation: Sequence[int],
        out_size: Sequence[int],
    ) -> None: ...

class Col2im(Kernel):
    def __init__(
        self,
        cols: Array,
        x: Array,
        kernel_size: Sequence[int],
        stride: Sequence[int],
        pad: Sequence[int],
        dilation: Sequence[int],
        out_size: Sequence[int],
    ) -> None: ...
