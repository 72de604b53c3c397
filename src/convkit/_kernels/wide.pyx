"""The weight gradient of a convolution in lanes, for many input channels.

lanes.LaneWeightGrad sums vectors over pixels and adds up their lanes at the end; a tile of sums reads whole planes,
which with many channels no cache holds.  Here the input is turned channel innermost first, some rows at a time, and
then each kernel position (tap) is a matrix product over pixels and images,

    dW[tap] (outputs, inputs) += dY (outputs, n) X[tap] (n, inputs),     n = (pixel of an output row, lane)

whose sums stay in place.  Rows of the turned input are split by their phase modulo the stride, so that the pixels a
tap takes are neighbours.  A task is a panel of input channels, as wide as a tile, over a run of output rows: it turns
what it needs for itself, since what another thread has turned would be slow to come from its cache.
"""

from cython.parallel cimport prange
from libc.stdint cimport int64_t
from libc.string cimport memset

from convkit._kernels.core cimport Kernel, OUT_OF_MEMORY, address, is_double, real, threads_for
from convkit._kernels.tile cimport (
    TILE_ADD, TILE_OVERWRITE, TileSize, add_rows, outer, part_start, parts_of, planes_sum, scratch_of, tile_size,
    transpose,
)

cdef enum:
    SUMS, TURNED                # scratch slots; the first is shared by all threads of a call
    TASKS = 16                  # tasks wanted of a large problem, for any number of threads
    TURNED_BYTES = 524288       # turned rows of one task, about
    MOST_PARTIALS = 8
    PARTIAL_BYTES = 4194304     # of all partial sums together, where there are several


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
    int64_t chunk, chunks                       # output rows at a time; of a plane
    int64_t partials                            # sums of as many runs of chunks, added up at the end


cdef inline int64_t input_rows(const Wide *w, int64_t out_rows) noexcept nogil:
    return (out_rows - 1) * w.stride[0] + (w.kernel[0] - 1) * w.dilation[0] + 1


cdef inline bint is_met(const Wide *w, int axis, int64_t offset) noexcept nogil:
    """Whether some tap meets inputs with this offset from a window's start, modulo the stride."""
    cdef int64_t tap
    for tap in range(w.kernel[axis]):
        if tap * w.dilation[axis] % w.stride[axis] == offset % w.stride[axis]:
            return True
    return False


cdef struct Panel:
    # Some input channels of one group, and where in the sums theirs begin
    int64_t group, c0, channels, width      # width: channels rounded up to whole runs


cdef Panel panel_of(const Wide *w, int64_t number) noexcept nogil:
    cdef Panel panel
    cdef int64_t part = number % w.panels, run = part_start(w.channel_runs, w.panels, part)
    panel.group = number // w.panels
    panel.c0 = run * w.lanes
    panel.width = (part_start(w.channel_runs, w.panels, part + 1) - run) * w.lanes
    panel.channels = min(panel.width, w.ins - panel.c0)
    return panel


cdef inline int64_t row_values(const Wide *w, int64_t width) noexcept nogil:
    """Values of a turned row: (phase, pixel, lane, channel)."""
    return w.stride[1] * w.phase_length * w.lanes * width


cdef inline int64_t sum_values(const Wide *w) noexcept nogil:
    """Values of one partial sum: (group, tap, outs, ins rounded up to whole runs)."""
    return w.groups * w.kernel[0] * w.kernel[1] * w.outs * w.channel_runs * w.lanes


# --- turning the input --------------------------------------------------------------------------

cdef void turn_row(const Wide *w, const Panel *panel, int64_t y, const real *x, real *turned) noexcept nogil:
    """The channels of a panel of input row y, which may lie outside."""
    cdef int64_t phase, pixel, column, run, i, channels
    cdef real *out
    for phase in range(w.stride[1]):
        if not is_met(w, 1, phase):
            continue
        for run in range(panel.width // w.lanes):
            channels = min(w.lanes, panel.channels - run * w.lanes)
            out = turned + phase * w.phase_length * w.lanes * panel.width + run * w.lanes
            for pixel in range(w.phase_length):
                column = pixel * w.stride[1] + phase - w.low[1]
                if channels < w.lanes or not (0 <= y < w.in_size[0] and 0 <= column < w.in_size[1]):
                    for i in range(w.lanes):
                        memset(out + i * panel.width, 0, w.lanes * sizeof(real))
                if 0 <= y < w.in_size[0] and 0 <= column < w.in_size[1]:
                    transpose(channels, w.lanes, x + (y * w.in_size[1] + column) * w.lanes, w.in_step, out, panel.width)
                out += w.lanes * panel.width
            x += w.lanes * w.in_step
        x -= panel.width * w.in_step


# --- the products -------------------------------------------------------------------------------

cdef int panel_task(const Wide *w, int64_t task, const real *dy, const real *x, real *sums) noexcept nogil:
    """One panel over one run of chunks of all planes: its columns of one partial sum."""
    cdef Panel panel = panel_of(w, task % (w.groups * w.panels))
    cdef int64_t partial = task // (w.groups * w.panels), taps = w.kernel[0] * w.kernel[1], row, tap, number, block
    cdef int64_t begin = part_start(w.blocks * w.chunks, w.partials, partial)
    cdef int64_t end = part_start(w.blocks * w.chunks, w.partials, partial + 1)
    cdef int64_t tap_values = w.outs * w.channel_runs * w.lanes, first, last
    cdef real *turned = scratch_of(TURNED, input_rows(w, w.chunk) * row_values(w, panel.width), sums)
    cdef const real *from_x
    cdef const real *from_dy
    if turned == NULL:
        return OUT_OF_MEMORY
    sums += partial * sum_values(w) + panel.group * taps * tap_values + panel.c0
    for number in range(begin, end):
        block = number // w.chunks
        first = part_start(w.out_size[0], w.chunks, number % w.chunks)
        last = part_start(w.out_size[0], w.chunks, number % w.chunks + 1)
        from_x = x + ((block * w.groups + panel.group) * w.ins + panel.c0) * w.in_step
        from_dy = dy + (block * w.groups + panel.group) * w.outs * w.out_step
        for row in range(input_rows(w, last - first)):
            if is_met(w, 0, row):
                turn_row(w, &panel, first * w.stride[0] - w.low[0] + row, from_x,
                         turned + row * row_values(w, panel.width))
        for tap in range(taps):
            for row in range(first, last):
                multiply_row(w, &panel, tap, row - first, from_dy + row * w.out_size[1] * w.lanes, turned,
                             sums + tap * tap_values, number > begin or row > first)
    return 0


cdef void multiply_row(const Wide *w, const Panel *panel, int64_t tap, int64_t row, const real *dy,
                       const real *turned, real *sums, bint add) noexcept nogil:
    """sums (outs, width) += dy (outs, n) x (n, width) for one output row and one tap."""
    cdef TileSize size = tile_size(sums)
    cdef int64_t tap_row = tap // w.kernel[1] * w.dilation[0], tap_column = tap % w.kernel[1] * w.dilation[1]
    cdef int64_t n = w.out_size[1] * w.lanes, all_ins = w.channel_runs * w.lanes
    cdef int64_t tiles = parts_of(w.outs, size.mr), tile, i0, i1, j = 0
    cdef int64_t pixel = tap_column % w.stride[1] * w.phase_length + tap_column // w.stride[1]
    cdef const real *x = (turned + (row * w.stride[0] + tap_row) * row_values(w, panel.width)
                          + pixel * w.lanes * panel.width)
    cdef int nv
    while j < panel.width:
        nv = <int> min(size.nv, (panel.width - j) // size.vl)
        for tile in range(tiles):
            i0 = part_start(w.outs, tiles, tile)
            i1 = part_start(w.outs, tiles, tile + 1)
            outer(<int> (i1 - i0), nv, n, dy + i0 * w.out_step, w.out_step, 1, x + j, panel.width,
                  sums + i0 * all_ins + j, all_ins, TILE_ADD if add else TILE_OVERWRITE, NULL)
        j += nv * size.vl


cdef void store_weight(const Wide *w, int64_t channel, real *sums, real *dweight) noexcept nogil:
    """One output channel: its partial sums added up in order, turned into dweight (outs, ins, taps)."""
    cdef int64_t taps = w.kernel[0] * w.kernel[1], all_ins = w.channel_runs * w.lanes, partial, tap
    cdef real *total = sums + (channel // w.outs * taps * w.outs + channel % w.outs) * all_ins
    for partial in range(1, w.partials):
        for tap in range(taps):
            add_rows(1, all_ins, total + partial * sum_values(w) + tap * w.outs * all_ins, 0,
                     total + tap * w.outs * all_ins, 0)
    transpose(taps, w.ins, total, w.outs * all_ins, dweight + channel * w.ins * taps, taps)


cdef int weight_grad(const Wide *w, const real *dy, const real *x, real *dweight, real *dbias) noexcept nogil:
    cdef real *sums = scratch_of(SUMS, w.partials * sum_values(w), dweight)
    cdef int threads = threads_for(2.0 * w.blocks * sum_values(w) * w.out_step), failed = 0
    cdef int64_t task
    if sums == NULL:
        return OUT_OF_MEMORY
    if w.blocks == 0:
        memset(sums, 0, sum_values(w) * sizeof(real))
    for task in prange(w.partials * w.groups * w.panels, num_threads=threads, schedule="static"):
        failed |= panel_task(w, task, dy, x, sums)
    if failed:
        return failed
    for task in prange(w.groups * w.outs, num_threads=threads, schedule="static"):
        store_weight(w, task, sums, dweight)
    if dbias != NULL:
        for task in prange(w.groups * w.outs, num_threads=threads, schedule="static"):
            dbias[task] = planes_sum(w.blocks, w.groups * w.outs * w.out_step, w.out_step, dy + task * w.out_step)
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
        cdef int64_t value = 8 if self.double_ else 4
        fit = TURNED_BYTES // value // row_values(w, parts_of(w.channel_runs, w.panels) * w.lanes)
        rows = max(1, (fit - (w.kernel[0] - 1) * w.dilation[0] - 1) // w.stride[0] + 1)
        w.partials = max(1, min(MOST_PARTIALS, parts_of(TASKS, w.groups * w.panels), w.blocks * w.out_size[0],
                                PARTIAL_BYTES // (sum_values(w) * value)))
        of_plane = parts_of(w.partials, max(1, w.blocks))       # so that partial sums take as many chunks each
        w.chunks = min(w.out_size[0], parts_of(parts_of(w.out_size[0], rows), of_plane) * of_plane)
        w.chunk = parts_of(w.out_size[0], w.chunks)

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.double_:
            failed = weight_grad(&self.w, <const double *> self.dy, <const double *> self.x,
                                 <double *> self.dweight, <double *> self.dbias)
        else:
            failed = weight_grad(&self.w, <const float *> self.dy, <const float *> self.x,
                                 <float *> self.dweight, <float *> self.dbias)
        if failed:
            with gil:
                raise MemoryError("WideWeightGrad: no memory for the turned input")
        return 0
