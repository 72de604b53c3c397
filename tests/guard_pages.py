"""A pytest plugin that lays every array a kernel is given between pages that may not be touched.

Loaded by ``pytest -p guard_pages`` (see `test_guard_pages.py`), it changes two things of the library:

* An op called on arrays runs twice. First every array ends where a forbidden page begins, then every array begins
  where one ends, so that one value read or written beyond either end is a crash at that place. Inputs lie in memory
  that may not be written. Outputs are full of rubbish beforehand, of two kinds, and must come out with the same bits:
  so every value of an output is written, none is read before, and results do not depend on where arrays lie.
* A plan gives each block of its arena, and a model each parameter, memory of its own between such pages.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from convkit import parameter
from convkit.graph import plan, step
from convkit.ops.base import Primitive

PAGE = mmap.PAGESIZE
FORBIDDEN, READ, WRITE = 0, 1, 2

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


def empty(shape: Sequence[int], dtype: Any, at_end: bool = True) -> tuple[np.ndarray, Pages]:
    """An array that ends at a forbidden page, or begins behind one, and its pages; what it holds is zeros."""
    dtype = np.dtype(dtype)
    nbytes = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    pages = Pages(nbytes)
    address = pages.first + (pages.inside - nbytes if at_end else 0)
    holder = type("Memory", (), {})()
    holder.pages = pages
    holder.__array_interface__ = {"version": 3, "shape": tuple(shape), "typestr": dtype.str, "data": (address, False)}
    return np.asarray(holder), pages


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
    """`graph.memory.aligned_empty`: bytes that begin at a multiple of 64, and end close to a forbidden page."""
    guarded, _ = empty((-(-nbytes // 64) * 64,), np.uint8)
    return guarded[:nbytes]


def place(self: plan.Plan, symbol: Any) -> np.ndarray:
    """`Plan._place`, with pages of its own for each block instead of a part of the arena."""
    block = self._blocks.get(symbol)
    if block is None:
        return original_place(self, symbol)
    if not hasattr(block, "guarded"):
        block.guarded = rubbish((block.nbytes,), np.uint8, at_end=True)  # type: ignore[attr-defined]
    return block.guarded[: symbol.nbytes].view(symbol.dtype).reshape(symbol.shape)  # type: ignore[attr-defined]


def take_values(self: Any, values: Any) -> None:
    """`__init__` of parameters and buffers."""
    original_init(self, values)
    self._data = copy(self._data, True, READ | WRITE)


original_place, original_init = plan.Plan._place, parameter._Owned.__init__


def install(patch: pytest.MonkeyPatch) -> None:
    """Put all this in the library's place."""
    patch.setattr(Primitive, "evaluate", evaluate)
    patch.setattr(plan.Plan, "_place", place)
    patch.setattr(plan, "aligned_empty", aligned_empty)
    patch.setattr(step, "aligned_empty", aligned_empty)
    patch.setattr(parameter._Owned, "__init__", take_values)


@pytest.fixture(scope="session", autouse=True)
def guard() -> Iterator[None]:
    """Guard all tests of this process."""
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        yield
