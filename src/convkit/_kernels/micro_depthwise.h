/* Depthwise convolution, plane by plane: what output (r, j) takes from tap t lies at
   x[tap_at[t] + r * row_step + j] in a padded copy of the input plane, its columns split by phase. */
#ifndef CK_MICRO_DEPTHWISE_H
#define CK_MICRO_DEPTHWISE_H

#include <stdint.h>

#define CK_DEPTHWISE_TABLE(real, name)                                                                       \
    typedef struct {                                                                                         \
        int vl; /* values in a vector: how far beyond the last row of x is read */                           \
        /* y[r * ldy + j] = bias + sum_t weight[t] x(r, j, t), then ReLU where asked for; r < rows, j < n */ \
        void (*forward)(int64_t rows, int64_t n, int64_t taps, const real *x, const int64_t *tap_at,         \
                        int64_t row_step, const real *weight, real bias, int relu, real *y, int64_t ldy);    \
        /* total[t * vl + j % vl] += sum_{r, j} dy[r * ldy + j] x(r, j, t) */                                \
        void (*weight_grad)(int64_t rows, int64_t n, int64_t taps, const real *x, const int64_t *tap_at,     \
                            int64_t row_step, const real *dy, int64_t ldy, real *total);                     \
        /* out[t] = the sum of the lanes of total + t * vl */                                                \
        void (*sum_lanes)(int64_t n, const real *total, real *out);                                          \
    } name;

CK_DEPTHWISE_TABLE(float, ck_depthwise_f32)
CK_DEPTHWISE_TABLE(double, ck_depthwise_f64)

#endif
