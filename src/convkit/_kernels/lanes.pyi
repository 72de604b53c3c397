from collections.abc import Sequence
from typing import Any

import numpy as np

from convkit._kernels.core import Array, Kernel, Reader
from convkit.geometry import Windows
from convkit.taps import TapTable

def lanes_of(dtype: Any) -> int: ...
def gather_pixels(dtype: Any, depthwise: bool) -> int: ...

class ToLanes(Reader):
    def __init__(self, x: Array, y: Array) -> None: ...

class FromLanes(Kernel):
    def __init__(self, x: Array, y: Array) -> None: ...

class LaneConvolution(Kernel):
    def __init__(
        self,
        x: Array,
        weight: Array,
        bias: Array | None,
        y: Array,
        table: TapTable,
        groups: int,
        adjoint: bool,
        relu: bool,
        pool: PoolWindows | None = None,
        codes: Array | None = None,
    ) -> None: ...

class LaneWeightGrad(Kernel):
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

class PoolWindows:
    def __init__(
        self,
        in_size: Sequence[int],
        out_size: Sequence[int],
        windows: Windows,
        shares: Sequence[np.ndarray] | None,
    ) -> None: ...

class LanePool(Kernel):
    def __init__(self, source: Array, target: Array, codes: Array | None, windows: PoolWindows) -> None: ...

class LanePoolGrad(Kernel):
    def __init__(self, source: Array, target: Array, codes: Array | None, windows: PoolWindows) -> None: ...
