"""Convolutional networks on the CPU: NumPy arrays in, NumPy arrays out, no framework under it.

What a name needs is imported when the name is first used, so that `import convkit` costs little more than NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from convkit._version import __version__
from convkit.config import (
    get_include,
    get_num_threads,
    get_winograd,
    set_num_threads,
    set_winograd,
    show_config,
)  # fmt: skip

if TYPE_CHECKING:
    from convkit import data, functional, models, nn, optim, plot
    from convkit.graph import CompiledStep, compile_step, value_and_grad
    from convkit.ops.base import Op, is_training
    from convkit.parameter import Buffer, Parameter
    from convkit.seeding import set_seed
    from convkit.train import Trainer, load, load_model, save

__all__ = [
    "functional", "nn", "optim", "data", "models", "plot",
    "Trainer", "save", "load", "load_model",
    "compile_step", "CompiledStep", "value_and_grad", "Op", "Parameter", "Buffer", "is_training",
    "set_seed", "set_num_threads", "get_num_threads", "set_winograd", "get_winograd", "show_config", "get_include",
    "__version__",
]  # fmt: skip

_PACKAGES = (
    "functional", "nn", "optim", "data", "models", "plot", "onnx", "interop", "sklearn", "train", "graph", "ops",
)  # fmt: skip

_HOMES = {
    **dict.fromkeys(("Trainer", "save", "load", "load_model"), "train"),
    **dict.fromkeys(("compile_step", "CompiledStep", "value_and_grad"), "graph"),
    **dict.fromkeys(("Op", "is_training"), "ops.base"),
    **dict.fromkeys(("Parameter", "Buffer"), "parameter"),
    "set_seed": "seeding",
}


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"convkit.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'convkit' has no attribute {name!r}")
    value = getattr(import_module(f"convkit.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
