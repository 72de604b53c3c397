from convkit._kernels.core import Array, Kernel

class Normalization(Kernel): ...

class BatchNorm(Normalization):
    def __init__(
        self,
        x: Array,
        weight: Array | None,
        bias: Array | None,
        y: Array,
        mean: Array,
        variance: Array,
        eps: float,
        relu: bool,
        measured: bool,
    ) -> None: ...

class BatchNormGrad(Normalization):
    def __init__(
        self,
        dy: Array,
        x: Array,
        mean: Array,
        variance: Array,
        weight: Array | None,
        bias: Array | None,
        dx: Array | None,
        dweight: Array | None,
        dbias: Array | None,
        eps: float,
        relu: bool,
        measured: bool,
    ) -> None: ...

class Follow(Kernel):
    def __init__(self, running: Array, batch: Array, out: Array, rate: float, correction: float) -> None: ...

class LocalResponse(Kernel):
    def __init__(
        self,
        x: Array,
        dy: Array | None,
        out: Array,
        before: int,
        after: int,
        k: float,
        alpha: float,
        beta: float,
    ) -> None: ...
