"""The row kernels of micro_rows.h; what each does is said there."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t


cdef extern from "micro_rows.h" nogil:
    enum:
        CK_MAP_RELU, CK_MAP_TANH, CK_MAP_SIGMOID, CK_UNARY_MAPS
    enum:
        CK_MAP_ADD, CK_MAP_SUBTRACT, CK_MAP_MULTIPLY
        CK_MAP_RELU_GRAD, CK_MAP_TANH_GRAD, CK_MAP_SIGMOID_GRAD, CK_BINARY_MAPS
    ctypedef struct ck_philox:
        uint32_t key[2]
        uint32_t counter[3]
    ctypedef struct ck_adam:
        double decay, keep, beta1, beta2, rate, root_scale, eps

    ctypedef struct ck_rows_f32:
        void (*unary[CK_UNARY_MAPS])(int64_t n, const float *x, float *y) noexcept nogil
        void (*binary[CK_BINARY_MAPS])(int64_t n, const float *a, const float *b, float *out) noexcept nogil
        void (*fill)(int64_t n, float value, float *y) noexcept nogil
        void (*scale)(int64_t n, float factor, const float *x, float *y) noexcept nogil
        void (*scale_u8)(int64_t n, float factor, const uint8_t *x, float *y) noexcept nogil
        void (*dropout)(int64_t n, int64_t first, const ck_philox *stream, uint32_t threshold, float factor,
                        const float *x, float *y) noexcept nogil
        double (*sum)(int64_t n, const float *x) noexcept nogil
        double (*sum_squares)(int64_t n, const float *x) noexcept nogil
        double (*sum_squared_differences)(int64_t n, const float *a, const float *b) noexcept nogil
        double (*dot)(int64_t n, const float *a, const float *b) noexcept nogil
        void (*scaled_difference)(int64_t n, float factor, const float *a, const float *b,
                                  float *out) noexcept nogil
        double (*softmax_row)(int64_t n, const float *x, float *y, float *maximum) noexcept nogil
        void (*softmax_grad)(int64_t n, float dot, const float *y, const float *dy, float *dx) noexcept nogil
        void (*log_softmax_grad)(int64_t n, float total, const float *y, const float *dy,
                                 float *dx) noexcept nogil
        void (*log_probabilities)(int64_t n, float maximum, float log_total, const float *x,
                                  float *y) noexcept nogil
        void (*targets)(int64_t n, float keep, float smoothing, const float *weight, const float *labels,
                        float *target) noexcept nogil
        void (*entropy_grad)(int64_t n, float factor, float mass, const float *p, const float *target,
                             float *dx) noexcept nogil
        void (*entropy_grad_across)(int64_t n, const float *factor, const float *mass, const float *p,
                                    const float *target, float *dx) noexcept nogil
        void (*maximum_across)(int64_t n, const float *x, float *best) noexcept nogil
        void (*exp_across)(int64_t n, const float *x, const float *maximum, float *y,
                           float *total) noexcept nogil
        void (*dot_across)(int64_t n, const float *a, const float *b, float *total) noexcept nogil
        void (*softmax_grad_across)(int64_t n, const float *dot, const float *y, const float *dy,
                                    float *dx) noexcept nogil
        void (*log_softmax_grad_across)(int64_t n, const float *total, const float *y, const float *dy,
                                        float *dx) noexcept nogil
        void (*divide)(int64_t n, const float *x, const float *divisor, float factor, float *y) noexcept nogil
        void (*max_down)(int64_t n, const float *x, float *best) noexcept nogil
        void (*max_down_at)(int64_t n, const float *x, int32_t first, float *best,
                            int32_t *place) noexcept nogil
        void (*max_along)(int64_t n, int64_t taps, int64_t stride, int64_t dilation, const float *x,
                          float *y) noexcept nogil
        void (*max_along_at)(int64_t n, int64_t taps, int64_t stride, int64_t dilation, const float *x,
                             const int32_t *x_place, float *y, int32_t *place) noexcept nogil
        void (*places_i32)(int64_t n, const int32_t *place, int32_t *out) noexcept nogil
        void (*places_i64)(int64_t n, const int32_t *place, int64_t *out) noexcept nogil
        int (*max_windows_at)(int64_t rows, int64_t n, int64_t taps, const float *x, const int64_t *tap_at,
                              const int64_t *tap_place, int64_t row_step, int64_t row_place,
                              int64_t stride, float *y, int32_t *place, const float *next,
                              int64_t next_n) noexcept nogil
        void (*max_2x2)(int64_t rows, int64_t n, int64_t width, const float *x, float *y) noexcept nogil
        void (*max_2x2_at)(int64_t rows, int64_t n, int64_t width, const float *x, float *y,
                           int32_t *place) noexcept nogil
        void (*average_2x2)(int64_t rows, int64_t n, int64_t width, const float *x, float *y) noexcept nogil
        void (*spread_2x2)(int64_t rows, int64_t n, int64_t width, const float *dy, float *dx) noexcept nogil
        void (*sum_along)(int64_t n, int64_t taps, int64_t stride, const float *x, float *y) noexcept nogil
        void (*spread_along)(int64_t n, int64_t taps, int64_t stride, const float *y, float *x) noexcept nogil
        void (*sgd)(int64_t n, float *values, const float *grads, float *velocity, float lr, float momentum,
                    int nesterov, float weight_decay) noexcept nogil
        void (*adam)(int64_t n, float *values, const float *grads, float *m, float *v,
                     const ck_adam *coefficients) noexcept nogil
        void (*rmsprop)(int64_t n, float *values, const float *grads, float *square, float *mean,
                        float *velocity, float lr, float alpha, float momentum, float eps,
                        float weight_decay) noexcept nogil

    ctypedef struct ck_rows_f64:
        void (*unary[CK_UNARY_MAPS])(int64_t n, const double *x, double *y) noexcept nogil
        void (*binary[CK_BINARY_MAPS])(int64_t n, const double *a, const double *b,
                                       double *out) noexcept nogil
        void (*fill)(int64_t n, double value, double *y) noexcept nogil
        void (*scale)(int64_t n, double factor, const double *x, double *y) noexcept nogil
        void (*scale_u8)(int64_t n, double factor, const uint8_t *x, double *y) noexcept nogil
        void (*dropout)(int64_t n, int64_t first, const ck_philox *stream, uint32_t threshold, double factor,
                        const double *x, double *y) noexcept nogil
        double (*sum)(int64_t n, const double *x) noexcept nogil
        double (*sum_squares)(int64_t n, const double *x) noexcept nogil
        double (*sum_squared_differences)(int64_t n, const double *a, const double *b) noexcept nogil
        double (*dot)(int64_t n, const double *a, const double *b) noexcept nogil
        void (*scaled_difference)(int64_t n, double factor, const double *a, const double *b,
                                  double *out) noexcept nogil
        double (*softmax_row)(int64_t n, const double *x, double *y, double *maximum) noexcept nogil
        void (*softmax_grad)(int64_t n, double dot, const double *y, const double *dy,
                             double *dx) noexcept nogil
        void (*log_softmax_grad)(int64_t n, double total, const double *y, const double *dy,
                                 double *dx) noexcept nogil
        void (*log_probabilities)(int64_t n, double maximum, double log_total, const double *x,
                                  double *y) noexcept nogil
        void (*targets)(int64_t n, double keep, double smoothing, const double *weight, const double *labels,
                        double *target) noexcept nogil
        void (*entropy_grad)(int64_t n, double factor, double mass, const double *p, const double *target,
                             double *dx) noexcept nogil
        void (*entropy_grad_across)(int64_t n, const double *factor, const double *mass, const double *p,
                                    const double *target, double *dx) noexcept nogil
        void (*maximum_across)(int64_t n, const double *x, double *best) noexcept nogil
        void (*exp_across)(int64_t n, const double *x, const double *maximum, double *y,
                           double *total) noexcept nogil
        void (*dot_across)(int64_t n, const double *a, const double *b, double *total) noexcept nogil
        void (*softmax_grad_across)(int64_t n, const double *dot, const double *y, const double *dy,
                                    double *dx) noexcept nogil
        void (*log_softmax_grad_across)(int64_t n, const double *total, const double *y, const double *dy,
                                        double *dx) noexcept nogil
        void (*divide)(int64_t n, const double *x, const double *divisor, double factor,
                       double *y) noexcept nogil
        void (*max_down)(int64_t n, const double *x, double *best) noexcept nogil
        void (*max_down_at)(int64_t n, const double *x, int64_t first, double *best,
                            int64_t *place) noexcept nogil
        void (*max_along)(int64_t n, int64_t taps, int64_t stride, int64_t dilation, const double *x,
                          double *y) noexcept nogil
        void (*max_along_at)(int64_t n, int64_t taps, int64_t stride, int64_t dilation, const double *x,
                             const int64_t *x_place, double *y, int64_t *place) noexcept nogil
        void (*places_i32)(int64_t n, const int64_t *place, int32_t *out) noexcept nogil
        void (*places_i64)(int64_t n, const int64_t *place, int64_t *out) noexcept nogil
        int (*max_windows_at)(int64_t rows, int64_t n, int64_t taps, const double *x, const int64_t *tap_at,
                              const int64_t *tap_place, int64_t row_step, int64_t row_place,
                              int64_t stride, double *y, int64_t *place, const double *next,
                              int64_t next_n) noexcept nogil
        void (*max_2x2)(int64_t rows, int64_t n, int64_t width, const double *x, double *y) noexcept nogil
        void (*max_2x2_at)(int64_t rows, int64_t n, int64_t width, const double *x, double *y,
                           int64_t *place) noexcept nogil
        void (*average_2x2)(int64_t rows, int64_t n, int64_t width, const double *x, double *y) noexcept nogil
        void (*spread_2x2)(int64_t rows, int64_t n, int64_t width, const double *dy,
                           double *dx) noexcept nogil
        void (*sum_along)(int64_t n, int64_t taps, int64_t stride, const double *x, double *y) noexcept nogil
        void (*spread_along)(int64_t n, int64_t taps, int64_t stride, const double *y,
                             double *x) noexcept nogil
        void (*sgd)(int64_t n, double *values, const double *grads, double *velocity, double lr,
                    double momentum, int nesterov, double weight_decay) noexcept nogil
        void (*adam)(int64_t n, double *values, const double *grads, double *m, double *v,
                     const ck_adam *coefficients) noexcept nogil
        void (*rmsprop)(int64_t n, double *values, const double *grads, double *square, double *mean,
                        double *velocity, double lr, double alpha, double momentum, double eps,
                        double weight_decay) noexcept nogil
