/* Register tiles for one REAL.  Bodies are inlined with constant bounds, so that accumulators live in
   registers: the largest tile leaves room for the vectors of B and one of A among the 16 (AVX-512: 32). */
#ifndef CK_TILE_SIZES
#define CK_TILE_SIZES
#if VBYTES == 64
#define MR 8
#define NV 3
#define DOT_M 4
#define DOT_N 6
#else
#define MR 6
#define NV 2
#define DOT_M 3
#define DOT_N 4
#endif

typedef float four_f32 __attribute__((vector_size(16), aligned(4), may_alias));
typedef double two_f64 __attribute__((vector_size(16), aligned(8), may_alias));

ALWAYS_INLINE void transpose_square_f32(const float *src, int64_t lds, float *dst, int64_t ldd)
{
    const four_f32 a = *(const four_f32 *)src, b = *(const four_f32 *)(src + lds);
    const four_f32 c = *(const four_f32 *)(src + 2 * lds), d = *(const four_f32 *)(src + 3 * lds);
    const four_f32 ac_low = __builtin_shufflevector(a, c, 0, 4, 1, 5);
    const four_f32 ac_high = __builtin_shufflevector(a, c, 2, 6, 3, 7);
    const four_f32 bd_low = __builtin_shufflevector(b, d, 0, 4, 1, 5);
    const four_f32 bd_high = __builtin_shufflevector(b, d, 2, 6, 3, 7);
    *(four_f32 *)dst = __builtin_shufflevector(ac_low, bd_low, 0, 4, 1, 5);
    *(four_f32 *)(dst + ldd) = __builtin_shufflevector(ac_low, bd_low, 2, 6, 3, 7);
    *(four_f32 *)(dst + 2 * ldd) = __builtin_shufflevector(ac_high, bd_high, 0, 4, 1, 5);
    *(four_f32 *)(dst + 3 * ldd) = __builtin_shufflevector(ac_high, bd_high, 2, 6, 3, 7);
}

ALWAYS_INLINE void transpose_square_f64(const double *src, int64_t lds, double *dst, int64_t ldd)
{
    const two_f64 a = *(const two_f64 *)src, b = *(const two_f64 *)(src + lds);
    *(two_f64 *)dst = __builtin_shufflevector(a, b, 0, 2);
    *(two_f64 *)(dst + ldd) = __builtin_shufflevector(a, b, 1, 3);
}

/* Of two vectors one after the other: the even and the odd lanes, and each half of the two zipped. */
#define EVEN_2 0, 2
#define EVEN_4 EVEN_2, 4, 6
#define EVEN_8 EVEN_4, 8, 10, 12, 14
#define EVEN_16 EVEN_8, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD_2 1, 3
#define ODD_4 ODD_2, 5, 7
#define ODD_8 ODD_4, 9, 11, 13, 15
#define ODD_16 ODD_8, 17, 19, 21, 23, 25, 27, 29, 31
#define ZIP_LOW_2 0, 2
#define ZIP_LOW_4 0, 4, 1, 5
#define ZIP_LOW_8 0, 8, 1, 9, 2, 10, 3, 11
#define ZIP_LOW_16 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define ZIP_HIGH_2 1, 3
#define ZIP_HIGH_4 2, 6, 3, 7
#define ZIP_HIGH_8 4, 12, 5, 13, 6, 14, 7, 15
#define ZIP_HIGH_16 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31

#if VBYTES == 64
#define LANES_f32(list) list##_16
#define LANES_f64(list) list##_8
#elif VBYTES == 32
#define LANES_f32(list) list##_8
#define LANES_f64(list) list##_4
#else
#define LANES_f32(list) list##_4
#define LANES_f64(list) list##_2
#endif

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 36")
#endif

#endif

#define LOAD(p) (*(const VEC *)(p))
#define STORE(p, v) (*(VEC *)(p) = (v))
#define LANES(list) NAME(LANES)(list)

/* --- outer tiles -------------------------------------------------------------------------- */

ALWAYS_INLINE VEC NAME(relu_vector)(VEC v)
{
    const VEC zero = {0};
    return (VEC)((IVEC)v & ~(v < zero)); /* keeps NaN */
}

/* A(i, k) = a[i][a_at ? a_at[k] : k * a_step] */
ALWAYS_INLINE void NAME(outer_body)(const int m, const int nv, int64_t k, const REAL *const *a,
                                    int64_t a_step,
                                    const int64_t *a_at, const REAL *b, int64_t ldb, REAL *c, int64_t ldc,
                                    int mode, const REAL *bias)
{
    enum { AHEAD = 24 };
    VEC acc[MR][NV];
    const REAL *row[MR];
    const VEC zero = {0};

    UNROLL
    for (int i = 0; i < m; i++) {
        row[i] = a[i];
        UNROLL
        for (int v = 0; v < nv; v++)
            acc[i][v] = zero;
    }
    for (int64_t j = 0; j < k; j++) {
        const int64_t at = a_at ? a_at[j] : j * a_step;
        if (a_at && (mode & TILE_FETCH) && j + AHEAD < k) /* rows beside one another share lines */
            __builtin_prefetch(a[j % m] + a_at[j + AHEAD]);
        VEC bv[NV];
        UNROLL
        for (int v = 0; v < nv; v++)
            bv[v] = LOAD(b + v * VL);
        UNROLL
        for (int i = 0; i < m; i++) {
            const VEC scalar = row[i][at] - zero;
            UNROLL
            for (int v = 0; v < nv; v++)
                acc[i][v] += scalar * bv[v];
        }
        b += ldb;
    }
#define FOR_TILE                                                                                            \
    UNROLL for (int i = 0; i < m; i++)                                                                     \
        UNROLL for (int v = 0; v < nv; v++)
    if (mode & TILE_ADD)
        FOR_TILE acc[i][v] += LOAD(c + i * ldc + v * VL);
    if (mode & TILE_ROW_BIAS)
        FOR_TILE acc[i][v] += bias[i];
    if (mode & TILE_COLUMN_BIAS)
        FOR_TILE acc[i][v] += LOAD(bias + v * VL);
    if (mode & TILE_RELU)
        FOR_TILE acc[i][v] = NAME(relu_vector)(acc[i][v]);
    FOR_TILE STORE(c + i * ldc + v * VL, acc[i][v]);
#undef FOR_TILE
}

typedef void NAME(outer_t)(int64_t k, const REAL *const *a, int64_t a_step, const REAL *b, int64_t ldb,
                           REAL *c,
                           int64_t ldc, int mode, const REAL *bias);
typedef void NAME(outer_at_t)(int64_t k, const REAL *const *a, const int64_t *a_at, const REAL *b,
                              int64_t ldb, REAL *c, int64_t ldc, int mode, const REAL *bias);

#define OUTER_TILE(m, nv)                                                                                  \
    static void NAME(outer_##m##x##nv)(int64_t k, const REAL *const *a, int64_t a_step, const REAL *b,     \
                                       int64_t ldb, REAL *c, int64_t ldc, int mode, const REAL *bias)      \
    {                                                                                                      \
        NAME(outer_body)(m, nv, k, a, a_step, NULL, b, ldb, c, ldc, mode, bias);                           \
    }                                                                                                      \
    static void NAME(outer_at_##m##x##nv)(int64_t k, const REAL *const *a, const int64_t *a_at,            \
                                          const REAL *b, int64_t ldb, REAL *c, int64_t ldc, int mode,      \
                                          const REAL *bias)                                                \
    {                                                                                                      \
        NAME(outer_body)(m, nv, k, a, 0, a_at, b, ldb, c, ldc, mode, bias);                                \
    }

#if NV == 3
#define OUTER_ROW(m) OUTER_TILE(m, 1) OUTER_TILE(m, 2) OUTER_TILE(m, 3)
#define OUTER_NAMES(f, m) {NAME(f##_##m##x1), NAME(f##_##m##x2), NAME(f##_##m##x3)},
#else
#define OUTER_ROW(m) OUTER_TILE(m, 1) OUTER_TILE(m, 2)
#define OUTER_NAMES(f, m) {NAME(f##_##m##x1), NAME(f##_##m##x2)},
#endif
#if MR == 8
#define OUTER_ALL_NAMES(f)                                                                                 \
    {OUTER_NAMES(f, 1) OUTER_NAMES(f, 2) OUTER_NAMES(f, 3) OUTER_NAMES(f, 4)                               \
     OUTER_NAMES(f, 5) OUTER_NAMES(f, 6) OUTER_NAMES(f, 7) OUTER_NAMES(f, 8)}
#else
#define OUTER_ALL_NAMES(f)                                                                                 \
    {OUTER_NAMES(f, 1) OUTER_NAMES(f, 2) OUTER_NAMES(f, 3)                                                 \
     OUTER_NAMES(f, 4) OUTER_NAMES(f, 5) OUTER_NAMES(f, 6)}
#endif

OUTER_ROW(1) OUTER_ROW(2) OUTER_ROW(3) OUTER_ROW(4) OUTER_ROW(5) OUTER_ROW(6)
#if MR == 8
OUTER_ROW(7) OUTER_ROW(8)
#endif

static NAME(outer_t) *const NAME(outer_tiles)[MR][NV] = OUTER_ALL_NAMES(outer);
static NAME(outer_at_t) *const NAME(outer_at_tiles)[MR][NV] = OUTER_ALL_NAMES(outer_at);

static void NAME(outer)(int m, int nv, int64_t k, const REAL *const *a, int64_t a_step, const REAL *b,
                        int64_t ldb, REAL *c, int64_t ldc, int mode, const REAL *bias)
{
    NAME(outer_tiles)[m - 1][nv - 1](k, a, a_step, b, ldb, c, ldc, mode, bias);
}

static void NAME(outer_at)(int m, int nv, int64_t k, const REAL *const *a, const int64_t *a_at, const REAL *b,
                           int64_t ldb, REAL *c, int64_t ldc, int mode, const REAL *bias)
{
    NAME(outer_at_tiles)[m - 1][nv - 1](k, a, a_at, b, ldb, c, ldc, mode, bias);
}

/* --- dot tiles ---------------------------------------------------------------------------- */

ALWAYS_INLINE void NAME(dot_body)(const int m, const int n, int64_t k, const REAL *a, int64_t lda,
                                  const REAL *b, int64_t ldb, REAL *c, int64_t ldc, int mode,
                                  const REAL *bias)
{
    VEC acc[DOT_M][DOT_N];
    const VEC zero = {0};
    const int64_t whole = k - k % VL;

    UNROLL
    for (int i = 0; i < m; i++)
        UNROLL
        for (int j = 0; j < n; j++)
            acc[i][j] = zero;
    for (int64_t at = 0; at < whole; at += VL) {
        VEC av[DOT_M];
        UNROLL
        for (int i = 0; i < m; i++)
            av[i] = LOAD(a + i * lda + at);
        UNROLL
        for (int j = 0; j < n; j++) {
            const VEC bv = LOAD(b + j * ldb + at);
            UNROLL
            for (int i = 0; i < m; i++)
                acc[i][j] += av[i] * bv;
        }
    }
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            REAL value = NAME(lanes_sum)(acc[i][j]);
            for (int64_t at = whole; at < k; at++)
                value += a[i * lda + at] * b[j * ldb + at];
            if (mode & TILE_ADD)
                value += c[i * ldc + j];
            if (mode & TILE_COLUMN_BIAS)
                value += bias[j];
            if (mode & TILE_RELU)
                value = value < 0 ? 0 : value;
            c[i * ldc + j] = value;
        }
}

static void NAME(dot)(int m, int n, int64_t k, const REAL *a, int64_t lda, const REAL *b, int64_t ldb,
                      REAL *c,
                      int64_t ldc, int mode, const REAL *bias)
{
#define WHOLE(rows)                                                                                        \
    if (m == (rows) && n == DOT_N) {                                                                       \
        NAME(dot_body)(rows, DOT_N, k, a, lda, b, ldb, c, ldc, mode, bias);                                \
        return;                                                                                            \
    }
    WHOLE(1)
    WHOLE(2)
    WHOLE(DOT_M)
#undef WHOLE
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++)
            NAME(dot_body)(1, 1, k, a + i * lda, lda, b + j * ldb, ldb, c + i * ldc + j, ldc, mode,
                           bias ? bias + j : NULL);
}

/* --- moving data -------------------------------------------------------------------------- */

#define PART_TYPE(count)                                                                                    \
    typedef REAL NAME(part##count)                                                                         \
        __attribute__((vector_size((count) * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
PART_TYPE(8) PART_TYPE(4) PART_TYPE(2)
#undef PART_TYPE
#define PART(count, p) (*(NAME(part##count) *)(p))

ALWAYS_INLINE void NAME(store_upto)(int64_t n, REAL *p, VEC v)
{
    if (n >= VL)
        STORE(p, v);
    else if (n > 0)
        NAME(store_lanes)(n, p, v);
}

ALWAYS_INLINE VEC NAME(load_upto)(int64_t n, const REAL *p)
{
    const VEC zero = {0};
    return n >= VL ? LOAD(p) : n > 0 ? NAME(load_lanes)(n, p) : zero;
}

/* Copies by whole vectors: reads and writes up to a vector less one value too much. */
ALWAYS_INLINE void NAME(copy_over)(int64_t n, const REAL *src, REAL *dst)
{
    for (int64_t i = 0; i < n; i += VL)
        STORE(dst + i, LOAD(src + i));
}

static void NAME(copy_exactly)(int64_t n, const REAL *src, REAL *dst)
{
    for (int64_t i = 0; i < n; i++)
        dst[i] = src[i];
}

static void NAME(pack)(int64_t n, const REAL *src, const int64_t *row_at, int64_t pieces,
                       const int64_t *piece_at,
                       const int64_t *piece_length, int64_t width, REAL *dst, const REAL *end)
{
    const VEC zero = {0};
    int64_t reach = 0, filled = 0;
    for (int64_t p = 0; p < pieces; p++) {
        const int64_t piece_end = piece_at[p] + piece_length[p] + VL - 1;
        reach = reach < piece_end ? piece_end : reach;
        filled += piece_length[p];
    }
    for (int64_t k = 0; k < n; k++, dst += width) {
        const REAL *row = src + row_at[k];
        REAL *to = dst;
        if (row + reach <= end && k + 1 < n)
            for (int64_t p = 0; p < pieces; to += piece_length[p++])
                NAME(copy_over)(piece_length[p], row + piece_at[p], to);
        else
            for (int64_t p = 0; p < pieces; to += piece_length[p++])
                NAME(copy_exactly)(piece_length[p], row + piece_at[p], to);
        for (int64_t i = filled; i < width; i += VL)
            NAME(store_upto)(width - i, dst + i, zero);
    }
}

static void NAME(pack_matrix)(int64_t rows, int64_t columns, const REAL *src, int64_t lds, int64_t width,
                              REAL *dst,
                              const REAL *end)
{
    for (int64_t i = 0; i < rows; i++, src += lds, dst += width) {
        if (src + columns + VL - 1 <= end)
            NAME(copy_over)(columns, src, dst);
        else
            NAME(copy_exactly)(columns, src, dst);
        for (int64_t j = columns; j < width; j++)
            dst[j] = 0;
    }
}

static void NAME(pad_rows)(int64_t rows, int64_t n, const REAL *src, int64_t lds, int64_t low,
                           int64_t phases, int64_t kept, REAL *dst, int64_t ldd, int64_t phase_step)
{
    if (phases == 1) {
        for (int64_t i = 0; i < rows; i++, src += lds, dst += ldd)
            for (int64_t j = 0; j < n; j += VL)
                NAME(store_upto)(n - j, dst + low + j, NAME(load_upto)(n - j, src + j));
        return;
    }
    if (phases == 2 && kept == 2) {
        REAL *even = dst + low % 2 * phase_step + low / 2, *odd = dst + (low + 1) % 2 * phase_step + (low + 1) / 2;
        for (int64_t i = 0; i < rows; i++, src += lds, even += ldd, odd += ldd)
            for (int64_t j = 0; j < n; j += 2 * VL) {
                const VEC a = NAME(load_upto)(n - j, src + j), b = NAME(load_upto)(n - j - VL, src + j + VL);
                NAME(store_upto)((n - j + 1) / 2, even + j / 2, __builtin_shufflevector(a, b, LANES(EVEN)));
                NAME(store_upto)((n - j) / 2, odd + j / 2, __builtin_shufflevector(a, b, LANES(ODD)));
            }
        return;
    }
    if (phases == 2) {
        const int64_t first = low % 2;
        for (int64_t i = 0; i < rows; i++, src += lds, dst += ldd)
            for (int64_t j = first; j < n; j += 2 * VL) {
                const VEC a = NAME(load_upto)(n - j, src + j), b = NAME(load_upto)(n - j - VL, src + j + VL);
                NAME(store_upto)((n - j + 1) / 2, dst + (low + j) / 2,
                                 __builtin_shufflevector(a, b, LANES(EVEN)));
            }
        return;
    }
    for (int64_t i = 0; i < rows; i++, src += lds, dst += ldd)
        for (int64_t j = 0; j < n; j++)
            if ((low + j) % phases < kept)
                dst[(low + j) % phases * phase_step + (low + j) / phases] = src[j];
}

static void NAME(zip)(int64_t n, int64_t parts, const REAL *src, int64_t lds, REAL *dst)
{
    if (parts != 2) {
        for (int64_t i = 0; i < n; i++)
            dst[i] = src[i % parts * lds + i / parts];
        return;
    }
    for (int64_t i = 0; i < n; i += 2 * VL) {
        const VEC even = NAME(load_upto)((n - i + 1) / 2, src + i / 2);
        const VEC odd = NAME(load_upto)((n - i) / 2, src + lds + i / 2);
        NAME(store_upto)(n - i, dst + i, __builtin_shufflevector(even, odd, LANES(ZIP_LOW)));
        NAME(store_upto)(n - i - VL, dst + i + VL, __builtin_shufflevector(even, odd, LANES(ZIP_HIGH)));
    }
}

/* A square of a line by a line through a buffer, so that each line of dst is written at once. */
ALWAYS_INLINE void NAME(transpose_lines)(const REAL *src, int64_t lds, REAL *dst, int64_t ldd)
{
    enum { SIDE = 16 / sizeof(REAL), LINE = 64 / sizeof(REAL) };
    REAL turned[LINE * LINE];
    for (int i = 0; i < LINE; i += SIDE)
        for (int j = 0; j < LINE; j += SIDE)
            NAME(transpose_square)(src + i * lds + j, lds, turned + j * LINE + i, LINE);
    for (int j = 0; j < LINE; j++)
        for (int i = 0; i < LINE; i += VL)
            STORE(dst + j * ldd + i, LOAD(turned + j * LINE + i));
}

/* Some rows, as many as a square is high or as make a line.  They are too many streams for the hardware to follow, so
   what comes next in each is asked for. */
ALWAYS_INLINE void NAME(transpose_some)(const int rows, int64_t columns, const REAL *src, int64_t lds, REAL *dst,
                                        int64_t ldd)
{
    enum { SIDE = 16 / sizeof(REAL), LINE = 64 / sizeof(REAL), AHEAD = 4 * LINE };
    int64_t j = 0;
    for (; j + SIDE <= columns; j += SIDE) {
        if (j % LINE == 0)
            for (int row = 0; row < rows; row++)
                __builtin_prefetch(src + row * lds + j + AHEAD);
        if (rows == LINE && j % LINE == 0 && j + LINE <= columns) {
            NAME(transpose_lines)(src + j, lds, dst + j * ldd, ldd);
            j += LINE - SIDE;
        } else {
            for (int row = 0; row < rows; row += SIDE)
                NAME(transpose_square)(src + row * lds + j, lds, dst + j * ldd + row, ldd);
        }
    }
    for (; j < columns; j++)
        for (int row = 0; row < rows; row++)
            dst[j * ldd + row] = src[row * lds + j];
}

/* By squares of four by four values (two by two, for doubles): 16-byte vectors serve every level equally well.
   A run of columns is done for all rows before the next, so that what is written stays in the first-level cache.  Lines
   a multiple of 512 bytes apart share so few sets of it that they would be thrown out between two pieces: they are
   written whole. */
static void NAME(transpose)(int64_t rows, int64_t columns, const REAL *src, int64_t lds, REAL *dst,
                            int64_t ldd)
{
    enum { SIDE = 16 / sizeof(REAL), LINE = 64 / sizeof(REAL), RUN = 8 * LINE };
    const int crowded = ldd * sizeof(REAL) % 512 == 0;
    for (int64_t j0 = 0; j0 < columns; j0 += RUN) {
        const int64_t count = j0 + RUN < columns ? RUN : columns - j0;
        const REAL *from = src + j0;
        REAL *to = dst + j0 * ldd;
        int64_t i = 0;
        for (; crowded && i + LINE <= rows; i += LINE)
            NAME(transpose_some)(LINE, count, from + i * lds, lds, to + i, ldd);
        for (; i + SIDE <= rows; i += SIDE)
            NAME(transpose_some)(SIDE, count, from + i * lds, lds, to + i, ldd);
        for (; i < rows; i++)
            for (int64_t j = 0; j < count; j++)
                to[j * ldd + i] = from[i * lds + j];
    }
}

static void NAME(add_rows)(int64_t rows, int64_t columns, const REAL *src, int64_t lds, REAL *dst,
                           int64_t ldd)
{
    for (int64_t i = 0; i < rows; i++, src += lds, dst += ldd) {
        int64_t j = 0;
        for (; j + VL <= columns; j += VL)
            STORE(dst + j, LOAD(dst + j) + LOAD(src + j));
#define ADD_PART(count)                                                                                    \
    if (VL > (count) && (columns & (count))) {                                                             \
        PART(count, dst + j) += PART(count, src + j);                                                      \
        j += (count);                                                                                      \
    }
        ADD_PART(8)
        ADD_PART(4)
        ADD_PART(2)
#undef ADD_PART
        if (j < columns)
            dst[j] += src[j];
    }
}

/* The sum of rows, by halves: thousands of values added one after the other would lose two digits. */
static VEC NAME(pairwise)(int64_t rows, const REAL *src, int64_t lds)
{
    enum { FEW = 32 };
    if (rows > FEW)
        return NAME(pairwise)(rows / 2, src, lds) + NAME(pairwise)(rows - rows / 2, src + rows / 2 * lds, lds);
    VEC total = {0};
    for (int64_t i = 0; i < rows; i++)
        total += LOAD(src + i * lds);
    return total;
}

static void NAME(sum_rows)(int64_t rows, int64_t columns, const REAL *src, int64_t lds, REAL *dst)
{
    int64_t j = 0;
    for (; j + VL <= columns; j += VL)
        STORE(dst + j, LOAD(dst + j) + NAME(pairwise)(rows, src + j, lds));
    for (; j < columns; j++) {
        double total = 0;
        for (int64_t i = 0, end; i < rows;) {
            REAL some = 0;
            for (end = rows - i < SUM_TERMS ? rows : i + SUM_TERMS; i < end; i++)
                some += src[i * lds + j];
            total += some;
        }
        dst[j] += (REAL)total;
    }
}

static REAL NAME(sum_of_stretch)(int64_t n, const REAL *src)
{
    enum { CHAINS = 4 };
    VEC total[CHAINS] = {{0}};
    int64_t i = 0;
    for (; i + CHAINS * VL <= n; i += CHAINS * VL)
        UNROLL
        for (int chain = 0; chain < CHAINS; chain++)
            total[chain] += LOAD(src + i + chain * VL);
    for (; i + VL <= n; i += VL)
        total[0] += LOAD(src + i);
    REAL value = NAME(lanes_sum)((total[0] + total[1]) + (total[2] + total[3]));
    for (; i < n; i++)
        value += src[i];
    return value;
}

static REAL NAME(sum)(int64_t n, const REAL *src)
{
    double total = 0;
    for (int64_t i = 0; i < n; i += SUM_STRETCH)
        total += NAME(sum_of_stretch)(n - i < SUM_STRETCH ? n - i : SUM_STRETCH, src + i);
    return (REAL)total;
}

#ifndef TILE_TABLE_f32
#define TILE_TABLE(suffix)                                                                                 \
    {                                                                                                      \
        .vl = VL_##suffix, .mr = MR, .nv = NV, .dot_m = DOT_M, .dot_n = DOT_N,                             \
        .outer = outer_##suffix, .outer_at = outer_at_##suffix, .dot = dot_##suffix,                       \
        .pack = pack_##suffix, .pack_matrix = pack_matrix_##suffix,                                        \
        .transpose = transpose_##suffix, .pad_rows = pad_rows_##suffix, .zip = zip_##suffix,               \
        .add = add_rows_##suffix,                                                                          \
        .sum_rows = sum_rows_##suffix, .sum = sum_##suffix,                                                \
    }
#define VL_f32 VL_F32
#define VL_f64 VL_F64
#define TILE_TABLE_f32 TILE_TABLE(f32)
#define TILE_TABLE_f64 TILE_TABLE(f64)
#endif

#undef LOAD
#undef PART
#undef STORE
#undef LANES
#undef OUTER_TILE
#undef OUTER_ROW
#undef OUTER_NAMES
#undef OUTER_ALL_NAMES
