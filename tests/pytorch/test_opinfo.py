"""PyTorch's own test samples (OpInfo) give in convkit what they give in PyTorch: outputs, gradients, and refusals.

The samples and PyTorch's answers come from `torch_opinfo.py`, for which PyTorch's environment needs expecttest,
hypothesis and pytest, too.  A call is made by its names here: PyTorch's arguments are put into ours by `OPERATIONS` and
`spelt_our_way`.  What is left out is left out by a rule with a reason; the count of each is printed below the tests'
summary.
"""

from __future__ import annotations

import inspect
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from convkit import functional as F
from reference import relative_error

HERE = Path(__file__).resolve().parent
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}

Array = NDArray[Any]
Named = dict[str, Any]
Count = Callable[[str, str], None]


@dataclass(frozen=True)
class Operation:
    """A function of PyTorch's: its arguments in their order under our names, and our two functions for it."""

    arguments: str
    forward: str
    backward: str
    rank: int = 0  # spatial axes, where their number is fixed

    @property
    def order(self) -> list[str]:
        return self.arguments.split()


def same_name(name: str, arguments: str, rank: int = 0) -> dict[str, Operation]:
    return {name: Operation(arguments, name, f"{name}_backward", rank)}


WINDOWED = {
    "conv": "x weight bias stride padding dilation groups",
    "conv_transpose": "x weight bias stride padding output_padding groups dilation",
    "max_pool": "x kernel_size stride padding dilation ceil_mode return_indices",
    "avg_pool": "x kernel_size stride padding ceil_mode count_include_pad divisor_override",
    "adaptive_avg_pool": "x output_size",
    "adaptive_max_pool": "x output_size return_indices",
    "max_unpool": "x indices kernel_size stride padding output_size",
}
OPERATIONS: dict[str, Operation] = {
    **{
        name: operation
        for family, arguments in WINDOWED.items()
        for rank in (1, 2, 3)
        for name, operation in same_name(f"{family}{rank}d", arguments, rank).items()
    },
    "unfold": Operation("x kernel_size dilation padding stride", "im2col", "col2im", 2),
    **same_name("linear", "x weight bias"),
    **same_name("batch_norm", "x running_mean running_var weight bias training momentum eps"),
    **same_name("layer_norm", "x normalized_shape weight bias eps"),
    **same_name("group_norm", "x num_groups weight bias eps"),
    # Instance normalisation is that of groups of one channel.
    "instance_norm": Operation(
        "x running_mean running_var weight bias use_input_stats momentum eps", "group_norm", "group_norm_backward"
    ),
    **same_name("local_response_norm", "x size alpha beta k"),
    **same_name("cross_entropy", "logits labels weight size_average ignore_index reduce reduction label_smoothing"),
    **same_name("nll_loss", "log_probabilities labels weight size_average ignore_index reduce reduction"),
}

# What PyTorch computes and convkit refuses, and why.
REFUSED: dict[str, Callable[[str, Named], bool]] = {
    "eps must be above 0": lambda name, given: given.get("eps", 1) <= 0,
    "momentum must be from 0 to 1": lambda name, given: name == "batch_norm" and given.get("momentum", 0.1) < 0,
    "x must have an axis of channels": lambda name, given: name == "batch_norm" and given["x"].ndim < 2,
}
# Gradients that are not compared, by their argument, and why.
UNCOMPARED: dict[str, Callable[[str, str, Named], bool]] = {
    "labels have no gradient here": lambda name, argument, given: argument == "labels",
    "of several values for one place the one that stays has the gradient, in PyTorch all": lambda name, _, given: (
        name.startswith("max_unpool") and has_twins(given["indices"])
    ),
    "of one value normalised it is 0, PyTorch's rounded": lambda name, argument, given: (
        name == "layer_norm" and argument == "weight" and np.prod(given["normalized_shape"]) == 1
    ),
}
# What PyTorch refuses and convkit computes, and why.
COMPUTED: dict[str, Callable[[str, Named], bool]] = {
    "'same' has a rule for strides: ceil(n / stride) values": lambda name, given: (
        given.get("padding") == "same" and given.get("stride", 1) != 1
    ),
    "of no channels the result has none": lambda name, given: 0 in given["x"].shape[1:2] and given["x"].ndim > 2,
}


def has_twins(indices: Array) -> bool:
    """Whether an index comes twice within a plane."""
    planes = np.sort(indices.reshape(indices.shape[0] * indices.shape[1], -1), axis=1)
    return bool((np.diff(planes, axis=1) == 0).any())


@pytest.fixture(scope="session")
def answers(torch_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that PyTorch wrote its samples and answers to."""
    folder = tmp_path_factory.mktemp("opinfo")
    subprocess.run([torch_python, HERE / "torch_opinfo.py", folder, *OPERATIONS], check=True)
    return folder


def read(folder: Path, name: str, dtype: str) -> list[dict[str, Any]]:
    """The calls of an operation, arrays in their places."""
    with np.load(folder / f"{name}.{dtype}.npz") as file:
        arrays = dict(file)

    def placed(value: dict[str, Any]) -> Any:
        return arrays[value["array"]] if value.keys() == {"array"} else value

    return json.loads((folder / f"{name}.{dtype}.json").read_text(), object_hook=placed)


def spelt_our_way(name: str, arguments: dict[str, Any]) -> Named:
    """PyTorch's arguments, by position ("0", "1", …) and by name, under our names and in our conventions."""
    operation = OPERATIONS[name]
    given = {operation.order[int(place)] if place.isdigit() else place: value for place, value in arguments.items()}
    # An argument for all axes may be a sequence of one, and an absent stride an empty one.
    for argument in ("kernel_size", "stride", "padding", "dilation", "output_padding"):
        if isinstance(given.get(argument), list) and len(given[argument]) == 1:
            given[argument] = given[argument][0]
    if given.get("stride") == []:
        del given["stride"]
    if name.startswith("max_unpool") and "output_size" in given:
        given["output_size"] = given["output_size"][-operation.rank :]
    if name == "instance_norm":
        for argument in ("running_mean", "running_var", "use_input_stats", "momentum"):
            given.pop(argument, None)
        given["num_groups"] = given["x"].shape[1]
    return given


def as_a_batch(name: str, given: Named) -> tuple[Named, bool]:
    """A sample without an axis of samples, as PyTorch takes it, as a batch of one; and whether it was such."""
    rank, first = OPERATIONS[name].rank, OPERATIONS[name].order[0]
    axes = {"nll_loss": 1}.get(name, rank + 1 if rank else None)
    if given[first].ndim != axes:
        return given, False
    return given | {key: given[key][None] for key in (first, "indices", "labels") if key in given}, True


def chosen(function: Callable[..., Any], given: Named) -> Named:
    """Of the arguments those that the function takes."""
    return {key: value for key, value in given.items() if key in inspect.signature(function).parameters}


def as_tuple(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def run(name: str, call: dict[str, Any], given: Named) -> tuple[list[Array], dict[str, Array]]:
    """Our outputs and, by argument, our gradients."""
    operation = OPERATIONS[name]
    forward, backward = getattr(F, operation.forward), getattr(F, operation.backward)
    outputs = as_tuple(forward(**given))
    first = given[operation.order[0]]
    grad = call["grad_output"].reshape(np.shape(outputs[0]))
    extra = {"grad_output": grad, "cols": grad, "input_shape": first.shape, "output_size": first.shape[2:]}
    gradients = as_tuple(backward(**chosen(backward, extra | given)))
    return list(outputs), dict(zip((operation.order[0], "weight", "bias"), gradients, strict=False))


def difference(found: Array, expected: Array, dtype: str, scale: float) -> str:
    """How a result differs from PyTorch's, or nothing where it does not; errors are measured by `scale` at least."""
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        return f"is {found.dtype} {found.shape}, should be {expected.dtype} {expected.shape}"
    error = relative_error(found, expected, scale)
    return f"has relative error {error:.1e}" if error > (TOLERANCE[dtype] if expected.dtype.kind == "f" else 0) else ""


def compare(name: str, call: dict[str, Any], given: Named, dtype: str) -> tuple[list[str], list[str]]:
    """Run one sample: the differences, and what was left out of the comparison."""
    outputs, gradients = run(name, call, given)
    wrong, left_out = [], []
    for number, theirs in enumerate(call["outputs"]):
        ours = np.asarray(outputs[number]).reshape(unbatched(np.shape(outputs[number]), theirs.shape))
        wrong.append((f"output {number}", difference(ours, theirs, dtype, 0.0)))
    # Normalisation subtracts what is nearly the same: of two values the gradient is all but zero.
    scale = float(np.abs(call["grad_output"]).max(initial=0)) if name.endswith("_norm") else 0.0
    for place, theirs in call["gradients"].items():
        argument = OPERATIONS[name].order[int(place)] if place.isdigit() else place
        reason = next((why for why, applies in UNCOMPARED.items() if applies(name, argument, given)), None)
        if reason:
            left_out.append(reason)
            continue
        ours = gradients[argument].reshape(unbatched(gradients[argument].shape, theirs.shape))
        wrong.append((f"gradient to {argument}", difference(ours, theirs, dtype, scale)))
    return [f"{what} {said}" for what, said in wrong if said], left_out


def unbatched(shape: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without its batch of one, where that alone is between it and the one wanted."""
    return wanted if shape == (1, *wanted) else shape


def shown(given: Named) -> str:
    return str({key: value.shape if isinstance(value, np.ndarray) else value for key, value in given.items()})


def reason_of(rules: dict[str, Callable[[str, Named], bool]], name: str, given: Named) -> str | None:
    return next((reason for reason, applies in rules.items() if applies(name, given)), None)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", OPERATIONS)
def test_samples(name: str, dtype: str, answers: Path, count_opinfo: Count) -> None:
    calls = [call for call in read(answers, name, dtype) if "error" not in call]
    assert calls
    disagreements = []
    for call in calls:
        given, alone = as_a_batch(name, spelt_our_way(name, call["arguments"]))
        reason = reason_of(REFUSED, name, given)
        if reason:
            with pytest.raises((TypeError, ValueError), match=f"^{OPERATIONS[name].forward}: "):
                getattr(F, OPERATIONS[name].forward)(**given)
            count_opinfo(name, f"refused: {reason}")
            continue
        wrong, left_out = compare(name, call, given, dtype)
        if wrong:
            disagreements.append(f"{shown(given)}: {'; '.join(wrong)}")
        way = ", as a batch of one" if alone else ""
        way += "".join(f", without a gradient: {reason}" for reason in left_out)
        count_opinfo(name, "differs" if wrong else f"agrees{way}")
    assert not disagreements, f"{len(disagreements)} of {len(calls)} disagree:\n" + "\n".join(disagreements[:10])


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_torch_refuses(name: str, answers: Path, count_opinfo: Count) -> None:
    accepted = []
    for call in read(answers, name, "float64"):
        if "error" not in call:
            continue
        given, _ = as_a_batch(name, spelt_our_way(name, call["arguments"]))
        try:
            getattr(F, OPERATIONS[name].forward)(**given)
        except (TypeError, ValueError) as error:
            assert str(error).startswith(f"{OPERATIONS[name].forward}: "), error
            count_opinfo(name, "refused by both")
            continue
        reason = reason_of(COMPUTED, name, given)
        count_opinfo(name, f"PyTorch refuses, we compute: {reason}")
        if not reason:
            accepted.append(f"{shown(given)}: PyTorch says {call['error']}")
    assert not accepted, "\n".join(accepted)
