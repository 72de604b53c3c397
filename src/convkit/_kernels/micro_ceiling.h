/* Loops that show what a machine can do at most: to measure kernels against, not to compute with. */
#ifndef CK_MICRO_CEILING_H
#define CK_MICRO_CEILING_H

#include <stdint.h>

typedef struct {
    /* `rounds` times some multiplications and additions that do not wait for one another, all in registers;
       one round is `peak_flops` of them, counted separately.  The result depends on all. */
    int64_t peak_flops;
    float (*peak)(int64_t rounds, float factor, float term);
    /* y = a + factor * b: two streams read, one written. */
    void (*triad)(int64_t n, float factor, const float *a, const float *b, float *y);
} ck_ceiling;

#endif
