"""Convolution that packs nothing: image rows are read where they are, a few neighbouring pixels at a time.

For a few images and few output channels, where a packed panel would be used too seldom to pay.  The stride
along the rows must be 1 and rows of outputs at least one run long; the last run of a row begins where it ends
with the row, so that some outputs may be computed twice.  Padded images are copied with their border first.
"""

import numpy as np

from cython.parallel cimport prange
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from convkit._kernels.core cimport Kernel, OUT_OF_MEMORY, address, is_double, micro, real, threads_for
from convkit._kernels.direct cimport CK_MAX_RUNS, CK_RUN_BYTES
from convkit._kernels.tile cimport part_start, parts_of, scratch_of

cdef enum:
    SHARED                          # scratch of all threads of a call
    TASKS = 8                       # tasks wanted of a large problem, for any number of threads
    PRODUCTS_PER_TASK = 250000      # at least


def run_length(dtype):
    """Neighbouring outputs that are computed at once."""
    return CK_RUN_BYTES // np.dtype(dtype).itemsize


cdef struct Direct:
    int64_t images, groups, depth, channels, rows       # depth: channels * taps of a group; rows: its output channels
    int64_t in_step, padded_step, out_step              # values of a channel's plane
    int64_t together, vectors                           # runs in a vector, vectors in a tile
    int64_t row_tiles, parts                            # tiles of rows, and tasks that runs of a plane are cut into
    const int64_t *at                                   # of each (channel, tap), from a run's base
    const int64_t *base                                 # of each run in the padded plane,
    const int64_t *output                               # and in the output plane
    int64_t runs, row_runs                              # of a plane, and of a row of it
    # the copies that make padded planes: runs of whole rows
    bint padded
    int64_t copies, copy_length
    const int64_t *copy_from
    const int64_t *copy_to
    bint relu


cdef void pad_plane(const Direct *d, const real *x, real *out) noexcept nogil:
    cdef int64_t i
    memset(out, 0, d.padded_step * sizeof(real))
    for i in range(d.copies):
        memcpy(out + d.copy_to[i], x + d.copy_from[i], d.copy_length * sizeof(real))


cdef inline int64_t first_run(const Direct *d, int64_t part) noexcept nogil:
    """Where a part begins: never at the last run of a row, which writes values of the one before it again."""
    cdef int64_t run = part_start(d.runs, d.parts, part)
    return run + 1 if d.row_runs > 1 and run % d.row_runs == d.row_runs - 1 else run


cdef void direct_task(const Direct *d, int64_t task, const real *x, const real *weight, const real *bias,
                      real *y) noexcept nogil:
    """Some runs of one group of one image, for all its output channels."""
    cdef int64_t part = task % d.parts, group = task // d.parts % d.groups, image = task // (d.parts * d.groups)
    cdef int64_t first = first_run(d, part), last = first_run(d, part + 1)
    cdef int64_t vectors = parts_of(last - first, d.together), tiles = parts_of(vectors, d.vectors)
    cdef int64_t row_tile, tile, p0, p1, i0, i1, p, run
    cdef const real *b[CK_MAX_RUNS]
    cdef real *c[CK_MAX_RUNS]
    x += (image * d.groups + group) * d.channels * d.padded_step
    y += (image * d.groups + group) * d.rows * d.out_step
    weight += group * d.rows * d.depth
    if real is float:
        table = &micro().direct_f32
    else:
        table = &micro().direct_f64
    for row_tile in range(d.row_tiles):
        i0 = part_start(d.rows, d.row_tiles, row_tile)
        i1 = part_start(d.rows, d.row_tiles, row_tile + 1)
        for tile in range(tiles):
            p0 = part_start(vectors, tiles, tile)
            p1 = part_start(vectors, tiles, tile + 1)
            for p in range((p1 - p0) * d.together):
                run = min(first + p0 * d.together + p, last - 1)
                b[p] = x + d.base[run]
                c[p] = y + i0 * d.out_step + d.output[run]
            table.tile(<int> (i1 - i0), <int> (p1 - p0), d.depth, weight + i0 * d.depth, d.depth, b, d.at, c,
                       d.out_step, d.relu, bias + group * d.rows + i0 if bias != NULL else NULL)


cdef int convolve(const Direct *d, const real *x, const real *weight, const real *bias, real *y) noexcept nogil:
    cdef int64_t task, planes = d.images * d.groups * d.channels, tasks = d.images * d.groups * d.parts
    cdef int threads = 1 if tasks == 1 else threads_for(2.0 * d.images * d.groups * d.rows * d.depth * d.out_step)
    cdef real *padded
    if d.padded:
        padded = scratch_of(SHARED, planes * d.padded_step, y)
        if padded == NULL:
            return OUT_OF_MEMORY
        for task in range(planes):
            pad_plane(d, x + task * d.in_step, padded + task * d.padded_step)
        x = padded
    if threads == 1:
        for task in range(tasks):
            direct_task(d, task, x, weight, bias, y)
    else:
        for task in prange(tasks, num_threads=threads, schedule="static"):
            direct_task(d, task, x, weight, bias, y)
    return 0


cdef class DirectConvolution(Kernel):
    """As conv.ConvForward, where the stride along rows is 1 and the output's rows are no shorter than a run."""
    cdef object arrays
    cdef const void *x
    cdef const void *weight
    cdef const void *bias
    cdef void *y
    cdef bint double_
    cdef Direct d

    def __init__(self, x, weight, bias, y, stride, low, dilation, int64_t groups, bint relu):
        cdef Direct *d = &self.d
        self.x = address(x)
        self.weight = address(weight)
        self.bias = NULL if bias is None else address(bias)
        self.y = address(y)
        self.double_ = is_double(y)
        d.images = x.shape[0]
        d.groups = groups
        d.channels = x.shape[1] // groups
        d.rows = y.shape[1] // groups
        d.relu = relu
        kernel = weight.shape[2:]
        d.depth = d.channels * int(np.prod(kernel))
        self.arrays = (x, weight, bias, y, self.lay_out(x.shape[2:], y.shape[2:], kernel, stride, low, dilation))
        d.row_tiles = parts_of(d.rows, micro().direct_f64.rows if self.double_ else micro().direct_f32.rows)
        d.together = micro().direct_f64.together if self.double_ else micro().direct_f32.together
        d.vectors = micro().direct_f64.vectors if self.double_ else micro().direct_f32.vectors
        products = d.rows * d.depth * d.out_step
        tiles = parts_of(d.runs, d.together * d.vectors)
        d.parts = max(1, min(tiles, parts_of(TASKS, max(1, d.images * groups)), products // PRODUCTS_PER_TASK))

    cdef lay_out(self, in_size, out_size, kernel, stride, low, dilation):
        """The padded plane, and where runs, taps and copied rows lie; returns the arrays of places."""
        cdef Direct *d = &self.d
        cdef int64_t length = CK_RUN_BYTES // (8 if self.double_ else 4)
        spans = [(n - 1) * s + (k - 1) * e + 1
                 for n, s, k, e in zip(out_size, stride, kernel, dilation, strict=True)]
        d.padded = any(low) or any(span > size for span, size in zip(spans, in_size, strict=True))
        size = spans if d.padded else in_size
        d.in_step, d.padded_step, d.out_step = (int(np.prod(s)) for s in (in_size, size, out_size))
        taps = base = output = copy_from = copy_to = np.zeros(1, np.int64)
        for n, k, e in zip(size, kernel, dilation, strict=True):
            taps = np.add.outer(taps * n, np.arange(k) * e).reshape(-1)
        for n, outputs, s in zip(size[:-1], out_size[:-1], stride[:-1], strict=True):
            base = np.add.outer(base * n, np.arange(outputs) * s).reshape(-1)
            output = np.add.outer(output * outputs, np.arange(outputs)).reshape(-1)
        for n, wide, p in zip(in_size[:-1], size[:-1], low[:-1], strict=True):
            inside = np.arange(max(0, min(n, wide - p)))
            copy_from = np.add.outer(copy_from * n, inside).reshape(-1)
            copy_to = np.add.outer(copy_to * wide, inside + p).reshape(-1)
        starts = np.minimum(np.arange(0, out_size[-1], length), out_size[-1] - length)
        places = [np.add.outer(np.arange(d.channels) * d.padded_step, taps),
                  np.add.outer(base * size[-1], starts), np.add.outer(output * out_size[-1], starts),
                  copy_from * in_size[-1], copy_to * size[-1] + low[-1]]
        places = [np.ascontiguousarray(array.reshape(-1), np.int64) for array in places]
        d.at, d.base = <const int64_t *> address(places[0]), <const int64_t *> address(places[1])
        d.output = <const int64_t *> address(places[2])
        d.copy_from, d.copy_to = <const int64_t *> address(places[3]), <const int64_t *> address(places[4])
        d.runs, d.row_runs, d.copies = len(places[1]), len(starts), len(places[3])
        d.copy_length = max(0, min(in_size[-1], size[-1] - low[-1]))
        return places

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.double_:
            failed = convolve(&self.d, <const double *> self.x, <const double *> self.weight,
                              <const double *> self.bias, <double *> self.y)
        else:
            failed = convolve(&self.d, <const float *> self.x, <const float *> self.weight,
                              <const float *> self.bias, <float *> self.y)
        if failed:
            with gil:
                raise MemoryError("DirectConvolution: no memory for the padded images")
        return 0
