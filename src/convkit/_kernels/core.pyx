"""The base of all drivers: bound kernels and running them, the instruction set, threads, scratch memory."""

import os

import numpy as np

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_SIMPLE, PyBUF_WRITABLE, Py_buffer, PyBuffer_Release,
    PyObject_GetBuffer,
)
from cython.parallel cimport prange
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy


cdef extern from *:
    """
    /* Of the code that Cython makes for errors in a parallel loop. */
    #if defined(__GNUC__) && !defined(__clang__)
    #pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
    #endif
    """

cdef extern from "runtime.h" nogil:
    void ck_start()
    int ck_level_count()
    const char *ck_level_name(int level)
    void ck_choose_level(int level)
    const ck_micro *ck_chosen()
    int ck_has_openmp()
    void ck_set_threads(int n)
    void ck_set_default_threads(int most, int is_limited)
    int ck_group_is_due(int now)
    void ck_set_group_cores(int n)
    int ck_threads()
    int ck_threads_known()
    int ck_threads_now()
    void *ck_scratch(int slot, size_t count)
    const char *ck_compiler()


# Below this many operations a parallel loop costs more than it saves.
cdef double SERIAL_BELOW = 2e5

cdef const ck_micro *micro() noexcept nogil:
    return ck_chosen()


# How many cores the control group has: a Python function, which reads files.  It is asked where Python calls kernels,
# since within them there is no interpreter's lock.
cdef object count_group_cores = None

cdef int look_at_group(bint now) except -1:
    if ck_group_is_due(now) and count_group_cores is not None:
        ck_set_group_cores(count_group_cores())
    return 0


# Entering the OpenMP runtime takes half a microsecond even alone, so loops that may be all the work there is (one
# image, one row) are written twice: plainly for one thread, and in parallel.
cdef int threads_for(double operations) noexcept nogil:
    return 1 if operations < SERIAL_BELOW else ck_threads()


cdef void *scratch(int slot, size_t count) noexcept nogil:
    return ck_scratch(slot, count)


cdef void *address(array) except? NULL:
    """The address of a C-contiguous array's first value; the caller keeps the array alive."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    cdef void *first = view.buf
    PyBuffer_Release(&view)
    return first


cdef bint is_double(array) except -1:
    name = array.dtype.char
    if name not in "fd":
        raise TypeError(f"kernels take float32 or float64, not {array.dtype}")
    return name == "d"


cdef class Kernel:
    cdef int execute(self) except -1 nogil:
        with gil:
            raise NotImplementedError(f"{type(self).__name__}.execute")

    def run(self):
        """Do the work once."""
        look_at_group(False)
        with nogil:
            self.execute()


cdef class Reader(Kernel):
    pass


cdef class PythonKernel(Kernel):
    """A kernel whose work is a Python function without arguments."""
    cdef object function

    def __init__(self, function):
        self.function = function

    cdef int execute(self) except -1 nogil:
        with gil:
            self.function()
        return 0


cdef class Series(Kernel):
    """Kernels run one after the other."""
    cdef tuple kernels      # keeps alive what `first` points to
    cdef void **first
    cdef Py_ssize_t count

    def __init__(self, kernels):
        cdef Py_ssize_t i
        cdef Kernel kernel
        self.kernels = tuple(kernels)
        self.count = len(self.kernels)
        free(self.first)
        self.first = <void **> malloc(max(1, self.count) * sizeof(void *))
        if self.first == NULL:
            self.count = 0
            raise MemoryError("Series: no memory for its kernels")
        for i, kernel in enumerate(self.kernels):
            self.first[i] = <void *> kernel

    def __dealloc__(self):
        free(self.first)

    cdef int execute(self) except -1 nogil:
        cdef Py_ssize_t i
        for i in range(self.count):
            (<Kernel> self.first[i]).execute()
        return 0


cdef class SideBySide(Series):
    """Kernels, each a series for its share of a batch, run at the same time: a thread goes through its own and waits
    for no other.  Inside, there is one thread (see ck_threads)."""

    cdef int execute(self) except -1 nogil:
        cdef Py_ssize_t i
        cdef int threads = max(1, min(ck_threads(), self.count))
        for i in prange(self.count, num_threads=threads, schedule="static", chunksize=1):
            (<Kernel> self.first[i]).execute()
        return 0


cdef class Input:
    """An input of a program: its place, which is copied to, and if these are all who need it, those that read it as it
    is given."""
    cdef readonly object place
    cdef list readers
    cdef list offsets       # of what each of them reads, in bytes

    def __init__(self, place, readers=()):
        cdef Reader reader
        cdef const char *start = <const char *> address(place)
        self.place = place
        self.readers = list(readers)
        self.offsets = [<const char *> reader.source - start for reader in self.readers]

    cdef int take(self, values) except -1:
        cdef Py_ssize_t i
        as_given = self.readers and values.dtype is self.place.dtype
        as_given = as_given and values.flags.c_contiguous and values.flags.aligned
        if not as_given:
            fill(self.place, values)
        cdef const char *start = <const char *> address(values if as_given else self.place)
        for i in range(len(self.readers)):
            (<Reader> self.readers[i]).source = start + <Py_ssize_t> self.offsets[i]
        return 0


cdef class Program:
    """A series of kernels with what it reads, and the arrays that it leaves its outputs in."""
    cdef Series work
    cdef readonly tuple inputs, outputs

    def __init__(self, kernels, inputs, outputs):
        self.work = Series(kernels)
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)

    def run(self, inputs):
        """Take the inputs, arrays of the right shapes; compute; return copies of the outputs."""
        cdef Py_ssize_t i
        for i in range(len(self.inputs)):
            (<Input> self.inputs[i]).take(inputs[i])
        with nogil:
            self.work.execute()
        return [output.copy() for output in self.outputs]


cdef int fill(place, values) except -1:
    """Copy values to an array of the same shape, converted to its dtype."""
    cdef Py_buffer source, target
    if values.dtype is not place.dtype or not values.flags.c_contiguous:
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
            np.copyto(place, values)
        return 0
    PyObject_GetBuffer(values, &source, PyBUF_SIMPLE)
    try:
        PyObject_GetBuffer(place, &target, PyBUF_WRITABLE)
        memcpy(target.buf, source.buf, min(source.len, target.len))
        PyBuffer_Release(&target)
    finally:
        PyBuffer_Release(&source)
    return 0


def isa_available():
    """Names of the instruction-set levels that this build has and this processor runs, lowest first."""
    return [ck_level_name(level).decode() for level in range(ck_level_count())]


def isa_chosen():
    """The level in use: the best available one, or a lower one named by CONVKIT_ISA."""
    return ck_chosen().name.decode()


def compiler():
    """The C compiler that built this."""
    return ck_compiler().decode()


def has_openmp():
    """Whether this build runs its loops in parallel."""
    return bool(ck_has_openmp())


def set_threads(int n):
    ck_set_threads(n)


def set_default_threads(int most, bint limited):
    """What holds until a number is set: so many, or as many as affinity and the control group give cores at any time,
    and no more."""
    ck_set_default_threads(most, limited)


def follow_group(count):
    """Ask `count` for the cores of the control group now, and once a second while kernels are called."""
    global count_group_cores
    count_group_cores = count
    look_at_group(True)


def known_threads():
    """The same as effective_threads, of a second ago at most, in no time."""
    look_at_group(False)
    return ck_threads_known()


def effective_threads():
    """Threads that the next large enough loop will use."""
    look_at_group(True)
    return ck_threads_now()


def _choose():
    available = isa_available()
    wanted = os.environ.get("CONVKIT_ISA", "") or available[-1]
    if wanted not in available:
        raise ImportError(f"CONVKIT_ISA is {wanted!r}, but this machine and build have {', '.join(available)}")
    ck_choose_level(available.index(wanted))


ck_start()
_choose()
