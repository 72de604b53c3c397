"""A small valid call of every function on arrays: what tests of all functions alike go through."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from convkit import functional as F
from geometries import normal


class Arguments(dict[str, Any]):
    """Arguments by name; the items of one that is a list by names as ``arrays[0]``, too."""

    def __missing__(self, name: str) -> Any:
        outer, position = _place(name)
        return self[outer][position]

    def with_(self, changes: dict[str, Any]) -> Arguments:
        changed = Arguments(self)
        for name, value in changes.items():
            if "[" in name:
                outer, position = _place(name)
                items = changed[outer]
                changed[outer] = [*items[:position], value, *items[position + 1 :]]
            else:
                changed[name] = value
        return changed


def _place(name: str) -> tuple[str, int]:
    found = re.fullmatch(r"(\w+)\[(\d+)\]", name)
    if found is None:
        raise KeyError(name)
    return found[1], int(found[2])


@dataclass(frozen=True)
class Call:
    """A function's name and its arguments; arrays of floats are what it computes with."""

    name: str
    arguments: dict[str, Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "arguments", Arguments(self.arguments))

    def __call__(self) -> tuple[Any, ...]:
        result = getattr(F, self.name)(**self.arguments)
        return tuple(result) if isinstance(result, (tuple, list)) else (result,)

    def __repr__(self) -> str:
        return self.name

    @property
    def float_arrays(self) -> list[str]:
        return self._arrays("f")

    @property
    def integer_arrays(self) -> list[str]:
        return self._arrays("iu")

    def _arrays(self, kinds: str) -> list[str]:
        names = list(self.arguments)
        names += [f"{name}[{i}]" for name in names for i, _ in enumerate(self._items(name))]
        values = {name: self.arguments[name] for name in names}
        return [name for name, value in values.items() if isinstance(value, np.ndarray) and value.dtype.kind in kinds]

    def _items(self, name: str) -> list[Any]:
        value = self.arguments[name]
        return value if isinstance(value, list) else []

    def with_(self, **changes: Any) -> Call:
        """The same call with other arguments."""
        return Call(self.name, Arguments(self.arguments).with_(changes))

    def complete(self) -> Call:
        """The same call with every argument that the function has, defaults too."""
        parameters = inspect.signature(getattr(F, self.name)).parameters
        defaults = {name: parameter.default for name, parameter in parameters.items()}
        return Call(self.name, defaults | dict(self.arguments))


def calls(dtype: Any = np.float32, batch: int = 2) -> list[Call]:
    """The calls, with a batch of `batch`; the numbers differ so that no argument can stand for another."""
    rng = np.random.default_rng(7)

    def array(*shape: int) -> Any:
        return normal(rng, shape, dtype)

    made = []
    for rank in (1, 2, 3):
        size, kernel = (9, 8, 5)[:rank], (3, 2, 2)[:rank]
        cut = {"stride": 2, "padding": 1, "dilation": 1}
        out = (5, 5, 3)[:rank]  # 9 + 2 − 3, 8 + 2 − 2 and 5 + 2 − 2, over 2, and one
        conv = {"x": array(batch, 4, *size), "weight": array(6, 2, *kernel), **cut, "groups": 2}
        made.append(Call(f"conv{rank}d", conv | {"bias": array(6)}))
        made.append(Call(f"conv{rank}d_backward", {"grad_output": array(batch, 6, *out), **conv}))

        spread = (17, 15, 8)[:rank]  # 8 · 2 + 3 − 2, 7 · 2 + 2 − 2 and one of output padding, 4 · 2 + 2 − 2
        transpose = {
            "x": array(batch, 4, *size),
            "weight": array(4, 3, *kernel),
            **cut,
            "output_padding": (0, 1, 0)[:rank],
            "groups": 2,
        }
        made.append(Call(f"conv_transpose{rank}d", transpose | {"bias": array(6)}))
        grad = array(batch, 6, *spread)
        made.append(Call(f"conv_transpose{rank}d_backward", {"grad_output": grad, **transpose}))

        pool = {"kernel_size": kernel, "stride": 2, "padding": 1, "ceil_mode": True}
        x, pooled = array(batch, 3, *size), array(batch, 3, *out)
        made.append(Call(f"max_pool{rank}d", {"x": x, **pool, "dilation": 1, "return_indices": True}))
        made.append(Call(f"max_pool{rank}d_backward", {"grad_output": pooled, "x": x, **pool, "dilation": 1}))
        made.append(Call(f"avg_pool{rank}d", {"x": x, **pool, "count_include_pad": False}))
        average = {"grad_output": pooled, "input_shape": x.shape, **pool, "count_include_pad": False}
        made.append(Call(f"avg_pool{rank}d_backward", average))

        shared = (4, 3, 2)[:rank]
        adaptive = {"x": x, "output_size": shared}
        shared_grad = array(batch, 3, *shared)
        made.append(Call(f"adaptive_avg_pool{rank}d", adaptive))
        made.append(Call(f"adaptive_max_pool{rank}d", adaptive | {"return_indices": True}))
        made.append(Call(f"adaptive_max_pool{rank}d_backward", {"grad_output": shared_grad, **adaptive}))
        average = {"grad_output": shared_grad, "input_shape": x.shape, "output_size": shared}
        made.append(Call(f"adaptive_avg_pool{rank}d_backward", average))
        places = rng.permuted(np.tile(np.arange(np.prod(size)), (batch, 3, 1)), axis=2)
        places = places[..., : np.prod(out)].reshape(batch, 3, *out)
        unpool = {"x": pooled, "indices": places, "kernel_size": kernel, "stride": 2, "padding": 1}
        made.append(Call(f"max_unpool{rank}d", unpool | {"output_size": size}))
        made.append(Call(f"max_unpool{rank}d_backward", {"grad_output": array(batch, 3, *size), "indices": places}))

        for name in ("correlate", "convolve") if rank < 3 else ():
            signal = {"x": array(*size), "kernel": array(*kernel), "mode": "same", "stride": 1}
            made.append(Call(f"{name}{rank}d", signal))

    window = {"kernel_size": (3, 2), "stride": 2, "padding": 1, "dilation": 1}
    made.append(Call("im2col", {"x": array(batch, 3, 9, 8), **window}))
    made.append(Call("col2im", {"cols": array(batch, 18, 25), "output_size": (9, 8), **window}))

    matrix = {"stride": 2, "padding": 1, "dilation": 1, "groups": 2}
    made.append(Call("convolution_matrix", {"weight": array(8, 2, 3, 2), "input_size": (9, 8), **matrix}))

    made.append(Call("linear", {"x": array(batch, 5), "weight": array(4, 5), "bias": array(4)}))
    dense = {"grad_output": array(batch, 4), "x": array(batch, 5), "weight": array(4, 5)}
    made.append(Call("linear_backward", dense))
    for name in ("relu", "tanh", "sigmoid"):
        made.append(Call(name, {"x": array(batch, 3, 5)}))
        made.append(Call(f"{name}_backward", {"grad_output": array(batch, 3, 5), "x": array(batch, 3, 5)}))
    constants: dict[str, dict[str, Any]] = {
        "leaky_relu": {"negative_slope": 0.2}, "elu": {"alpha": 0.7}, "selu": {}, "gelu": {"approximate": "none"},
        "silu": {}, "softplus": {"beta": 2.0}, "hardsigmoid": {}, "hardswish": {}, "hardtanh": {"max_val": 0.5},
    }  # fmt: skip
    for name, more in constants.items():
        made.append(Call(name, {"x": array(batch, 3, 5), **more}))
        made.append(Call(f"{name}_backward", {"grad_output": array(batch, 3, 5), "x": array(batch, 3, 5), **more}))
    made.append(Call("prelu", {"x": array(batch, 3, 5), "weight": array(3)}))
    prelu = {"grad_output": array(batch, 3, 5), "x": array(batch, 3, 5), "weight": array(3)}
    made.append(Call("prelu_backward", prelu))
    for name in ("softmax", "log_softmax"):
        made.append(Call(name, {"x": array(batch, 3, 5), "axis": 1}))
        backward = {"grad_output": array(batch, 3, 5), "x": array(batch, 3, 5), "axis": 1}
        made.append(Call(f"{name}_backward", backward))
    loss = {"logits": array(batch, 5), "labels": rng.integers(0, 5, batch), "label_smoothing": 0.1}
    made.append(Call("cross_entropy", loss | {"weight": np.abs(array(5)), "ignore_index": None}))
    made.append(Call("cross_entropy_backward", loss | {"weight": np.abs(array(5)), "ignore_index": None}))
    chosen = {"log_probabilities": array(batch, 5), "labels": rng.integers(0, 5, batch), "weight": np.abs(array(5))}
    made.append(Call("nll_loss", chosen | {"reduction": "none"}))
    made.append(Call("nll_loss_backward", chosen | {"reduction": "none", "grad_output": array(batch)}))
    pair = {"prediction": array(batch, 5), "target": array(batch, 5)}
    made += [Call("mse_loss", pair), Call("mse_loss_backward", pair)]
    for name in ("add", "subtract", "multiply"):
        made.append(Call(name, {"a": array(batch, 3, 5), "b": array(3, 1)}))
    made.append(Call("matmul", {"a": array(batch, 3), "b": array(3, 4)}))
    made.append(Call("dropout", {"x": array(batch, 9), "p": 0.5, "seed": 3}))
    made.append(Call("dropout_backward", {"grad_output": array(batch, 9), "p": 0.5, "seed": 3}))
    x, grad, channel, eps = array(batch, 6, 4), array(batch, 6, 4), array(6), {"eps": 1e-3}
    running = {"running_mean": array(6), "running_var": np.abs(array(6))}
    made.append(Call("batch_norm", {"x": x, **running, "weight": channel, "bias": array(6), **eps}))
    made.append(Call("batch_norm_backward", {"grad_output": grad, "x": x, **running, "weight": channel, **eps}))
    made.append(Call("group_norm", {"x": x, "num_groups": 3, "weight": channel, "bias": array(6), **eps}))
    group = {"grad_output": grad, "x": x, "num_groups": 3, "weight": channel, **eps}
    made.append(Call("group_norm_backward", group))
    made.append(Call("layer_norm", {"x": x, "normalized_shape": 4, "weight": array(4), "bias": array(4), **eps}))
    layer = {"grad_output": grad, "x": x, "normalized_shape": 4, "weight": array(4), **eps}
    made.append(Call("layer_norm_backward", layer))
    response = {"size": 3, "alpha": 0.1, "beta": 0.75, "k": 2.0}
    made.append(Call("local_response_norm", {"x": x, **response}))
    made.append(Call("local_response_norm_backward", {"grad_output": grad, "x": x, **response}))
    made.append(Call("dropout2d", {"x": array(batch, 9, 4), "p": 0.5, "seed": 3}))
    made.append(Call("dropout2d_backward", {"grad_output": array(batch, 9, 4), "p": 0.5, "seed": 3}))
    made.append(Call("pixel_shuffle", {"x": array(batch, 8, 3, 2), "upscale_factor": 2}))
    made.append(Call("pixel_shuffle_backward", {"grad_output": array(batch, 2, 6, 4), "upscale_factor": 2}))
    made.append(Call("pixel_unshuffle", {"x": array(batch, 2, 6, 4), "downscale_factor": 2}))
    made.append(Call("pixel_unshuffle_backward", {"grad_output": array(batch, 8, 3, 2), "downscale_factor": 2}))
    resized = {"mode": "bilinear", "align_corners": False}
    made.append(Call("interpolate", {"x": array(batch, 3, 4, 5), "size": (7, 3), **resized}))
    back = {"grad_output": array(batch, 3, 7, 3), "input_shape": (batch, 3, 4, 5), **resized}
    made.append(Call("interpolate_backward", back))
    for name in ("sum", "mean"):
        made.append(Call(name, {"x": array(batch, 3, 5)}))
    made.append(Call("reshape", {"x": array(batch, 3, 4), "shape": (batch, -1, 6) if batch else (0, 2, 6)}))
    made.append(Call("flatten", {"x": array(batch, 3, 4), "start_dim": 1, "end_dim": -1}))
    parts = [array(batch, 3, 4), array(batch, 2, 4)]
    made.append(Call("concat", {"arrays": parts, "axis": 1}))
    made.append(Call("concat_backward", {"grad_output": array(batch, 5, 4), "arrays": parts, "axis": 1}))
    for name in ("avg", "max"):
        x, grad = array(batch, 3, 4, 5), array(batch, 3)
        made.append(Call(f"global_{name}_pool", {"x": x}))
        shape = {"input_shape": x.shape} if name == "avg" else {"x": x}
        made.append(Call(f"global_{name}_pool_backward", {"grad_output": grad, **shape}))
    made.append(Call("pad", {"x": array(batch, 3, 4, 5), "padding": ((1, 2), (0, 3)), "value": 0.0}))
    made.append(Call("pad_backward", {"grad_output": array(batch, 3, 7, 8), "padding": ((1, 2), (0, 3))}))
    return made
