"""Matrix products of row-major matrices, for dense layers, and sums over rows, for their bias gradient.

The outer tile runs down panels of a few vectors of columns of op(b).  A panel is copied to scratch when many
rows will use it, when its last vector is not full, or when b has to be transposed.  Where b is transposed and
the larger of the two, a dense layer's weight, c.T = b @ a.T is made instead: b is read in place, and panels of
a.T are copied once for all tasks.  With few rows even that would cost more than it saves: both operands are
contiguous along k, and the dot tile reads them in place.
"""

from cython.parallel cimport prange
from libc.stdint cimport int64_t
from libc.string cimport memset

from convkit._kernels.core cimport Kernel, OUT_OF_MEMORY, address, is_double, real, threads_for
from convkit._kernels.tile cimport (
    CK_MAX_TILE, CK_MAX_VECTOR, CK_MAX_WIDTH, TILE_ADD, TILE_COLUMN_BIAS, TILE_OVERWRITE, TILE_RELU, TILE_ROW_BIAS,
    TileSize,
    dot, outer, pack_matrix, part_start, parts_of, scratch_of, sum_rows, tile_size, transpose,
)

cdef enum:
    SHARED, PANEL, TURNED   # scratch slots; the first is shared by all threads of a call
    K_BLOCK = 512           # depth of one pass: a panel of B this deep stays in the second-level cache
    DOT_K_BLOCK = 1024      # so that the few rows of B in a dot tile stay in the first-level cache
    DOT_ROWS = 8
    RUN = 512               # of k, that one task copies of a panel of a.T
    ROWS_PER_TASK = 128     # at most,
    FEWEST_ROWS = 32        # and at least, since each task packs its panels of B for itself
    TASKS = 16              # tasks wanted of a large problem, for any number of threads
    COLUMNS_PER_TASK = 256
    OPERATIONS_PER_TASK = 2000000
    DOT_VALUES_PER_TASK = 131072    # of B: few rows wait for it to come from memory


cdef struct Product:
    int64_t m, n, k
    int64_t a_row, a_step   # strides of op(a)
    int64_t ldb
    bint trans_b
    bint dot                # b is transposed and op(a) has few rows
    bint swap               # b is transposed and op(a) has fewer rows than it
    bint relu
    int64_t row_parts, panel_parts


cdef inline int epilogue(const Product *p, bint first, bint last, bint with_bias) noexcept nogil:
    """How a tile of this pass over k begins and ends."""
    cdef int mode = TILE_OVERWRITE if first else TILE_ADD
    if first and with_bias:
        mode |= TILE_COLUMN_BIAS
    if last and p.relu:
        mode |= TILE_RELU
    return mode


cdef int outer_task(const Product *p, int64_t task, const real *a, const real *b, real *c,
                    const real *bias) noexcept nogil:
    """Some rows of some column panels of c."""
    cdef TileSize size = tile_size(c)
    cdef int64_t panels = parts_of(p.n, size.vl * size.nv)
    cdef int64_t row_part = task // p.panel_parts, panel_part = task % p.panel_parts
    cdef int64_t m0 = part_start(p.m, p.row_parts, row_part)
    cdef int64_t m1 = part_start(p.m, p.row_parts, row_part + 1)
    cdef int64_t panel, k0, k1, vectors = parts_of(p.n, size.vl), v0, v1
    cdef real *packed = scratch_of(PANEL, K_BLOCK * size.vl * size.nv, c)
    if packed == NULL:
        return OUT_OF_MEMORY
    for panel in range(part_start(panels, p.panel_parts, panel_part),
                       part_start(panels, p.panel_parts, panel_part + 1)):
        v0 = part_start(vectors, panels, panel)
        v1 = part_start(vectors, panels, panel + 1)
        k0 = 0
        while True:
            k1 = min(k0 + K_BLOCK, p.k)
            if outer_panel(p, m0, m1, v0 * size.vl, <int> (v1 - v0), k0, k1, a, b, c, bias, packed) != 0:
                return OUT_OF_MEMORY
            k0 = k1
            if k0 >= p.k:
                break
    return 0


cdef int outer_panel(const Product *p, int64_t m0, int64_t m1, int64_t n0, int nv, int64_t k0, int64_t k1,
                     const real *a, const real *b, real *c, const real *bias, real *packed) noexcept nogil:
    """One pass over k0 .. k1 for rows m0 .. m1 and nv vectors of columns from n0."""
    cdef TileSize size = tile_size(c)
    cdef int64_t width = nv * size.vl, columns = min(width, p.n - n0), ldb = p.ldb
    cdef int64_t tiles = parts_of(m1 - m0, size.mr), t, i, j, i0, i1
    cdef const real *panel = b + (n0 * p.ldb + k0 if p.trans_b else k0 * p.ldb + n0)
    cdef int mode = epilogue(p, k0 == 0, k1 == p.k, bias != NULL)
    cdef real edge[CK_MAX_TILE]
    cdef real edge_bias[CK_MAX_WIDTH + CK_MAX_VECTOR]
    if p.trans_b:
        transpose(columns, k1 - k0, panel, p.ldb, packed, width)
        panel = packed
        ldb = width
    elif columns < width or m1 - m0 > 2 * size.mr:
        pack_matrix(k1 - k0, columns, panel, ldb, width, packed, b + p.k * p.n)
        panel = packed
        ldb = width
    if columns < width and bias != NULL:
        pack_matrix(1, columns, bias + n0, 0, width, edge_bias, bias + p.n)
    for t in range(tiles):
        i0 = m0 + part_start(m1 - m0, tiles, t)
        i1 = m0 + part_start(m1 - m0, tiles, t + 1)
        if columns == width:
            outer(<int> (i1 - i0), nv, k1 - k0, a + i0 * p.a_row + k0 * p.a_step, p.a_row, p.a_step, panel,
                  ldb,
                  c + i0 * p.n + n0, p.n, mode, bias + n0 if bias != NULL else NULL)
            continue
        if mode & TILE_ADD:
            for i in range(i1 - i0):
                for j in range(columns):
                    edge[i * width + j] = c[(i0 + i) * p.n + n0 + j]
        outer(<int> (i1 - i0), nv, k1 - k0, a + i0 * p.a_row + k0 * p.a_step, p.a_row, p.a_step, panel, ldb,
              edge, width, mode, edge_bias)
        for i in range(i1 - i0):
            for j in range(columns):
                c[(i0 + i) * p.n + n0 + j] = edge[i * width + j]
    return 0


cdef int dot_task(const Product *p, int64_t task, const real *a, const real *b, real *c,
                  const real *bias) noexcept nogil:
    """Some rows and columns of c = a @ b.T, both operands in place."""
    cdef TileSize size = tile_size(c)
    cdef int64_t row_part = task // p.panel_parts, column_part = task % p.panel_parts
    cdef int64_t i0 = part_start(p.m, p.row_parts, row_part), i1 = part_start(p.m, p.row_parts, row_part + 1)
    cdef int64_t j0 = part_start(p.n, p.panel_parts, column_part)
    cdef int64_t j1 = part_start(p.n, p.panel_parts, column_part + 1)
    cdef int64_t i, j, k0 = 0, k1
    cdef int mode
    while True:
        k1 = min(k0 + DOT_K_BLOCK, p.k)
        mode = epilogue(p, k0 == 0, k1 == p.k, bias != NULL)
        j = j0
        while j < j1:
            i = i0
            while i < i1:
                dot(<int> min(size.dot_m, i1 - i), <int> min(size.dot_n, j1 - j), k1 - k0,
                    a + i * p.a_row + k0, p.a_row, b + j * p.ldb + k0, p.ldb, c + i * p.n + j, p.n,
                    mode, bias + j if bias != NULL else NULL)
                i += size.dot_m
            j += size.dot_n
        k0 = k1
        if k0 >= p.k:
            return 0


cdef inline int64_t padded_rows(const Product *p, int64_t vl) noexcept nogil:
    return parts_of(p.m, vl) * vl


cdef void pack_swapped(const Product *p, int64_t task, const real *a, real *packed) noexcept nogil:
    """A run of k of one panel of a.T, (k, width), and zeros for the rows that its last vector lacks."""
    cdef TileSize size = tile_size(packed)
    cdef int64_t vectors = parts_of(p.m, size.vl), panels = parts_of(vectors, size.nv), runs = parts_of(p.k, RUN)
    cdef int64_t panel = task // runs, k0 = task % runs * RUN, k1 = min(k0 + RUN, p.k), k
    cdef int64_t v0 = part_start(vectors, panels, panel), v1 = part_start(vectors, panels, panel + 1)
    cdef int64_t width = (v1 - v0) * size.vl
    cdef int64_t rows = min(width, p.m - v0 * size.vl)
    packed += v0 * size.vl * p.k + k0 * width
    transpose(rows, k1 - k0, a + v0 * size.vl * p.a_row + k0, p.a_row, packed, width)
    if rows < width:
        for k in range(k1 - k0):
            memset(packed + k * width + rows, 0, (width - rows) * sizeof(real))


cdef int swapped_task(const Product *p, int64_t task, const real *packed, const real *b, real *c,
                      const real *bias) noexcept nogil:
    """Some columns of c, as rows of c.T in scratch, then turned."""
    cdef TileSize size = tile_size(c)
    cdef int64_t j0 = part_start(p.n, p.panel_parts, task), j1 = part_start(p.n, p.panel_parts, task + 1)
    cdef int64_t vectors = parts_of(p.m, size.vl), panels = parts_of(vectors, size.nv)
    cdef int64_t tiles = parts_of(j1 - j0, size.mr), lead = padded_rows(p, size.vl), k0 = 0, k1
    cdef int64_t panel, tile, v0, v1, i0, i1
    cdef real *turned = scratch_of(TURNED, (j1 - j0) * lead, c)
    cdef int mode
    if turned == NULL:
        return OUT_OF_MEMORY
    while True:
        k1 = min(k0 + K_BLOCK, p.k)
        mode = epilogue(p, k0 == 0, k1 == p.k, False)
        if k0 == 0 and bias != NULL:
            mode |= TILE_ROW_BIAS
        for panel in range(panels):
            v0 = part_start(vectors, panels, panel)
            v1 = part_start(vectors, panels, panel + 1)
            for tile in range(tiles):
                i0 = part_start(j1 - j0, tiles, tile)
                i1 = part_start(j1 - j0, tiles, tile + 1)
                outer(<int> (i1 - i0), <int> (v1 - v0), k1 - k0, b + (j0 + i0) * p.ldb + k0, p.ldb, 1,
                      packed + v0 * size.vl * p.k + k0 * (v1 - v0) * size.vl, (v1 - v0) * size.vl,
                      turned + i0 * lead + v0 * size.vl, lead, mode, bias + j0 + i0 if bias != NULL else NULL)
        k0 = k1
        if k0 >= p.k:
            break
    transpose(j1 - j0, p.m, turned, lead, c + j0, p.n)
    return 0


cdef int multiply_swapped(const Product *p, const real *a, const real *b, real *c, const real *bias) noexcept nogil:
    cdef TileSize size = tile_size(c)
    cdef int64_t task, runs = parts_of(parts_of(p.m, size.vl), size.nv) * parts_of(p.k, RUN)
    cdef int threads = threads_for(2.0 * p.m * p.n * p.k), failed = 0
    cdef real *packed = scratch_of(SHARED, padded_rows(p, size.vl) * p.k, c)
    if packed == NULL:
        return OUT_OF_MEMORY
    for task in prange(runs, num_threads=threads, schedule="static"):
        pack_swapped(p, task, a, packed)
    for task in prange(p.panel_parts, num_threads=threads, schedule="dynamic"):
        failed |= swapped_task(p, task, packed, b, c, bias)
    return failed


cdef int multiply_task(const Product *p, int64_t task, const real *a, const real *b, real *c,
                       const real *bias) noexcept nogil:
    return dot_task(p, task, a, b, c, bias) if p.dot else outer_task(p, task, a, b, c, bias)


cdef int multiply(const Product *p, const real *a, const real *b, real *c, const real *bias) noexcept nogil:
    cdef int64_t task, tasks = p.row_parts * p.panel_parts
    cdef int threads = threads_for(2.0 * p.m * p.n * p.k), failed = 0
    if p.swap:
        return multiply_swapped(p, a, b, c, bias)
    if threads == 1:
        for task in range(tasks):
            failed |= multiply_task(p, task, a, b, c, bias)
    else:
        for task in prange(tasks, num_threads=threads, schedule="dynamic"):
            failed |= multiply_task(p, task, a, b, c, bias)
    return failed


cdef class Gemm(Kernel):
    """c = op(a) @ op(b), plus `bias` along the last axis, then ReLU, where asked for.

    a (m, k) or, with trans_a, (k, m); b (k, n) or, with trans_b, (n, k); c (m, n); bias (n,).
    """
    cdef object arrays
    cdef const void *a
    cdef const void *b
    cdef void *c
    cdef const void *bias
    cdef bint double_
    cdef Product product

    def __init__(self, a, b, c, bint trans_a=False, bint trans_b=False, bias=None, bint relu=False):
        if trans_a and trans_b:
            raise ValueError("Gemm: transpose one operand, not both (swap them and take c.T)")
        self.arrays = (a, b, c, bias)
        self.a = address(a)
        self.b = address(b)
        self.c = address(c)
        self.bias = NULL if bias is None else address(bias)
        self.double_ = is_double(c)
        cdef Product *p = &self.product
        p.m, p.n = c.shape
        p.k = a.shape[0] if trans_a else a.shape[1]
        p.a_row = 1 if trans_a else p.k
        p.a_step = p.m if trans_a else 1
        p.ldb = p.k if trans_b else p.n
        p.trans_b = trans_b
        p.dot = trans_b and p.m <= DOT_ROWS
        p.swap = trans_b and DOT_ROWS < p.m <= p.n
        p.relu = relu
        self.share_out()

    cdef share_out(self):
        """Cut c into tasks by its size alone, so that results do not depend on the number of threads."""
        cdef Product *p = &self.product
        cdef TileSize size = tile_size(<double *> NULL) if self.double_ else tile_size(<float *> NULL)
        cdef int64_t width = size.dot_n if p.dot else size.vl * size.nv
        cdef int64_t panels = parts_of(p.n, width)
        cdef double work = 2.0 * p.m * p.n * p.k / OPERATIONS_PER_TASK
        if p.dot:
            work = max(work, <double> p.n * p.k / DOT_VALUES_PER_TASK)
        cdef int64_t wanted = min(TASKS, <int64_t> work + 1)
        if p.swap:
            p.panel_parts = max(1, min(parts_of(p.n, size.mr), wanted))
            return
        p.panel_parts = max(1, min(panels, wanted))
        p.row_parts = max(1, parts_of(p.m, ROWS_PER_TASK))
        if p.row_parts * p.panel_parts < wanted:
            p.row_parts = max(p.row_parts, min(p.m // FEWEST_ROWS, parts_of(wanted, p.panel_parts)))

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.double_:
            failed = multiply(&self.product, <const double *> self.a, <const double *> self.b,
                              <double *> self.c, <const double *> self.bias)
        else:
            failed = multiply(&self.product, <const float *> self.a, <const float *> self.b,
                              <float *> self.c, <const float *> self.bias)
        if failed:
            with gil:
                raise MemoryError("Gemm: no memory for a panel")
        return 0


cdef void column_sum(int64_t rows, int64_t columns, const real *a, real *out) noexcept nogil:
    cdef int64_t part, parts = parts_of(columns, COLUMNS_PER_TASK), j0, j1
    for part in prange(parts, num_threads=threads_for(<double> rows * columns), schedule="static"):
        j0 = part * COLUMNS_PER_TASK
        j1 = min(columns, j0 + COLUMNS_PER_TASK)
        memset(out + j0, 0, (j1 - j0) * sizeof(real))
        sum_rows(rows, j1 - j0, a + j0, columns, out + j0)


cdef class ColumnSum(Kernel):
    """out (n,) = the sum of a (m, n) over its rows, from the first to the last."""
    cdef object arrays
    cdef const void *a
    cdef void *out
    cdef bint double_
    cdef int64_t rows, columns

    def __init__(self, a, out):
        self.arrays = (a, out)
        self.a = address(a)
        self.out = address(out)
        self.double_ = is_double(out)
        self.rows, self.columns = a.shape

    cdef int execute(self) except -1 nogil:
        if self.double_:
            column_sum(self.rows, self.columns, <const double *> self.a, <double *> self.out)
        else:
            column_sum(self.rows, self.columns, <const float *> self.a, <float *> self.out)
        return 0
