"""Operators that work element by element, reductions, and matrix products."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from math import erf, frexp, prod
from typing import Any

import numpy as np

from convkit import functional as F
from convkit.onnx.operators.table import axes_of, axis_of, constant, is_float, number_or, operator, single
from convkit.ops import array
from convkit.ops.activation import Map
from convkit.ops.shape import Reshape

# --- arithmetic ---------------------------------------------------------------------------------------------


def _broadcast(a: Any, b: Any, broadcast: int, axis: int | None) -> Any:
    """b with the axes that it was given before opset 7, where it lined up with a from `axis` on."""
    if not broadcast or axis is None:
        return b
    first = axis_of(axis, len(a.shape))
    return Reshape((*b.shape, *(1,) * (len(a.shape) - first - len(b.shape))))(b)


def _arithmetic(floats: Callable[..., Any], others: Callable[..., Any]) -> Callable[..., Any]:
    def compute(a: Any, b: Any, *, broadcast: int = 0, axis: int | None = None) -> Any:
        b = _broadcast(a, b, broadcast, axis)
        if not is_float(a, b):
            return array.pointwise(others, a, b)
        if isinstance(b, np.ndarray) and isinstance(a, np.ndarray):
            return floats(a, b)
        return floats(number_or(a), number_or(b))

    return compute


operator("Add")(_arithmetic(F.add, np.add))
operator("Sub")(_arithmetic(F.subtract, np.subtract))
operator("Mul")(_arithmetic(F.multiply, np.multiply))


@operator("Div")
def div(a: Any, b: Any, *, broadcast: int = 0, axis: int | None = None) -> Any:
    b = _broadcast(a, b, broadcast, axis)
    factor = _exact_reciprocal(constant(b)) if is_float(a, b) else None
    return array.divide(a, b) if factor is None else F.multiply(a, factor)


def _exact_reciprocal(divisor: np.ndarray | None) -> float | None:
    """1 / divisor of a single number, where multiplying by it is the same as dividing, else None.

    So it is of powers of two alone: 49 · (1 / 49) is not 1, which a Floor behind it would make 0.
    """
    if divisor is None or divisor.ndim or abs(frexp(divisor.item())[0]) != 0.5:
        return None
    factor, limits = 1 / divisor.item(), np.finfo(divisor.dtype)
    return factor if limits.tiny <= abs(factor) <= limits.max else None


@operator("Pow")
def power(a: Any, b: Any, *, broadcast: int = 0, axis: int | None = None) -> Any:
    b = _broadcast(a, b, broadcast, axis)
    if is_float(a) and _is_two(constant(b), len(a.shape)):
        return F.multiply(a, a)
    result = array.pointwise(np.power, a, b)
    return result if result.dtype == a.dtype else array.cast(result, a.dtype)


def _is_two(exponent: np.ndarray | None, ndim: int) -> bool:
    """Whether it is a 2 that gives what has `ndim` axes no further ones."""
    return exponent is not None and exponent.size == 1 and exponent.ndim <= ndim and exponent.item() == 2


@operator("Max")
def maximum(*values: Any) -> Any:
    return reduce(lambda a, b: array.pointwise(np.maximum, a, b), values)


@operator("Min")
def minimum(*values: Any) -> Any:
    return reduce(lambda a, b: array.pointwise(np.minimum, a, b), values)


@operator("Sum")
def total(*values: Any) -> Any:
    return reduce(F.add, values)


@operator("Mean")
def mean(*values: Any) -> Any:
    return F.multiply(reduce(F.add, values), 1 / len(values))


@operator("Mod")
def mod(a: Any, b: Any, *, fmod: int = 0) -> Any:
    return array.pointwise(np.fmod if fmod else np.mod, a, b)


def _unary(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: array.pointwise(function, x)


for _name, _function in {
    "Neg": np.negative, "Abs": np.abs, "Sqrt": np.sqrt, "Exp": np.exp, "Log": np.log,
    "Sign": np.sign, "Floor": np.floor, "Ceil": np.ceil, "Round": np.rint, "Reciprocal": np.reciprocal,
    "Sin": np.sin, "Cos": np.cos, "Tan": np.tan, "Asin": np.arcsin, "Acos": np.arccos, "Atan": np.arctan,
    "Sinh": np.sinh, "Cosh": np.cosh, "Asinh": np.arcsinh, "Acosh": np.arccosh, "Atanh": np.arctanh,
    "IsNaN": np.isnan, "Not": np.logical_not, "BitwiseNot": np.bitwise_not,
}.items():  # fmt: skip
    operator(_name)(_unary(_function))


def _binary(function: Callable[..., Any]) -> Callable[..., Any]:
    def compute(a: Any, b: Any, *, broadcast: int = 0, axis: int | None = None) -> Any:
        return array.pointwise(function, a, _broadcast(a, b, broadcast, axis))

    return compute


for _name, _comparison in {
    "Equal": np.equal, "Greater": np.greater, "GreaterOrEqual": np.greater_equal,
    "Less": np.less, "LessOrEqual": np.less_equal,
    "And": np.logical_and, "Or": np.logical_or, "Xor": np.logical_xor,
    "BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor,
}.items():  # fmt: skip
    operator(_name)(_binary(_comparison))


@operator("Where")
def where(condition: Any, a: Any, b: Any) -> Any:
    return array.pointwise(np.where, condition, a, b)


@operator("Clip", known="min max")
def clip(x: Any, min: Any = None, max: Any = None) -> Any:
    bounds = {"min": min, "max": max}
    low, high = (None if bound is None else single("Clip", name, bound) for name, bound in bounds.items())
    if is_float(x) and low is not None and high is not None and low < high:
        return F.hardtanh(x, float(low), float(high))
    x = x if low is None else array.pointwise(np.maximum, x, low.astype(x.dtype))
    return x if high is None else array.pointwise(np.minimum, x, high.astype(x.dtype))


# --- activations --------------------------------------------------------------------------------------------


def _either(floats: Callable[..., Any], others: Callable[..., Any]) -> Callable[..., Any]:
    return lambda x: floats(x) if is_float(x) else array.pointwise(others, x)


operator("Relu")(_either(F.relu, lambda a: np.maximum(a, 0).astype(a.dtype)))
operator("Tanh")(lambda x: F.tanh(x))
operator("Sigmoid")(lambda x: F.sigmoid(x))
operator("Softplus")(lambda x: F.softplus(x, threshold=50.0))
operator("HardSwish")(lambda x: F.hardswish(x))
operator("LeakyRelu")(lambda x, *, alpha=0.01: Map("leaky_relu", alpha)(x))
operator("Elu")(lambda x, *, alpha=1.0: Map("elu", alpha)(x))
operator("Gelu")(lambda x, *, approximate="none": F.gelu(x, approximate))
operator("Mish")(lambda x: F.multiply(x, F.tanh(F.softplus(x, threshold=50.0))))
operator("Swish")(lambda x, *, alpha=1.0: F.multiply(x, F.sigmoid(F.multiply(x, alpha))))
operator("Erf")(lambda x: array.pointwise(lambda a: np.vectorize(erf, otypes=[a.dtype])(a), x))


@operator("Selu")
def selu(x: Any, *, alpha: float = 1.6732632423543772, gamma: float = 1.0507009873554805) -> Any:
    return F.multiply(Map("elu", alpha)(x), gamma)


@operator("Celu")
def celu(x: Any, *, alpha: float = 1.0) -> Any:
    if alpha > 0:
        return F.multiply(F.elu(F.multiply(x, 1 / alpha)), alpha)
    below = F.multiply(array.pointwise(np.expm1, F.multiply(x, 1 / alpha)), alpha)
    return F.add(F.relu(x), array.pointwise(np.minimum, below, np.zeros((), x.dtype)))


@operator("HardSigmoid")
def hard_sigmoid(x: Any, *, alpha: float = 0.2, beta: float = 0.5) -> Any:
    return F.hardtanh(F.add(F.multiply(x, alpha), beta), 0.0, 1.0)


@operator("Softsign")
def softsign(x: Any) -> Any:
    return array.divide(x, F.add(array.pointwise(np.abs, x), 1.0))


@operator("ThresholdedRelu")
def thresholded_relu(x: Any, *, alpha: float = 1.0) -> Any:
    return array.pointwise(np.where, array.pointwise(lambda a: a > alpha, x), x, np.zeros((), x.dtype))


@operator("Shrink")
def shrink(x: Any, *, bias: float = 0.0, lambd: float = 0.5) -> Any:
    def shrunk(a: np.ndarray) -> np.ndarray:
        return np.where(a < -lambd, a + bias, np.where(a > lambd, a - bias, 0)).astype(a.dtype)

    return array.pointwise(shrunk, x)


@operator("PRelu")
def prelu(x: Any, slope: Any, *, opset: int) -> Any:
    """relu(x) - slope · relu(-x), so that slopes broadcast as in ONNX.

    Slopes (C,) belonged to channels before opset 7, and still do in files where they do not fit the last axis.
    """
    for_channels = len(slope.shape) == 1 and len(x.shape) > 1 and slope.shape[0] == x.shape[1]
    if for_channels and (opset < 7 or slope.shape[0] not in (1, x.shape[-1])):
        slope = Reshape((slope.shape[0], *(1,) * (len(x.shape) - 2)))(slope)
    return F.subtract(F.relu(x), F.multiply(slope, F.relu(F.multiply(x, -1.0))))


def _softmax(function: Callable[..., Any]) -> Callable[..., Any]:
    """Along an axis; before opset 13, over all axes from `axis` on."""

    def compute(x: Any, *, axis: int | None = None, opset: int) -> Any:
        if opset >= 13:
            return function(x, -1 if axis is None else axis)
        first = axis_of(1 if axis is None else axis, len(x.shape))
        rows = F.reshape(x, (prod(x.shape[:first]), prod(x.shape[first:])))
        return F.reshape(function(rows, 1), x.shape)

    return compute


def _hardmax(x: Any, axis: int) -> Any:
    def first_largest(a: np.ndarray) -> np.ndarray:
        places = np.arange(a.shape[axis]).reshape([-1 if i == axis % a.ndim else 1 for i in range(a.ndim)])
        return (places == a.argmax(axis, keepdims=True)).astype(a.dtype)

    return array.Apply(first_largest)(x)


operator("Softmax")(_softmax(F.softmax))
operator("LogSoftmax")(_softmax(F.log_softmax))
operator("Hardmax")(_softmax(_hardmax))

# --- reductions ---------------------------------------------------------------------------------------------

Reduction = Callable[[Any, tuple[int, ...], bool], Any]


def _reducing(function: Reduction) -> Callable[..., Any]:
    def compute(x: Any, axes: Any = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Any:
        given = () if axes is None else axes_of(axes, len(x.shape))
        if not given and noop_with_empty_axes:
            return function(x, (), True)
        return function(x, given or tuple(range(len(x.shape))), bool(keepdims))

    return compute


def _log_sum_exp(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
    largest = array.reduce_extreme(x, True, axes, True)
    shift = array.pointwise(np.where, array.pointwise(np.isfinite, largest), largest, np.zeros((), x.dtype))
    spread = array.pointwise(np.log, array.reduce_sum(array.pointwise(np.exp, F.subtract(x, shift)), axes, True))
    result = F.add(spread, shift)
    kept = [n for axis, n in enumerate(result.shape) if keepdims or axis not in axes]
    return Reshape(tuple(kept))(result)


def _in_floats(reduction: Reduction) -> Reduction:
    """A reduction of floats; of integers it is computed in float64 and cut to theirs."""

    def reduce(x: Any, axes: tuple[int, ...], keepdims: bool) -> Any:
        if is_float(x):
            return reduction(x, axes, keepdims)
        return array.cast(reduction(array.cast(x, np.float64), axes, keepdims), x.dtype)

    return reduce


REDUCTIONS: dict[str, Reduction] = {
    "ReduceSum": array.reduce_sum,
    "ReduceMean": array.reduce_mean,
    "ReduceProd": array.reduce_prod,
    "ReduceMax": lambda x, axes, keepdims: array.reduce_extreme(x, True, axes, keepdims),
    "ReduceMin": lambda x, axes, keepdims: array.reduce_extreme(x, False, axes, keepdims),
    "ReduceL1": lambda x, axes, keepdims: array.reduce_sum(array.pointwise(np.abs, x), axes, keepdims),
    "ReduceL2": _in_floats(
        lambda x, axes, keepdims: array.pointwise(np.sqrt, array.reduce_sum(F.multiply(x, x), axes, keepdims))
    ),
    "ReduceSumSquare": lambda x, axes, keepdims: array.reduce_sum(_square(x), axes, keepdims),
    "ReduceLogSum": _in_floats(lambda x, axes, keepdims: array.pointwise(np.log, array.reduce_sum(x, axes, keepdims))),
    "ReduceLogSumExp": _in_floats(_log_sum_exp),
}

for _name, _reduction in REDUCTIONS.items():
    operator(_name, known="axes")(_reducing(_reduction))


def _square(x: Any) -> Any:
    return F.multiply(x, x) if is_float(x) else array.pointwise(np.square, x)


def _arg(function: Callable[..., Any]) -> Callable[..., Any]:
    def compute(x: Any, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
        def places(a: np.ndarray) -> np.ndarray:
            if select_last_index:
                return a.shape[axis] - 1 - function(np.flip(a, axis), axis, keepdims=bool(keepdims))
            return np.asarray(function(a, axis, keepdims=bool(keepdims)))

        return array.Apply(places)(x)

    return compute


operator("ArgMax")(_arg(np.argmax))
operator("ArgMin")(_arg(np.argmin))

# --- matrices -----------------------------------------------------------------------------------------------


@operator("MatMul")
def matmul(a: Any, b: Any) -> Any:
    if is_float(a, b) and len(a.shape) == len(b.shape) == 2:
        return F.matmul(a, b)
    return array.matmul(a, b)


@operator("Gemm")
def gemm(
    a: Any, b: Any, c: Any = None, *, alpha: float = 1.0, beta: float = 1.0,
    transA: int = 0, transB: int = 0, broadcast: int = 0,
) -> Any:  # fmt: skip
    if c is not None and transB and not transA and alpha == beta == 1 and tuple(c.shape) == (b.shape[0],):
        return F.linear(a, b, c)
    product = array.transpose(a, (1, 0)) if transA else a
    product = F.linear(product, b) if transB else F.matmul(product, b)
    product = product if alpha == 1 else F.multiply(product, alpha)
    return product if c is None else F.add(product, c if beta == 1 else F.multiply(c, beta))
