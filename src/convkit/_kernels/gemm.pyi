from convkit._kernels.core import Array, Kernel

class Gemm(Kernel):
    def __init__(
        self,
        a: Array,
        b: Array,
        c: Array,
        trans_a: bool = False,
        trans_b: bool = False,
        bias: Array | None = None,
        relu: bool = False,
    ) -> None: ...

class ColumnSum(Kernel):
    def __init__(self, a: Array, out: Array) -> None: ...
