"""Weights from networks of other libraries and into them.

Each file works on the objects that it is given, by their public methods, and imports nothing of the library it is named
after: who holds such an object has imported it already.
"""

from convkit.interop import keras, torch

__all__ = ["keras", "torch"]
