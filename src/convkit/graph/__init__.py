"""From a module's `forward` to a list of bound kernels: trace → differentiate → rewrite → lay out memory → bind."""

from convkit.graph.step import CompiledStep, compile_step, value_and_grad

__all__ = ["CompiledStep", "compile_step", "value_and_grad"]
