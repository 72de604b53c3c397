"""Depthwise convolution: every channel has one filter of its own, and so a group of its own.

There is no sum over channels to make a matrix product of.  A plane (one channel of one image) is padded, its
columns split by their phase modulo the stride, and then each output row is a sum over taps of weighted input
rows.  The gradient to the input is the same sum over taps of the padded gradient, one residue of the position
modulo the stride at a time; the gradient to the weights is one dot product for each tap.

Sums over images run in order within one task, so results are the same for any number of threads.
"""

import numpy as np

from cython.parallel cimport prange
from libc.stdint cimport int64_t
from libc.string cimport memset

from convkit._kernels.chunks cimport add_aside, set_aside
from convkit._kernels.core cimport Kernel, OUT_OF_MEMORY, address, is_double, micro, real, scratch, threads_for
from convkit._kernels.tile cimport pad_rows, part_start, parts_of, scratch_of, sum_values, zip_parts
from convkit._kernels.view cimport Geometry, set_geometry

cdef enum:
    # scratch slots; TAPS holds the weights or the sums of one channel
    PADDED, TAPS, LINES, SUMS
    TASKS = 64              # at most, of a number of planes each
    TERMS = 1024            # of a vector of sums, before they are added to doubles


# --- the padded plane ---------------------------------------------------------------------------

cdef struct Padded:
    # A plane with zeros around it; lengths by axis
    int64_t size[3]         # of the plane
    int64_t low[3]          # zeros before it
    int64_t length[3]       # with what the windows cover: what lies beyond is left out
    int64_t phases, pitch   # of the columns; values of one phase in a row
    int64_t rows            # of all depths
    int64_t plane_step, row_step


cdef void set_padded(Padded *p, int64_t phases) noexcept:
    """The steps that follow from the lengths."""
    p.phases = phases
    p.pitch = parts_of(p.length[2], phases)
    p.rows = p.length[0] * p.length[1]
    p.row_step = p.pitch
    p.plane_step = p.pitch * p.length[1]


cdef inline int64_t place(const Padded *p, int64_t depth, int64_t row, int64_t column) noexcept nogil:
    return (column % p.phases * p.rows * p.pitch + depth * p.plane_step + row * p.row_step
            + column // p.phases)


cdef real *zeros(const Padded *p, real *any_) noexcept nogil:
    """Memory for a padded plane and a vector behind it; NULL without memory.

    Planes copied into it one after the other leave the zeros around them as they are.
    """
    cdef int64_t count = p.phases * p.rows * p.pitch
    cdef real *padded = scratch_of(PADDED, count, any_)
    if padded != NULL:
        memset(padded, 0, count * sizeof(real))
    return padded


cdef void copy_plane(const Padded *p, const real *plane, real *padded) noexcept nogil:
    cdef int64_t depth, at
    cdef int64_t rows = min(p.size[1], p.length[1] - p.low[1]), columns = min(p.size[2], p.length[2] - p.low[2])
    for depth in range(min(p.size[0], p.length[0] - p.low[0])):
        at = (p.low[0] + depth) * p.plane_step + p.low[1] * p.row_step
        pad_rows(rows, columns, plane, p.size[2], p.low[2], p.phases, p.phases, padded + at, p.row_step,
                 p.rows * p.pitch)
        plane += p.size[1] * p.size[2]


# --- forward ------------------------------------------------------------------------------------

cdef struct Depthwise:
    Geometry g
    Padded padded
    int64_t *tap_at         # where in the padded plane each tap of the first output lies
    bint relu


cdef inline int64_t volume(const int64_t *axes) noexcept nogil:
    return axes[0] * axes[1] * axes[2]


cdef inline double operations(const Geometry *g) noexcept nogil:
    return 2.0 * g.batch * g.groups * g.taps * g.out_pixels


cdef inline void weighted_rows(int64_t rows, int64_t n, int64_t taps, const real *x, const int64_t *tap_at,
                               int64_t row_step, const real *weight, real bias, bint relu, real *y,
                               int64_t ldy) noexcept nogil:
    if real is float:
        micro().depthwise_f32.forward(rows, n, taps, x, tap_at, row_step, weight, bias, relu, y, ldy)
    else:
        micro().depthwise_f64.forward(rows, n, taps, x, tap_at, row_step, weight, bias, relu, y, ldy)


cdef inline int64_t tasks_of(int64_t planes) noexcept nogil:
    return min(planes, TASKS)


cdef int forward_task(const Depthwise *f, int64_t task, const real *x, const real *weight, const real *bias,
                      real *y) noexcept nogil:
    cdef int64_t planes = f.g.batch * f.g.groups, tasks = tasks_of(planes), plane
    cdef real *padded = zeros(&f.padded, y)
    if padded == NULL:
        return OUT_OF_MEMORY
    for plane in range(part_start(planes, tasks, task), part_start(planes, tasks, task + 1)):
        copy_plane(&f.padded, x + plane * f.g.in_pixels, padded)
        forward_plane(f, plane % f.g.groups, padded, weight, bias, y + plane * f.g.out_pixels)
    return 0


cdef void forward_plane(const Depthwise *f, int64_t channel, const real *padded, const real *weight,
                        const real *bias, real *y) noexcept nogil:
    cdef const Geometry *g = &f.g
    cdef int64_t depth
    for depth in range(g.out_size[0]):
        weighted_rows(g.out_size[1], g.out_size[2], g.taps, padded + depth * g.stride[0] * f.padded.plane_step,
                      f.tap_at, g.stride[1] * f.padded.row_step, weight + channel * g.taps,
                      bias[channel] if bias != NULL else 0, f.relu, y, g.out_size[2])
        y += g.out_size[1] * g.out_size[2]


cdef int forward(const Depthwise *f, const real *x, const real *weight, const real *bias,
                 real *y) noexcept nogil:
    cdef int64_t task
    cdef int threads = threads_for(operations(&f.g)), failed = 0
    for task in prange(tasks_of(f.g.batch * f.g.groups), num_threads=threads, schedule="dynamic"):
        failed |= forward_task(f, task, x, weight, bias, y)
    return failed


cdef set_windows(Depthwise *f):
    """Pad as the windows ask; returns the array that holds tap_at."""
    cdef const Geometry *g = &f.g
    cdef Padded *p = &f.padded
    cdef int axis
    for axis in range(3):
        p.size[axis] = g.in_size[axis]
        p.low[axis] = g.pad[axis]
        p.length[axis] = max(g.pad[axis], (g.out_size[axis] - 1) * g.stride[axis]
                             + (g.kernel[axis] - 1) * g.dilation[axis] + 1)
    set_padded(p, g.stride[2])
    tap_at = np.array([
        place(p, depth * g.dilation[0], row * g.dilation[1], column * g.dilation[2])
        for depth in range(g.kernel[0]) for row in range(g.kernel[1]) for column in range(g.kernel[2])
    ], np.int64)
    f.tap_at = <int64_t *> address(tap_at)
    return tap_at


cdef class DepthwiseForward(Kernel):
    """ConvForward where each group has one channel of input and one of output."""
    cdef object arrays
    cdef const void *x
    cdef const void *weight
    cdef const void *bias
    cdef void *y
    cdef bint double_
    cdef Depthwise f

    def __init__(self, x, weight, bias, y, stride, pad, dilation, bint relu=False):
        self.x = address(x)
        self.weight = address(weight)
        self.bias = NULL if bias is None else address(bias)
        self.y = address(y)
        self.double_ = is_double(y)
        set_geometry(&self.f.g, x.shape, y.shape, weight.shape[2:], stride, pad, dilation, x.shape[1])
        self.f.relu = relu
        self.arrays = (x, weight, bias, y, set_windows(&self.f))

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.double_:
            failed = forward(&self.f, <const double *> self.x, <const double *> self.weight,
                             <const double *> self.bias, <double *> self.y)
        else:
            failed = forward(&self.f, <const float *> self.x, <const float *> self.weight,
                             <const float *> self.bias, <float *> self.y)
        if failed:
            with gil:
                raise MemoryError("DepthwiseForward: no memory for a padded plane")
        return 0


# --- input gradient -----------------------------------------------------------------------------

cdef struct DepthwiseGrad:
    Geometry g
    Padded padded           # of dy
    int64_t *first          # where the taps of each residue (of depth, row, column) begin, in
    int64_t *tap_at         # their places in the padded plane, and
    int64_t *tap            # their numbers
    bint relu


cdef inline int64_t positions(const Geometry *g, int axis, int64_t residue) noexcept nogil:
    """How many positions of the input along an axis are `residue` modulo the stride."""
    return parts_of(g.in_size[axis] - residue, g.stride[axis])


cdef int input_grad_task(const DepthwiseGrad *f, int64_t task, const real *dy, const real *weight,
                         const real *bias, real *dx) noexcept nogil:
    cdef const Geometry *g = &f.g
    cdef int64_t planes = g.batch * g.groups, tasks = tasks_of(planes), plane, channel, t
    cdef real *padded = zeros(&f.padded, dx)
    cdef real *taps = scratch_of(TAPS, g.taps, dx)
    cdef real *lines = scratch_of(LINES, g.stride[2] * positions(g, 1, 0) * positions(g, 2, 0), dx)
    if padded == NULL or taps == NULL or lines == NULL:
        return OUT_OF_MEMORY
    for plane in range(part_start(planes, tasks, task), part_start(planes, tasks, task + 1)):
        channel = plane % g.groups
        for t in range(g.taps):
            taps[t] = weight[channel * g.taps + f.tap[t]]
        copy_plane(&f.padded, dy + plane * g.out_pixels, padded)
        input_grad_plane(f, channel, padded, taps, bias, lines, dx + plane * g.in_pixels)
    return 0


cdef void input_grad_plane(const DepthwiseGrad *f, int64_t channel, const real *padded, const real *taps,
                           const real *bias, real *lines, real *dx) noexcept nogil:
    """Each position takes the taps of its residue; the columns of all residues are zipped together."""
    cdef const Geometry *g = &f.g
    cdef int64_t residue, depth, row, i, rows, pitch = positions(g, 2, 0)
    cdef real *out
    for depth in range(g.in_size[0]):
        for row in range(min(g.stride[1], g.in_size[1])):
            rows = positions(g, 1, row)
            residue = (depth % g.stride[0] * g.stride[1] + row) * g.stride[2]
            out = dx + (depth * g.in_size[1] + row) * g.in_size[2]
            if g.stride[1] == 1 and g.stride[2] == 1:
                residue_rows(f, residue, padded + depth // g.stride[0] * f.padded.plane_step, rows,
                             g.in_size[2], taps, bias, channel, out, g.in_size[2])
                continue
            for i in range(min(g.stride[2], g.in_size[2])):
                residue_rows(f, residue + i, padded + depth // g.stride[0] * f.padded.plane_step, rows,
                             positions(g, 2, i), taps, bias, channel, lines + i * rows * pitch, pitch)
            for i in range(rows):
                zip_parts(g.in_size[2], g.stride[2], lines + i * pitch, rows * pitch,
                          out + i * g.stride[1] * g.in_size[2])


cdef inline void residue_rows(const DepthwiseGrad *f, int64_t residue, const real *padded, int64_t rows,
                              int64_t n, const real *taps, const real *bias, int64_t channel, real *out,
                              int64_t ldo) noexcept nogil:
    cdef int64_t first = f.first[residue]
    weighted_rows(rows, n, f.first[residue + 1] - first, padded, f.tap_at + first, f.padded.row_step,
                  taps + first, bias[channel] if bias != NULL else 0, f.relu, out, ldo)


cdef int input_grad(const DepthwiseGrad *f, const real *dy, const real *weight, const real *bias,
                    real *dx) noexcept nogil:
    cdef int64_t task
    cdef int threads = threads_for(operations(&f.g)), failed = 0
    for task in prange(tasks_of(f.g.batch * f.g.groups), num_threads=threads, schedule="dynamic"):
        failed |= input_grad_task(f, task, dy, weight, bias, dx)
    return failed


def taps_of_residue(residue, taps, stride, pad, dilation):
    """Pairs (tap, shift): input position residue + stride * i takes the tap from output position i + shift.

    Shifts ascend, so taps descend.
    """
    shifts = ((tap, divmod(residue + pad - tap * dilation, stride)) for tap in reversed(range(taps)))
    return [(tap, shift) for tap, (shift, rest) in shifts if rest == 0]


cdef set_residues(DepthwiseGrad *f):
    """Pad as the shifts ask; returns the arrays that hold first, tap_at and tap."""
    cdef const Geometry *g = &f.g
    cdef Padded *p = &f.padded
    cdef int axis
    taps = [
        [taps_of_residue(residue, g.kernel[axis], g.stride[axis], g.pad[axis], g.dilation[axis])
         for residue in range(g.stride[axis])] for axis in range(3)
    ]
    for axis in range(3):
        reached = [
            at for residue in range(min(g.stride[axis], g.in_size[axis])) for _, shift in taps[axis][residue]
            for at in (shift, shift + positions(g, axis, residue))
        ]
        p.size[axis] = g.out_size[axis]
        p.low[axis] = max(0, -min(reached, default=0))
        p.length[axis] = p.low[axis] + max(1, max(reached, default=0))
    set_padded(p, 1)
    first, tap_at, tap = [0], [], []
    for depths in taps[0]:
        for rows in taps[1]:
            for columns in taps[2]:
                for d, down in depths:
                    for h, below in rows:
                        for w, right in columns:
                            tap.append((d * g.kernel[1] + h) * g.kernel[2] + w)
                            tap_at.append(place(p, down + p.low[0], below + p.low[1], right + p.low[2]))
                first.append(len(tap))
    arrays = [np.array(values, np.int64) for values in (first, tap_at, tap)]
    f.first = <int64_t *> address(arrays[0])
    f.tap_at = <int64_t *> address(arrays[1])
    f.tap = <int64_t *> address(arrays[2])
    return arrays


cdef class DepthwiseInputGrad(Kernel):
    """ConvInputGrad where each group has one channel of input and one of output."""
    cdef object arrays
    cdef const void *dy
    cdef const void *weight
    cdef const void *bias
    cdef void *dx
    cdef bint double_
    cdef DepthwiseGrad f

    def __init__(self, dy, weight, dx, stride, pad, dilation, bias=None, bint relu=False):
        self.dy = address(dy)
        self.weight = address(weight)
        self.bias = NULL if bias is None else address(bias)
        self.dx = address(dx)
        self.double_ = is_double(dx)
        set_geometry(&self.f.g, dx.shape, dy.shape, weight.shape[2:], stride, pad, dilation, dx.shape[1])
        self.f.relu = relu
        self.arrays = (dy, weight, bias, dx, set_residues(&self.f))

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.double_:
            failed = input_grad(&self.f, <const double *> self.dy, <const double *> self.weight,
                                <const double *> self.bias, <double *> self.dx)
        else:
            failed = input_grad(&self.f, <const float *> self.dy, <const float *> self.weight,
                                <const float *> self.bias, <float *> self.dx)
        if failed:
            with gil:
                raise MemoryError("DepthwiseInputGrad: no memory for a padded plane")
        return 0


# --- weight gradient ----------------------------------------------------------------------------

cdef int weight_grad_task(const Depthwise *f, int64_t task, const real *dy, const real *x, real *dw,
                          real *db) noexcept nogil:
    """For each channel all images, one after the other, into a vector of sums for each tap."""
    cdef const Geometry *g = &f.g
    cdef int64_t vl = micro().depthwise_f32.vl if sizeof(real) == 4 else micro().depthwise_f64.vl
    cdef int64_t tasks = tasks_of(g.groups), channel, plane, image, depth, t, terms
    cdef real *padded = zeros(&f.padded, dw)
    cdef real *totals = scratch_of(TAPS, g.taps * vl, dw)
    cdef double *sums = <double *> scratch(SUMS, g.taps * sizeof(double))
    cdef double bias_aside = 0
    cdef real bias_total
    if padded == NULL or totals == NULL or sums == NULL:
        return OUT_OF_MEMORY
    for channel in range(part_start(g.groups, tasks, task), part_start(g.groups, tasks, task + 1)):
        memset(totals, 0, g.taps * vl * sizeof(real))
        memset(sums, 0, g.taps * sizeof(double))
        terms = 0
        bias_total = 0
        for image in range(g.batch):
            plane = image * g.groups + channel
            copy_plane(&f.padded, x + plane * g.in_pixels, padded)
            for depth in range(g.out_size[0]):
                terms = plane_dots(f, padded + depth * g.stride[0] * f.padded.plane_step,
                                   dy + plane * g.out_pixels + depth * g.out_size[1] * g.out_size[2], terms, totals,
                                   sums)
            if db != NULL:
                set_aside(image, 1, &bias_total, &bias_aside)
                bias_total += sum_values(g.out_pixels, dy + plane * g.out_pixels)
        add_lanes(g.taps, vl, totals, sums)
        for t in range(g.taps):
            dw[channel * g.taps + t] = <real> sums[t]
        if db != NULL:
            add_aside(g.batch, 1, &bias_total, &bias_aside)
            db[channel] = bias_total
    return 0


cdef int64_t plane_dots(const Depthwise *f, const real *x, const real *dy, int64_t terms, real *totals,
                        double *sums) noexcept nogil:
    """Add the products of one plane to vectors that have so many terms already, and return how many they have then."""
    cdef const Geometry *g = &f.g
    cdef int64_t vl = micro().depthwise_f32.vl if sizeof(real) == 4 else micro().depthwise_f64.vl
    cdef int64_t rows = g.out_size[1], columns = g.out_size[2], row_step = g.stride[1] * f.padded.row_step
    cdef int64_t width = min(columns, TERMS * vl), height = max(1, TERMS // max(1, parts_of(width, vl)))
    cdef int64_t i, j, at, column, m, n, more
    for i in range(parts_of(rows, height)):
        at = i * height
        m = min(height, rows - at)
        for j in range(parts_of(columns, TERMS * vl)):
            column = j * width
            n = min(width, columns - column)
            more = m * parts_of(n, vl)
            if terms + more > TERMS:
                add_lanes(g.taps, vl, totals, sums)
                terms = 0
            row_dots(m, n, g.taps, x + at * row_step + column, f.tap_at, row_step, dy + at * columns + column, columns,
                     totals)
            terms += more
    return terms


cdef inline void add_lanes(int64_t taps, int64_t vl, real *totals, double *sums) noexcept nogil:
    """What vectors have come to is added to the sums, and they begin anew."""
    cdef int64_t t
    if real is float:
        micro().depthwise_f32.sum_lanes(taps, totals, totals)
    else:
        micro().depthwise_f64.sum_lanes(taps, totals, totals)
    for t in range(taps):
        sums[t] += totals[t]
    memset(totals, 0, taps * vl * sizeof(real))


cdef inline void row_dots(int64_t rows, int64_t n, int64_t taps, const real *x, const int64_t *tap_at,
                          int64_t row_step, const real *dy, int64_t ldy, real *totals) noexcept nogil:
    if real is float:
        micro().depthwise_f32.weight_grad(rows, n, taps, x, tap_at, row_step, dy, ldy, totals)
    else:
        micro().depthwise_f64.weight_grad(rows, n, taps, x, tap_at, row_step, dy, ldy, totals)


cdef int weight_grad(const Depthwise *f, const real *dy, const real *x, real *dw, real *db) noexcept nogil:
    cdef int64_t task
    cdef int threads = threads_for(operations(&f.g)), failed = 0
    for task in prange(tasks_of(f.g.groups), num_threads=threads, schedule="dynamic"):
        failed |= weight_grad_task(f, task, dy, x, dw, db)
    return failed


cdef class DepthwiseWeightGrad(Kernel):
    """ConvWeightGrad where each group has one channel of input and one of output."""
    cdef object arrays
    cdef const void *dy
    cdef const void *x
    cdef void *dw
    cdef void *db
    cdef bint double_
    cdef Depthwise f

    def __init__(self, dy, x, dweight, dbias, stride, pad, dilation):
        self.dy = address(dy)
        self.x = address(x)
        self.dw = address(dweight)
        self.db = NULL if dbias is None else address(dbias)
        self.double_ = is_double(dweight)
        set_geometry(&self.f.g, x.shape, dy.shape, dweight.shape[2:], stride, pad, dilation, x.shape[1])
        self.arrays = (dy, x, dweight, dbias, set_windows(&self.f))

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.double_:
            failed = weight_grad(&self.f, <const double *> self.dy, <const double *> self.x,
                                 <double *> self.dw, <double *> self.db)
        else:
            failed = weight_grad(&self.f, <const float *> self.dy, <const float *> self.x,
                                 <float *> self.dw, <float *> self.db)
        if failed:
            with gil:
                raise MemoryError("DepthwiseWeightGrad: no memory for a padded plane")
        return 0
