from collections.abc import Sequence

from convkit._kernels.core import Array, Kernel

class RowWinogradConvolution(Kernel):
    def __init__(
        self,
        x: Array,
        weight: Array,
        bias: Array | None,
        y: Array,
        size: Sequence[int],
        low: Sequence[int],
        groups: int,
        adjoint: bool,
        activation: str | None,
        pool: str | None = None,
        codes: Array | None = None,
    ) -> None: ...
