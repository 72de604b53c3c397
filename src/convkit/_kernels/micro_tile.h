/* Register tiles: the matrix products under convolution and dense layers, and the data movers that feed them.

   An outer tile keeps m x nv vectors of C in registers and walks over k: each step loads nv vectors of B,
   broadcasts m values of A and multiplies.  A is reached through one pointer a row, so that weights in place,
   packed panels and windows of an image all serve.  A dot tile keeps vectors along k instead, for products
   whose two operands are contiguous along k, and adds up the lanes at the end. */
#ifndef CK_MICRO_TILE_H
#define CK_MICRO_TILE_H

#include <stdint.h>

/* How a tile ends: C is overwritten or added to, a bias of each row or column comes on top, ReLU last.  Before that,
   where A is reached through a table, TILE_FETCH prefetches it. */
enum { TILE_OVERWRITE = 0, TILE_ADD = 1, TILE_ROW_BIAS = 2, TILE_COLUMN_BIAS = 4, TILE_RELU = 8, TILE_FETCH = 16 };

/* Bounds over all instruction sets. */
enum {
    CK_MAX_ROWS = 8,    /* rows of a tile */
    CK_MAX_VECTOR = 16, /* values in a vector */
    CK_MAX_WIDTH = 3 * CK_MAX_VECTOR,
    CK_MAX_TILE = CK_MAX_ROWS * CK_MAX_WIDTH
};

#define CK_TILE_TABLE(real, name)                                                                          \
    typedef struct {                                                                                       \
        int vl;             /* values in a vector */                                                       \
        int mr, nv;         /* rows and vectors of the largest outer tile */                               \
        int dot_m, dot_n;   /* rows and columns of the largest dot tile */                                 \
        /* c[i][j] = sum_k a[i][k * a_step] * b[k * ldb + j], i < m, j < nv * vl */                        \
        void (*outer)(int m, int nv, int64_t k, const real *const *a, int64_t a_step, const real *b,       \
                      int64_t ldb, real *c, int64_t ldc, int mode, const real *bias);                      \
        /* the same with a[i][a_at[k]] */                                                                  \
        void (*outer_at)(int m, int nv, int64_t k, const real *const *a, const int64_t *a_at,              \
                         const real *b, int64_t ldb, real *c, int64_t ldc, int mode, const real *bias);    \
        /* c[i][j] = sum_k a[i * lda + k] * b[j * ldb + k], i < m, j < n */                                \
        void (*dot)(int m, int n, int64_t k, const real *a, int64_t lda, const real *b, int64_t ldb,       \
                    real *c, int64_t ldc, int mode, const real *bias);                                     \
        /* dst[k * width + ...] = the pieces src[row_at[k] + piece_at[p] ...] one after the other, k < n,  \
           then zeros up to width; reads nothing from end on */                                            \
        void (*pack)(int64_t n, const real *src, const int64_t *row_at, int64_t pieces,                    \
                     const int64_t *piece_at, const int64_t *piece_length, int64_t width, real *dst,       \
                     const real *end);                                                                     \
        /* the same for the rows of a matrix: dst[i * width + j] = src[i * lds + j], j < columns */        \
        void (*pack_matrix)(int64_t rows, int64_t columns, const real *src, int64_t lds, int64_t width,    \
                            real *dst, const real *end);                                                   \
        /* dst[j * ldd + i] = src[i * lds + j], i < rows, j < columns */                                   \
        void (*transpose)(int64_t rows, int64_t columns, const real *src, int64_t lds, real *dst,          \
                          int64_t ldd);                                                                    \
        /* row i of src (n values, lds apart), each value at column c = low + j of row i of dst, that is at   \
           c % phases * phase_step + c / phases, for the first `kept` phases only */                       \
        void (*pad_rows)(int64_t rows, int64_t n, const real *src, int64_t lds, int64_t low,               \
                         int64_t phases, int64_t kept, real *dst, int64_t ldd, int64_t phase_step);        \
        /* dst[i] = src[i % parts * lds + i / parts], i < n; reads up to a vector beyond each part */      \
        void (*zip)(int64_t n, int64_t parts, const real *src, int64_t lds, real *dst);                    \
        /* dst[i * ldd + j] += src[i * lds + j], i < rows, j < columns */                                  \
        void (*add)(int64_t rows, int64_t columns, const real *src, int64_t lds, real *dst, int64_t ldd);  \
        /* dst[j] += sum_i src[i * lds + j], i < rows, j < columns */                                      \
        void (*sum_rows)(int64_t rows, int64_t columns, const real *src, int64_t lds, real *dst);          \
        /* the sum of n values */                                                                          \
        real (*sum)(int64_t n, const real *src);                                                           \
    } name;

CK_TILE_TABLE(float, ck_tile_f32)
CK_TILE_TABLE(double, ck_tile_f64)

#endif
