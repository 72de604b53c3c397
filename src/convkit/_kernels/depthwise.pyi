from collections.abc import Sequence

from convkit._kernels.core import Array, Kernel

class DepthwiseForward(Kernel):
    def __init__(
        self,
        x: Array,
        weight: Array,
        bias: Array | None,
        y: Array,
        stride: Sequence[int],
        pad: Sequence[int],
        dilation: Sequence[int],
        relu: bool = False,
    ) -> None: ...

class DepthwiseInputGrad(Kernel):
    def __init__(
        self,
        dy: Array,
        weight: Array,
        dx: Array,
        stride: Sequence[int],
        pad: Sequence[int],
        dilation: Sequence[int],
        bias: Array | None = None,
        relu: bool = False,
    ) -> None: ...

class DepthwiseWeightGrad(Kernel):
    def __init__(
        self,
        dy: Array,
        x: Array,
        dweight: Array,
        dbias: Array | None,
        stride: Sequence[int],
        pad: Sequence[int],
        dilation: Sequence[int],
    ) -> None: ...
