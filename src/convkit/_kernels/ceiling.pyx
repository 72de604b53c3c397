"""What this machine can do at most: multiplications and additions in registers, and streams through memory."""

from cython.parallel cimport prange
from libc.stdint cimport int64_t

from convkit._kernels.chunks cimport CHUNK, chunk_length, chunks_of
from convkit._kernels.core cimport Kernel, address, micro, threads_for

# Far above the work for which a second thread pays.
cdef double LARGE = 1e12


def peak(int64_t rounds):
    """Multiply and add in registers, on every thread; return the number of operations done."""
    ceiling = &micro().ceiling
    cdef int threads = threads_for(LARGE)
    cdef int64_t _thread
    cdef float total = 0
    with nogil:
        for _thread in prange(threads, schedule="static", num_threads=threads):
            total += ceiling.peak(rounds, 0.5, 1)
    # Every chain tends to term / (1 - factor): what was computed cannot be left out, nor grow without bounds.
    assert total > 0
    return threads * rounds * ceiling.peak_flops


cdef class Triad(Kernel):
    """y = a + factor * b for float32 arrays."""
    cdef object arrays
    cdef const float *a
    cdef const float *b
    cdef float *y
    cdef int64_t n
    cdef float factor

    def __init__(self, a, b, y, float factor):
        self.arrays = (a, b, y)
        self.a = <const float *>address(a)
        self.b = <const float *>address(b)
        self.y = <float *>address(y)
        self.n = y.size
        self.factor = factor

    cdef int execute(self) except -1 nogil:
        cdef int64_t chunk
        ceiling = &micro().ceiling
        for chunk in prange(chunks_of(self.n), schedule="static", num_threads=threads_for(LARGE)):
            ceiling.triad(
                chunk_length(self.n, chunk), self.factor,
                self.a + chunk * CHUNK, self.b + chunk * CHUNK, self.y + chunk * CHUNK,
            )
        return 0
