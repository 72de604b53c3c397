"""ONNX's own backend tests on `convkit.onnx.Backend`, all whose operators and dtypes convkit has.

Printed for each kind (``pytest -s``): how many ran and passed, how many failed, and why others were left out.
"""

from __future__ import annotations

import unittest
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.backend.test import BackendTest
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests

from convkit.onnx import Backend
from convkit.onnx.load import DTYPES
from convkit.onnx.operators import OPERATORS

# Computing the answers that they expect, some cases divide by zero.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

# What convolutional networks use: no test of these alone may be left out but for the reasons below.
LISTED = """
    Conv ConvTranspose ConvInteger QLinearConv MaxPool MaxUnpool AveragePool LpPool
    GlobalAveragePool GlobalMaxPool GlobalLpPool
    BatchNormalization InstanceNormalization GroupNormalization LayerNormalization LRN Gemm MatMul
    Relu LeakyRelu PRelu Elu Selu Celu Sigmoid HardSigmoid HardSwish Tanh Softplus Softsign Gelu Mish Swish
    ThresholdedRelu Shrink Softmax LogSoftmax Hardmax SoftmaxCrossEntropyLoss NegativeLogLikelihoodLoss Dropout
    Concat Split Slice Pad Flatten Reshape Transpose Squeeze Unsqueeze Expand Identity Constant ConstantOfShape
    Shape Gather Cast Clip Add Sub Mul Div Pow Sqrt Exp Log Neg Abs Min Max Sum Mean
    ReduceMax ReduceMin ReduceSum ReduceMean ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceSumSquare ArgMax Resize Upsample DepthToSpace SpaceToDepth Col2Im
    Where Equal Greater GreaterOrEqual Less LessOrEqual Not And Or Xor
"""

NAMED = {
    name: "dropout while training: the mask expected is that of NumPy's legacy generator"
    for name in (
        "test_training_dropout",
        "test_training_dropout_default",
        "test_training_dropout_mask",
        "test_training_dropout_default_mask",
    )
}

# Folders of cases, and how many run at least: so that a table that grew empty would not go unnoticed.
KINDS = {
    "Node": ("node", 1180),
    "PyTorchConverted": ("pytorch-converted", 82),
    "PyTorchOperator": ("pytorch-operator", 35),
    "Simple": ("simple", 7),
    "Real": ("real", 9),  # AlexNet, DenseNet-121, Inception, ResNet-50, ShuffleNet, SqueezeNet, VGG-19, ZFNet
}


def model_of(case: TestCase) -> onnx.ModelProto:
    if case.url:
        return onnx.load(Path(onnx.__file__).parents[1] / case.url)
    return case.model or onnx.load(f"{case.model_dir}/model.onnx")


def why_left_out(name: str, model: onnx.ModelProto) -> str:
    """Why a test does not concern convkit; empty for those that run."""
    if missing := sorted(uses(model) - set(OPERATORS)):
        return f"operator {missing[0]}" if len(missing) == 1 else "several operators"
    if any(value.type.WhichOneof("value") != "tensor_type" for value in model.graph.input):
        return "an input that is no tensor"
    if strange := sorted({dtype.name for dtype in _dtypes(model)} - set(DTYPES)):
        return f"dtype {strange[0].replace('object', 'string')}"
    return NAMED.get(name, "")


def uses(model: onnx.ModelProto) -> set[str]:
    return {node.op_type for node in model.graph.node}


def _dtypes(model: onnx.ModelProto) -> Iterator[np.dtype]:
    """The dtypes of a model's inputs and outputs, and those that it casts to."""
    for value in (*model.graph.input, *model.graph.output):
        yield helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to":
                yield helper.tensor_dtype_to_np_dtype(attribute.i)


@pytest.fixture(scope="module")
def suite() -> BackendTest:
    return BackendTest(Backend, __name__)


@pytest.mark.parametrize("kind", KINDS)
def test_backend_tests(kind: str, suite: BackendTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNX_MODELS", str(tmp_path))  # where the suite keeps the inputs of real networks
    folder, at_least = KINDS[kind]
    models = {case.name: model_of(case) for case in load_model_tests(kind=folder)}
    reasons = {name: why_left_out(name, model) for name, model in models.items()}
    chosen = [name for name, reason in reasons.items() if not reason]
    tests = suite.test_cases[f"OnnxBackend{kind}ModelTest"]
    result = unittest.TestResult()
    with np.errstate(all="ignore"):
        for name in chosen:
            tests(f"{name}_cpu").run(result)

    wrong = [*result.failures, *result.errors]
    print(f"\n{kind}: {result.testsRun} of {len(models)} run, {len(wrong)} failed, {len(result.skipped)} skipped")
    print(f"    {sum(uses(models[name]) <= set(LISTED.split()) for name in chosen)} of them use listed operators alone")
    for reason, count in Counter(filter(None, reasons.values())).most_common():
        print(f"    {count} left out: {reason}")
    assert not wrong, "\n".join(f"{test.id()}: {trace.splitlines()[-1]}" for test, trace in wrong)
    assert not result.skipped
    assert result.testsRun == len(chosen) >= at_least


def test_all_operators_of_convolutional_networks_are_there() -> None:
    assert set(OPERATORS) >= set(LISTED.split())
