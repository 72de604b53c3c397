"""Weights from a PyTorch module and into one.

PyTorch's layouts are convkit's, so that arrays only have to find their places: by name, where both networks have the
same attributes, or by order. PyTorch itself is not imported; its tensors convert themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from convkit.errors import view
from convkit.interop.objects import check_foreign, check_model
from convkit.nn import Module
from convkit.nn.state import assign, check_state, matched

__all__ = ["from_torch", "to_torch"]


def from_torch(module: Any, model: Module, *, match: str = "name") -> None:
    """Copy the parameters and buffers of a PyTorch module into a model.

    Parameters
    ----------
    module : torch.nn.Module
        On any device and of any float dtype; it stays as it is.
    model : Module
        Of the same layers, whose arrays are converted to its dtype.
    match : 'name' or 'order'
        Whether arrays go to the parameters and buffers of their names, or the layers of `module` to the layers of
        `model` one after the other, as both define them, whatever they are called.

    Raises
    ------
    TypeError
        For other objects, and tensors that are not dense.
    ValueError
        When the arrays are not those of the model (the message lists all names and shapes that differ); the model then
        stays as it was.

    Examples
    --------
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU())
    >>> model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU())
    >>> from_torch(net, model)
    """
    _check("from_torch", module, model)
    state = {name: _array("from_torch", name, tensor) for name, tensor in _tensors("from_torch", module).items()}
    assign("from_torch", model.named_state(), state, match)


def to_torch(model: Module, module: Any, *, match: str = "name") -> None:
    """Copy the parameters and buffers of a model into a PyTorch module.

    Parameters
    ----------
    model : Module
        It stays as it is.
    module : torch.nn.Module
        Of the same layers. Its tensors keep their device and dtype, and its optimisers their hold of them.
    match : 'name' or 'order'
        As for `from_torch`.

    Raises
    ------
    TypeError
        For other objects, and tensors that are not dense.
    ValueError
        When the arrays are not those of the module (the message lists all names and shapes that differ); the module
        then stays as it was.
    """
    _check("to_torch", module, model)
    tensors, own = _tensors("to_torch", module), model.named_state()
    pairs = matched("to_torch", own, tensors, match)
    # Tensors make their like of an array; what the model has not (a count of batches) stays as it is.
    new = {other: tensors[other].new_tensor(own[name].value.copy()) for name, other in pairs.items()}
    module.load_state_dict({**tensors, **new})


def _check(where: str, module: Any, model: Any) -> None:
    check_foreign(where, "module", module, "torch", "Module")
    check_model(where, model)


def _tensors(where: str, module: Any) -> Mapping[str, Any]:
    """The state of a PyTorch module."""
    tensors = check_state(where, module.state_dict())
    for name, tensor in tensors.items():
        if not all(hasattr(tensor, word) for word in ("shape", "dtype", "detach", "new_tensor")):
            raise TypeError(f"{where}: {name} must be a tensor, not {type(tensor).__qualname__}")
    return tensors


def _array(where: str, name: str, tensor: Any) -> np.ndarray:
    """The memory of a tensor; a copy where NumPy could not read it."""
    tensor = tensor.detach().cpu()
    return view(where, name, tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor)
