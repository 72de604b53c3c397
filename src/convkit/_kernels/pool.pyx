"""Max and average pooling in one to three dimensions, forward and backward.

A plane (one channel of one image) is one task.  Windows are clipped to the input.  Each row of outputs is
made in two passes of row kernels: down, over the input rows its windows cover, into one line as wide as the
padded input; then along this line, in steps of the stride.  The backward pass of the average does the same
the other way round.  2 x 2 windows with stride 2 have kernels of their own.

Inside, everything is three-dimensional; fewer dimensions get leading axes of one.
"""

import numpy as np

from convkit._kernels.depthwise import DepthwiseForward, DepthwiseInputGrad

from cython.parallel cimport prange
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memset

from convkit._kernels.chunks cimport SOME, add_aside, set_aside
from convkit._kernels.core cimport (
    OUT_OF_MEMORY, Kernel, address, is_double, micro, real, scratch, threads_for,
)
from convkit._kernels.rows cimport CK_MAP_ADD
from convkit._kernels.tile cimport CK_MAX_VECTOR, pad_rows

# The type of a position within a plane.
ctypedef fused position:
    int32_t
    int64_t

MOST_COLUMNS = 1 << 40      # that the windows of a line may cover: no memory has more, and sizes do not overflow

# All lengths by axis: depth, height, width.
cdef struct Windows:
    int64_t planes
    int64_t size[3]      # of an input plane
    int64_t count[3]     # windows, that is the size of an output plane
    int64_t kernel[3]
    int64_t stride[3]
    int64_t pad[3]
    int64_t pad_high[3]
    int64_t dilation[3]
    # for max pooling: see padded_max_plane
    bint padded
    int64_t rows, pitch         # of the padded plane, its columns split by phase
    int64_t *tap_at
    int64_t *tap_place


cdef int fill_axes(int64_t *axes, values, int64_t missing) except -1:
    """Write one to three lengths to the end of `axes`, `missing` to its start."""
    cdef int leading = 3 - len(values)
    for axis in range(3):
        axes[axis] = missing if axis < leading else values[axis - leading]
    return 0


cdef Windows windows_of(x, y, kernel_size, stride, pad, pad_high, dilation) except *:
    cdef Windows w
    w.planes = x.shape[0] * x.shape[1]
    fill_axes(w.size, x.shape[2:], 1)
    fill_axes(w.count, y.shape[2:], 1)
    fill_axes(w.kernel, kernel_size, 1)
    fill_axes(w.stride, stride, 1)
    fill_axes(w.pad, pad, 0)
    fill_axes(w.pad_high, pad_high, 0)
    fill_axes(w.dilation, dilation, 1)
    for axis in range(3):
        # Taps beyond the padded plane see nothing, and may be more than can be counted.
        reach = int(w.size[axis]) + w.pad[axis] + w.pad_high[axis]
        w.kernel[axis] = min(int(w.kernel[axis]), max(1, -(-reach // w.dilation[axis])))
        if w.count[axis] == 1:
            w.stride[axis] = w.kernel[axis]     # there is no second window; a huge stride would overflow
        if (w.count[axis] - 1) * int(w.stride[axis]) + (w.kernel[axis] - 1) * int(w.dilation[axis]) >= MOST_COLUMNS:
            raise MemoryError
    return w


cdef inline int64_t volume(const int64_t *axes) noexcept nogil:
    return axes[0] * axes[1] * axes[2]


cdef inline double taps(const Windows *w) noexcept nogil:
    return <double>w.kernel[0] * w.kernel[1] * w.kernel[2]


cdef inline double operations(const Windows *w) noexcept nogil:
    return w.planes * (volume(w.size) + volume(w.count) * taps(w))


cdef inline bint is_halving(const Windows *w) noexcept nogil:
    """Whether these are whole, undilated, unpadded 2 x 2 windows with stride 2."""
    cdef int axis
    if w.size[0] != 1 or w.count[0] != 1 or w.kernel[0] != 1 or w.pad[0] != 0:
        return False
    for axis in range(1, 3):
        if w.kernel[axis] != 2 or w.stride[axis] != 2 or w.pad[axis] != 0 or w.dilation[axis] != 1:
            return False
        if 2 * w.count[axis] > w.size[axis]:
            return False
    return True


cdef inline int64_t line_length(const Windows *w) noexcept nogil:
    """Columns that the windows of one row of outputs cover, padding included."""
    return (w.count[2] - 1) * w.stride[2] + (w.kernel[2] - 1) * w.dilation[2] + 1


cdef inline int64_t columns_inside(const Windows *w) noexcept nogil:
    """Columns of an input row that lie within the line; they begin at w.pad[2]."""
    return max(<int64_t>0, min(w.size[2], line_length(w) - w.pad[2]))


cdef inline int64_t first_inside(const Windows *w, int axis, int64_t window) noexcept nogil:
    """The first index of the input along an axis that a window has a tap on, if it has one at all."""
    cdef int64_t at = window * w.stride[axis] - w.pad[axis], d = w.dilation[axis]
    return at if at >= 0 else at + ((-at - 1) // d + 1) * d


cdef inline int64_t stop_inside(const Windows *w, int axis, int64_t window) noexcept nogil:
    """Where the indices that a window has taps on end, at the latest with the input."""
    cdef int64_t last = window * w.stride[axis] - w.pad[axis] + (w.kernel[axis] - 1) * w.dilation[axis]
    return min(w.size[axis], last + 1)


cdef inline size_t most_rows(const Windows *w) noexcept nogil:
    """Rows of the input that a window can cover."""
    return min(w.kernel[0], w.size[0]) * min(w.kernel[1], w.size[1])


cdef int64_t window_rows(
    const Windows *w, int64_t depth, int64_t height, const real *plane, const real **found
) noexcept nogil:
    """Find the input rows, in order, that the windows of one row of outputs cover; returns how many."""
    cdef int64_t z = first_inside(w, 0, depth), first = first_inside(w, 1, height), row, count = 0
    cdef int64_t stop_z = stop_inside(w, 0, depth), stop = stop_inside(w, 1, height)
    while z < stop_z:
        row = first
        while row < stop:
            found[count] = plane + (z * w.size[1] + row) * w.size[2]
            count += 1
            row += w.dilation[1]
        z += w.dilation[0]
    return count


# --- max -----------------------------------------------------------------------------------------

cdef int max_plane(const Windows *w, const real *x, real *y, position *indices) noexcept nogil:
    """Pool one plane; `indices` may be NULL."""
    cdef int64_t length = line_length(w), inside = columns_inside(w), pad = w.pad[2], n = w.count[2]
    cdef const real **found = <const real **>scratch(0, most_rows(w) * sizeof(real *))
    cdef real *line = <real *>scratch(1, length * sizeof(real))
    if real is float:
        rows = &micro().rows_f32
        line_place = <int32_t *>scratch(2, length * sizeof(int32_t))
        place = <int32_t *>scratch(3, n * sizeof(int32_t))
    else:
        rows = &micro().rows_f64
        line_place = <int64_t *>scratch(2, length * sizeof(int64_t))
        place = <int64_t *>scratch(3, n * sizeof(int64_t))
    if not (found and line and line_place and place):
        return OUT_OF_MEMORY
    cdef int64_t depth, height, k, count
    rows.fill(length, -INFINITY, line)
    memset(line_place, -1, length * sizeof(line_place[0]))
    for depth in range(w.count[0]):
        for height in range(w.count[1]):
            count = window_rows(w, depth, height, x, found)
            rows.fill(inside, -INFINITY, line + pad)
            if indices:
                memset(line_place + pad, -1, inside * sizeof(line_place[0]))
                for k in range(count):
                    rows.max_down_at(inside, found[k], found[k] - x, line + pad, line_place + pad)
                rows.max_along_at(n, w.kernel[2], w.stride[2], w.dilation[2], line, line_place, y, place)
                if position is int32_t:
                    rows.places_i32(n, place, indices)
                else:
                    rows.places_i64(n, place, indices)
                indices += n
            else:
                for k in range(count):
                    rows.max_down(inside, found[k], line + pad)
                rows.max_along(n, w.kernel[2], w.stride[2], w.dilation[2], line, y)
            y += n
    return 0


cdef inline bint is_worth_copying(const Windows *w) noexcept nogil:
    """Whether the windows see most of a plane, so that a copy laid out for them costs little more than they do."""
    return volume(w.size) <= 4 * volume(w.count) * taps(w)


cdef set_padded(Windows *w):
    """Where each tap of the first window lies in the padded plane, and its place in the plane; or None."""
    cdef int64_t stride = w.stride[2]
    w.padded = (w.size[0] == 1 and w.count[0] == 1 and w.count[1] > 0 and w.kernel[0] == 1 and w.pad[0] == 0
                and taps(w) <= 64 and w.count[2] >= 4 and not is_halving(w)
                and is_worth_copying(w))
    if not w.padded:
        return None
    w.rows = max((w.count[1] - 1) * w.stride[1] + (w.kernel[1] - 1) * w.dilation[1] + 1, w.pad[1] + w.size[1])
    w.pitch = (max(line_length(w), w.pad[2] + w.size[2]) + stride - 1) // stride
    places = [(i * w.dilation[1], k * w.dilation[2]) for i in range(w.kernel[1]) for k in range(w.kernel[2])]
    tap_at = np.array([column % stride * w.rows * w.pitch + row * w.pitch + column // stride
                       for row, column in places], np.int64)
    tap_place = np.array([(row - w.pad[1]) * w.size[2] + column - w.pad[2] for row, column in places], np.int64)
    w.tap_at = <int64_t *>address(tap_at)
    w.tap_place = <int64_t *>address(tap_place)
    return tap_at, tap_place


cdef void surround(const Windows *w, real *padded) noexcept nogil:
    """Set what lies around the plane in its padded copy to -inf: rows above and below, columns to both sides."""
    cdef int64_t stride = w.stride[2], first = w.pad[1], last = first + w.size[1], phase, row, i, low, high
    cdef real *line
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    for phase in range(stride):
        low = (w.pad[2] - phase + stride - 1) // stride         # columns of this phase that precede the plane
        high = (w.pad[2] + w.size[2] - phase + stride - 1) // stride
        line = padded + phase * w.rows * w.pitch
        rows.fill(first * w.pitch, -INFINITY, line)
        rows.fill((w.rows - last) * w.pitch, -INFINITY, line + last * w.pitch)
        for row in range(first, last):
            for i in range(low):
                line[row * w.pitch + i] = -INFINITY
            for i in range(high, w.pitch):
                line[row * w.pitch + i] = -INFINITY


cdef int padded_max_plane(const Windows *w, bint last, const real *x, real *y, position *indices) noexcept nogil:
    """max_plane from a copy of the plane with -inf around it, lanes along the outputs; `indices` may be NULL.

    Meanwhile the next plane is fetched, unless this is the last.  Padding is never larger than a value, so only planes
    with windows of -inf alone, or with NaN, need max_plane.
    """
    cdef int64_t n = w.count[1] * w.count[2], size = w.stride[2] * w.rows * w.pitch
    cdef real *padded = <real *>scratch(4, (size + CK_MAX_VECTOR) * sizeof(real))
    if real is float:
        rows = &micro().rows_f32
        place = <int32_t *>scratch(3, n * sizeof(int32_t)) if indices else NULL
    else:
        rows = &micro().rows_f64
        place = <int64_t *>scratch(3, n * sizeof(int64_t)) if indices else NULL
    if not padded or (indices and not place):
        return OUT_OF_MEMORY
    surround(w, padded)
    pad_rows(w.size[1], w.size[2], x, w.size[2], w.pad[2], w.stride[2], w.stride[2],
             padded + w.pad[1] * w.pitch, w.pitch, w.rows * w.pitch)
    if rows.max_windows_at(w.count[1], w.count[2], w.kernel[1] * w.kernel[2], padded, w.tap_at, w.tap_place,
                           w.stride[1] * w.pitch, w.stride[1] * w.size[2], w.stride[2], y, place, x + volume(w.size),
                           0 if last else volume(w.size)):
        return max_plane(w, x, y, indices)
    if not indices:
        return 0
    if position is int32_t:
        rows.places_i32(n, place, indices)
    else:
        rows.places_i64(n, place, indices)
    return 0


cdef int halve_max(const Windows *w, const real *x, real *y, position *indices) noexcept nogil:
    """max_plane for 2 x 2 windows with stride 2."""
    cdef int64_t height = w.count[1], width = w.count[2], count = height * width
    if real is float:
        rows = &micro().rows_f32
        place = <int32_t *>scratch(0, count * sizeof(int32_t))
    else:
        rows = &micro().rows_f64
        place = <int64_t *>scratch(0, count * sizeof(int64_t))
    if not place:
        return OUT_OF_MEMORY
    if not indices:
        rows.max_2x2(height, width, w.size[2], x, y)
        return 0
    rows.max_2x2_at(height, width, w.size[2], x, y, place)
    if position is int32_t:
        rows.places_i32(count, place, indices)
    else:
        rows.places_i64(count, place, indices)
    return 0


cdef int max_of(const Windows *w, bint halving, int64_t plane, const real *x, real *y,
                position *indices) noexcept nogil:
    cdef int64_t step = volume(w.size), out_step = volume(w.count)
    cdef position *to = indices + plane * out_step if indices else NULL
    if halving:
        return halve_max(w, x + plane * step, y + plane * out_step, to)
    if w.padded:
        return padded_max_plane(w, plane + 1 == w.planes, x + plane * step, y + plane * out_step, to)
    return max_plane(w, x + plane * step, y + plane * out_step, to)


cdef int max_planes(const Windows *w, const real *x, real *y, position *indices) noexcept nogil:
    cdef int64_t plane
    cdef bint halving = is_halving(w)
    cdef int threads = threads_for(operations(w)), failed = 0
    if threads == 1:
        for plane in range(w.planes):
            failed |= max_of(w, halving, plane, x, y, indices)
    else:
        for plane in prange(w.planes, schedule="static", num_threads=threads):
            failed |= max_of(w, halving, plane, x, y, indices)
    return failed


cdef class MaxPoolForward(Kernel):
    """y = the largest value of each window, NaN above all; indices = its first place in the plane.

    x (N, C, *in), y (N, C, *out), indices (N, C, *out) of int32 or int64, or None.  Lengths are tuples with
    one entry for each axis.  A window without any value in it gives -inf and the index -1.
    """
    cdef object arrays
    cdef void *x
    cdef void *y
    cdef void *indices
    cdef bint double_
    cdef bint wide
    cdef Windows windows

    def __init__(self, x, y, indices, kernel_size, stride, pad, dilation):
        self.x = address(x)
        self.y = address(y)
        self.indices = NULL if indices is None else address(indices)
        self.wide = indices is not None and indices.itemsize == 8
        self.double_ = is_double(y)
        self.windows = windows_of(x, y, kernel_size, stride, pad, pad, dilation)
        self.arrays = (x, y, indices, set_padded(&self.windows))
        if volume(self.windows.size) > 0x7FFFFFFF and not (self.double_ and self.wide):
            raise ValueError(f"max pooling takes planes of fewer than 2**31 values, not {x.shape[2:]}")

    cdef int execute(self) except -1 nogil:
        cdef const Windows *w = &self.windows
        cdef int failed
        if self.double_ and self.wide:
            failed = max_planes(w, <const double *>self.x, <double *>self.y, <int64_t *>self.indices)
        elif self.double_:
            failed = max_planes(w, <const double *>self.x, <double *>self.y, <int32_t *>self.indices)
        elif self.wide:
            failed = max_planes(w, <const float *>self.x, <float *>self.y, <int64_t *>self.indices)
        else:
            failed = max_planes(w, <const float *>self.x, <float *>self.y, <int32_t *>self.indices)
        if failed:
            with gil:
                raise MemoryError
        return 0


cdef void scatter_plane(int64_t n, const real *dy, const position *indices, real *dx) noexcept nogil:
    cdef int64_t i
    for i in range(n):
        if indices[i] >= 0:
            dx[indices[i]] += dy[i]


cdef void scatter_planes(
    int64_t planes, int64_t size, int64_t count, const real *dy, const position *indices, real *dx
) noexcept nogil:
    cdef int64_t plane
    cdef int threads = threads_for(<double>planes * (size + 2 * count))
    for plane in prange(planes, schedule="static", num_threads=threads):
        memset(dx + plane * size, 0, size * sizeof(real))
        scatter_plane(count, dy + plane * count, indices + plane * count, dx + plane * size)


cdef class MaxPoolBackward(Kernel):
    """dx = the sum of dy over the windows whose maximum stood there.

    dy and indices (N, C, *out), indices as MaxPoolForward wrote them; dx (N, C, *in).
    """
    cdef object arrays
    cdef void *dy
    cdef void *indices
    cdef void *dx
    cdef bint double_
    cdef bint wide
    cdef int64_t planes
    cdef int64_t size
    cdef int64_t count

    def __init__(self, dy, indices, dx):
        cdef int64_t axes[3]
        self.arrays = (dy, indices, dx)
        self.dy = address(dy)
        self.indices = address(indices)
        self.dx = address(dx)
        self.double_ = is_double(dx)
        self.wide = indices.itemsize == 8
        self.planes = dx.shape[0] * dx.shape[1]
        fill_axes(axes, dx.shape[2:], 1)
        self.size = volume(axes)
        fill_axes(axes, dy.shape[2:], 1)
        self.count = volume(axes)

    cdef int execute(self) except -1 nogil:
        cdef int64_t planes = self.planes, size = self.size, count = self.count
        cdef int32_t *narrow = <int32_t *>self.indices
        cdef int64_t *wide = <int64_t *>self.indices
        if self.double_ and self.wide:
            scatter_planes(planes, size, count, <const double *>self.dy, wide, <double *>self.dx)
        elif self.double_:
            scatter_planes(planes, size, count, <const double *>self.dy, narrow, <double *>self.dx)
        elif self.wide:
            scatter_planes(planes, size, count, <const float *>self.dy, wide, <float *>self.dx)
        else:
            scatter_planes(planes, size, count, <const float *>self.dy, narrow, <float *>self.dx)
        return 0


# --- average -------------------------------------------------------------------------------------

cdef inline int64_t divisor(const Windows *w, bint count_pad, int axis, int64_t window) noexcept nogil:
    """Values of a window along one axis: of the padded input or of the input; at least one."""
    cdef int64_t low = window * w.stride[axis] - w.pad[axis]
    cdef int64_t high = min(low + w.kernel[axis], w.size[axis] + (w.pad_high[axis] if count_pad else 0))
    if not count_pad:
        low = max(low, <int64_t>0)
    return max(high - low, <int64_t>1)


cdef inline double rows_divisor(
    const Windows *w, bint count_pad, int64_t depth, int64_t height
) noexcept nogil:
    return <double>divisor(w, count_pad, 0, depth) * divisor(w, count_pad, 1, height)


cdef inline void sum_along(const Windows *w, const real *line, real *part, double *aside, real *y) noexcept nogil:
    """A row of sums over windows along a line, of SOME columns at a time."""
    cdef int64_t n = w.count[2], taps = w.kernel[2], at, k, i
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    rows.sum_along(n, min(taps, <int64_t>SOME), w.stride[2], line, y)
    if taps <= SOME:
        return
    for i in range(n):
        aside[i] = y[i]
    for k in range(1, (taps + SOME - 1) // SOME):
        at = k * SOME
        rows.sum_along(n, min(taps - at, <int64_t>SOME), w.stride[2], line + at, part)
        for i in range(n):
            aside[i] += part[i]
    for i in range(n):
        y[i] = <real>aside[i]


cdef int average_plane(const Windows *w, bint count_pad, const real *x, real *y) noexcept nogil:
    cdef int64_t length = line_length(w), inside = columns_inside(w), pad = w.pad[2], n = w.count[2]
    cdef const real **found = <const real **>scratch(0, most_rows(w) * sizeof(real *))
    cdef real *line = <real *>scratch(1, length * sizeof(real))
    cdef real *widths = <real *>scratch(2, n * sizeof(real))
    cdef bint many = max(<int64_t>most_rows(w), w.kernel[2]) > SOME
    cdef real *part = <real *>scratch(3, n * sizeof(real)) if many else NULL
    cdef double *aside = <double *>scratch(4, max(n, inside) * sizeof(double)) if many else NULL
    if not (found and line and widths) or many and not (part and aside):
        return OUT_OF_MEMORY
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef int64_t depth, height, count, i, k
    for i in range(n):
        widths[i] = divisor(w, count_pad, 2, i)
    memset(line, 0, length * sizeof(real))
    for depth in range(w.count[0]):
        for height in range(w.count[1]):
            memset(line + pad, 0, inside * sizeof(real))
            count = window_rows(w, depth, height, x, found)
            for k in range(count):
                set_aside(k, inside, line + pad, aside)
                rows.binary[CK_MAP_ADD](inside, line + pad, found[k], line + pad)
            add_aside(count, inside, line + pad, aside)
            sum_along(w, line, part, aside, y)
            rows.divide(n, y, widths, <real>rows_divisor(w, count_pad, depth, height), y)
            y += n
    return 0


cdef int spread_plane(const Windows *w, bint count_pad, const real *dy, real *dx) noexcept nogil:
    """Add to one plane, which holds zeros."""
    cdef int64_t length = line_length(w), inside = columns_inside(w), pad = w.pad[2], n = w.count[2]
    cdef const real **found = <const real **>scratch(0, most_rows(w) * sizeof(real *))
    cdef real *line = <real *>scratch(1, length * sizeof(real))
    cdef real *widths = <real *>scratch(2, n * sizeof(real))
    cdef real *shares = <real *>scratch(3, n * sizeof(real))
    if not (found and line and widths and shares):
        return OUT_OF_MEMORY
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef int64_t depth, height, i, k
    for i in range(n):
        widths[i] = divisor(w, count_pad, 2, i)
    for depth in range(w.count[0]):
        for height in range(w.count[1]):
            rows.divide(n, dy, widths, <real>rows_divisor(w, count_pad, depth, height), shares)
            memset(line, 0, length * sizeof(real))
            rows.spread_along(n, w.kernel[2], w.stride[2], shares, line)
            for k in range(window_rows(w, depth, height, <const real *>dx, found)):
                rows.binary[CK_MAP_ADD](inside, found[k], line + pad, <real *>found[k])
            dy += n
    return 0


cdef int average_of(const Windows *w, bint count_pad, int64_t plane, const real *x, real *y) noexcept nogil:
    cdef int64_t step = volume(w.size), out_step = volume(w.count)
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    if not is_halving(w):
        return average_plane(w, count_pad, x + plane * step, y + plane * out_step)
    rows.average_2x2(w.count[1], w.count[2], w.size[2], x + plane * step, y + plane * out_step)
    return 0


cdef int average_planes(const Windows *w, bint count_pad, const real *x, real *y) noexcept nogil:
    cdef int64_t plane
    cdef int threads = threads_for(operations(w)), failed = 0
    if threads == 1:
        for plane in range(w.planes):
            failed |= average_of(w, count_pad, plane, x, y)
    else:
        for plane in prange(w.planes, schedule="static", num_threads=threads):
            failed |= average_of(w, count_pad, plane, x, y)
    return failed


cdef int spread_planes(const Windows *w, bint count_pad, const real *dy, real *dx) noexcept nogil:
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef int64_t plane, step = volume(w.size), out_step = volume(w.count)
    cdef bint halving = is_halving(w)
    cdef bint covered = halving and 2 * w.count[1] == w.size[1] and 2 * w.count[2] == w.size[2]
    cdef int failed = 0
    for plane in prange(w.planes, schedule="static", num_threads=threads_for(operations(w))):
        if not covered:
            memset(dx + plane * step, 0, step * sizeof(real))
        if halving:
            rows.spread_2x2(w.count[1], w.count[2], w.size[2], dy + plane * out_step, dx + plane * step)
        else:
            failed |= spread_plane(w, count_pad, dy + plane * out_step, dx + plane * step)
    return failed


cdef bint is_uniform(const Windows *w, bint count_pad):
    """Whether all windows hold the same number of values: then the mean is a depthwise convolution.

    Very wide windows and few of them are left to the passes above, as lanes run along the outputs.
    """
    cdef int axis
    if is_halving(w) or w.count[2] < 4 or taps(w) > 64 or not is_worth_copying(w):
        return False
    for axis in range(3):
        if w.pad[axis] > 0 and not count_pad:
            return False
        if (w.count[axis] - 1) * w.stride[axis] - w.pad[axis] + w.kernel[axis] > (
                w.size[axis] + (w.pad_high[axis] if count_pad else 0)):
            return False
    return True


cdef class AveragePool(Kernel):
    """What forward and backward have in common: `inputs` is x or dx, `outputs` is y or dy."""
    cdef object arrays
    cdef void *inputs
    cdef void *outputs
    cdef bint double_
    cdef bint count_pad
    cdef Windows windows
    cdef Kernel depthwise       # does the work instead where all windows are alike

    cdef int bind(self, x, y, kernel_size, stride, pad, pad_high, bint count_include_pad) except -1:
        self.arrays = (x, y)
        self.inputs = address(x)
        self.outputs = address(y)
        self.double_ = is_double(y)
        self.count_pad = count_include_pad
        self.windows = windows_of(x, y, kernel_size, stride, pad, pad_high, (1,) * len(pad))
        return 0

    cdef weight(self, x):
        """The filters of the depthwise convolution that takes the mean."""
        kernel_size = [self.windows.kernel[axis] for axis in range(5 - x.ndim, 3)]
        return np.full((x.shape[1], 1, *kernel_size), 1.0 / taps(&self.windows), x.dtype)


cdef class AvgPoolForward(AveragePool):
    """y = the mean of each window.

    x (N, C, *in), y (N, C, *out).  The sum is divided by the number of values of the window within the padded
    input, or within the input where the padding does not count.
    """
    def __init__(self, x, y, kernel_size, stride, pad, pad_high, count_include_pad):
        self.bind(x, y, kernel_size, stride, pad, pad_high, count_include_pad)
        if is_uniform(&self.windows, count_include_pad):
            self.depthwise = DepthwiseForward(x, self.weight(x), None, y, stride, pad, (1,) * len(pad))

    cdef int execute(self) except -1 nogil:
        cdef const Windows *w = &self.windows
        cdef int failed
        if self.depthwise is not None:
            return self.depthwise.execute()
        if self.double_:
            failed = average_planes(
                w, self.count_pad, <const double *>self.inputs, <double *>self.outputs
            )
        else:
            failed = average_planes(w, self.count_pad, <const float *>self.inputs, <float *>self.outputs)
        if failed:
            with gil:
                raise MemoryError
        return 0


cdef class AvgPoolBackward(AveragePool):
    """dx = each window's dy, divided as in the forward pass, summed where windows overlap.

    dy (N, C, *out), dx (N, C, *in).
    """
    def __init__(self, dy, dx, kernel_size, stride, pad, pad_high, count_include_pad):
        self.bind(dx, dy, kernel_size, stride, pad, pad_high, count_include_pad)
        if is_uniform(&self.windows, count_include_pad):
            self.depthwise = DepthwiseInputGrad(dy, self.weight(dx), dx, stride, pad, (1,) * len(pad))

    cdef int execute(self) except -1 nogil:
        cdef const Windows *w = &self.windows
        cdef int failed
        if self.depthwise is not None:
            return self.depthwise.execute()
        if self.double_:
            failed = spread_planes(w, self.count_pad, <const double *>self.outputs, <double *>self.inputs)
        else:
            failed = spread_planes(w, self.count_pad, <const float *>self.outputs, <float *>self.inputs)
        if failed:
            with gil:
                raise MemoryError
        return 0
