"""A fault for each build that looks for mistakes: `tools/sanitize.py KIND --self-test` sees whether it is found.

Built by setup.py in these builds only, with the flags of the drivers.
"""

from cython.parallel cimport prange
from libc.limits cimport INT_MAX
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc

from convkit._kernels.core cimport scratch


cdef class Holder:
    cdef int value


def nothing():
    """No fault: what a self-test compares with."""
    cdef char *memory = <char *> scratch(0, 100)
    memory[99] = 1
    return memory[99]


def beyond_the_heap(int n=100):
    cdef char *memory = <char *> malloc(n)
    memory[n] = 1
    found = memory[n]
    free(memory)
    return found


def beyond_scratch(int n=100):
    cdef char *memory = <char *> scratch(0, n)
    memory[n] = 1
    return memory[n]


def signed_overflow(int n=1):
    cdef int large = INT_MAX
    large += n
    return large


def float_overflow(double large=1e20):
    return <int> large


def race(int64_t n=100000):
    """Two threads write one place without order."""
    cdef int64_t *place = <int64_t *> malloc(sizeof(int64_t))
    cdef int64_t i
    place[0] = 0
    for i in prange(n, nogil=True, num_threads=2, schedule="static"):
        place[0] = place[0] + i
    total = place[0]
    free(place)
    return total


def unwritten_scratch():
    """A decision on what nobody wrote."""
    cdef int *memory = <int *> scratch(0, 4 * sizeof(int))
    return "even" if memory[1] % 2 == 0 else "odd"


def attribute_of_none():
    cdef Holder holder = None
    return holder.value


def beyond_a_sequence(int n=3):
    cdef list values = [1, 2, 3]
    return values[n]
