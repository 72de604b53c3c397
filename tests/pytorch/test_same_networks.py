"""The networks of the literature against the same written in PyTorch: outputs, loss and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convkit as ck
from convkit import models, nn

SMALL = [
    "alexnet_small", "alexnet_one_column_small", "googlenet_small", "googlenet_bn_small", "inception_v3_small",
    "resnet18_small", "resnet50_small", "resnet20", "plain20", "highway_dense", "highway_conv16",
    "encoder_decoder", "context_small", "context_basic",
]  # fmt: skip

# Full networks, and the side of the images: their own where auxiliary classifiers or dense layers ask for it.
FULL = {"alexnet": 227, "alexnet_one_column": 224, "googlenet": 224, "inception_v3": 299}
FULL |= {
    "googlenet_bn": 96,
    "resnet18": 64,
    "resnet34": 64,
    "resnet50": 64,
    "resnet101": 64,
    "resnet152": 64,
    "resnet56": 28,
}


def compare(name: str, side: int | None, dtype: str, ask_torch: Any) -> dict[str, float]:
    """The largest relative error of each thing that was computed on both sides."""
    ck.set_seed(3)
    rng = np.random.default_rng(3)
    entry = models.REGISTRY[name]
    model = entry.build().astype(dtype)
    for _, layer in model.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    for key, owned in {**model.parameters(), **model.buffers()}.items():
        if len(owned.shape) == 1:  # biases, scales, shifts and moments: not all alike
            spread = rng.uniform(0.8, 1.2, owned.shape) if "running_var" in key else rng.normal(0, 0.1, owned.shape)
            owned.assign(spread if "running_var" in key else owned.value + spread)
    shape = entry.input_shape if side is None else (entry.input_shape[0], side, side)
    images = rng.standard_normal((2, *shape)).astype(dtype)
    inferred = model(images)
    labels = rng.integers(inferred.shape[1], size=(2, *inferred.shape[2:]))
    loss_function = entry.loss()
    settings = {key: getattr(loss_function, key, 0.0) for key in ("auxiliary_weight", "label_smoothing")}
    case = {"network": name, "parameters": list(model.parameters()), **settings}
    [expected] = ask_torch("network", [(case, model.state_dict() | {"images": images, "labels": labels})])
    loss, grads, grad_images = ck.value_and_grad(model, loss_function, inputs=True)(images, labels)
    ours = {f"grad_{key}": grad for key, grad in grads.items()}
    ours |= {"grad_images": grad_images, "loss": np.asarray(loss), "inferred": inferred}
    assert expected.keys() - ours.keys() == {"trained"}
    return {
        key: float(np.abs(values - expected[key]).max() / (np.abs(expected[key]).max() + 1e-30))
        for key, values in ours.items()
    }


def check(errors: dict[str, float], limit: float) -> None:
    worst = max(errors, key=errors.__getitem__)
    assert errors[worst] <= limit, f"{worst}: relative error {errors[worst]:.2g}"


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_are_those_of_torch(name: str, ask_torch: Any) -> None:
    check(compare(name, None, "float64", ask_torch), 1e-8)


@pytest.mark.parametrize("name", FULL)
def test_full_networks_are_those_of_torch(name: str, ask_torch: Any) -> None:
    check(compare(name, FULL[name], "float64", ask_torch), 1e-8)


@pytest.mark.parametrize("name", SMALL + list(FULL))
def test_their_outputs_agree_in_single_precision(name: str, ask_torch: Any) -> None:
    errors = compare(name, FULL.get(name), "float32", ask_torch)
    check({key: errors[key] for key in ("inferred", "loss")}, 1e-4)
