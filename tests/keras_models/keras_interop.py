"""Keras and convkit in one process: weights that move, layer by layer; see `peer` for how this is run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers as K

from convkit import data, nn
from convkit import functional as F
from convkit.interop.keras import from_keras, to_keras
from moved_networks import Net, parts, raised, trainer_of, worst
from peer import serve

EPS = 1e-3  # of Keras' normalisations
RNG = np.random.default_rng(0)


def shaken(network: Any) -> Any:
    """The network with weights that are all different, and variances above 0."""
    weights = network.get_weights()
    network.set_weights(
        [RNG.uniform(0.5, 1.5, w.shape) if w.ndim == 1 else RNG.normal(0, 0.3, w.shape) for w in weights]
    )
    return network


def check(network: Any, model: nn.Module, *sizes: tuple[int, ...], channels_first: bool = False) -> float:
    """Move weights here, compare outputs, move them back, compare weights; the largest error of the outputs."""
    shaken(network)
    from_keras(network, model)
    inputs = [RNG.standard_normal((3, *size)).astype(np.float32) for size in sizes]
    ours = [x if channels_first or x.ndim == 2 else np.moveaxis(x, -1, 1) for x in inputs]
    expected = np.asarray(network(inputs[0] if len(inputs) == 1 else inputs))
    expected = np.moveaxis(expected, -1, 1) if expected.ndim > 2 else expected
    error = worst(model(*ours), expected)
    before = network.get_weights()
    network.set_weights([np.zeros_like(values) for values in before])
    to_keras(model, network)
    for values, old in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(values, old)
    return error


# --- layers -------------------------------------------------------------------------------------------------


def in_a_row(size: tuple[int, ...], *there: Any) -> Any:
    return keras.Sequential([keras.Input(size), *there])


LAYERS: dict[str, Callable[[], float]] = {
    "Dense": lambda: check(in_a_row((5,), K.Dense(3)), nn.Linear(5, 3), (5,)),
    "Dense without bias": lambda: check(
        in_a_row((5,), K.Dense(3, use_bias=False)), nn.Sequential(nn.Linear(5, 3, bias=False)), (5,)
    ),
    "Conv1D": lambda: check(in_a_row((9, 4), K.Conv1D(6, 3)), nn.Conv1d(4, 6, 3), (9, 4)),
    "Conv2D": lambda: check(in_a_row((9, 8, 4), K.Conv2D(6, (3, 2))), nn.Conv2d(4, 6, (3, 2)), (9, 8, 4)),
    "Conv2D in groups": lambda: check(
        in_a_row((9, 8, 4), K.Conv2D(6, (3, 2), groups=2)), nn.Conv2d(4, 6, (3, 2), groups=2), (9, 8, 4)
    ),
    "Conv3D": lambda: check(in_a_row((5, 6, 7, 2), K.Conv3D(3, (1, 2, 3))), nn.Conv3d(2, 3, (1, 2, 3)), (5, 6, 7, 2)),
    "DepthwiseConv1D": lambda: check(
        in_a_row((9, 4), K.DepthwiseConv1D(3, depth_multiplier=2)), nn.Conv1d(4, 8, 3, groups=4), (9, 4)
    ),
    "DepthwiseConv2D": lambda: check(
        in_a_row((9, 8, 4), K.DepthwiseConv2D((3, 2), depth_multiplier=2)),
        nn.Conv2d(4, 8, (3, 2), groups=4),
        (9, 8, 4),
    ),
    "Conv1DTranspose": lambda: check(
        in_a_row((5, 4), K.Conv1DTranspose(3, 3, strides=2)), nn.ConvTranspose1d(4, 3, 3, 2), (5, 4)
    ),
    "Conv2DTranspose": lambda: check(
        in_a_row((5, 4, 2), K.Conv2DTranspose(3, (3, 4), strides=2)), nn.ConvTranspose2d(2, 3, (3, 4), 2), (5, 4, 2)
    ),
    "Conv3DTranspose": lambda: check(
        in_a_row((3, 4, 2, 2), K.Conv3DTranspose(3, (3, 4, 2), strides=2)),
        nn.ConvTranspose3d(2, 3, (3, 4, 2), 2),
        (3, 4, 2, 2),
    ),
    "BatchNormalization": lambda: check(
        in_a_row((4, 3, 5), K.BatchNormalization()), nn.BatchNorm2d(5, eps=EPS), (4, 3, 5)
    ),
    "BatchNormalization without scale": lambda: check(
        in_a_row((5,), K.BatchNormalization(scale=False)), nn.BatchNorm1d(5, eps=EPS), (5,)
    ),
    "BatchNormalization alone": lambda: check(
        in_a_row((5,), K.BatchNormalization(scale=False, center=False)), nn.BatchNorm1d(5, EPS, affine=False), (5,)
    ),
    "LayerNormalization": lambda: check(in_a_row((5,), K.LayerNormalization()), nn.LayerNorm(5, eps=EPS), (5,)),
    "GroupNormalization": lambda: check(
        in_a_row((4, 3, 6), K.GroupNormalization(2)), nn.GroupNorm(2, 6, eps=EPS), (4, 3, 6)
    ),
    "PReLU": lambda: check(in_a_row((4, 3, 6), K.PReLU(shared_axes=[1, 2])), nn.PReLU(6), (4, 3, 6)),
}


def layers() -> dict[str, float]:
    return {name: compare() for name, compare in LAYERS.items()}


# --- whole networks -----------------------------------------------------------------------------------------


def features_in_a_row() -> float:
    """What reads flattened features is put into the other order, up to the first dense layer and no further."""
    network = in_a_row(
        (9, 8, 3), K.Conv2D(4, 3), K.MaxPooling2D(2), K.Flatten(), K.BatchNormalization(), K.ReLU(), K.Dropout(0.5),
        K.LayerNormalization(), K.Dense(36), K.BatchNormalization(), K.Dense(2),
    )  # fmt: skip
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.BatchNorm1d(36, EPS), nn.ReLU(), nn.Dropout(0.5),
        nn.LayerNorm(36, EPS), nn.Linear(36, 36), nn.BatchNorm1d(36, EPS), nn.Linear(36, 2),
    )  # fmt: skip
    return check(network, model, (9, 8, 3))


def features_of_signals_and_volumes() -> list[float]:
    return [
        check(
            in_a_row((7, 3), K.Conv1D(4, 3), K.Flatten(), K.Dense(2)),
            nn.Sequential(nn.Conv1d(3, 4, 3), nn.Flatten(), nn.Linear(20, 2)),
            (7, 3),
        ),
        check(
            in_a_row((4, 3, 5, 2), K.Conv3D(4, 2), K.Flatten(), K.Dense(2)),
            nn.Sequential(nn.Conv3d(2, 4, 2), nn.Flatten(), nn.Linear(96, 2)),
            (4, 3, 5, 2),
        ),
    ]


def features_of_channels_first() -> float:
    """There, too, Flatten lays out (h, w, c): it turns images round first."""
    there = [K.MaxPooling2D(2, data_format="channels_first"), K.Flatten(data_format="channels_first"), K.Dense(3)]
    model = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 3))
    return check(in_a_row((4, 6, 5), *there), model, (4, 6, 5), channels_first=True)


class Branches(nn.Module):
    """Two inputs, a residual sum, and features of three sources side by side."""

    def __init__(self) -> None:
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.conv3, self.given, self.out = nn.Conv2d(3, 2, 1), nn.Linear(5, 5), nn.Linear(4 * 30 + 2 * 30 + 5, 3)

    def forward(self, x: Any, extra: Any) -> Any:
        y = F.relu(self.conv1(x))
        y = y + self.conv2(y)
        return self.out(F.concat([F.flatten(y), F.flatten(self.conv3(x)), self.given(extra)]))


def branches() -> float:
    """The order of layers is that of ``network.layers``: by depth."""
    x, extra = keras.Input((6, 5, 3)), keras.Input((5,))
    y = K.ReLU()(K.Conv2D(4, 3, padding="same")(x))
    y = K.Add()([y, K.Conv2D(4, 3, padding="same")(y)])
    parts = [K.Flatten()(y), K.Flatten()(K.Conv2D(2, 1)(x)), K.Dense(5)(extra)]
    network = keras.Model([x, extra], K.Dense(3)(K.Concatenate()(parts)))
    return check(network, Branches(), (6, 5, 3), (5,))


def models_within() -> float:
    """A base of convolutions within a model, as networks taken over for another task are."""
    base = keras.Sequential([keras.Input((6, 5, 3)), K.Conv2D(4, 3), K.BatchNormalization()])
    network = in_a_row((6, 5, 3), base, K.ReLU(), K.Flatten(), K.Dense(2))
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, EPS)), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)
    )
    return check(network, model, (6, 5, 3))


# --- what is refused ----------------------------------------------------------------------------------------


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.flat, self.dense = K.Flatten(), K.Dense(2)

    def call(self, x: Any) -> Any:
        return self.dense(self.flat(x))


def refused() -> list[str]:
    """Messages of moves that must not happen."""
    subclassed = Subclassed()
    subclassed(np.ones((1, 2, 3, 4), np.float32))
    head = keras.Sequential([keras.Input((24,), name="head"), K.Dense(2, name="inner")])
    linear = nn.Linear(5, 3)
    pairs = [
        (in_a_row((5,), K.Dense(4, name="d")), linear),
        (in_a_row((5,), K.Dense(3, name="d", use_bias=False)), linear),
        (in_a_row((9, 4), K.Conv1D(3, 5, name="c")), linear),
        (in_a_row((5,), K.BatchNormalization(name="b")), nn.BatchNorm1d(5)),
        (in_a_row((5,), K.Dense(3, name="d"), K.Dense(2, name="e")), linear),
        (in_a_row((5,), K.Dense(3, name="d")), nn.Sequential(linear, nn.ReLU(), nn.Linear(3, 3))),
        (in_a_row((9, 5), K.LSTM(3, name="l")), linear),
        (in_a_row((2, 3, 4), K.Reshape((24,), name="r"), K.Dense(2)), nn.Linear(24, 2)),
        (keras.Sequential([K.Dense(3)], name="new"), linear),
        (subclassed, nn.Linear(24, 2)),
        (in_a_row((2, 3, 4), K.Flatten(), head), nn.Linear(24, 2)),
        (in_a_row((4, 3, 6), K.PReLU(name="p")), nn.PReLU(6)),
        (K.Dense(3), linear),
        (in_a_row((5,), K.Dense(3)), K.Dense(3)),
    ]
    messages = [raised(from_keras, network, model) for network, model in pairs]
    scaled = nn.BatchNorm1d(5, EPS)
    scaled.weight.assign(np.full(5, 2.0))
    messages.append(raised(to_keras, scaled, in_a_row((5,), K.BatchNormalization(scale=False, name="b"))))
    return messages


def a_refusal_changes_nothing() -> None:
    """The first layer fits, the second does not."""
    network = shaken(in_a_row((5,), K.Dense(3), K.Dense(4)))
    model = nn.Sequential(nn.Linear(5, 3), nn.Linear(3, 2))
    theirs, ours = network.get_weights(), model.state_dict()
    raised(from_keras, network, model)
    raised(to_keras, model, network)
    for values, old in zip(network.get_weights(), theirs, strict=True):
        np.testing.assert_array_equal(values, old)
    for name, values in model.state_dict().items():
        np.testing.assert_array_equal(values, ours[name])


# --- training there and here --------------------------------------------------------------------------------


def make_network() -> Any:
    """`moved_networks.Net`, layer by layer."""
    return in_a_row(
        (28, 28, 1), K.Conv2D(8, 5), K.BatchNormalization(), K.ReLU(), K.MaxPooling2D(2),
        K.Conv2D(16, 3), K.BatchNormalization(), K.ReLU(), K.MaxPooling2D(2),
        K.Flatten(), K.Dense(32), K.ReLU(), K.Dense(10),
    )  # fmt: skip


def images_of(dataset: data.Dataset) -> np.ndarray:
    return np.moveaxis(dataset.images, 1, -1).astype(np.float32) / 255


def accuracy(network: Any, dataset: data.Dataset) -> float:
    logits = network.predict(images_of(dataset), batch_size=500, verbose=0)
    return float((logits.argmax(1) == dataset.labels).mean())


def trained_there_and_here(source: str) -> dict[str, float]:
    """Accuracies of a network trained in Keras, moved here, trained on, and moved back."""
    keras.utils.set_random_seed(0)
    learn, test = parts(source)
    network, model = make_network(), Net(EPS, momentum=0.01)
    network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    epochs = 1 if len(learn) > 10_000 else 4  # Keras' running moments follow slowly
    network.fit(images_of(learn), learn.labels, batch_size=64, epochs=epochs, verbose=0)
    there = accuracy(network, test)
    from_keras(network, model)
    trainer = trainer_of(model)
    here = trainer.evaluate(test)["accuracy"]
    trainer.fit(learn, epochs=epochs, batch_size=64, seed=2, verbose=0)
    on = trainer.evaluate(test)["accuracy"]
    to_keras(model, network)
    return {"there": there, "here": here, "trained on here": on, "back there": accuracy(network, test)}


if __name__ == "__main__":
    serve(
        layers, features_in_a_row, features_of_signals_and_volumes, features_of_channels_first, branches,
        models_within, refused, a_refusal_changes_nothing, trained_there_and_here,
    )  # fmt: skip
