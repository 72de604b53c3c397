from collections.abc import Sequence

from convkit._kernels.core import Array, Kernel

class WideWeightGrad(Kernel):
    def __init__(
        self,
        dy: Array,
        x: Array,
        dweight: Array,
        dbias: Array | None,
        stride: Sequence[int],
        low: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> None: ...
