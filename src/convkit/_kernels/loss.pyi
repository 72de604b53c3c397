from convkit._kernels.core import Array, Kernel

class SoftmaxForward(Kernel):
    def __init__(self, x: Array, y: Array, rows: int, classes: int, inner: int, logarithm: bool) -> None: ...

class SoftmaxGrad(Kernel):
    def __init__(
        self,
        y: Array,
        dy: Array,
        dx: Array,
        rows: int,
        classes: int,
        inner: int,
        logarithm: bool,
    ) -> None: ...

class CrossEntropyForward(Kernel):
    def __init__(
        self,
        logits: Array,
        labels: Array,
        loss: Array,
        probabilities: Array,
        rows: int,
        classes: int,
        inner: int,
        label_smoothing: float,
        weight: Array | None,
        ignore_index: int | None,
    ) -> None: ...

class CrossEntropyGrad(Kernel):
    def __init__(
        self,
        probabilities: Array,
        labels: Array,
        scale: Array,
        dlogits: Array,
        rows: int,
        classes: int,
        inner: int,
        label_smoothing: float,
        weight: Array | None,
        ignore_index: int | None,
    ) -> None: ...

class ProbabilityCrossEntropyForward(Kernel):
    def __init__(
        self,
        logits: Array,
        labels: Array,
        loss: Array,
        probabilities: Array,
        rows: int,
        classes: int,
        inner: int,
        label_smoothing: float,
        weight: Array | None,
    ) -> None: ...

class ProbabilityCrossEntropyGrad(Kernel):
    def __init__(
        self,
        probabilities: Array,
        labels: Array,
        scale: Array,
        dlogits: Array,
        rows: int,
        classes: int,
        inner: int,
        label_smoothing: float,
        weight: Array | None,
    ) -> None: ...

class MeanSquaredErrorForward(Kernel):
    def __init__(self, a: Array, b: Array, loss: Array) -> None: ...

class MeanSquaredErrorGrad(Kernel):
    def __init__(self, a: Array, b: Array, scale: Array, da: Array) -> None: ...

class SumAll(Kernel):
    def __init__(self, x: Array, out: Array) -> None: ...
