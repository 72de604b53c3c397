"""Calls that Hypothesis draws: valid ones, each with its oracle, and what would make it one to be refused.

A family of functions is a function that draws. It returns a case for the forward function and one for each of its
gradients, so that both are tried on the same geometry. Sizes hold ones, batches of none, paddings on one side, strides
beyond the input; arrays hold numbers that are not finite or below the normal ones wherever the oracle says what
becomes of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

import reference as ref
from functional_calls import Call
from geometries import named_padding, normal
from reference import Padding, Shape

SPOILT = 0.3  # of the examples
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

# What arrays may hold beside ordinary numbers.
NOT_FINITE = (np.nan, np.inf, -np.inf)
SMALL = (0.0, -0.0, 1e-40, -1e-40, 1e-45)
LARGE = (3e38, -3e38, 88.8, -88.8)

# What a size, a stride, a dilation and the like must not be: of all of them, and of those that may not be 0.
NO_INTEGERS = (1.5, "1", True, None, (), (1, 1, 1, 1), 2**63, 2**100, -1)
NO_COUNTS = (0, *NO_INTEGERS)
NO_PADDINGS = (-1, 1.5, None, True, "reflect", 2**62, 2**100, ((1, 1),) * 4, ((1, 1, 1),), ())


@dataclass
class Case:
    """A valid call, what it must return, and for each argument the values that make it a call to refuse.

    `oracle` takes the call's arrays of floats in the order of its arguments. What a result may be off by is measured by
    `scale`: a number, or by default what the oracle makes of the arrays' magnitudes, the size of the terms of its sums.
    """

    call: Call
    oracle: Callable[..., Any]
    wrong: dict[str, Sequence[Any]] = field(default_factory=dict)
    scale: float | None = None
    exact: bool = False


class Draw:
    """The draws of one example, which has one dtype."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.dtype = self.of(FLOATS)
        self.seed = self.whole(0, 2**32 - 1)
        self.spoils = bool(np.random.default_rng(self.seed).random() < SPOILT)

    def of(self, values: Sequence[Any]) -> Any:
        return self.data.draw(st.sampled_from(values))

    def whole(self, low: int, high: int) -> int:
        return self.data.draw(st.integers(low, high))

    def yes(self) -> bool:
        return self.data.draw(st.booleans())

    def often(self, tenths: int) -> bool:
        return self.of((False,) * (10 - tenths) + (True,) * tenths)

    def axes(self, rank: int, values: Sequence[Any]) -> tuple[Any, ...]:
        return self.data.draw(st.tuples(*[st.sampled_from(values)] * rank))

    def sizes(self, rank: int, low: int, high: int) -> Shape:
        return self.data.draw(st.tuples(*[st.integers(low, high)] * rank))

    def rng(self) -> np.random.Generator:
        """One generator after the other, so that an example shrinks without its numbers changing."""
        self.seed += 1
        return np.random.default_rng(self.seed)

    def array(self, *shape: int, strange: Sequence[float] = ()) -> Any:
        """Ordinary numbers, half of the time some of them replaced by strange ones."""
        rng = self.rng()
        x = np.asarray(normal(rng, shape, self.dtype))
        if strange and x.size and self.yes():
            for value in self.data.draw(st.lists(st.sampled_from(strange), min_size=1, max_size=3)):
                x.flat[rng.integers(x.size)] = value
        return x

    def optional(self, *shape: int) -> Any:
        return self.array(*shape) if self.yes() else None


def other_ranks(x: Any) -> list[Any]:
    """Arrays of an axis more, and of one less."""
    return [np.zeros((1, *x.shape), x.dtype), np.zeros(x.shape[1:], x.dtype)]


def other_shapes(x: Any) -> list[Any]:
    """Arrays of other ranks, and with an entry more on the first and the last axis."""
    if x.ndim == 0:
        return [np.zeros(2, x.dtype)]
    more = [(x.shape[0] + 1, *x.shape[1:]), (*x.shape[:-1], x.shape[-1] + 1)]
    return [*other_ranks(x), *(np.zeros(shape, x.dtype) for shape in more)]


def finite(x: Any) -> Any:
    """With ordinary numbers for those that are not finite."""
    return np.nan_to_num(x, nan=0.0, posinf=9.0, neginf=-9.0)


def without_pixels(x: Any) -> Any:
    return np.zeros((*x.shape[:-1], 0), x.dtype)


def one_or_all(draw: Draw, values: tuple[Any, ...]) -> Any:
    """Equal entries are at times written as one number."""
    return values[0] if len(set(values)) == 1 and not isinstance(values[0], tuple) and draw.yes() else values


def magnitude(value: Any) -> float:
    """The largest finite magnitude."""
    sizes = np.abs(np.asarray(value, np.float64))
    return float(sizes[np.isfinite(sizes)].max(initial=0.0))


# Windows --------------------------------------------------------------------------------------------


@dataclass
class Windows:
    size: Shape
    kernel: Shape
    stride: Shape
    padding: Padding
    dilation: Shape
    written_padding: Any

    def canonical(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}


STRIDES = (1, 1, 2, 3, 4, 2**20, 2**40)
BATCHES = (1, 2, 3, 0)


def windows(draw: Draw, rank: int, *, named: bool = False, half: bool = False, dilated: bool = True) -> Windows:
    """Windows that fit; with `half`, no more than half of a kernel of padding."""
    kernel = draw.sizes(rank, 1, 5 if rank < 3 else 3)
    stride = draw.axes(rank, STRIDES)
    dilation = draw.axes(rank, (1, 1, 2, 3)) if dilated and draw.yes() else (1,) * rank
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    name = draw.of((None, None, "valid", "same", "full")) if named else None
    most = [k // 2 if half else 6 for k in kernel]
    padding: Padding = tuple((draw.whole(0, m), draw.whole(0, m)) if draw.yes() else (0, 0) for m in most)
    if name is None or name == "valid":
        padding = padding if name is None else ((0, 0),) * rank
        least = [max(1, r - lo - hi) for r, (lo, hi) in zip(reach, padding, strict=True)]
    else:
        least = [1] * rank
    size = tuple(n + draw.whole(0, 12 if rank == 1 else 6 if rank == 2 else 3) for n in least)
    if name is not None:
        return Windows(size, kernel, stride, named_padding(name, size, kernel, stride, dilation), dilation, name)
    equal = all(lo == hi for lo, hi in padding)
    written = one_or_all(draw, tuple(lo for lo, _ in padding)) if equal and draw.yes() else padding
    return Windows(size, kernel, stride, padding, dilation, written)


def channels(draw: Draw, rank: int) -> tuple[int, int, int]:
    """Inputs, outputs, and groups of both."""
    groups = draw.of((1, 1, 2, 3))
    counts = (1, 2, 3, 5, 17) if rank < 3 else (1, 2, 3)
    return groups * draw.of(counts), groups * draw.of(counts), groups


def convolution(rank: int) -> Callable[[Draw], list[Case]]:
    def cases(draw: Draw) -> list[Case]:
        w, (ins, outs, groups) = windows(draw, rank, named=True), channels(draw, rank)
        x = draw.array(draw.of(BATCHES), ins, *w.size, strange=NOT_FINITE + SMALL)
        weight, bias = draw.array(outs, ins // groups, *w.kernel), draw.optional(outs)
        given = {"stride": one_or_all(draw, w.stride), "padding": w.written_padding}
        given |= {"dilation": one_or_all(draw, w.dilation), "groups": groups}
        canonical = w.canonical() | {"groups": groups}
        out = ref.output_shape(w.size, w.kernel, w.stride, w.padding, w.dilation)
        grad = draw.array(len(x), outs, *out)
        wrong = {
            "x": [*other_ranks(x), without_pixels(x), np.zeros((len(x), ins + 1, *w.size), draw.dtype)],
            "weight": [
                *other_ranks(weight), without_pixels(weight), weight[:0],
                np.zeros((outs, ins + 1, *w.kernel), draw.dtype),
            ],
            "stride": NO_COUNTS, "padding": NO_PADDINGS, "groups": (*NO_COUNTS, ins + outs),
            "dilation": [*NO_COUNTS, *([2**63 - 1] if max(w.kernel) > 1 else [])],
        }  # fmt: skip
        call = Call(f"conv{rank}d", {"x": x, "weight": weight, "bias": bias, **given})
        back = Call(f"conv{rank}d_backward", {"grad_output": grad, "x": finite(x), "weight": weight, **given})
        return [
            Case(call, lambda x, w, b=None: ref.conv(x, w, b, **canonical), wrong | wrong_bias(bias)),
            Case(back, lambda g, x, w: ref.conv_backward(g, x, w, **canonical),
                 wrong | {"grad_output": other_shapes(grad)}),
        ]  # fmt: skip

    return cases


def wrong_bias(bias: Any) -> dict[str, Any]:
    return {} if bias is None else {"bias": other_shapes(bias)}


def transposed_convolution(rank: int) -> Callable[[Draw], list[Case]]:
    def cases(draw: Draw) -> list[Case]:
        ins, outs, groups = channels(draw, rank)
        size, kernel = draw.sizes(rank, 1, 6 if rank < 3 else 3), draw.sizes(rank, 1, 4 if rank < 3 else 3)
        stride = tuple(draw.of(STRIDES if n == 1 else (1, 2, 3)) for n in size)
        dilation = draw.axes(rank, (1, 1, 2, 3))
        extra = tuple(draw.whole(0, min(3, max(pair) - 1)) for pair in zip(stride, dilation, strict=True))
        spread = [
            (n - 1) * s + d * (k - 1) + e for n, s, k, d, e in zip(size, stride, kernel, dilation, extra, strict=True)
        ]
        low = tuple(draw.whole(0, min(n, 5)) for n in spread)
        padding = tuple((lo, draw.whole(0, min(n - lo, 5))) for n, lo in zip(spread, low, strict=True))
        out = ref.conv_transpose_shape(size, kernel, stride, padding, extra, dilation)
        x = draw.array(draw.of(BATCHES), ins, *size, strange=NOT_FINITE + SMALL)
        weight, bias = draw.array(ins, outs // groups, *kernel), draw.optional(outs)
        grad = draw.array(len(x), outs, *out)
        canonical = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        given = canonical | {"stride": one_or_all(draw, stride), "output_padding": extra}
        wrong = {
            "x": [*other_ranks(x), without_pixels(x), np.zeros((len(x), ins + 1, *size), draw.dtype)],
            "weight": [*other_ranks(weight), without_pixels(weight), weight[:, :0]],
            "stride": NO_COUNTS, "padding": (*NO_PADDINGS, "same", 100 + max(out)), "dilation": NO_COUNTS,
            "groups": (*NO_COUNTS, ins + outs),
            "output_padding": (*NO_INTEGERS, max(*stride, *dilation)),
        }  # fmt: skip
        call = Call(f"conv_transpose{rank}d", {"x": x, "weight": weight, "bias": bias, **given})
        back = {"grad_output": grad, "x": finite(x), "weight": weight, **given}
        return [
            Case(call, lambda x, w, b=None: ref.conv_transpose(x, w, b, output_padding=extra, **canonical),
                 wrong | wrong_bias(bias)),
            Case(Call(f"conv_transpose{rank}d_backward", back),
                 lambda g, x, w: ref.conv_transpose_backward(g, x, w, **canonical),
                 wrong | {"grad_output": other_shapes(grad)}),
        ]  # fmt: skip

    return cases


def columns(draw: Draw) -> list[Case]:
    """im2col with col2im, and the matrix of a convolution."""
    rank = draw.whole(1, 3)
    w = windows(draw, rank, named=True)
    canonical = w.canonical()
    given = {"kernel_size": one_or_all(draw, w.kernel), "stride": w.stride, "padding": w.written_padding}
    given |= {"dilation": w.dilation}
    x = draw.array(draw.of(BATCHES), draw.whole(1, 3), *w.size, strange=NOT_FINITE + SMALL + LARGE)
    count = math.prod(ref.output_shape(w.size, w.kernel, w.stride, w.padding, w.dilation))
    cols = draw.array(len(x), x.shape[1] * math.prod(w.kernel), count)
    wrong = {"kernel_size": NO_COUNTS, "stride": NO_COUNTS, "padding": NO_PADDINGS, "dilation": NO_COUNTS}
    back = {"cols": cols, "output_size": w.size, **given}
    more_columns = np.zeros((*cols.shape[:2], count + 1), draw.dtype)
    no_sizes = (0, -1, 2**63, (), (2,) * 4, (1.5,) * rank)
    return [
        Case(Call("im2col", {"x": x, **given}), lambda x: ref.im2col(x, w.kernel, **canonical),
             wrong | {"x": [x[0] if len(x) and rank == 1 else np.zeros((1,) * 6, draw.dtype), without_pixels(x)]},
             exact=True),
        Case(Call("col2im", back), lambda cols: ref.col2im(cols, w.size, w.kernel, **canonical),
             wrong | {"cols": [*other_ranks(cols), more_columns], "output_size": no_sizes}),
    ]  # fmt: skip


def matrix(draw: Draw) -> list[Case]:
    rank = draw.whole(1, 3)
    w = windows(draw, rank, named=True)
    groups, canonical = draw.of((1, 2, 3)), w.canonical()
    weight = draw.array(groups * draw.whole(1, 2), draw.whole(1, 2), *w.kernel)
    given = {"input_size": one_or_all(draw, w.size), "stride": w.stride, "padding": w.written_padding}
    given |= {"dilation": w.dilation, "groups": groups}

    def oracle(weight: Any) -> Any:
        """Column by column what becomes of an input that is 1 at one place."""
        ones = np.eye(weight.shape[1] * groups * math.prod(w.size)).reshape(-1, weight.shape[1] * groups, *w.size)
        outputs = ref.conv(ones, weight, groups=groups, **canonical)
        return outputs.reshape(len(ones), -1).T

    wrong = {"weight": [np.zeros((2, 2), draw.dtype), without_pixels(weight)], "stride": NO_COUNTS, "groups": NO_COUNTS}
    wrong |= {"padding": NO_PADDINGS, "dilation": NO_COUNTS, "input_size": NO_COUNTS}
    return [Case(Call("convolution_matrix", {"weight": weight, **given}), oracle, wrong, exact=True)]


def signals(rank: int, name: str) -> Callable[[Draw], list[Case]]:
    def cases(draw: Draw) -> list[Case]:
        mode, stride = draw.of(("valid", "full", "same")), draw.of((1, 1, 2, 3, 2**20))
        kernel = draw.sizes(rank, 1, 4)
        size = tuple(draw.whole(k if mode == "valid" else 1, 9) for k in kernel)
        x, kernel = draw.array(*size, strange=NOT_FINITE + SMALL), draw.array(*kernel)
        call = Call(f"{name}{rank}d", {"x": x, "kernel": kernel, "mode": mode, "stride": stride})
        function = getattr(ref, name)
        wrong = {"x": other_ranks(x), "kernel": other_ranks(kernel), "stride": NO_COUNTS}
        return [Case(call, lambda x, k: function(x, k, mode, stride), wrong | {"mode": ["SAME", "", None, 1]})]

    return cases


# Pooling --------------------------------------------------------------------------------------------


def filled(w: Windows, *, ceil: bool) -> bool:
    """Whether each window has a value: dilation can step from padding to padding over a narrow input."""
    _, index = ref.max_pool(np.zeros((1, 1, *w.size)), w.kernel, ceil_mode=ceil, **w.canonical())
    return bool((index >= 0).all())


def max_pooling(rank: int) -> Callable[[Draw], list[Case]]:
    def cases(draw: Draw) -> list[Case]:
        w, ceil = windows(draw, rank, half=True), draw.yes()
        if not filled(w, ceil=ceil):
            w.dilation = (1,) * rank
        options = w.canonical() | {"ceil_mode": ceil}
        x = draw.array(draw.of(BATCHES), draw.of((1, 2, 3, 5)), *w.size, strange=NOT_FINITE + SMALL + LARGE)
        x = np.round(x) if draw.yes() else x  # ties
        y, index = ref.max_pool(x, w.kernel, **options)
        grad = draw.array(*y.shape)
        given = {"kernel_size": one_or_all(draw, w.kernel), **pool_stride(draw, w), "padding": w.written_padding}
        given |= {"dilation": one_or_all(draw, w.dilation), "ceil_mode": ceil}
        wrong = wrong_pool(draw, w) | {"x": [*other_ranks(x), without_pixels(x)]}
        call = Call(f"max_pool{rank}d", {"x": x, **given, "return_indices": True})
        back = Call(f"max_pool{rank}d_backward", {"grad_output": grad, "x": x, **given})
        return [
            Case(call, lambda x: ref.max_pool(x, w.kernel, **options), wrong, exact=True),
            Case(
                back, lambda g, x: ref.max_pool_backward(g, index, w.size), wrong | {"grad_output": other_shapes(grad)}
            ),
        ]

    return cases


def pool_stride(draw: Draw, w: Windows) -> dict[str, Any]:
    return {} if w.stride == w.kernel and draw.yes() else {"stride": one_or_all(draw, w.stride)}


def wrong_pool(draw: Draw, w: Windows) -> dict[str, Any]:
    no_stride = [value for value in NO_COUNTS if value is not None]
    half = tuple(k // 2 + 1 for k in w.kernel)
    return {"kernel_size": NO_COUNTS, "stride": no_stride, "padding": (*NO_PADDINGS, half), "dilation": NO_COUNTS}


def avg_pooling(rank: int) -> Callable[[Draw], list[Case]]:
    def cases(draw: Draw) -> list[Case]:
        w = windows(draw, rank, half=True, dilated=False)
        options: dict[str, Any] = {"ceil_mode": draw.yes(), "count_include_pad": draw.yes()}
        if draw.yes():
            options["divisor_override"] = draw.of((1, 3, -2))
        canonical = {"stride": w.stride, "padding": w.padding, **options}
        x = draw.array(draw.of(BATCHES), draw.of((1, 2, 3, 5)), *w.size, strange=NOT_FINITE + SMALL)
        grad = draw.array(*x.shape[:2], *ref.output_shape(w.size, w.kernel, w.stride, w.padding, (1,) * rank,
                                                          options["ceil_mode"]))  # fmt: skip
        given = {"kernel_size": one_or_all(draw, w.kernel), **pool_stride(draw, w), "padding": w.written_padding}
        wrong = wrong_pool(draw, w) | {"divisor_override": (0, 1.5, "1", True)}
        del wrong["dilation"]
        call = Call(f"avg_pool{rank}d", {"x": x, **given, **options})
        back = Call(f"avg_pool{rank}d_backward", {"grad_output": grad, "input_shape": x.shape, **given, **options})
        shapes = [x.shape[1:], (*x.shape, 1), (*x.shape[:-1], 0), (*x.shape[:-1], -1)]
        return [
            Case(call, lambda x: ref.avg_pool(x, w.kernel, **canonical),
                 wrong | {"x": [*other_ranks(x), without_pixels(x)]}, scale=magnitude(x) * math.prod(w.kernel)),
            Case(back, lambda g: ref.avg_pool_backward(g, w.size, w.kernel, **canonical),
                 wrong | {"grad_output": other_shapes(grad), "input_shape": shapes},
                 scale=magnitude(grad) * math.prod(w.kernel)),
        ]  # fmt: skip

    return cases


def adaptive_pooling(kind: str, rank: int) -> Callable[[Draw], list[Case]]:
    def cases(draw: Draw) -> list[Case]:
        size, out = draw.sizes(rank, 1, 9 if rank < 3 else 5), draw.sizes(rank, 1, 10 if rank < 3 else 5)
        strange = SMALL + LARGE + NOT_FINITE if kind == "max" else SMALL + NOT_FINITE
        x = draw.array(draw.of(BATCHES), draw.whole(1, 3), *size, strange=strange)
        grad = draw.array(*x.shape[:2], *out)
        name, given = f"adaptive_{kind}_pool{rank}d", {"output_size": one_or_all(draw, out)}
        wrong = {"output_size": [value for value in NO_COUNTS if value is not None]}
        wrong_x, wrong_grad = {"x": [*other_ranks(x), without_pixels(x)]}, {"grad_output": other_shapes(grad)}
        if kind == "avg":
            call = Call(name, {"x": x, **given})
            back = Call(f"{name}_backward", {"grad_output": grad, "input_shape": x.shape, **given})
            shapes = [x.shape[1:], (*x.shape, 1), (*x.shape[:-1], 0), (*x.shape[:-1], -1)]
            return [
                Case(call, lambda x: ref.adaptive_avg_pool(x, out), wrong | wrong_x),
                Case(back, lambda g: ref.adaptive_avg_pool_backward(g, size),
                     wrong | wrong_grad | {"input_shape": shapes}),
            ]  # fmt: skip
        call = Call(name, {"x": x, **given, "return_indices": True})
        back = Call(f"{name}_backward", {"grad_output": grad, "x": x, **given})
        index = ref.adaptive_max_pool(x, out)[1]
        return [
            Case(call, lambda x: ref.adaptive_max_pool(x, out), wrong | wrong_x, exact=True),
            Case(back, lambda g, x: ref.max_pool_backward(g, index, size), wrong | wrong_x | wrong_grad),
        ]

    return cases


def global_pooling(kind: str) -> Callable[[Draw], list[Case]]:
    def cases(draw: Draw) -> list[Case]:
        size = draw.sizes(draw.whole(1, 3), 1, 5)
        ones, flat = (1,) * len(size), (draw.of(BATCHES), draw.whole(1, 4))
        x, grad = draw.array(*flat, *size, strange=NOT_FINITE + SMALL), draw.array(*flat)
        name = f"global_{kind}_pool"
        no_x = [np.zeros((2, 3), draw.dtype), np.zeros((1,) * 6, draw.dtype), without_pixels(x)]
        wrong = {"grad_output": other_shapes(grad)}
        spread = grad.reshape(*flat, *ones)
        if kind == "avg":
            back = Call(f"{name}_backward", {"grad_output": grad, "input_shape": x.shape})
            return [
                Case(Call(name, {"x": x}), lambda x: ref.adaptive_avg_pool(x, ones).reshape(flat), {"x": no_x}),
                Case(back, lambda g: ref.adaptive_avg_pool_backward(g.reshape(spread.shape), size),
                     wrong | {"input_shape": [(2, 3), (1,) * 6, (*flat, 0), (*flat, -1)]}),
            ]  # fmt: skip
        index = ref.adaptive_max_pool(x, ones)[1]
        back = Call(f"{name}_backward", {"grad_output": grad, "x": x})
        return [
            Case(Call(name, {"x": x}), lambda x: ref.adaptive_max_pool(x, ones)[0].reshape(flat), {"x": no_x}),
            Case(back, lambda g, x: ref.max_pool_backward(g.reshape(spread.shape), index, size), wrong | {"x": no_x}),
        ]

    return cases


def unpooling(rank: int) -> Callable[[Draw], list[Case]]:
    def cases(draw: Draw) -> list[Case]:
        size, out = draw.sizes(rank, 1, 4), draw.sizes(rank, 1, 7)
        x = draw.array(draw.of(BATCHES), draw.whole(1, 3), *size, strange=NOT_FINITE + SMALL + LARGE)
        index = draw.rng().integers(0, math.prod(out), x.shape)  # places come more than once
        grad = draw.array(*x.shape[:2], *out)
        given = {"indices": index, "kernel_size": 2, "output_size": out}
        no_indices = [index + math.prod(out), index - math.prod(out), index.astype(float), index[..., None]]
        no_indices = no_indices if index.size else no_indices[2:]
        wrong = {"x": other_ranks(x), "indices": no_indices, "output_size": NO_COUNTS[:4], "kernel_size": NO_COUNTS}
        name = f"max_unpool{rank}d"
        back = Call(f"{name}_backward", {"grad_output": grad, "indices": index})
        return [
            Case(Call(name, {"x": x, **given}), lambda x: ref.max_unpool(x, index, out), wrong, exact=True),
            Case(back, lambda g: ref.max_unpool_backward(g, index), {"grad_output": other_ranks(grad),
                 "indices": no_indices}, exact=True),
        ]  # fmt: skip

    return cases


# Borders and sizes ----------------------------------------------------------------------------------


def padding(draw: Draw) -> list[Case]:
    mode, rank = draw.of(("constant", "reflect", "replicate", "circular")), draw.whole(1, 3)
    size = draw.sizes(rank, 1, 6)
    most = [{"reflect": n - 1, "circular": n}.get(mode, 7) for n in size]
    pairs = tuple((draw.whole(0, m), draw.whole(0, m)) for m in most)
    x = draw.array(draw.of(BATCHES), draw.whole(1, 3), *size, strange=NOT_FINITE + SMALL + LARGE)
    grad = draw.array(*x.shape[:2], *ref.padded_size(size, pairs))
    value = draw.of((0.0, 1.5, -np.inf, np.nan)) if mode == "constant" else 0.0
    too_much = {"reflect": max(size), "circular": max(size) + 1}.get(mode, 2**62)
    wrong = {"padding": [-1, 1.5, None, "same", ((1, 1),) * 4, too_much], "mode": ["edge", "", None]}
    call = Call("pad", {"x": x, "padding": pairs, "value": value, "mode": mode})
    back = Call("pad_backward", {"grad_output": grad, "padding": pairs, "mode": mode})
    two_axes = [np.zeros((2, 3), draw.dtype)]
    return [
        Case(call, lambda x: ref.pad_by(x, pairs, mode, value), wrong | {"x": two_axes}, exact=True),
        Case(back, lambda g: ref.pad_by_backward(g, pairs, mode), wrong | {"grad_output": two_axes}),
    ]


def resizing(draw: Draw) -> list[Case]:
    rank = draw.whole(1, 3)
    size, out = draw.sizes(rank, 1, 6), draw.sizes(rank, 1, 9 if rank < 3 else 6)
    given: dict[str, Any] = {"size": one_or_all(draw, out)}
    wrong: dict[str, Any] = {"size": [value for value in NO_COUNTS if value is not None], "scale_factor": [2]}
    if draw.yes():
        factors = draw.sizes(rank, 1, 3)
        out = tuple(n * factor for n, factor in zip(size, factors, strict=True))
        given = {"scale_factor": one_or_all(draw, factors)}
        wrong = {"scale_factor": [value for value in NO_COUNTS if value is not None], "size": [2]}
    linear = draw.yes()
    corners = linear and draw.yes()
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[rank] if linear else "nearest"
    x = draw.array(draw.of(BATCHES), draw.whole(1, 3), *size, strange=SMALL)
    grad = draw.array(*x.shape[:2], *out)
    given |= {"mode": mode, "align_corners": corners}
    wrong_x = [np.zeros((2, 3), draw.dtype), np.zeros((1,) * 6, draw.dtype), without_pixels(x)]
    wrong |= {"mode": ["cubic", None, "bilinear" if rank != 2 else "linear"], "x": wrong_x}
    back = {"grad_output": grad, "input_shape": x.shape, "mode": mode, "align_corners": corners}
    wrong_back = {"grad_output": [*other_ranks(grad), without_pixels(grad)], "mode": wrong["mode"]}
    wrong_back["input_shape"] = [x.shape[1:], (*x.shape[:-1], 0), (*x.shape[:-1], -1), (*x.shape, 1)]
    return [
        Case(Call("interpolate", {"x": x, **given}), lambda x: ref.interpolate(x, out, mode, corners), wrong),
        Case(
            Call("interpolate_backward", back), lambda g: ref.interpolate_backward(g, size, mode, corners), wrong_back
        ),
    ]


def shuffling(draw: Draw) -> list[Case]:
    r, batch = draw.of((1, 2, 3)), draw.of(BATCHES)
    count, height, width = draw.whole(1, 2), draw.whole(1, 3), draw.whole(1, 3)
    many = draw.array(batch, count * r * r, height, width, strange=NOT_FINITE + SMALL + LARGE)
    large = draw.array(batch, count, height * r, width * r, strange=NOT_FINITE + SMALL + LARGE)
    cases = []
    for name, x, argument, down in [
        ("pixel_shuffle", many, "x", False), ("pixel_shuffle_backward", large, "grad_output", True),
        ("pixel_unshuffle", large, "x", True), ("pixel_unshuffle_backward", many, "grad_output", False),
    ]:  # fmt: skip
        factor = "upscale_factor" if "unshuffle" not in name else "downscale_factor"
        wrong = {factor: [*NO_COUNTS, 4 * x.size + 5], argument: other_ranks(x)}
        oracle = ref.pixel_unshuffle if down else ref.pixel_shuffle
        cases.append(Case(Call(name, {argument: x, factor: r}), lambda x, o=oracle: o(x, r), wrong, exact=True))
    return cases


def reshaping(draw: Draw) -> list[Case]:
    shape = draw.data.draw(st.lists(st.integers(0, 4), max_size=4).map(tuple))
    x = draw.array(*shape, strange=NOT_FINITE + SMALL + LARGE)
    other = draw.data.draw(st.permutations(shape)) if shape else [1]
    cases = []
    wrong = {"shape": [(x.size + 1,), (-1, -1), (x.size + 1, -1) if x.size else (-2,), 1.5, (1.5,)]}
    cases.append(Case(Call("reshape", {"x": x, "shape": tuple(other)}), lambda x: x.reshape(other), wrong, exact=True))
    if shape:
        first = draw.whole(0, len(shape) - 1)
        last = draw.whole(first, len(shape) - 1)
        joined = (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])
        given = {"x": x, "start_dim": first, "end_dim": last - (len(shape) if draw.yes() else 0)}
        wrong = {"start_dim": [len(shape), 1.5, None], "end_dim": [len(shape), -len(shape) - 1, "1"]}
        cases.append(Case(Call("flatten", given), lambda x: x.reshape(joined), wrong, exact=True))
    return cases


def joining(draw: Draw) -> list[Case]:
    shape = draw.data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=4).map(tuple))
    axis, lengths = draw.whole(0, len(shape) - 1), draw.data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    parts = [draw.array(*shape[:axis], n, *shape[axis + 1 :], strange=NOT_FINITE + LARGE) for n in lengths]
    grad = draw.array(*shape[:axis], sum(lengths), *shape[axis + 1 :], strange=NOT_FINITE)
    named = axis - (len(shape) if draw.yes() else 0)
    other = parts[0].astype(FLOATS[draw.dtype == FLOATS[0]])
    wrong = {"axis": [len(shape), -len(shape) - 1, 1.5, None]}
    wrong |= {"arrays": [[], [*parts, other], [*parts, parts[0][None]], [*parts, parts[0].astype("c8")]]}
    return [
        Case(Call("concat", {"arrays": parts, "axis": named}), lambda *x: np.concatenate(x, axis), wrong, exact=True),
        Case(Call("concat_backward", {"grad_output": grad, "arrays": parts, "axis": named}),
             lambda g, *_: tuple(ref.concat_backward(g, lengths, axis)), wrong | {"grad_output": other_shapes(grad)},
             exact=True),
    ]  # fmt: skip


# Dense ----------------------------------------------------------------------------------------------


def dense(draw: Draw) -> list[Case]:
    ins, outs = draw.of((1, 2, 3, 7, 16, 33, 0)), draw.of((1, 2, 3, 5, 17, 0))
    lead = draw.data.draw(st.lists(st.integers(0, 4), max_size=3).map(tuple))
    x, weight, bias = draw.array(*lead, ins, strange=NOT_FINITE + SMALL), draw.array(outs, ins), draw.optional(outs)
    grad = draw.array(*lead, outs)
    wrong = {"x": [np.zeros((*lead, ins + 1), draw.dtype)], "weight": other_ranks(weight)}
    back = {"grad_output": grad, "x": finite(x), "weight": weight}
    return [
        Case(Call("linear", {"x": x, "weight": weight, "bias": bias}), ref.linear, wrong | wrong_bias(bias)),
        Case(Call("linear_backward", back), ref.linear_backward, wrong | {"grad_output": other_shapes(grad)}),
    ]


def product(draw: Draw) -> list[Case]:
    m, k, n = draw.axes(3, (1, 2, 3, 7, 16, 33, 0))
    a, b = draw.array(m, k, strange=NOT_FINITE + SMALL), draw.array(k, n)
    wrong = {"a": [*other_ranks(a), np.zeros((m, k + 1), draw.dtype)], "b": other_ranks(b)}
    return [Case(Call("matmul", {"a": a, "b": b}), lambda a, b: ref.linear(a, b.T), wrong)]


def arithmetic(name: str) -> Callable[[Draw], list[Case]]:
    def cases(draw: Draw) -> list[Case]:
        shape = draw.data.draw(st.lists(st.integers(0, 4), max_size=4).map(tuple))
        other = tuple(1 if draw.often(3) else n for n in shape[draw.whole(0, len(shape)) :])
        a, b = (draw.array(*sizes, strange=NOT_FINITE + SMALL + LARGE) for sizes in (shape, other))
        if draw.yes():
            a, b = b, a
        function, dtype = getattr(np, name), draw.dtype
        wrong = {"b": [np.zeros(a.shape[-1] + 1, dtype)]} if a.ndim and a.shape[-1] > 1 else {}

        def oracle(a: Any, b: Any) -> Any:
            return function(a.astype(dtype), b.astype(dtype))

        return [Case(Call(name, {"a": a, "b": b}), oracle, wrong, exact=True)]

    return cases


def totals(name: str) -> Callable[[Draw], list[Case]]:
    def cases(draw: Draw) -> list[Case]:
        x = draw.array(*draw.data.draw(st.lists(st.integers(0, 5), max_size=4)), strange=NOT_FINITE + SMALL)
        count = 1 if name == "sum" else max(x.size, 1)
        return [Case(Call(name, {"x": x}), lambda x: np.asarray(x, np.float64).sum() / count)]

    return cases


# Functions of one number ----------------------------------------------------------------------------


def constants(draw: Draw, name: str) -> tuple[dict[str, Any], tuple[float, ...], dict[str, Any], str]:
    """Arguments, the same for the oracle, what they must not be, and the oracle's name."""
    no_numbers = [-0.5, np.nan, "1", None]
    if name in ("leaky_relu", "elu"):
        argument, value = {"leaky_relu": "negative_slope", "elu": "alpha"}[name], draw.of((0.01, 0.0, 0.3, 1.7))
        return {argument: value}, (value,), {argument: no_numbers}, name
    if name == "softplus":
        beta, threshold = draw.of((1.0, 0.5, 3.0)), draw.of((20.0, 1.0))
        given = {"beta": beta, "threshold": threshold}
        return given, (beta, threshold), {"beta": [0.0, *no_numbers], "threshold": no_numbers}, name
    if name == "hardtanh":
        low, high = draw.of((-1.0, -0.5, 0.2)), draw.of((1.0, 0.5))
        return {"min_val": low, "max_val": high}, (low, high), {"min_val": [high, 7.0, np.nan], "max_val": [low]}, name
    if name == "gelu":
        approximate = draw.of(("none", "tanh"))
        wrong = {"approximate": ["erf", None, True]}
        return {"approximate": approximate}, (), wrong, "gelu" if approximate == "none" else "gelu_tanh"
    return {}, (), {}, name


def vanishing(dtype: Any) -> float:
    """The scale of values that are exact but for those near the end of the range, where an exponential has become 0."""
    return float(1000 * np.finfo(dtype).tiny / ref.TOLERANCE[dtype])


def activation(name: str) -> Callable[[Draw], list[Case]]:
    def cases(draw: Draw) -> list[Case]:
        given, numbers, wrong, oracle = constants(draw, name)
        shape = draw.data.draw(st.lists(st.integers(0, 5), max_size=4).map(tuple))
        far = () if oracle == "gelu_tanh" else LARGE
        x = draw.array(*shape, strange=NOT_FINITE + SMALL + far)
        near, grad = draw.array(*shape, strange=(88.8, -88.8, 1e-40)), draw.array(*shape)
        call = Call(name, {"x": x, **given})
        back = Call(f"{name}_backward", {"grad_output": grad, "x": near, **given})
        if hasattr(ref, name):
            forward, backward = getattr(ref, name), getattr(ref, f"{name}_backward")
        else:
            forward = lambda x: ref.activation(oracle, x, *numbers)  # noqa: E731
            backward = lambda g, x: g * ref.activation_slope(oracle, x, *numbers)  # noqa: E731
        wrong_grad = {"grad_output": other_shapes(grad)}
        own_size = oracle not in ("gelu_tanh", "hardsigmoid", "hardswish")  # where a sum cancels
        return [
            Case(call, forward, wrong, scale=vanishing(draw.dtype) if own_size else 1.0),
            Case(back, backward, wrong | wrong_grad, scale=magnitude(grad)),
        ]

    return cases


def parametric(draw: Draw) -> list[Case]:
    """prelu, with a weight for each channel or one for all."""
    shape = draw.data.draw(st.lists(st.integers(0, 4), min_size=2, max_size=4).map(tuple))
    count = shape[1] if draw.yes() else 1
    x, grad = draw.array(*shape, strange=NOT_FINITE + SMALL), draw.array(*shape)
    weight = draw.array(count)
    wrong = {"weight": [np.zeros(shape[1] + 2, draw.dtype), np.zeros((count, 1), draw.dtype)]}
    back = Call("prelu_backward", {"grad_output": grad, "x": finite(x), "weight": weight})
    return [
        Case(Call("prelu", {"x": x, "weight": weight}), ref.prelu, wrong),
        Case(back, ref.prelu_backward, wrong | {"grad_output": other_shapes(grad)}, scale=absolute(grad, x)),
    ]


def absolute(grad: Any, x: Any) -> float:
    """What a sum of products of all values may come to."""
    return float(np.abs(grad).astype(np.float64).sum() * max(1.0, magnitude(x)))


def softmax(name: str) -> Callable[[Draw], list[Case]]:
    def cases(draw: Draw) -> list[Case]:
        shape = draw.data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple))
        axis = draw.whole(-len(shape), len(shape) - 1)
        x, grad = draw.array(*shape, strange=(80.0, -80.0, -np.inf, np.nan, *SMALL)), draw.array(*shape)
        x = x * draw.dtype.type(draw.of((1, 30)))
        wrong = {"axis": [len(shape), -len(shape) - 1, 1.5, None, "1"]}
        back = Call(f"{name}_backward", {"grad_output": grad, "x": finite(x), "axis": axis})
        forward, backward = getattr(ref, name), getattr(ref, f"{name}_backward")
        return [
            Case(Call(name, {"x": x, "axis": axis}), lambda x: forward(x, axis), wrong, scale=max(1.0, magnitude(x))),
            Case(back, lambda g, x: backward(g, x, axis), wrong | {"grad_output": other_shapes(grad)},
                 scale=absolute(grad, 1.0)),
        ]  # fmt: skip

    return cases


def dropping(name: str) -> Callable[[Draw], list[Case]]:
    """What the mask is, a mask of ones says; how it is drawn has tests of its own."""

    def cases(draw: Draw) -> list[Case]:
        from convkit import functional as F

        rank = draw.whole(3, 5) if name == "dropout2d" else draw.whole(0, 4)
        x = draw.array(*draw.sizes(rank, 0, 4))
        p, seed = draw.of((0.0, 0.3, 0.5, 1.0)), draw.whole(0, 9)
        mask = getattr(F, name)(np.ones(x.shape), p, seed=seed)
        assert set(np.unique(mask)) <= {0.0, 1 / (1 - p) if p < 1 else 0.0}
        wrong = {"p": [-0.1, 1.1, np.nan], "seed": [-1, 1.5, "1"]}
        return [
            Case(Call(end, {argument: x, "p": p, "seed": seed}), lambda x: x * mask, wrong)
            for end, argument in [(name, "x"), (f"{name}_backward", "grad_output")]
        ]

    return cases


# Normalisation --------------------------------------------------------------------------------------

NO_EPS = (0.0, -1e-5, np.nan, np.inf, "1", None)


@dataclass
class Moments:
    """How much a normalisation enlarges: rounding x and its mean, and their share of the gradient."""

    x: float
    root: float

    @property
    def forward(self) -> float:
        return 1.0 + self.x * self.root

    def backward(self, grad: Any, weight: Any) -> float:
        factor = 1.0 if weight is None else magnitude(weight)
        return (1.0 + magnitude(grad) * factor) * self.root * self.forward**2


def moments(x: Any, axes: Shape, eps: float) -> Moments:
    variance = np.asarray(x, np.float64).var(axes)
    return Moments(magnitude(x), float(1 / np.sqrt(variance[np.isfinite(variance)].min(initial=1.0) + eps)))


def affine_scale(forward: float, weight: Any, bias: Any) -> float:
    return forward * max(1.0, magnitude(0 if weight is None else weight)) + magnitude(0 if bias is None else bias)


def batch_norm(draw: Draw) -> list[Case]:
    rank, count, training = draw.whole(0, 3), draw.whole(1, 5), draw.yes()
    size = draw.sizes(rank, 1, 5)
    batch = draw.of((2, 3, 5)) if training else draw.of(BATCHES)
    x, grad = draw.array(batch, count, *size, strange=SMALL), draw.array(batch, count, *size)
    weight, bias, eps = draw.optional(count), draw.optional(count), draw.of((1e-5, 1e-3))
    running = (None, None) if training else (draw.array(count), np.abs(draw.array(count)))
    given = {"running_mean": running[0], "running_var": running[1], "weight": weight, "training": training, "eps": eps}
    axes = ref.over_batch(x)

    def parts(x: Any, mean: Any, variance: Any) -> tuple[Any, Any]:
        if training:
            return ref.standardized(x, axes, eps), None
        root = 1 / np.sqrt(ref.on_channels(variance, x) + eps)
        return (np.asarray(x, np.float64) - ref.on_channels(mean, x)) * root, root

    def forward(*arrays: Any) -> Any:
        x, mean, variance, weight, bias = in_places(
            call, ("x", "running_mean", "running_var", "weight", "bias"), arrays
        )
        return affine(parts(x, mean, variance)[0], weight, bias, x)

    def backward(*arrays: Any) -> Any:
        grad, x, mean, variance, weight = in_places(
            back, ("grad_output", "x", "running_mean", "running_var", "weight"), arrays
        )
        x_hat, root = parts(x, mean, variance)
        inner = grad if weight is None else grad * ref.on_channels(weight, x)
        grad_x = ref.standardized_backward(inner, x, axes, eps) if training else inner * root
        return grad_x, (grad * x_hat).sum(axes), np.asarray(grad, np.float64).sum(axes)

    call = Call("batch_norm", {"x": x, **given, "bias": bias})
    back = Call("batch_norm_backward", {"grad_output": grad, "x": x, **given})
    wrong = {"eps": NO_EPS, "x": [np.zeros(count, draw.dtype), np.zeros((2, count + 1, *size), draw.dtype)]}
    if training:
        wrong["x"] = [np.zeros(count, draw.dtype), np.zeros((1, count), draw.dtype)]
        size_of = moments(x, axes, eps)
    else:
        wrong |= {"running_mean": [None, *other_shapes(running[0])], "running_var": [None, *other_shapes(running[1])]}
        size_of = Moments(magnitude(x) + magnitude(running[0]), float(1 / np.sqrt(magnitude(running[1].min()) + eps)))
    if weight is not None:
        wrong["weight"] = other_shapes(weight)
    return [
        Case(call, forward, wrong | wrong_bias(bias), scale=affine_scale(size_of.forward, weight, bias)),
        Case(back, backward, wrong | {"grad_output": other_shapes(grad)},
             scale=size_of.backward(grad, weight) * max(x.size, 1)),
    ]  # fmt: skip


def in_places(call: Call, names: Sequence[str], arrays: Sequence[Any]) -> list[Any]:
    """Arrays by name, in this order, None where the call has none."""
    given = dict(zip(call.float_arrays, arrays, strict=True))
    return [given.get(name) for name in names]


def affine(x_hat: Any, weight: Any, bias: Any, x: Any) -> Any:
    y = x_hat if weight is None else x_hat * ref.on_channels(weight, x)
    return y if bias is None else y + ref.on_channels(bias, x)


def group_norm(draw: Draw) -> list[Case]:
    groups = draw.of((1, 2, 3))
    shape = (draw.of(BATCHES), groups * draw.whole(1, 3), *draw.sizes(draw.whole(0, 3), 1, 4))
    x, grad = draw.array(*shape, strange=SMALL), draw.array(*shape)
    weight, bias, eps = draw.optional(shape[1]), draw.optional(shape[1]), draw.of((1e-5, 1e-3))
    rows = (shape[0] * groups, math.prod(shape[1:]) // groups)
    axes = ref.over_batch(x)

    def forward(*arrays: Any) -> Any:
        x, weight, bias = in_places(call, ("x", "weight", "bias"), arrays)
        return affine(ref.standardized(x.reshape(rows), (1,), eps).reshape(shape), weight, bias, x)

    def backward(*arrays: Any) -> Any:
        grad, x, weight = in_places(back, ("grad_output", "x", "weight"), arrays)
        inner = grad if weight is None else grad * ref.on_channels(weight, x)
        grad_x = ref.standardized_backward(inner.reshape(rows), x.reshape(rows), (1,), eps).reshape(shape)
        x_hat = ref.standardized(x.reshape(rows), (1,), eps).reshape(shape)
        return grad_x, (grad * x_hat).sum(axes), np.asarray(grad, np.float64).sum(axes)

    given = {"x": x, "num_groups": groups, "weight": weight, "eps": eps}
    call, back = (
        Call("group_norm", {**given, "bias": bias}),
        Call("group_norm_backward", {"grad_output": grad, **given}),
    )
    wrong = {"num_groups": (*NO_COUNTS, shape[1] + 1), "eps": NO_EPS, "x": [np.zeros(shape[1], draw.dtype)]}
    wrong |= {} if weight is None else {"weight": other_shapes(weight)}
    size_of = moments(x.reshape(rows), (1,), eps)
    return [
        Case(call, forward, wrong | wrong_bias(bias), scale=affine_scale(size_of.forward, weight, bias)),
        Case(back, backward, wrong | {"grad_output": other_shapes(grad)},
             scale=size_of.backward(grad, weight) * max(x.size, 1)),
    ]  # fmt: skip


def layer_norm(draw: Draw) -> list[Case]:
    lead = draw.data.draw(st.lists(st.integers(0, 4), max_size=2).map(tuple))
    shape = draw.sizes(draw.whole(1, 3), 1, 5)
    x, grad = draw.array(*lead, *shape, strange=SMALL), draw.array(*lead, *shape)
    weight, bias, eps = draw.optional(*shape), draw.optional(*shape), draw.of((1e-5, 1e-3))
    axes = tuple(range(len(lead), len(lead) + len(shape)))
    first = tuple(range(len(lead)))

    def forward(*arrays: Any) -> Any:
        x, weight, bias = in_places(call, ("x", "weight", "bias"), arrays)
        y = ref.standardized(x, axes, eps)
        y = y if weight is None else y * weight
        return y if bias is None else y + bias

    def backward(*arrays: Any) -> Any:
        grad, x, weight = in_places(back, ("grad_output", "x", "weight"), arrays)
        inner = grad if weight is None else grad * np.asarray(weight, np.float64)
        grad_weight = (grad * ref.standardized(x, axes, eps)).sum(first)
        return ref.standardized_backward(inner, x, axes, eps), grad_weight, np.asarray(grad, np.float64).sum(first)

    given = {"x": x, "normalized_shape": shape[0] if len(shape) == 1 and draw.yes() else shape, "weight": weight}
    given["eps"] = eps
    call, back = (
        Call("layer_norm", {**given, "bias": bias}),
        Call("layer_norm_backward", {"grad_output": grad, **given}),
    )
    wrong = {"normalized_shape": [0, -1, 1.5, "1", (*shape[:-1], shape[-1] + 1), (9, *lead, *shape)], "eps": NO_EPS}
    wrong |= {"x": [np.zeros((*shape[:-1], shape[-1] + 1), draw.dtype)]}
    wrong |= {} if weight is None else {"weight": other_shapes(weight)}
    size_of = moments(x, axes, eps)
    return [
        Case(call, forward, wrong | wrong_bias(bias), scale=affine_scale(size_of.forward, weight, bias)),
        Case(back, backward, wrong | {"grad_output": other_shapes(grad)},
             scale=size_of.backward(grad, weight) * max(x.size, 1)),
    ]  # fmt: skip


def response_norm(draw: Draw) -> list[Case]:
    shape = (draw.of(BATCHES), draw.whole(1, 7), *draw.sizes(draw.whole(1, 3), 1, 4))
    x, grad = draw.array(*shape, strange=SMALL), draw.array(*shape)
    given = {"size": draw.whole(1, 6), "alpha": draw.of((1e-4, 0.0, 0.7)), "beta": draw.of((0.75, 0.5, 1.3))}
    given |= {"k": draw.of((1.0, 2.0)), "average": draw.yes()}
    no_numbers = (-0.5, np.nan, np.inf, "1", None)
    wrong = {"size": NO_COUNTS, "alpha": no_numbers, "beta": no_numbers, "k": (0.0, *no_numbers)}
    wrong |= {"x": [np.zeros((2, 3), draw.dtype)]}
    back = Call("local_response_norm_backward", {"grad_output": grad, "x": x, **given})
    return [
        Case(Call("local_response_norm", {"x": x, **given}), lambda x: ref.local_response_norm(x, **given), wrong),
        Case(back, lambda g, x: ref.local_response_norm_backward(g, x, **given),
             wrong | {"grad_output": other_shapes(grad)}, scale=(1 + magnitude(grad)) * (1 + magnitude(x)) ** 3),
    ]  # fmt: skip


# Losses ---------------------------------------------------------------------------------------------


def labelled(draw: Draw, name: str) -> tuple[Any, Any, dict[str, Any], dict[str, Any]]:
    """Scores, labels, options, and what these must not be."""
    batch, classes, places = draw.of((1, 2, 3, 5)), draw.whole(1, 6), draw.sizes(draw.whole(0, 2), 1, 3)
    scores = draw.array(batch, classes, *places)
    options: dict[str, Any] = {"reduction": draw.of(("mean", "sum", "none"))}
    if draw.yes():
        options["weight"] = np.abs(draw.array(classes)) + draw.dtype.type(0.1)
    wrong: dict[str, Any] = {"reduction": ["max", None, 1]}
    if name == "cross_entropy":
        options["label_smoothing"] = draw.of((0.0, 0.1, 1.0))
        wrong["label_smoothing"] = [-0.1, 1.1, np.nan]
    if name == "cross_entropy" and draw.yes():
        labels = draw.rng().dirichlet(np.ones(classes), (batch, *places)).astype(draw.dtype)
        labels = np.ascontiguousarray(np.moveaxis(labels, -1, 1))
        wrong |= {"labels": [*other_ranks(labels), labels.astype("f2"), labels.astype("c8")]}
    else:
        labels = draw.rng().integers(0, classes, (batch, *places))
        wrong |= {
            "labels": [labels + classes, labels - classes, labels.astype(bool), labels[None], labels.astype("U3")]
        }
        if draw.yes():
            options["ignore_index"] = draw.of((0, 1, -100))
            wrong |= {"ignore_index": [1.5, "1"], "labels": wrong["labels"][2:]}
    if "weight" in options:
        wrong["weight"] = other_shapes(options["weight"])
    return scores, labels, options, wrong


def loss(name: str) -> Callable[[Draw], list[Case]]:
    def cases(draw: Draw) -> list[Case]:
        scores, labels, options, wrong = labelled(draw, name)
        argument = "logits" if name == "cross_entropy" else "log_probabilities"
        wrong |= {argument: [np.zeros(len(scores), draw.dtype), scores[:, :0]]}
        canonical = {key: value for key, value in options.items() if key not in ("reduction", "weight")}
        reduction, divided = options["reduction"], draw.of((1.0, 0.5, -3.0))

        def each(scores: Any, weight: Any, labels: Any) -> tuple[Any, Any]:
            return ref.losses(name, scores, labels, reduction, weight=weight, **canonical)

        def arrays(call: Call, given: Sequence[Any]) -> list[Any]:
            scores, weight, probabilities = in_places(call, (argument, "weight", "labels"), given)
            return [scores, weight, labels if probabilities is None else probabilities]

        call = Call(name, {argument: scores, "labels": labels, **options})
        back = Call(f"{name}_backward", {**call.arguments, "grad_output": divided})
        weight = magnitude(options.get("weight", 1.0))
        largest = (1 + magnitude(scores)) * scores.size * max(1.0, weight)
        return [
            Case(call, lambda *given: each(*arrays(call, given))[0], wrong, scale=largest),
            Case(back, lambda *given: divided * each(*arrays(back, given))[1], wrong, scale=max(1.0, weight)),
        ]

    return cases


def squared_error(draw: Draw) -> list[Case]:
    shape = draw.data.draw(st.lists(st.integers(0, 4), max_size=4).map(tuple))
    a, b, factor = draw.array(*shape, strange=NOT_FINITE), draw.array(*shape), draw.of((1.0, -0.5))
    wrong = {"target": other_shapes(b)}

    def difference(a: Any, b: Any) -> Any:
        return np.asarray(a, np.float64) - np.asarray(b, np.float64)

    def backward(a: Any, b: Any) -> Any:
        grad = 2 * factor * difference(a, b) / max(a.size, 1)
        return grad, -grad

    pair = {"prediction": a, "target": b}
    back = Call("mse_loss_backward", pair | {"grad_output": factor})
    return [
        Case(Call("mse_loss", pair), lambda a, b: (difference(a, b) ** 2).sum() / np.float64(a.size), wrong,
             scale=(magnitude(a) + magnitude(b)) ** 2),
        Case(back, backward, wrong, scale=magnitude(a) + magnitude(b)),
    ]  # fmt: skip


# All of them ----------------------------------------------------------------------------------------

ACTIVATIONS = (
    "relu", "tanh", "sigmoid", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "hardsigmoid", "hardswish",
    "hardtanh",
)  # fmt: skip

FAMILIES: dict[str, Callable[[Draw], list[Case]]] = {
    **{f"conv{rank}d": convolution(rank) for rank in (1, 2, 3)},
    **{f"conv_transpose{rank}d": transposed_convolution(rank) for rank in (1, 2, 3)},
    "im2col": columns,
    "convolution_matrix": matrix,
    **{f"{name}{rank}d": signals(rank, name) for name in ("correlate", "convolve") for rank in (1, 2)},
    **{f"max_pool{rank}d": max_pooling(rank) for rank in (1, 2, 3)},
    **{f"avg_pool{rank}d": avg_pooling(rank) for rank in (1, 2, 3)},
    **{f"adaptive_{kind}_pool{rank}d": adaptive_pooling(kind, rank) for kind in ("avg", "max") for rank in (1, 2, 3)},
    **{f"global_{kind}_pool": global_pooling(kind) for kind in ("avg", "max")},
    **{f"max_unpool{rank}d": unpooling(rank) for rank in (1, 2, 3)},
    "pad": padding,
    "interpolate": resizing,
    "pixel_shuffle": shuffling,
    "reshape": reshaping,
    "concat": joining,
    "linear": dense,
    "matmul": product,
    **{name: arithmetic(name) for name in ("add", "subtract", "multiply")},
    **{name: totals(name) for name in ("sum", "mean")},
    **{name: activation(name) for name in ACTIVATIONS},
    "prelu": parametric,
    **{name: softmax(name) for name in ("softmax", "log_softmax")},
    **{name: dropping(name) for name in ("dropout", "dropout2d")},
    "batch_norm": batch_norm,
    "group_norm": group_norm,
    "layer_norm": layer_norm,
    "local_response_norm": response_norm,
    **{name: loss(name) for name in ("cross_entropy", "nll_loss")},
    "mse_loss": squared_error,
}
