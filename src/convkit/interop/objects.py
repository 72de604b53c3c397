"""Telling what an object is without importing the library that it comes from."""

from __future__ import annotations

from typing import Any

from convkit.nn import Module


def check_model(where: str, value: Any) -> None:
    """Refuse what is no module of ours."""
    if not isinstance(value, Module):
        raise TypeError(f"{where}: model must be a convkit Module, not {type(value).__qualname__}")


def check_foreign(where: str, argument: str, value: Any, library: str, name: str) -> None:
    """Refuse what does not descend from the library's class of this name."""
    for ancestor in type(value).__mro__:
        if ancestor.__name__ == name and ancestor.__module__.partition(".")[0] == library:
            return
    came = f"{type(value).__module__}.{type(value).__qualname__}"
    raise TypeError(f"{where}: {argument} must be a {library} {name}, not {came}")
