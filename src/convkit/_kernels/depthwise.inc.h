/* Depthwise convolution for one REAL: one plane of input, one of output, lanes along the rows.

   The input is a padded copy of the plane whose columns are split by their phase modulo the stride, so that
   what output (r, j) takes from tap t lies at x[tap_at[t] + r * row_step + j]. */
#ifndef CK_DEPTHWISE_ONCE
#define CK_DEPTHWISE_ONCE

enum {
    DEPTHWISE_ROWS = 8, /* output rows at a time */
    DEPTHWISE_TAPS = 9, /* taps of the weight gradient at a time */
};

/* Whether there are registers for eight rows and nine weights. */
#define DEPTHWISE_SQUARES (VBYTES == 64)

#endif

#define LOAD(p) (*(const VEC *)(p))
#define STORE(p, v) (*(VEC *)(p) = (v))

/* --- forward ----------------------------------------------------------------------------------- */

ALWAYS_INLINE void NAME(depthwise_end)(const int rows, int64_t n, VEC *acc, int relu, REAL *y, int64_t ldy)
{
    UNROLL
    for (int r = 0; r < rows; r++)
        NAME(store_upto)(n, y + r * ldy, relu ? NAME(relu_vector)(acc[r]) : acc[r]);
}

/* At most a vector of each of some rows. */
ALWAYS_INLINE void NAME(depthwise_any)(const int rows, int64_t n, int64_t taps, const REAL *x,
                                       const int64_t *tap_at, int64_t row_step, const REAL *weight, REAL bias,
                                       int relu, REAL *y, int64_t ldy)
{
    VEC acc[DEPTHWISE_ROWS];
    const VEC zero = {0};
    UNROLL
    for (int r = 0; r < rows; r++)
        acc[r] = bias - zero;
    for (int64_t t = 0; t < taps; t++) {
        const VEC w = weight[t] - zero;
        const REAL *at = x + tap_at[t];
        UNROLL
        for (int r = 0; r < rows; r++)
            acc[r] += w * LOAD(at + r * row_step);
    }
    NAME(depthwise_end)(rows, n, acc, relu, y, ldy);
}

/* The same for 3 x 3 taps when output rows are `down` input rows apart: each input row is loaded once for all
   rows of outputs that it belongs to. */
ALWAYS_INLINE void NAME(depthwise_square)(const int down, const int rows, int64_t n, const REAL *x,
                                          const int64_t *tap_at, int64_t row_step, const REAL *weight,
                                          REAL bias, int relu, REAL *y, int64_t ldy)
{
    VEC acc[DEPTHWISE_ROWS], w[9];
    const VEC zero = {0};
    UNROLL
    for (int t = 0; t < 9; t++)
        w[t] = weight[t] - zero;
    UNROLL
    for (int r = 0; r < rows; r++)
        acc[r] = bias - zero;
    UNROLL
    for (int i = 0; i < down * (rows - 1) + 3; i++)
        UNROLL
        for (int j = 0; j < 3; j++) {
            const VEC v = LOAD(x + tap_at[j] + i * (row_step / down));
            UNROLL
            for (int k = 0; k < 3; k++)
                if (i - k >= 0 && (i - k) % down == 0 && i - k < down * rows)
                    acc[(i - k) / down] += w[3 * k + j] * v;
        }
    NAME(depthwise_end)(rows, n, acc, relu, y, ldy);
}

#define DEPTHWISE_SQUARE(down)                                                                               \
    ALWAYS_INLINE void NAME(depthwise_square##down)(                                                         \
        const int rows, int64_t n, int64_t taps, const REAL *x, const int64_t *tap_at, int64_t row_step,     \
        const REAL *weight, REAL bias, int relu, REAL *y, int64_t ldy)                                       \
    {                                                                                                        \
        NAME(depthwise_square)(down, rows, n, x, tap_at, row_step, weight, bias, relu, y, ldy);              \
    }
DEPTHWISE_SQUARE(1)
DEPTHWISE_SQUARE(2)
#undef DEPTHWISE_SQUARE

#define DEPTHWISE(name)                                                                                      \
    static void NAME(name##_rows)(int64_t rows, int64_t n, int64_t taps, const REAL *x,                      \
                                  const int64_t *tap_at, int64_t row_step, const REAL *weight, REAL bias,    \
                                  int relu, REAL *y, int64_t ldy)                                            \
    {                                                                                                        \
        const int64_t blocks = (rows + DEPTHWISE_ROWS - 1) / DEPTHWISE_ROWS;                                 \
        for (int64_t block = 0; block < blocks; block++) {                                                   \
            const int64_t i = rows * block / blocks, next = rows * (block + 1) / blocks;                     \
            for (int64_t j = 0; j < n; j += VL)                                                              \
                switch (next - i) {                                                                          \
                    DEPTHWISE_CASES(name)                                                                    \
                }                                                                                            \
        }                                                                                                    \
    }
#define DEPTHWISE_CASE(name, count)                                                                          \
    case count:                                                                                              \
        NAME(name)(count, n - j, taps, x + i * row_step + j, tap_at, row_step, weight, bias, relu,           \
                   y + i * ldy + j, ldy);                                                                    \
        break;
#define DEPTHWISE_CASES(name)                                                                                \
    DEPTHWISE_CASE(name, 1)                                                                                  \
    DEPTHWISE_CASE(name, 2)                                                                                  \
    DEPTHWISE_CASE(name, 3)                                                                                  \
    DEPTHWISE_CASE(name, 4)                                                                                  \
    DEPTHWISE_CASE(name, 5)                                                                                  \
    DEPTHWISE_CASE(name, 6)                                                                                  \
    DEPTHWISE_CASE(name, 7)                                                                                  \
    DEPTHWISE_CASE(name, 8)

DEPTHWISE(depthwise_any)
#if DEPTHWISE_SQUARES
DEPTHWISE(depthwise_square1)
DEPTHWISE(depthwise_square2)
#endif

/* How many input rows the output rows of 3 x 3 taps are apart; 0 for other taps. */
static int NAME(rows_down)(int64_t taps, const int64_t *tap_at, int64_t row_step)
{
    if (taps != 9)
        return 0;
    const int64_t step = tap_at[3] - tap_at[0];
    for (int t = 3; t < 9; t++)
        if (tap_at[t] - tap_at[t - 3] != step)
            return 0;
    return row_step == step ? 1 : row_step == 2 * step ? 2 : 0;
}

static void NAME(depthwise)(int64_t rows, int64_t n, int64_t taps, const REAL *x, const int64_t *tap_at,
                            int64_t row_step, const REAL *weight, REAL bias, int relu, REAL *y, int64_t ldy)
{
#define DEPTHWISE_ROWS_OF(name) NAME(name##_rows)(rows, n, taps, x, tap_at, row_step, weight, bias, relu, y, ldy)
#if DEPTHWISE_SQUARES
    switch (NAME(rows_down)(taps, tap_at, row_step)) {
    case 1: DEPTHWISE_ROWS_OF(depthwise_square1); return;
    case 2: DEPTHWISE_ROWS_OF(depthwise_square2); return;
    }
#endif
    DEPTHWISE_ROWS_OF(depthwise_any);
#undef DEPTHWISE_ROWS_OF
}

/* --- weight gradient --------------------------------------------------------------------------- */

/* Lanes beyond a row are left out of both factors, as what stands there may be infinite. */
ALWAYS_INLINE void NAME(depthwise_dots)(const int taps, int64_t rows, int64_t n, const REAL *x,
                                        const int64_t *tap_at, int64_t row_step, const REAL *dy, int64_t ldy,
                                        REAL *total)
{
    VEC acc[DEPTHWISE_TAPS];
    const int64_t whole = n - n % VL;
    UNROLL
    for (int t = 0; t < taps; t++)
        acc[t] = LOAD(total + t * VL);
    for (int64_t i = 0; i < rows; i++, x += row_step, dy += ldy) {
        for (int64_t j = 0; j < whole; j += VL) {
            const VEC d = LOAD(dy + j);
            UNROLL
            for (int t = 0; t < taps; t++)
                acc[t] += d * LOAD(x + tap_at[t] + j);
        }
        if (whole < n) {
            const VEC d = NAME(load_lanes)(n - whole, dy + whole);
            UNROLL
            for (int t = 0; t < taps; t++)
                acc[t] += d * NAME(load_lanes)(n - whole, x + tap_at[t] + whole);
        }
    }
    UNROLL
    for (int t = 0; t < taps; t++)
        STORE(total + t * VL, acc[t]);
}

/* The same for 3 x 3 taps when output rows are one input row apart: one column of vectors at a time, down all
   rows, and each input row is loaded once for the three rows of dy that it meets. */
static void NAME(depthwise_dots_square)(int64_t rows, int64_t n, const REAL *x, const int64_t *tap_at,
                                        int64_t row_step, const REAL *dy, int64_t ldy, REAL *total)
{
    const VEC zero = {0};
    VEC acc[9];
    UNROLL
    for (int t = 0; t < 9; t++)
        acc[t] = LOAD(total + t * VL);
    for (int64_t j = 0; j < n; j += VL) {
        VEC above = zero, middle = zero;
        for (int64_t i = 0; i < rows + 2; i++) {
            const VEC d = i < rows ? NAME(load_upto)(n - j, dy + i * ldy + j) : zero;
            VEC v[3];
            UNROLL
            for (int k = 0; k < 3; k++)
                v[k] = NAME(load_upto)(n - j, x + tap_at[k] + i * row_step + j);
            if (i < rows) { /* no products with 0 of what may be infinite */
                UNROLL
                for (int k = 0; k < 3; k++)
                    acc[k] += d * v[k];
            }
            if (i >= 1 && i <= rows) {
                UNROLL
                for (int k = 0; k < 3; k++)
                    acc[3 + k] += middle * v[k];
            }
            if (i >= 2) {
                UNROLL
                for (int k = 0; k < 3; k++)
                    acc[6 + k] += above * v[k];
            }
            above = middle;
            middle = d;
        }
    }
    UNROLL
    for (int t = 0; t < 9; t++)
        STORE(total + t * VL, acc[t]);
}

static void NAME(depthwise_grad)(int64_t rows, int64_t n, int64_t taps, const REAL *x, const int64_t *tap_at,
                                 int64_t row_step, const REAL *dy, int64_t ldy, REAL *total)
{
    int64_t t = 0;
    if (NAME(rows_down)(taps, tap_at, row_step) == 1) {
        NAME(depthwise_dots_square)(rows, n, x, tap_at, row_step, dy, ldy, total);
        return;
    }
#define DOTS(count)                                                                                          \
    for (; t + (count) <= taps; t += (count))                                                                \
        NAME(depthwise_dots)(count, rows, n, x, tap_at + t, row_step, dy, ldy, total + t * VL);
    DOTS(DEPTHWISE_TAPS)
    DOTS(3)
    DOTS(1)
#undef DOTS
}

static void NAME(sum_lanes)(int64_t n, const REAL *total, REAL *out)
{
    for (int64_t t = 0; t < n; t++)
        out[t] = NAME(lanes_sum)(LOAD(total + t * VL));
}

#ifndef DEPTHWISE_TABLE_f32
#define DEPTHWISE_TABLE(suffix)                                                                              \
    {                                                                                                        \
        .vl = VL_##suffix, .forward = depthwise_##suffix, .weight_grad = depthwise_grad_##suffix,            \
        .sum_lanes = sum_lanes_##suffix,                                                                     \
    }
#define DEPTHWISE_TABLE_f32 DEPTHWISE_TABLE(f32)
#define DEPTHWISE_TABLE_f64 DEPTHWISE_TABLE(f64)
#endif

#undef LOAD
#undef STORE
#undef DEPTHWISE
#undef DEPTHWISE_CASE
#undef DEPTHWISE_CASES
