/* Row kernels for one REAL: short loops without branches, which the compiler turns into vector code.
   Where a result may take an operand's place, INDEPENDENT says that the iterations still are. */
#ifndef CK_ROWS_ONCE
#define CK_ROWS_ONCE

#include <math.h>
#include <string.h>

#include "philox.h"
#ifdef __AVX512F__
#include "tanh_table.inc.h"
#endif

#ifdef __clang__
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

typedef uint32_t unsigned_f32;
typedef uint64_t unsigned_f64;

/* Runs `call(stride, …)` with a stride that is a constant where it is a usual one. */
#define FOR_USUAL_STRIDES(stride, call, ...)                                                                 \
    switch (stride) {                                                                                        \
    case 1: call(1, __VA_ARGS__); break;                                                                     \
    case 2: call(2, __VA_ARGS__); break;                                                                     \
    default: call(stride, __VA_ARGS__);                                                                      \
    }

/* Runs `block(length, at, …)` over n values in blocks of constant length, so that rows of a dozen values
   are vector code to the end.  The last block overlaps the one before: what it computes must not depend on
   what stands in its output, nor should it be read there soon (a load across two stores waits for both). */
#define IN_BLOCKS(n, block, ...)                                                                             \
    do {                                                                                                     \
        const int64_t length = (n) >= 16 ? 16 : (n) >= 8 ? 8 : (n) >= 4 ? 4 : 1;                             \
        for (int64_t done = 0; done < (n); done += length) {                                                 \
            const int64_t at = done + length <= (n) ? done : (n) - length;                                   \
            switch (length) {                                                                                \
            case 16: block(16, at, __VA_ARGS__); break;                                                      \
            case 8: block(8, at, __VA_ARGS__); break;                                                        \
            case 4: block(4, at, __VA_ARGS__); break;                                                        \
            default: block(1, at, __VA_ARGS__);                                                              \
            }                                                                                                \
        }                                                                                                    \
    } while (0)
#endif

#include "rows_math.inc.h"

/* --- elementwise --------------------------------------------------------------------------- */

#define UNARY(name, expression)                                                                              \
    static void NAME(name)(int64_t n, const REAL *xs, REAL *ys)                                              \
    {                                                                                                        \
        INDEPENDENT                                                                                          \
        for (int64_t i = 0; i < n; i++) {                                                                    \
            REAL x = xs[i];                                                                                  \
            ys[i] = expression;                                                                              \
        }                                                                                                    \
    }

#define BINARY(name, expression)                                                                             \
    static void NAME(name)(int64_t n, const REAL *as, const REAL *bs, REAL *out)                             \
    {                                                                                                        \
        INDEPENDENT                                                                                          \
        for (int64_t i = 0; i < n; i++) {                                                                    \
            REAL a = as[i], b = bs[i];                                                                       \
            out[i] = expression;                                                                             \
        }                                                                                                    \
    }

UNARY(relu, x < 0 ? (REAL)0 : x)
UNARY(tanh_by_expm1, NAME(tanh_of)(x))
UNARY(sigmoid, NAME(sigmoid_of)(x))
BINARY(add, a + b)
BINARY(subtract, a - b)
BINARY(multiply, a *b)
BINARY(relu_grad, a > 0 ? b : (REAL)0)
BINARY(tanh_grad, b *(1 - a * a))
BINARY(sigmoid_grad, b *(a * (1 - a)))
#undef UNARY
#undef BINARY

static void NAME(tanh)(int64_t n, const REAL *x, REAL *y)
{
#ifdef __AVX512F__
    if (sizeof(REAL) == sizeof(float)) {
        tanh_rows_by_table(n, (const float *)x, (float *)y);
        return;
    }
#endif
    NAME(tanh_by_expm1)(n, x, y);
}

static void NAME(fill)(int64_t n, REAL value, REAL *y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = value;
}

static void NAME(scale)(int64_t n, REAL factor, const REAL *x, REAL *y)
{
    INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = factor * x[i];
}

static void NAME(scale_u8)(int64_t n, REAL factor, const uint8_t *RESTRICT x, REAL *RESTRICT y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = factor * (REAL)x[i];
}

static void NAME(dropout)(int64_t n, int64_t first, const ck_philox *stream, uint32_t threshold, REAL factor,
                          const REAL *x, REAL *y)
{
    uint32_t words[PHILOX_GROUP];
    for (int64_t start = 0; start < n; start += PHILOX_GROUP) {
        int64_t count = n - start < PHILOX_GROUP ? n - start : PHILOX_GROUP;
        philox_group(stream, (first + start) / PHILOX_GROUP, words);
        INDEPENDENT
        for (int64_t i = 0; i < count; i++)
            y[start + i] = words[i] >= threshold ? factor * x[start + i] : (REAL)0;
    }
}

/* --- sums ---------------------------------------------------------------------------------- */

/* Sums `term(type, i)` over i < n in a fixed order: stretch by stretch, four vectors of running sums, then their
   lanes. */
#define SUM_OVER(n, term)                                                                                    \
    double total = 0;                                                                                        \
    for (int64_t i = 0, end; i < n;) {                                                                       \
        VEC sum0 = {0}, sum1 = {0}, sum2 = {0}, sum3 = {0};                                                  \
        end = n - i < SUM_STRETCH ? n : i + SUM_STRETCH;                                                     \
        for (; i + 4 * VL <= end; i += 4 * VL) {                                                             \
            sum0 += term(VEC, i);                                                                            \
            sum1 += term(VEC, i + VL);                                                                       \
            sum2 += term(VEC, i + 2 * VL);                                                                   \
            sum3 += term(VEC, i + 3 * VL);                                                                   \
        }                                                                                                    \
        for (; i + VL <= end; i += VL)                                                                       \
            sum0 += term(VEC, i);                                                                            \
        sum0 = (sum0 + sum1) + (sum2 + sum3);                                                                \
        for (int lane = 0; lane < VL; lane++)                                                                \
            total += sum0[lane];                                                                             \
        for (; i < end; i++)                                                                                 \
            total += term(REAL, i);                                                                          \
    }                                                                                                        \
    return total

#define AT(type, p, i) (*(const type *)((p) + (i)))
#define TERM(type, i) AT(type, x, i)
static double NAME(row_sum)(int64_t n, const REAL *x) { SUM_OVER(n, TERM); }
#undef TERM
#define TERM(type, i) (AT(type, x, i) * AT(type, x, i))
static double NAME(row_sum_squares)(int64_t n, const REAL *x) { SUM_OVER(n, TERM); }
#undef TERM
#define TERM(type, i) (AT(type, a, i) * AT(type, b, i))
static double NAME(row_dot)(int64_t n, const REAL *a, const REAL *b) { SUM_OVER(n, TERM); }
#undef TERM
#define TERM(type, i) ((AT(type, a, i) - AT(type, b, i)) * (AT(type, a, i) - AT(type, b, i)))
static double NAME(row_sum_squared_differences)(int64_t n, const REAL *a, const REAL *b)
{
    SUM_OVER(n, TERM);
}
#undef TERM
#undef SUM_OVER

static void NAME(scaled_difference)(int64_t n, REAL factor, const REAL *a, const REAL *b, REAL *out)
{
    INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        out[i] = factor * (a[i] - b[i]);
}

/* --- softmax ------------------------------------------------------------------------------- */

#define SELECT(mask, a, b) ((VEC)(((mask) & (IVEC)(a)) | (~(mask) & (IVEC)(b))))

static REAL NAME(row_maximum)(int64_t n, const REAL *x)
{
    REAL maximum = n > 0 ? x[0] : 0;
    int64_t i = 0;
    if (n >= VL) {
        VEC lanes = AT(VEC, x, 0);
        for (; i + VL <= n; i += VL) {
            VEC next = AT(VEC, x, i);
            lanes = SELECT((IVEC)(next > lanes), next, lanes);
        }
        for (int lane = 0; lane < VL; lane++)
            maximum = lanes[lane] > maximum ? lanes[lane] : maximum;
    }
    for (; i < n; i++)
        maximum = x[i] > maximum ? x[i] : maximum;
    return maximum;
}

static double NAME(softmax_row)(int64_t n, const REAL *x, REAL *y, REAL *maximum)
{
    REAL shift = *maximum = NAME(row_maximum)(n, x);
    INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = NAME(exp_of)(x[i] - shift);
    return NAME(row_sum)(n, y);
}

static void NAME(log_probabilities)(int64_t n, REAL maximum, REAL log_total, const REAL *x, REAL *y)
{
    INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = (x[i] - maximum) - log_total;
}

static void NAME(softmax_grad)(int64_t n, REAL dot, const REAL *y, const REAL *dy, REAL *dx)
{
    INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        dx[i] = y[i] * (dy[i] - dot);
}

static void NAME(log_softmax_grad)(int64_t n, REAL total, const REAL *y, const REAL *dy, REAL *dx)
{
    INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        dx[i] = dy[i] - NAME(exp_of)(y[i]) * total;
}

static void NAME(maximum_across)(int64_t n, const REAL *RESTRICT x, REAL *RESTRICT best)
{
    for (int64_t i = 0; i < n; i++)
        best[i] = x[i] > best[i] ? x[i] : best[i];
}

static void NAME(exp_across)(int64_t n, const REAL *x, const REAL *maximum, REAL *y, REAL *total)
{
    INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        REAL e = NAME(exp_of)(x[i] - maximum[i]);
        y[i] = e;
        total[i] += e;
    }
}

static void NAME(dot_across)(int64_t n, const REAL *a, const REAL *b, REAL *RESTRICT total)
{
    for (int64_t i = 0; i < n; i++)
        total[i] += a[i] * b[i];
}

static void NAME(softmax_grad_across)(int64_t n, const REAL *dot, const REAL *y, const REAL *dy, REAL *dx)
{
    INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        dx[i] = y[i] * (dy[i] - dot[i]);
}

static void NAME(log_softmax_grad_across)(int64_t n, const REAL *total, const REAL *y, const REAL *dy,
                                          REAL *dx)
{
    INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        dx[i] = dy[i] - NAME(exp_of)(y[i]) * total[i];
}

static void NAME(targets)(int64_t n, REAL keep, REAL smoothing, const REAL *RESTRICT weight,
                          const REAL *RESTRICT labels, REAL *RESTRICT target)
{
    for (int64_t i = 0; i < n; i++)
        target[i] = smoothing + (labels && labels[i] != 0 ? keep * labels[i] : (REAL)0);
    for (int64_t i = 0; weight && i < n; i++)
        target[i] = target[i] != 0 ? target[i] * weight[i] : (REAL)0;
}

static void NAME(entropy_grad)(int64_t n, REAL factor, REAL mass, const REAL *p, const REAL *target, REAL *dx)
{
    INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        dx[i] = factor * (p[i] * mass - target[i]);
}

static void NAME(entropy_grad_across)(int64_t n, const REAL *factor, const REAL *mass, const REAL *p,
                                      const REAL *target, REAL *dx)
{
    INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        REAL gradient = factor[i] * ((mass[i] != 0 ? p[i] * mass[i] : (REAL)0) - target[i]);
        dx[i] = factor[i] != 0 ? gradient : (REAL)0;
    }
}

static void NAME(divide)(int64_t n, const REAL *x, const REAL *divisor, REAL factor, REAL *y)
{
    INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] / (factor * divisor[i]);
}

/* --- max pooling --------------------------------------------------------------------------- */

/* The larger one, or a NaN: two selections, as the compiler makes vector code of these only. */
ALWAYS_INLINE REAL NAME(larger)(REAL v, REAL best)
{
    best = v > best ? v : best;
    return v != v ? v : best;
}

static void NAME(max_down)(int64_t n, const REAL *RESTRICT x, REAL *RESTRICT best)
{
    for (int64_t i = 0; i < n; i++)
        best[i] = NAME(larger)(x[i], best[i]);
}

/* Whether v takes the place of what was found before it: of several NaNs the first stays. */
ALWAYS_INLINE int NAME(exceeds)(REAL v, REAL best) { return !(v <= best) & (best == best); }

/* Choosing places by masks keeps what is left over after the last whole vector free of branches, which
   on data like these nobody could predict. */
ALWAYS_INLINE IREAL NAME(choose)(int take, IREAL place, IREAL other)
{
    const IREAL mask = -(IREAL)take;
    return (place & mask) | (other & ~mask);
}

static void NAME(max_down_at)(int64_t n, const REAL *RESTRICT x, IREAL first, REAL *RESTRICT best,
                              IREAL *RESTRICT place)
{
    for (int64_t i = 0; i < n; i++) {
        int take = NAME(exceeds)(x[i], best[i]) | (place[i] < 0);
        place[i] = NAME(choose)(take, first + (IREAL)i, place[i]);
        best[i] = NAME(larger)(x[i], best[i]);
    }
}

ALWAYS_INLINE void NAME(max_tap)(int64_t stride, int64_t n, const REAL *RESTRICT x, REAL *RESTRICT y)
{
    for (int64_t o = 0; o < n; o++)
        y[o] = NAME(larger)(x[o * stride], y[o]);
}

static void NAME(max_along)(int64_t n, int64_t taps, int64_t stride, int64_t dilation, const REAL *x, REAL *y)
{
    for (int64_t o = 0; o < n; o++)
        y[o] = x[o * stride];
    for (int64_t k = 1; k < taps; k++)
        FOR_USUAL_STRIDES(stride, NAME(max_tap), n, x + k * dilation, y)
}

/* A place of -1 is none; as an unsigned number it comes after every other. */
ALWAYS_INLINE void NAME(max_tap_at)(int64_t stride, int64_t n, const REAL *RESTRICT x,
                                    const IREAL *RESTRICT x_place, REAL *RESTRICT y, IREAL *RESTRICT place)
{
    for (int64_t o = 0; o < n; o++) {
        REAL v = x[o * stride];
        IREAL at = x_place[o * stride];
        int tie = (v == y[o]) | ((v != v) & (y[o] != y[o]));
        int earlier = tie & ((NAME(unsigned))at < (NAME(unsigned))place[o]);
        place[o] = NAME(choose)(NAME(exceeds)(v, y[o]) | earlier, at, place[o]);
        y[o] = NAME(larger)(v, y[o]);
    }
}

static void NAME(max_along_at)(int64_t n, int64_t taps, int64_t stride, int64_t dilation, const REAL *x,
                               const IREAL *x_place, REAL *y, IREAL *place)
{
    for (int64_t o = 0; o < n; o++) {
        y[o] = x[o * stride];
        place[o] = x_place[o * stride];
    }
    for (int64_t k = 1; k < taps; k++)
        FOR_USUAL_STRIDES(stride, NAME(max_tap_at), n, x + k * dilation, x_place + k * dilation, y, place)
}

static void NAME(places_i32)(int64_t n, const IREAL *RESTRICT place, int32_t *RESTRICT out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = (int32_t)place[i];
}

static void NAME(places_i64)(int64_t n, const IREAL *RESTRICT place, int64_t *RESTRICT out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = (int64_t)place[i];
}

ALWAYS_INLINE void NAME(max_2x2_block)(int length, int64_t at, const REAL *RESTRICT a, const REAL *RESTRICT b,
                                       REAL *RESTRICT y)
{
    for (int64_t o = at; o < at + length; o++) {
        REAL top = NAME(larger)(a[2 * o + 1], a[2 * o]);
        REAL bottom = NAME(larger)(b[2 * o + 1], b[2 * o]);
        y[o] = NAME(larger)(bottom, top);
    }
}

static void NAME(max_2x2)(int64_t rows, int64_t n, int64_t width, const REAL *x, REAL *y)
{
    for (; rows > 0; rows--, x += 2 * width, y += n)
        IN_BLOCKS(n, NAME(max_2x2_block), x, x + width, y);
}

ALWAYS_INLINE void NAME(max_2x2_at_block)(int length, int64_t at, const REAL *RESTRICT a,
                                          const REAL *RESTRICT b, IREAL first, IREAL below,
                                          REAL *RESTRICT y, IREAL *RESTRICT place)
{
    for (int64_t o = at; o < at + length; o++) {
        REAL a0 = a[2 * o], a1 = a[2 * o + 1], b0 = b[2 * o], b1 = b[2 * o + 1];
        IREAL left = first + 2 * (IREAL)o, left_below = left + below;
        REAL top = NAME(larger)(a1, a0), bottom = NAME(larger)(b1, b0);
        IREAL top_place = NAME(choose)(NAME(exceeds)(a1, a0), left + 1, left);
        IREAL bottom_place = NAME(choose)(NAME(exceeds)(b1, b0), left_below + 1, left_below);
        y[o] = NAME(larger)(bottom, top);
        place[o] = NAME(choose)(NAME(exceeds)(bottom, top), bottom_place, top_place);
    }
}

static void NAME(max_2x2_at)(int64_t rows, int64_t n, int64_t width, const REAL *x, REAL *y, IREAL *place)
{
    for (IREAL first = 0; rows > 0; rows--, first += 2 * (IREAL)width, y += n, place += n)
        IN_BLOCKS(n, NAME(max_2x2_at_block), x + first, x + first + width, first, (IREAL)width, y, place);
}

/* Two rows of max_windows_at at once, so that neither waits for its comparisons.  Adds to `odd` a NaN where the
   windows hold one: a sum is NaN if one of its terms is (or where infinities of both signs meet). */
ALWAYS_INLINE void NAME(max_windows_rows)(int64_t taps, const REAL *x0, const REAL *x1, const int64_t *tap_at,
                                          const int64_t *tap_place, VEC best[2], IVEC place[2], VEC *odd)
{
    const VEC zero = {0};
    const IVEC none = {0};
    best[0] = best[1] = -(REAL)INFINITY - zero;
    place[0] = place[1] = none;
    VEC sum0 = zero, sum1 = zero;
    for (int64_t t = 0; t < taps; t++) {
        const VEC v0 = AT(VEC, x0, tap_at[t]), v1 = AT(VEC, x1, tap_at[t]);
        const IVEC at = (IREAL)tap_place[t] - none;
        const IVEC take0 = v0 > best[0], take1 = v1 > best[1];
        place[0] = (IVEC)SELECT(take0, at, place[0]);
        place[1] = (IVEC)SELECT(take1, at, place[1]);
        best[0] = SELECT(take0, v0, best[0]);
        best[1] = SELECT(take1, v1, best[1]);
        sum0 += v0;
        sum1 += v1;
    }
    *odd += sum0 + sum1;
}

/* The largest value of each window and its first place; whether a window may hold a NaN or nothing but -inf, be it
   padding, and what was written is not to be used.  Output (r, j) takes x[tap_at[t] + r * row_step + j] from tap t,
   whose place is tap_place[t] + r * row_place + j * stride.  `place` may be NULL. */
static int NAME(max_windows_at)(int64_t rows, int64_t n, int64_t taps, const REAL *x, const int64_t *tap_at,
                                const int64_t *tap_place, int64_t row_step, int64_t row_place, int64_t stride,
                                REAL *y, IREAL *place, const REAL *next, int64_t next_n)
{
    enum { LINE = 64 / sizeof(REAL) };
    const int64_t steps = (rows + 1) / 2 * ((n + VL - 1) / VL);
    const int64_t share = (next_n + steps * LINE - 1) / (steps * LINE) * LINE; /* of what is next, at each step */
    IVEC lane, doubtful = {0};
    for (int i = 0; i < VL; i++)
        lane[i] = i;
    for (int64_t r = 0; r < rows; r += 2) {
        const int64_t second = r + 1 < rows;
        for (int64_t j = 0; j < n; j += VL) {
            for (const REAL *end = next + share; next < end; next += LINE)
                __builtin_prefetch(next, 0, 2);
            const IVEC at = (lane + (IREAL)j) * (IREAL)stride + (IREAL)(r * row_place);
            const IVEC inside = lane < (IREAL)(n - j);
            VEC best[2], odd = {0};
            IVEC found[2];
            const REAL *from = x + r * row_step + j;
            NAME(max_windows_rows)(taps, from, from + second * row_step, tap_at, tap_place, best, found, &odd);
            doubtful |= inside & ((odd != odd) | (best[0] == -(REAL)INFINITY) | (best[1] == -(REAL)INFINITY));
            UNROLL
            for (int64_t i = 0; i < 2; i++) {
                const int64_t to = (r + i * second) * n + j;
                NAME(store_upto)(n - j, y + to, best[i]);
                if (place)
                    NAME(store_upto)(n - j, (REAL *)(place + to),
                                     (VEC)(found[i] + at + (IREAL)(i * second * row_place)));
            }
        }
    }
    int any = 0;
    for (int i = 0; i < VL; i++)
        any |= doubtful[i] != 0;
    return any;
}

/* --- average pooling ----------------------------------------------------------------------- */

ALWAYS_INLINE void NAME(sum_tap)(int64_t stride, int64_t n, const REAL *RESTRICT x, REAL *RESTRICT y)
{
    for (int64_t o = 0; o < n; o++)
        y[o] += x[o * stride];
}

static void NAME(sum_along)(int64_t n, int64_t taps, int64_t stride, const REAL *x, REAL *y)
{
    for (int64_t o = 0; o < n; o++)
        y[o] = x[o * stride];
    for (int64_t k = 1; k < taps; k++)
        FOR_USUAL_STRIDES(stride, NAME(sum_tap), n, x + k, y)
}

ALWAYS_INLINE void NAME(spread_tap)(int64_t stride, int64_t n, const REAL *RESTRICT y, REAL *RESTRICT x)
{
    for (int64_t o = 0; o < n; o++)
        x[o * stride] += y[o];
}

static void NAME(spread_along)(int64_t n, int64_t taps, int64_t stride, const REAL *y, REAL *x)
{
    for (int64_t k = 0; k < taps; k++)
        FOR_USUAL_STRIDES(stride, NAME(spread_tap), n, y, x + k)
}

static void NAME(average_2x2)(int64_t rows, int64_t n, int64_t width, const REAL *x, REAL *RESTRICT y)
{
    for (; rows > 0; rows--, x += 2 * width, y += n) {
        const REAL *RESTRICT a = x, *RESTRICT b = x + width;
        for (int64_t o = 0; o < n; o++)
            y[o] = (REAL)0.25 * ((a[2 * o] + b[2 * o]) + (a[2 * o + 1] + b[2 * o + 1]));
    }
}

static void NAME(spread_2x2)(int64_t rows, int64_t n, int64_t width, const REAL *RESTRICT dy, REAL *dx)
{
    for (; rows > 0; rows--, dy += n, dx += 2 * width) {
        REAL *RESTRICT a = dx, *RESTRICT b = dx + width;
        for (int64_t o = 0; o < n; o++) {
            REAL share = (REAL)0.25 * dy[o];
            a[2 * o] = share;
            a[2 * o + 1] = share;
            b[2 * o] = share;
            b[2 * o + 1] = share;
        }
    }
}

/* --- updates ------------------------------------------------------------------------------- */

static void NAME(sgd)(int64_t n, REAL *RESTRICT values, const REAL *RESTRICT grads, REAL *RESTRICT velocity,
                      REAL lr, REAL momentum, int nesterov, REAL weight_decay)
{
    if (!velocity) {
        for (int64_t i = 0; i < n; i++)
            values[i] -= lr * (grads[i] + weight_decay * values[i]);
    } else if (!nesterov) {
        for (int64_t i = 0; i < n; i++) {
            velocity[i] = momentum * velocity[i] + (grads[i] + weight_decay * values[i]);
            values[i] -= lr * velocity[i];
        }
    } else {
        for (int64_t i = 0; i < n; i++) {
            REAL grad = grads[i] + weight_decay * values[i];
            velocity[i] = momentum * velocity[i] + grad;
            values[i] -= lr * (grad + momentum * velocity[i]);
        }
    }
}

static void NAME(adam)(int64_t n, REAL *RESTRICT values, const REAL *RESTRICT grads, REAL *RESTRICT m,
                       REAL *RESTRICT v, const ck_adam *coefficients)
{
    const REAL decay = (REAL)coefficients->decay, keep = (REAL)coefficients->keep;
    const REAL beta1 = (REAL)coefficients->beta1, beta2 = (REAL)coefficients->beta2;
    const REAL rest1 = (REAL)(1 - coefficients->beta1), rest2 = (REAL)(1 - coefficients->beta2);
    const REAL rate = (REAL)coefficients->rate, root_scale = (REAL)coefficients->root_scale;
    const REAL eps = (REAL)coefficients->eps;
    for (int64_t i = 0; i < n; i++) {
        REAL grad = grads[i] + decay * values[i];
        m[i] = beta1 * m[i] + rest1 * grad;
        v[i] = beta2 * v[i] + rest2 * (grad * grad);
        values[i] = keep * values[i] - rate * m[i] / (NAME(sqrt_of)(v[i]) * root_scale + eps);
    }
}

static void NAME(rmsprop)(int64_t n, REAL *RESTRICT values, const REAL *RESTRICT grads, REAL *RESTRICT square,
                          REAL *RESTRICT mean, REAL *RESTRICT velocity, REAL lr, REAL alpha, REAL momentum,
                          REAL eps, REAL weight_decay)
{
    const REAL rest = 1 - alpha;
    for (int64_t i = 0; i < n; i++) {
        REAL grad = grads[i] + weight_decay * values[i];
        REAL spread = square[i] = alpha * square[i] + rest * (grad * grad);
        if (mean) {
            mean[i] = alpha * mean[i] + rest * grad;
            spread -= mean[i] * mean[i];
            spread = spread < 0 ? (REAL)0 : spread;
        }
        REAL step = grad / (NAME(sqrt_of)(spread) + eps);
        if (velocity)
            step = velocity[i] = momentum * velocity[i] + step;
        values[i] -= lr * step;
    }
}

#undef AT
#undef SELECT

#ifndef ROWS_TABLE_f32
#define ROWS_TABLE(t)                                                                                        \
    {                                                                                                        \
        .unary = {[CK_MAP_RELU] = relu_##t, [CK_MAP_TANH] = tanh_##t, [CK_MAP_SIGMOID] = sigmoid_##t},       \
        .binary = {[CK_MAP_ADD] = add_##t, [CK_MAP_SUBTRACT] = subtract_##t,                                 \
                   [CK_MAP_MULTIPLY] = multiply_##t,                                                         \
                   [CK_MAP_RELU_GRAD] = relu_grad_##t, [CK_MAP_TANH_GRAD] = tanh_grad_##t,                   \
                   [CK_MAP_SIGMOID_GRAD] = sigmoid_grad_##t},                                                \
        .fill = fill_##t, .scale = scale_##t, .scale_u8 = scale_u8_##t,                                      \
        .dropout = dropout_##t, .sum = row_sum_##t, .sum_squares = row_sum_squares_##t,                      \
        .sum_squared_differences = row_sum_squared_differences_##t, .dot = row_dot_##t,                      \
        .scaled_difference = scaled_difference_##t, .softmax_row = softmax_row_##t,                          \
        .log_probabilities = log_probabilities_##t, .targets = targets_##t,                                  \
        .entropy_grad = entropy_grad_##t, .entropy_grad_across = entropy_grad_across_##t,                    \
        .softmax_grad = softmax_grad_##t, .log_softmax_grad = log_softmax_grad_##t,                          \
        .maximum_across = maximum_across_##t, .exp_across = exp_across_##t, .dot_across = dot_across_##t,    \
        .softmax_grad_across = softmax_grad_across_##t,                                                      \
        .log_softmax_grad_across = log_softmax_grad_across_##t, .divide = divide_##t,                        \
        .max_down = max_down_##t, .max_down_at = max_down_at_##t, .max_along = max_along_##t,                \
        .max_along_at = max_along_at_##t, .places_i32 = places_i32_##t, .places_i64 = places_i64_##t,        \
        .max_windows_at = max_windows_at_##t, .max_2x2 = max_2x2_##t, .max_2x2_at = max_2x2_at_##t,          \
        .sum_along = sum_along_##t,                                                                          \
        .spread_along = spread_along_##t, .average_2x2 = average_2x2_##t, .spread_2x2 = spread_2x2_##t,      \
        .sgd = sgd_##t, .adam = adam_##t, .rmsprop = rmsprop_##t,                                            \
    }
#define ROWS_TABLE_f32 ROWS_TABLE(f32)
#define ROWS_TABLE_f64 ROWS_TABLE(f64)
#endif
