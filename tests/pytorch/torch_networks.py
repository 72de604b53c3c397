"""The networks of `convkit.models` as functions of PyTorch, written from papers and tables for the tests alone.

Each takes a `Net`, which holds the weights by name, and images; it returns the logits, followed in training by those
of auxiliary classifiers.  Dropout is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

Tensor = torch.Tensor


class Net:
    """Weights and running moments by name, and layers that take theirs."""

    def __init__(self, state: dict[str, Tensor], training: bool) -> None:
        self.state, self.training = state, training

    def __contains__(self, name: str) -> bool:
        return f"{name}.weight" in self.state

    def conv(self, name: str, x: Tensor, stride: int = 1, padding: Any = 0, **more: int) -> Tensor:
        return F.conv2d(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"), stride, padding, **more)

    def norm(self, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
        mean, var = (self.state[f"{name}.running_{moment}"].clone() for moment in ("mean", "var"))
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return F.batch_norm(x, mean, var, weight, bias, self.training, 0.1, eps)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def unit(self, name: str, x: Tensor, stride: int = 1, padding: Any = 0) -> Tensor:
        """A convolution, normalised if there is a normalisation, and rectified."""
        x = self.conv(f"{name}.conv", x, stride, padding)
        return F.relu(self.norm(f"{name}.bn", x, 1e-3) if f"{name}.bn" in self else x)


# --- AlexNet --------------------------------------------------------------------------------------------------------


def dense_head(net: Net, x: Tensor, side: int) -> Tensor:
    x = F.adaptive_avg_pool2d(x, side).flatten(1)
    return net.linear("classifier.6", F.relu(net.linear("classifier.4", F.relu(net.linear("classifier.1", x)))))


def responses(x: Tensor) -> Tensor:
    """Section 3.3 of the paper: PyTorch divides alpha by 5, the paper does not."""
    return F.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)


def alexnet(net: Net, x: Tensor, stride: int = 4, padding: int = 0, last: int = 0, side: int = 6) -> Tensor:
    x = F.max_pool2d(responses(F.relu(net.conv("features.0", x, stride, padding))), 3, 2)
    x = F.max_pool2d(responses(F.relu(net.conv("features.4", x, padding=2, groups=2))), 3, 2)
    x = F.relu(net.conv("features.8", x, padding=1))
    x = F.relu(net.conv("features.10", x, padding=1, groups=2))
    x = F.relu(net.conv("features.12", x, padding=1, groups=2))
    return dense_head(net, F.max_pool2d(x, 3, 2, last), side)


def alexnet_one_column(net: Net, x: Tensor, stride: int = 4, last: int = 0, side: int = 6) -> Tensor:
    x = F.max_pool2d(F.relu(net.conv("features.0", x, stride, 2)), 3, 2)
    x = F.max_pool2d(F.relu(net.conv("features.3", x, padding=2)), 3, 2)
    for name in ("features.6", "features.8", "features.10"):
        x = F.relu(net.conv(name, x, padding=1))
    return dense_head(net, F.max_pool2d(x, 3, 2, last), side)


# --- Inception ------------------------------------------------------------------------------------------------------


def googlenet(net: Net, x: Tensor, normalized: bool, small: bool = False) -> tuple[Tensor, ...]:
    def responses(x: Tensor) -> Tensor:
        return x if normalized else F.local_response_norm(x, 5, 1e-4, 0.75, 1.0)

    def halve(x: Tensor, size: int = 3) -> Tensor:
        return F.max_pool2d(x, size, 2, ceil_mode=True)

    def module(name: str, x: Tensor) -> Tensor:
        name = f"inception{name}"
        third = net.unit(f"{name}.branch3.0", x)
        branches = [
            net.unit(f"{name}.branch1", x),
            net.unit(f"{name}.branch2.1", net.unit(f"{name}.branch2.0", x), padding=1),
            net.unit(f"{name}.branch3.1", third, padding=1 if normalized else 2),
            net.unit(f"{name}.branch4.1", F.max_pool2d(x, 3, 1, 1)),
        ]
        return torch.cat(branches, 1)

    def auxiliary(name: str, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(x, 4) if normalized else F.avg_pool2d(x, 5, 3)
        x = net.unit(f"{name}.conv", x).flatten(1)
        return net.linear(f"{name}.fc2", F.relu(net.linear(f"{name}.fc1", x)))

    x = net.unit("conv1", x, padding=1) if small else halve(net.unit("conv1", x, 2, 3))
    x = net.unit("conv3", net.unit("conv2", responses(x)), padding=1)
    x = halve(module("3b", module("3a", halve(responses(x)))))
    a = module("4a", x)
    d = module("4d", module("4c", module("4b", a)))
    x = halve(module("4e", d), 2 if normalized else 3)
    logits = net.linear("fc", module("5b", module("5a", x)).mean((2, 3)))
    return (logits, auxiliary("aux1", a), auxiliary("aux2", d)) if net.training else (logits,)


def inception_v3(net: Net, x: Tensor, small: bool = False) -> tuple[Tensor, ...]:
    def chain(x: Tensor, *names: str) -> Tensor:
        """Units whose border keeps the size, whatever the form of their kernel."""
        for name in names:
            high, wide = net.state[f"{name}.conv.weight"].shape[2:]
            x = net.unit(name, x, padding=(high // 2, wide // 2))
        return x

    def tower(module: str, branch: str, *places: str) -> list[str]:
        return [f"{module}.{branch}_{place}" for place in places]

    def pooled(module: str, x: Tensor) -> Tensor:
        return chain(F.avg_pool2d(x, 3, 1, 1), f"{module}.branch_pool")

    stride, border = (1, 1) if small else (2, 0)
    x = net.unit("Conv2d_1a_3x3", x, stride, border)
    x = net.unit("Conv2d_2b_3x3", net.unit("Conv2d_2a_3x3", x, padding=border), padding=1)
    x = net.unit("Conv2d_3b_1x1", F.max_pool2d(x, 3, 2, border))
    x = net.unit("Conv2d_4a_3x3", x, padding=border)
    if not small:
        x = F.max_pool2d(x, 3, 2)
    for m in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        five, double = chain(x, *tower(m, "branch5x5", *"12")), chain(x, *tower(m, "branch3x3dbl", *"123"))
        x = torch.cat([chain(x, f"{m}.branch1x1"), five, double, pooled(m, x)], 1)
    double = net.unit("Mixed_6a.branch3x3dbl_3", chain(x, *tower("Mixed_6a", "branch3x3dbl", *"12")), 2)
    x = torch.cat([net.unit("Mixed_6a.branch3x3", x, 2), double, F.max_pool2d(x, 3, 2)], 1)
    for m in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        seven, double = chain(x, *tower(m, "branch7x7", *"123")), chain(x, *tower(m, "branch7x7dbl", *"12345"))
        x = torch.cat([chain(x, f"{m}.branch1x1"), seven, double, pooled(m, x)], 1)
    maps = x
    three = net.unit("Mixed_7a.branch3x3_2", chain(x, "Mixed_7a.branch3x3_1"), 2)
    seven = net.unit("Mixed_7a.branch7x7x3_4", chain(x, *tower("Mixed_7a", "branch7x7x3", *"123")), 2)
    x = torch.cat([three, seven, F.max_pool2d(x, 3, 2)], 1)
    for m in ("Mixed_7b", "Mixed_7c"):
        three, double = chain(x, f"{m}.branch3x3_1"), chain(x, *tower(m, "branch3x3dbl", *"12"))
        sides = [chain(three, f"{m}.branch3x3_2{side}") for side in "ab"]
        sides += [chain(double, f"{m}.branch3x3dbl_3{side}") for side in "ab"]
        x = torch.cat([chain(x, f"{m}.branch1x1"), *sides, pooled(m, x)], 1)
    logits = net.linear("fc", x.mean((2, 3)))
    if not net.training:
        return (logits,)
    maps = net.unit("AuxLogits.conv0", maps if small else F.avg_pool2d(maps, 5, 3))
    return logits, net.linear("AuxLogits.fc", net.unit("AuxLogits.conv1", maps).mean((2, 3)))


# --- residual and highway -------------------------------------------------------------------------------------------


def resnet(net: Net, x: Tensor, small: bool = False) -> Tensor:
    """Any depth: blocks are there as long as they have weights; those with a third convolution are bottlenecks."""
    x = F.relu(net.norm("bn1", net.conv("conv1", x, 1 if small else 2, 1 if small else 3)))
    if not small:
        x = F.max_pool2d(x, 3, 2, 1)
    for stage in "1234":
        place = 0
        while f"layer{stage}.{place}.conv1" in net:
            name, stride = f"layer{stage}.{place}", 2 if stage != "1" and place == 0 else 1
            bottleneck = f"{name}.conv3" in net
            y = net.conv(f"{name}.conv1", x, 1 if bottleneck else stride, 0 if bottleneck else 1)
            y = net.conv(f"{name}.conv2", F.relu(net.norm(f"{name}.bn1", y)), stride if bottleneck else 1, 1)
            y = net.norm(f"{name}.bn2", y)
            if bottleneck:
                y = net.norm(f"{name}.bn3", net.conv(f"{name}.conv3", F.relu(y)))
            if f"{name}.downsample.0" in net:
                x = net.norm(f"{name}.downsample.1", net.conv(f"{name}.downsample.0", x, stride))
            x, place = F.relu(x + y), place + 1
    return net.linear("fc", x.mean((2, 3)))


def small_image_resnet(net: Net, x: Tensor, residual: bool = True) -> Tensor:
    x = F.relu(net.norm("bn1", net.conv("conv1", x, 1, 1)))
    for stage in "123":
        place = 0
        while f"layer{stage}.{place}.conv1" in net:
            name, stride = f"layer{stage}.{place}", 2 if stage != "1" and place == 0 else 1
            y = F.relu(net.norm(f"{name}.bn1", net.conv(f"{name}.conv1", x, stride, 1)))
            y = net.norm(f"{name}.bn2", net.conv(f"{name}.conv2", y, 1, 1))
            if residual:
                carried = x[:, :, ::stride, ::stride]
                y = y + F.pad(carried, (0, 0, 0, 0, 0, y.shape[1] - carried.shape[1]))
            x, place = F.relu(y), place + 1
    return net.linear("fc", x.mean((2, 3)))


def highway_dense(net: Net, x: Tensor) -> Tensor:
    x = F.relu(net.linear("1", x.flatten(1)))
    place = 3
    while f"{place}.gate" in net:
        gate = torch.sigmoid(net.linear(f"{place}.gate", x))
        x, place = F.relu(net.linear(f"{place}.plain", x)) * gate + x * (1 - gate), place + 1
    return net.linear(str(place), x)


def highway_conv(net: Net, x: Tensor) -> Tensor:
    x = F.relu(net.conv("0", x, 1, 1))
    for place in range(2, 13):
        if place in (4, 8, 12):
            x = F.max_pool2d(x, 2)
        else:
            gate = torch.sigmoid(net.conv(f"{place}.gate", x, 1, 1))
            x = F.relu(net.conv(f"{place}.plain", x, 1, 1)) * gate + x * (1 - gate)
    return net.linear("14", x.flatten(1))


# --- networks that score pixels -------------------------------------------------------------------------------------


def encoder_decoder(net: Net, x: Tensor) -> Tensor:
    def stage(name: str, x: Tensor) -> Tensor:
        for place in "12":
            x = F.relu(net.norm(f"{name}.bn{place}", net.conv(f"{name}.conv{place}", x, 1, 1)))
        return x

    def double(name: str, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, net.state[f"{name}.weight"], stride=2, padding=1)

    full = stage("encode1", x)
    half = stage("encode2", F.max_pool2d(full, 2))
    scores = net.conv("score3", stage("encode3", F.max_pool2d(half, 2)))
    return double("double2", double("double3", scores) + net.conv("score2", half)) + net.conv("score1", full)


def context(net: Net, x: Tensor, front_end: bool = False) -> Tensor:
    dilations, prefix = (1, 1, 2, 4, 8, 16, 1), ""
    if front_end:
        for place in (0, 2):
            x = F.relu(net.conv(f"front_end.{place}", x, 1, 1))
        x, dilations, prefix = net.conv("front_end.4", x), (1, 1, 2, 4, 8, 1), "context."
    for place, dilation in enumerate(dilations):
        x = F.relu(net.conv(f"{prefix}{2 * place}", x, 1, dilation, dilation=dilation))
    return net.conv(f"{prefix}{2 * len(dilations)}", x)


NETWORKS: dict[str, Callable[[Net, Tensor], Any]] = {
    "alexnet": alexnet,
    "alexnet_small": lambda net, x: alexnet(net, x, stride=1, padding=2, last=1, side=3),
    "alexnet_one_column": alexnet_one_column,
    "alexnet_one_column_small": lambda net, x: alexnet_one_column(net, x, stride=1, last=1, side=3),
    "googlenet": lambda net, x: googlenet(net, x, normalized=False),
    "googlenet_small": lambda net, x: googlenet(net, x, normalized=False, small=True),
    "googlenet_bn": lambda net, x: googlenet(net, x, normalized=True),
    "googlenet_bn_small": lambda net, x: googlenet(net, x, normalized=True, small=True),
    "inception_v3": inception_v3,
    "inception_v3_small": lambda net, x: inception_v3(net, x, small=True),
    **dict.fromkeys(("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"), resnet),
    **dict.fromkeys(("resnet18_small", "resnet50_small"), lambda net, x: resnet(net, x, small=True)),
    **dict.fromkeys((f"resnet{depth}" for depth in (20, 32, 44, 56, 110)), small_image_resnet),
    "plain20": lambda net, x: small_image_resnet(net, x, residual=False),
    "highway_dense": highway_dense,
    **dict.fromkeys(("highway_conv16", "highway_conv32"), highway_conv),
    "encoder_decoder": encoder_decoder,
    "context_basic": context,
    "context_small": lambda net, x: context(net, x, front_end=True),
}


def answer(case: dict[str, Any], given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Outputs of inference; of training the outputs, the loss, and its gradients to weights and images."""
    images, labels = given.pop("images"), given.pop("labels")
    network = NETWORKS[case["network"]]
    leaves = {name: tensor.requires_grad_() for name, tensor in given.items() if name in case["parameters"]}
    leaves["images"] = images.requires_grad_()
    with torch.no_grad():
        inferred = network(Net(given, training=False), images)
    outputs = network(Net(given, training=True), images)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    shares = [1.0] + [case["auxiliary_weight"]] * (len(outputs) - 1)
    losses = [F.cross_entropy(output, labels, label_smoothing=case["label_smoothing"]) for output in outputs]
    loss = sum(share * part for share, part in zip(shares, losses, strict=True))
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    answers = {f"grad_{name}": gradient for name, gradient in zip(leaves, gradients, strict=True)}
    inferred = inferred[0] if isinstance(inferred, tuple) else inferred
    return answers | {"inferred": inferred, "loss": loss.detach(), "trained": outputs[0].detach()}
