/* Activations with up to two constants, element by element. */
#ifndef CK_MICRO_MAPS_H
#define CK_MICRO_MAPS_H

#include <stdint.h>

typedef enum {
    CK_LEAKY_RELU, CK_ELU, CK_SELU, CK_GELU, CK_GELU_TANH, CK_SILU, CK_SOFTPLUS, CK_HARD_SIGMOID,
    CK_HARD_SWISH, CK_HARD_TANH, CK_SHIFT, CK_ACTIVATIONS
} ck_activation;

/* y = f(x; p, q), y may be x;  dx = dy f'(x; p, q), dx may be dy or x. */
#define CK_MAPS_TABLE(real, table)                                                                           \
    typedef struct {                                                                                         \
        void (*forward[CK_ACTIVATIONS])(int64_t n, real p, real q, const real *x, real *y);                  \
        void (*gradient[CK_ACTIVATIONS])(int64_t n, real p, real q, const real *x, const real *dy, real *dx);\
    } table;

CK_MAPS_TABLE(float, ck_maps_f32)
CK_MAPS_TABLE(double, ck_maps_f64)

#endif
