"""The kernels of micro_lanes.h; what each does is said there."""

from libc.stdint cimport int64_t, uint8_t


cdef extern from "micro_lanes.h" nogil:
    enum:
        CK_PIXEL_BYTES, CK_MAX_PIXELS, CK_MAX_SUMS, CK_NO_TAP
    enum:
        GATHER_BIAS, GATHER_RELU
    void ck_fetch(const void *place) noexcept nogil
    ctypedef struct ck_window_row:
        int64_t count, rows, row_step, row_code, row_codes, dilation
        int pairs, add
        const int64_t *first
        const int64_t *low
        const int64_t *high

    ctypedef struct ck_lanes_f32:
        int gather_rows, gather_pixels, correlate_m, correlate_n
        void (*gather)(int m, int pixels, int64_t taps, int64_t depth, const float *a, const int64_t *a_at,
                       const float *const *b, const int64_t *b_at, int64_t b_step, float *const *c,
                       int64_t c_step, int mode, const float *bias) noexcept nogil
        void (*gather_single)(int64_t count, int64_t taps, const float *a, const int64_t *a_at, const float *b,
                              const int64_t *b_at, const int64_t *base, float *c, const int64_t *output, int mode,
                              float bias) noexcept nogil
        void (*correlate)(int m, int n, int64_t blocks, int64_t rows, int64_t columns, const float *a,
                          int64_t a_step, int64_t a_block, const float *b, const int64_t *b_at,
                          int64_t b_block, const int64_t *row_at, int64_t b_column,
                          float *sums) noexcept nogil
        void (*max_row)(const ck_window_row *w, const float *x, float *y, uint8_t *codes) noexcept nogil
        void (*mean_row)(const ck_window_row *w, const float *scale, const float *x,
                         float *y) noexcept nogil
        void (*max_row_grad)(const ck_window_row *w, const float *y, const uint8_t *codes,
                             float *x) noexcept nogil
        void (*mean_row_grad)(const ck_window_row *w, const float *scale, const float *y,
                              float *x) noexcept nogil

    ctypedef struct ck_lanes_f64:
        int gather_rows, gather_pixels, correlate_m, correlate_n
        void (*gather)(int m, int pixels, int64_t taps, int64_t depth, const double *a, const int64_t *a_at,
                       const double *const *b, const int64_t *b_at, int64_t b_step, double *const *c,
                       int64_t c_step, int mode, const double *bias) noexcept nogil
        void (*gather_single)(int64_t count, int64_t taps, const double *a, const int64_t *a_at, const double *b,
                              const int64_t *b_at, const int64_t *base, double *c, const int64_t *output, int mode,
                              double bias) noexcept nogil
        void (*correlate)(int m, int n, int64_t blocks, int64_t rows, int64_t columns, const double *a,
                          int64_t a_step, int64_t a_block, const double *b, const int64_t *b_at,
                          int64_t b_block, const int64_t *row_at, int64_t b_column,
                          double *sums) noexcept nogil
        void (*max_row)(const ck_window_row *w, const double *x, double *y, uint8_t *codes) noexcept nogil
        void (*mean_row)(const ck_window_row *w, const double *scale, const double *x,
                         double *y) noexcept nogil
        void (*max_row_grad)(const ck_window_row *w, const double *y, const uint8_t *codes,
                             double *x) noexcept nogil
        void (*mean_row_grad)(const ck_window_row *w, const double *scale, const double *y,
                              double *x) noexcept nogil
