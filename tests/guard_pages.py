"""A pytest plugin that lays every array a kernel is given between pages that may not be touched.

Loaded by ``pytest -p guard_pages`` (see `test_guard_pages.py`), it changes two things of the library:

* An op called on arrays runs twice. First every array ends where a forbidden page begins, then every array begins
  where one ends, so that one value read or written beyond either end is a crash at that place. Inputs lie in memory
  that may not be written. Outputs are full of rubbish beforehand, of two kinds, and must come out with the same bits:
  so every value of an output is written, none is read before, and results do not depend on where arrays lie.
* A plan gives each block of its arena, and a model each parameter, memory of its own between such pages, and reads its
  inputs, which may not be written, there. All of them end where a forbidden page begins or, if the environment says
  GUARDED_SIDE=begin, begin where one ends. Into the file of GUARDED_BITS goes what came of each test's plans, a hash of
  every result: it must be the same for either side.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import mmap
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from convkit import parameter
from convkit.graph import plan, step
from convkit.ops.base import Primitive

PAGE = mmap.PAGESIZE
FORBIDDEN, READ, WRITE = 0, 1, 2
AT_END = os.environ.get("GUARDED_SIDE", "end") == "end"

results: defaultdict[str, list[str]] = defaultdict(list)  # hashes of what plans computed, by test

libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class Pages:
    """Memory for `nbytes`, of whole pages, with a forbidden page before and behind; handed back with its last user."""

    def __init__(self, nbytes: int) -> None:
        self.inside = max(PAGE, -(-nbytes // PAGE) * PAGE)
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.start = libc.mmap(None, self.inside + 2 * PAGE, FORBIDDEN, flags, -1, 0)
        if self.start in (None, ctypes.c_void_p(-1).value):
            raise MemoryError(f"no {nbytes} bytes between forbidden pages")
        self.first = self.start + PAGE
        self.protect(READ | WRITE)

    def protect(self, allowed: int) -> None:
        if libc.mprotect(self.first, self.inside, allowed):
            raise MemoryError(f"no {self.inside} bytes to use between forbidden pages")

    def __del__(self) -> None:
        libc.munmap(self.start, self.inside + 2 * PAGE)


class Memory:
    """What NumPy takes for an array, which keeps its pages alive."""

    def __init__(self, pages: Pages, address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.pages = pages
        self.__array_interface__ = {"version": 3, "shape": shape, "typestr": dtype.str, "data": (address, False)}


def empty(shape: Sequence[int], dtype: Any, at_end: bool = True) -> tuple[np.ndarray, Pages]:
    """An array that ends at a forbidden page, or begins behind one, and its pages; what it holds is zeros."""
    dtype = np.dtype(dtype)
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    pages = Pages(nbytes)
    address = pages.first + (pages.inside - nbytes if at_end else 0)
    return np.asarray(Memory(pages, address, tuple(shape), dtype)), pages


def copy(array: np.ndarray, at_end: bool, allowed: int) -> np.ndarray:
    """A copy between forbidden pages, in memory that may be used as `allowed` says."""
    guarded, pages = empty(array.shape, array.dtype, at_end)
    guarded[...] = array
    pages.protect(allowed)
    return guarded


def rubbish(shape: Sequence[int], dtype: Any, at_end: bool) -> np.ndarray:
    """An output as it comes: NaN everywhere (integers: -1), or numbers such as memory may hold."""
    guarded, _ = empty(shape, dtype, at_end)
    guarded.reshape(-1).view(np.uint8).fill(0xFF if at_end else 0x41)
    return guarded


def evaluate(op: Primitive, arrays: Sequence[Any]) -> tuple[np.ndarray, ...]:
    """`Primitive.evaluate`, twice, between forbidden pages."""
    runs = []
    for at_end in (True, False):
        inputs = [None if array is None else copy(np.asarray(array), at_end, READ) for array in arrays]
        outputs = [rubbish(spec.shape, spec.dtype, at_end) for spec in op.infer(*inputs)]
        op.bind(inputs, outputs).run()
        runs.append(tuple(output.copy() for output in outputs))
    for position, (one, other) in enumerate(zip(*runs, strict=True)):
        same = one.reshape(-1).view(np.uint8) == other.reshape(-1).view(np.uint8)
        assert same.all(), (
            f"{op}: output {position} of shape {one.shape} depends on what was in its memory, or on where arrays lie, "
            f"at {np.unravel_index(int(np.argmin(same)) // one.itemsize, one.shape)}"
        )
    return runs[0]


def aligned_empty(nbytes: int) -> np.ndarray:
    """`graph.memory.aligned_empty`: bytes that begin at a multiple of 64, and end close to a forbidden page or begin
    behind one."""
    guarded, _ = empty((-(-nbytes // 64) * 64,), np.uint8, AT_END)
    return guarded[:nbytes]


def place(self: plan.Plan, symbol: Any) -> np.ndarray:
    """`Plan._place`, with pages of its own for each block instead of a part of the arena."""
    block = self._blocks.get(symbol)
    if block is None:
        return original_place(self, symbol)
    if not hasattr(block, "guarded"):
        block.guarded = rubbish((block.nbytes,), np.uint8, AT_END)  # type: ignore[attr-defined]
    return block.guarded[: symbol.nbytes].view(symbol.dtype).reshape(symbol.shape)  # type: ignore[attr-defined]


def make_plan(self: plan.Plan, graph: Any, outputs: Any, stored: Any = (), several: bool = False) -> None:
    """`Plan.__init__`, which remembers where results go beside those that `run` returns."""
    self.written = [target for _, target in stored]  # type: ignore[attr-defined]
    self.written += [buffer.data for buffer in graph.updates]  # type: ignore[attr-defined]
    original_plan(self, graph, outputs, stored, several)


def run(self: plan.Plan, inputs: Sequence[np.ndarray], seed: int = 0, step: int = 0) -> list[np.ndarray]:
    """`Plan.run`, with those inputs between forbidden pages that may be read where they lie."""
    simple = [array.flags.c_contiguous and array.flags.aligned for array in inputs]
    guarded = [copy(array, AT_END, READ) if yes else array for array, yes in zip(inputs, simple, strict=True)]
    outputs = original_run(self, guarded, seed, step)
    for array in (*outputs, *self.written):  # type: ignore[attr-defined]
        results[os.environ["PYTEST_CURRENT_TEST"]].append(hashlib.sha256(array.tobytes()).hexdigest())
    return outputs


def take_values(self: Any, values: Any) -> None:
    """`__init__` of parameters and buffers."""
    original_init(self, values)
    self._data = copy(self._data, AT_END, READ | WRITE)


original_place, original_plan, original_run = plan.Plan._place, plan.Plan.__init__, plan.Plan.run
original_init = parameter._Owned.__init__


def install(patch: pytest.MonkeyPatch) -> None:
    """Put all this in the library's place."""
    patch.setattr(Primitive, "evaluate", evaluate)
    patch.setattr(plan.Plan, "_place", place)
    patch.setattr(plan.Plan, "__init__", make_plan)
    patch.setattr(plan.Plan, "run", run)
    patch.setattr(plan, "aligned_empty", aligned_empty)
    patch.setattr(step, "aligned_empty", aligned_empty)
    patch.setattr(parameter._Owned, "__init__", take_values)


def pytest_sessionfinish() -> None:
    """Write what plans computed; in which order is of no account, since threads may run some side by side."""
    if "GUARDED_BITS" in os.environ:
        computed = {test: sorted(hashes) for test, hashes in results.items()}
        Path(os.environ["GUARDED_BITS"]).write_text(json.dumps(computed))


@pytest.fixture(scope="session", autouse=True)
def guard() -> Iterator[None]:
    """Guard all tests of this process."""
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        yield
