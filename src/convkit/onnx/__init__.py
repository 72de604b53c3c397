"""Models from ONNX files and into them; the package onnx itself comes with the extra ``onnx``."""

from convkit.errors import require

require("onnx", "onnx", "convkit.onnx")

from convkit.onnx.backend import Backend  # noqa: E402
from convkit.onnx.export import save  # noqa: E402
from convkit.onnx.load import OnnxModule, load  # noqa: E402

__all__ = ["Backend", "OnnxModule", "load", "save"]
