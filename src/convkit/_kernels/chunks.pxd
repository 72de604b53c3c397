"""Long arrays are cut into chunks of fixed size: the same tasks and sums for any number of threads."""

from libc.stdint cimport int64_t

from convkit._kernels.core cimport real

# Elements of one task: a multiple of the 64 words that dropout makes at once.
cdef enum:
    CHUNK = 16384

# Terms of a sum that are added up one after the other in the arrays' precision: digits are lost by their number.
cdef enum:
    SOME = 256


cdef inline int64_t chunks_of(int64_t n) noexcept nogil:
    return (n + CHUNK - 1) // CHUNK


cdef inline int64_t chunk_length(int64_t n, int64_t chunk) noexcept nogil:
    return min(<int64_t>CHUNK, n - chunk * CHUNK)


cdef inline void set_aside(int64_t term, int64_t n, real *sums, double *aside) noexcept nogil:
    """Before a term is added to n sums: what SOME terms have come to moves to doubles."""
    cdef int64_t i
    if term == 0 or term % SOME != 0:
        return
    for i in range(n):
        aside[i] = sums[i] if term == SOME else aside[i] + sums[i]
        sums[i] = 0


cdef inline void add_aside(int64_t terms, int64_t n, real *sums, const double *aside) noexcept nogil:
    """After the last term: what was set aside belongs to the sums."""
    cdef int64_t i
    for i in range(n if terms > SOME else 0):
        sums[i] = <real>(aside[i] + sums[i])
