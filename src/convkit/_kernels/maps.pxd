"""The activations of micro_maps.h; what each does is said there."""

from libc.stdint cimport int64_t


cdef extern from "micro_maps.h" nogil:
    enum:
        CK_LEAKY_RELU, CK_ELU, CK_SELU, CK_GELU, CK_GELU_TANH, CK_SILU, CK_SOFTPLUS, CK_HARD_SIGMOID
        CK_HARD_SWISH, CK_HARD_TANH, CK_SHIFT, CK_ACTIVATIONS

    ctypedef struct ck_maps_f32:
        void (*forward[CK_ACTIVATIONS])(int64_t n, float p, float q, const float *x, float *y) noexcept nogil
        void (*gradient[CK_ACTIVATIONS])(int64_t n, float p, float q, const float *x, const float *dy,
                                         float *dx) noexcept nogil
    ctypedef struct ck_maps_f64:
        void (*forward[CK_ACTIVATIONS])(int64_t n, double p, double q, const double *x, double *y) noexcept nogil
        void (*gradient[CK_ACTIVATIONS])(int64_t n, double p, double q, const double *x, const double *dy,
                                         double *dx) noexcept nogil
