"""The weight gradient of a convolution in lanes, for many input channels.

lanes.LaneWeightGrad sums vectors over pixels and adds up their lanes at the end; a tile of sums reads whole planes,
which with many channels no cache holds.  Here the input is turned channel innermost first, some rows at a time, and
then each kernel position (tap) is a matrix product over pixels and images,

    dW[tap] (outputs, inputs) += dY (outputs, n) X[tap] (n, inputs),     n = (pixel of an output row, lane)

whose sums stay in place.  Rows of the turned input are split by their phase modulo the stride, so that the pixels a
tap takes are neighbours; and channels by panels as wide as a tile.
"""

from cython.parallel cimport prange
from libc.stdint cimport int64_t
from libc.string cimport memset

from convkit._kernels.core cimport Kernel, OUT_OF_MEMORY, address, is_double, micro, real, threads_for
from convkit._kernels.tile cimport (
    TILE_ADD, TILE_OVERWRITE, TileSize, outer, part_start, parts_of, scratch_of, tile_size, transpose,
)

cdef enum:
    SUMS, TURNED                # scratch slots, shared by all threads of a call
    TASKS = 16                  # tasks wanted of a large problem, for any number of threads
    TURNED_BYTES = 4194304      # turned rows of all threads, about


cdef struct Wide:
    int64_t blocks, groups, outs, ins           # channels of a group
    int64_t lanes, channel_runs, panels         # runs of `lanes` input channels, shared out over panels
    int64_t in_size[2]
    int64_t out_size[2]
    int64_t kernel[2]
    int64_t stride[2]
    int64_t low[2]
    int64_t dilation[2]
    int64_t in_step, out_step                   # values of a channel's plane
    int64_t phase_length                        # pixels of a turned row that have the same phase
    int64_t row_values                          # of a turned row: (phase, panel, pixel, lane, channel of the panel)
    int64_t chunk, chunks                       # output rows at a time; of a plane
    int64_t row_parts                           # tasks that the output channels of a tap are cut into


cdef inline int64_t input_rows(const Wide *w, int64_t out_rows) noexcept nogil:
    return (out_rows - 1) * w.stride[0] + (w.kernel[0] - 1) * w.dilation[0] + 1


cdef inline bint is_met(const Wide *w, int axis, int64_t offset) noexcept nogil:
    """Whether some tap meets inputs with this offset from a window's start, modulo the stride."""
    cdef int64_t tap
    for tap in range(w.kernel[axis]):
        if tap * w.dilation[axis] % w.stride[axis] == offset % w.stride[axis]:
            return True
    return False


# --- turning the input --------------------------------------------------------------------------

cdef void turn_row(const Wide *w, int64_t task, int64_t first_row, const real *x, real *turned) noexcept nogil:
    """One run of channels of one input row."""
    cdef int64_t row = task // w.channel_runs, run = task % w.channel_runs, c0 = run * w.lanes
    cdef int64_t channels = min(w.lanes, w.ins - c0), y = first_row * w.stride[0] - w.low[0] + row
    cdef int64_t panel = 0, phase, pixel, column, i, width
    cdef real *out
    if not is_met(w, 0, row):
        return
    while part_start(w.channel_runs, w.panels, panel + 1) <= run:
        panel += 1
    run -= part_start(w.channel_runs, w.panels, panel)
    width = panel_width(w, panel)
    for phase in range(w.stride[1]):
        if not is_met(w, 1, phase):
            continue
        out = turned + row * w.row_values + panel_at(w, phase, panel) + run * w.lanes
        for pixel in range(w.phase_length):
            column = pixel * w.stride[1] + phase - w.low[1]
            if channels < w.lanes or not (0 <= y < w.in_size[0] and 0 <= column < w.in_size[1]):
                for i in range(w.lanes):
                    memset(out + i * width, 0, w.lanes * sizeof(real))
            if 0 <= y < w.in_size[0] and 0 <= column < w.in_size[1]:
                transpose(channels, w.lanes, x + c0 * w.in_step + (y * w.in_size[1] + column) * w.lanes, w.in_step,
                          out, width)
            out += w.lanes * width


cdef inline int64_t panel_width(const Wide *w, int64_t panel) noexcept nogil:
    return (part_start(w.channel_runs, w.panels, panel + 1) - part_start(w.channel_runs, w.panels, panel)) * w.lanes


cdef inline int64_t panel_at(const Wide *w, int64_t phase, int64_t panel) noexcept nogil:
    """Where a panel of one phase begins within a turned row."""
    cdef int64_t channels = phase * w.channel_runs + part_start(w.channel_runs, w.panels, panel)
    return channels * w.lanes * w.phase_length * w.lanes


# --- the products -------------------------------------------------------------------------------

cdef void tap_task(const Wide *w, int64_t task, int64_t first, int64_t last, const real *dy, const real *turned,
                   real *sums, bint add) noexcept nogil:
    """Some output channels of one tap, for output rows first .. last."""
    cdef int64_t part = task % w.row_parts, tap = task // w.row_parts, panel, row, phase, shift, at
    cdef int64_t tap_row = tap // w.kernel[1] * w.dilation[0], tap_column = tap % w.kernel[1] * w.dilation[1]
    cdef int64_t r0 = part_start(w.outs, w.row_parts, part), r1 = part_start(w.outs, w.row_parts, part + 1)
    phase = tap_column % w.stride[1]
    shift = tap_column // w.stride[1] * w.lanes
    sums += tap * w.outs * w.channel_runs * w.lanes
    for row in range(first, last):
        at = ((row - first) * w.stride[0] + tap_row) * w.row_values
        for panel in range(w.panels):
            multiply_panel(w, r0, r1, panel, dy + row * w.out_size[1] * w.lanes,
                           turned + at + panel_at(w, phase, panel) + shift * panel_width(w, panel), sums,
                           add or row > first)


cdef void multiply_panel(const Wide *w, int64_t r0, int64_t r1, int64_t panel, const real *dy, const real *x,
                         real *sums, bint add) noexcept nogil:
    """sums (r0 .. r1, panel) += dy (r0 .. r1, n) x (n, panel) for one output row."""
    cdef TileSize size = tile_size(sums)
    cdef int64_t width = panel_width(w, panel), n = w.out_size[1] * w.lanes, all_ins = w.channel_runs * w.lanes
    cdef int64_t c0 = part_start(w.channel_runs, w.panels, panel) * w.lanes, j = 0, tile, i0, i1
    cdef int64_t tiles = parts_of(r1 - r0, size.mr)
    cdef int nv
    while j < width:
        nv = <int> min(size.nv, (width - j) // size.vl)
        for tile in range(tiles):
            i0 = r0 + part_start(r1 - r0, tiles, tile)
            i1 = r0 + part_start(r1 - r0, tiles, tile + 1)
            outer(<int> (i1 - i0), nv, n, dy + i0 * w.out_step, w.out_step, 1, x + j, width,
                  sums + i0 * all_ins + c0 + j, all_ins, TILE_ADD if add else TILE_OVERWRITE, NULL)
        j += nv * size.vl


cdef void store_weight(const Wide *w, int64_t out, const real *sums, real *dweight) noexcept nogil:
    """dweight (outs, ins, taps) from sums (taps, outs, ins)."""
    cdef int64_t taps = w.kernel[0] * w.kernel[1], all_ins = w.channel_runs * w.lanes
    transpose(taps, w.ins, sums + out * all_ins, w.outs * all_ins, dweight + out * w.ins * taps, taps)


cdef void sum_bias(const Wide *w, int64_t channel, const real *dy, real *dbias) noexcept nogil:
    cdef int64_t block
    if real is float:
        table = &micro().lanes_f32
    else:
        table = &micro().lanes_f64
    dbias[channel] = 0
    for block in range(w.blocks):
        dbias[channel] += table.sum_pixels(w.out_step // w.lanes,
                                           dy + (block * w.groups * w.outs + channel) * w.out_step)


cdef int weight_grad(const Wide *w, const real *dy, const real *x, real *dweight, real *dbias) noexcept nogil:
    cdef int64_t taps = w.kernel[0] * w.kernel[1], sum_values = taps * w.outs * w.channel_runs * w.lanes
    cdef real *sums = scratch_of(SUMS, sum_values, dweight)
    cdef real *turned = scratch_of(TURNED, input_rows(w, w.chunk) * w.row_values, dweight)
    cdef int threads = threads_for(2.0 * w.blocks * w.groups * w.outs * w.ins * taps * w.out_step)
    cdef int64_t group, block, chunk, task, first, last
    cdef const real *from_x
    cdef const real *from_dy
    if sums == NULL or turned == NULL:
        return OUT_OF_MEMORY
    for group in range(w.groups):
        if w.blocks == 0:
            memset(sums, 0, sum_values * sizeof(real))
        for block in range(w.blocks):
            from_x = x + (block * w.groups + group) * w.ins * w.in_step
            from_dy = dy + (block * w.groups + group) * w.outs * w.out_step
            for chunk in range(w.chunks):
                first = part_start(w.out_size[0], w.chunks, chunk)
                last = part_start(w.out_size[0], w.chunks, chunk + 1)
                for task in prange(input_rows(w, last - first) * w.channel_runs, num_threads=threads,
                                   schedule="dynamic"):
                    turn_row(w, task, first, from_x, turned)
                for task in prange(taps * w.row_parts, num_threads=threads, schedule="dynamic"):
                    tap_task(w, task, first, last, from_dy, turned, sums, block + chunk > 0)
        for task in prange(w.outs, num_threads=threads, schedule="static"):
            store_weight(w, task, sums, dweight + group * w.outs * w.ins * taps)
    if dbias != NULL:
        for task in prange(w.groups * w.outs, num_threads=threads, schedule="static"):
            sum_bias(w, task, dy, dbias)
    return 0


cdef class WideWeightGrad(Kernel):
    """As lanes.LaneWeightGrad, for one or two axes."""
    cdef object arrays
    cdef const void *dy
    cdef const void *x
    cdef void *dweight
    cdef void *dbias
    cdef bint double_
    cdef Wide w

    def __init__(self, dy, x, dweight, dbias, stride, low, dilation, int64_t groups):
        cdef Wide *w = &self.w
        cdef int axis
        self.arrays = (dy, x, dweight, dbias)
        self.dy = address(dy)
        self.x = address(x)
        self.dweight = address(dweight)
        self.dbias = NULL if dbias is None else address(dbias)
        self.double_ = is_double(dweight)
        lead = (1,) * (2 - len(stride))     # one axis is a plane of one row
        w.blocks, w.groups, w.lanes = x.shape[0], groups, x.shape[-1]
        w.outs, w.ins = dy.shape[1] // groups, x.shape[1] // groups
        for axis in range(2):
            w.in_size[axis] = (lead + x.shape[2:-1])[axis]
            w.out_size[axis] = (lead + dy.shape[2:-1])[axis]
            w.kernel[axis] = (lead + dweight.shape[2:])[axis]
            w.stride[axis] = (lead + tuple(stride))[axis]
            w.dilation[axis] = (lead + tuple(dilation))[axis]
            w.low[axis] = ((0,) * len(lead) + tuple(low))[axis]
            if w.out_size[axis] == 1:
                w.stride[axis] = 1      # there is no second window; a huge stride would mean as many phases
        w.in_step = w.in_size[0] * w.in_size[1] * w.lanes
        w.out_step = w.out_size[0] * w.out_size[1] * w.lanes
        self.share_out()

    cdef share_out(self):
        cdef Wide *w = &self.w
        cdef TileSize size = tile_size(<double *> NULL) if self.double_ else tile_size(<float *> NULL)
        span = (w.out_size[1] - 1) * w.stride[1] + (w.kernel[1] - 1) * w.dilation[1] + 1
        w.channel_runs = parts_of(w.ins, w.lanes)
        w.panels = parts_of(w.channel_runs, max(1, size.nv * size.vl // w.lanes))
        w.phase_length = parts_of(span, w.stride[1])
        w.row_values = w.stride[1] * w.phase_length * w.lanes * w.channel_runs * w.lanes
        fit = TURNED_BYTES // (8 if self.double_ else 4) // w.row_values
        rows = max(1, (fit - (w.kernel[0] - 1) * w.dilation[0] - 1) // w.stride[0] + 1)
        w.chunks = parts_of(w.out_size[0], rows)
        w.chunk = parts_of(w.out_size[0], w.chunks)
        w.row_parts = max(1, min(parts_of(w.outs, size.mr), parts_of(TASKS, w.kernel[0] * w.kernel[1])))

    cdef int execute(self) except -1:
        cdef int failed
        with nogil:
            if self.double_:
                failed = weight_grad(&self.w, <const double *> self.dy, <const double *> self.x,
                                     <double *> self.dweight, <double *> self.dbias)
            else:
                failed = weight_grad(&self.w, <const float *> self.dy, <const float *> self.x,
                                     <float *> self.dweight, <float *> self.dbias)
        if failed:
            raise MemoryError("WideWeightGrad: no memory for the turned input")
        return 0
