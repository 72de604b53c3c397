"""Native code: Cython drivers (blocking, packing, threads) over C micro-kernels (registers, SIMD).

Kernels trust their caller: every array they get is C-contiguous, of the right shape and dtype; `convkit.ops` sees
to that.
"""
