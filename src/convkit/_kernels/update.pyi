from convkit._kernels.core import Array

def sgd(
    values: Array,
    grads: Array,
    velocity: Array | None,
    lr: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> None: ...
def adam(
    values: Array,
    grads: Array,
    m: Array,
    v: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    count: int,
) -> None: ...
def rmsprop(
    values: Array,
    grads: Array,
    square: Array,
    mean: Array | None,
    velocity: Array | None,
    lr: float,
    alpha: float,
    momentum: float,
    eps: float,
    weight_decay: float,
) -> None: ...
def sum_of_squares(grads: Array) -> float: ...
def scale(values: Array, factor: float) -> None: ...
