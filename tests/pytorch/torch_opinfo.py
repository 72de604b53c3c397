"""PyTorch's own test samples with PyTorch's answers, written to files by an interpreter that has it.

``python torch_opinfo.py FOLDER NAME…`` writes, for each operation of `torch.nn.functional` and for float32 and float64,
``FOLDER/NAME.DTYPE.json``, a list of calls, and beside it an ``.npz`` with the arrays that they speak of.  A call has
``arguments`` by position and by name, each a plain value or ``{"array": key}``, and either ``outputs``, ``grad_output``
and ``gradients`` (by place among the arguments), or ``error``: what PyTorch said when it refused the call.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

DTYPES = {"float32": torch.float32, "float64": torch.float64}

Place = int | str  # of an argument in a call


class Writer:
    """Values as JSON has them; tensors go to the arrays."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def __call__(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            key = str(len(self.arrays))
            self.arrays[key] = value.detach().resolve_conj().numpy().copy()
            return {"array": key}
        if isinstance(value, (list, tuple)):
            return [self(item) for item in value]
        return value


def arguments_of(sample: Any) -> dict[Place, Any]:
    """By position, then by name."""
    return dict(enumerate((sample.input, *sample.args))) | sample.kwargs


def call(op: Any, arguments: dict[Place, Any]) -> Any:
    positional = [value for place, value in arguments.items() if isinstance(place, int)]
    return op(*positional, **{place: value for place, value in arguments.items() if isinstance(place, str)})


def answered(op: Any, sample: Any, write: Writer) -> dict[str, Any]:
    """A call with its outputs, a random gradient of the first one, and what that is to the arguments."""
    arguments = arguments_of(sample)
    written = {place: write(value) for place, value in arguments.items()}
    outputs = call(op, arguments)  # may overwrite running moments
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    wanted = {
        place: value for place, value in arguments.items() if isinstance(value, torch.Tensor) and value.requires_grad
    }
    grad_output = torch.randn_like(outputs[0])
    gradients = torch.autograd.grad(outputs[0], list(wanted.values()), grad_output)
    return {
        "arguments": written,
        "outputs": write(outputs),
        "grad_output": write(grad_output),
        "gradients": {place: write(gradient) for place, gradient in zip(wanted, gradients, strict=True)},
    }


def refused(op: Any, write: Writer) -> Iterator[dict[str, Any]]:
    """The calls that PyTorch refuses."""
    for error in op.error_inputs("cpu") if op.error_inputs_func else ():
        arguments = arguments_of(error.sample_input)
        try:
            call(op, arguments)
        except error.error_type as refusal:
            yield {
                "arguments": {place: write(value) for place, value in arguments.items()},
                "error": f"{type(refusal).__name__}: {refusal}".splitlines()[0],
            }


def main(folder: Path, names: list[str]) -> None:
    for name in names:
        # Of the variants, "grad" has samples of its own; the others repeat the first for other devices.
        variants = [op for op in op_db if op.name == f"nn.functional.{name}" and op.variant_test_name in ("", "grad")]
        for dtype in DTYPES:
            torch.manual_seed(0)
            write, calls = Writer(), []
            for op in variants:
                samples = op.sample_inputs("cpu", DTYPES[dtype], requires_grad=True)
                calls += [answered(op, sample, write) for sample in samples]
                if dtype == "float64":  # these have dtypes of their own
                    calls += refused(op, write)
            (folder / f"{name}.{dtype}.json").write_text(json.dumps(calls))
            np.savez(folder / f"{name}.{dtype}.npz", **write.arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
