"""Replace arguments of every constructor by rubbish; only errors in the house's voice may come of it.

Layers, losses, optimisers, schedules, augmentations and initialisers, each argument in turn; what could be constructed
is called once on something small. Run in a process of its own, as `fuzz_functional`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import convkit as ck
from convkit import data, nn, optim
from convkit import functional as F
from fuzz_functional import Fuzz, describe, rubbish_for, strange_integers

SECONDS = 5
FUNCTIONS_TO_GIVE = ("init", "lr", "schedule", "match")  # arguments that may be a function: it may do what it likes


@dataclass(frozen=True)
class Made:
    """A class, arguments that it takes, and a call of what they make."""

    kind: Callable[..., Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    use: Callable[[Any], Any] = lambda made: None

    @property
    def name(self) -> str:
        return self.kind.__name__

    def complete(self) -> dict[str, Any]:
        """Every argument that there is, those not given with their defaults."""
        parameters = inspect.signature(self.kind).parameters.values()
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        return {p.name: p.default for p in named} | self.arguments


def applied(*shape: int) -> Callable[[nn.Module], Any]:
    """Call a layer on an array of this shape, in inference and in training."""
    x = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    return lambda layer: (layer(x), layer(x, training=True))


def layers() -> list[Made]:
    made = [
        Made(kind, use=applied(2, 4, 3, 5))
        for kind in (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Softmax, nn.Dropout, nn.Dropout2d, nn.Dropout3d, nn.LeakyReLU)
    ]
    made += [
        Made(kind, use=applied(2, 4, 3, 5))
        for kind in (nn.PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Softplus, nn.Hardsigmoid, nn.Hardswish)
    ]
    made += [Made(kind, use=applied(2, 4, 3, 5)) for kind in (nn.Hardtanh, nn.GlobalAvgPool, nn.GlobalMaxPool)]
    for rank in (1, 2, 3):
        x = (2, 4, *(6, 5, 4)[:rank])
        window = {"kernel_size": 3, "stride": 1, "padding": 1}
        for name in ("Conv", "ConvTranspose"):
            convolution = {"in_channels": 4, "out_channels": 6, "groups": 2} | window
            made.append(Made(getattr(nn, f"{name}{rank}d"), convolution, applied(*x)))
        for name in ("MaxPool", "AvgPool"):
            made.append(Made(getattr(nn, f"{name}{rank}d"), window, applied(*x)))
        for name in ("AdaptiveAvgPool", "AdaptiveMaxPool"):
            made.append(Made(getattr(nn, f"{name}{rank}d"), {"output_size": 2}, applied(*x)))
        made.append(Made(getattr(nn, f"MaxUnpool{rank}d"), {"kernel_size": 2}, unpooled(rank)))
        made.append(Made(getattr(nn, f"BatchNorm{rank}d"), {"num_features": 4}, applied(*x)))
    made += [
        Made(nn.GroupNorm, {"num_groups": 2, "num_channels": 4}, applied(2, 4, 3)),
        Made(nn.LayerNorm, {"normalized_shape": (3, 5)}, applied(2, 3, 5)),
        Made(nn.LocalResponseNorm, {"size": 3}, applied(2, 4, 3)),
        Made(nn.Linear, {"in_features": 4, "out_features": 3}, applied(2, 4)),
        Made(nn.PixelShuffle, {"upscale_factor": 2}, applied(2, 4, 2, 3)),
        Made(nn.PixelUnshuffle, {"downscale_factor": 2}, applied(2, 1, 4, 6)),
        Made(nn.Upsample, {"scale_factor": 2}, applied(2, 1, 4, 6)),
        Made(nn.Flatten, {}, applied(2, 3, 4)),
        Made(nn.FeatureExtractor, {"model": nn.Sequential(nn.ReLU()), "layers": "0"}, applied(2, 3)),
        Made(nn.Parameter, {"values": np.ones((2, 3), np.float32)}),
        Made(nn.Buffer, {"values": np.ones((2, 3), np.float32)}),
    ]
    return made


def unpooled(rank: int) -> Callable[[nn.Module], Any]:
    x, indices = ck.functional.__dict__[f"max_pool{rank}d"](np.ones((2, 4, *(6, 4, 4)[:rank])), 2, return_indices=True)
    return lambda layer: layer(x, indices)


def losses() -> list[Made]:
    logits, labels = np.linspace(-1, 1, 15, dtype=np.float32).reshape(3, 5), np.array([0, 4, 2])
    weight = {"weight": np.ones(5, np.float32)}
    return [
        Made(nn.CrossEntropyLoss, weight, lambda loss: loss(logits, labels)),
        Made(nn.AuxiliaryCrossEntropyLoss, weight, lambda loss: loss((logits, logits), labels)),
        Made(nn.MSELoss, {}, lambda loss: loss(logits, logits)),
    ]


def rules() -> list[Made]:
    def used(optimizer: optim.Optimizer) -> None:
        slots = {name: np.zeros(5, np.float32) for name in optimizer.slots}
        optimizer.bind(10)
        rate, decay = optimizer.rate(3), optimizer.settings("weight")[1]
        values, grads = np.ones(5, np.float32), np.ones(5, np.float32)
        optimizer.update(values, grads, slots, lr=rate, weight_decay=decay, count=1)

    def asked(schedule: optim.Schedule) -> list[float]:
        return [schedule.bind(10)(index) for index in (0, 1, 1000)]

    made = [Made(kind, {"lr": 0.1}, used) for kind in (optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop)]
    made.append(Made(optim.ParamGroup, {"match": "*"}, lambda group: group.includes("weight")))
    made.append(Made(optim.Constant, {"lr": 0.1}, asked))
    made += [Made(kind, {"lr": 0.1, "epochs": 3}, asked) for kind in (optim.Step, optim.Exponential, optim.Cosine)]
    made.append(Made(optim.Piecewise, {"rates": (0.1, 0.2), "epochs": (1, 2)}, asked))
    made.append(Made(optim.WarmUp, {"schedule": 0.1, "steps": 3}, asked))
    return made


def augmentations() -> list[Made]:
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (4, 3, 6, 5), np.uint8), np.array([0, 1, 2, 1])

    def used(augmentation: Any) -> Any:
        floats = augmentation((images / 255).astype(np.float32), labels, rng)
        return floats, augmentation(images, labels, rng)

    made = [Made(kind, {}, used) for kind in (data.RandomHorizontalFlip, data.RandomErasing)]
    made += [
        Made(data.RandomShift, {"pixels": 2}, used),
        Made(data.RandomCrop, {"size": 4}, used),
        Made(data.RandomRotation, {"degrees": 10.0}, used),
        Made(data.Cutout, {"size": 2}, used),
        Made(data.MixUp, {"classes": 3}, used),
    ]
    return made


def initialisers() -> list[Made]:
    made = [Made(function, {"shape": (3, 2, 2)}) for function in (*nn.init.BY_NAME.values(), nn.init.fans)]
    return [*made, Made(nn.init.normal, {"shape": (3, 2), "deviation": 0.1})]


def constructed() -> list[Made]:
    return layers() + losses() + rules() + augmentations() + initialisers()


def construct(fuzz: Fuzz, made: Made, changes: dict[str, Any]) -> None:
    arguments = made.complete() | changes
    what = f"{made.name} { ({name: describe(value) for name, value in changes.items()}) }"
    thing = fuzz.attempt(what, made.name, changes, lambda: made.kind(**arguments))
    if thing is not None:
        fuzz.attempt(f"{what}, called", "", (), lambda: made.use(thing), speakers=(made.name, *F.__all__))


def values_of_parameters(fuzz: Fuzz) -> None:
    for kind in (nn.Parameter, nn.Buffer):
        owned = kind(np.ones((2, 3), np.float32))
        for item in rubbish_for("values", owned.value):
            fuzz.attempt(
                f"{kind.__name__}.assign {describe(item)}",
                f"{kind.__name__} ''.assign",
                ("values",),
                lambda owned=owned, item=item: owned.assign(item),
            )


def labels_of_losses(fuzz: Fuzz) -> None:
    logits, labels = np.ones((3, 5), np.float32), np.array([0, 4, 2])
    for loss in (nn.CrossEntropyLoss(), nn.AuxiliaryCrossEntropyLoss()):
        for item in rubbish_for("labels", labels):
            fuzz.attempt(
                f"{type(loss).__name__} labels {describe(item)}",
                "cross_entropy",
                ("labels", "label"),
                lambda loss=loss, item=item: loss(logits, item),
            )


def indices_of_layers(fuzz: Fuzz) -> None:
    x, indices = F.max_pool2d(np.ones((2, 3, 4, 4), np.float32), 2, return_indices=True)
    for item in rubbish_for("indices", indices):
        fuzz.attempt(
            f"MaxUnpool2d indices {describe(item)}",
            "",
            (),
            lambda item=item: nn.MaxUnpool2d(2)(x, item),
            speakers=("MaxUnpool2d", "max_unpool2d", "max_unpool"),
        )
    assert len(strange_integers(indices)) > 10


def main() -> None:
    fuzz = Fuzz(SECONDS)
    with np.errstate(all="ignore"):
        for made in constructed():
            fuzz.attempt(made.name, made.name, (), lambda made=made: made.use(made.kind(**made.arguments)))
            for name, value in made.complete().items():
                for item in rubbish_for(name, value):
                    if not (callable(item) and name in FUNCTIONS_TO_GIVE):
                        construct(fuzz, made, {name: item})
        values_of_parameters(fuzz)
        labels_of_losses(fuzz)
        indices_of_layers(fuzz)
    fuzz.end()
