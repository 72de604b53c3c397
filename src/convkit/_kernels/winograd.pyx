"""3 x 3 convolution with stride 1, its adjoint and its weight gradient, in lanes, by Winograd's F(2x2, 3x3).

A tile of 2 x 2 outputs takes 16 products where the direct sum takes 36 (Lavin & Gray 2016).  With the image
innermost the transforms are a few dozen vector additions a tile and channel, and what lies between them is 16
matrix products over channels:

    forward           M[xi] = U[xi] V[xi]           V = Bt x B of every tile, U = G w Gt, y = At M A
    adjoint           M[xi] = U[xi]' D[xi]          D = A dy At, dx = the tiles B M Bt added up
    weight gradient   dU[xi] = D[xi] V[xi]'         summed over tiles and images, dw = Gt dU G
"""

import numpy as np

from cython.parallel cimport prange
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memset

from convkit._kernels.core cimport Kernel, OUT_OF_MEMORY, address, is_double, micro, real, threads_for
from convkit._kernels.lanes cimport CK_MAX_PIXELS, CK_PIXEL_BYTES, GATHER_BIAS, GATHER_RELU
from convkit._kernels.tile cimport (
    CK_MAX_VECTOR, TILE_ADD, TILE_OVERWRITE, TileSize, add_rows, outer, part_start, parts_of, scratch_of,
    tile_size, transpose,
)

cdef enum:
    # scratch slots; the first is shared by all threads of a call, the others belong to one
    KERNELS, TILES, INPUTS, PRODUCTS
    XI = 16                     # products of a tile
    CHUNK_BYTES = 1048576       # transformed tiles of one task, about
    PARTIAL_CHUNK_BYTES = 2097152   # of the weight gradient: those of one partial sum,
    SHARE_CHUNK_BYTES = 8388608     # and of one share of channels, were it all of them
    FEWEST_PARTIALS = 4         # wanted of a few blocks
    MOST_PARTIALS = 8
    PARTIAL_BYTES = 1048576     # of a partial sum, where there may be several


cdef struct Tiling:
    int64_t blocks, groups, ins, outs       # channels of a group, of the convolution's input and output
    int64_t in_step, out_step               # values of a channel's plane
    int64_t tiles                           # of a plane
    const int64_t *in_at                    # of each tile's 4 x 4 inputs in their plane, or -1
    const int64_t *out_at                   # of each tile's 2 x 2 outputs in theirs, or -1
    int lanes


cdef tiling(Tiling *t, in_shape, out_shape, int64_t groups, low, dilation):
    """Fill in a Tiling for arrays (blocks, C, H, W, lanes); returns the arrays that it points into.

    With dilation d the outputs of a tile, and its inputs, are d apart: as if each of the d x d phases of the plane
    were convolved by itself.
    """
    t.blocks = in_shape[0]
    t.groups = groups
    t.ins = in_shape[1] // groups
    t.outs = out_shape[1] // groups
    t.lanes = in_shape[4]
    t.in_step = in_shape[2] * in_shape[3] * t.lanes
    t.out_step = out_shape[2] * out_shape[3] * t.lanes
    starts = [_starts(size, d) for size, d in zip(out_shape[2:4], dilation, strict=True)]
    t.tiles = len(starts[0]) * len(starts[1])
    kept = (_places(starts, 4, dilation, in_shape[2:4], low, t.lanes),
            _places(starts, 2, dilation, out_shape[2:4], (0, 0), t.lanes))
    t.in_at = <const int64_t *> address(kept[0])
    t.out_at = <const int64_t *> address(kept[1])
    return kept


def _starts(size, dilation):
    """The first output of each tile along an axis: every second one of each phase."""
    return np.concatenate([np.arange(phase, size, 2 * dilation) for phase in range(min(dilation, size))])


def _places(starts, side, dilation, size, low, lanes):
    """Where the side x side values of tiles with these first outputs lie in a plane; -1 for those outside."""
    y, x = (first[:, None] + np.arange(side) * d - p for first, d, p in zip(starts, dilation, low, strict=True))
    y, x = y[:, None, :, None], x[None, :, None, :]
    inside = (y >= 0) & (y < size[0]) & (x >= 0) & (x < size[1])
    return np.ascontiguousarray(np.where(inside, (y * size[1] + x) * lanes, -1), np.int64)


# --- forward and adjoint ------------------------------------------------------------------------

cdef struct Product:
    Tiling t
    int64_t depth, rows                 # channels summed over, and made
    int64_t row_step, depth_step        # of the weight
    int64_t row_tiles                   # tiles of channels made
    int64_t chunk, chunks               # tiles of a plane at a time; of a plane
    int64_t parts                       # parts that a plane's chunks are cut into
    const int64_t *pooled_at            # where the tile's pooled value lies in its plane, or -1; NULL: not pooled
    bint adjoint, mean
    int mode


cdef inline int64_t kernel_at(const Product *p, int64_t group, int64_t row_tile) noexcept nogil:
    return group * p.rows * p.depth * XI + part_start(p.rows, p.row_tiles, row_tile) * p.depth


cdef void transform_kernels(const Product *p, int64_t task, const real *weight, real *packed) noexcept nogil:
    """One tile of channels made by one group: (xi, row tile, depth, rows of the tile)."""
    cdef int64_t group = task // p.row_tiles, tile = task % p.row_tiles, k
    cdef int64_t i0 = part_start(p.rows, p.row_tiles, tile), i1 = part_start(p.rows, p.row_tiles, tile + 1)
    weight += group * p.t.outs * p.t.ins * 9 + i0 * p.row_step
    packed += kernel_at(p, group, tile)
    if real is float:
        table = &micro().lanes_f32
    else:
        table = &micro().lanes_f64
    for k in range(p.depth):
        table.winograd_kernel(i1 - i0, weight + k * p.depth_step, p.row_step, packed + k * (i1 - i0),
                              p.rows * p.depth)


cdef inline int64_t plane_step(const Product *p, int64_t channels, int64_t tiles) noexcept nogil:
    """From one xi to the next: a pixel more than they need, lest all 16 fall into one set of the cache."""
    return (channels * tiles + 1) * p.t.lanes


cdef int product_share(const Product *p, int64_t share, int64_t shares, const real *x, const real *packed,
                       const real *bias, real *y, uint8_t *codes) noexcept nogil:
    """One thread's share of all tiles of channels of all parts of planes; it transforms what goes in for itself."""
    cdef int64_t total = p.t.blocks * p.t.groups * p.parts * p.row_tiles, part
    cdef int64_t from_ = part_start(total, shares, share), to = part_start(total, shares, share + 1)
    for part in range(from_ // p.row_tiles, parts_of(to, p.row_tiles)):
        if product_part(p, part, max(0, from_ - part * p.row_tiles), min(p.row_tiles, to - part * p.row_tiles), x,
                        packed, bias, y, codes) != 0:
            return OUT_OF_MEMORY
    return 0


cdef int product_part(const Product *p, int64_t number, int64_t tile0, int64_t tile1, const real *x,
                      const real *packed, const real *bias, real *y, uint8_t *codes) noexcept nogil:
    """Some channels of some chunks of one plane; x and y are what goes in and out, adjoint or not."""
    cdef const Tiling *t = &p.t
    cdef int64_t plane = number // p.parts, part = number % p.parts, group = plane % t.groups, chunk
    cdef int64_t i0 = part_start(p.rows, p.row_tiles, tile0), i1 = part_start(p.rows, p.row_tiles, tile1)
    cdef real *inputs = scratch_of(INPUTS, XI * plane_step(p, p.depth, p.chunk), y)
    cdef real *products = scratch_of(PRODUCTS, XI * plane_step(p, i1 - i0, p.chunk), y)
    if inputs == NULL or products == NULL:
        return OUT_OF_MEMORY
    x += plane * p.depth * (t.out_step if p.adjoint else t.in_step)
    y += (plane * p.rows + i0) * (t.in_step if p.adjoint else t.out_step)
    if codes != NULL:
        codes += (plane * p.rows + i0) * t.out_step
    packed += group * p.rows * p.depth * XI
    if bias != NULL:
        bias += group * p.rows + i0
    if p.adjoint:
        memset(y, 0, (i1 - i0) * t.in_step * sizeof(real))
    for chunk in range(part_start(p.chunks, p.parts, part), part_start(p.chunks, p.parts, part + 1)):
        product_chunk(p, part_start(t.tiles, p.chunks, chunk), part_start(t.tiles, p.chunks, chunk + 1),
                      tile0, tile1, x, packed, bias, y, codes, inputs, products)
    return 0


cdef void product_chunk(const Product *p, int64_t first, int64_t last, int64_t tile0, int64_t tile1,
                        const real *x, const real *packed, const real *bias, real *y, uint8_t *codes,
                        real *inputs, real *products) noexcept nogil:
    """Tiles first .. last of a plane: into 16 planes, 16 matrix products, and out."""
    cdef const Tiling *t = &p.t
    cdef int64_t tiles = last - first, step = tiles * t.lanes, i0 = part_start(p.rows, p.row_tiles, tile0)
    cdef int64_t rows = part_start(p.rows, p.row_tiles, tile1) - i0
    if real is float:
        table = &micro().lanes_f32
    else:
        table = &micro().lanes_f64
    if p.adjoint:
        table.winograd_output_adjoint(p.depth, tiles, x, t.out_step, t.out_at + first * 4, inputs, step,
                                      plane_step(p, p.depth, tiles))
    else:
        table.winograd_input(p.depth, tiles, x, t.in_step, t.in_at + first * XI, inputs, step,
                             plane_step(p, p.depth, tiles))
    multiply(p, tiles, tile0, tile1, inputs, packed, products)
    if p.adjoint:
        table.winograd_input_adjoint(rows, tiles, products, step, plane_step(p, rows, tiles),
                                     t.in_at + first * XI, y, t.in_step)
    elif p.pooled_at != NULL and p.mean:
        table.winograd_output_mean(rows, tiles, products, step, plane_step(p, rows, tiles), p.pooled_at + first, y,
                                   t.out_step, p.mode, bias)
    elif p.pooled_at != NULL:
        table.winograd_output_max(rows, tiles, products, step, plane_step(p, rows, tiles), p.pooled_at + first, y,
                                  codes, t.out_step, p.mode, bias)
    else:
        table.winograd_output(rows, tiles, products, step, plane_step(p, rows, tiles), t.out_at + first * 4, y,
                              t.out_step, p.mode, bias)


cdef void multiply(const Product *p, int64_t tiles, int64_t tile0, int64_t tile1, const real *inputs,
                   const real *packed, real *products) noexcept nogil:
    """products[xi] (rows, tiles) = U[xi] inputs[xi] (depth, tiles): a panel of tiles stays in the first cache."""
    cdef int64_t step = tiles * p.t.lanes, xi, panel, panels, row_tile, t0, t1, i0, i1, v, no_tap = 0
    cdef int64_t first_row = part_start(p.rows, p.row_tiles, tile0)
    cdef int64_t rows = part_start(p.rows, p.row_tiles, tile1) - first_row
    cdef const real *b[CK_MAX_PIXELS]
    cdef real *c[CK_MAX_PIXELS]
    if real is float:
        table = &micro().lanes_f32
    else:
        table = &micro().lanes_f64
    panels = parts_of(tiles, table.gather_pixels)
    for xi in range(XI):
        for panel in range(panels):
            t0 = part_start(tiles, panels, panel)
            t1 = part_start(tiles, panels, panel + 1)
            for row_tile in range(tile0, tile1):
                i0 = part_start(p.rows, p.row_tiles, row_tile)
                i1 = part_start(p.rows, p.row_tiles, row_tile + 1)
                for v in range(t1 - t0):
                    b[v] = inputs + xi * plane_step(p, p.depth, tiles) + (t0 + v) * p.t.lanes
                    c[v] = products + xi * plane_step(p, rows, tiles) + (i0 - first_row) * step + (t0 + v) * p.t.lanes
                table.gather(<int> (i1 - i0), <int> (t1 - t0), 1, p.depth,
                             packed + (xi * p.rows + i0) * p.depth, &no_tap, b, &no_tap, step, c, step, 0, NULL)


cdef int multiply_out(const Product *p, const real *x, const real *weight, const real *bias, real *y,
                      uint8_t *codes) noexcept nogil:
    cdef const Tiling *t = &p.t
    cdef int64_t task
    cdef real *packed = scratch_of(KERNELS, t.groups * p.rows * p.depth * XI, y)
    cdef int threads = threads_for(2.0 * XI * t.tiles * t.lanes * t.blocks * t.groups * p.rows * p.depth), failed = 0
    if packed == NULL:
        return OUT_OF_MEMORY
    for task in prange(t.groups * p.row_tiles, num_threads=threads, schedule="static"):
        transform_kernels(p, task, weight, packed)
    for task in prange(threads, num_threads=threads, schedule="static", chunksize=1):
        failed |= product_share(p, task, threads, x, packed, bias, y, codes)
    return failed


cdef class WinogradConvolution(Kernel):
    """As lanes.LaneConvolution, for 3 x 3 kernels with stride 1; the adjoint without bias or ReLU.

    With `pool`, "mean" or "max", y and codes are those of the 2 x 2 outputs of each tile, of planes of `size`.
    """
    cdef object arrays
    cdef const void *x
    cdef const void *weight
    cdef const void *bias
    cdef void *y
    cdef uint8_t *codes
    cdef bint double_
    cdef Product p

    def __init__(self, x, weight, bias, y, size, low, dilation, int64_t groups, bint adjoint, bint relu, pool=None,
                 codes=None):
        cdef Product *p = &self.p
        made = (*y.shape[:2], *size, y.shape[4])
        self.x = address(x)
        self.weight = address(weight)
        self.bias = NULL if bias is None else address(bias)
        self.y = address(y)
        self.double_ = is_double(y)
        self.codes = NULL if codes is None else <uint8_t *> address(codes)
        if adjoint:
            kept = tiling(&p.t, made, x.shape, groups, low, dilation)
        else:
            kept = tiling(&p.t, x.shape, made, groups, low, dilation)
        if pool is not None:
            p.mean = pool == "mean"
            p.t.out_step = y.shape[2] * y.shape[3] * p.t.lanes
            pooled_at = _places([np.arange(0, n, 2) // 2 for n in size], 1, (1, 1), y.shape[2:4], (0, 0), p.t.lanes)
            p.pooled_at = <const int64_t *> address(pooled_at)
            kept = (kept, pooled_at)
        self.arrays = (x, weight, bias, y, codes, kept)
        p.adjoint = adjoint
        p.mode = (GATHER_RELU if relu else 0) | (GATHER_BIAS if bias is not None else 0)
        p.depth, p.rows = (p.t.outs, p.t.ins) if adjoint else (p.t.ins, p.t.outs)
        p.row_step = 9 if adjoint else 9 * p.t.ins
        p.depth_step = 9 * p.t.ins if adjoint else 9
        p.row_tiles = parts_of(p.rows, micro().lanes_f64.gather_rows if self.double_
                               else micro().lanes_f32.gather_rows)
        self.share_out()

    cdef share_out(self):
        """Chunks by the cache; the adjoint's overlap, so that a part has all of a plane's."""
        cdef Product *p = &self.p
        cdef int64_t fit = CHUNK_BYTES // (XI * CK_PIXEL_BYTES * max(1, p.depth + p.rows))
        p.chunks = parts_of(p.t.tiles, max(3, fit))
        p.chunk = parts_of(p.t.tiles, p.chunks)
        p.parts = 1 if p.adjoint else p.chunks

    cdef int execute(self) except -1:
        cdef int failed
        with nogil:
            if self.double_:
                failed = multiply_out(&self.p, <const double *> self.x, <const double *> self.weight,
                                      <const double *> self.bias, <double *> self.y, self.codes)
            else:
                failed = multiply_out(&self.p, <const float *> self.x, <const float *> self.weight,
                                      <const float *> self.bias, <float *> self.y, self.codes)
        if failed:
            raise MemoryError("WinogradConvolution: no memory for the transformed tiles")
        return 0


# --- weight gradient ----------------------------------------------------------------------------

cdef struct Correlation:
    Tiling t
    int64_t width                       # input channels of a group, rounded up to whole vectors
    int64_t chunk, chunks               # tiles at a time; of a plane
    int64_t partials                    # sums of as many runs of chunks, added up at the end


cdef inline int64_t sum_values(const Correlation *f) noexcept nogil:
    """Values of one partial sum: (xi, outs, width)."""
    return XI * f.t.outs * f.width


cdef inline int64_t in_planes(const Correlation *f, int64_t width) noexcept nogil:
    """Values of one xi of `width` channels of a chunk's transformed inputs, (tiles, lanes, width), and a pixel; see
    plane_step."""
    return (f.chunk * width + 1) * f.t.lanes


cdef inline int64_t out_planes(const Correlation *f) noexcept nogil:
    """Values of one xi of the transformed output gradients of a chunk, (outs, tiles, lanes), and a pixel."""
    return (f.t.outs * f.chunk + 1) * f.t.lanes


cdef void transform_inputs(const Correlation *f, int64_t width, int64_t c0, int64_t at, int64_t first, int64_t last,
                           const real *x, real *planes) noexcept nogil:
    """Channels from c0 on, as many as there are lanes, of tiles first .. last, transposed to columns from `at` on."""
    cdef int64_t lanes = f.t.lanes, tile, xi, channels = min(lanes, f.t.ins - c0)
    cdef real part[XI * CK_MAX_VECTOR * CK_MAX_VECTOR]
    if real is float:
        table = &micro().lanes_f32
    else:
        table = &micro().lanes_f64
    memset(part, 0, sizeof(part))
    for tile in range(first, last):
        table.winograd_input(channels, 1, x + c0 * f.t.in_step, f.t.in_step, f.t.in_at + tile * XI, part, lanes,
                             lanes * lanes)
        for xi in range(XI):
            transpose(lanes, lanes, part + xi * lanes * lanes, lanes,
                      planes + xi * in_planes(f, width) + (tile - first) * lanes * width + at, width)


cdef void correlate_chunk(const Correlation *f, int64_t xi, int64_t width, int64_t tiles, const real *inputs,
                          const real *grads, real *sums, bint add) noexcept nogil:
    """sums (outs, width) += grads (outs, n) inputs (n, width) of one xi."""
    cdef TileSize size = tile_size(sums)
    cdef int64_t row_tiles = parts_of(f.t.outs, size.mr), vectors = width // size.vl, n = tiles * f.t.lanes
    cdef int64_t panels = parts_of(vectors, size.nv), panel, v0, v1, tile, i0, i1
    inputs += xi * in_planes(f, width)
    grads += xi * out_planes(f)
    sums += xi * f.t.outs * f.width
    for panel in range(panels):
        v0 = part_start(vectors, panels, panel)
        v1 = part_start(vectors, panels, panel + 1)
        for tile in range(row_tiles):
            i0 = part_start(f.t.outs, row_tiles, tile)
            i1 = part_start(f.t.outs, row_tiles, tile + 1)
            outer(<int> (i1 - i0), <int> (v1 - v0), n, grads + i0 * f.chunk * f.t.lanes, f.chunk * f.t.lanes, 1,
                  inputs + v0 * size.vl, width, sums + i0 * f.width + v0 * size.vl, f.width,
                  TILE_ADD if add else TILE_OVERWRITE, NULL)


cdef int correlate_chunks(const Correlation *f, int64_t group, int64_t begin, int64_t end, int64_t share,
                          int64_t shares, const real *x, const real *dy, real *sums) noexcept nogil:
    """Chunks begin .. end of all planes of a group, and one share of its input channels: columns of one partial sum.

    A thread transforms what it multiplies, gradients as many times as there are shares: what another one has
    written would be slow to come from its cache.
    """
    cdef const Tiling *t = &f.t
    cdef int64_t runs = f.width // t.lanes, run0 = part_start(runs, shares, share)
    cdef int64_t run1 = part_start(runs, shares, share + 1), width = (run1 - run0) * t.lanes
    cdef int64_t number, plane, first, last, run, xi
    cdef real *inputs = scratch_of(TILES, XI * (in_planes(f, width) + out_planes(f)), sums)
    if inputs == NULL:
        return OUT_OF_MEMORY
    cdef real *grads = inputs + XI * in_planes(f, width)
    if real is float:
        table = &micro().lanes_f32
    else:
        table = &micro().lanes_f64
    for number in range(begin, end if width > 0 else begin):
        plane = number // f.chunks * t.groups + group
        first = part_start(t.tiles, f.chunks, number % f.chunks)
        last = part_start(t.tiles, f.chunks, number % f.chunks + 1)
        for run in range(run0, run1):
            transform_inputs(f, width, run * t.lanes, (run - run0) * t.lanes, first, last,
                             x + plane * t.ins * t.in_step, inputs)
        table.winograd_output_adjoint(t.outs, last - first, dy + plane * t.outs * t.out_step, t.out_step,
                                      t.out_at + first * 4, grads, f.chunk * t.lanes, out_planes(f))
        for xi in range(XI):
            correlate_chunk(f, xi, width, last - first, inputs, grads, sums + run0 * t.lanes, number > begin)
    return 0


cdef void add_up_bias(const Correlation *f, int64_t channel, const real *dy, real *dbias) noexcept nogil:
    cdef int64_t block, channels = f.t.groups * f.t.outs
    if real is float:
        table = &micro().lanes_f32
    else:
        table = &micro().lanes_f64
    dbias[channel] = 0
    for block in range(f.t.blocks):
        dbias[channel] += table.sum_pixels(f.t.out_step // f.t.lanes, dy + (block * channels + channel) * f.t.out_step)


cdef void transform_sums(const Correlation *f, int64_t out, real *sums, real *dweight) noexcept nogil:
    """Add up the partial sums of one output channel, in order, and transform them."""
    cdef int64_t xi, partial, at
    if real is float:
        table = &micro().lanes_f32
    else:
        table = &micro().lanes_f64
    for xi in range(XI):
        at = (xi * f.t.outs + out) * f.width
        for partial in range(1, f.partials):
            add_rows(1, f.width, sums + partial * sum_values(f) + at, 0, sums + at, 0)
    table.winograd_kernel_adjoint(f.t.ins, sums + out * f.width, f.t.outs * f.width, dweight + out * f.t.ins * 9)


cdef int correlate(const Correlation *f, const real *x, const real *dy, real *dweight, real *dbias) noexcept nogil:
    cdef const Tiling *t = &f.t
    cdef int threads = threads_for(2.0 * XI * t.tiles * t.lanes * t.blocks * t.groups * t.outs * t.ins), failed = 0
    cdef int64_t group, task, chunks = t.blocks * f.chunks
    cdef real *sums = scratch_of(KERNELS, f.partials * sum_values(f), dweight)
    if sums == NULL:
        return OUT_OF_MEMORY
    for group in range(t.groups):
        if t.blocks == 0:
            memset(sums, 0, sum_values(f) * sizeof(real))
        elif f.partials == 1:
            for task in prange(threads, num_threads=threads, schedule="static", chunksize=1):
                failed |= correlate_chunks(f, group, 0, chunks, task, threads, x, dy, sums)
        else:
            for task in prange(f.partials, num_threads=threads, schedule="static"):
                failed |= correlate_chunks(f, group, part_start(chunks, f.partials, task),
                                           part_start(chunks, f.partials, task + 1), 0, 1, x, dy,
                                           sums + task * sum_values(f))
        if failed:
            return OUT_OF_MEMORY
        for task in prange(t.outs, num_threads=threads, schedule="static"):
            transform_sums(f, task, sums, dweight + group * t.outs * t.ins * 9)
    if dbias != NULL:
        for task in prange(t.groups * t.outs, num_threads=threads, schedule="static"):
            add_up_bias(f, task, dy, dbias)
    return 0


cdef class WinogradWeightGrad(Kernel):
    """As lanes.LaneWeightGrad, for 3 x 3 kernels with stride 1."""
    cdef object arrays
    cdef const void *dy
    cdef const void *x
    cdef void *dweight
    cdef void *dbias
    cdef bint double_
    cdef Correlation f

    def __init__(self, dy, x, dweight, dbias, low, dilation, int64_t groups):
        cdef Correlation *f = &self.f
        self.dy = address(dy)
        self.x = address(x)
        self.dweight = address(dweight)
        self.dbias = NULL if dbias is None else address(dbias)
        self.double_ = is_double(dweight)
        self.arrays = (dy, x, dweight, dbias, tiling(&f.t, x.shape, dy.shape, groups, low, dilation))
        f.width = parts_of(f.t.ins, f.t.lanes) * f.t.lanes
        # A run of chunks for each partial sum, where these are small: then a thread reads what it wrote itself in the
        # kernels before.
        cdef int64_t bytes_of_sums = sum_values(f) * (8 if self.double_ else 4)
        cdef bint small = bytes_of_sums <= PARTIAL_BYTES
        cdef int64_t fit = (PARTIAL_CHUNK_BYTES if small else SHARE_CHUNK_BYTES) // (
            XI * CK_PIXEL_BYTES * (f.width + f.t.outs))
        f.chunks = parts_of(f.t.tiles, max(1, fit))
        f.chunk = parts_of(f.t.tiles, f.chunks)
        f.partials = max(1, min(f.t.blocks * f.chunks, max(f.t.blocks, FEWEST_PARTIALS), MOST_PARTIALS)) if small else 1

    cdef int execute(self) except -1:
        cdef int failed
        with nogil:
            if self.double_:
                failed = correlate(&self.f, <const double *> self.x, <const double *> self.dy,
                                   <double *> self.dweight, <double *> self.dbias)
            else:
                failed = correlate(&self.f, <const float *> self.x, <const float *> self.dy,
                                   <float *> self.dweight, <float *> self.dbias)
        if failed:
            raise MemoryError("WinogradWeightGrad: no memory for the transformed tiles")
        return 0
