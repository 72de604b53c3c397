"""Long arrays are cut into chunks of fixed size: the same tasks and sums for any number of threads."""

from libc.stdint cimport int64_t

# Elements of one task: a multiple of the 64 words that dropout makes at once.
cdef enum:
    CHUNK = 16384


cdef inline int64_t chunks_of(int64_t n) noexcept nogil:
    return (n + CHUNK - 1) // CHUNK


cdef inline int64_t chunk_length(int64_t n, int64_t chunk) noexcept nogil:
    return min(<int64_t>CHUNK, n - chunk * CHUNK)
