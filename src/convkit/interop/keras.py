"""Weights from a Keras model and into one.

The layers that have weights are taken one after the other on both sides. Keras puts channels last, so arrays change
their axes on the way: kernels are (kh, kw, I, O) there and (O, I, kh, kw) here, dense weights (I, O) there and (O, I)
here. And what a `Flatten` lays out in a row is (h, w, c) there (even where images are channels-first: that layer turns
them round) and (c, h, w) here, so the weights that read such a row are put into the other order: which ones is found
by going back from each layer to where its features come from.

Keras (version 3) itself is not imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from convkit import nn
from convkit.errors import held, view
from convkit.interop.objects import check_foreign, check_model
from convkit.parameter import Buffer, Parameter

__all__ = ["from_keras", "to_keras"]

Owned = Parameter | Buffer


@dataclass(frozen=True)
class Entry:
    """One array of a layer, on both sides."""

    ours: str
    theirs: str
    axes: tuple[int, ...] | None = None  # of theirs, in our order; None for a vector
    features: int | None = None  # of our axes, that along which features of the input run
    neutral: float | None = None  # what our layer holds where theirs, built without this array, does the same


def _weight_and_bias(*axes: int, features: int | None = None) -> tuple[Entry, ...]:
    return Entry("weight", "kernel", axes, features), Entry("bias", "bias")


_SCALE_AND_SHIFT = (
    Entry("weight", "gamma", features=0, neutral=1.0),
    Entry("bias", "beta", features=0, neutral=0.0),
)
_MOMENTS = (
    Entry("running_mean", "moving_mean", features=0),
    Entry("running_var", "moving_variance", features=0),
)

# The layers with weights by their name in Keras: what they are here, and their arrays. A depthwise kernel comes as
# (C, multiplier, kh, kw) and is read as (C·multiplier, 1, kh, kw);
# layers for one and three axes derive from those for two.
KINDS: dict[str, tuple[type[nn.Module], tuple[Entry, ...]]] = {
    "Dense": (nn.Linear, _weight_and_bias(1, 0, features=1)),
    "Conv1D": (nn.Conv1d, _weight_and_bias(2, 1, 0)),
    "Conv2D": (nn.Conv2d, _weight_and_bias(3, 2, 0, 1)),
    "Conv3D": (nn.Conv3d, _weight_and_bias(4, 3, 0, 1, 2)),
    "DepthwiseConv1D": (nn.Conv1d, _weight_and_bias(1, 2, 0)),
    "DepthwiseConv2D": (nn.Conv2d, _weight_and_bias(2, 3, 0, 1)),
    "Conv1DTranspose": (nn.ConvTranspose1d, _weight_and_bias(2, 1, 0)),
    "Conv2DTranspose": (nn.ConvTranspose2d, _weight_and_bias(3, 2, 0, 1)),
    "Conv3DTranspose": (nn.ConvTranspose3d, _weight_and_bias(4, 3, 0, 1, 2)),
    "BatchNormalization": (nn.BatchNorm2d, (*_SCALE_AND_SHIFT, *_MOMENTS)),
    "LayerNormalization": (nn.LayerNorm, _SCALE_AND_SHIFT),
    "GroupNormalization": (nn.GroupNorm, _SCALE_AND_SHIFT),
    "PReLU": (nn.PReLU, (Entry("weight", "alpha"),)),
}


def from_keras(network: Any, model: nn.Module) -> None:
    """Copy the weights of a Keras model into a model of the same layers.

    Layers with weights are matched in order: those of ``network.layers``, models within it included, and those of
    `model` as its attributes are defined. What is meant: Dense, Conv1D to Conv3D, DepthwiseConv1D and 2D (here a
    convolution with as many groups as channels), Conv1DTranspose to Conv3DTranspose, BatchNormalization,
    LayerNormalization, GroupNormalization and PReLU with one slope for each channel.

    Parameters
    ----------
    network : keras.Model
        Sequential or functional, and built; it stays as it is.
    model : Module
        Its arrays are converted to its dtype. Counts of batches, which Keras has not, stay as they are.

    Raises
    ------
    TypeError
        For other objects, and numbers that the model's dtype cannot hold.
    ValueError
        For layers that do not fit each other, with both and their shapes; for an ``eps`` that is not the other's
        ``epsilon`` (Keras' default is 1e-3, not 1e-5); and for layers of which convkit has none, or that change the
        order of features in another way than Flatten. The model then stays as it was.

    Examples
    --------
    >>> network = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Conv2D(8, 3), keras.layers.ReLU()])
    >>> model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU())
    >>> from_keras(network, model)
    """
    new: list[tuple[Owned, np.ndarray]] = []
    for link in _links("from_keras", network, model):
        owned, values = link.owned, link.values
        if values is None:
            new.append((owned, np.full(owned.shape, link.entry.neutral, owned.dtype)))
        else:
            argument = f"{link.entry.theirs} of {link.layer.name}"
            new.append((owned, held("from_keras", argument, link.in_our_order(values), owned.dtype)))
    for owned, values in new:
        owned.assign(values)


def to_keras(model: nn.Module, network: Any) -> None:
    """Copy the weights of a model into a Keras model of the same layers.

    Parameters
    ----------
    model : Module
        It stays as it is.
    network : keras.Model
        Sequential or functional, and built; layers as for `from_keras`.

    Raises
    ------
    TypeError, ValueError
        As `from_keras`, and where a normalisation of `model` has a scale other than 1 or a shift other than 0 that the
        layer in Keras was built without. The network then stays as it was.
    """
    new: dict[int, tuple[Any, dict[str, np.ndarray]]] = {}
    for link in _links("to_keras", network, model):
        if link.values is None:
            if (link.owned.value != link.entry.neutral).any():
                raise ValueError(
                    f"to_keras: {link.names} must have a {link.entry.theirs}, as {link.entry.ours} is not "
                    f"{link.entry.neutral:g} everywhere"
                )
        else:
            _, arrays = new.setdefault(id(link.layer), (link.layer, _variables("to_keras", link.layer)))
            arrays[link.entry.theirs] = link.in_their_order(link.values)
    for layer, arrays in new.values():
        layer.set_weights(list(arrays.values()))


@dataclass(frozen=True)
class _Link:
    """An array of ours and what it is in Keras."""

    names: str
    layer: Any
    entry: Entry
    owned: Owned
    values: np.ndarray | None  # None where their layer was built without it
    order: np.ndarray | None  # the number in Keras of each of our features, where these differ

    def in_our_order(self, values: np.ndarray) -> np.ndarray:
        view = self._view(values)
        return view[self._places()].reshape(self.owned.shape)

    def in_their_order(self, values: np.ndarray) -> np.ndarray:
        new = np.empty(values.shape, self.owned.dtype)
        view = self._view(new)
        view[self._places()] = self.owned.value.reshape(view.shape)
        return new

    def _view(self, values: np.ndarray) -> np.ndarray:
        """An array of theirs with its axes in our order, in the same memory."""
        return values.reshape(-1) if self.entry.axes is None else values.transpose(self.entry.axes)

    def _places(self) -> Any:
        if self.order is None or self.entry.features is None:
            return ...
        return (*[slice(None)] * self.entry.features, self.order)


def _links(where: str, network: Any, model: Any) -> Iterator[_Link]:
    """All arrays of both, layer by layer; what does not fit raises."""
    check_foreign(where, "network", network, "keras", "Model")
    check_model(where, model)
    layers = list(_layers(where, network))
    _check_order(where, layers)
    theirs = [layer for layer in layers if layer.weights]
    ours = _modules(model)
    if not theirs and ours:
        raise ValueError(f"{where}: {network.name} has no weights; build it, or call it on a batch, first")
    for layer, (name, module) in zip(theirs, ours, strict=False):
        yield from _links_of_layer(where, network, layer, name, module)
    if len(theirs) != len(ours):
        more = [_described(layer) for layer in theirs[len(ours) :]] or [_ours(*pair) for pair in ours[len(theirs) :]]
        raise ValueError(
            f"{where}: {network.name} has {len(theirs)} layers with weights and the model {len(ours)}; "
            f"left over: {', '.join(more)}"
        )


def _layers(where: str, network: Any, around: tuple[Any, ...] = ()) -> Iterator[Any]:
    """The layers of a Keras model and of the models within it."""
    if any(network is other for other in around):
        raise ValueError(f"{where}: {network.name} must not hold itself")
    for layer in network.layers:
        if hasattr(layer, "layers"):
            yield from _layers(where, layer, (*around, network))
        else:
            yield layer


def _modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Our layers that have arrays of their own, each once."""
    found: dict[int, tuple[str, nn.Module]] = {}
    owners = {name.rpartition(".")[0] for name in model.named_state()}
    for name, module in model.modules():
        if name in owners:
            found.setdefault(id(module), (name, module))
    return list(found.values())


def _links_of_layer(where: str, network: Any, layer: Any, name: str, module: nn.Module) -> Iterator[_Link]:
    kind = next((kind.__name__ for kind in type(layer).__mro__ if kind.__name__ in KINDS), None)
    if kind is None:
        raise ValueError(f"{where}: {_described(layer)} has no counterpart in convkit, only {', '.join(KINDS)} have")
    names = f"{_described(layer)} and {_ours(name, module)}"
    ours, entries = KINDS[kind]
    if not isinstance(module, ours):
        raise ValueError(f"{where}: {names} are layers of different kinds")
    epsilon, eps = getattr(layer, "epsilon", None), getattr(module, "eps", None)
    if epsilon != eps:
        raise ValueError(f"{where}: {names} must add the same to the variance, but epsilon is {epsilon} and eps {eps}")
    variables, order = _variables(where, layer), _order_of_input(where, network, layer)
    unknown = variables.keys() - {entry.theirs for entry in entries}
    if unknown:
        raise ValueError(f"{where}: {names} do not fit: convkit has no {', '.join(sorted(unknown))}")
    for entry in entries:
        values, owned = variables.get(entry.theirs), getattr(module, entry.ours)
        absent = values is None and (owned is None or entry.neutral is not None)
        if not absent and (owned is None or values is None or _shape(kind, entry, values) != owned.shape):
            raise ValueError(f"{where}: {names} do not fit")
        if owned is not None:
            yield _Link(names, layer, entry, owned, values, order)


def _shape(kind: str, entry: Entry, values: np.ndarray) -> tuple[int, ...]:
    """What our array has to be like."""
    if entry.axes is None:
        return (values.size,) if max(values.shape, default=1) == values.size else values.shape
    if values.ndim != len(entry.axes):
        return values.shape
    shape = tuple(values.shape[axis] for axis in entry.axes)
    return (shape[0] * shape[1], 1, *shape[2:]) if kind.startswith("Depthwise") else shape


def _variables(where: str, layer: Any) -> dict[str, np.ndarray]:
    """The weights of a Keras layer by name, in Keras' order."""
    names, arrays = _names(layer), layer.get_weights()
    if len(arrays) != len(names) or len(set(names)) != len(names) or "" in names:
        raise ValueError(f"{where}: {_described(layer)} must have weights of different names, and one array for each")
    return {name: view(where, f"{name} of {layer.name}", values) for name, values in zip(names, arrays, strict=True)}


def _names(layer: Any) -> list[str]:
    """The names of a layer's weights without what Keras puts around them; empty where there is none."""
    return [str(weight.name or "").rpartition("/")[2].partition(":")[0] for weight in layer.weights]


def _described(layer: Any) -> str:
    pairs = zip(_names(layer), layer.get_weights(), strict=False)
    arrays = ", ".join(f"{name} {np.shape(values)}" for name, values in pairs)
    return f"{layer.name} ({type(layer).__name__}: {arrays})"


def _ours(name: str, module: nn.Module) -> str:
    prefix = f"{name}." if name else ""
    arrays = {key.removeprefix(prefix): owned for key, owned in {**module.parameters(), **module.buffers()}.items()}
    listed = ", ".join(f"{key} {owned.shape}" for key, owned in arrays.items())
    return f"{name or 'the model'} ({type(module).__name__}: {listed})"


# --- the order of features ----------------------------------------------------------------------------------


def _check_order(where: str, layers: list[Any]) -> None:
    """Refuse layers that lay values out anew in Keras' order, where ours is another."""
    for layer in layers:
        if type(layer).__name__ in ("Reshape", "Permute"):
            shapes = [tuple(tensor.shape[1:]) for tensor in (layer.input, layer.output)]
            if not all(len(shape) < 2 or shape[-1] == 1 or shape[:-1] == (1,) * (len(shape) - 1) for shape in shapes):
                raise ValueError(
                    f"{where}: {layer.name} ({type(layer).__name__}: {shapes[0]} to {shapes[1]}) orders values with "
                    "channels last; only Flatten can be followed"
                )


def _order_of_input(where: str, network: Any, layer: Any) -> np.ndarray | None:
    """The number in Keras of each feature that a layer reads; None where ours come in the same order."""
    if not any(type(other).__name__ == "Flatten" for other in _layers(where, network)):
        return None
    try:
        return _order(where, network, layer.input)
    except AttributeError:  # by which Keras says that a layer is in no graph
        raise ValueError(
            f"{where}: nothing says what {layer.name} reads, and there is a Flatten; "
            f"{network.name} must be a Sequential or functional model"
        ) from None


def _order(where: str, network: Any, tensor: Any) -> np.ndarray | None:
    """The number in Keras of each of the features (N, F), found by going back to where they were laid in a row."""
    if len(tensor.shape) != 2:
        return None
    source, _, position = tensor._keras_history
    if hasattr(source, "layers"):
        return _order(where, network, source.outputs[position])
    kind = type(source).__name__
    if kind == "InputLayer":
        if not any(tensor is given for given in network.inputs):
            raise ValueError(
                f"{where}: {source.name} belongs to a model within {network.name}, and nothing says whether it is "
                "given what a Flatten made; put these layers into one model"
            )
        return None
    if kind == "Flatten":
        return _flattened(where, source)
    inputs = source.input if isinstance(source.input, (list, tuple)) else [source.input]
    if kind == "Concatenate":
        return _joined([(_order(where, network, part), part.shape[1]) for part in inputs])
    if kind == "Dense" or any(part.shape != tensor.shape for part in inputs):
        return None
    first, *others = (_order(where, network, part) for part in inputs)  # an activation, a normalisation, a sum
    if not all(_same(first, other) for other in others):
        raise ValueError(f"{where}: {source.name} adds up features of different orders")
    return first


def _flattened(where: str, layer: Any) -> np.ndarray | None:
    """The order that Flatten makes of (*size, C), or of (C, *size): the layer turns that round itself."""
    shape = tuple(layer.input.shape[1:])
    if len(shape) < 2:
        return None
    if None in shape:
        raise ValueError(f"{where}: {layer.name} must know its input's size, not {shape}")
    channels = shape[-1] if layer.data_format == "channels_last" else shape[0]
    return np.arange(prod(shape)).reshape(-1, channels).T.reshape(-1)


def _same(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is b if a is None or b is None else np.array_equal(a, b)


def _joined(parts: list[tuple[np.ndarray | None, int]]) -> np.ndarray | None:
    """The order of features of which some follow the others."""
    if all(order is None for order, _ in parts):
        return None
    starts = np.cumsum([0, *(size for _, size in parts)])
    return np.concatenate(
        [
            start + (np.arange(size) if order is None else order)
            for start, (order, size) in zip(starts, parts, strict=False)
        ]
    )
