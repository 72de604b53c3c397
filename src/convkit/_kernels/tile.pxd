"""The register tiles of the chosen instruction set, generic over `real`, for the conv and gemm drivers."""

from libc.stdint cimport int64_t

from convkit._kernels.chunks cimport add_aside, set_aside
from convkit._kernels.core cimport micro, real, scratch


cdef extern from "micro.h" nogil:
    enum:
        TILE_OVERWRITE, TILE_ADD, TILE_ROW_BIAS, TILE_COLUMN_BIAS, TILE_RELU, TILE_FETCH
        CK_MAX_ROWS, CK_MAX_VECTOR, CK_MAX_WIDTH, CK_MAX_TILE


cdef struct TileSize:
    int vl, mr, nv, dot_m, dot_n


cdef inline TileSize tile_size(real *any_) noexcept nogil:
    """Block sizes of the tiles for `real`."""
    if real is float:
        return TileSize(micro().tile_f32.vl, micro().tile_f32.mr, micro().tile_f32.nv,
                        micro().tile_f32.dot_m, micro().tile_f32.dot_n)
    else:
        return TileSize(micro().tile_f64.vl, micro().tile_f64.mr, micro().tile_f64.nv,
                        micro().tile_f64.dot_m, micro().tile_f64.dot_n)


cdef inline int64_t parts_of(int64_t total, int64_t most) noexcept nogil:
    """How many parts of at most `most` cover `total`."""
    return (total + most - 1) // most


cdef inline int64_t part_start(int64_t total, int64_t parts, int64_t i) noexcept nogil:
    """Where part i begins when `total` is shared out evenly: parts differ by one at most."""
    return total * i // parts


cdef inline real *scratch_of(int slot, int64_t count, real *any_) noexcept nogil:
    """Memory of this thread for `count` values and one vector more."""
    return <real *> scratch(slot, (count + CK_MAX_VECTOR) * sizeof(real))


cdef inline void outer(int m, int nv, int64_t k, const real *a, int64_t lda, int64_t a_step, const real *b,
                       int64_t ldb, real *c, int64_t ldc, int mode, const real *bias) noexcept nogil:
    """c (m, nv * vl) = a (m, k; strides lda, a_step) @ b (k, ldb), beginning and ending as `mode` says."""
    cdef const float *rows32[CK_MAX_ROWS]
    cdef const double *rows64[CK_MAX_ROWS]
    cdef int i
    if real is float:
        for i in range(m):
            rows32[i] = a + i * lda
        micro().tile_f32.outer(m, nv, k, rows32, a_step, b, ldb, c, ldc, mode, bias)
    else:
        for i in range(m):
            rows64[i] = a + i * lda
        micro().tile_f64.outer(m, nv, k, rows64, a_step, b, ldb, c, ldc, mode, bias)


cdef inline void outer_at(int m, int nv, int64_t k, const real *a, const int64_t *row_at, const int64_t *a_at,
                          const real *b, int64_t ldb, real *c, int64_t ldc, int mode,
                          const real *bias) noexcept nogil:
    """c (m, nv * vl) = sum over k of a[row_at[i] + a_at[k]] * b[k], beginning and ending as `mode` says."""
    cdef const float *rows32[CK_MAX_ROWS]
    cdef const double *rows64[CK_MAX_ROWS]
    cdef int i
    if real is float:
        for i in range(m):
            rows32[i] = a + row_at[i]
        micro().tile_f32.outer_at(m, nv, k, rows32, a_at, b, ldb, c, ldc, mode, bias)
    else:
        for i in range(m):
            rows64[i] = a + row_at[i]
        micro().tile_f64.outer_at(m, nv, k, rows64, a_at, b, ldb, c, ldc, mode, bias)


cdef inline void dot(int m, int n, int64_t k, const real *a, int64_t lda, const real *b, int64_t ldb,
                     real *c, int64_t ldc, int mode, const real *bias) noexcept nogil:
    if real is float:
        micro().tile_f32.dot(m, n, k, a, lda, b, ldb, c, ldc, mode, bias)
    else:
        micro().tile_f64.dot(m, n, k, a, lda, b, ldb, c, ldc, mode, bias)


cdef inline void pack(int64_t n, const real *src, const int64_t *row_at, int64_t pieces,
                      const int64_t *piece_at,
                      const int64_t *piece_length, int64_t width, real *dst, const real *end) noexcept nogil:
    if real is float:
        micro().tile_f32.pack(n, src, row_at, pieces, piece_at, piece_length, width, dst, end)
    else:
        micro().tile_f64.pack(n, src, row_at, pieces, piece_at, piece_length, width, dst, end)


cdef inline void pack_matrix(int64_t rows, int64_t columns, const real *src, int64_t lds, int64_t width,
                             real *dst,
                             const real *end) noexcept nogil:
    """The rows of a matrix one after the other, each filled up to `width` with zeros."""
    if real is float:
        micro().tile_f32.pack_matrix(rows, columns, src, lds, width, dst, end)
    else:
        micro().tile_f64.pack_matrix(rows, columns, src, lds, width, dst, end)


cdef inline void transpose(int64_t rows, int64_t columns, const real *src, int64_t lds,
                           real *dst, int64_t ldd) noexcept nogil:
    if real is float:
        micro().tile_f32.transpose(rows, columns, src, lds, dst, ldd)
    else:
        micro().tile_f64.transpose(rows, columns, src, lds, dst, ldd)


cdef inline void pad_rows(int64_t rows, int64_t n, const real *src, int64_t lds, int64_t low, int64_t phases,
                          int64_t kept, real *dst, int64_t ldd, int64_t phase_step) noexcept nogil:
    """Rows of n values to columns low and on, split by their phase: the first `kept` phases only."""
    if real is float:
        micro().tile_f32.pad_rows(rows, n, src, lds, low, phases, kept, dst, ldd, phase_step)
    else:
        micro().tile_f64.pad_rows(rows, n, src, lds, low, phases, kept, dst, ldd, phase_step)


cdef inline void zip_parts(int64_t n, int64_t parts, const real *src, int64_t lds, real *dst) noexcept nogil:
    """A row put together of its phases."""
    if real is float:
        micro().tile_f32.zip(n, parts, src, lds, dst)
    else:
        micro().tile_f64.zip(n, parts, src, lds, dst)


cdef inline void add_rows(int64_t rows, int64_t columns, const real *src, int64_t lds,
                          real *dst, int64_t ldd) noexcept nogil:
    if real is float:
        micro().tile_f32.add(rows, columns, src, lds, dst, ldd)
    else:
        micro().tile_f64.add(rows, columns, src, lds, dst, ldd)


cdef inline void sum_rows(int64_t rows, int64_t columns, const real *src, int64_t lds,
                          real *dst) noexcept nogil:
    if real is float:
        micro().tile_f32.sum_rows(rows, columns, src, lds, dst)
    else:
        micro().tile_f64.sum_rows(rows, columns, src, lds, dst)


cdef inline real sum_values(int64_t n, const real *src) noexcept nogil:
    if real is float:
        return micro().tile_f32.sum(n, src)
    else:
        return micro().tile_f64.sum(n, src)


cdef inline real planes_sum(int64_t planes, int64_t step, int64_t n, const real *src) noexcept nogil:
    """The sum over planes of n values that are `step` apart."""
    cdef int64_t plane
    cdef double aside = 0
    cdef real total = 0
    for plane in range(planes):
        set_aside(plane, 1, &total, &aside)
        total += sum_values(n, src + plane * step)
    add_aside(planes, 1, &total, &aside)
    return total
