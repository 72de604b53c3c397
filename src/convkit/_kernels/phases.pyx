"""Drivers that take images apart into phases and put them together again.

With dilation (d, e), phase (a, b) of an image holds its pixels (a + i·d, b + j·e).  A dilated convolution never mixes
phases, so it is an ordinary one of d·e images; what a phase lacks at the lower and right edge is zero.
Phase (a, b) of image n is number (n·d + a)·e + b.  They are images of an ordinary array (phases, C, h, w), or lie in
lanes, (blocks, C, h, w, lanes), with zeros in the lanes that the last block has left.
"""

from cython.parallel cimport prange
from libc.stdint cimport int64_t
from libc.string cimport memset

from convkit._kernels.core cimport Kernel, address, is_double, real, threads_for
from convkit._kernels.tile cimport pad_rows, parts_of, zip_parts

cdef struct Split:
    int64_t images, channels, height, width     # of the whole images
    int64_t rows, columns                       # of a phase
    int64_t dilation[2]
    int64_t blocks, lanes                       # one lane where phases are images of their own


cdef void split_plane(const Split *s, int64_t phase, const real *x, real *y) noexcept nogil:
    """One channel of one phase: from x, the whole plane, to the phase's lane of y."""
    cdef int64_t d = s.dilation[0], e = s.dilation[1], i, j
    cdef int64_t row = phase // e % d, column = phase % e
    cdef int64_t inside = parts_of(s.width - column, e)
    cdef const real *line
    for i in range(s.rows):
        line = x + (row + i * d) * s.width + column
        if row + i * d >= s.height:
            inside = 0
        for j in range(inside):
            y[j * s.lanes] = line[j * e]
        for j in range(inside, s.columns):
            y[j * s.lanes] = 0
        y += s.columns * s.lanes


cdef void merge_plane(const Split *s, int64_t phase, const real *y, real *x) noexcept nogil:
    """The other way round."""
    cdef int64_t d = s.dilation[0], e = s.dilation[1], i, j
    cdef int64_t row = phase // e % d, column = phase % e
    cdef int64_t inside = parts_of(s.width - column, e)
    cdef real *line
    for i in range(parts_of(s.height - row, d)):
        line = x + (row + i * d) * s.width + column
        for j in range(inside):
            line[j * e] = y[j * s.lanes]
        y += s.columns * s.lanes


cdef void move_lanes(const Split *s, bint splitting, int64_t task, const real *source, real *target) noexcept nogil:
    """All phases of one channel of one block of lanes."""
    cdef int64_t block = task // s.channels, channel = task % s.channels, lane, phase, k
    cdef int64_t parts = s.dilation[0] * s.dilation[1], places = s.rows * s.columns
    cdef int64_t plane, at
    for lane in range(s.lanes):
        phase = block * s.lanes + lane
        plane = (phase // parts * s.channels + channel) * s.height * s.width
        at = task * places * s.lanes + lane
        if phase < s.images * parts:
            if splitting:
                split_plane(s, phase, source + plane, target + at)
            else:
                merge_plane(s, phase, source + at, target + plane)
        elif splitting:
            for k in range(places):
                target[at + k * s.lanes] = 0


cdef void move_planes(const Split *s, bint splitting, int64_t task, const real *source, real *target) noexcept nogil:
    """All phases of one channel of one image, where they are ordinary arrays: row by row."""
    cdef int64_t d = s.dilation[0], e = s.dilation[1], places = s.rows * s.columns, step = s.channels * places
    cdef int64_t at = (task // s.channels * d * e * s.channels + task % s.channels) * places, row, i, k
    cdef int64_t plane = task * s.height * s.width
    for row in range(d):
        if splitting:
            for k in range(e if s.rows * d > s.height or s.columns * e > s.width else 0):
                memset(target + at + k * step, 0, places * sizeof(real))
            pad_rows(parts_of(s.height - row, d), s.width, source + plane + row * s.width, d * s.width, 0, e, e,
                     target + at, s.columns, step)
        else:
            for i in range(parts_of(s.height - row, d)):
                zip_parts(s.width, e, source + at + i * s.columns, step, target + plane + (row + i * d) * s.width)
        at += e * step


cdef void move(const Split *s, bint splitting, const real *source, real *target) noexcept nogil:
    cdef int64_t task
    cdef int threads = threads_for(8.0 * s.images * s.channels * s.height * s.width)
    if s.lanes == 1:
        for task in prange(s.images * s.channels, num_threads=threads, schedule="static"):
            move_planes(s, splitting, task, source, target)
    else:
        for task in prange(s.blocks * s.channels, num_threads=threads, schedule="static"):
            move_lanes(s, splitting, task, source, target)


cdef class PhaseTransfer(Kernel):
    cdef object arrays
    cdef const void *source
    cdef void *target
    cdef bint double_, splitting
    cdef Split s

    def __init__(self, source, target, dilation):
        images, phases = (source, target) if self.splitting else (target, source)
        self.arrays = (source, target)
        self.source = address(source)
        self.target = address(target)
        self.double_ = is_double(target)
        self.s.images, self.s.channels, self.s.height, self.s.width = images.shape
        self.s.rows, self.s.columns = phases.shape[2:4]
        self.s.dilation[0], self.s.dilation[1] = dilation
        self.s.blocks = phases.shape[0]
        self.s.lanes = phases.shape[4] if phases.ndim == 5 else 1

    cdef int execute(self) except -1 nogil:
        if self.double_:
            move(&self.s, self.splitting, <const double *> self.source, <double *> self.target)
        else:
            move(&self.s, self.splitting, <const float *> self.source, <float *> self.target)
        return 0


cdef class SplitPhases(PhaseTransfer):
    """From x (N, C, H, W) to its phases."""
    def __cinit__(self):
        self.splitting = True


cdef class MergePhases(PhaseTransfer):
    """From phases to y (N, C, H, W)."""
    def __cinit__(self):
        self.splitting = False
