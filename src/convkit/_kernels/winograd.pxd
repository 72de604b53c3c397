"""The transforms of micro_winograd.h; what each does is said there."""

from libc.stdint cimport int64_t, uint8_t


cdef extern from "micro_winograd.h" nogil:
    enum:
        WINOGRAD_3X3, WINOGRAD_5X5, CK_WINOGRADS

    ctypedef struct ck_winograd_f32:
        void (*input)(int64_t channels, int64_t tiles, const float *x, int64_t x_step, const int64_t *at, float *v,
                      int64_t v_step, int64_t xi_step) noexcept nogil
        void (*input_adjoint)(int64_t channels, int64_t tiles, const float *m, int64_t m_step, int64_t xi_step,
                              const int64_t *at, float *x, int64_t x_step) noexcept nogil
        void (*output)(int64_t channels, int64_t tiles, const float *m, int64_t m_step, int64_t xi_step,
                       const int64_t *at, float *y, int64_t y_step, int mode, const float *bias) noexcept nogil
        void (*output_mean)(int64_t channels, int64_t tiles, const float *m, int64_t m_step, int64_t xi_step,
                            const int64_t *at, float *y, int64_t y_step, int mode,
                            const float *bias) noexcept nogil
        void (*output_max)(int64_t channels, int64_t tiles, const float *m, int64_t m_step, int64_t xi_step,
                           const int64_t *at, float *y, uint8_t *codes, int64_t y_step, int mode,
                           const float *bias) noexcept nogil
        void (*output_adjoint)(int64_t channels, int64_t tiles, const float *y, int64_t y_step, const int64_t *at,
                               float *m, int64_t m_step, int64_t xi_step) noexcept nogil
        void (*kernel)(int64_t n, int64_t channels, const float *w, int64_t w_step, int64_t channel_step,
                       int half_turn, float *u, int64_t xi_step) noexcept nogil
        void (*kernel_adjoint)(int64_t n, const float *u, int64_t xi_step, float *w) noexcept nogil

    ctypedef struct ck_winograd_f64:
        void (*input)(int64_t channels, int64_t tiles, const double *x, int64_t x_step, const int64_t *at, double *v,
                      int64_t v_step, int64_t xi_step) noexcept nogil
        void (*input_adjoint)(int64_t channels, int64_t tiles, const double *m, int64_t m_step, int64_t xi_step,
                              const int64_t *at, double *x, int64_t x_step) noexcept nogil
        void (*output)(int64_t channels, int64_t tiles, const double *m, int64_t m_step, int64_t xi_step,
                       const int64_t *at, double *y, int64_t y_step, int mode, const double *bias) noexcept nogil
        void (*output_mean)(int64_t channels, int64_t tiles, const double *m, int64_t m_step, int64_t xi_step,
                            const int64_t *at, double *y, int64_t y_step, int mode,
                            const double *bias) noexcept nogil
        void (*output_max)(int64_t channels, int64_t tiles, const double *m, int64_t m_step, int64_t xi_step,
                           const int64_t *at, double *y, uint8_t *codes, int64_t y_step, int mode,
                           const double *bias) noexcept nogil
        void (*output_adjoint)(int64_t channels, int64_t tiles, const double *y, int64_t y_step, const int64_t *at,
                               double *m, int64_t m_step, int64_t xi_step) noexcept nogil
        void (*kernel)(int64_t n, int64_t channels, const double *w, int64_t w_step, int64_t channel_step,
                       int half_turn, double *u, int64_t xi_step) noexcept nogil
        void (*kernel_adjoint)(int64_t n, const double *u, int64_t xi_step, double *w) noexcept nogil
