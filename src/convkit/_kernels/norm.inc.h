/* Row kernels of normalisation for one REAL.  Sums run in an order that the length alone fixes: two vectors of
   running sums, then their lanes. */
#ifndef CK_NORM_ONCE
#define CK_NORM_ONCE
#include <math.h>
#endif

#define AT(type, p, i) (*(const type *)((p) + (i)))

ALWAYS_INLINE REAL NAME(normalized)(REAL x, REAL center, REAL scale, REAL shift)
{
    return (x - center) * scale + shift;
}

/* The gradient that passes the rectifier, if there is one. */
ALWAYS_INLINE REAL NAME(passed)(REAL x, REAL center, REAL scale, REAL shift, int relu, REAL dy)
{
    return relu && !(NAME(normalized)(x, center, scale, shift) > 0) ? (REAL)0 : dy;
}

/* --- one channel --------------------------------------------------------------------------- */

static void NAME(moments)(int64_t n, REAL center, const REAL *x, double *total, double *total_squares)
{
    VEC sum0 = {0}, sum1 = {0}, squares0 = {0}, squares1 = {0};
    int64_t i = 0;
    for (; i + 2 * VL <= n; i += 2 * VL) {
        VEC d0 = AT(VEC, x, i) - center, d1 = AT(VEC, x, i + VL) - center;
        sum0 += d0;
        sum1 += d1;
        squares0 += d0 * d0;
        squares1 += d1 * d1;
    }
    sum0 += sum1;
    squares0 += squares1;
    double sum = 0, squares = 0;
    for (int lane = 0; lane < VL; lane++) {
        sum += sum0[lane];
        squares += squares0[lane];
    }
    for (; i < n; i++) {
        double d = (double)x[i] - center;
        sum += d;
        squares += d * d;
    }
    *total += sum;
    *total_squares += squares;
}

static void NAME(normalize)(int64_t n, REAL center, REAL scale, REAL shift, int relu, const REAL *x, REAL *y)
{
    if (relu) {
        INDEPENDENT
        for (int64_t i = 0; i < n; i++) {
            REAL v = NAME(normalized)(x[i], center, scale, shift);
            y[i] = v < 0 ? (REAL)0 : v;
        }
    } else {
        INDEPENDENT
        for (int64_t i = 0; i < n; i++)
            y[i] = NAME(normalized)(x[i], center, scale, shift);
    }
}

ALWAYS_INLINE void NAME(gradient_sums)(int64_t n, REAL center, REAL scale, REAL shift, int relu, const REAL *x,
                                       const REAL *dy, double *total, double *total_dot)
{
    VEC sum0 = {0}, sum1 = {0}, dot0 = {0}, dot1 = {0};
    int64_t i = 0;
    for (; i + 2 * VL <= n; i += 2 * VL) {
        VEC d0 = AT(VEC, x, i) - center, d1 = AT(VEC, x, i + VL) - center;
        VEC g0 = AT(VEC, dy, i), g1 = AT(VEC, dy, i + VL);
        if (relu) {
            g0 = (VEC)((IVEC)g0 & (IVEC)(d0 * scale + shift > 0));
            g1 = (VEC)((IVEC)g1 & (IVEC)(d1 * scale + shift > 0));
        }
        sum0 += g0;
        sum1 += g1;
        dot0 += g0 * d0;
        dot1 += g1 * d1;
    }
    sum0 += sum1;
    dot0 += dot1;
    double sum = 0, dot = 0;
    for (int lane = 0; lane < VL; lane++) {
        sum += sum0[lane];
        dot += dot0[lane];
    }
    for (; i < n; i++) {
        double g = NAME(passed)(x[i], center, scale, shift, relu, dy[i]);
        sum += g;
        dot += g * (x[i] - center);
    }
    *total += sum;
    *total_dot += dot;
}

static void NAME(normalize_sums)(int64_t n, REAL center, REAL scale, REAL shift, int relu, const REAL *x,
                                 const REAL *dy, double *sum, double *dot)
{
    if (relu)
        NAME(gradient_sums)(n, center, scale, shift, 1, x, dy, sum, dot);
    else
        NAME(gradient_sums)(n, center, scale, shift, 0, x, dy, sum, dot);
}

static void NAME(normalize_grad)(int64_t n, REAL center, REAL scale, REAL shift, int relu, REAL mean,
                                 REAL slope, const REAL *x, const REAL *dy, REAL *dx)
{
    if (relu) {
        INDEPENDENT
        for (int64_t i = 0; i < n; i++) {
            REAL g = NAME(passed)(x[i], center, scale, shift, 1, dy[i]);
            dx[i] = scale * (g - mean - slope * (x[i] - center));
        }
    } else {
        INDEPENDENT
        for (int64_t i = 0; i < n; i++)
            dx[i] = scale * (dy[i] - mean - slope * (x[i] - center));
    }
}

/* --- across channels ----------------------------------------------------------------------- */

static void NAME(moments_across)(int64_t n, const double *RESTRICT center, const REAL *RESTRICT x,
                                 double *RESTRICT sum, double *RESTRICT squares)
{
    for (int64_t i = 0; i < n; i++) {
        double d = x[i] - center[i];
        sum[i] += d;
        squares[i] += d * d;
    }
}

static void NAME(normalize_across)(int64_t n, const REAL *center, const REAL *scale, const REAL *shift, int relu,
                                   const REAL *x, REAL *y)
{
    INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        REAL v = NAME(normalized)(x[i], center[i], scale[i], shift[i]);
        y[i] = relu && v < 0 ? (REAL)0 : v;
    }
}

static void NAME(normalize_sums_across)(int64_t n, const REAL *RESTRICT center, const REAL *RESTRICT scale,
                                        const REAL *RESTRICT shift, int relu, const REAL *RESTRICT x,
                                        const REAL *RESTRICT dy, double *RESTRICT sum, double *RESTRICT dot)
{
    for (int64_t i = 0; i < n; i++) {
        double g = NAME(passed)(x[i], center[i], scale[i], shift[i], relu, dy[i]);
        sum[i] += g;
        dot[i] += g * (x[i] - center[i]);
    }
}

static void NAME(normalize_grad_across)(int64_t n, const REAL *center, const REAL *scale, const REAL *shift,
                                        int relu, const REAL *mean, const REAL *slope, const REAL *x,
                                        const REAL *dy, REAL *dx)
{
    INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        REAL g = NAME(passed)(x[i], center[i], scale[i], shift[i], relu, dy[i]);
        dx[i] = scale[i] * (g - mean[i] - slope[i] * (x[i] - center[i]));
    }
}

/* --- local response ------------------------------------------------------------------------ */

/* d = k + alpha * the sum of squares down a window of rows. */
static void NAME(response_base)(int64_t n, int64_t taps, int64_t step, const REAL *RESTRICT window, REAL k,
                                REAL alpha, REAL *RESTRICT d)
{
    for (int64_t i = 0; i < n; i++)
        d[i] = 0;
    for (int64_t tap = 0; tap < taps; tap++, window += step)
        for (int64_t i = 0; i < n; i++)
            d[i] += window[i] * window[i];
    for (int64_t i = 0; i < n; i++)
        d[i] = k + alpha * d[i];
}

/* d^-beta; the exponent of the literature, 3/4, by square roots. */
static void NAME(response_power)(int64_t n, REAL beta, const REAL *RESTRICT d, REAL *RESTRICT power)
{
    if (beta == (REAL)0.75) {
        for (int64_t i = 0; i < n; i++) {
            REAL root = NAME(sqrt_of)(d[i]);
            power[i] = 1 / (root * NAME(sqrt_of)(root));
        }
    } else {
        for (int64_t i = 0; i < n; i++)
            power[i] = (REAL)pow(d[i], -beta);
    }
}

static void NAME(response)(int64_t n, int64_t taps, int64_t step, const REAL *window, REAL k, REAL alpha,
                           REAL beta, const REAL *x, REAL *y)
{
    REAL d[CK_RESPONSE_ROW], power[CK_RESPONSE_ROW];
    NAME(response_base)(n, taps, step, window, k, alpha, d);
    NAME(response_power)(n, beta, d, power);
    INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] * power[i];
}

static void NAME(response_grad)(int64_t n, int64_t taps, int64_t step, const REAL *window, REAL k, REAL alpha,
                                REAL beta, const REAL *x, const REAL *dy, REAL *dx, REAL *ratio)
{
    REAL d[CK_RESPONSE_ROW], power[CK_RESPONSE_ROW];
    NAME(response_base)(n, taps, step, window, k, alpha, d);
    NAME(response_power)(n, beta, d, power);
    INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        REAL direct = dy[i] * power[i];
        ratio[i] = direct * x[i] / d[i];
        dx[i] = direct;
    }
}

static void NAME(response_spread)(int64_t n, int64_t taps, int64_t step, const REAL *RESTRICT ratios,
                                  REAL factor, const REAL *RESTRICT x, REAL *RESTRICT dx)
{
    REAL sum[CK_RESPONSE_ROW];
    for (int64_t i = 0; i < n; i++)
        sum[i] = 0;
    for (int64_t tap = 0; tap < taps; tap++, ratios += step)
        for (int64_t i = 0; i < n; i++)
            sum[i] += ratios[i];
    for (int64_t i = 0; i < n; i++)
        dx[i] -= factor * x[i] * sum[i];
}

#undef AT

#ifndef NORM_TABLE_f32
#define NORM_TABLE(t)                                                                                        \
    {                                                                                                        \
        .moments = moments_##t, .moments_across = moments_across_##t,                                        \
        .normalize = normalize_##t, .normalize_across = normalize_across_##t,                                \
        .normalize_sums = normalize_sums_##t, .normalize_sums_across = normalize_sums_across_##t,            \
        .normalize_grad = normalize_grad_##t, .normalize_grad_across = normalize_grad_across_##t,            \
        .response = response_##t, .response_grad = response_grad_##t,                                        \
        .response_spread = response_spread_##t,                                                              \
    }
#define NORM_TABLE_f32 NORM_TABLE(f32)
#define NORM_TABLE_f64 NORM_TABLE(f64)
#endif
