"""3 x 3 and 5 x 5 convolution with stride 1, adjoint and weight gradient, by Winograd's F(2x2, 3x3) and F(2x2, 5x5).

A tile of 2 x 2 outputs takes 16 products where the direct sum takes 36 (Lavin & Gray 2016), or 36 where that takes
100.  With the image innermost the transforms are some dozen vector operations a tile and channel, and what lies between
them is as many matrix products over channels:

    forward           M[xi] = U[xi] V[xi]           V = Bt x B of every tile, U = G w Gt, y = At M A
    adjoint           M[xi] = U[xi]' D[xi]          D = A dy At, dx = the tiles B M Bt added up
    weight gradient   dU[xi] = D[xi] V[xi]'         summed over tiles and images, dw = Gt dU G

That is for arrays in lanes.  Of ordinary arrays, (N, C, H, W), a vector holds neighbouring tiles instead of images:
planes are taken apart by the parity of rows and columns, with zeros around, so that what 16 tiles in a row have at
the same place lies together, and the same transforms serve.  There the adjoint is the convolution with the kernel
turned round.
"""

import numpy as np

from cython.parallel cimport prange
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memset

from convkit._kernels.core cimport Kernel, OUT_OF_MEMORY, address, is_double, micro, real, threads_for
from convkit._kernels.lanes cimport CK_MAX_PIXELS, CK_PIXEL_BYTES, GATHER_BIAS, GATHER_RELU
from convkit._kernels.tile cimport (
    TILE_ADD, TILE_OVERWRITE, TileSize, add_rows, outer, pad_rows, part_start, parts_of, planes_sum,
    scratch_of, tile_size, transpose, zip_parts,
)
from convkit._kernels.winograd cimport WINOGRAD_3X3, WINOGRAD_5X5

cdef enum:
    # scratch slots; the first two are shared by all threads of a call, the others belong to one
    KERNELS, APART, TILES, INPUTS, PRODUCTS
    MOST_XI = 36                # products of a tile
    SINGLE_LANES = 16           # CK_PIXEL_BYTES of them
    DOUBLE_LANES = 8
    CHUNK_BYTES = 1048576       # transformed tiles of one task, about
    PARTIAL_CHUNK_BYTES = 2097152   # of the weight gradient: those of one partial sum,
    SHARE_CHUNK_BYTES = 4194304     # of one share of channels, were it all of them,
    LONG_CHUNK_BYTES = 25165824     # and where all sums take more than
    LONG_SUM_BYTES = 7340032        # so that memory is gone through less often for them
    POSITIONS = 512             # tiles of a block of planes, about
    FEWEST_ROW_TILES = 6        # for each thread, if kernels shall be shared out
    FEWEST_PARTIALS = 4         # wanted of a few blocks
    MOST_PARTIALS = 8
    PARTIAL_BYTES = 1048576     # of a partial sum, where there may be several


cdef struct Apart:
    int64_t size[2]                         # of a plane
    int64_t low[2]                          # zeros before it
    int64_t rows, pitch                     # of one parity: (rows, images of the block, pitch)
    int64_t parity_step, step               # values of one parity; of a channel: (row parity, column parity, …)


cdef struct Tiling:
    int64_t blocks, groups, ins, outs       # channels of a group, of the convolution's input and output
    int64_t in_step, out_step               # values of a channel's plane
    int64_t tiles                           # of a plane; vectors of them, of ordinary arrays
    const int64_t *in_at                    # of each tile's side x side inputs in their plane, or -1
    const int64_t *out_at                   # of each tile's 2 x 2 outputs in theirs, or -1
    int lanes
    int64_t batch, images                   # of ordinary arrays: all images, and those of a block; 0 in lanes
    int which                               # table of transforms
    int64_t side, xi, taps                  # of a tile's inputs; side ** 2, its products; values of a kernel
    Apart inside, outside                   # how their planes are taken apart


cdef take_kernel(Tiling *t, int64_t size):
    t.which = WINOGRAD_3X3 if size == 3 else WINOGRAD_5X5
    t.side = size + 1
    t.xi = t.side * t.side
    t.taps = size * size


cdef tiling(Tiling *t, in_shape, out_shape, int64_t groups, low, dilation):
    """Fill in a Tiling for arrays (blocks, C, H, W, lanes); returns the arrays that it points into.

    With dilation d the outputs of a tile, and its inputs, are d apart: as if each of the d x d phases of the plane
    were convolved by itself.
    """
    t.batch = t.images = 0
    t.blocks = in_shape[0]
    t.groups = groups
    t.ins = in_shape[1] // groups
    t.outs = out_shape[1] // groups
    t.lanes = in_shape[4]
    t.in_step = in_shape[2] * in_shape[3] * t.lanes
    t.out_step = out_shape[2] * out_shape[3] * t.lanes
    starts = [_starts(size, d) for size, d in zip(out_shape[2:4], dilation, strict=True)]
    t.tiles = len(starts[0]) * len(starts[1])
    kept = (_places(starts, t.side, dilation, in_shape[2:4], low, t.lanes),
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


# --- ordinary arrays ----------------------------------------------------------------------------

cdef plane_tiling(Tiling *t, in_shape, out_shape, int64_t groups, low, int lanes):
    """Fill in a Tiling for arrays (N, C, H, W); returns the arrays that it points into.

    A position is (row of tiles, image, column of tiles): images next to each other fill the vectors where planes are
    small.  The last columns of positions hold no tile; they make room for the inputs that tiles share.
    """
    cdef int64_t shared = t.side // 2 - 1
    cdef int64_t rows = parts_of(out_shape[2], 2), pitch = parts_of(out_shape[3], 2) + shared
    t.batch = in_shape[0]
    cdef int64_t most = max(1, min(t.batch, POSITIONS // max(1, rows * pitch)))
    t.blocks = parts_of(t.batch, most)
    t.images = max(1, parts_of(t.batch, max(1, t.blocks)))     # as even as can be: all blocks have room for as many
    t.groups = groups
    t.ins = in_shape[1] // groups
    t.outs = out_shape[1] // groups
    t.lanes = lanes
    t.tiles = parts_of(rows * t.images * pitch, lanes)
    take_measure(&t.inside, in_shape[2:4], low, rows + shared, pitch,
                 t.tiles * lanes + shared * t.images * pitch + lanes)
    take_measure(&t.outside, out_shape[2:4], (0, 0), rows, pitch, t.tiles * lanes)
    t.in_step, t.out_step = t.inside.step, t.outside.step
    kept = (_vectors(t.side, t.inside.parity_step, t.images * pitch, t.tiles, lanes),
            _vectors(2, t.outside.parity_step, 0, t.tiles, lanes))
    t.in_at = <const int64_t *> address(kept[0])
    t.out_at = <const int64_t *> address(kept[1])
    return kept


cdef take_measure(Apart *a, size, low, int64_t rows, int64_t pitch, int64_t parity_step):
    a.size[0], a.size[1] = size
    a.low[0], a.low[1] = low
    a.rows, a.pitch = rows, pitch
    a.parity_step = parity_step
    a.step = 4 * parity_step


def _vectors(side, parity_step, row_step, vectors, lanes):
    """Where the side x side values of each vector of tiles lie in a channel that was taken apart."""
    y, x = np.mgrid[:side, :side]
    first = (y % 2 * 2 + x % 2) * parity_step + y // 2 * row_step + x // 2
    return np.ascontiguousarray(first + lanes * np.arange(vectors)[:, None, None], np.int64)


cdef void take_apart(const Apart *a, int64_t images, int64_t present, int64_t image_step, const real *x,
                     real *apart) noexcept nogil:
    """One channel of a block's images, of which so many are present."""
    cdef int64_t image, parity, first, at, rows, columns = min(a.size[1], 2 * a.pitch - a.low[1])
    memset(apart, 0, a.step * sizeof(real))
    for image in range(present):
        for parity in range(2):
            first = (parity + a.low[0]) % 2
            at = (first + a.low[0]) // 2
            rows = min(parts_of(a.size[0] - first, 2), a.rows - at)
            pad_rows(rows, columns, x + image * image_step + first * a.size[1], 2 * a.size[1], a.low[1], 2, 2,
                     apart + 2 * parity * a.parity_step + (at * images + image) * a.pitch, images * a.pitch,
                     a.parity_step)


cdef void put_together(const Apart *a, int64_t images, int64_t present, int64_t image_step, const real *apart,
                       real *y) noexcept nogil:
    """The other way round."""
    cdef int64_t image, row
    for image in range(present):
        for row in range(a.size[0]):
            zip_parts(a.size[1], 2,
                      apart + row % 2 * 2 * a.parity_step + (row // 2 * images + image) * a.pitch, a.parity_step,
                      y + image * image_step + row * a.size[1])


cdef inline int64_t plane(const Apart *a) noexcept nogil:
    return a.size[0] * a.size[1]


# --- forward and adjoint ------------------------------------------------------------------------

cdef struct Product:
    Tiling t
    int64_t depth, rows                 # channels summed over, and made
    int64_t row_step, depth_step        # of the weight
    int64_t row_tiles                   # tiles of channels made
    int64_t chunk, chunks               # tiles of a plane at a time; of a plane
    int64_t parts                       # parts that a plane's chunks are cut into
    const int64_t *pooled_at            # where the tile's pooled value lies in its plane, or -1; NULL: not pooled
    bint many_kernels                   # more values than go in: threads had better share out those than tiles
    bint adjoint, mean
    bint turned                         # the kernel by half a turn: the adjoint, of ordinary arrays
    int mode


cdef inline int64_t kernel_step(const Product *p) noexcept nogil:
    """From one xi of a group's transformed kernels to the next; see plane_step."""
    return p.rows * p.depth + p.t.lanes


cdef void transform_kernels(const Product *p, int64_t task, const real *weight, real *packed) noexcept nogil:
    """One tile of channels made by one group: (xi, row tile, depth, rows of the tile)."""
    cdef int64_t group = task // p.row_tiles, tile = task % p.row_tiles
    cdef int64_t i0 = part_start(p.rows, p.row_tiles, tile), i1 = part_start(p.rows, p.row_tiles, tile + 1)
    weight += group * p.t.outs * p.t.ins * p.t.taps + i0 * p.row_step
    packed += group * kernel_step(p) * p.t.xi + i0 * p.depth
    if real is float:
        table = &micro().winograd_f32[p.t.which]
    else:
        table = &micro().winograd_f64[p.t.which]
    table.kernel(i1 - i0, p.depth, weight, p.row_step, p.depth_step, p.turned, packed, kernel_step(p))


cdef inline bint by_rows(const Product *p, int64_t shares) noexcept nogil:
    """Whether a thread's share is of the channels made, whose kernels it then transforms itself, of all tiles."""
    return p.many_kernels and p.row_tiles >= FEWEST_ROW_TILES * shares


cdef void transform_share(const Product *p, int64_t share, int64_t shares, const real *weight,
                          real *packed) noexcept nogil:
    cdef int64_t groups = p.t.groups if by_rows(p, shares) else 1, tasks = p.t.groups * p.row_tiles // groups
    cdef int64_t group, task
    for group in range(groups):
        for task in range(part_start(tasks, shares, share), part_start(tasks, shares, share + 1)):
            transform_kernels(p, group * tasks + task, weight, packed)


cdef inline int64_t plane_step(const Product *p, int64_t channels, int64_t tiles) noexcept nogil:
    """From one xi to the next: a pixel more than they need, lest they all fall into one set of the cache."""
    return (channels * tiles + 1) * p.t.lanes


cdef int product_share(const Product *p, int64_t blocks, int64_t share, int64_t shares, const real *x,
                       const real *packed, const real *bias, real *y, uint8_t *codes) noexcept nogil:
    """One thread's share of all tiles of channels of all parts of planes; it transforms what goes in for itself."""
    cdef int64_t parts = blocks * p.t.groups * p.parts, part, from_, to
    cdef int64_t total = p.row_tiles if by_rows(p, shares) else parts * p.row_tiles
    cdef int failed = 0
    from_, to = part_start(total, shares, share), part_start(total, shares, share + 1)
    if by_rows(p, shares):
        for part in range(parts):
            failed |= product_part(p, part, from_, to, x, packed, bias, y, codes)
        return failed
    for part in range(from_ // p.row_tiles, parts_of(to, p.row_tiles)):
        failed |= product_part(p, part, max(0, from_ - part * p.row_tiles),
                               min(p.row_tiles, to - part * p.row_tiles), x, packed, bias, y, codes)
    return failed


cdef int product_part(const Product *p, int64_t number, int64_t tile0, int64_t tile1, const real *x,
                      const real *packed, const real *bias, real *y, uint8_t *codes) noexcept nogil:
    """Some channels of some chunks of one plane; x and y are what goes in and out, adjoint or not."""
    cdef const Tiling *t = &p.t
    cdef int64_t plane = number // p.parts, part = number % p.parts, group = plane % t.groups, chunk
    cdef int64_t i0 = part_start(p.rows, p.row_tiles, tile0), i1 = part_start(p.rows, p.row_tiles, tile1)
    cdef real *inputs = scratch_of(INPUTS, t.xi * plane_step(p, p.depth, p.chunk), y)
    cdef real *products = scratch_of(PRODUCTS, t.xi * plane_step(p, i1 - i0, p.chunk), y)
    if inputs == NULL or products == NULL:
        return OUT_OF_MEMORY
    x += plane * p.depth * (t.out_step if p.adjoint else t.in_step)
    y += (plane * p.rows + i0) * (t.in_step if p.adjoint else t.out_step)
    if codes != NULL:
        codes += (plane * p.rows + i0) * t.out_step
    packed += group * kernel_step(p) * t.xi
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
    """Tiles first .. last of a plane: into a plane for each product, matrix products, and out."""
    cdef const Tiling *t = &p.t
    cdef int64_t tiles = last - first, step = tiles * t.lanes, i0 = part_start(p.rows, p.row_tiles, tile0)
    cdef int64_t rows = part_start(p.rows, p.row_tiles, tile1) - i0
    if real is float:
        table = &micro().winograd_f32[p.t.which]
    else:
        table = &micro().winograd_f64[p.t.which]
    if p.adjoint:
        table.output_adjoint(p.depth, tiles, x, t.out_step, t.out_at + first * 4, inputs, step,
                             plane_step(p, p.depth, tiles))
    else:
        table.input(p.depth, tiles, x, t.in_step, t.in_at + first * t.xi, inputs, step,
                    plane_step(p, p.depth, tiles))
    multiply(p, tiles, tile0, tile1, inputs, packed, products)
    if p.adjoint:
        table.input_adjoint(rows, tiles, products, step, plane_step(p, rows, tiles),
                            t.in_at + first * t.xi, y, t.in_step)
    elif p.pooled_at != NULL and p.mean:
        table.output_mean(rows, tiles, products, step, plane_step(p, rows, tiles), p.pooled_at + first, y,
                          t.out_step, p.mode, bias)
    elif p.pooled_at != NULL:
        table.output_max(rows, tiles, products, step, plane_step(p, rows, tiles), p.pooled_at + first, y,
                         codes, t.out_step, p.mode, bias)
    else:
        table.output(rows, tiles, products, step, plane_step(p, rows, tiles), t.out_at + first * 4, y,
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
    for xi in range(p.t.xi):
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
                             packed + xi * kernel_step(p) + i0 * p.depth, &no_tap, b, &no_tap, step,
                             c, step, 0, NULL)


cdef int multiply_out(const Product *p, const real *x, const real *weight, const real *bias, real *y,
                      uint8_t *codes) noexcept nogil:
    cdef const Tiling *t = &p.t
    cdef int64_t task, block
    cdef real *packed = scratch_of(KERNELS, t.groups * kernel_step(p) * t.xi, y)
    cdef int threads = threads_for(2.0 * t.xi * t.tiles * t.lanes * t.blocks * t.groups * p.rows * p.depth), failed = 0
    if packed == NULL:
        return OUT_OF_MEMORY
    for task in prange(threads, num_threads=threads, schedule="static", chunksize=1):
        transform_share(p, task, threads, weight, packed)
    if t.images == 0:
        for task in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            failed |= product_share(p, t.blocks, task, threads, x, packed, bias, y, codes)
    else:
        for block in range(t.blocks):
            failed |= block_of_planes(p, block, threads, x, packed, bias, y)
    return failed


cdef int block_of_planes(const Product *p, int64_t block, int threads, const real *x, const real *packed,
                         const real *bias, real *y) noexcept nogil:
    """A block of ordinary arrays: taken apart, computed as if it were in lanes, and put together."""
    cdef const Tiling *t = &p.t
    cdef int64_t ins = t.groups * t.ins, outs = t.groups * t.outs, present = min(t.images, t.batch - block * t.images)
    cdef int64_t in_plane = plane(&t.inside), out_plane = plane(&t.outside), task
    cdef real *inside = scratch_of(APART, ins * t.in_step + outs * t.out_step, y)
    cdef int failed = 0
    if inside == NULL:
        return OUT_OF_MEMORY
    cdef real *outside = inside + ins * t.in_step
    x += block * t.images * ins * in_plane
    y += block * t.images * outs * out_plane
    for task in prange(ins, num_threads=threads, schedule="static"):
        take_apart(&t.inside, t.images, present, ins * in_plane, x + task * in_plane, inside + task * t.in_step)
    for task in prange(threads, num_threads=threads, schedule="static", chunksize=1):
        failed |= product_share(p, 1, task, threads, inside, packed, bias, outside, NULL)
    for task in prange(outs, num_threads=threads, schedule="static"):
        put_together(&t.outside, t.images, present, outs * out_plane, outside + task * t.out_step,
                     y + task * out_plane)
    return failed


cdef class WinogradConvolution(Kernel):
    """As lanes.LaneConvolution or, of ordinary arrays, conv.ConvForward and ConvInputGrad: for 3 x 3 and 5 x 5
    kernels with stride 1.  In lanes the adjoint has neither bias nor ReLU; ordinary arrays have neither dilation nor
    more zeros before an axis than a kernel has values after its first.  With `pool`, "mean" or "max", y and codes, in
    lanes, are those of the 2 x 2 outputs of each tile, of planes of `size`.
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
        self.x = address(x)
        self.weight = address(weight)
        self.bias = NULL if bias is None else address(bias)
        self.y = address(y)
        self.double_ = is_double(y)
        self.codes = NULL if codes is None else <uint8_t *> address(codes)
        take_kernel(&p.t, weight.shape[2])
        p.turned = adjoint and x.ndim == 4
        p.adjoint = adjoint and not p.turned
        if x.ndim == 4:
            low = [weight.shape[2] - 1 - zeros for zeros in low] if adjoint else low
            kept = plane_tiling(&p.t, x.shape, y.shape, groups, low, CK_PIXEL_BYTES // y.itemsize)
        elif adjoint:
            kept = tiling(&p.t, y.shape, x.shape, groups, low, dilation)
        else:
            kept = tiling(&p.t, x.shape, (*y.shape[:2], *size, y.shape[4]), groups, low, dilation)
        if pool is not None:
            p.mean = pool == "mean"
            p.t.out_step = y.shape[2] * y.shape[3] * p.t.lanes
            pooled_at = _places([np.arange(0, n, 2) // 2 for n in size], 1, (1, 1), y.shape[2:4], (0, 0), p.t.lanes)
            p.pooled_at = <const int64_t *> address(pooled_at)
            kept = (kept, pooled_at)
        self.arrays = (x, weight, bias, y, codes, kept)
        p.mode = (GATHER_RELU if relu else 0) | (GATHER_BIAS if bias is not None else 0)
        p.depth, p.rows = x.shape[1] // groups, y.shape[1] // groups
        p.row_step = p.t.taps if adjoint else p.t.taps * p.depth
        p.depth_step = p.t.taps * p.rows if adjoint else p.t.taps
        p.row_tiles = parts_of(p.rows, micro().lanes_f64.gather_rows if self.double_
                               else micro().lanes_f32.gather_rows)
        p.many_kernels = p.rows * p.t.xi > p.t.blocks * (p.t.out_step if p.adjoint else p.t.in_step)
        self.share_out()

    cdef share_out(self):
        """Chunks by the cache; the adjoint's overlap, so that a part has all of a plane's."""
        cdef Product *p = &self.p
        cdef int64_t fit = CHUNK_BYTES // (p.t.xi * CK_PIXEL_BYTES * max(1, p.depth + p.rows))
        p.chunks = parts_of(p.t.tiles, max(3, fit))
        p.chunk = parts_of(p.t.tiles, p.chunks)
        p.parts = 1 if p.adjoint else p.chunks

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.double_:
            failed = multiply_out(&self.p, <const double *> self.x, <const double *> self.weight,
                                  <const double *> self.bias, <double *> self.y, self.codes)
        else:
            failed = multiply_out(&self.p, <const float *> self.x, <const float *> self.weight,
                                  <const float *> self.bias, <float *> self.y, self.codes)
        if failed:
            with gil:
                raise MemoryError("WinogradConvolution: no memory for the transformed tiles")
        return 0


# --- weight gradient ----------------------------------------------------------------------------

cdef struct Correlation:
    Tiling t
    int64_t width                       # input channels of a group, rounded up to whole vectors
    int64_t chunk, chunks               # tiles at a time; of a plane
    int64_t partials                    # sums of as many runs of chunks, added up at the end


cdef inline int64_t sum_step(const Correlation *f) noexcept nogil:
    """From one xi of a partial sum, (outs, width), to the next; see plane_step."""
    return f.t.outs * f.width + f.t.lanes


cdef inline int64_t partial_values(const Correlation *f) noexcept nogil:
    """Values of one partial sum."""
    return f.t.xi * sum_step(f)


cdef inline int64_t in_planes(const Correlation *f, int64_t width) noexcept nogil:
    """Values of one xi of `width` channels of a chunk's transformed inputs, (tiles, lanes, width), and a pixel; see
    plane_step."""
    return (f.chunk * width + 1) * f.t.lanes


cdef inline int64_t out_planes(const Correlation *f) noexcept nogil:
    """Values of one xi of the transformed output gradients of a chunk, (outs, tiles, lanes), and a pixel."""
    return (f.t.outs * f.chunk + 1) * f.t.lanes


cdef union Channels:
    # As many as there are lanes, of one tile of a block: on a stack, which some threads have little of.
    float singles[MOST_XI * SINGLE_LANES * SINGLE_LANES]
    double doubles[MOST_XI * DOUBLE_LANES * DOUBLE_LANES]


cdef void transform_inputs(const Correlation *f, int64_t width, int64_t c0, int64_t at, int64_t first, int64_t last,
                           const real *x, real *planes) noexcept nogil:
    """Channels from c0 on, as many as there are lanes, of tiles first .. last, transposed to columns from `at` on."""
    cdef int64_t lanes = f.t.lanes, tile, xi, channels = min(lanes, f.t.ins - c0)
    cdef Channels room
    cdef real *part
    if real is float:
        table = &micro().winograd_f32[f.t.which]
        part = room.singles
    else:
        table = &micro().winograd_f64[f.t.which]
        part = room.doubles
    memset(part, 0, f.t.xi * lanes * lanes * sizeof(real))
    for tile in range(first, last):
        table.input(channels, 1, x + c0 * f.t.in_step, f.t.in_step, f.t.in_at + tile * f.t.xi, part, lanes,
                    lanes * lanes)
        for xi in range(f.t.xi):
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
    sums += xi * sum_step(f)
    for panel in range(panels):
        v0 = part_start(vectors, panels, panel)
        v1 = part_start(vectors, panels, panel + 1)
        for tile in range(row_tiles):
            i0 = part_start(f.t.outs, row_tiles, tile)
            i1 = part_start(f.t.outs, row_tiles, tile + 1)
            outer(<int> (i1 - i0), <int> (v1 - v0), n, grads + i0 * f.chunk * f.t.lanes, f.chunk * f.t.lanes, 1,
                  inputs + v0 * size.vl, width, sums + i0 * f.width + v0 * size.vl, f.width,
                  TILE_ADD if add else TILE_OVERWRITE, NULL)


cdef int correlate_chunks(const Correlation *f, int64_t begin, int64_t end, int64_t share, int64_t shares,
                          const real *x, const real *dy, real *sums, bint add) noexcept nogil:
    """Chunks begin .. end of a group's planes, and one share of its input channels: columns of one partial sum.

    A thread transforms what it multiplies, gradients as many times as there are shares: what another one has
    written would be slow to come from its cache.
    """
    cdef const Tiling *t = &f.t
    cdef int64_t runs = f.width // t.lanes, run0 = part_start(runs, shares, share)
    cdef int64_t run1 = part_start(runs, shares, share + 1), width = (run1 - run0) * t.lanes
    cdef int64_t number, plane, first, last, run, xi
    cdef real *inputs = scratch_of(TILES, t.xi * (in_planes(f, width) + out_planes(f)), sums)
    if inputs == NULL:
        return OUT_OF_MEMORY
    cdef real *grads = inputs + t.xi * in_planes(f, width)
    if real is float:
        table = &micro().winograd_f32[f.t.which]
    else:
        table = &micro().winograd_f64[f.t.which]
    for number in range(begin, end if width > 0 else begin):
        plane = number // f.chunks * t.groups
        first = part_start(t.tiles, f.chunks, number % f.chunks)
        last = part_start(t.tiles, f.chunks, number % f.chunks + 1)
        for run in range(run0, run1):
            transform_inputs(f, width, run * t.lanes, (run - run0) * t.lanes, first, last,
                             x + plane * t.ins * t.in_step, inputs)
        table.output_adjoint(t.outs, last - first, dy + plane * t.outs * t.out_step, t.out_step,
                             t.out_at + first * 4, grads, f.chunk * t.lanes, out_planes(f))
        for xi in range(t.xi):
            correlate_chunk(f, xi, width, last - first, inputs, grads, sums + run0 * t.lanes,
                            add or number > begin)
    return 0


cdef void transform_sums(const Correlation *f, int64_t out, real *sums, real *dweight) noexcept nogil:
    """Add up the partial sums of one output channel, in order, and transform them."""
    cdef int64_t xi, partial, at
    if real is float:
        table = &micro().winograd_f32[f.t.which]
    else:
        table = &micro().winograd_f64[f.t.which]
    for xi in range(f.t.xi):
        at = xi * sum_step(f) + out * f.width
        for partial in range(1, f.partials):
            add_rows(1, f.width, sums + partial * partial_values(f) + at, 0, sums + at, 0)
    table.kernel_adjoint(f.t.ins, sums + out * f.width, sum_step(f), dweight + out * f.t.ins * f.t.taps)


cdef void channel_apart(const Tiling *t, int64_t block, int64_t group, int64_t task, const real *x, const real *dy,
                        real *apart) noexcept nogil:
    """One channel of the input or, for the later tasks, of the output gradient, of one block of ordinary arrays."""
    cdef int64_t first = block * t.images, present = min(t.images, t.batch - first)
    cdef int64_t in_image = t.groups * t.ins * plane(&t.inside), out_image = t.groups * t.outs * plane(&t.outside)
    if task < t.ins:
        x += first * in_image + (group * t.ins + task) * plane(&t.inside)
        take_apart(&t.inside, t.images, present, in_image, x, apart + task * t.in_step)
    else:
        task -= t.ins
        dy += first * out_image + (group * t.outs + task) * plane(&t.outside)
        take_apart(&t.outside, t.images, present, out_image, dy, apart + t.ins * t.in_step + task * t.out_step)


cdef int correlate_planes(const Correlation *f, int64_t group, int threads, const real *x, const real *dy,
                          real *sums) noexcept nogil:
    """The one sum of a group of ordinary arrays, block by block."""
    cdef const Tiling *t = &f.t
    cdef int64_t block, task
    cdef int failed = 0
    cdef real *apart = scratch_of(APART, t.ins * t.in_step + t.outs * t.out_step, sums)
    if apart == NULL:
        return OUT_OF_MEMORY
    for block in range(t.blocks):
        for task in prange(t.ins + t.outs, num_threads=threads, schedule="static"):
            channel_apart(t, block, group, task, x, dy, apart)
        for task in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            failed |= correlate_chunks(f, 0, f.chunks, task, threads, apart, apart + t.ins * t.in_step, sums,
                                       block > 0)
    return failed


cdef int correlate_lanes(const Correlation *f, int threads, const real *x, const real *dy, real *sums) noexcept nogil:
    """The partial sums of a group in lanes, or the one sum by shares; x and dy: its planes of the first block."""
    cdef int64_t task, chunks = f.t.blocks * f.chunks
    cdef int failed = 0
    if f.partials == 1:
        for task in prange(threads, num_threads=threads, schedule="static", chunksize=1):
            failed |= correlate_chunks(f, 0, chunks, task, threads, x, dy, sums, False)
    else:
        for task in prange(f.partials, num_threads=threads, schedule="static"):
            failed |= correlate_chunks(f, part_start(chunks, f.partials, task),
                                       part_start(chunks, f.partials, task + 1), 0, 1, x, dy,
                                       sums + task * partial_values(f), False)
    return failed


cdef int correlate(const Correlation *f, const real *x, const real *dy, real *dweight, real *dbias) noexcept nogil:
    cdef const Tiling *t = &f.t
    cdef int threads = threads_for(2.0 * t.xi * t.tiles * t.lanes * t.blocks * t.groups * t.outs * t.ins), failed = 0
    cdef int64_t group, task, images = t.batch if t.images > 0 else t.blocks
    cdef int64_t values = plane(&t.outside) if t.images > 0 else t.out_step
    cdef real *sums = scratch_of(KERNELS, f.partials * partial_values(f), dweight)
    if sums == NULL:
        return OUT_OF_MEMORY
    for group in range(t.groups):
        if t.blocks == 0:
            memset(sums, 0, partial_values(f) * sizeof(real))
        elif t.images > 0:
            failed |= correlate_planes(f, group, threads, x, dy, sums)
        else:
            failed |= correlate_lanes(f, threads, x + group * t.ins * t.in_step, dy + group * t.outs * t.out_step, sums)
        if failed:
            return OUT_OF_MEMORY
        for task in prange(t.outs, num_threads=threads, schedule="static"):
            transform_sums(f, task, sums, dweight + group * t.outs * t.ins * t.taps)
    if dbias != NULL:
        for task in prange(t.groups * t.outs, num_threads=threads, schedule="static"):
            dbias[task] = planes_sum(images, t.groups * t.outs * values, values, dy + task * values)
    return 0


cdef class WinogradWeightGrad(Kernel):
    """As lanes.LaneWeightGrad or, of ordinary arrays without dilation, conv.ConvWeightGrad: stride 1."""
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
        take_kernel(&f.t, dweight.shape[2])
        if x.ndim == 4:
            kept = plane_tiling(&f.t, x.shape, dy.shape, groups, low, CK_PIXEL_BYTES // x.itemsize)
        else:
            kept = tiling(&f.t, x.shape, dy.shape, groups, low, dilation)
        self.arrays = (dy, x, dweight, dbias, kept)
        f.width = parts_of(f.t.ins, f.t.lanes) * f.t.lanes
        # In lanes a run of chunks for each partial sum, where these are small: then a thread reads what it wrote itself
        # in the kernels before.
        cdef int64_t bytes_of_sums = f.t.xi * f.t.outs * f.width * (8 if self.double_ else 4)
        cdef bint several = f.t.images == 0 and bytes_of_sums <= PARTIAL_BYTES
        # Of ordinary arrays few tiles at a time, too, unless the sums that each chunk goes through are larger still.
        cdef bint few = several or (f.t.images > 0 and bytes_of_sums <= PARTIAL_CHUNK_BYTES)
        cdef int64_t chunk_bytes = PARTIAL_CHUNK_BYTES if few else (
            SHARE_CHUNK_BYTES if bytes_of_sums <= LONG_SUM_BYTES else LONG_CHUNK_BYTES)
        f.chunks = parts_of(f.t.tiles, max(1, chunk_bytes // (f.t.xi * CK_PIXEL_BYTES * (f.width + f.t.outs))))
        f.chunk = parts_of(f.t.tiles, f.chunks)
        f.partials = 1
        if several:
            f.partials = max(1, min(f.t.blocks * f.chunks, max(f.t.blocks, FEWEST_PARTIALS), MOST_PARTIALS))

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.double_:
            failed = correlate(&self.f, <const double *> self.x, <const double *> self.dy,
                               <double *> self.dweight, <double *> self.dbias)
        else:
            failed = correlate(&self.f, <const float *> self.x, <const float *> self.dy,
                               <float *> self.dweight, <float *> self.dbias)
        if failed:
            with gil:
                raise MemoryError("WinogradWeightGrad: no memory for the transformed tiles")
        return 0
