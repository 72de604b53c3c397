/* The tile of a convolution that reads image rows in place, see direct.inc.h. */
#ifndef CK_MICRO_DIRECT_H
#define CK_MICRO_DIRECT_H

#include <stdint.h>

enum {
    CK_RUN_BYTES = 32,  /* neighbouring pixels */
    CK_MAX_RUNS = 8     /* of a tile, over all instruction sets */
};

#define CK_DIRECT_TABLE(real, name)                                                                        \
    typedef struct {                                                                                       \
        int rows, vectors;  /* of the largest tile */                                                      \
        int together;       /* runs in a vector */                                                         \
        /* c[p][i * c_step ...] = bias[i] + sum over k of a[i * a_step + k] * b[p][b_at[k] ...], then ReLU if asked for, \
           i < m, p < vectors * together, k < depth, for the values of a run at once; bias may be NULL */  \
        void (*tile)(int m, int vectors, int64_t depth, const real *a, int64_t a_step, const real *const *b, \
                     const int64_t *b_at, real *const *c, int64_t c_step, int relu, const real *bias);     \
    } name;

CK_DIRECT_TABLE(float, ck_direct_f32)
CK_DIRECT_TABLE(double, ck_direct_f64)

#endif
