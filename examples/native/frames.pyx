"""Small images, many of them, without the interpreter in between: two ways to call convkit's kernels from Cython.

`convolve_each` runs a driver: a kernel object is bound to its arrays once, and `execute` is then a C call.
`filter_each` calls a micro-kernel of the chosen instruction set from its table, and needs no Python at all.
"""

import numpy as np

from libc.stdint cimport int64_t
from libc.string cimport memcpy

from convkit._kernels.core cimport Kernel, micro, scratch

from convkit._kernels.conv import ConvForward


def convolve_each(images, weight):
    """Convolve images (N, C, H, W) with weight (O, C, kh, kw), one at a time: (N, O, H - kh + 1, W - kw + 1).

    So the frames of a camera would be, which are not there all at once.
    """
    images, weight = np.ascontiguousarray(images, np.float32), np.ascontiguousarray(weight, np.float32)
    size = fitting("convolve_each", images, 4, weight, 4)
    if weight.shape[1] != images.shape[1]:
        raise ValueError(f"convolve_each: images {images.shape} and weight {weight.shape} differ in channels")

    # The kernel keeps the addresses of these two, and the arrays alive.
    image = np.empty((1, *images.shape[1:]), np.float32)
    output = np.empty((1, weight.shape[0], *size), np.float32)
    cdef Kernel kernel = ConvForward(image, weight, None, output, (1, 1), (0, 0), (1, 1), 1)

    results = np.empty((len(images), *output.shape[1:]), np.float32)
    cdef float[:, :, :, ::1] given = images, x = image, y = output, done = results
    cdef size_t x_bytes = image.nbytes, y_bytes = output.nbytes
    cdef Py_ssize_t i
    with nogil:
        for i in range(given.shape[0]):
            memcpy(&x[0, 0, 0, 0], &given[i, 0, 0, 0], x_bytes)
            kernel.execute()
            memcpy(&done[i, 0, 0, 0], &y[0, 0, 0, 0], y_bytes)
    return results


def filter_each(images, weight):
    """Slide one filter (kh, kw) over grey images (N, H, W): (N, H - kh + 1, W - kw + 1)."""
    images, weight = np.ascontiguousarray(images, np.float32), np.ascontiguousarray(weight, np.float32)
    rows, columns = fitting("filter_each", images, 3, weight, 2)

    results = np.empty((len(images), rows, columns), np.float32)
    # Where the first output's tap (u, v) lies in an image: u rows down, v columns to the right.
    taps = np.add.outer(np.arange(weight.shape[0]) * images.shape[2], np.arange(weight.shape[1])).astype(np.int64)
    cdef float[:, :, ::1] given = images, done = results
    cdef float[:, ::1] factors = weight
    cdef int64_t[:, ::1] tap_at = taps
    cdef bint failed = False
    cdef Py_ssize_t i
    with nogil:
        for i in range(given.shape[0]):
            if not filter_one(given.shape[1], given.shape[2], &given[i, 0, 0], done.shape[1], done.shape[2],
                              tap_at.shape[0] * tap_at.shape[1], &tap_at[0, 0], &factors[0, 0], &done[i, 0, 0]):
                failed = True
                break
    if failed:
        raise MemoryError("filter_each: no memory for an image")
    return results


def fitting(function, images, image_axes, weight, weight_axes):
    """The size of the outputs: kernels check nothing, so all that they trust is checked before."""
    if (images.ndim, weight.ndim) != (image_axes, weight_axes):
        raise ValueError(
            f"{function}: images and weight must have {image_axes} and {weight_axes} axes, "
            f"not shapes {images.shape} and {weight.shape}"
        )
    size = tuple(n - k + 1 for n, k in zip(images.shape[-2:], weight.shape[-2:], strict=True))
    if 0 in weight.shape or min(size) < 1:
        raise ValueError(f"{function}: weight {weight.shape} does not fit into images {images.shape}")
    return size


cdef bint filter_one(int64_t height, int64_t width, const float *image, int64_t rows, int64_t columns,
                     int64_t taps, const int64_t *tap_at, const float *weight, float *result) noexcept nogil:
    """One image; whether there was memory."""
    table = &micro().depthwise_f32
    # The micro-kernel loads whole vectors, so it reads up to one beyond the image: a copy has room for that.
    cdef float *x = <float *> scratch(0, (height * width + table.vl) * sizeof(float))
    if x == NULL:
        return False
    memcpy(x, image, height * width * sizeof(float))
    table.forward(rows, columns, taps, x, tap_at, width, weight, 0, False, result, columns)
    return True
