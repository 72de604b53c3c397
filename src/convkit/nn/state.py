"""How the arrays of a state find the parameters and buffers of a model.

A state is a mapping of names to arrays, such as the ``state_dict`` of a PyTorch module: ``conv1.weight``, where what
stands before the last dot is the layer. By name every array goes where the model has that name. By order, for networks
that are the same but for the names, the layers of the state go to the model's one after the other, and each has to
have the same arrays. Counts of batches may lack on either side: nothing that a network computes depends on them.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from convkit.errors import held, said, view
from convkit.parameter import Buffer, Parameter

COUNT = "num_batches_tracked"
MATCHES = ("name", "order")

_LISTED = 8  # names in a message, of each sort

Shapes = dict[str, tuple[int, ...]]  # of a layer's arrays


def assign(where: str, own: Mapping[str, Parameter | Buffer], state: Mapping[str, Any], match: str) -> None:
    """Write a state into parameters and buffers, see `matched`; nothing is written unless everything fits."""
    arrays = {name: view(where, name, values) for name, values in check_state(where, state).items()}
    pairs = matched(where, own, arrays, match)
    targets = sorted(byte_bounds(own[name].data) for name in pairs)
    ready = {name: _apart(held(where, name, arrays[other], own[name].dtype), targets) for name, other in pairs.items()}
    for name, values in ready.items():
        own[name].assign(values)


def check_state(where: str, state: Any) -> Mapping[str, Any]:
    """A state, if it is a mapping whose keys are strings, else raise."""
    if not isinstance(state, Mapping):
        raise TypeError(f"{where}: state must be a mapping of names to arrays, not {said(state)}")
    for name in state:
        if not isinstance(name, str):
            raise TypeError(f"{where}: names in state must be strings, not {said(name)}")
    return state


def _apart(values: np.ndarray, targets: Sequence[tuple[int, int]]) -> np.ndarray:
    """Values, or a copy where writing to the targets, sorted pieces of memory without overlap, might change them."""
    begin, end = byte_bounds(values)
    before = bisect_left(targets, (end, 0))  # so many begin before the values end
    return values.copy() if before and targets[before - 1][1] > begin else values


def matched(where: str, own: Mapping[str, Any], given: Mapping[str, Any], match: str) -> dict[str, str]:
    """For every parameter and buffer of a model the name of its array in a state.

    Parameters
    ----------
    where : str
        Who asks, for messages.
    own : mapping of names to parameters and buffers
        In the order in which the model defines them; one that is shared may come under all of its names.
    given : mapping of names to arrays
    match : 'name' or 'order'

    Returns
    -------
    dict
        Names of `own`, each object once, to names of `given`.

    Raises
    ------
    ValueError
        When they are not the same arrays, with all names and shapes that differ.
    """
    if match not in MATCHES:
        raise ValueError(f"{where}: match must be {' or '.join(map(repr, MATCHES))}, not {said(match)}")
    pairs = _by_name(where, own, given) if match == "name" else _by_order(where, own, given)
    return {name: other for name, other in pairs.items() if other in given}


def _by_name(where: str, own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, str]:
    pairs: dict[int, str] = {}
    for name, owned in own.items():
        if name in given:
            pairs.setdefault(id(owned), name)
    missing: dict[int, str] = {}
    for name, owned in own.items():
        if id(owned) not in pairs and not _counts(name):
            missing.setdefault(id(owned), name)
    unexpected = [name for name in given if name not in own and not _counts(name)]
    faults = [
        *_listed("state lacks ", (f"{name} {own[name].shape}" for name in missing.values())),
        *_listed("state has ", (f"{name} {given[name].shape}" for name in unexpected), ", which the model has not"),
        *_listed("", (_difference(name, own[name], given[name]) for name in own if name in given)),
    ]
    if faults:
        alike = Counter(map(_signature, _layers(own).values())) == Counter(map(_signature, _layers(given).values()))
        hint = "; the layers have the same shapes, though: match='order' goes by these" if alike else ""
        raise ValueError(f"{where}: {'; '.join(faults)}{hint}")
    return {name: name for name in pairs.values()}


def _by_order(where: str, own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, str]:
    ours, theirs = _layers(own), _layers(given)
    faults = list(
        _listed(
            "",
            (
                f"{there or 'the top'} has {_arrays(theirs[there])} where {here or 'the top'} has {_arrays(ours[here])}"
                for here, there in zip(ours, theirs, strict=False)
                if _signature(ours[here]) != _signature(theirs[there])
            ),
        )
    )
    if len(ours) != len(theirs):
        faults.insert(0, f"state has {len(theirs)} layers ({_some(theirs)}), the model {len(ours)} ({_some(ours)})")
    if faults:
        raise ValueError(f"{where}: {'; '.join(faults)}")
    return {
        _joined(here, entry): _joined(there, entry)
        for here, there in zip(ours, theirs, strict=True)
        for entry in ours[here]
    }


def arranged(where: str, own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A state from a file, which keeps no order, with its layers in the order of the model's.

    Layers whose arrays have the same names and shapes follow the numbers in their own names (``block.2.conv`` before
    ``block.10.conv``).

    Raises
    ------
    ValueError
        When such layers differ in more than numbers, so that nothing says which comes first.
    """
    alike: dict[Any, list[str]] = {}
    for layer, shapes in _layers(given).items():
        alike.setdefault(_signature(shapes), []).append(layer)
    for layers in alike.values():
        if len({re.sub(r"\d+", "", layer) for layer in layers}) > 1:
            raise ValueError(
                f"{where}: {_some(layers)} have the same shapes, and nothing says which comes first; "
                "rename them in a dict of arrays and call load_state_dict"
            )
        layers.sort(key=lambda layer: [int(number) for number in re.findall(r"\d+", layer)])
    wanted = [_signature(shapes) for shapes in _layers(own).values()]
    order = [alike[signature].pop(0) for signature in wanted if alike.get(signature)]
    order += [layer for layers in alike.values() for layer in layers]  # which the model has not
    place = {layer: number for number, layer in enumerate(order)}
    return dict(sorted(given.items(), key=lambda item: place[item[0].rpartition(".")[0]]))


def _layers(arrays: Mapping[str, Any]) -> dict[str, Shapes]:
    """The shapes of each layer's arrays, by the name of the layer and their own."""
    layers: dict[str, Shapes] = {}
    for name, array in arrays.items():
        layer, _, entry = name.rpartition(".")
        layers.setdefault(layer, {})[entry] = tuple(array.shape)
    return layers


def _signature(shapes: Shapes) -> tuple[Any, ...]:
    return tuple(sorted((entry, shape) for entry, shape in shapes.items() if entry != COUNT))


def _counts(name: str) -> bool:
    return name.rpartition(".")[2] == COUNT


def _joined(layer: str, entry: str) -> str:
    return f"{layer}.{entry}" if layer else entry


def _difference(name: str, owned: Any, array: Any) -> str:
    there, here = tuple(array.shape), tuple(owned.shape)
    return "" if there == here else f"{name} must have shape {here}, not {there}"


def _arrays(shapes: Shapes) -> str:
    return ", ".join(f"{entry} {shape}" for entry, shape in shapes.items())


def _listed(before: str, items: Iterable[str], after: str = "") -> list[str]:
    """One part of a message, or none where there is nothing to list."""
    present = [item for item in items if item]
    return [f"{before}{_some(present)}{after}"] if present else []


def _some(items: Iterable[str]) -> str:
    names = [item or "the top" for item in items]
    rest = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")
