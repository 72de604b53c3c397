"""The row kernels of micro_norm.h; what each does is said there."""

from libc.stdint cimport int64_t


cdef extern from "micro_norm.h" nogil:
    enum:
        CK_RESPONSE_ROW

    ctypedef struct ck_norm_f32:
        void (*moments)(int64_t n, float center, const float *x, double *sum, double *squares) noexcept nogil
        void (*moments_across)(int64_t n, const double *center, const float *x, double *sum,
                               double *squares) noexcept nogil
        void (*normalize)(int64_t n, float center, float scale, float shift, int relu, const float *x,
                          float *y) noexcept nogil
        void (*normalize_across)(int64_t n, const float *center, const float *scale, const float *shift,
                                 int relu, const float *x, float *y) noexcept nogil
        void (*normalize_sums)(int64_t n, float center, float scale, float shift, int relu, const float *x,
                               const float *dy, double *sum, double *dot) noexcept nogil
        void (*normalize_sums_across)(int64_t n, const float *center, const float *scale, const float *shift,
                                      int relu, const float *x, const float *dy, double *sum,
                                      double *dot) noexcept nogil
        void (*normalize_grad)(int64_t n, float center, float scale, float shift, int relu, float mean,
                               float slope, const float *x, const float *dy, float *dx) noexcept nogil
        void (*normalize_grad_across)(int64_t n, const float *center, const float *scale, const float *shift,
                                      int relu, const float *mean, const float *slope, const float *x,
                                      const float *dy, float *dx) noexcept nogil
        void (*response)(int64_t n, int64_t taps, int64_t step, const float *window, float k, float alpha,
                         float beta, const float *x, float *y) noexcept nogil
        void (*response_grad)(int64_t n, int64_t taps, int64_t step, const float *window, float k, float alpha,
                              float beta, const float *x, const float *dy, float *dx,
                              float *ratio) noexcept nogil
        void (*response_spread)(int64_t n, int64_t taps, int64_t step, const float *ratios, float factor,
                                const float *x, float *dx) noexcept nogil
    ctypedef struct ck_norm_f64:
        void (*moments)(int64_t n, double center, const double *x, double *sum, double *squares) noexcept nogil
        void (*moments_across)(int64_t n, const double *center, const double *x, double *sum,
                               double *squares) noexcept nogil
        void (*normalize)(int64_t n, double center, double scale, double shift, int relu, const double *x,
                          double *y) noexcept nogil
        void (*normalize_across)(int64_t n, const double *center, const double *scale, const double *shift,
                                 int relu, const double *x, double *y) noexcept nogil
        void (*normalize_sums)(int64_t n, double center, double scale, double shift, int relu, const double *x,
                               const double *dy, double *sum, double *dot) noexcept nogil
        void (*normalize_sums_across)(int64_t n, const double *center, const double *scale, const double *shift,
                                      int relu, const double *x, const double *dy, double *sum,
                                      double *dot) noexcept nogil
        void (*normalize_grad)(int64_t n, double center, double scale, double shift, int relu, double mean,
                               double slope, const double *x, const double *dy, double *dx) noexcept nogil
        void (*normalize_grad_across)(int64_t n, const double *center, const double *scale, const double *shift,
                                      int relu, const double *mean, const double *slope, const double *x,
                                      const double *dy, double *dx) noexcept nogil
        void (*response)(int64_t n, int64_t taps, int64_t step, const double *window, double k, double alpha,
                         double beta, const double *x, double *y) noexcept nogil
        void (*response_grad)(int64_t n, int64_t taps, int64_t step, const double *window, double k, double alpha,
                              double beta, const double *x, const double *dy, double *dx,
                              double *ratio) noexcept nogil
        void (*response_spread)(int64_t n, int64_t taps, int64_t step, const double *ratios, double factor,
                                const double *x, double *dx) noexcept nogil
