"""Convolution in lanes with kernels 5 wide and stride 1, and its adjoint, by Winograd's F(4, 5) along rows.

4 outputs of a row take 8 products where the direct sum takes 20; kernel rows and channels are summed over directly:

    M[p] = sum over kernel rows r and channels c of U[p, r, c] V[p, r, c]        V = Bt x, U = G w, y = At M

Tiles of two axes (winograd.pyx) save a little more, and waste it: here sums are as many times longer as the kernel has
rows, so that few channels suffice, and products never leave the registers.  The adjoint is the convolution with the
kernel turned round.
"""

from cython.parallel cimport prange
from libc.stdint cimport int64_t, uint8_t

from convkit._kernels.core cimport Kernel, OUT_OF_MEMORY, address, is_double, micro, real, threads_for
from convkit._kernels.lanes cimport GATHER_BIAS, GATHER_RELU
from convkit._kernels.row_winograd cimport (
    CK_ROW_OUTPUTS, CK_ROW_POINTS, CK_ROW_TAPS, ROW_MAX, ROW_MEAN, ROW_ONE, ROW_TWO,
)
from convkit._kernels.rows cimport CK_MAP_SIGMOID, CK_MAP_TANH
from convkit._kernels.tile cimport part_start, parts_of, scratch_of

cdef enum:
    KERNELS, INPUTS             # scratch slots; the first is shared by all threads of a call
    WINDOW_BYTES = 524288       # transformed inputs of a chunk, about, for the second-level cache
    LEAST_ROWS = 8              # outputs of a chunk, where it has not all
    NO_MAP = -1


# ReLU is part of the products.
MAPS = {"tanh": CK_MAP_TANH, "sigmoid": CK_MAP_SIGMOID}


cdef struct Product:
    int64_t blocks, groups, depth, rows             # channels of a group that are summed over, and made
    int64_t in_rows, in_columns, out_rows, out_columns, lanes
    int64_t low_rows, low_columns                   # zeros before the planes; negative: what is left out of them
    int64_t kernel_rows
    int64_t row_step, depth_step                    # of the weight
    bint turned                                     # the kernel by half a turn
    int64_t row_tiles                               # tiles of channels made
    int64_t tiles                                   # of an output row
    int64_t row_chunks, tile_chunks                 # a plane is cut into
    int end                                         # ROW_TWO, or how 2 x 2 outputs are pooled
    int64_t out_step, out_pitch                     # of what is made of the outputs: values of a plane, of a row
    int mode
    int map                                         # CK_MAP_… that follows, or NO_MAP


cdef inline int64_t kernel_at(const Product *p, int64_t group, int64_t row_tile) noexcept nogil:
    return (group * p.rows + part_start(p.rows, p.row_tiles, row_tile)) * p.kernel_rows * p.depth * CK_ROW_POINTS


cdef void transform_kernels(const Product *p, int64_t task, const real *weight, real *packed) noexcept nogil:
    """One tile of channels made by one group: (run of points, kernel row, depth, point, channel)."""
    cdef int64_t group = task // p.row_tiles, tile = task % p.row_tiles, r, step = -1 if p.turned else 1
    cdef int64_t i0 = part_start(p.rows, p.row_tiles, tile), i1 = part_start(p.rows, p.row_tiles, tile + 1)
    cdef int64_t run
    weight += group * p.rows * p.depth * p.kernel_rows * CK_ROW_TAPS + i0 * p.row_step
    if p.turned:
        weight += p.kernel_rows * CK_ROW_TAPS - 1
    packed += kernel_at(p, group, tile)
    if real is float:
        table = &micro().row_winograd_f32
    else:
        table = &micro().row_winograd_f64
    run = p.depth * table.together * (i1 - i0)
    for r in range(p.kernel_rows):
        table.kernel(i1 - i0, p.depth, weight + r * CK_ROW_TAPS * step, p.row_step, p.depth_step, step,
                     packed + r * run, p.kernel_rows * run)


cdef void make_tiles(const Product *p, int64_t tile, int64_t row0, int64_t row1, int64_t i0, int64_t i1,
                     const real *inputs, const real *packed, const real *bias, real *y,
                     uint8_t *codes) noexcept nogil:
    """Channels i0 .. i1 of output rows row0 .. row1 of one column of tiles, whose inputs from row0 on are given.

    Kernel rows that lie outside the input for both of two output rows are left out.
    """
    cdef int64_t step = p.depth * CK_ROW_POINTS * p.lanes
    cdef int64_t outputs = min(<int64_t> CK_ROW_OUTPUTS, p.out_columns - tile * CK_ROW_OUTPUTS)
    cdef int64_t row, rows, low, high, at, run
    cdef bint pools = p.end != ROW_TWO
    if real is float:
        table, maps = &micro().row_winograd_f32, &micro().rows_f32
    else:
        table, maps = &micro().row_winograd_f64, &micro().rows_f64
    run = p.depth * table.together * (i1 - i0)
    if pools:
        row1 -= (row1 - row0) % 2
        outputs //= 2
    for row in range(row0, row1, 2):
        rows = min(<int64_t> 2, row1 - row)
        low = min(p.kernel_rows, max(<int64_t> 0, p.low_rows - row - rows + 1))
        high = max(low, min(p.kernel_rows, p.in_rows + p.low_rows - row))
        at = row // 2 * p.out_pitch + tile * (CK_ROW_OUTPUTS // 2) * p.lanes if pools \
            else row * p.out_pitch + tile * CK_ROW_OUTPUTS * p.lanes
        table.product(<int> (i1 - i0), p.end if rows == 2 else ROW_ONE, (high - low) * p.depth,
                      inputs + (row - row0 + low) * step, step, packed + low * run, p.kernel_rows * run,
                      <int> outputs, y + at, codes + at if codes != NULL else NULL, p.out_step, p.out_pitch, p.mode,
                      bias, NULL if p.map == NO_MAP else maps.unary[p.map])


cdef int product_chunk(const Product *p, int64_t number, int64_t tile0, int64_t tile1, const real *x,
                       const real *packed, const real *bias, real *y, uint8_t *codes) noexcept nogil:
    """Tiles tile0 .. tile1 of channels of one chunk of a group of a block: some rows of some columns of tiles."""
    cdef int64_t chunks = p.row_chunks * p.tile_chunks, chunk = number % chunks, plane = number // chunks
    cdef int64_t group = plane % p.groups, row_tile, tile, i0, i1, place
    cdef int64_t first = part_start(p.tiles, p.tile_chunks, chunk % p.tile_chunks)
    cdef int64_t last = part_start(p.tiles, p.tile_chunks, chunk % p.tile_chunks + 1)
    cdef int64_t pairs = parts_of(p.out_rows, 2), row0 = 2 * part_start(pairs, p.row_chunks, chunk // p.tile_chunks)
    cdef int64_t row1 = min(p.out_rows, 2 * part_start(pairs, p.row_chunks, chunk // p.tile_chunks + 1))
    cdef int64_t rows = row1 - row0 + p.kernel_rows - 1, step = rows * p.depth * CK_ROW_POINTS * p.lanes
    cdef int64_t in_step = p.in_rows * p.in_columns * p.lanes
    cdef real *inputs = scratch_of(INPUTS, (last - first) * step, y)
    if inputs == NULL:
        return OUT_OF_MEMORY
    if real is float:
        table = &micro().row_winograd_f32
    else:
        table = &micro().row_winograd_f64
    for tile in range(first, last):
        table.input(p.depth, rows, x + plane * p.depth * in_step, in_step, p.in_rows, p.in_columns,
                    row0 - p.low_rows, tile * CK_ROW_OUTPUTS - p.low_columns, inputs + (tile - first) * step)
    for row_tile in range(tile0, tile1):
        i0 = part_start(p.rows, p.row_tiles, row_tile)
        i1 = part_start(p.rows, p.row_tiles, row_tile + 1)
        place = (plane * p.rows + i0) * p.out_step
        for tile in range(first, last):
            make_tiles(p, tile, row0, row1, i0, i1, inputs + (tile - first) * step,
                       packed + kernel_at(p, group, row_tile), bias + group * p.rows + i0 if bias != NULL else NULL,
                       y + place, codes + place if codes != NULL else NULL)
    return 0


cdef int product_share(const Product *p, int64_t share, int64_t shares, const real *x, const real *packed,
                       const real *bias, real *y, uint8_t *codes) noexcept nogil:
    """One thread's share of all tiles of channels of all chunks; it transforms what goes in for itself."""
    cdef int64_t total = p.blocks * p.groups * p.row_chunks * p.tile_chunks * p.row_tiles, chunk
    cdef int64_t from_ = part_start(total, shares, share), to = part_start(total, shares, share + 1)
    for chunk in range(from_ // p.row_tiles, parts_of(to, p.row_tiles)):
        if product_chunk(p, chunk, max(0, from_ - chunk * p.row_tiles), min(p.row_tiles, to - chunk * p.row_tiles),
                         x, packed, bias, y, codes) != 0:
            return OUT_OF_MEMORY
    return 0


cdef int multiply(const Product *p, const real *x, const real *weight, const real *bias, real *y,
                  uint8_t *codes) noexcept nogil:
    cdef int64_t task
    cdef real *packed = scratch_of(KERNELS, p.groups * p.rows * p.depth * p.kernel_rows * CK_ROW_POINTS, y)
    cdef double products = <double> p.groups * p.rows * p.depth * p.kernel_rows * CK_ROW_POINTS * p.out_rows * p.tiles
    cdef int threads = threads_for(2 * products * p.blocks * p.lanes), failed = 0
    if packed == NULL:
        return OUT_OF_MEMORY
    for task in prange(p.groups * p.row_tiles, num_threads=threads, schedule="static"):
        transform_kernels(p, task, weight, packed)
    for task in prange(threads, num_threads=threads, schedule="static", chunksize=1):
        failed |= product_share(p, task, threads, x, packed, bias, y, codes)
    return failed


cdef class RowWinogradConvolution(Kernel):
    """As lanes.LaneConvolution, for two axes, kernels 5 wide, stride 1 and no dilation.

    `activation`, if any, is "relu", "tanh" or "sigmoid".  With `pool`, "mean" or "max", what follows it is pooled: y
    and codes are those of 2 x 2 outputs each, of planes of `size`.
    """
    cdef object arrays
    cdef const void *x
    cdef const void *weight
    cdef const void *bias
    cdef void *y
    cdef uint8_t *codes
    cdef bint double_
    cdef Product p

    def __init__(self, x, weight, bias, y, size, low, int64_t groups, bint adjoint, activation, pool=None, codes=None):
        cdef Product *p = &self.p
        self.arrays = (x, weight, bias, y, codes)
        self.x = address(x)
        self.weight = address(weight)
        self.bias = NULL if bias is None else address(bias)
        self.y = address(y)
        self.double_ = is_double(y)
        self.codes = NULL if codes is None else <uint8_t *> address(codes)
        p.blocks, p.groups = x.shape[0], groups
        p.depth, p.rows = x.shape[1] // groups, y.shape[1] // groups
        p.in_rows, p.in_columns, p.lanes = x.shape[2:]
        p.out_rows, p.out_columns = size
        p.kernel_rows = weight.shape[2]
        p.turned = adjoint
        p.low_rows, p.low_columns = [k - 1 - zeros if adjoint else zeros
                                     for k, zeros in zip(weight.shape[2:], low, strict=True)]
        kernel = p.kernel_rows * CK_ROW_TAPS
        p.row_step = kernel if adjoint else kernel * p.depth
        p.depth_step = kernel * p.rows if adjoint else kernel
        p.row_tiles = parts_of(p.rows, micro().row_winograd_f64.most_channels if self.double_
                               else micro().row_winograd_f32.most_channels)
        p.end = ROW_TWO if pool is None else ROW_MEAN if pool == "mean" else ROW_MAX
        p.out_pitch = y.shape[3] * p.lanes
        p.out_step = y.shape[2] * p.out_pitch
        p.mode = (GATHER_RELU if activation == "relu" else 0) | (GATHER_BIAS if bias is not None else 0)
        p.map = MAPS.get(activation, NO_MAP)
        self.share_out()

    cdef share_out(self):
        """Columns of tiles, and of these some pairs of rows, by the cache."""
        cdef Product *p = &self.p
        cdef int64_t row = p.depth * CK_ROW_POINTS * p.lanes * (8 if self.double_ else 4)
        cdef int64_t column = row * (p.out_rows + p.kernel_rows - 1)
        p.tiles = parts_of(p.out_columns, CK_ROW_OUTPUTS)
        p.tile_chunks = parts_of(p.tiles, max(1, WINDOW_BYTES // max(1, column)))
        p.row_chunks = 1
        if p.tile_chunks == p.tiles:
            p.row_chunks = parts_of(p.out_rows, max(LEAST_ROWS, WINDOW_BYTES // max(1, row) - p.kernel_rows + 1))

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.double_:
            failed = multiply(&self.p, <const double *> self.x, <const double *> self.weight,
                              <const double *> self.bias, <double *> self.y, self.codes)
        else:
            failed = multiply(&self.p, <const float *> self.x, <const float *> self.weight,
                              <const float *> self.bias, <float *> self.y, self.codes)
        if failed:
            with gil:
                raise MemoryError("RowWinogradConvolution: no memory for the transformed tiles")
        return 0
