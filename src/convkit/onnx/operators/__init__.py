"""ONNX's operators, each a short function over those of convkit; importing this package fills the table of them."""

from convkit.onnx.operators import arithmetic, arrays, layers, losses, pooling, resize
from convkit.onnx.operators.table import OPERATORS, Operator

__all__ = ["OPERATORS", "Operator", "arithmetic", "arrays", "layers", "losses", "pooling", "resize"]
