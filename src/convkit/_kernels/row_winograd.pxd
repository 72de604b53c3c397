"""The kernels of micro_row_winograd.h; what each does is said there."""

from libc.stdint cimport int64_t, uint8_t


cdef extern from "micro_row_winograd.h" nogil:
    enum:
        CK_ROW_TAPS, CK_ROW_OUTPUTS, CK_ROW_POINTS
    enum:
        ROW_ONE, ROW_TWO, ROW_MEAN, ROW_MAX

    ctypedef struct ck_row_winograd_f32:
        int most_channels, together
        void (*input)(int64_t channels, int64_t rows, const float *x, int64_t x_step, int64_t in_rows,
                      int64_t in_columns, int64_t row, int64_t column, float *u) noexcept nogil
        void (*kernel)(int64_t k, int64_t depth, const float *w, int64_t row_step, int64_t depth_step,
                       int64_t tap_step, float *g, int64_t pass_step) noexcept nogil
        void (*product)(int k, int end, int64_t n, const float *u, int64_t u_row, const float *g,
                        int64_t pass_step, int outputs, float *y, uint8_t *codes, int64_t y_step, int64_t y_row,
                        int mode, const float *bias,
                        void (*activate)(int64_t n, const float *x, float *y) noexcept nogil) noexcept nogil

    ctypedef struct ck_row_winograd_f64:
        int most_channels, together
        void (*input)(int64_t channels, int64_t rows, const double *x, int64_t x_step, int64_t in_rows,
                      int64_t in_columns, int64_t row, int64_t column, double *u) noexcept nogil
        void (*kernel)(int64_t k, int64_t depth, const double *w, int64_t row_step, int64_t depth_step,
                       int64_t tap_step, double *g, int64_t pass_step) noexcept nogil
        void (*product)(int k, int end, int64_t n, const double *u, int64_t u_row, const double *g,
                        int64_t pass_step, int outputs, double *y, uint8_t *codes, int64_t y_step, int64_t y_row,
                        int mode, const double *bias,
                        void (*activate)(int64_t n, const double *x, double *y) noexcept nogil) noexcept nogil
