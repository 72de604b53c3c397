"""What every driver shares: a kernel bound to its arrays, the micro-kernels chosen, threads and scratch."""

from libc.stddef cimport size_t
from libc.stdint cimport int64_t

from convkit._kernels.direct cimport ck_direct_f32, ck_direct_f64
from convkit._kernels.lanes cimport ck_lanes_f32, ck_lanes_f64
from convkit._kernels.maps cimport ck_maps_f32, ck_maps_f64
from convkit._kernels.norm_rows cimport ck_norm_f32, ck_norm_f64
from convkit._kernels.row_winograd cimport ck_row_winograd_f32, ck_row_winograd_f64
from convkit._kernels.rows cimport ck_rows_f32, ck_rows_f64
from convkit._kernels.winograd cimport ck_winograd_f32, ck_winograd_f64


cdef extern from "micro.h" nogil:
    ctypedef struct ck_tile_f32:
        int vl, mr, nv, dot_m, dot_n
        void (*outer)(int m, int nv, int64_t k, const float *const *a, int64_t a_step, const float *b, int64_t ldb,
                      float *c, int64_t ldc, int mode, const float *bias) noexcept nogil
        void (*outer_at)(int m, int nv, int64_t k, const float *const *a, const int64_t *a_at, const float *b,
                         int64_t ldb, float *c, int64_t ldc, int mode, const float *bias) noexcept nogil
        void (*dot)(int m, int n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb,
                    float *c, int64_t ldc, int mode, const float *bias) noexcept nogil
        void (*pack)(int64_t n, const float *src, const int64_t *row_at, int64_t pieces, const int64_t *piece_at,
                     const int64_t *piece_length, int64_t width, float *dst,
                     const float *end) noexcept nogil
        void (*pack_matrix)(int64_t rows, int64_t columns, const float *src, int64_t lds, int64_t width,
                            float *dst, const float *end) noexcept nogil
        void (*transpose)(int64_t rows, int64_t columns, const float *src, int64_t lds,
                          float *dst, int64_t ldd) noexcept nogil
        void (*pad_rows)(int64_t rows, int64_t n, const float *src, int64_t lds, int64_t low, int64_t phases,
                         int64_t kept, float *dst, int64_t ldd, int64_t phase_step) noexcept nogil
        void (*zip)(int64_t n, int64_t parts, const float *src, int64_t lds, float *dst) noexcept nogil
        void (*add)(int64_t rows, int64_t columns, const float *src, int64_t lds,
                    float *dst, int64_t ldd) noexcept nogil
        void (*sum_rows)(int64_t rows, int64_t columns, const float *src, int64_t lds, float *dst) noexcept nogil
        float (*sum)(int64_t n, const float *src) noexcept nogil
    ctypedef struct ck_tile_f64:
        int vl, mr, nv, dot_m, dot_n
        void (*outer)(int m, int nv, int64_t k, const double *const *a, int64_t a_step, const double *b, int64_t ldb,
                      double *c, int64_t ldc, int mode, const double *bias) noexcept nogil
        void (*outer_at)(int m, int nv, int64_t k, const double *const *a, const int64_t *a_at, const double *b,
                         int64_t ldb, double *c, int64_t ldc, int mode, const double *bias) noexcept nogil
        void (*dot)(int m, int n, int64_t k, const double *a, int64_t lda, const double *b, int64_t ldb,
                    double *c, int64_t ldc, int mode, const double *bias) noexcept nogil
        void (*pack)(int64_t n, const double *src, const int64_t *row_at, int64_t pieces, const int64_t *piece_at,
                     const int64_t *piece_length, int64_t width, double *dst,
                     const double *end) noexcept nogil
        void (*pack_matrix)(int64_t rows, int64_t columns, const double *src, int64_t lds, int64_t width,
                            double *dst, const double *end) noexcept nogil
        void (*transpose)(int64_t rows, int64_t columns, const double *src, int64_t lds,
                          double *dst, int64_t ldd) noexcept nogil
        void (*pad_rows)(int64_t rows, int64_t n, const double *src, int64_t lds, int64_t low, int64_t phases,
                         int64_t kept, double *dst, int64_t ldd, int64_t phase_step) noexcept nogil
        void (*zip)(int64_t n, int64_t parts, const double *src, int64_t lds, double *dst) noexcept nogil
        void (*add)(int64_t rows, int64_t columns, const double *src, int64_t lds,
                    double *dst, int64_t ldd) noexcept nogil
        void (*sum_rows)(int64_t rows, int64_t columns, const double *src, int64_t lds, double *dst) noexcept nogil
        double (*sum)(int64_t n, const double *src) noexcept nogil
    ctypedef struct ck_ceiling:
        int64_t peak_flops
        float (*peak)(int64_t rounds, float factor, float term) noexcept nogil
        void (*triad)(int64_t n, float factor, const float *a, const float *b, float *y) noexcept nogil
    ctypedef struct ck_depthwise_f32:
        int vl
        void (*forward)(int64_t rows, int64_t n, int64_t taps, const float *x, const int64_t *tap_at,
                        int64_t row_step, const float *weight, float bias, int relu, float *y,
                        int64_t ldy) noexcept nogil
        void (*weight_grad)(int64_t rows, int64_t n, int64_t taps, const float *x, const int64_t *tap_at,
                            int64_t row_step, const float *dy, int64_t ldy, float *total) noexcept nogil
        void (*sum_lanes)(int64_t n, const float *total, float *out) noexcept nogil
    ctypedef struct ck_depthwise_f64:
        int vl
        void (*forward)(int64_t rows, int64_t n, int64_t taps, const double *x, const int64_t *tap_at,
                        int64_t row_step, const double *weight, double bias, int relu, double *y,
                        int64_t ldy) noexcept nogil
        void (*weight_grad)(int64_t rows, int64_t n, int64_t taps, const double *x, const int64_t *tap_at,
                            int64_t row_step, const double *dy, int64_t ldy, double *total) noexcept nogil
        void (*sum_lanes)(int64_t n, const double *total, double *out) noexcept nogil
    ctypedef struct ck_micro:
        const char *name
        ck_tile_f32 tile_f32
        ck_tile_f64 tile_f64
        ck_rows_f32 rows_f32
        ck_rows_f64 rows_f64
        ck_norm_f32 norm_f32
        ck_norm_f64 norm_f64
        ck_maps_f32 maps_f32
        ck_maps_f64 maps_f64
        ck_lanes_f32 lanes_f32
        ck_lanes_f64 lanes_f64
        const ck_winograd_f32 *winograd_f32
        const ck_winograd_f64 *winograd_f64
        ck_row_winograd_f32 row_winograd_f32
        ck_row_winograd_f64 row_winograd_f64
        ck_direct_f32 direct_f32
        ck_direct_f64 direct_f64
        ck_ceiling ceiling
        ck_depthwise_f32 depthwise_f32
        ck_depthwise_f64 depthwise_f64

cdef enum:
    OUT_OF_MEMORY = 1

# A body that serves float32 and float64 is generic over `real`.
ctypedef fused real:
    float
    double

cdef const ck_micro *micro() noexcept nogil
cdef int threads_for(double operations) noexcept nogil
cdef void *scratch(int slot, size_t count) noexcept nogil


cdef class Kernel:
    """A piece of work bound to its arrays: `execute` does it, again and again, allocating nothing."""
    cdef int execute(self) except -1 nogil


cdef class Reader(Kernel):
    """A kernel that may read its input wherever that lies: who sets `source` keeps the array alive."""
    cdef const void *source


cdef void *address(array) except? NULL
cdef bint is_double(array) except -1
