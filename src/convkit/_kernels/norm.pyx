"""Normalisation: of a channel over the batch, and of a value by its neighbours in other channels.

Arrays are (batch, channels, pixels), and gone through in the order of memory: whole planes of several images in turn
would cost far more than the sums.  Sums over images are taken in parts that the shape alone decides, and added up in
order, so results have the same bits for any number of threads.
"""

from cython.parallel cimport prange
from libc.math cimport sqrt
from libc.stdint cimport int64_t

from convkit._kernels.chunks cimport CHUNK
from convkit._kernels.core cimport OUT_OF_MEMORY, Kernel, address, is_double, micro, real, scratch, threads_for
from convkit._kernels.norm_rows cimport CK_RESPONSE_ROW

cdef enum:
    RUN = 4096          # values whose sum is taken in vectors before it is added to a double
    PARTS = 16          # of the images, or of the channels where there are few images
    SCRATCH_SUMS = 1    # scratch slots
    SCRATCH_SCALES = 2


cdef struct Planes:
    int64_t batch, channels, pixels
    int64_t image_parts, channel_parts


cdef struct Block:
    int64_t part, image, last_image, channel, channels


cdef void *address_or_null(array) except? NULL:
    return NULL if array is None else address(array)


cdef int set_planes(Planes *s, shape) except -1:
    s.batch = shape[0]
    s.channels = shape[1]
    s.pixels = 1
    for n in shape[2:]:
        s.pixels *= n
    s.image_parts = min(<int64_t>PARTS, s.batch)
    s.channel_parts = 1 if s.image_parts == PARTS else min(<int64_t>PARTS, s.channels)
    return 0


cdef double volume(const Planes *s) noexcept nogil:
    return 2.0 * s.batch * s.channels * s.pixels


cdef inline int64_t image_of(const Planes *s, int64_t part) noexcept nogil:
    """The first image of a part."""
    return part * s.batch // s.image_parts


cdef Block block_of(const Planes *s, int64_t task) noexcept nogil:
    """The images and channels that one task of a sum goes through."""
    cdef Block b
    cdef int64_t of_channels = task % s.channel_parts
    b.part = task // s.channel_parts
    b.image = image_of(s, b.part)
    b.last_image = image_of(s, b.part + 1)
    b.channel = of_channels * s.channels // s.channel_parts
    b.channels = (of_channels + 1) * s.channels // s.channel_parts - b.channel
    return b


cdef inline int64_t line_length(const Planes *s) noexcept nogil:
    """Values that are normalised together: a row of one channel, or one value of each where rows have no more."""
    return s.channels if s.pixels == 1 else s.pixels


cdef inline int64_t lines_of(const Planes *s) noexcept nogil:
    return s.batch if s.pixels == 1 else s.batch * s.channels


cdef inline int64_t lines_per_task(const Planes *s) noexcept nogil:
    return max(<int64_t>1, CHUNK // max(<int64_t>1, line_length(s)))


cdef inline int64_t line_tasks(const Planes *s) noexcept nogil:
    return (lines_of(s) + lines_per_task(s) - 1) // lines_per_task(s)


cdef inline int64_t last_line(const Planes *s, int64_t task) noexcept nogil:
    return min(lines_of(s), (task + 1) * lines_per_task(s))


# --- moments ------------------------------------------------------------------------------------
# Of values shifted by a pivot near their mean: S = sum of (x - pivot), Q = sum of (x - pivot)^2, and then
# mean = pivot + S / m and the sum of squared deviations is Q - S^2 / m.  That is one pass over memory, and stable as
# the pivot, the mean of a part's first row, cannot be many deviations away from the mean of the part.  Parts are then
# combined through their means.  Chan, Golub, LeVeque 1983, "Algorithms for computing the sample variance".

cdef void moments_of_part(const Planes *s, int64_t task, const real *x, double *parts) noexcept nogil:
    """Fill parts (image_parts, 3, channels) for one block: means, sums of squared deviations, and pivots."""
    if real is float:
        rows = &micro().rows_f32
        norm = &micro().norm_f32
    else:
        rows = &micro().rows_f64
        norm = &micro().norm_f64
    cdef Block b = block_of(s, task)
    cdef int64_t _image, c, at, run, first = min(<int64_t>RUN, s.pixels)
    cdef double count = <double>(b.last_image - b.image) * s.pixels, shift
    cdef double *sums = parts + b.part * 3 * s.channels + b.channel
    cdef double *squares = sums + s.channels
    cdef double *pivots = squares + s.channels
    cdef const real *values = x + (b.image * s.channels + b.channel) * s.pixels
    for c in range(b.channels):
        sums[c] = 0
        squares[c] = 0
        pivots[c] = values[c] if s.pixels == 1 else <real>(rows.sum(first, values + c * s.pixels) / first)
    for _image in range(b.image, b.last_image):
        if s.pixels == 1:
            norm.moments_across(b.channels, pivots, values, sums, squares)
        else:
            for c in range(b.channels):
                for run in range((s.pixels + RUN - 1) // RUN):
                    at = run * RUN
                    norm.moments(min(<int64_t>RUN, s.pixels - at), <real>pivots[c],
                                 values + c * s.pixels + at, sums + c, squares + c)
        values += s.channels * s.pixels
    for c in range(b.channels):
        shift = sums[c] / count
        squares[c] = max(0.0, squares[c] - shift * sums[c])
        sums[c] = pivots[c] + shift


cdef void combine_moments(const Planes *s, const double *parts, real *mean, real *variance) noexcept nogil:
    cdef int64_t part, c, step = 3 * s.channels
    cdef double counts[PARTS]
    cdef double total, squares, apart, all = <double>s.batch * s.pixels
    for part in range(s.image_parts):
        counts[part] = <double>(image_of(s, part + 1) - image_of(s, part)) * s.pixels
    for c in range(s.channels):
        total = 0
        for part in range(s.image_parts):
            total += counts[part] * parts[part * step + c]
        total /= all
        squares = 0
        for part in range(s.image_parts):
            apart = parts[part * step + c] - total
            squares += parts[part * step + s.channels + c] + counts[part] * apart * apart
        mean[c] = <real>total
        variance[c] = <real>(squares / all)


cdef int set_moments(const Planes *s, const real *x, real *mean, real *variance) noexcept nogil:
    cdef double *parts = <double *>scratch(SCRATCH_SUMS, s.image_parts * 3 * s.channels * sizeof(double))
    cdef int64_t task
    if not parts:
        return OUT_OF_MEMORY
    for task in prange(s.image_parts * s.channel_parts, schedule="static", num_threads=threads_for(volume(s))):
        moments_of_part(s, task, x, parts)
    combine_moments(s, parts, mean, variance)
    return 0


# --- normalisation ------------------------------------------------------------------------------

cdef void set_scales(
    const Planes *s, const real *weight, const real *bias, const real *variance, double eps, real *scale, real *shift
) noexcept nogil:
    cdef int64_t c
    for c in range(s.channels):
        scale[c] = <real>((weight[c] if weight else 1) / sqrt(variance[c] + eps))
        shift[c] = bias[c] if bias else 0


cdef void normalize_lines(
    const Planes *s, int64_t task, const real *x, const real *mean, const real *scale, const real *shift, bint relu,
    real *y,
) noexcept nogil:
    if real is float:
        norm = &micro().norm_f32
    else:
        norm = &micro().norm_f64
    cdef int64_t line, c, n = line_length(s)
    for line in range(task * lines_per_task(s), last_line(s, task)):
        if s.pixels == 1:
            norm.normalize_across(n, mean, scale, shift, relu, x + line * n, y + line * n)
        else:
            c = line % s.channels
            norm.normalize(n, mean[c], scale[c], shift[c], relu, x + line * n, y + line * n)


cdef int normalize(
    const Planes *s, const real *x, const real *weight, const real *bias, real *y,
    real *mean, real *variance, double eps, bint relu, bint measured,
) noexcept nogil:
    """y = x normalised; the moments are `measured` already, or else computed and stored."""
    cdef real *scale = <real *>scratch(SCRATCH_SCALES, 2 * s.channels * sizeof(real))
    cdef int64_t task
    if not scale or (not measured and s.batch > 0 and set_moments(s, x, mean, variance)):
        return OUT_OF_MEMORY
    set_scales(s, weight, bias, variance, eps, scale, scale + s.channels)
    for task in prange(line_tasks(s), schedule="static", num_threads=threads_for(volume(s))):
        normalize_lines(s, task, x, mean, scale, scale + s.channels, relu, y)
    return 0


cdef class Normalization(Kernel):
    """What the kernels of batch normalisation share: their arrays, of which some may be None."""
    cdef list arrays
    cdef Planes planes
    cdef bint double_
    cdef double eps
    cdef bint relu
    cdef bint measured
    cdef void *x
    cdef void *weight
    cdef void *bias
    cdef void *mean
    cdef void *variance

    cdef int bind(self, x, weight, bias, mean, variance, double eps, bint relu, bint measured) except -1:
        self.arrays = []
        self.x = self.keep(x)
        self.weight = self.keep(weight)
        self.bias = self.keep(bias)
        self.mean = self.keep(mean)
        self.variance = self.keep(variance)
        self.double_ = is_double(x)
        self.eps = eps
        self.relu = relu
        self.measured = measured
        set_planes(&self.planes, x.shape)
        return 0

    cdef void *keep(self, array) except? NULL:
        self.arrays.append(array)
        return address_or_null(array)


cdef class BatchNorm(Normalization):
    """y = (x - mean) / sqrt(variance + eps) * weight + bias for each channel, rectified if `relu`.

    x and y (batch, channels, *spatial), all else (channels,); weight and bias may be None.  The moments, which must
    be of one value or more, are computed and stored unless they are `measured` already.
    """
    cdef void *y

    def __init__(self, x, weight, bias, y, mean, variance, double eps, bint relu, bint measured):
        self.bind(x, weight, bias, mean, variance, eps, relu, measured)
        self.y = self.keep(y)

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.double_:
            failed = normalize(
                &self.planes, <const double *>self.x, <const double *>self.weight, <const double *>self.bias,
                <double *>self.y, <double *>self.mean, <double *>self.variance, self.eps, self.relu,
                self.measured,
            )
        else:
            failed = normalize(
                &self.planes, <const float *>self.x, <const float *>self.weight, <const float *>self.bias,
                <float *>self.y, <float *>self.mean, <float *>self.variance, self.eps, self.relu,
                self.measured,
            )
        if failed:
            with gil:
                raise MemoryError
        return 0


# --- its gradient -------------------------------------------------------------------------------
# With d = x - mean, r = 1 / sqrt(variance + eps) and sums over the m values of a channel:
# dbias = sum dy, dweight = r sum (dy d), dx = weight r (dy - sum dy / m - d r^2 sum (dy d) / m); the last two terms
# are how the moments depend on x, and missing where these are constants.

cdef void gradient_sums_of_part(
    const Planes *s, int64_t task, bint relu, const real *x, const real *dy, const real *mean, const real *scale,
    const real *shift, double *parts,
) noexcept nogil:
    """Fill parts (image_parts, 2, channels) for one block: the sums of dy and of dy (x - mean)."""
    if real is float:
        norm = &micro().norm_f32
    else:
        norm = &micro().norm_f64
    cdef Block b = block_of(s, task)
    cdef int64_t image, c, k, at, run, start
    cdef double *sums = parts + b.part * 2 * s.channels + b.channel
    cdef double *dots = sums + s.channels
    for c in range(b.channels):
        sums[c] = 0
        dots[c] = 0
    for image in range(b.image, b.last_image):
        start = (image * s.channels + b.channel) * s.pixels
        if s.pixels == 1:
            k = b.channel
            norm.normalize_sums_across(b.channels, mean + k, scale + k, shift + k, relu, x + start, dy + start, sums,
                                       dots)
        else:
            for c in range(b.channels):
                k = b.channel + c
                for run in range((s.pixels + RUN - 1) // RUN):
                    at = start + c * s.pixels + run * RUN
                    norm.normalize_sums(min(<int64_t>RUN, s.pixels - run * RUN), mean[k], scale[k], shift[k], relu,
                                        x + at, dy + at, sums + c, dots + c)


cdef void combine_gradient_sums(
    const Planes *s, const double *parts, bint constant, const real *variance, double eps, real *average,
    real *slope, real *dweight, real *dbias,
) noexcept nogil:
    cdef int64_t part, c
    cdef double total, dot, root, count = <double>s.batch * s.pixels
    for c in range(s.channels):
        total = 0
        dot = 0
        for part in range(s.image_parts):
            total += parts[part * 2 * s.channels + c]
            dot += parts[(part * 2 + 1) * s.channels + c]
        root = 1 / sqrt(variance[c] + eps)
        if dweight:
            dweight[c] = <real>(dot * root)
        if dbias:
            dbias[c] = <real>total
        average[c] = <real>(0 if constant else total / count)
        slope[c] = <real>(0 if constant else dot * root * root / count)


cdef void gradient_lines(
    const Planes *s, int64_t task, bint relu, const real *x, const real *dy, const real *mean, const real *scale,
    const real *shift, const real *average, const real *slope, real *dx,
) noexcept nogil:
    if real is float:
        norm = &micro().norm_f32
    else:
        norm = &micro().norm_f64
    cdef int64_t line, c, at, n = line_length(s)
    for line in range(task * lines_per_task(s), last_line(s, task)):
        at = line * n
        if s.pixels == 1:
            norm.normalize_grad_across(n, mean, scale, shift, relu, average, slope, x + at, dy + at, dx + at)
        else:
            c = line % s.channels
            norm.normalize_grad(n, mean[c], scale[c], shift[c], relu, average[c], slope[c], x + at, dy + at, dx + at)


cdef int normalize_gradient(
    const Planes *s, bint relu, bint constant, const real *x, const real *dy, const real *weight, const real *bias,
    const real *mean, const real *variance, double eps, real *dx, real *dweight, real *dbias,
) noexcept nogil:
    cdef double *parts = <double *>scratch(SCRATCH_SUMS, s.image_parts * 2 * s.channels * sizeof(double))
    cdef real *scale = <real *>scratch(SCRATCH_SCALES, 4 * s.channels * sizeof(real))
    cdef real *shift = scale + s.channels
    cdef real *average = shift + s.channels
    cdef real *slope = average + s.channels
    cdef int64_t task
    if not parts or not scale:
        return OUT_OF_MEMORY
    set_scales(s, weight, bias, variance, eps, scale, shift)
    for task in prange(s.image_parts * s.channel_parts, schedule="static", num_threads=threads_for(volume(s))):
        gradient_sums_of_part(s, task, relu, x, dy, mean, scale, shift, parts)
    combine_gradient_sums(s, parts, constant, variance, eps, average, slope, dweight, dbias)
    if dx:
        for task in prange(line_tasks(s), schedule="static", num_threads=threads_for(volume(s))):
            gradient_lines(s, task, relu, x, dy, mean, scale, shift, average, slope, dx)
    return 0


cdef class BatchNormGrad(Normalization):
    """dx, dweight and dbias (any may be None) from dy and what BatchNorm was given and stored.

    `relu`: BatchNorm rectified; `measured`: its moments were constants, else they depend on x.
    """
    cdef void *dy
    cdef void *dx
    cdef void *dweight
    cdef void *dbias

    def __init__(
        self, dy, x, mean, variance, weight, bias, dx, dweight, dbias, double eps, bint relu, bint measured
    ):
        self.bind(x, weight, bias, mean, variance, eps, relu, measured)
        self.dy = self.keep(dy)
        self.dx = self.keep(dx)
        self.dweight = self.keep(dweight)
        self.dbias = self.keep(dbias)

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.double_:
            failed = normalize_gradient(
                &self.planes, self.relu, self.measured, <const double *>self.x, <const double *>self.dy,
                <const double *>self.weight, <const double *>self.bias, <const double *>self.mean,
                <const double *>self.variance, self.eps, <double *>self.dx, <double *>self.dweight,
                <double *>self.dbias,
            )
        else:
            failed = normalize_gradient(
                &self.planes, self.relu, self.measured, <const float *>self.x, <const float *>self.dy,
                <const float *>self.weight, <const float *>self.bias, <const float *>self.mean,
                <const float *>self.variance, self.eps, <float *>self.dx, <float *>self.dweight,
                <float *>self.dbias,
            )
        if failed:
            with gil:
                raise MemoryError
        return 0


cdef void follow(
    int64_t n, double rate, double correction, const real *running, const real *batch, real *out
) noexcept nogil:
    cdef int64_t i
    for i in range(n):
        out[i] = <real>(running[i] + rate * (correction * batch[i] - running[i]))


cdef class Follow(Kernel):
    """out = running + rate (correction batch - running): one step of a running average."""
    cdef object arrays
    cdef void *running
    cdef void *batch
    cdef void *out
    cdef int64_t n
    cdef bint double_
    cdef double rate
    cdef double correction

    def __init__(self, running, batch, out, double rate, double correction):
        self.arrays = (running, batch, out)
        self.running = address(running)
        self.batch = address(batch)
        self.out = address(out)
        self.n = out.size
        self.double_ = is_double(out)
        self.rate = rate
        self.correction = correction

    cdef int execute(self) except -1 nogil:
        if self.double_:
            follow(self.n, self.rate, self.correction, <const double *>self.running, <const double *>self.batch,
                   <double *>self.out)
        else:
            follow(self.n, self.rate, self.correction, <const float *>self.running, <const float *>self.batch,
                   <float *>self.out)
        return 0


# --- local response -----------------------------------------------------------------------------

cdef struct Response:
    int64_t before, after       # channels of a window on either side of its own
    double k, alpha, beta


cdef inline int64_t window_start(const Response *r, int64_t c) noexcept nogil:
    return max(<int64_t>0, c - r.before)


cdef inline int64_t window_taps(const Planes *s, const Response *r, int64_t c) noexcept nogil:
    return min(s.channels, c + r.after + 1) - window_start(r, c)


cdef inline real *row(const Planes *s, real *x, int64_t image, int64_t channel) noexcept nogil:
    return x + (image * s.channels + channel) * s.pixels


cdef inline const real *const_row(const Planes *s, const real *x, int64_t image, int64_t channel) noexcept nogil:
    return x + (image * s.channels + channel) * s.pixels


cdef void respond(const Planes *s, const Response *r, const real *x, real *y) noexcept nogil:
    if real is float:
        norm = &micro().norm_f32
    else:
        norm = &micro().norm_f64
    cdef int64_t parts = (s.pixels + CK_RESPONSE_ROW - 1) // CK_RESPONSE_ROW, task, at, n, c
    cdef const real *image
    for task in prange(s.batch * parts, schedule="static", num_threads=threads_for(8 * volume(s))):
        at = task % parts * CK_RESPONSE_ROW
        n = min(<int64_t>CK_RESPONSE_ROW, s.pixels - at)
        image = const_row(s, x, task // parts, 0) + at
        for c in range(s.channels):
            norm.response(
                n, window_taps(s, r, c), s.pixels, image + window_start(r, c) * s.pixels, <real>r.k,
                <real>r.alpha, <real>r.beta, image + c * s.pixels, row(s, y, task // parts, c) + at,
            )


cdef int respond_back(
    const Planes *s, const Response *r, int64_t task, const real *x, const real *dy, real *dx
) noexcept nogil:
    """The gradient of one run of positions of one image; a value is in the windows of the channels around it."""
    if real is float:
        norm = &micro().norm_f32
    else:
        norm = &micro().norm_f64
    cdef int64_t parts = (s.pixels + CK_RESPONSE_ROW - 1) // CK_RESPONSE_ROW, c, first, last
    cdef int64_t at = task % parts * CK_RESPONSE_ROW, n = min(<int64_t>CK_RESPONSE_ROW, s.pixels - at)
    cdef const real *image = const_row(s, x, task // parts, 0) + at
    cdef real *ratios = <real *>scratch(0, s.channels * CK_RESPONSE_ROW * sizeof(real))
    if not ratios:
        return OUT_OF_MEMORY
    for c in range(s.channels):
        norm.response_grad(
            n, window_taps(s, r, c), s.pixels, image + window_start(r, c) * s.pixels, <real>r.k, <real>r.alpha,
            <real>r.beta, image + c * s.pixels, const_row(s, dy, task // parts, c) + at,
            row(s, dx, task // parts, c) + at, ratios + c * CK_RESPONSE_ROW,
        )
    for c in range(s.channels):
        first = max(<int64_t>0, c - r.after)
        last = min(s.channels, c + r.before + 1)
        norm.response_spread(
            n, last - first, CK_RESPONSE_ROW, ratios + first * CK_RESPONSE_ROW, <real>(2 * r.alpha * r.beta),
            image + c * s.pixels, row(s, dx, task // parts, c) + at,
        )
    return 0


cdef int respond_gradient(
    const Planes *s, const Response *r, const real *x, const real *dy, real *dx
) noexcept nogil:
    cdef int64_t parts = (s.pixels + CK_RESPONSE_ROW - 1) // CK_RESPONSE_ROW, task
    cdef int failed = 0
    for task in prange(s.batch * parts, schedule="static", num_threads=threads_for(16 * volume(s))):
        failed |= respond_back(s, r, task, x, dy, dx)
    return failed


cdef class LocalResponse(Kernel):
    """y[c] = x[c] (k + alpha * sum of x^2 over channels c - before .. c + after)^-beta, or with dy its gradient.

    x, dy and out (batch, channels, *spatial); out is y, or dx, which may be dy.
    """
    cdef object arrays
    cdef void *x
    cdef void *dy
    cdef void *out
    cdef Planes planes
    cdef Response response
    cdef bint double_

    def __init__(self, x, dy, out, int64_t before, int64_t after, double k, double alpha, double beta):
        self.arrays = (x, dy, out)
        self.x = address(x)
        self.dy = address_or_null(dy)
        self.out = address(out)
        self.double_ = is_double(out)
        set_planes(&self.planes, x.shape)
        self.response.before = before
        self.response.after = after
        self.response.k = k
        self.response.alpha = alpha
        self.response.beta = beta

    cdef int execute(self) except -1 nogil:
        cdef int failed = 0
        if self.double_ and self.dy:
            failed = respond_gradient(
                &self.planes, &self.response, <const double *>self.x, <const double *>self.dy, <double *>self.out
            )
        elif self.double_:
            respond(&self.planes, &self.response, <const double *>self.x, <double *>self.out)
        elif self.dy:
            failed = respond_gradient(
                &self.planes, &self.response, <const float *>self.x, <const float *>self.dy, <float *>self.out
            )
        else:
            respond(&self.planes, &self.response, <const float *>self.x, <float *>self.out)
        if failed:
            with gil:
                raise MemoryError
        return 0
