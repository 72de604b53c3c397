"""Draw small networks that use the batch in unusual ways, and compare what plans make of them with plainer means.

A plan rewrites its graph, puts images in lanes, lets arrays take each other's place and gives each thread images of its
own, all by what it knows of the batch's axis. So programs regroup, turn, join, cut and sum images between layers that
treat them one by one. Inference must agree with the same functions called on arrays, and every plan with its graph as
it was recorded, run node by node; more threads must give the bits of one; and in a stretch, where threads do not wait
for each other, none may write what another one touches. Before each run a plan's memory is filled with NaN.

`test_fuzz_graphs.py` examines some programs, each of which follows from seed and number; for longer,

    python tests/fuzz_graphs.py --seconds 60 --seed 1

which prints what is wrong with which program; `--only NUMBER` examines that one again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar
from unittest import mock

import numpy as np

import convkit as ck
from convkit import functional as F
from convkit import nn, optim
from convkit.graph.plan import Plan
from convkit.graph.stretches import find_stretches
from convkit.graph.symbols import Graph, Node, Symbol
from convkit.graph.trace import scaled
from convkit.ops import array as moves
from convkit.ops.lanes import fills_lanes, lanes_of
from convkit.ops.shape import Pad, Reshape, Slice

THREADS = (1, 2, 2, 3, 2)  # of one run after the other
STEPS = (2, 4, 6, 12)  # tried behind a convolution
MOST_VALUES, LARGEST = 30_000, 100.0  # of an array: their number, and the largest magnitude
TOLERANCE = {"float32": 1e-3, "float64": 1e-9}  # of the largest magnitude, which counts as a tenth at least
SHUFFLES = 2  # of a program's values, for which results must be wrong, too: near a tie, gradients depend on rounding

# Programs -----------------------------------------------------------------------------------------

TOOLS = {"F": F, "moves": moves, "Pad": Pad, "Slice": Slice}

# What may be done with x, with rows and with images. `like` has x's shape, `other` and `groups` may have others; `odd`,
# `dense` and `mixing` are parameters. What does not suit the values that there are is refused when it is tried.
ANYWHERE = [
    *["moves.transpose({x}, {order})"] * 3, "F.relu({x})", "F.tanh({x})", "F.sigmoid({x})", "F.gelu({x})",
    "F.relu_backward({like}, {x})", "F.add({x}, 0.5)", "F.multiply(-2.0, {x})", "F.add({x}, {like})",
    "F.multiply({other}, {x})", "F.subtract({x}, {other})", "F.add({odd}, {x})", "F.multiply({x}, {odd})", "F.sum({x})",
    "F.softmax({x}, 0)", "F.log_softmax({x}, 1)", "F.softmax_backward({like}, {x}, 1)", "Pad({before}, 0.5)({x})",
    "moves.reduce_sum({x}, (0,), True)", "moves.reduce_mean({x}, (1,), True)", "moves.reduce_mean({x}, (0,), False)",
    "moves.pick({x}, slice(None, None, -1))", "moves.pick({x}, slice(1, None, 2))", "F.mean({x})",
    "F.concat([{x}, {like}], 0)", "F.concat([{x}, {like}], 1)", "F.concat([{other}, {x}], 1)", "Slice(1, 0, 1)({x})",
    "Slice(0, 0, {half})({x})", "Slice(0, {half}, {half})({x})", "F.dropout({x}, 0.3) if training else {x}",
]  # fmt: skip
ROWS = [
    *["F.linear({x}, {dense})"] * 8, *["F.matmul({mixing}, {x})"] * 3, "F.layer_norm({x}, {x}.shape[1])",
    "F.matmul(F.multiply({x}, 0.1), moves.transpose({x}, (1, 0)))", "F.linear_backward({like}, {x}, {dense})",
]  # fmt: skip
IMAGES = [
    *["F.max_pool{rank}d({x}, 2)", "F.avg_pool{rank}d({x}, 3, 1, 1)", "F.max_pool{rank}d({x}, 3, 2, 1)"],
    *["F.max_pool{rank}d({x}, {windows})", "F.avg_pool{rank}d({x}, {windows})"] * 2,
    "F.max_pool2d_backward(F.max_pool2d({x}, 2), {x}, 2)", "F.avg_pool2d_backward({x}, {x}.shape, 1)",
    "F.local_response_norm({x}, 3, 0.5)", "F.local_response_norm_backward({like}, {x}, 3, 0.5)", "F.group_norm({x}, 1)",
    "F.global_avg_pool({x})", "F.adaptive_max_pool2d({x}, 2)", "F.interpolate({x}, scale_factor=2)",
    "F.pixel_unshuffle({x}, 2)", "F.pad({x}, 1)", "F.pad({x}, 1, mode='reflect')",
]  # fmt: skip


@dataclass(frozen=True)
class Program:
    """Assignments in Python, the arrays that they begin with by name, and the names of what they return.

    Parameters are called p0, p1, ..., buffers b0, b1, ..., in one count.
    """

    inputs: dict[str, np.ndarray]
    owned: dict[str, np.ndarray]
    lines: list[str]
    outputs: list[str]
    winograd: bool = True

    def run(self, given: dict[str, Any]) -> tuple[Any, ...]:
        values = {**TOOLS, "training": ck.is_training(), **given}
        exec("\n".join(self.lines), values)
        return tuple(values[name] for name in self.outputs)

    def __str__(self) -> str:
        arrays = [f"{name}: {array.dtype} {array.shape}" for name, array in {**self.inputs, **self.owned}.items()]
        return "\n    ".join([f"winograd={self.winograd}", *arrays, *self.lines, f"return {', '.join(self.outputs)}"])


class Draw:
    """A program as it grows: each step is tried on arrays, and stays if its functions take them."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.dtype = np.dtype(self.one_of(("float32", "float64")))
        self.lanes = lanes_of(self.dtype)
        ragged = [n for n in range(self.lanes, 101) if n % self.lanes and fills_lanes(n, self.dtype)]
        self.images = self.one_of(ragged if self.often(0.8) else range(1, 101))
        self.blocks = -(-self.images // self.lanes)
        sizes = self.one_of((1, 2, 3, 4, self.blocks)), self.one_of((3, 4, 5, 8)), self.one_of((3, 4, 6, 8))
        shapes = [(self.images, *sizes), (1, *sizes), (self.images, 1, 1, 1), (self.blocks, 6)]
        self.inputs: dict[str, np.ndarray] = {}
        for shape in shapes[:1] if self.often(0.7) else (shapes[0], self.one_of(shapes)):
            values, pixels = rng.standard_normal(shape).astype(self.dtype), rng.integers(0, 256, shape, "u1")
            self.inputs[f"x{len(self.inputs)}"] = self.one_of((values, values[::-1], np.asfortranarray(values), pixels))
        self.owned: dict[str, np.ndarray] = {}
        self.values = {name: scaled(array, self.dtype) for name, array in self.inputs.items()}  # of all names
        self.lines: list[str] = []

    def program(self) -> Program:
        while not self.lines:
            self.convolution("x0")
        for _ in range(self.one_of(STEPS)):
            x = self.computed()[-1] if self.often(0.7) else self.one_of(self.computed())
            layers = {2: [self.batch_norm], **dict.fromkeys((3, 4, 5), (self.convolution, self.batch_norm))}
            self.one_of((*[self.plain] * 3, *layers.get(self.values[x].ndim, ())))(x)
        outputs = [self.computed()[-1], *(self.one_of(self.computed()) for _ in range(self.one_of((0, 1, 2))))]
        owned = {name: array for name, array in self.owned.items() if name in " ".join(self.lines)}
        return Program(self.inputs, owned, self.lines, outputs, winograd=self.often(0.7))

    def one_of(self, choices: Sequence[Any]) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def by_axis(self, rank: int, choices: Sequence[int]) -> tuple[int, ...]:
        """The same for all axes, or for each its own."""
        same = self.one_of(choices)
        return (same,) * rank if self.often(0.5) else tuple(self.one_of(choices) for _ in range(rank))

    def often(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def computed(self, *shape: int) -> list[str]:
        """Inputs and results, or those of a shape."""
        return [name for name, array in self.values.items() if name[0] in "xv" and (not shape or array.shape == shape)]

    def own(self, kind: str, values: np.ndarray) -> str:
        name, array = f"{kind}{len(self.owned)}", values.astype(self.dtype)
        self.owned[name], self.values[name] = array, array.copy()
        return name

    def parameter(self, *shape: int) -> str:
        """A parameter of this shape, at times one that is there already."""
        there = [name for name, array in self.owned.items() if name[0] == "p" and array.shape == shape]
        values = self.rng.standard_normal(shape) / max(1, prod(shape[1:])) ** 0.5
        return self.one_of(there) if there and self.often(0.3) else self.own("p", values)

    def compute(self, expression: str) -> str | None:
        """Add a step, unless a function refuses its arguments or makes values that are too many or too large."""
        try:
            result = eval(expression, {**TOOLS, "training": False, **self.values})
        except (IndexError, ValueError):
            return None
        if isinstance(result, tuple):
            number = self.rng.integers(len(result))
            expression, result = f"{expression}[{number}]", result[number]
        if not 0 < result.size <= MOST_VALUES or not np.abs(result).max() <= LARGEST:
            return None
        name = f"v{len(self.lines)}"
        self.lines.append(f"{name} = {expression}")
        self.values[name] = result
        return name

    def plain(self, x: str) -> None:
        """One of the steps that are listed above, and maybe another one behind it."""
        shape = self.values[x].shape
        steps = ANYWHERE + 2 * {2: ROWS, 3: IMAGES, 4: IMAGES, 5: IMAGES}.get(len(shape), [])
        outs, middle = self.one_of((1, 5, 16, self.images, self.blocks)), self.one_of(((), (1,), (2,), (4,), (3, 2)))
        groups = [(self.blocks, *middle, -1, self.lanes)] * 6 + [(self.blocks, -1), (self.images, -1)] * 2
        groups += [(self.images, *middle, -1), (2, *middle, -1)]
        words = {
            "like": self.one_of(self.computed(*shape)),
            "other": self.one_of(self.computed()),
            "odd": self.parameter(*(n if self.often(0.5) else 1 for n in shape)),
            "dense": self.parameter(outs, *shape[1:2]),
            "mixing": self.parameter(outs, *shape[:1]),
            "half": (*shape, 1)[0] // 2,
            "before": tuple((i == 0, 0) for i in range(len(shape))),
            "order": self.rng.permutation(len(shape)).tolist(),
            "groups": self.one_of(groups),
            "windows": self.windows(len(shape) - 2),
        }
        step = "F.reshape({x}, {groups})" if self.often(0.4) else self.one_of(steps)
        y = self.compute(step.format(x=x, rank=len(shape) - 2, **words))
        if y and self.often(0.5):
            self.plain(y)

    def windows(self, rank: int) -> str:
        """Sizes, strides and paddings of pooling, of each axis its own."""
        sizes = self.by_axis(rank, (1, 2, 2, 3))
        padding = self.one_of(((0,) * rank, tuple(size // 2 for size in sizes)))
        return f"{sizes}, {self.by_axis(rank, (1, 1, 2, 3))}, {padding}, ceil_mode={self.often(0.3)}"

    def convolution(self, x: str) -> None:
        """One, transposed at times; then maybe what may become part of it, or its gradient."""
        _, channels, *size = self.values[x].shape
        kernel, groups = self.by_axis(len(size), (1, 2, 3, 3, 5)), self.one_of((1, 1, 1, channels))
        outs, name = groups * self.one_of((1, 2, 4, 8, 32)), self.one_of(("conv", "conv", "conv", "conv_transpose"))
        filters = (outs, channels // groups) if name == "conv" else (channels, outs // groups)
        weight, bias = self.parameter(*filters, *kernel), self.one_of((None, self.parameter(outs)))
        padding = self.one_of(((0,) * len(size), tuple(k // 2 for k in kernel)))
        settings = f"stride={self.by_axis(len(size), (1, 1, 2))}, padding={padding}, groups={groups}"
        settings += f", dilation={self.by_axis(len(size), (1, 1, 2))}"
        y = self.compute(f"F.{name}{len(size)}d({x}, {weight}, {bias}, {settings})")
        if y and self.often(0.2):
            self.compute(f"F.{name}{len(size)}d_backward(F.multiply({y}, 0.1), {x}, {weight}, {settings})")
        elif y and self.often(0.5):
            self.one_of((self.batch_norm, self.plain))(y)

    def batch_norm(self, x: str) -> None:
        """With γ that was made after x at times, and often with a rectifier behind it."""
        channels, size = self.values[x].shape[1], self.values[x].size
        weight, bias = (self.one_of((None, self.parameter(channels))) for _ in range(2))
        if weight and self.often(0.5):
            weight = self.compute(f"F.add({weight}, 1.0)")
        moments = ", ".join(self.own("b", self.rng.uniform(low, 1, channels)) for low in (-1, 0.5))
        training = self.one_of(("training", "training", True, False)) if size >= 4 * channels else False
        y = self.compute(f"F.batch_norm({x}, {moments}, {weight}, {bias}, {training})")
        if y and self.often(0.2):
            self.compute(f"F.batch_norm_backward(F.tanh({y}), {x}, {moments}, {weight}, {training})")
        elif y and self.often(0.5):
            self.compute(f"F.relu({y})")


# Running them -------------------------------------------------------------------------------------


class WatchedPlan(Plan):
    """A plan that keeps its graph as it was recorded and what it made last, and whose memory is spoilt before a run."""

    latest: ClassVar[WatchedPlan]

    def __init__(self, graph: Graph, outputs: Sequence[Symbol], stored: Any = (), several: bool = False) -> None:
        self.recorded = [Node(node.op, list(node.inputs), list(node.outputs)) for node in graph.nodes]
        self.leaves, self.updated, self.targets = graph.inputs, [*graph.updates], [target for _, target in stored]
        self.wanted = [*outputs, *(symbol for symbol, _ in stored), *graph.updates.values()]
        sources = {symbol: symbol.source for symbol in self._recorded_leaves()}
        super().__init__(graph, outputs, stored, several)
        for symbol, source in sources.items():  # a plan lets go of them
            symbol.source = source
        found = find_stretches(self._nodes, 0, self._cut)
        self.stretches = [[self._nodes[i] for i in stretch] for stretch in found if len(stretch) > 1]

    def _recorded_leaves(self) -> Iterator[Symbol]:
        used = [*(symbol for node in self.recorded for symbol in node.inputs), *self.wanted]
        return (symbol for symbol in used if symbol is not None and symbol.node is None)

    def run(self, inputs: Sequence[np.ndarray], seed: int = 0, step: int = 0) -> list[np.ndarray]:
        WatchedPlan.latest, self.inputs = self, [np.array(array, order="C") for array in inputs]
        self._prepared_for = -1
        self._arena.fill(255)  # the bytes of NaN
        for target in self.targets:
            target.fill(np.nan)
        outputs = super().run(inputs, seed=5, step=1)  # so that dropout draws the same each time
        self.made = [np.array(array) for array in (*outputs, *self.targets, *(buffer.data for buffer in self.updated))]
        return outputs

    def interpreted(self) -> list[np.ndarray]:
        """What the recorded graph makes of the last inputs, node by node."""
        values: dict[Any, Any] = {None: None, **dict(zip(self.leaves, self.inputs, strict=True))}

        def value(symbol: Any) -> Any:
            return values[symbol] if symbol in values else self._leaf(symbol)

        for node in self.recorded:
            values.update(zip(node.outputs, node.op.evaluate([*map(value, node.inputs)]), strict=True))
        return [np.array(value(symbol)) for symbol in self.wanted]

    def conflicts(self) -> Iterator[str]:
        """Where a share writes what another share reads or writes in the same stretch, at whatever node."""
        for nodes in self.stretches:
            kernels = [(node, share) for share in range(self._cut.shares if self._cut else 0) for node in nodes]
            touched = [(node.op, share, *place) for node, share in kernels for place in self._touched(node, share)]
            share, writes, start, stop = np.array([place[1:] for place in touched]).T[:, :, None]
            for one, other in np.argwhere((share != share.T) & writes & (start < stop.T) & (stop > start.T))[:1]:
                yield f"{touched[one][:2]} writes what {touched[other][:2]} touches"

    def _touched(self, node: Node, share: int) -> Iterator[tuple[bool, int, int]]:
        """Where a share of a node writes, or else reads: from address to address."""
        mine = node.op.by_image(*node.inputs)
        given = [(i in mine, self._array(symbol)) for i, symbol in enumerate(node.inputs) if symbol is not None]
        arrays = [(False, self._part(array, share) if cut else array) for cut, array in given]
        arrays += [(True, self._part(self._output(node, i), share)) for i in range(len(node.outputs))]
        for writes, array in arrays if not isinstance(node.op, Reshape) else ():
            if array is not None:
                yield writes, array.ctypes.data, array.ctypes.data + array.nbytes


class Model(nn.Module):
    def __init__(self, program: Program) -> None:
        self.program = program
        for name, array in program.owned.items():
            setattr(self, name, nn.Parameter(array) if name[0] == "p" else nn.Buffer(array))

    def forward(self, *inputs: Any) -> Any:
        named = dict(zip(self.program.inputs, inputs, strict=True))
        return self.program.run({**named, **self.parameters(), **self.buffers()})

    def ways(self) -> dict[str, Callable[[], Any]]:
        """Calls, each of which makes plans of its own."""
        inputs = tuple(self.program.inputs.values())
        gradients, slopes = ck.value_and_grad(self, loss, inputs=True), ck.value_and_grad(self, loss, training=False)
        step = ck.compile_step(self, loss, optim.SGD(lr=0.01), outputs=True)
        return {
            "inference": lambda: self(*inputs),
            "training": lambda: self(*inputs, training=True),
            "gradients": lambda: gradients(inputs),
            "gradients in inference": lambda: slopes(inputs),
            "step": lambda: step(inputs),
        }


def loss(outputs: Sequence[Any]) -> Any:
    return sum((F.mean(F.multiply(output, output)) for output in outputs), 0.0)


def defects(program: Program, counts: Counter[str]) -> Iterator[tuple[bool, str]]:
    """What is wrong with the plans of a program, and whether that is certain, not a matter of rounding."""
    model = Model(program)
    state = model.state_dict()
    for way, call in model.ways().items():
        plans: list[WatchedPlan] = []
        for threads in THREADS:
            ck.set_num_threads(threads)
            model.load_state_dict(state)
            try:
                call()
            except NotImplementedError:  # of a gradient no gradient may be known
                break
            except Exception as error:  # on arrays, the functions raised none
                yield True, f"{way}: {error!r}"
                break
            if WatchedPlan.latest not in plans:
                plans.append(WatchedPlan.latest)
                counts.update(plans=1, stretches=len(plans[-1].stretches))
                yield from ((True, f"{way}, {threads} threads: {conflict}") for conflict in plans[-1].conflicts())
            if [array.tobytes() for array in WatchedPlan.latest.made] != [array.tobytes() for array in plans[0].made]:
                yield True, f"{way}: {threads} threads make other bits than one"
        model.load_state_dict(state)
        wanted = {"the recorded graph": plans[0].interpreted()} if plans else {}
        if way == "inference" and plans:
            given = {name: scaled(array.copy(), model.dtype) for name, array in {**program.inputs, **state}.items()}
            wanted["the functions"] = list(program.run(given))
        for name, others in wanted.items():
            off = max(distance(one, other) for one, other in zip(plans[0].made, others, strict=False))
            if off > TOLERANCE[model.dtype.name]:
                yield False, f"{way}: off {name} by {off:.2g}"


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """How far values are off, measured by the largest; infinity where one is no number."""
    if one.shape != other.shape or not np.isfinite(one).all():
        return np.inf
    return float(np.abs(one - other).max(initial=0) / max(0.1, np.abs(other).max(initial=0)))


def shuffled(arrays: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {name: rng.permutation(array.ravel()).reshape(array.shape) for name, array in arrays.items()}


def examine(program: Program, rng: np.random.Generator, counts: Counter[str]) -> list[str]:
    """What is wrong with a program for certain, or also when its arrays have their values in another order."""
    threads, winograd = ck.get_num_threads(), ck.get_winograd()
    ck.set_winograd(program.winograd)
    try:
        with mock.patch("convkit.graph.step.Plan", WatchedPlan), mock.patch("convkit.nn.module.Plan", WatchedPlan):
            found = list(defects(program, counts))
            for _ in range(SHUFFLES if found and not any(certain for certain, _ in found) else 0):
                other = replace(program, inputs=shuffled(program.inputs, rng), owned=shuffled(program.owned, rng))
                found = found if list(defects(other, Counter())) else []
    finally:
        ck.set_num_threads(threads)
        ck.set_winograd(winograd)
    counts.update(programs=1, defects=bool(found))
    return [what for _, what in found]


def run(seed: int, *, programs: int = 10**9, seconds: float = 1e9, only: int | None = None) -> Counter[str]:
    """Examine programs, or only one of them, print what is wrong, and count."""
    counts: Counter[str] = Counter(programs=0, plans=0, stretches=0, defects=0)
    began = time.perf_counter()
    for number in range(programs) if only is None else [only]:
        if time.perf_counter() - began > seconds:
            break
        rng = np.random.default_rng([seed, number])
        program = Draw(rng).program()
        if found := examine(program, rng, counts):
            print(f"--seed {seed} --only {number}: {program}", *found[:5], sep="\n    ", flush=True)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare what plans make of random programs with plainer means.")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="NUMBER", help="examine this program only")
    counts = run(**vars(parser.parse_args()))
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return int(counts["defects"] > 0)


if __name__ == "__main__":
    sys.exit(main())
