"""onnxruntime's side: inference. The ONNX model is written here, from the rows of the network."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import onnx  # type: ignore[import-not-found, unused-ignore]
import onnxruntime  # type: ignore[import-not-found, unused-ignore]
from onnx import helper, numpy_helper  # type: ignore[import-not-found, unused-ignore]

from ...networks import CLASSES, IMAGE_SHAPE, NETWORKS
from .protocol import Arrays, Calls, Session, parameters, serve

OPSET = 17


def build_model(network: str, values: list[np.ndarray]) -> Any:
    """Write a network of `benchmarks.networks` with these parameters as an ONNX model: images -> logits."""
    nodes, initializers = [], []
    remaining = iter(values)
    last = "images"
    for place, (kind, *numbers) in enumerate(NETWORKS[network]):
        inputs, attributes = [last], {}
        if kind in ("conv", "linear"):
            for role in ("weight", "bias"):
                inputs.append(f"{role}{place}")
                initializers.append(numpy_helper.from_array(next(remaining), inputs[-1]))
        if kind == "conv":
            attributes = {"pads": [numbers[3]] * 4}
        elif kind == "linear":
            attributes = {"transB": 1}
        elif kind in ("max_pool", "avg_pool"):
            attributes = {"kernel_shape": numbers * 2, "strides": numbers * 2}
        last = f"values{place}"
        nodes.append(helper.make_node(OPERATORS[kind], inputs, [last], **attributes))
    images = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["batch", *IMAGE_SHAPE])
    logits = helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, ["batch", CLASSES])
    graph = helper.make_graph(nodes, network, [images], [logits], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model)
    return model


OPERATORS = {
    "conv": "Conv",
    "linear": "Gemm",
    "max_pool": "MaxPool",
    "avg_pool": "AveragePool",
    "relu": "Relu",
    "tanh": "Tanh",
    "flatten": "Flatten",
}


def inference(details: dict[str, Any], arrays: Arrays, options: dict[str, Any]) -> Session:
    """Open the forward pass of a network, array to array."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = int(os.environ["OMP_NUM_THREADS"])
    model = build_model(details["network"], parameters(arrays)).SerializeToString()
    session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    return Calls([lambda x=x: session.run(None, {"images": x})[0] for x in arrays["images"]])


def main() -> None:
    serve({"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}, {"infer": inference})


if __name__ == "__main__":
    main()
