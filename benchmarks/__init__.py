"""Benchmarks of convkit: kernels, training steps, memory, and the comparison with other frameworks."""
