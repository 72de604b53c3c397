/* Kernels of micro_lanes.h for one REAL.  A pixel is WIDE vectors; the tiles work on SHARE of them at a time and
   repeat for the others, so that accumulators stay in registers at every level. */
#ifndef CK_LANES_SIZES
#define CK_LANES_SIZES
#define WIDE (CK_PIXEL_BYTES / VBYTES)
#if VBYTES == 64
#define GATHER_M 8
#define GATHER_P 3
#define SHARE 1
#define CORRELATE_M 5
#define CORRELATE_N 5
#else
#define GATHER_M 6
#define GATHER_P 1
#define SHARE 2
#define CORRELATE_M 3
#define CORRELATE_N 4
#endif
#define SINGLE_P 4
#define FETCH_AHEAD (2048 / (int)sizeof(REAL))
#endif

#define LANES (WIDE * VL)
#define LOAD(p) (*(const VEC *)(p))
#define STORE(p, v) (*(VEC *)(p) = (v))

/* --- gather: convolution and its adjoint ------------------------------------------------------------------ */

ALWAYS_INLINE void NAME(gather_body)(const int m, const int pixels, int64_t taps, int64_t depth, const REAL *a,
                                     const int64_t *a_at, const REAL *const *b, const int64_t *b_at,
                                     int64_t b_step, REAL *const *c, int64_t c_step, int mode, const REAL *bias)
{
    for (int64_t part = 0; part < LANES; part += SHARE * VL) {
        VEC acc[GATHER_M][GATHER_P * SHARE];
        const VEC zero = {0};
        UNROLL
        for (int i = 0; i < m; i++)
            UNROLL
            for (int v = 0; v < pixels * SHARE; v++)
                acc[i][v] = zero;
        for (int64_t t = 0; t < taps; t++) {
            const REAL *scalar = a + a_at[t] * depth * m;
            const REAL *from[GATHER_P];
            UNROLL
            for (int p = 0; p < pixels; p++)
                from[p] = b[p] + b_at[t] + part;
            for (int64_t k = 0; k < depth; k++) {
                VEC bv[GATHER_P * SHARE];
                UNROLL
                for (int v = 0; v < pixels * SHARE; v++)
                    bv[v] = LOAD(from[v / SHARE] + k * b_step + v % SHARE * VL);
                UNROLL
                for (int i = 0; i < m; i++) {
                    const VEC weight = scalar[i] - zero;
                    UNROLL
                    for (int v = 0; v < pixels * SHARE; v++)
                        acc[i][v] += weight * bv[v];
                }
                scalar += m;
            }
        }
        UNROLL
        for (int i = 0; i < m; i++)
            UNROLL
            for (int v = 0; v < pixels * SHARE; v++) {
                VEC value = acc[i][v];
                if (mode & GATHER_BIAS)
                    value += bias[i];
                if (mode & GATHER_RELU)
                    value = NAME(relu_vector)(value);
                STORE(c[v / SHARE] + i * c_step + part + v % SHARE * VL, value);
            }
    }
}

typedef void NAME(gather_t)(int64_t taps, int64_t depth, const REAL *a, const int64_t *a_at, const REAL *const *b,
                            const int64_t *b_at, int64_t b_step, REAL *const *c, int64_t c_step, int mode,
                            const REAL *bias);

#define GATHER_TILE(m, pixels)                                                                             \
    static void NAME(gather_##m##x##pixels)(int64_t taps, int64_t depth, const REAL *a,                    \
                                            const int64_t *a_at, const REAL *const *b,                     \
                                            const int64_t *b_at, int64_t b_step, REAL *const *c,           \
                                            int64_t c_step, int mode, const REAL *bias)                    \
    {                                                                                                      \
        NAME(gather_body)(m, pixels, taps, depth, a, a_at, b, b_at, b_step, c, c_step, mode, bias);        \
    }
#if GATHER_P == 3
#define GATHER_ROW(m) GATHER_TILE(m, 1) GATHER_TILE(m, 2) GATHER_TILE(m, 3)
#define GATHER_NAMES(m) {NAME(gather_##m##x1), NAME(gather_##m##x2), NAME(gather_##m##x3)}
#else
#define GATHER_ROW(m) GATHER_TILE(m, 1)
#define GATHER_NAMES(m) {NAME(gather_##m##x1)}
#endif

GATHER_ROW(1) GATHER_ROW(2) GATHER_ROW(3) GATHER_ROW(4) GATHER_ROW(5) GATHER_ROW(6)
#if GATHER_M == 8
GATHER_ROW(7) GATHER_ROW(8)
#endif

static NAME(gather_t) *const NAME(gather_tiles)[GATHER_M][GATHER_P] = {
    GATHER_NAMES(1), GATHER_NAMES(2), GATHER_NAMES(3), GATHER_NAMES(4), GATHER_NAMES(5), GATHER_NAMES(6),
#if GATHER_M == 8
    GATHER_NAMES(7), GATHER_NAMES(8),
#endif
};

static void NAME(gather)(int m, int pixels, int64_t taps, int64_t depth, const REAL *a, const int64_t *a_at,
                         const REAL *const *b, const int64_t *b_at, int64_t b_step, REAL *const *c,
                         int64_t c_step, int mode, const REAL *bias)
{
    NAME(gather_tiles)[m - 1][pixels - 1](taps, depth, a, a_at, b, b_at, b_step, c, c_step, mode, bias);
}

/* --- a single channel on either side: depthwise convolution ----------------------------------------------- */

ALWAYS_INLINE void NAME(gather_single_body)(const int pixels, int64_t taps, const REAL *a, const int64_t *a_at,
                                            const REAL *b, const int64_t *b_at, const int64_t *base, REAL *c,
                                            const int64_t *output, int mode, REAL bias, int64_t ahead)
{
    for (int64_t part = 0; part < LANES; part += SHARE * VL) {
        VEC acc[SINGLE_P * SHARE];
        const VEC zero = {0};
        const REAL *from[SINGLE_P];
        UNROLL
        for (int p = 0; p < pixels; p++) {
            from[p] = b + base[p] + part;
            __builtin_prefetch(from[p] + ahead, 0, 3);
            __builtin_prefetch(c + output[p] + part + FETCH_AHEAD, 1, 3);
        }
        UNROLL
        for (int v = 0; v < pixels * SHARE; v++)
            acc[v] = zero;
        for (int64_t t = 0; t < taps; t++) {
            const VEC weight = a[a_at[t]] - zero;
            UNROLL
            for (int v = 0; v < pixels * SHARE; v++)
                acc[v] += weight * LOAD(from[v / SHARE] + b_at[t] + v % SHARE * VL);
        }
        UNROLL
        for (int v = 0; v < pixels * SHARE; v++) {
            VEC value = acc[v];
            if (mode & GATHER_BIAS)
                value += bias;
            if (mode & GATHER_RELU)
                value = NAME(relu_vector)(value);
            STORE(c + output[v / SHARE] + part + v % SHARE * VL, value);
        }
    }
}

/* It is bound by memory; the hardware's fetchers stop at the end of each page, so what comes after the last tap is asked for. */
static void NAME(gather_single)(int64_t count, int64_t taps, const REAL *a, const int64_t *a_at, const REAL *b,
                                const int64_t *b_at, const int64_t *base, REAL *c, const int64_t *output, int mode,
                                REAL bias)
{
    const int64_t ahead = FETCH_AHEAD + (taps > 0 ? b_at[taps - 1] : 0);
    int64_t p = 0;
    for (; p + SINGLE_P <= count; p += SINGLE_P)
        NAME(gather_single_body)(SINGLE_P, taps, a, a_at, b, b_at, base + p, c, output + p, mode, bias, ahead);
    for (; p < count; p++)
        NAME(gather_single_body)(1, taps, a, a_at, b, b_at, base + p, c, output + p, mode, bias, ahead);
}

/* --- correlate: the gradient of the weights --------------------------------------------------------------- */

ALWAYS_INLINE void NAME(correlate_body)(const int m, const int n, int64_t blocks, int64_t rows, int64_t columns,
                                        const REAL *a, int64_t a_step, int64_t a_block, const REAL *b,
                                        const int64_t *b_at, int64_t b_block, const int64_t *row_at, int64_t b_column,
                                        REAL *sums)
{
    UNROLL
    for (int i = 0; i < m * n; i++)
        sums[i] = 0;
    for (int64_t part = 0; part < LANES; part += VL) {
        VEC acc[CORRELATE_M][CORRELATE_N];
        const VEC zero = {0};
        UNROLL
        for (int i = 0; i < m; i++)
            UNROLL
            for (int j = 0; j < n; j++)
                acc[i][j] = zero;
        for (int64_t block = 0; block < blocks; block++) {
            const REAL *left = a + block * a_block + part;
            for (int64_t row = 0; row < rows; row++) {
                const REAL *right[CORRELATE_N];
                UNROLL
                for (int j = 0; j < n; j++)
                    right[j] = b + b_at[j] + block * b_block + row_at[row] + part;
                int64_t at = 0;
                for (int64_t column = 0; column < columns; column++) {
                    VEC av[CORRELATE_M];
                    UNROLL
                    for (int i = 0; i < m; i++)
                        av[i] = LOAD(left + i * a_step);
                    UNROLL
                    for (int j = 0; j < n; j++) {
                        const VEC bv = LOAD(right[j] + at);
                        UNROLL
                        for (int i = 0; i < m; i++)
                            acc[i][j] += av[i] * bv;
                    }
                    left += LANES;
                    at += b_column;
                }
            }
        }
        UNROLL
        for (int i = 0; i < m; i++)
            UNROLL
            for (int j = 0; j < n; j++)
                sums[i * n + j] += NAME(lanes_sum)(acc[i][j]);
    }
}

static void NAME(correlate)(int m, int n, int64_t blocks, int64_t rows, int64_t columns, const REAL *a,
                            int64_t a_step, int64_t a_block, const REAL *b, const int64_t *b_at, int64_t b_block,
                            const int64_t *row_at, int64_t b_column, REAL *sums)
{
#define TILE(mm, nn)                                                                                        \
    if (m == (mm) && n == (nn)) {                                                                           \
        NAME(correlate_body)(mm, nn, blocks, rows, columns, a, a_step, a_block, b, b_at, b_block, row_at,   \
                             b_column, sums);                                                               \
        return;                                                                                             \
    }
#define TILE_ROW(mm) TILE(mm, 1) TILE(mm, 2) TILE(mm, 3) TILE(mm, 4) TILE_FIFTH(mm)
#if CORRELATE_N == 5
#define TILE_FIFTH(mm) TILE(mm, 5)
#else
#define TILE_FIFTH(mm)
#endif
    TILE_ROW(1)
    TILE_ROW(2)
    TILE_ROW(3)
#if CORRELATE_M == 5
    TILE_ROW(4)
    TILE_ROW(5)
#endif
#undef TILE_FIFTH
#undef TILE_ROW
#undef TILE
}

/* --- pooling ---------------------------------------------------------------------------------------------- */

/* Codes are bytes, one a lane; in registers they are as wide as the values. */
#define BYTES_TYPE typedef uint8_t NAME(bytes) __attribute__((vector_size(VL), aligned(1), may_alias));
BYTES_TYPE
#undef BYTES_TYPE

/* The taps of window o.  A row of pairs has its bounds known when this is compiled. */
#define FOR_TAPS(pairs, w, o, at, code)                                                                      \
    for (int64_t row = 0, code0 = (w)->row_code; row < ((pairs) ? 2 : (w)->rows);                            \
         row++, code0 += (w)->row_codes)                                                                     \
        for (int64_t tap = (pairs) ? 0 : (w)->low[o], code = code0 + tap, step = (pairs) ? 1 : (w)->dilation, \
                     at = row * (w)->row_step + (((pairs) ? 2 * o : (w)->first[o]) + tap * step) * LANES;    \
             tap < ((pairs) ? 2 : (w)->high[o]); tap++, code++, at += step * LANES)

/* Defines `name` for rows of any windows by a body that takes `pairs` first. */
#define BY_PAIRS(name, parameters, ...)                                                                      \
    static void NAME(name) parameters                                                                        \
    {                                                                                                        \
        if (w->pairs)                                                                                        \
            NAME(name##_body)(1, __VA_ARGS__);                                                               \
        else                                                                                                 \
            NAME(name##_body)(0, __VA_ARGS__);                                                               \
    }

/* Asks for what lies below window o, which the next row of windows reads: the hardware's fetchers stop at the end of each
   page. */
ALWAYS_INLINE void NAME(fetch_below)(const int pairs, const ck_window_row *w, int64_t o, const REAL *x)
{
    const REAL *below = x + w->rows * w->row_step + (pairs ? 2 * o : w->first[o]) * LANES;
    UNROLL
    for (int row = 0; row < 2; row++)
        UNROLL
        for (int pixel = 0; pixel < 2; pixel++)
            __builtin_prefetch(below + row * w->row_step + pixel * LANES, 0, 3);
}

/* The larger of two, or what is not a number. */
ALWAYS_INLINE VEC NAME(larger_vector)(VEC value, VEC best)
{
    const IVEC better = (value > best) | (value != value);
    return (VEC)(((IVEC)value & better) | ((IVEC)best & ~better));
}

/* Where a value is the largest so far, or the first that is not a number, it and its tap take the place. */
ALWAYS_INLINE void NAME(take_larger)(VEC value, IREAL code, VEC *best, IVEC *place)
{
    const IVEC better = ((value > *best) | (value != value) | (*place == CK_NO_TAP)) & (*best == *best);
    *best = (VEC)(((IVEC)value & better) | ((IVEC)*best & ~better));
    *place = (better & code) | (*place & ~better);
}

ALWAYS_INLINE void NAME(max_row_body)(const int pairs, const ck_window_row *w, const REAL *x, REAL *y,
                                      uint8_t *codes)
{
    for (int64_t o = 0; o < w->count; o++) {
        NAME(fetch_below)(pairs, w, o, x);
        for (int64_t part = 0; part < LANES; part += VL) {
            VEC best = {0};
            IVEC place = {0};
            best -= (REAL)INFINITY;
            place += CK_NO_TAP;
            FOR_TAPS(pairs, w, o, at, code)
                NAME(take_larger)(LOAD(x + at + part), (IREAL)code, &best, &place);
            STORE(y + o * LANES + part, best);
            if (codes)
                *(NAME(bytes) *)(codes + o * LANES + part) = __builtin_convertvector(place, NAME(bytes));
        }
    }
}
BY_PAIRS(max_row, (const ck_window_row *w, const REAL *x, REAL *y, uint8_t *codes), w, x, y, codes)

/* The sum of a window with many taps: parts of it by a vector, and these in doubles. */
static VEC NAME(large_window)(const ck_window_row *w, int64_t o, const REAL *x)
{
    double parts[VL] = {0};
    VEC total = {0};
    int64_t terms = 0;
    FOR_TAPS(0, w, o, at, code) {
        total += LOAD(x + at);
        if (++terms % SUM_TERMS == 0)
            for (int lane = 0; lane < VL; lane++) {
                parts[lane] += total[lane];
                total[lane] = 0;
            }
    }
    for (int lane = 0; lane < VL; lane++)
        total[lane] = (REAL)(parts[lane] + total[lane]);
    return total;
}

ALWAYS_INLINE void NAME(mean_row_body)(const int pairs, const ck_window_row *w, const REAL *scale, const REAL *x,
                                       REAL *y)
{
    for (int64_t o = 0; o < w->count; o++) {
        NAME(fetch_below)(pairs, w, o, x);
        for (int64_t part = 0; part < LANES; part += VL) {
            VEC total = {0};
            if (!pairs && w->rows * (w->high[o] - w->low[o]) > SUM_TERMS)
                total = NAME(large_window)(w, o, x + part);
            else
                FOR_TAPS(pairs, w, o, at, code)
                    total += LOAD(x + at + part);
            STORE(y + o * LANES + part, total * scale[o]);
        }
    }
}
BY_PAIRS(mean_row, (const ck_window_row *w, const REAL *scale, const REAL *x, REAL *y), w, scale, x, y)

ALWAYS_INLINE void NAME(put)(const int add, REAL *x, VEC grad)
{
    if (add)
        grad += LOAD(x);
    STORE(x, grad);
}

ALWAYS_INLINE void NAME(max_row_grad_body)(const int pairs, const ck_window_row *w, const REAL *y,
                                           const uint8_t *codes, REAL *x)
{
    for (int64_t o = 0; o < w->count; o++)
        for (int64_t part = 0; part < LANES; part += VL) {
            const VEC grad = LOAD(y + o * LANES + part);
            const IVEC place =
                __builtin_convertvector(*(const NAME(bytes) *)(codes + o * LANES + part), IVEC);
            FOR_TAPS(pairs, w, o, at, code)
                NAME(put)(!pairs && w->add, x + at + part, (VEC)((IVEC)grad & (place == (IREAL)code)));
        }
}
BY_PAIRS(max_row_grad, (const ck_window_row *w, const REAL *y, const uint8_t *codes, REAL *x), w, y, codes, x)

ALWAYS_INLINE void NAME(mean_row_grad_body)(const int pairs, const ck_window_row *w, const REAL *scale,
                                            const REAL *y, REAL *x)
{
    for (int64_t o = 0; o < w->count; o++)
        for (int64_t part = 0; part < LANES; part += VL) {
            const VEC share = LOAD(y + o * LANES + part) * scale[o];
            FOR_TAPS(pairs, w, o, at, code)
                NAME(put)(!pairs && w->add, x + at + part, share);
        }
}
BY_PAIRS(mean_row_grad, (const ck_window_row *w, const REAL *scale, const REAL *y, REAL *x), w, scale, y, x)

#undef FOR_TAPS
#undef BY_PAIRS

#ifndef LANES_TABLE_f32
#define LANES_TABLE(suffix)                                                                                 \
    {                                                                                                       \
        .gather_rows = GATHER_M, .gather_pixels = GATHER_P, .correlate_m = CORRELATE_M,                     \
        .correlate_n = CORRELATE_N, .gather = gather_##suffix, .gather_single = gather_single_##suffix,     \
        .correlate = correlate_##suffix,                                                                    \
        .max_row = max_row_##suffix, .mean_row = mean_row_##suffix,                                         \
        .max_row_grad = max_row_grad_##suffix, .mean_row_grad = mean_row_grad_##suffix,                     \
    }
#define LANES_TABLE_f32 LANES_TABLE(f32)
#define LANES_TABLE_f64 LANES_TABLE(f64)
#endif

#undef LANES
#undef LOAD
#undef STORE
