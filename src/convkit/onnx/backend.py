"""convkit as a backend of ONNX, by the interface that ONNX's own tests call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.backend import base

from convkit.onnx.load import load, shape_inputs


class PreparedModel(base.BackendRep):
    """A model that runs on arrays.

    Inputs that shapes depend on are taken as constants of each run, the others as inputs of the plan.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        initializers = {value.name for value in model.graph.initializer}
        self.names = [value.name for value in model.graph.input if value.name not in initializers]
        self.fixed = shape_inputs(model)
        if not self.fixed:
            self.module = load(model)

    def run(self, inputs: Any, **kwargs: Any) -> tuple[np.ndarray, ...]:
        """The outputs for a sequence of inputs, in the order of the model's."""
        named = dict(zip(self.names, inputs, strict=False))
        if self.fixed:
            self.module = load(self.model, {name: named[name] for name in self.fixed if name in named})
        outputs = self.module(*[named[name] for name in self.module.input_names])
        return outputs if isinstance(outputs, tuple) else (outputs,)


class Backend(base.Backend):
    """Runs ONNX models with convkit, on the CPU."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> PreparedModel:
        """A model ready to run; what convkit has not raises NotImplementedError."""
        super().prepare(model, device, **kwargs)
        return PreparedModel(model)

    @classmethod
    def run_node(
        cls, node: onnx.NodeProto, inputs: Sequence[Any], device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[np.ndarray, ...]:
        """The outputs of one node for these inputs."""
        arrays = [np.asarray(value) for value in inputs]
        names = [name for name in node.input if name]
        infos = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in zip(names, arrays, strict=True)
        ]
        outputs = [helper.make_value_info(name, onnx.TypeProto()) for name in node.output]
        graph = helper.make_graph([node], node.op_type, infos, outputs)
        return PreparedModel(helper.make_model(graph)).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Only the CPU."""
        return device == "CPU"
