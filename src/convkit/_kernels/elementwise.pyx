"""Maps over whole arrays: activations and their gradients, arithmetic, copies, conversions, dropout.

Work is cut into chunks of fixed size, spread over the threads.  In every map the result may be the array of
an operand.
"""

from cython.parallel cimport prange
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from convkit._kernels.chunks cimport CHUNK, chunk_length, chunks_of
from convkit._kernels.core cimport Kernel, Reader, address, is_double, micro, real, threads_for
from convkit._kernels.maps cimport (
    CK_ELU, CK_GELU, CK_GELU_TANH, CK_HARD_SIGMOID, CK_HARD_SWISH, CK_HARD_TANH, CK_LEAKY_RELU, CK_SELU, CK_SHIFT,
    CK_SILU, CK_SOFTPLUS,
)
from convkit._kernels.rows cimport (
    CK_MAP_ADD, CK_MAP_MULTIPLY, CK_MAP_RELU, CK_MAP_RELU_GRAD, CK_MAP_SIGMOID, CK_MAP_SIGMOID_GRAD,
    CK_MAP_SUBTRACT, CK_MAP_TANH, CK_MAP_TANH_GRAD, ck_philox,
)


# --- maps of one and two arrays ------------------------------------------------------------------

cdef void map_unary(int which, int64_t n, const real *x, real *y) noexcept nogil:
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef int64_t chunk
    cdef int threads = threads_for(8.0 * n)
    if threads == 1:
        rows.unary[which](n, x, y)
    else:
        for chunk in prange(chunks_of(n), schedule="static", num_threads=threads):
            rows.unary[which](chunk_length(n, chunk), x + chunk * CHUNK, y + chunk * CHUNK)


cdef void map_binary(int which, int64_t n, const real *a, const real *b, real *out) noexcept nogil:
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef int64_t chunk
    cdef int threads = threads_for(4.0 * n)
    if threads == 1:
        rows.binary[which](n, a, b, out)
    else:
        for chunk in prange(chunks_of(n), schedule="static", num_threads=threads):
            rows.binary[which](
                chunk_length(n, chunk), a + chunk * CHUNK, b + chunk * CHUNK, out + chunk * CHUNK
            )


cdef class Unary(Kernel):
    """y = f(x), element by element."""
    cdef object arrays
    cdef void *x
    cdef void *y
    cdef int64_t n
    cdef bint double_
    cdef int which

    def __init__(self, x, y):
        self.arrays = (x, y)
        self.x = address(x)
        self.y = address(y)
        self.n = y.size
        self.double_ = is_double(y)

    cdef int execute(self) except -1 nogil:
        if self.double_:
            map_unary(self.which, self.n, <const double *>self.x, <double *>self.y)
        else:
            map_unary(self.which, self.n, <const float *>self.x, <float *>self.y)
        return 0


cdef class Relu(Unary):
    """y = max(x, 0); a NaN stays one."""
    def __cinit__(self):
        self.which = CK_MAP_RELU


cdef class Tanh(Unary):
    """y = tanh(x)."""
    def __cinit__(self):
        self.which = CK_MAP_TANH


cdef class Sigmoid(Unary):
    """y = 1 / (1 + exp(-x))."""
    def __cinit__(self):
        self.which = CK_MAP_SIGMOID


cdef class Binary(Kernel):
    """out = f(a, b), element by element."""
    cdef object arrays
    cdef void *a
    cdef void *b
    cdef void *out
    cdef int64_t n
    cdef bint double_
    cdef int which

    def __init__(self, a, b, out):
        self.arrays = (a, b, out)
        self.a = address(a)
        self.b = address(b)
        self.out = address(out)
        self.n = out.size
        self.double_ = is_double(out)

    cdef int execute(self) except -1 nogil:
        if self.double_:
            map_binary(
                self.which, self.n, <const double *>self.a, <const double *>self.b, <double *>self.out
            )
        else:
            map_binary(
                self.which, self.n, <const float *>self.a, <const float *>self.b, <float *>self.out
            )
        return 0


cdef class Add(Binary):
    """out = a + b."""
    def __cinit__(self):
        self.which = CK_MAP_ADD


cdef class Subtract(Binary):
    """out = a - b."""
    def __cinit__(self):
        self.which = CK_MAP_SUBTRACT


cdef class Multiply(Binary):
    """out = a * b."""
    def __cinit__(self):
        self.which = CK_MAP_MULTIPLY


cdef class ReluGrad(Binary):
    """dx = dy where the output y is positive, else 0; arguments y, dy, dx."""
    def __cinit__(self):
        self.which = CK_MAP_RELU_GRAD


cdef class TanhGrad(Binary):
    """dx = dy (1 - y^2) from the output y; arguments y, dy, dx."""
    def __cinit__(self):
        self.which = CK_MAP_TANH_GRAD


cdef class SigmoidGrad(Binary):
    """dx = dy y (1 - y) from the output y; arguments y, dy, dx."""
    def __cinit__(self):
        self.which = CK_MAP_SIGMOID_GRAD


# --- activations with constants -----------------------------------------------------------------

ACTIVATIONS = {
    "leaky_relu": CK_LEAKY_RELU,
    "elu": CK_ELU,
    "selu": CK_SELU,
    "gelu": CK_GELU,
    "gelu_tanh": CK_GELU_TANH,
    "silu": CK_SILU,
    "softplus": CK_SOFTPLUS,
    "hardsigmoid": CK_HARD_SIGMOID,
    "hardswish": CK_HARD_SWISH,
    "hardtanh": CK_HARD_TANH,
    "shift": CK_SHIFT,
}


cdef void activate(
    int which, int64_t n, double p, double q, const real *x, const real *dy, real *out
) noexcept nogil:
    if real is float:
        maps = &micro().maps_f32
    else:
        maps = &micro().maps_f64
    cdef int64_t chunk, at
    for chunk in prange(chunks_of(n), schedule="static", num_threads=threads_for(16.0 * n)):
        at = chunk * CHUNK
        if dy:
            maps.gradient[which](chunk_length(n, chunk), <real>p, <real>q, x + at, dy + at, out + at)
        else:
            maps.forward[which](chunk_length(n, chunk), <real>p, <real>q, x + at, out + at)


cdef class Activate(Kernel):
    """out = f(x; p, q), or with dy the gradient dy f'(x; p, q); out may be x or dy."""
    cdef object arrays
    cdef void *x
    cdef void *dy
    cdef void *out
    cdef int64_t n
    cdef bint double_
    cdef int which
    cdef double p
    cdef double q

    def __init__(self, name, x, dy, out, double p, double q):
        self.which = ACTIVATIONS[name]
        self.arrays = (x, dy, out)
        self.x = address(x)
        self.dy = NULL if dy is None else address(dy)
        self.out = address(out)
        self.n = out.size
        self.double_ = is_double(out)
        self.p = p
        self.q = q

    cdef int execute(self) except -1 nogil:
        if self.double_:
            activate(self.which, self.n, self.p, self.q, <const double *>self.x, <const double *>self.dy,
                     <double *>self.out)
        else:
            activate(self.which, self.n, self.p, self.q, <const float *>self.x, <const float *>self.dy,
                     <float *>self.out)
        return 0


# --- scaling and filling ------------------------------------------------------------------------

cdef void scale_values(int64_t n, double factor, const real *x, real *y) noexcept nogil:
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef int64_t chunk
    for chunk in prange(chunks_of(n), schedule="static", num_threads=threads_for(4.0 * n)):
        rows.scale(chunk_length(n, chunk), <real>factor, x + chunk * CHUNK, y + chunk * CHUNK)


cdef void scale_bytes(int64_t n, double factor, const uint8_t *x, real *y) noexcept nogil:
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef int64_t chunk
    cdef int threads = threads_for(4.0 * n)
    if threads == 1:
        rows.scale_u8(n, <real>factor, x, y)
    else:
        for chunk in prange(chunks_of(n), schedule="static", num_threads=threads):
            rows.scale_u8(chunk_length(n, chunk), <real>factor, x + chunk * CHUNK, y + chunk * CHUNK)


cdef void fill_values(int64_t n, double value, real *y) noexcept nogil:
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef int64_t chunk
    for chunk in prange(chunks_of(n), schedule="static", num_threads=threads_for(2.0 * n)):
        rows.fill(chunk_length(n, chunk), <real>value, y + chunk * CHUNK)


cdef class Scale(Kernel):
    """out = factor * a."""
    cdef object arrays
    cdef void *a
    cdef void *out
    cdef int64_t n
    cdef bint double_
    cdef double factor

    def __init__(self, a, double factor, out):
        self.arrays = (a, out)
        self.a = address(a)
        self.out = address(out)
        self.n = out.size
        self.double_ = is_double(out)
        self.factor = factor

    cdef int execute(self) except -1 nogil:
        if self.double_:
            scale_values(self.n, self.factor, <const double *>self.a, <double *>self.out)
        else:
            scale_values(self.n, self.factor, <const float *>self.a, <float *>self.out)
        return 0


cdef class ScaleImages(Reader):
    """dst = factor * src for src of uint8."""
    cdef object arrays
    cdef void *dst
    cdef int64_t n
    cdef bint double_
    cdef double factor

    def __init__(self, src, dst, double factor):
        self.arrays = (src, dst)
        self.source = address(src)
        self.dst = address(dst)
        self.n = dst.size
        self.double_ = is_double(dst)
        self.factor = factor

    cdef int execute(self) except -1 nogil:
        if self.double_:
            scale_bytes(self.n, self.factor, <const uint8_t *>self.source, <double *>self.dst)
        else:
            scale_bytes(self.n, self.factor, <const uint8_t *>self.source, <float *>self.dst)
        return 0


cdef class Copy2d(Kernel):
    """Copy `rows` pieces of `columns` contiguous elements between two flat arrays of one dtype.

    Row r goes from src[src_offset + r * src_stride] to dst[dst_offset + r * dst_stride]; all counts are in
    elements.  This is concatenation, slicing and padding.
    """
    cdef object arrays
    cdef char *src
    cdef char *dst
    cdef int64_t rows
    cdef int64_t row_bytes
    cdef int64_t src_step
    cdef int64_t dst_step

    def __init__(
        self, src, dst, int64_t rows, int64_t columns,
        int64_t src_offset, int64_t src_stride, int64_t dst_offset, int64_t dst_stride,
    ):
        cdef int64_t itemsize = dst.itemsize
        self.arrays = (src, dst)
        self.src = <char *>address(src) + src_offset * itemsize
        self.dst = <char *>address(dst) + dst_offset * itemsize
        self.rows = rows
        self.row_bytes = columns * itemsize
        self.src_step = src_stride * itemsize
        self.dst_step = dst_stride * itemsize

    cdef int execute(self) except -1 nogil:
        cdef int64_t row
        cdef double volume = <double>self.rows * self.row_bytes
        for row in prange(self.rows, nogil=True, schedule="static", num_threads=threads_for(volume)):
            memcpy(self.dst + row * self.dst_step, self.src + row * self.src_step, self.row_bytes)
        return 0


# --- dropout -------------------------------------------------------------------------------------

cdef void drop_values(
    int64_t n, const ck_philox *stream, uint32_t threshold, double factor, const real *x, real *y
) noexcept nogil:
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef int64_t chunk
    for chunk in prange(chunks_of(n), schedule="static", num_threads=threads_for(16.0 * n)):
        rows.dropout(
            chunk_length(n, chunk), chunk * CHUNK, stream, threshold, <real>factor,
            x + chunk * CHUNK, y + chunk * CHUNK,
        )


cdef class Dropout(Kernel):
    """y = x / (1 - p) where an element's own random word is at least p, else 0.

    `state` is an int64 array (seed, step, place), read at each run: an element's word depends on these and on
    its index alone, so the gradient is the same kernel over dy and dx.  p = 1 drops everything.
    """
    cdef object arrays
    cdef void *x
    cdef void *y
    cdef const int64_t *state
    cdef int64_t n
    cdef bint double_
    cdef double p

    def __init__(self, x, y, double p, state):
        self.arrays = (x, y, state)
        self.x = address(x)
        self.y = address(y)
        self.state = <const int64_t *>address(state)
        self.n = y.size
        self.double_ = is_double(y)
        self.p = p

    cdef int execute(self) except -1 nogil:
        cdef uint64_t seed = <uint64_t>self.state[0]
        cdef uint64_t step = <uint64_t>self.state[1]
        cdef ck_philox stream
        stream.key[0] = <uint32_t>seed
        stream.key[1] = <uint32_t>(seed >> 32)
        stream.counter[0] = <uint32_t>self.state[2]
        stream.counter[1] = <uint32_t>step
        stream.counter[2] = <uint32_t>(step >> 32)
        cdef uint32_t threshold = <uint32_t>min(self.p * 4294967296.0, 4294967295.0)
        cdef double factor = 1 / (1 - self.p) if self.p < 1 else 0
        if self.p >= 1:
            if self.double_:
                fill_values(self.n, 0, <double *>self.y)
            else:
                fill_values(self.n, 0, <float *>self.y)
        elif self.double_:
            drop_values(self.n, &stream, threshold, factor, <const double *>self.x, <double *>self.y)
        else:
            drop_values(self.n, &stream, threshold, factor, <const float *>self.x, <float *>self.y)
        return 0
