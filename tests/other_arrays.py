"""Arrays as other libraries hand them out: each offers one of the ways to NumPy, and nothing else."""

from __future__ import annotations

from typing import Any


class OnlyDLPack:
    """An array that offers its memory by DLPack."""

    def __init__(self, x: Any) -> None:
        self._x = x

    def __dlpack__(self, **options: Any) -> Any:
        return self._x.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._x.__dlpack_device__()


class OnlyArray:
    """An array that NumPy asks for itself."""

    def __init__(self, x: Any) -> None:
        self._x = x

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        assert dtype is None or dtype == self._x.dtype
        return self._x


class OnlyInterface:
    """An array that describes its memory."""

    def __init__(self, x: Any) -> None:
        self._x = x
        self.__array_interface__ = x.__array_interface__


def buffer(x: Any) -> memoryview:
    """The buffer protocol."""
    return memoryview(x)


OTHERS = [OnlyDLPack, OnlyArray, OnlyInterface, buffer]


class Guarded:
    """An array that refuses to become NumPy's, as those do that record gradients."""

    shape = (2, 3)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise RuntimeError("it records gradients: detach it first")


class OnAnotherDevice:
    """An array in the memory of a graphics card."""

    shape = (2, 3)

    def __dlpack__(self, **options: Any) -> Any:
        raise BufferError("it lies on another device")

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)  # kDLCUDA


class Ragged:
    """Rows of unequal length."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        raise ValueError("its rows have lengths of their own")
