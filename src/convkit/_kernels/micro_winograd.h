/* The transforms of Winograd's F(2x2, 3x3) and F(2x2, 5x5), see winograd.inc.h, on arrays in lanes (micro_lanes.h).

   A tile has side x side inputs, side = 4 or 6, as many products, and 2 x 2 outputs. `at` holds, for each tile, where its
   inputs or outputs lie in a plane, negative ones outside; the products' planes are xi_step apart. */
#ifndef CK_MICRO_WINOGRAD_H
#define CK_MICRO_WINOGRAD_H

#include <stdint.h>

/* Of a table of both. */
enum { WINOGRAD_3X3, WINOGRAD_5X5, CK_WINOGRADS };

#define CK_WINOGRAD_TABLE(real, name)                                                                       \
    typedef struct {                                                                                        \
        void (*input)(int64_t channels, int64_t tiles, const real *x, int64_t x_step, const int64_t *at,    \
                      real *v, int64_t v_step, int64_t xi_step);                                            \
        /* added to x */                                                                                    \
        void (*input_adjoint)(int64_t channels, int64_t tiles, const real *m, int64_t m_step,               \
                              int64_t xi_step, const int64_t *at, real *x, int64_t x_step);                 \
        /* plus bias, then ReLU, as `mode` says: GATHER_BIAS, GATHER_RELU */                                \
        void (*output)(int64_t channels, int64_t tiles, const real *m, int64_t m_step, int64_t xi_step,     \
                       const int64_t *at, real *y, int64_t y_step, int mode, const real *bias);             \
        /* the same, but of each tile, at `at`, its mean, or its largest value and the place of that */     \
        void (*output_mean)(int64_t channels, int64_t tiles, const real *m, int64_t m_step,                 \
                            int64_t xi_step, const int64_t *at, real *y, int64_t y_step, int mode,          \
                            const real *bias);                                                              \
        void (*output_max)(int64_t channels, int64_t tiles, const real *m, int64_t m_step, int64_t xi_step, \
                           const int64_t *at, real *y, uint8_t *codes, int64_t y_step, int mode,            \
                           const real *bias);                                                               \
        void (*output_adjoint)(int64_t channels, int64_t tiles, const real *y, int64_t y_step,              \
                               const int64_t *at, real *m, int64_t m_step, int64_t xi_step);                \
        /* n kernels w_step apart, 8 at most, of each of some channels, or half a turn of them, to u (channels, n) */ \
        void (*kernel)(int64_t n, int64_t channels, const real *w, int64_t w_step, int64_t channel_step,    \
                       int half_turn, real *u, int64_t xi_step);                                            \
        /* sums of u, up to whole vectors of them, to n whole kernels */                                    \
        void (*kernel_adjoint)(int64_t n, const real *u, int64_t xi_step, real *w);                         \
    } name;

CK_WINOGRAD_TABLE(float, ck_winograd_f32)
CK_WINOGRAD_TABLE(double, ck_winograd_f64)

#endif
