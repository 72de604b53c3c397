"""Drivers for arrays in lanes: (blocks, channels, *size, lanes), the image innermost.

A block holds as many images as there are values in 64 bytes, 16 of float32 or 8 of float64; missing ones of the
last block are zeros where arrays enter, and whatever the network makes of them after.  Little has to be
packed but the weights: a vector is one pixel of several images.

Convolution and its adjoint are one driver over the tables of convkit.taps; a task is a run of tiles of one
group of one block.  The weight gradient is tiles of sums over all pixels and images, of large planes by bands.
"""

import numpy as np

from cython.parallel cimport prange
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy, memset

from convkit._kernels.core cimport Kernel, OUT_OF_MEMORY, Reader, address, is_double, micro, real, threads_for
from convkit._kernels.lanes cimport (
    CK_MAX_PIXELS, CK_MAX_SUMS, CK_PIXEL_BYTES, GATHER_BIAS, GATHER_RELU, ck_fetch, ck_window_row,
)
from convkit._kernels.tile cimport add_rows, part_start, parts_of, planes_sum, scratch_of, transpose

cdef enum:
    SHARED, SCALES, PLANES, SUMS    # scratch slots; the first and the last are shared by all threads of a call
    TASKS = 16                      # tasks wanted of a large problem, for any number of threads
    PRODUCTS_PER_TASK = 500000      # at least
    WINDOW_BYTES = 393216           # of input under one task, for the second-level cache
    LEAST_PACKED = 32               # channels whose planes are too many to read side by side: they are packed first
    BAND_BYTES = 524288             # of the input and a tile of output channels under a band of the weight gradient
    MOST_BAND_SUMS = 65536          # of values that each band adds up
    DEPTHWISE_PIXELS = 24           # of a tile, or calls take longer than what they do
    LEAST_USES = 6                  # by tiles of output channels, or packing costs more than it saves
    WIDENS = 4                      # times as many output as input channels: each thread writes planes of its own
    AHEAD = 3                       # channels; so far ahead of being packed they are asked for


def lanes_of(dtype):
    """Images in a block for this dtype."""
    return CK_PIXEL_BYTES // np.dtype(dtype).itemsize


cdef inline int64_t lanes(const real *any_) noexcept nogil:
    return CK_PIXEL_BYTES // sizeof(real)


cdef int64_t product(sizes):
    cdef int64_t total = 1
    for size in sizes:
        total *= size
    return total


# --- in and out ---------------------------------------------------------------------------------

cdef enum:
    RUN = 1024      # values of each image that one task transposes, about


cdef struct Transfer:
    int64_t images, values      # of the array with one image after the other
    int64_t blocks, runs


cdef void enter(const Transfer *t, int64_t task, const real *x, real *y) noexcept nogil:
    """One run of values of one block: (images, run) becomes (run, lanes)."""
    cdef int64_t width = lanes(y), block = task // t.runs, run = task % t.runs
    cdef int64_t first = part_start(t.values, t.runs, run), last = part_start(t.values, t.runs, run + 1)
    cdef int64_t images = min(width, t.images - block * width)
    x += block * width * t.values + first
    y += (block * t.values + first) * width
    if images < width:
        memset(y, 0, (last - first) * width * sizeof(real))
    transpose(images, last - first, x, t.values, y, width)


cdef void leave(const Transfer *t, int64_t task, const real *x, real *y) noexcept nogil:
    """The other way round."""
    cdef int64_t width = lanes(y), block = task // t.runs, run = task % t.runs
    cdef int64_t first = part_start(t.values, t.runs, run), last = part_start(t.values, t.runs, run + 1)
    cdef int64_t images = min(width, t.images - block * width)
    transpose(last - first, images, x + (block * t.values + first) * width, width,
              y + block * width * t.values + first, t.values)


cdef void transfer(const Transfer *t, bint entering, const real *x, real *y) noexcept nogil:
    cdef int64_t task
    cdef int threads = threads_for(4.0 * t.images * t.values)
    for task in prange(t.blocks * t.runs, num_threads=threads, schedule="static"):
        if entering:
            enter(t, task, x, y)
        else:
            leave(t, task, x, y)


cdef class Transposition(Reader):
    cdef object arrays
    cdef void *y
    cdef bint double_, entering
    cdef Transfer t

    def __init__(self, x, y):
        outside, inside = (x, y) if self.entering else (y, x)
        self.arrays = (x, y)
        self.source = address(x)
        self.y = address(y)
        self.double_ = is_double(y)
        self.t.images = outside.shape[0]
        self.t.values = product(outside.shape[1:])
        self.t.blocks = inside.shape[0]
        self.t.runs = max(1, parts_of(self.t.values, RUN))

    cdef int execute(self) except -1 nogil:
        if self.double_:
            transfer(&self.t, self.entering, <const double *> self.source, <double *> self.y)
        else:
            transfer(&self.t, self.entering, <const float *> self.source, <float *> self.y)
        return 0


cdef class ToLanes(Transposition):
    """y (blocks, *rest, lanes) = x (N, *rest), with zeros for the images that the last block lacks."""
    def __cinit__(self):
        self.entering = True


cdef class FromLanes(Transposition):
    """y (N, *rest) = x (blocks, *rest, lanes)."""
    def __cinit__(self):
        self.entering = False


# --- pooling ------------------------------------------------------------------------------------

cdef struct Pooling:
    int64_t in_rows, in_columns, out_rows, columns              # out: rows and columns of windows
    int64_t kernel_rows, kernel_columns, column_dilation
    int64_t stride, low, dilation                               # along the rows axis
    const int64_t *first                                        # along the columns axis, as in ck_window_row
    const int64_t *low_tap
    const int64_t *high_tap
    const double *row_share                                     # 1 / values of a window, by axis
    const double *column_share
    bint mean, add, fill
    bint pairs                                                  # windows of 2 x 2 side by side, all inside


cdef ck_window_row window_row(const Pooling *f, int64_t out_row, int64_t width, int64_t *in_row) noexcept nogil:
    """The windows of one row of outputs; in_row: the first input row inside them."""
    cdef ck_window_row w
    cdef int64_t start = out_row * f.stride - f.low
    cdef int64_t skipped = parts_of(-start, f.dilation) if start < 0 else 0
    cdef int64_t inside = max(0, min(f.kernel_rows, parts_of(f.in_rows - start, f.dilation)) - skipped)
    w.count = f.columns
    w.rows = inside
    w.row_step = f.dilation * f.in_columns * width
    w.row_code = skipped * f.kernel_columns
    w.row_codes = f.kernel_columns
    w.first = f.first
    w.low = f.low_tap
    w.high = f.high_tap
    w.dilation = f.column_dilation
    w.pairs = f.pairs and inside == 2
    w.add = f.add
    in_row[0] = start + skipped * f.dilation if inside > 0 else 0
    return w


cdef int pool_plane(const Pooling *f, const real *x, real *y, uint8_t *codes) noexcept nogil:
    cdef int64_t row, in_row, i, width = lanes(x)
    cdef real *scale = scratch_of(SCALES, f.columns, y)
    cdef ck_window_row w
    if scale == NULL:
        return OUT_OF_MEMORY
    if real is float:
        table = &micro().lanes_f32
    else:
        table = &micro().lanes_f64
    for row in range(f.out_rows):
        w = window_row(f, row, width, &in_row)
        if f.mean:
            for i in range(f.columns):
                scale[i] = <real> (f.row_share[row] * f.column_share[i])
            table.mean_row(&w, scale, x + in_row * f.in_columns * width, y)
        else:
            table.max_row(&w, x + in_row * f.in_columns * width, y, codes)
        y += f.columns * width
        if codes != NULL:
            codes += f.columns * width
    return 0


cdef int spread_plane(const Pooling *f, const real *dy, const uint8_t *codes, real *dx) noexcept nogil:
    cdef int64_t row, in_row, i, width = lanes(dy)
    cdef real *scale = scratch_of(SCALES, f.columns, dx)
    cdef ck_window_row w
    if scale == NULL:
        return OUT_OF_MEMORY
    if real is float:
        table = &micro().lanes_f32
    else:
        table = &micro().lanes_f64
    if f.fill:
        memset(dx, 0, f.in_rows * f.in_columns * width * sizeof(real))
    for row in range(f.out_rows):
        w = window_row(f, row, width, &in_row)
        if f.mean:
            for i in range(f.columns):
                scale[i] = <real> (f.row_share[row] * f.column_share[i])
            table.mean_row_grad(&w, scale, dy, dx + in_row * f.in_columns * width)
        else:
            table.max_row_grad(&w, dy, codes, dx + in_row * f.in_columns * width)
            codes += f.columns * width
        dy += f.columns * width
    return 0


cdef inline int64_t in_values(const Pooling *f, const real *any_) noexcept nogil:
    return f.in_rows * f.in_columns * lanes(any_)


cdef inline int64_t out_values(const Pooling *f, const real *any_) noexcept nogil:
    return f.out_rows * f.columns * lanes(any_)


cdef int pool(const Pooling *f, int64_t planes, const real *x, real *y, uint8_t *codes) noexcept nogil:
    cdef int64_t plane, in_step = in_values(f, x), out_step = out_values(f, x)
    cdef int threads = threads_for(<double> planes * out_step * f.kernel_rows * f.kernel_columns), failed = 0
    for plane in prange(planes, num_threads=threads, schedule="static"):
        failed |= pool_plane(f, x + plane * in_step, y + plane * out_step,
                             codes + plane * out_step if codes != NULL else NULL)
    return failed


cdef int spread(const Pooling *f, int64_t planes, const real *dy, const uint8_t *codes, real *dx) noexcept nogil:
    cdef int64_t plane, in_step = in_values(f, dy), out_step = out_values(f, dy)
    cdef int threads = threads_for(<double> planes * out_step * f.kernel_rows * f.kernel_columns), failed = 0
    for plane in prange(planes, num_threads=threads, schedule="static"):
        failed |= spread_plane(f, dy + plane * out_step, codes + plane * out_step if codes != NULL else NULL,
                               dx + plane * in_step)
    return failed


cdef class PoolWindows:
    """Where the windows of a plane of one or two axes lie, `in_size` to `out_size`.

    `shares` are, for each axis, 1 / the number of values in each window, for the mean; None for the maximum.
    """
    cdef object arrays
    cdef Pooling f

    def __init__(self, in_size, out_size, windows, shares):
        cdef Pooling *f = &self.f
        kernel, stride, low, dilation = windows.kernel_size, windows.stride, windows.low, windows.dilation
        lead = (1,) * (2 - len(kernel))     # one axis is a plane of one row
        f.in_rows, f.in_columns = lead + tuple(in_size)
        f.out_rows, f.columns = lead + tuple(out_size)
        f.kernel_rows, f.kernel_columns = lead + tuple(kernel)
        f.stride = stride[0] if len(kernel) == 2 else 1
        f.low = low[0] if len(kernel) == 2 else 0
        f.dilation = dilation[0] if len(kernel) == 2 else 1
        f.column_dilation = dilation[-1]
        f.add = any(s < d * (k - 1) + 1 for k, s, d in zip(kernel, stride, dilation, strict=True))
        f.fill = f.add or any(s > k or o * s < n or p > 0 for o, s, k, n, p in zip(
            out_size, stride, kernel, in_size, low, strict=True))
        f.mean = shares is not None
        first = np.arange(out_size[-1]) * stride[-1] - low[-1]
        low_tap = np.maximum(0, -(first // dilation[-1]))
        high_tap = np.clip(-((first - in_size[-1]) // dilation[-1]), low_tap, kernel[-1])
        kept = [np.ascontiguousarray(a, np.int64) for a in (first, low_tap, high_tap)]
        f.first = <const int64_t *> address(kept[0])
        f.low_tap = <const int64_t *> address(kept[1])
        f.high_tap = <const int64_t *> address(kept[2])
        if f.mean:
            kept += [np.ascontiguousarray(a, np.float64) for a in (*[np.ones(1)] * len(lead), *shares)]
            f.row_share = <const double *> address(kept[3])
            f.column_share = <const double *> address(kept[4])
        f.pairs = (kernel[-1] == stride[-1] == f.kernel_rows == 2 and dilation[-1] == f.dilation == 1 and low[-1] == 0
                   and high_tap.min(initial=2) == 2 and not f.add)
        self.arrays = kept


cdef class LanePooling(Kernel):
    """What the kernels of pooling share."""
    cdef object arrays
    cdef const void *source
    cdef void *target
    cdef void *codes
    cdef bint double_
    cdef int64_t planes
    cdef Pooling f

    def __init__(self, source, target, codes, PoolWindows windows):
        self.arrays = (source, target, codes, windows)
        self.source = address(source)
        self.target = address(target)
        self.codes = NULL if codes is None else address(codes)
        self.double_ = is_double(target)
        self.planes = source.shape[0] * source.shape[1]
        self.f = windows.f


cdef class LanePool(LanePooling):
    """target (B, C, *out, lanes) = the largest value, or the mean, of each window of source (B, C, *in, lanes).

    codes, bytes of target's shape or None: the number of the first tap that holds the largest value; NaN counts
    as the largest.  A window without any value gives -inf, and a code that names no tap.
    """

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.double_:
            failed = pool(&self.f, self.planes, <const double *> self.source, <double *> self.target,
                          <uint8_t *> self.codes)
        else:
            failed = pool(&self.f, self.planes, <const float *> self.source, <float *> self.target,
                          <uint8_t *> self.codes)
        if failed:
            with gil:
                raise MemoryError("LanePool: no memory for a row")
        return 0


cdef class LanePoolGrad(LanePooling):
    """target (B, C, *in, lanes) = source (B, C, *out, lanes) spread over the windows, or sent to the taps in codes."""

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.double_:
            failed = spread(&self.f, self.planes, <const double *> self.source, <const uint8_t *> self.codes,
                            <double *> self.target)
        else:
            failed = spread(&self.f, self.planes, <const float *> self.source, <const uint8_t *> self.codes,
                            <float *> self.target)
        if failed:
            with gil:
                raise MemoryError("LanePoolGrad: no memory for a row")
        return 0


# --- convolution and its adjoint ----------------------------------------------------------------

cdef struct Gather:
    int64_t blocks, groups, depth, rows             # depth: input channels of a group; rows: its output channels
    int64_t in_step, out_step                       # values of a channel's plane
    int64_t taps                                    # of the kernel
    int64_t row_step, depth_step, tap_step          # of the weight of one group
    int64_t row_tiles, row_parts                    # tiles of output channels, and runs of them that are tasks
    int64_t parts                                   # runs of tiles of a plane, likewise
    const int64_t *part_first
    const int64_t *class_first
    const int64_t *tap
    const int64_t *distance                         # in values
    const int64_t *tile_class
    const int64_t *tile_count
    const int64_t *base
    const int64_t *output
    int most                                        # pixels of a tile
    bint depthwise
    bint packs                                      # the input of a part of the plane is packed first
    int mode
    double products


cdef inline int64_t packed_at(const Gather *g, int64_t group, int64_t tile) noexcept nogil:
    return (group * g.rows + part_start(g.rows, g.row_tiles, tile)) * g.taps * g.depth


cdef void pack_weight(const Gather *g, int64_t task, const real *weight, real *packed) noexcept nogil:
    """One tile of output channels of one group: (taps, depth, rows of the tile)."""
    cdef int64_t group = task // g.row_tiles, tile = task % g.row_tiles, t, k, i
    cdef int64_t i0 = part_start(g.rows, g.row_tiles, tile), i1 = part_start(g.rows, g.row_tiles, tile + 1)
    cdef const real *src
    packed += packed_at(g, group, tile)
    weight += group * g.rows * g.depth * g.taps
    for t in range(g.taps):
        for k in range(g.depth):
            src = weight + t * g.tap_step + k * g.depth_step
            for i in range(i0, i1):
                packed[i - i0] = src[i * g.row_step]
            packed += i1 - i0


cdef void pack_tiles(const Gather *g, int64_t first, int64_t last, const real *x, real *panels) noexcept nogil:
    """What tiles first .. last read, for kernels of one tap: (tile, channel, pixel), channel after channel from x."""
    cdef int64_t width = lanes(x), k, tile, p, count
    cdef real *panel
    for k in range(g.depth):
        panel = panels
        for tile in range(first, last):
            count = g.tile_count[tile]
            for p in range(count):
                ck_fetch(x + AHEAD * g.in_step + g.base[tile * g.most + p])
                memcpy(panel + (k * count + p) * width, x + g.base[tile * g.most + p], CK_PIXEL_BYTES)
            panel += g.depth * g.most * width
        x += g.in_step


cdef void gather_tiles(const Gather *g, int64_t group, int64_t row_tile, int64_t first, int64_t last, const real *x,
                       const real *panels, const real *packed, const real *bias, real *y) noexcept nogil:
    """Tiles first .. last of a tile of output channels; x: the group's planes, y: those of the channels.

    What they read comes from panels, where these are not NULL.
    """
    cdef int64_t i0 = part_start(g.rows, g.row_tiles, row_tile), i1 = part_start(g.rows, g.row_tiles, row_tile + 1)
    cdef int64_t tile, p, number, step = g.in_step, width = lanes(x)
    cdef const real *a = packed + packed_at(g, group, row_tile)
    cdef const real *b[CK_MAX_PIXELS]
    cdef real *c[CK_MAX_PIXELS]
    if real is float:
        table = &micro().lanes_f32
    else:
        table = &micro().lanes_f64
    for tile in range(first, last):
        number = g.tile_class[tile]
        if g.depthwise:
            table.gather_single(g.tile_count[tile], g.class_first[number + 1] - g.class_first[number], a,
                                g.tap + g.class_first[number], x, g.distance + g.class_first[number],
                                g.base + tile * g.most, y, g.output + tile * g.most, g.mode,
                                bias[group] if bias != NULL else 0)
            continue
        if panels != NULL:
            step = g.tile_count[tile] * width
        for p in range(g.most):
            b[p] = (x + g.base[tile * g.most + p] if panels == NULL
                    else panels + ((tile - first) * g.depth * g.most + p) * width)
            c[p] = y + g.output[tile * g.most + p]
        table.gather(<int> (i1 - i0), <int> g.tile_count[tile],
                     g.class_first[number + 1] - g.class_first[number], g.depth, a,
                     g.tap + g.class_first[number], b, g.distance + g.class_first[number], step,
                     c, g.out_step, g.mode, bias + group * g.rows + i0 if bias != NULL else NULL)


cdef int gather_task(const Gather *g, int64_t task, const real *x, const real *packed, const real *bias,
                     real *y) noexcept nogil:
    """A run of tiles of one group of one block, for a run of tiles of output channels."""
    cdef int64_t part = task % g.parts, row_part = task // g.parts % g.row_parts
    cdef int64_t plane = task // (g.parts * g.row_parts), group = plane % g.groups
    cdef int64_t row_tile, first = g.part_first[part], last = g.part_first[part + 1]
    cdef real *panels = NULL
    x += plane * g.depth * g.in_step
    y += plane * g.rows * g.out_step
    if g.packs:
        panels = scratch_of(PLANES, (last - first) * g.depth * g.most * lanes(x), y)
        if panels == NULL:
            return OUT_OF_MEMORY
        pack_tiles(g, first, last, x, panels)
    for row_tile in range(part_start(g.row_tiles, g.row_parts, row_part),
                          part_start(g.row_tiles, g.row_parts, row_part + 1)):
        gather_tiles(g, group, row_tile, first, last, x, panels, packed, bias,
                     y + part_start(g.rows, g.row_tiles, row_tile) * g.out_step)
    return 0


cdef int gather_pooled_task(const Gather *g, const Pooling *f, int64_t task, const real *x, const real *packed,
                            const real *bias, real *y, uint8_t *codes) noexcept nogil:
    """Whole planes of one tile of output channels of one block, pooled while the cache has them."""
    cdef int64_t row_tile = task % g.row_tiles, group = task // g.row_tiles % g.groups
    cdef int64_t block = task // (g.row_tiles * g.groups), plane, place
    cdef int64_t i0 = part_start(g.rows, g.row_tiles, row_tile), i1 = part_start(g.rows, g.row_tiles, row_tile + 1)
    cdef real *planes = scratch_of(PLANES, (i1 - i0) * g.out_step, y)
    if planes == NULL:
        return OUT_OF_MEMORY
    gather_tiles(g, group, row_tile, 0, g.part_first[g.parts], x + (block * g.groups + group) * g.depth * g.in_step,
                 <const real *> NULL, packed, bias, planes)
    for plane in range(i1 - i0):
        place = ((block * g.groups + group) * g.rows + i0 + plane) * out_values(f, y)
        if pool_plane(f, planes + plane * g.out_step, y + place, codes + place if codes != NULL else NULL) != 0:
            return OUT_OF_MEMORY
    return 0


cdef int gather(const Gather *g, const Pooling *f, const real *x, const real *weight, const real *bias, real *y,
                uint8_t *codes) noexcept nogil:
    cdef real *packed = scratch_of(SHARED, g.groups * g.rows * g.depth * g.taps, y)
    if packed == NULL:
        return OUT_OF_MEMORY
    cdef int64_t task
    cdef int threads = threads_for(2.0 * g.products), failed = 0
    for task in prange(g.groups * g.row_tiles, num_threads=threads, schedule="static"):
        pack_weight(g, task, weight, packed)
    if f == NULL:
        for task in prange(g.blocks * g.groups * g.row_parts * g.parts, num_threads=threads, schedule="static"):
            failed |= gather_task(g, task, x, packed, bias, y)
    else:
        for task in prange(g.blocks * g.groups * g.row_tiles, num_threads=threads, schedule="static"):
            failed |= gather_pooled_task(g, f, task, x, packed, bias, y, codes)
    return failed


cdef class LaneConvolution(Kernel):
    """y = the convolution of x with weight or, with `adjoint`, the adjoint; plus bias, then ReLU, where asked for.

    x (B, G·I, *in, lanes), y (B, G·O, *out, lanes), bias (G·O,) or None, weight (G·O, I, *k), for the adjoint
    (G·I, O, *k); `table` is a TapTable for tiles of `gather_pixels(dtype)` outputs.  With `pool`, y and codes are
    as LanePool would make them of it, and the convolution itself is kept nowhere.
    """
    cdef object arrays
    cdef const void *x
    cdef const void *weight
    cdef const void *bias
    cdef void *y
    cdef uint8_t *codes
    cdef bint double_
    cdef Gather g
    cdef const Pooling *pooling
    cdef PoolWindows pool

    def __init__(self, x, weight, bias, y, table, int64_t groups, bint adjoint, bint relu, PoolWindows pool=None,
                 codes=None):
        cdef Gather *g = &self.g
        cdef int64_t width = lanes_of(y.dtype)
        self.x = address(x)
        self.weight = address(weight)
        self.bias = NULL if bias is None else address(bias)
        self.y = address(y)
        self.codes = NULL if codes is None else <uint8_t *> address(codes)
        self.double_ = is_double(y)
        self.pool = pool
        self.pooling = NULL if pool is None else &pool.f
        g.blocks = x.shape[0]
        g.groups = groups
        g.depth = x.shape[1] // groups
        g.rows = y.shape[1] // groups
        g.in_step = product(x.shape[2:])
        g.out_step = product(y.shape[2:]) if pool is None else pool.f.in_rows * pool.f.in_columns * width
        g.taps = product(weight.shape[2:])
        g.row_step = g.taps if adjoint else g.depth * g.taps
        g.depth_step = g.rows * g.taps if adjoint else g.taps
        g.tap_step = 1
        g.row_tiles = parts_of(g.rows, micro().lanes_f64.gather_rows if self.double_
                               else micro().lanes_f32.gather_rows)
        g.most = table.base.shape[1]
        g.depthwise = g.depth == 1 and g.rows == 1
        g.packs = g.taps == 1 and g.depth >= LEAST_PACKED and g.row_tiles >= LEAST_USES
        g.mode = (GATHER_RELU if relu else 0) | (GATHER_BIAS if bias is not None else 0)
        costs = np.concatenate([[0], np.cumsum(table.costs)])
        g.products = <double> costs[-1] * width * g.blocks * groups * g.rows * g.depth
        part_first = self.parts(costs)
        kept = [part_first, *(np.ascontiguousarray(a, np.int64) for a in (
            table.first, table.tap, table.distance * width, table.tile_class, table.tile_count,
            table.base * width, table.output * width))]
        g.part_first = <const int64_t *> address(kept[0])
        g.class_first = <const int64_t *> address(kept[1])
        g.tap = <const int64_t *> address(kept[2])
        g.distance = <const int64_t *> address(kept[3])
        g.tile_class = <const int64_t *> address(kept[4])
        g.tile_count = <const int64_t *> address(kept[5])
        g.base = <const int64_t *> address(kept[6])
        g.output = <const int64_t *> address(kept[7])
        self.arrays = (x, weight, bias, y, codes, kept)

    cdef parts(self, costs):
        """Cut a plane's tiles, of these costs added up, into parts of about the same cost; where each begins."""
        cdef Gather *g = &self.g
        cdef int64_t wanted = parts_of(TASKS, max(1, g.blocks * g.groups))
        wanted = min(wanted, max(1, <int64_t> (g.products / max(1, g.blocks * g.groups) / PRODUCTS_PER_TASK)))
        cdef int64_t windows = parts_of(g.depth * g.in_step * (8 if self.double_ else 4), WINDOW_BYTES)
        widens = not g.packs and g.rows >= WIDENS * g.depth
        g.row_parts = min(g.row_tiles, max(1, wanted // windows)) if widens else 1
        g.parts = min(max(windows, wanted // g.row_parts), len(costs) - 1)
        return np.searchsorted(costs, costs[-1] * np.arange(g.parts + 1) // g.parts).astype(np.int64)

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.double_:
            failed = gather(&self.g, self.pooling, <const double *> self.x, <const double *> self.weight,
                            <const double *> self.bias, <double *> self.y, self.codes)
        else:
            failed = gather(&self.g, self.pooling, <const float *> self.x, <const float *> self.weight,
                            <const float *> self.bias, <float *> self.y, self.codes)
        if failed:
            with gil:
                raise MemoryError("LaneConvolution: no memory for packed weights and planes")
        return 0


def gather_pixels(dtype, bint depthwise):
    """Outputs of a tile of LaneConvolution for this dtype; a depthwise tile may have any number of them."""
    if depthwise:
        return DEPTHWISE_PIXELS
    return micro().lanes_f64.gather_pixels if np.dtype(dtype) == np.float64 else micro().lanes_f32.gather_pixels


# --- weight gradient ----------------------------------------------------------------------------

cdef struct Correlation:
    int64_t blocks, groups, rows, depth, taps       # rows: output channels of a group; depth: input channels
    int64_t row_tiles, column_tiles, parts          # tiles of (channel, tap) columns, and tasks they are cut into
    int64_t halves                                  # of the images, summed apart: threads read what they have made
    int64_t bands                                   # of output rows of a block; 0: all images at once
    int64_t partials                                # sums of as many runs of bands, added up at the end
    int64_t out_rows, out_columns                   # the output plane; axes before the last are rows
    int64_t in_step, padded_step                    # values of a channel's plane, as it is and padded
    int64_t column_step                             # from one output column to the next, in the padded plane
    const int64_t *row_at                           # where each output row begins in the padded plane
    const int64_t *column_at                        # of each (channel, tap) in a group's padded planes
    # the copies that make padded planes: runs of whole rows
    int64_t runs, run_length
    const int64_t *run_from
    const int64_t *run_to
    bint padded


cdef void pad_plane(const Correlation *f, const real *x, real *out) noexcept nogil:
    cdef int64_t run
    memset(out, 0, f.padded_step * sizeof(real))
    for run in range(f.runs):
        memcpy(out + f.run_to[run], x + f.run_from[run], f.run_length * sizeof(real))


cdef void sum_bias(const Correlation *f, int64_t channel, int64_t blocks, const real *dy,
                   real *dbias) noexcept nogil:
    cdef int64_t values = f.out_rows * f.out_columns * lanes(dy)
    dbias[channel] = planes_sum(blocks, f.groups * f.rows * values, values, dy + channel * values)


cdef void sum_tile(const Correlation *f, int64_t group, int64_t row_tile, int64_t tile, int64_t blocks, int64_t first,
                   int64_t last, const real *dy, const real *x, int64_t x_block, bint add, real *total) noexcept nogil:
    """One tile of total (G·O, I·taps) from output rows first .. last of some blocks, added or in its place.

    x: the group's planes, padded where need be, a block's x_block values after the one before.
    """
    cdef int64_t columns = f.depth * f.taps, row = f.out_columns * lanes(x), plane = f.out_rows * row, i, j, at
    cdef int64_t i0 = part_start(f.rows, f.row_tiles, row_tile), i1 = part_start(f.rows, f.row_tiles, row_tile + 1)
    cdef int64_t j0 = part_start(columns, f.column_tiles, tile), j1 = part_start(columns, f.column_tiles, tile + 1)
    cdef real sums[CK_MAX_SUMS]
    if real is float:
        table = &micro().lanes_f32
    else:
        table = &micro().lanes_f64
    table.correlate(<int> (i1 - i0), <int> (j1 - j0), blocks, last - first, f.out_columns,
                    dy + (group * f.rows + i0) * plane + first * row, plane, f.groups * f.rows * plane,
                    x, f.column_at + j0, x_block, f.row_at + first, f.column_step, sums)
    for i in range(i1 - i0):
        for j in range(j1 - j0):
            at = (group * f.rows + i0 + i) * columns + j0 + j
            total[at] = total[at] + sums[i * (j1 - j0) + j] if add else sums[i * (j1 - j0) + j]


cdef void correlate_task(const Correlation *f, int64_t task, int64_t blocks, const real *dy, const real *x,
                         int64_t x_block, real *dweight, real *dbias) noexcept nogil:
    """Some columns of a tile of output channels of one group; the first part sums the bias's gradient too.

    x: the group's planes, as in sum_tile.
    """
    cdef int64_t part = task % f.parts, row_tile = task // f.parts % f.row_tiles
    cdef int64_t group = task // (f.parts * f.row_tiles), tile, i
    for tile in range(part_start(f.column_tiles, f.parts, part), part_start(f.column_tiles, f.parts, part + 1)):
        sum_tile(f, group, row_tile, tile, blocks, 0, f.out_rows, dy, x, x_block, False, dweight)
    if dbias != NULL and part == 0:
        for i in range(part_start(f.rows, f.row_tiles, row_tile), part_start(f.rows, f.row_tiles, row_tile + 1)):
            sum_bias(f, group * f.rows + i, blocks, dy, dbias)


cdef int correlate_group(const Correlation *f, int64_t group, const real *dy, const real *x, real *dweight,
                         real *dbias) noexcept nogil:
    """All of one group; its planes are padded by the thread that reads them, and hardly leave its cache."""
    cdef int64_t tasks = f.row_tiles * f.parts, task, block, channel
    cdef int64_t x_block = f.groups * f.depth * f.in_step
    cdef real *padded
    x += group * f.depth * f.in_step
    if f.padded:
        padded = scratch_of(PLANES, f.blocks * f.depth * f.padded_step, dweight)
        if padded == NULL:
            return OUT_OF_MEMORY
        for block in range(f.blocks):
            for channel in range(f.depth):
                pad_plane(f, x + block * x_block + channel * f.in_step,
                          padded + (block * f.depth + channel) * f.padded_step)
        x = padded
        x_block = f.depth * f.padded_step
    for task in range(group * tasks, (group + 1) * tasks):
        correlate_task(f, task, f.blocks, dy, x, x_block, dweight, dbias)
    return 0


cdef inline int64_t sums_of(const Correlation *f) noexcept nogil:
    return f.groups * f.rows * f.depth * f.taps


cdef void add_up_band(const Correlation *f, int64_t number, const real *dy, const real *x,
                      real *total) noexcept nogil:
    """total (G·O, I·taps) += what one band of output rows of one block gives: its planes stay in the cache."""
    cdef int64_t block = number // f.bands, band = number % f.bands, group, row_tile, tile
    cdef int64_t first = part_start(f.out_rows, f.bands, band), last = part_start(f.out_rows, f.bands, band + 1)
    dy += block * f.groups * f.rows * f.out_rows * f.out_columns * lanes(dy)
    x += block * f.groups * f.depth * f.padded_step
    for group in range(f.groups):
        for row_tile in range(f.row_tiles):
            for tile in range(f.column_tiles):
                sum_tile(f, group, row_tile, tile, 1, first, last, dy, x + group * f.depth * f.padded_step, 0, True,
                         total)


cdef int correlate_bands(const Correlation *f, int threads, const real *dy, const real *x, real *dweight,
                         real *dbias) noexcept nogil:
    """Partial sums of runs of bands, added up in order."""
    cdef int64_t task, band, bands = f.blocks * f.bands, count = sums_of(f)
    cdef real *partial = scratch_of(SUMS, f.partials * count, dweight)
    if partial == NULL:
        return OUT_OF_MEMORY
    memset(partial, 0, f.partials * count * sizeof(real))
    for task in prange(f.partials, num_threads=threads, schedule="dynamic"):
        for band in range(part_start(bands, f.partials, task), part_start(bands, f.partials, task + 1)):
            add_up_band(f, band, dy, x, partial + task * count)
    memcpy(dweight, partial, count * sizeof(real))
    for task in range(1, f.partials):
        add_rows(1, count, partial + task * count, 0, dweight, 0)
    if dbias != NULL:
        for task in prange(f.groups * f.rows, num_threads=threads, schedule="static"):
            sum_bias(f, task, f.blocks, dy, dbias)
    return 0


cdef void correlate_half(const Correlation *f, int64_t task, const real *dy, const real *x, real *dweight,
                         real *dbias, real *second) noexcept nogil:
    """A task for half of the images; `second` holds what the second half gives, for dweight and then for dbias."""
    cdef int64_t tasks = f.row_tiles * f.parts, half = task // (f.groups * tasks), group = task // tasks % f.groups
    cdef int64_t first = part_start(f.blocks, f.halves, half), last = part_start(f.blocks, f.halves, half + 1)
    cdef int64_t x_block = f.groups * f.depth * f.padded_step
    if half > 0:
        dweight = second
        dbias = second + sums_of(f) if dbias != NULL else NULL
    correlate_task(f, task % (f.groups * tasks), last - first,
                   dy + first * f.groups * f.rows * f.out_rows * f.out_columns * lanes(dy),
                   x + first * x_block + group * f.depth * f.padded_step, x_block, dweight, dbias)


cdef int correlate(const Correlation *f, const real *dy, const real *x, real *dweight,
                   real *dbias) noexcept nogil:
    cdef int64_t task, tasks = f.row_tiles * f.parts, planes = f.blocks * f.groups * f.depth
    cdef double products = <double> f.blocks * lanes(x) * f.groups * f.rows * f.depth * f.taps
    cdef int threads = threads_for(2 * products * f.out_rows * f.out_columns), failed = 0
    cdef real *padded
    cdef real *second
    if f.groups >= TASKS:
        for task in prange(f.groups, num_threads=threads, schedule="static"):
            failed |= correlate_group(f, task, dy, x, dweight, dbias)
        return failed
    if f.padded:
        padded = scratch_of(SHARED, planes * f.padded_step, dweight)
        if padded == NULL:
            return OUT_OF_MEMORY
        for task in prange(planes, num_threads=threads, schedule="static"):
            pad_plane(f, x + task * f.in_step, padded + task * f.padded_step)
        x = padded
    if f.bands > 0:
        return correlate_bands(f, threads, dy, x, dweight, dbias)
    second = scratch_of(SUMS, (f.halves - 1) * (sums_of(f) + f.groups * f.rows), dweight)
    if second == NULL:
        return OUT_OF_MEMORY
    for task in prange(f.halves * f.groups * tasks, num_threads=threads, schedule="static"):
        correlate_half(f, task, dy, x, dweight, dbias, second)
    if f.halves > 1:
        add_rows(1, sums_of(f), second, 0, dweight, 0)
        if dbias != NULL:
            add_rows(1, f.groups * f.rows, second + sums_of(f), 0, dbias, 0)
    return 0


cdef class LaneWeightGrad(Kernel):
    """dweight (G·O, I, *k) and dbias (G·O,), which may be None, of a convolution.

    dy (B, G·O, *out, lanes), zero for missing images; x (B, G·I, *in, lanes), finite for them.
    """
    cdef object arrays
    cdef const void *dy
    cdef const void *x
    cdef void *dweight
    cdef void *dbias
    cdef bint double_
    cdef Correlation f

    def __init__(self, dy, x, dweight, dbias, stride, low, dilation, int64_t groups):
        cdef Correlation *f = &self.f
        self.dy = address(dy)
        self.x = address(x)
        self.dweight = address(dweight)
        self.dbias = NULL if dbias is None else address(dbias)
        self.double_ = is_double(dweight)
        cdef int64_t width = lanes_of(x.dtype)
        cdef int m = micro().lanes_f64.correlate_m if self.double_ else micro().lanes_f32.correlate_m
        cdef int n = micro().lanes_f64.correlate_n if self.double_ else micro().lanes_f32.correlate_n
        in_size, out_size, kernel = x.shape[2:-1], dy.shape[2:-1], dweight.shape[2:]
        f.blocks = x.shape[0]
        f.groups = groups
        f.rows = dy.shape[1] // groups
        f.depth = x.shape[1] // groups
        f.taps = product(kernel)
        f.row_tiles = parts_of(f.rows, m)
        f.column_tiles = parts_of(f.depth * f.taps, n)
        f.parts = min(f.column_tiles, parts_of(4 * TASKS, max(1, f.row_tiles * groups)))
        f.halves = min(2, f.blocks)
        self.lay_out(in_size, out_size, kernel, stride, low, dilation, width)
        self.cut_into_bands(m)
        self.arrays = (self.arrays, dy, x, dweight, dbias)

    cdef cut_into_bands(self, int64_t m):
        """Where a tile of output channels is too large for the cache that all its columns read it from."""
        cdef Correlation *f = &self.f
        cdef int64_t tile = m * f.out_rows * f.out_columns * CK_PIXEL_BYTES
        cdef int64_t planes = tile + f.groups * f.depth * f.padded_step * (8 if self.double_ else 4)
        if tile > BAND_BYTES and f.groups < TASKS and sums_of(f) <= MOST_BAND_SUMS:
            f.bands = min(f.out_rows, parts_of(planes, BAND_BYTES))
            f.partials = min(TASKS, f.blocks * f.bands)

    cdef lay_out(self, in_size, out_size, kernel, stride, low, dilation, int64_t width):
        """The padded plane, in which every window lies whole, and where its columns begin."""
        cdef Correlation *f = &self.f
        spans = [(n - 1) * s + (k - 1) * d + 1
                 for n, s, k, d in zip(out_size, stride, kernel, dilation, strict=True)]
        f.padded = any(low) or any(span > size for span, size in zip(spans, in_size, strict=True))
        padded_size = tuple(spans) if f.padded else tuple(in_size)
        f.in_step = product(in_size) * width
        f.padded_step = product(padded_size) * width
        f.out_columns = out_size[-1]
        f.out_rows = product(out_size[:-1])
        f.column_step = stride[-1] * width if f.out_columns > 1 else 0  # strides have no end where one window is
        places = np.zeros(1, np.int64)
        for n, k, d in zip(padded_size, kernel, dilation, strict=True):
            places = np.add.outer(places * n, np.arange(k) * d).reshape(-1)
        channels = np.arange(f.depth) * f.padded_step
        column_at = np.add.outer(channels, places * width).reshape(-1)
        f.column_at = <const int64_t *> address(column_at)
        rows = np.zeros(1, np.int64)
        for n, outputs, s in zip(padded_size[:-1], out_size[:-1], stride[:-1], strict=True):
            rows = np.add.outer(rows * n, np.arange(outputs) * s).reshape(-1)
        row_at = rows * padded_size[-1] * width
        f.row_at = <const int64_t *> address(row_at)
        self.arrays = (column_at, row_at, self.copies(in_size, padded_size, low, width) if f.padded else None)

    cdef copies(self, in_size, padded_size, low, int64_t width):
        """The runs of rows that lie within the padded plane."""
        cdef Correlation *f = &self.f
        f.run_length = max(0, min(in_size[-1], padded_size[-1] - low[-1])) * width
        run_from = run_to = np.zeros(1, np.int64)
        for n, padded, p in zip(in_size[:-1], padded_size[:-1], low[:-1], strict=True):
            inside = np.arange(max(0, min(n, padded - p)))
            run_from = np.add.outer(run_from * n, inside).reshape(-1)
            run_to = np.add.outer(run_to * padded, inside + p).reshape(-1)
        kept = (run_from * in_size[-1] * width, (run_to * padded_size[-1] + low[-1]) * width)
        f.runs = len(run_from)
        f.run_from = <const int64_t *> address(kept[0])
        f.run_to = <const int64_t *> address(kept[1])
        return kept

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.double_:
            failed = correlate(&self.f, <const double *> self.dy, <const double *> self.x,
                               <double *> self.dweight, <double *> self.dbias)
        else:
            failed = correlate(&self.f, <const float *> self.dy, <const float *> self.x,
                               <float *> self.dweight, <float *> self.dbias)
        if failed:
            with gil:
                raise MemoryError("LaneWeightGrad: no memory for the padded input")
        return 0
