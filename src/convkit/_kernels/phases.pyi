from convkit._kernels.core import Array, Kernel

class SplitPhases(Kernel):
    def __init__(self, source: Array, target: Array, dilation: tuple[int, ...]) -> None: ...

class MergePhases(Kernel):
    def __init__(self, source: Array, target: Array, dilation: tuple[int, ...]) -> None: ...
