"""The update of parameters by an optimiser: plain functions on flat arrays of one dtype, in place.

The arrays are contiguous and equally long; the caller sees to that.
"""

from cython.parallel cimport prange
from libc.math cimport sqrt
from libc.stdint cimport int64_t

from convkit._kernels.chunks cimport CHUNK, chunk_length, chunks_of
from convkit._kernels.core cimport address, is_double, micro, real, scratch, threads_for
from convkit._kernels.rows cimport ck_adam


cdef void *address_or_null(array) except? NULL:
    return NULL if array is None else address(array)


cdef void update_sgd(
    int64_t n, real *values, const real *grads, real *velocity,
    double lr, double momentum, bint nesterov, double weight_decay,
) noexcept nogil:
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef int64_t chunk, at
    for chunk in prange(chunks_of(n), schedule="static", num_threads=threads_for(8.0 * n)):
        at = chunk * CHUNK
        rows.sgd(
            chunk_length(n, chunk), values + at, grads + at, velocity + at if velocity else NULL,
            <real>lr, <real>momentum, nesterov, <real>weight_decay,
        )


def sgd(values, grads, velocity, double lr, double momentum, bint nesterov, double weight_decay):
    """One step of stochastic gradient descent.

    g = grad + weight_decay * value; with a velocity u = momentum * u + g (it starts at zero), and the step
    is u, or g + momentum * u for Nesterov's; value -= lr * step.  Without momentum `velocity` is None.
    """
    cdef int64_t n = values.size
    cdef void *v = address(values)
    cdef void *g = address(grads)
    cdef void *u = address_or_null(velocity)
    if is_double(values):
        with nogil:
            update_sgd(n, <double *>v, <const double *>g, <double *>u, lr, momentum, nesterov, weight_decay)
    else:
        with nogil:
            update_sgd(n, <float *>v, <const float *>g, <float *>u, lr, momentum, nesterov, weight_decay)


cdef void update_adam(
    int64_t n, real *values, const real *grads, real *m, real *v, const ck_adam *coefficients
) noexcept nogil:
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef int64_t chunk, at
    for chunk in prange(chunks_of(n), schedule="static", num_threads=threads_for(16.0 * n)):
        at = chunk * CHUNK
        rows.adam(chunk_length(n, chunk), values + at, grads + at, m + at, v + at, coefficients)


def adam(
    values, grads, m, v, double lr, double beta1, double beta2, double eps, double weight_decay,
    bint decoupled, int64_t count,
):
    """One step of Adam, or of AdamW where the weight decay is `decoupled`; `count` is 1 for the first.

    m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2,
    value -= lr m' / (sqrt(v') + eps)  with m' = m / (1 - beta1^count), v' = v / (1 - beta2^count).
    The decay adds weight_decay * value to g, or (decoupled) first shrinks the value by lr * weight_decay.
    Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2.
    """
    cdef int64_t n = values.size
    cdef ck_adam coefficients
    coefficients.decay = 0 if decoupled else weight_decay
    coefficients.keep = 1 - lr * weight_decay if decoupled else 1
    coefficients.beta1 = beta1
    coefficients.beta2 = beta2
    coefficients.rate = lr / (1 - beta1 ** count)
    coefficients.root_scale = 1 / sqrt(1 - beta2 ** count)
    coefficients.eps = eps
    cdef void *w = address(values)
    cdef void *g = address(grads)
    cdef void *first = address(m)
    cdef void *second = address(v)
    if is_double(values):
        with nogil:
            update_adam(n, <double *>w, <const double *>g, <double *>first, <double *>second, &coefficients)
    else:
        with nogil:
            update_adam(n, <float *>w, <const float *>g, <float *>first, <float *>second, &coefficients)


cdef void update_rmsprop(
    int64_t n, real *values, const real *grads, real *square, real *mean, real *velocity,
    double lr, double alpha, double momentum, double eps, double weight_decay,
) noexcept nogil:
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef int64_t chunk, at
    for chunk in prange(chunks_of(n), schedule="static", num_threads=threads_for(12.0 * n)):
        at = chunk * CHUNK
        rows.rmsprop(
            chunk_length(n, chunk), values + at, grads + at, square + at, mean + at if mean else NULL,
            velocity + at if velocity else NULL, <real>lr, <real>alpha, <real>momentum, <real>eps, <real>weight_decay,
        )


def rmsprop(
    values, grads, square, mean, velocity, double lr, double alpha, double momentum, double eps, double weight_decay
):
    """One step of RMSprop: g = grad + weight_decay * value, square = alpha square + (1 - alpha) g^2, and
    value -= lr * u with u = g / (sqrt(square) + eps).

    With a `mean`, mean = alpha mean + (1 - alpha) g and square - mean^2 stands under the root; with a `velocity`,
    u = velocity = momentum * velocity + g / (...).  Both may be None.
    """
    cdef int64_t n = values.size
    cdef void *w = address(values)
    cdef void *g = address(grads)
    cdef void *s = address(square)
    cdef void *m = address_or_null(mean)
    cdef void *u = address_or_null(velocity)
    if is_double(values):
        with nogil:
            update_rmsprop(n, <double *>w, <const double *>g, <double *>s, <double *>m, <double *>u,
                           lr, alpha, momentum, eps, weight_decay)
    else:
        with nogil:
            update_rmsprop(n, <float *>w, <const float *>g, <float *>s, <float *>m, <float *>u,
                           lr, alpha, momentum, eps, weight_decay)


cdef double total_of_squares(int64_t n, const real *x) except? -1 nogil:
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef int64_t chunk, chunks = chunks_of(n)
    cdef double *partial = <double *>scratch(0, chunks * sizeof(double))
    if not partial:
        raise MemoryError
    for chunk in prange(chunks, schedule="static", num_threads=threads_for(4.0 * n)):
        partial[chunk] = rows.sum_squares(chunk_length(n, chunk), x + chunk * CHUNK)
    cdef double total = 0
    for chunk in range(chunks):
        total += partial[chunk]
    return total


def sum_of_squares(grads):
    """The sum of the squares of an array's values, in a fixed order."""
    cdef int64_t n = grads.size
    cdef void *x = address(grads)
    cdef double total
    if is_double(grads):
        with nogil:
            total = total_of_squares(n, <const double *>x)
    else:
        with nogil:
            total = total_of_squares(n, <const float *>x)
    return total


cdef void scale_values(int64_t n, double factor, real *values) noexcept nogil:
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef int64_t chunk
    for chunk in prange(chunks_of(n), schedule="static", num_threads=threads_for(4.0 * n)):
        rows.scale(chunk_length(n, chunk), <real>factor, values + chunk * CHUNK, values + chunk * CHUNK)


def scale(values, double factor):
    """values *= factor."""
    cdef int64_t n = values.size
    cdef void *x = address(values)
    if is_double(values):
        with nogil:
            scale_values(n, factor, <double *>x)
    else:
        with nogil:
            scale_values(n, factor, <float *>x)
