from collections.abc import Sequence
from typing import Any

from convkit._kernels.core import Array, Kernel

def run_length(dtype: Any) -> int: ...

class DirectConvolution(Kernel):
    def __init__(
        self,
        x: Array,
        weight: Array,
        bias: Array | None,
        y: Array,
        stride: Sequence[int],
        low: Sequence[int],
        dilation: Sequence[int],
        groups: int,
        relu: bool,
    ) -> None: ...
