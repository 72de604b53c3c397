"""Convolutional networks on the CPU: NumPy arrays in, NumPy arrays out, no framework under it."""

from convkit import data, functional, models, nn, optim
from convkit._version import __version__
from convkit.config import get_num_threads, get_winograd, set_num_threads, set_winograd, show_config
from convkit.graph import CompiledStep, compile_step, value_and_grad
from convkit.ops.base import Op, is_training
from convkit.parameter import Buffer, Parameter
from convkit.seeding import set_seed
from convkit.train import Trainer, load, load_model, save

__all__ = [
    "functional", "nn", "optim", "data", "models",
    "Trainer", "save", "load", "load_model",
    "compile_step", "CompiledStep", "value_and_grad", "Op", "Parameter", "Buffer", "is_training",
    "set_seed", "set_num_threads", "get_num_threads", "set_winograd", "get_winograd", "show_config", "__version__",
]  # fmt: skip
