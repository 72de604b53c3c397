"""A plan: a graph made ready to run, every array placed and every kernel bound.

Running it is copying the inputs to their places, unless kernels read them as they are given, and walking a list of
bound kernels; nothing is allocated but the results, which belong to the caller.
"""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convkit._kernels.core import Input, Kernel, Program, PythonKernel, Reader, Series, SideBySide, known_threads
from convkit.graph.fold import fold
from convkit.graph.lanes import use_lanes
from convkit.graph.memory import aligned_empty, assign_blocks, lay_out
from convkit.graph.rewrite import fuse
from convkit.graph.stretches import find_cut, find_stretches, put_together
from convkit.graph.symbols import Graph, Node, RandomState, Symbol
from convkit.ops.base import Spec
from convkit.ops.shape import Reshape
from convkit.parameter import Buffer, Parameter, structure

if TYPE_CHECKING:
    from convkit.nn.module import Module


class Plan:
    """The given outputs of a graph, ready to be computed.

    Parameters
    ----------
    graph : Graph
        Used up: its symbols have no sources afterwards.
    outputs : symbols whose values `run` returns
    stored : (symbol, array) pairs
        Values computed straight into arrays of the caller's, such as gradients.
    several : whether the traced function returned a tuple

    Attributes
    ----------
    program : Program
        The kernels that `run` walks through, with the arrays it fills before and reads after.
    """

    def __init__(
        self,
        graph: Graph,
        outputs: Sequence[Symbol],
        stored: Sequence[tuple[Symbol, np.ndarray]] = (),
        several: bool = False,
    ) -> None:
        self.several = several
        wanted = [*outputs, *(symbol for symbol, _ in stored), *graph.updates.values()]
        graph.keep_only(wanted)
        fold(graph, wanted)
        fuse(graph, wanted)
        use_lanes(graph, wanted)
        constant = _constant_nodes(graph)
        graph.nodes.sort(key=lambda node: node not in constant)
        # The first place asked for is written by the kernel itself, further ones are copies.
        direct = {symbol: target for symbol, target in reversed(stored) if _is_written(symbol)}
        kept = [symbol for node in constant for symbol in node.outputs]
        self._cut = find_cut(graph, known_threads())
        graph.nodes[len(constant) :] = put_together(graph.nodes[len(constant) :], self._cut)
        stretches = find_stretches(graph.nodes, len(constant), self._cut)
        self._blocks = assign_blocks(graph, [*wanted, *kept], direct, stretches)
        for block in {self._blocks[symbol] for symbol in kept if symbol in self._blocks}:
            block.birth = -1  # it lasts from one run to the next, while inputs are copied
        self._arena = aligned_empty(lay_out(self._blocks.values()))
        self._arrays: dict[Symbol, np.ndarray] = dict(direct)
        self._random_states: dict[Symbol, np.ndarray] = {}
        self._nodes = graph.nodes[len(constant) :]
        self._readers: dict[Symbol | None, list[Reader]] = {
            symbol: [] for symbol in graph.inputs if symbol not in wanted and _is_read_as_given(symbol, graph)
        }
        targets = [(symbol, target) for symbol, target in stored if direct.get(symbol) is not target]
        targets += [(symbol, buffer.data) for buffer, symbol in graph.updates.items()]
        self._preparation = self._series(graph.nodes[: len(constant)])
        kernels = [self._stretch([graph.nodes[number] for number in stretch]) for stretch in stretches]
        kernels += [self._keep_old(symbol) for symbol in dict.fromkeys(wanted) if _shows_updated(symbol, graph)]
        kernels += [PythonKernel(_copying(self._array(symbol), target)) for symbol, target in targets]
        self._prepared_for = -1  # the count of writes that the preparation has seen
        self._updates_buffers = bool(graph.updates)
        inputs = [Input(self._array(symbol), self._readers.pop(symbol, ())) for symbol in graph.inputs]
        self.program = Program(kernels, inputs, [self._array(symbol) for symbol in outputs])
        self.lock = threading.Lock()
        graph.let_go()

    def run(self, inputs: Sequence[np.ndarray], seed: int = 0, step: int = 0) -> list[np.ndarray]:
        """Compute the outputs, fresh arrays, for these inputs; `seed` and `step` decide what noise is drawn."""
        for state in self._random_states.values():
            state[:2] = seed, step
        if self._prepared_for != structure.writes:
            self._prepare()
        try:
            return self.program.run(inputs)
        finally:
            if self._updates_buffers:
                structure.count_write()

    def _prepare(self) -> None:
        """Compute what depends on parameters, buffers and constants alone; if that is broken off, again next time."""
        writes, self._prepared_for = structure.writes, -1
        self._preparation.run()
        self._prepared_for = writes

    @property
    def bound(self) -> list[tuple[Node, Kernel]]:
        """What a run computes, node by node: for those who want to time the kernels by themselves."""
        return [(node, self._bind(node)) for node in self._nodes if not isinstance(node.op, Reshape)]

    def _stretch(self, nodes: Sequence[Node]) -> Kernel:
        """One node, or several of which each thread runs its share."""
        if len(nodes) == 1 or self._cut is None:
            return self._series(nodes)
        return SideBySide(self._series(nodes, share) for share in range(self._cut.shares))

    def _series(self, nodes: Sequence[Node], share: int | None = None) -> Series:
        return Series(self._bind(node, share) for node in nodes if not isinstance(node.op, Reshape))

    def _bind(self, node: Node, share: int | None = None) -> Kernel:
        inputs = [None if symbol is None else self._array(symbol) for symbol in node.inputs]
        outputs = [self._output(node, position) for position in range(len(node.outputs))]
        if share is not None:
            for i in node.op.by_image(*node.inputs):
                inputs[i] = self._part(inputs[i], share)
            outputs = [self._part(output, share) for output in outputs]
        kernel = node.op.bind(inputs, outputs)
        if isinstance(kernel, Reader) and node.inputs[0] in self._readers:
            self._readers[node.inputs[0]].append(kernel)
        return kernel

    def _part(self, array: np.ndarray | None, share: int) -> np.ndarray | None:
        assert self._cut is not None
        return None if array is None else array[self._cut.part(len(array), share)]

    def _output(self, node: Node, position: int) -> np.ndarray | None:
        symbol = node.outputs[position]
        unused = position in node.op.optional and symbol not in self._blocks and symbol not in self._arrays
        return None if unused else self._array(symbol)

    def _keep_old(self, symbol: Symbol) -> Kernel:
        """Copy what a symbol shows of a buffer to memory of its own, where it is found from now on."""
        shown = self._array(symbol)
        self._arrays[symbol] = np.empty_like(shown)
        return PythonKernel(_copying(shown, self._arrays[symbol]))

    def _array(self, symbol: Symbol) -> np.ndarray:
        if symbol not in self._arrays:
            self._arrays[symbol] = self._place(symbol)
        return self._arrays[symbol]

    def _place(self, symbol: Symbol) -> np.ndarray:
        if symbol in self._blocks:
            start = self._blocks[symbol].offset
            return self._arena[start : start + symbol.nbytes].view(symbol.dtype).reshape(symbol.shape)
        if symbol.node is not None and isinstance(symbol.node.op, Reshape) and symbol.node.inputs[0] is not None:
            return self._array(symbol.node.inputs[0]).reshape(symbol.shape)
        return self._leaf(symbol)

    def _leaf(self, symbol: Symbol) -> np.ndarray:
        source = symbol.source
        if isinstance(source, (Parameter, Buffer)):
            return source.data
        if isinstance(source, RandomState):
            return self._random_states.setdefault(symbol, np.array([0, 0, source.place], np.int64))
        assert isinstance(source, np.ndarray), f"no memory for {symbol}"
        return source


def _constant_nodes(graph: Graph) -> set[Node]:
    """The nodes whose results depend on parameters, buffers and constants alone: inference computes them once."""
    if graph.training:
        return set()
    varying: set[Symbol | None] = set(graph.inputs)
    constant = set()
    for node in graph.nodes:
        drawn = any(symbol is not None and isinstance(symbol.source, RandomState) for symbol in node.inputs)
        if drawn or varying.intersection(node.inputs):
            varying.update(node.outputs)
        else:
            constant.add(node)
    return constant


def _is_written(symbol: Symbol) -> bool:
    """Whether a kernel writes this symbol: a leaf or a view of something else cannot be placed elsewhere."""
    return symbol.node is not None and not isinstance(symbol.node.op, Reshape)


def _is_read_as_given(symbol: Symbol, graph: Graph) -> bool:
    """Whether all who read an input can read it wherever it lies."""
    return all(node.op.reads_as_given for node in graph.nodes if symbol in node.inputs)


def _shows_updated(symbol: Symbol, graph: Graph) -> bool:
    """Whether a symbol is the old values, in a buffer's own memory, of one that the graph updates."""
    while symbol.node is not None and isinstance(symbol.node.op, Reshape) and symbol.node.inputs[0] is not None:
        symbol = symbol.node.inputs[0]
    return isinstance(symbol.source, Buffer) and symbol.source in graph.updates


def _copying(source: np.ndarray, target: np.ndarray) -> Callable[[], None]:
    return lambda: np.copyto(target, source)


class _Own(threading.local):
    """What a thread ran last: the generation of plans, the key, the plan."""

    last: tuple[int, Hashable, Any] = (-1, None, None)


class PlanCache:
    """The plans made most recently for a model, by key; all dropped when the model or a parameter's place changes.

    A plan works in an arena of its own, so one thread at a time runs it: another thread that wants the same plan
    meanwhile gets a second one.

    Attributes
    ----------
    calls : iterator
        The next call's number, by which a model draws its noise.
    """

    def __init__(self, model: Module, limit: int = 8) -> None:
        self.calls = itertools.count()
        self._model = weakref.ref(model)
        self._limit = limit
        self._plans: OrderedDict[Hashable, list[Plan]] = OrderedDict()
        self._own = _Own()
        self._generation = 0
        self._seen = 0
        self._look_at_model()
        self.renew_lock()
        _caches.add(self)

    def run(
        self, key: Hashable, make: Callable[[], Plan], inputs: Sequence[np.ndarray], seed: int = 0, step: int = 0
    ) -> tuple[Plan, list[np.ndarray]]:
        """Run the plan for `key` and the threads that there are, made if need be; return it with its outputs."""
        plan = self._acquire((key, known_threads()), make)
        try:
            return plan, plan.run(inputs, seed, step)
        finally:
            plan.lock.release()

    def renew_lock(self) -> None:
        """Take a lock that nobody holds: in a forked child, those who held the old one do not exist."""
        self._lock = threading.RLock()  # tracing a forward may ask for another plan of the same model

    def is_current(self) -> bool:
        """Whether nothing has changed that plans made earlier depend on."""
        changes = structure.changes
        if changes != self._seen:
            if self._changes != [counter[0] for counter in self._counters]:
                return False
            self._seen = changes  # it was another model that changed
        return self._version == structure.version

    def _look_at_model(self) -> None:
        model = self._model()
        assert model is not None
        self._seen = structure.changes
        self._counters: list[list[int]] = [module.changes() for _, module in model.modules()]
        self._changes: list[int] = [counter[0] for counter in self._counters]
        self._version: int = structure.version

    def _acquire(self, key: Hashable, make: Callable[[], Plan]) -> Plan:
        """A plan that nobody else runs; most often it is the one that this thread ran last."""
        # In this order: a thread that finds the model changed begins a generation before it takes note of the change.
        if self.is_current():
            generation, last_key, plan = self._own.last
            if generation == self._generation and last_key == key and plan.lock.acquire(blocking=False):
                return plan
        with self._lock:
            plan = self._find(key)
            if plan is None:
                plan = make()
                plan.lock.acquire()
                self._plans.setdefault(key, []).append(plan)
            self._plans.move_to_end(key)
            self._own.last = self._generation, key, plan
            while len(self._plans) > self._limit:
                self._plans.popitem(last=False)
            return plan

    def _find(self, key: Hashable) -> Plan | None:
        """A plan made earlier that nobody runs; it is taken then."""
        if not self.is_current():
            self._plans.clear()
            self._generation += 1
            self._look_at_model()
        for plan in self._plans.get(key, ()):
            if plan.lock.acquire(blocking=False):
                return plan
        return None


_caches: weakref.WeakSet[PlanCache] = weakref.WeakSet()


def _renew_locks() -> None:
    for cache in _caches:
        cache.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def spec_of(values: np.ndarray) -> Spec:
    """The part of an input that a plan depends on."""
    return Spec(values.shape, values.dtype)
