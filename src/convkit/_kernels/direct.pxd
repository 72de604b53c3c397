"""The tile of micro_direct.h; what it does is said there."""

from libc.stdint cimport int64_t


cdef extern from "micro_direct.h" nogil:
    enum:
        CK_RUN_BYTES, CK_MAX_RUNS

    ctypedef struct ck_direct_f32:
        int rows, vectors, together
        void (*tile)(int m, int vectors, int64_t depth, const float *a, int64_t a_step, const float *const *b,
                     const int64_t *b_at, float *const *c, int64_t c_step, int relu,
                     const float *bias) noexcept nogil

    ctypedef struct ck_direct_f64:
        int rows, vectors, together
        void (*tile)(int m, int vectors, int64_t depth, const double *a, int64_t a_step, const double *const *b,
                     const int64_t *b_at, double *const *c, int64_t c_step, int relu,
                     const double *bias) noexcept nogil
