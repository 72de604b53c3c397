/* Row kernels: streams over contiguous values, for pooling, activations, losses and updates. */
#ifndef CK_MICRO_ROWS_H
#define CK_MICRO_ROWS_H

#include <stdint.h>

/* y[i] = f(x[i]) and out[i] = f(a[i], b[i]); the result may take the place of an operand. */
typedef enum { CK_MAP_RELU, CK_MAP_TANH, CK_MAP_SIGMOID, CK_UNARY_MAPS } ck_unary;
typedef enum {
    CK_MAP_ADD, CK_MAP_SUBTRACT, CK_MAP_MULTIPLY,
    CK_MAP_RELU_GRAD, CK_MAP_TANH_GRAD, CK_MAP_SIGMOID_GRAD, /* a: the function's output, b: its gradient */
    CK_BINARY_MAPS
} ck_binary;

/* Where a stream of random words stands (philox.h). */
typedef struct {
    uint32_t key[2];
    uint32_t counter[3];
} ck_philox;

/* Adam's coefficients of one update: gradient += decay * value; value *= keep; m and v decay by beta1 and
   beta2; value -= rate * m / (sqrt(v) * root_scale + eps). */
typedef struct {
    double decay, keep, beta1, beta2, rate, root_scale, eps;
} ck_adam;

#define CK_ROWS_TABLE(real, ireal, table)                                                                    \
    typedef struct {                                                                                         \
        void (*unary[CK_UNARY_MAPS])(int64_t n, const real *x, real *y);                                     \
        void (*binary[CK_BINARY_MAPS])(int64_t n, const real *a, const real *b, real *out);                  \
        void (*fill)(int64_t n, real value, real *y);                                                        \
        /* y = factor * x, y may be x */                                                                     \
        void (*scale)(int64_t n, real factor, const real *x, real *y);                                       \
        void (*scale_u8)(int64_t n, real factor, const uint8_t *x, real *y);                                 \
        /* y = factor * x where word `first + i` of the stream is >= threshold, else 0; first % 64 == 0 */   \
        void (*dropout)(int64_t n, int64_t first, const ck_philox *stream, uint32_t threshold, real factor,  \
                        const real *x, real *y);                                                             \
        double (*sum)(int64_t n, const real *x);                                                             \
        double (*sum_squares)(int64_t n, const real *x);                                                     \
        double (*sum_squared_differences)(int64_t n, const real *a, const real *b);                          \
        double (*dot)(int64_t n, const real *a, const real *b);                                              \
        /* out = factor * (a - b) */                                                                         \
        void (*scaled_difference)(int64_t n, real factor, const real *a, const real *b, real *out);          \
                                                                                                             \
        /* Softmax over a contiguous row: y = exp(x - max x), returns the sum of y. */                       \
        double (*softmax_row)(int64_t n, const real *x, real *y, real *maximum);                             \
        /* dx = y * (dy - dot)  and  dx = dy - exp(y) * dot */                                               \
        void (*softmax_grad)(int64_t n, real dot, const real *y, const real *dy, real *dx);                  \
        void (*log_softmax_grad)(int64_t n, real dot, const real *y, const real *dy, real *dx);              \
        /* y = (x - maximum) - log_total */                                                                  \
        void (*log_probabilities)(int64_t n, real maximum, real log_total, const real *x, real *y);          \
        /* Targets of a cross-entropy: weight * (keep * labels + smoothing), weight and labels may be NULL;  \
           the gradient: dx = factor * (p * mass - target), mass being the sum of the targets.  A product    \
           with a label or a target of 0, or across rows with a mass or a factor of 0, is 0 in any case */   \
        void (*targets)(int64_t n, real keep, real smoothing, const real *weight, const real *labels,        \
                        real *target);                                                                       \
        void (*entropy_grad)(int64_t n, real factor, real mass, const real *p, const real *target, real *dx);\
        void (*entropy_grad_across)(int64_t n, const real *factor, const real *mass, const real *p,          \
                                    const real *target, real *dx);                                           \
        /* The same across rows, one position of a row each: best = max(best, x);                            \
           y = exp(x - maximum) added to total;  total += a * b */                                           \
        void (*maximum_across)(int64_t n, const real *x, real *best);                                        \
        void (*exp_across)(int64_t n, const real *x, const real *maximum, real *y, real *total);             \
        void (*dot_across)(int64_t n, const real *a, const real *b, real *total);                            \
        void (*softmax_grad_across)(int64_t n, const real *dot, const real *y, const real *dy, real *dx);    \
        void (*log_softmax_grad_across)(int64_t n, const real *dot, const real *y, const real *dy,           \
                                        real *dx);                                                           \
        void (*divide)(int64_t n, const real *x, const real *divisor, real factor, real *y);                 \
                                                                                                             \
        /* Max pooling down the rows of a window: `best` becomes the larger of it and x, a NaN being the     \
           largest; the place in the plane is first + i.  Then along a row, `stride` apart, over `taps`      \
           columns `dilation` apart; of equal values the lowest place wins. */                               \
        void (*max_down)(int64_t n, const real *x, real *best);                                              \
        void (*max_down_at)(int64_t n, const real *x, ireal first, real *best, ireal *place);                \
        void (*max_along)(int64_t n, int64_t taps, int64_t stride, int64_t dilation, const real *x,          \
                          real *y);                                                                          \
        void (*max_along_at)(int64_t n, int64_t taps, int64_t stride, int64_t dilation, const real *x,       \
                             const ireal *x_place, real *y, ireal *place);                                   \
        void (*places_i32)(int64_t n, const ireal *place, int32_t *out);                                     \
        void (*places_i64)(int64_t n, const ireal *place, int64_t *out);                                     \
        /* Average pooling along a row and back: y[o] = sum of x[o stride + k];  x[o stride + k] += y[o] */  \
        void (*sum_along)(int64_t n, int64_t taps, int64_t stride, const real *x, real *y);                  \
        void (*spread_along)(int64_t n, int64_t taps, int64_t stride, const real *y, real *x);               \
        /* Windows of a padded plane: output (r, j), of n in a row, takes x[tap_at[t] + r * row_step + j] from \
           tap t, whose place is tap_place[t] + r * row_place + j * stride.  Writes -1 as the place, and       \
           returns 1, where a window holds nothing but -inf.  Meanwhile asks for next_n values that will be    \
           read next: fetchers of the hardware stop at the end of each page.  rows, n > 0 */                 \
        int (*max_windows_at)(int64_t rows, int64_t n, int64_t taps, const real *x, const int64_t *tap_at,   \
                              const int64_t *tap_place, int64_t row_step, int64_t row_place,                 \
                              int64_t stride, real *y, ireal *place, const real *next, int64_t next_n);      \
        /* 2 x 2 windows with stride 2: `rows` rows of n outputs; input rows are `width` long. */            \
        void (*max_2x2)(int64_t rows, int64_t n, int64_t width, const real *x, real *y);                     \
        void (*max_2x2_at)(int64_t rows, int64_t n, int64_t width, const real *x, real *y, ireal *place);    \
        void (*average_2x2)(int64_t rows, int64_t n, int64_t width, const real *x, real *y);                 \
        void (*spread_2x2)(int64_t rows, int64_t n, int64_t width, const real *dy, real *dx);                \
                                                                                                             \
        /* One update of n parameters; velocity may be NULL. */                                              \
        void (*sgd)(int64_t n, real *values, const real *grads, real *velocity, real lr, real momentum,      \
                    int nesterov, real weight_decay);                                                        \
        void (*adam)(int64_t n, real *values, const real *grads, real *m, real *v,                           \
                     const ck_adam *coefficients);                                                           \
        /* mean and velocity may be NULL */                                                                  \
        void (*rmsprop)(int64_t n, real *values, const real *grads, real *square, real *mean, real *velocity,\
                        real lr, real alpha, real momentum, real eps, real weight_decay);                    \
    } table;

CK_ROWS_TABLE(float, int32_t, ck_rows_f32)
CK_ROWS_TABLE(double, int64_t, ck_rows_f64)

#endif
