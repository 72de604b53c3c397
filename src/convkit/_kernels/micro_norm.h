/* Row kernels of normalisation: moments of a channel, and what is done with them. */
#ifndef CK_MICRO_NORM_H
#define CK_MICRO_NORM_H

#include <stdint.h>

/* "Across" variants take one value of each of n channels, which have constants and sums of their own; the others
   take n values of one channel.  A normalised value is (x - center) * scale + shift; where `relu` is set it is
   rectified, and the gradient that comes back is zero where it was not positive. */
#define CK_NORM_TABLE(real, table)                                                                           \
    typedef struct {                                                                                         \
        /* sum += x - center, squares += (x - center)^2 */                                                   \
        void (*moments)(int64_t n, real center, const real *x, double *sum, double *squares);                \
        void (*moments_across)(int64_t n, const double *center, const real *x, double *sum, double *squares);\
        /* y = (x - center) * scale + shift; y may be x */                                                   \
        void (*normalize)(int64_t n, real center, real scale, real shift, int relu, const real *x, real *y); \
        void (*normalize_across)(int64_t n, const real *center, const real *scale, const real *shift,        \
                                 int relu, const real *x, real *y);                                          \
        /* sum += dy, dot += dy (x - center) */                                                              \
        void (*normalize_sums)(int64_t n, real center, real scale, real shift, int relu, const real *x,      \
                               const real *dy, double *sum, double *dot);                                    \
        void (*normalize_sums_across)(int64_t n, const real *center, const real *scale, const real *shift,   \
                                      int relu, const real *x, const real *dy, double *sum, double *dot);    \
        /* dx = scale * (dy - mean - slope (x - center)); dx may be dy or x */                               \
        void (*normalize_grad)(int64_t n, real center, real scale, real shift, int relu, real mean,          \
                               real slope, const real *x, const real *dy, real *dx);                         \
        void (*normalize_grad_across)(int64_t n, const real *center, const real *scale, const real *shift,   \
                                      int relu, const real *mean, const real *slope, const real *x,          \
                                      const real *dy, real *dx);                                             \
        /* Local response: d = k + alpha * the sum of x^2 over `taps` rows `step` apart from `window` on;    \
           y = x d^-beta.  Back: dx = dy d^-beta and ratio = dy x d^(-beta - 1), then                        \
           dx -= factor * x * the sum of `taps` rows of ratios. */                                           \
        void (*response)(int64_t n, int64_t taps, int64_t step, const real *window, real k, real alpha,      \
                         real beta, const real *x, real *y);                                                 \
        void (*response_grad)(int64_t n, int64_t taps, int64_t step, const real *window, real k, real alpha, \
                              real beta, const real *x, const real *dy, real *dx, real *ratio);              \
        void (*response_spread)(int64_t n, int64_t taps, int64_t step, const real *ratios, real factor,      \
                                const real *x, real *dx);                                                    \
    } table;

CK_NORM_TABLE(float, ck_norm_f32)
CK_NORM_TABLE(double, ck_norm_f64)

/* Positions that the kernels of the local response take at once, at most. */
enum { CK_RESPONSE_ROW = 256 };

#endif
