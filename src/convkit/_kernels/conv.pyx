"""Convolution in one, two or three dimensions, its two gradients, and im2col.

Every geometry is first made a plain one.  A *view* of the input is the input itself or, where there is padding or a
stride, a copy in scratch with the padding filled in and each axis split by its phase modulo the stride.  In a view
the value that output pixel p takes from patch row k = (channel, tap) lies at row_at[k] + pixel_at[p], and pixels of
one output row are neighbours.  The three products are then register tiles over those two tables:

    forward           Y[co][p]  = sum_k  W[co][k] X[row_at[k] + pixel_at[p]]
    input gradient    dX[row_at[k] + pixel_at[p]] += sum_co W[co][k] dY[co][p]
    weight gradient   dW[k][co] = sum_p X[row_at[k] + pixel_at[p]] dY[co][p]

Work is cut into *boxes* of output pixels (several small images, one image, or a part of one) by the size of the
problem alone, and sums over boxes run in a fixed order, so that results do not depend on the number of threads.
One- and two-dimensional arrays get leading axes of length one.
"""

import numpy as np

from cython.parallel cimport prange
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from convkit._kernels.core cimport Kernel, OUT_OF_MEMORY, address, is_double, real, scratch, threads_for
from convkit._kernels.tile cimport (
    TILE_ADD, TILE_OVERWRITE, TILE_RELU, TILE_ROW_BIAS, TileSize,
    add_rows, outer, outer_at, pack, part_start, parts_of, scratch_of, sum_rows, sum_values, tile_size, transpose,
)

cdef enum:
    # scratch slots; the first is shared by all threads of a call, the others belong to one
    SHARED, VIEW, PANELS, TABLES
    K_BLOCK = 1024          # depth of one pass over k
    PANEL_BYTES = 393216    # packed panels in use at a time, for the second-level cache
    TASKS = 32              # tasks wanted of a large problem, for any number of threads


# --- geometry -----------------------------------------------------------------------------------

cdef struct Geometry:
    int64_t batch, groups, cin, cout            # channels of one group
    int64_t taps, depth                         # taps = kernel positions, depth = cin * taps
    int64_t in_size[3]
    int64_t out_size[3]
    int64_t kernel[3]
    int64_t stride[3]
    int64_t pad[3]
    int64_t dilation[3]
    int64_t in_pixels, out_pixels
    # boxes of output pixels
    int64_t box[3]
    int64_t boxes[3]                            # boxes along each axis of an image
    int64_t image_boxes, images, batch_boxes    # boxes of an image; images of a box; boxes along the batch
    int64_t box_pixels
    # the view of one image under a box
    bint in_place
    int64_t phases[3]
    int64_t length[3]                           # of one phase
    int64_t step[3]                             # strides in the view: of an output pixel,
    int64_t phase_step[3]                       # of a phase,
    int64_t channel_step, image_step            # of a channel and an image


cdef struct Box:
    int64_t image, images       # first image, number of images
    int64_t start[3]
    int64_t size[3]
    int64_t pixels              # of one image
    int64_t out_at              # its first pixel in the output plane


cdef set_geometry(Geometry *g, x_shape, y_shape, kernel_size, stride, pad, dilation, int64_t groups):
    """Everything that does not depend on how the work is cut into boxes."""
    cdef int lead = 3 - len(kernel_size), axis
    g.batch = x_shape[0]
    g.groups = groups
    g.cin = x_shape[1] // groups
    g.cout = y_shape[1] // groups
    for axis in range(3):
        g.in_size[axis] = 1 if axis < lead else x_shape[2 + axis - lead]
        g.out_size[axis] = 1 if axis < lead else y_shape[2 + axis - lead]
        g.kernel[axis] = 1 if axis < lead else kernel_size[axis - lead]
        g.stride[axis] = 1 if axis < lead else stride[axis - lead]
        g.pad[axis] = 0 if axis < lead else pad[axis - lead]
        g.dilation[axis] = 1 if axis < lead else dilation[axis - lead]
    g.taps = g.kernel[0] * g.kernel[1] * g.kernel[2]
    g.depth = g.cin * g.taps
    g.in_pixels = g.in_size[0] * g.in_size[1] * g.in_size[2]
    g.out_pixels = g.out_size[0] * g.out_size[1] * g.out_size[2]


cdef void set_boxes(Geometry *g, int64_t pixels, bint whole_images) noexcept:
    """Cut the output into boxes of about `pixels`, each one run of pixels in the output plane, and lay out the view."""
    cdef int axis
    cdef int64_t room = pixels, reach
    g.images = 1
    for axis in range(2, -1, -1):
        g.box[axis] = g.out_size[axis] if whole_images else max(1, min(g.out_size[axis], room))
        g.boxes[axis] = parts_of(g.out_size[axis], g.box[axis])
        g.box[axis] = parts_of(g.out_size[axis], g.boxes[axis])
        room = room // g.box[axis] if g.boxes[axis] == 1 else 1
    g.image_boxes = g.boxes[0] * g.boxes[1] * g.boxes[2]
    g.box_pixels = g.box[0] * g.box[1] * g.box[2]
    if g.image_boxes == 1 and not whole_images:
        g.images = max(1, min(room, g.batch))
    g.batch_boxes = parts_of(g.batch, g.images)

    g.in_place = True
    for axis in range(3):
        reach = (g.kernel[axis] - 1) * g.dilation[axis]
        g.phases[axis] = 1 if reach == 0 or g.dilation[axis] % g.stride[axis] == 0 else g.stride[axis]
        g.length[axis] = g.box[axis] + reach // g.stride[axis]
        if g.stride[axis] > 1 or g.pad[axis] > 0 or g.out_size[axis] + reach > g.in_size[axis]:
            g.in_place = False
    if g.in_place:
        for axis in range(3):
            g.length[axis] = g.in_size[axis]
    g.step[2] = 1
    g.phase_step[2] = g.length[2]
    g.step[1] = g.phases[2] * g.length[2]
    g.phase_step[1] = g.length[1] * g.step[1]
    g.step[0] = g.phases[1] * g.phase_step[1]
    g.phase_step[0] = g.length[0] * g.step[0]
    g.channel_step = g.phases[0] * g.phase_step[0]
    g.image_step = g.channel_step * g.cin
    if g.in_place:
        g.image_step *= g.groups


cdef void set_rows(const Geometry *g, int64_t *row_at) noexcept:
    """row_at[(channel, kd, kh, kw)]: where in the view the patch row of the first output pixel lies."""
    cdef int64_t channel, tap, rest, k = 0, at, offset
    cdef int axis
    for channel in range(g.cin):
        for tap in range(g.taps):
            at = channel * g.channel_step
            rest = tap
            for axis in range(2, -1, -1):
                offset = (rest % g.kernel[axis]) * g.dilation[axis]
                rest //= g.kernel[axis]
                at += offset // g.stride[axis] * g.step[axis]
                at += offset % g.stride[axis] * g.phase_step[axis]
            row_at[k] = at
            k += 1


cdef inline Box box_of(const Geometry *g, int64_t index) noexcept nogil:
    """Box number `index`: boxes of an image are neighbours."""
    cdef Box box
    cdef int axis
    cdef int64_t part
    box.image = index // g.image_boxes * g.images
    box.images = min(g.images, g.batch - box.image)
    box.pixels = 1
    for axis in range(2, -1, -1):
        part = index % g.boxes[axis]
        index //= g.boxes[axis]
        box.start[axis] = part_start(g.out_size[axis], g.boxes[axis], part)
        box.size[axis] = part_start(g.out_size[axis], g.boxes[axis], part + 1) - box.start[axis]
        box.pixels *= box.size[axis]
    box.out_at = (box.start[0] * g.out_size[1] + box.start[1]) * g.out_size[2] + box.start[2]
    return box


cdef int64_t set_pixels(const Geometry *g, const Box *box, int64_t *pixel_at) noexcept nogil:
    """pixel_at[p]: where in the view the first patch row of each pixel of the box lies; returns their number."""
    cdef int64_t image, d, h, w, p = 0, row
    for image in range(box.images):
        for d in range(box.size[0]):
            for h in range(box.size[1]):
                row = image * g.image_step + d * g.step[0] + h * g.step[1]
                for w in range(box.size[2]):
                    pixel_at[p] = row + w
                    p += 1
    return p


# --- the view -----------------------------------------------------------------------------------

cdef inline const real *in_place_view(const Geometry *g, const Box *box, int64_t group, const real *x) noexcept nogil:
    return (x + (box.image * g.groups + group) * g.cin * g.in_pixels
            + box.start[0] * g.step[0] + box.start[1] * g.step[1] + box.start[2])


cdef const real *view_of(const Geometry *g, const Box *box, int64_t group, const real *x) noexcept nogil:
    """The view of x (batch, groups * cin, in_size) for one box and group; NULL without memory."""
    cdef real *view
    cdef int64_t image
    if g.in_place:
        return in_place_view(g, box, group, x)
    view = scratch_of(VIEW, box.images * g.image_step, <real *> NULL)
    if view == NULL:
        return NULL
    for image in range(box.images):
        copy_in(g, box, x + ((box.image + image) * g.groups + group) * g.cin * g.in_pixels,
                view + image * g.image_step)
    return view


cdef void copy_in(const Geometry *g, const Box *box, const real *x, real *view) noexcept nogil:
    """Pad one image's channels and split them by phase."""
    cdef int64_t channel, pd, ph, d, h, z, y
    cdef real *row
    for channel in range(g.cin):
        for pd in range(g.phases[0]):
            for d in range(g.length[0]):
                z = (box.start[0] + d) * g.stride[0] + pd - g.pad[0]
                for ph in range(g.phases[1]):
                    for h in range(g.length[1]):
                        y = (box.start[1] + h) * g.stride[1] + ph - g.pad[1]
                        row = (view + channel * g.channel_step + pd * g.phase_step[0] + d * g.step[0]
                               + ph * g.phase_step[1] + h * g.step[1])
                        if 0 <= z < g.in_size[0] and 0 <= y < g.in_size[1]:
                            copy_in_row(g, box.start[2], x + (
                                (channel * g.in_size[0] + z) * g.in_size[1] + y) * g.in_size[2], row)
                        else:
                            memset(row, 0, g.step[1] * sizeof(real))


cdef inline void inside(const Geometry *g, int64_t first, int64_t *lo, int64_t *hi) noexcept nogil:
    """The positions lo .. hi of a phase row, at first + i * stride in the input's row, that lie inside it."""
    cdef int64_t s = g.stride[2], n = g.length[2]
    lo[0] = min(n, max(0, (s - 1 - first) // s)) if first < 0 else 0
    hi[0] = max(lo[0], min(n, (g.in_size[2] - first + s - 1) // s)) if first < g.in_size[2] else lo[0]


cdef void copy_in_row(const Geometry *g, int64_t start, const real *x, real *row) noexcept nogil:
    cdef int64_t phase, first, lo, hi, i, s = g.stride[2]
    for phase in range(g.phases[2]):
        first = start * s + phase - g.pad[2]
        inside(g, first, &lo, &hi)
        for i in range(lo):
            row[i] = 0
        if s == 1:
            memcpy(row + lo, x + first + lo, (hi - lo) * sizeof(real))
        else:
            for i in range(lo, hi):
                row[i] = x[first + i * s]
        for i in range(hi, g.length[2]):
            row[i] = 0
        row += g.phase_step[2]


cdef void add_out(const Geometry *g, int64_t channels, const real *view, real *x) noexcept nogil:
    """The adjoint of copy_in for whole images: add the view of `channels` channels to x."""
    cdef int64_t channel, pd, ph, d, h, z, y, phase, first, lo, hi, i, s = g.stride[2]
    cdef const real *row
    cdef real *out
    for channel in range(channels):
        for pd in range(g.phases[0]):
            for d in range(g.length[0]):
                z = d * g.stride[0] + pd - g.pad[0]
                for ph in range(g.phases[1]):
                    for h in range(g.length[1]):
                        y = h * g.stride[1] + ph - g.pad[1]
                        if not (0 <= z < g.in_size[0] and 0 <= y < g.in_size[1]):
                            continue
                        row = (view + channel * g.channel_step + pd * g.phase_step[0] + d * g.step[0]
                               + ph * g.phase_step[1] + h * g.step[1])
                        out = x + ((channel * g.in_size[0] + z) * g.in_size[1] + y) * g.in_size[2]
                        for phase in range(g.phases[2]):
                            first = phase - g.pad[2]
                            inside(g, first, &lo, &hi)
                            if s == 1:
                                add_rows(1, hi - lo, row + lo, 0, out + first + lo, 0)
                            else:
                                for i in range(lo, hi):
                                    out[first + i * s] += row[i]
                            row += g.phase_step[2]


# --- forward ------------------------------------------------------------------------------------

cdef struct Pieces:
    # Runs of pixels that are neighbours in the view, which together fill one panel
    int64_t count
    int64_t *at
    int64_t *length


cdef void set_pieces(Pieces *pieces, const int64_t *pixel_at, int64_t p0, int64_t p1) noexcept nogil:
    cdef int64_t p
    pieces.count = 0
    for p in range(p0, p1):
        if p > p0 and pixel_at[p] == pixel_at[p - 1] + 1:
            pieces.length[pieces.count - 1] += 1
        else:
            pieces.at[pieces.count] = pixel_at[p]
            pieces.length[pieces.count] = 1
            pieces.count += 1


cdef struct Forward:
    Geometry g
    int64_t *row_at
    int64_t cout_parts
    bint relu


cdef int forward_task(const Forward *f, int64_t task, const real *x, const real *weight, const real *bias,
                      real *y) noexcept nogil:
    """Some output channels of one group for one box."""
    cdef const Geometry *g = &f.g
    cdef TileSize size = tile_size(y)
    cdef int64_t part = task % f.cout_parts, group = task // f.cout_parts % g.groups
    cdef int64_t c0 = part_start(g.cout, f.cout_parts, part), c1 = part_start(g.cout, f.cout_parts, part + 1)
    cdef Box box = box_of(g, task // (f.cout_parts * g.groups))
    cdef int64_t pixels = box.images * box.pixels, width = size.nv * size.vl
    cdef int64_t vectors = parts_of(pixels, size.vl), panels = parts_of(vectors, size.nv)
    cdef int64_t passes = parts_of(g.depth, K_BLOCK), deepest = parts_of(g.depth, passes)
    cdef int64_t at_once = max(1, min(panels, PANEL_BYTES // (deepest * width * <int64_t> sizeof(real))))
    cdef int64_t rounds = parts_of(panels, at_once), i, k_pass, k0, k1, panel, p0, p1, tile, tiles, i0, i1, mode
    cdef const real *view = view_of(g, &box, group, x)
    cdef real *packed = scratch_of(PANELS, at_once * deepest * width + size.mr * width, y)
    cdef int64_t *pixel_at = <int64_t *> scratch(TABLES, (pixels + 2 * width) * sizeof(int64_t))
    cdef Pieces pieces
    cdef Target target
    if view == NULL or packed == NULL or pixel_at == NULL:
        return OUT_OF_MEMORY
    pieces.at = pixel_at + pixels
    pieces.length = pieces.at + width
    set_pixels(g, &box, pixel_at)
    target.pixels = box.pixels
    target.plane = g.out_pixels
    target.image_step = g.groups * g.cout * g.out_pixels
    tiles = parts_of(c1 - c0, size.mr)
    for i in range(rounds):
        for k_pass in range(passes):
            k0 = part_start(g.depth, passes, k_pass)
            k1 = part_start(g.depth, passes, k_pass + 1)
            for panel in range(part_start(panels, rounds, i), part_start(panels, rounds, i + 1)):
                p0 = part_start(vectors, panels, panel) * size.vl
                p1 = part_start(vectors, panels, panel + 1) * size.vl
                set_pieces(&pieces, pixel_at, p0, min(p1, pixels))
                pack(k1 - k0, view, f.row_at + k0, pieces.count, pieces.at, pieces.length, p1 - p0,
                     packed + (panel - part_start(panels, rounds, i)) * deepest * width)
            mode = TILE_OVERWRITE if k0 > 0 else TILE_ROW_BIAS if bias != NULL else TILE_OVERWRITE
            if k0 > 0:
                mode = TILE_ADD
            if k1 == g.depth and f.relu:
                mode |= TILE_RELU
            for tile in range(tiles):
                i0 = c0 + part_start(c1 - c0, tiles, tile)
                i1 = c0 + part_start(c1 - c0, tiles, tile + 1)
                for panel in range(part_start(panels, rounds, i), part_start(panels, rounds, i + 1)):
                    p0 = part_start(vectors, panels, panel) * size.vl
                    p1 = part_start(vectors, panels, panel + 1) * size.vl
                    forward_tile(
                        &target, i1 - i0, p0, min(p1, pixels), p1 - p0, k1 - k0,
                        weight + (group * g.cout + i0) * g.depth + k0, g.depth,
                        packed + (panel - part_start(panels, rounds, i)) * deepest * width,
                        y + ((box.image * g.groups + group) * g.cout + i0) * g.out_pixels + box.out_at,
                        packed + at_once * deepest * width,
                        mode, bias + group * g.cout + i0 if bias != NULL else NULL)
    return 0


cdef struct Target:
    # Where the pixels of a panel go: runs of `pixels`, one from each image
    int64_t pixels, plane, image_step


cdef void forward_tile(const Target *target, int64_t rows, int64_t p0, int64_t p1, int64_t width, int64_t depth,
                       const real *weight, int64_t ldw, const real *panel, real *y, real *edge, int mode,
                       const real *bias) noexcept nogil:
    """Pixels p0 .. p1 of some channels: straight to y when a full panel lies in one image, else by way of `edge`."""
    cdef TileSize size = tile_size(y)
    cdef int64_t image = p0 // target.pixels, p, n, i
    cdef real *out
    if p1 - p0 == width and image == (p1 - 1) // target.pixels:
        outer(<int> rows, <int> (width // size.vl), depth, weight, ldw, 1, panel, width,
              y + image * target.image_step + p0 % target.pixels, target.plane, mode, bias)
        return
    if mode & TILE_ADD:
        p = p0
        while p < p1:
            n = min(p1 - p, target.pixels - p % target.pixels)
            out = y + p // target.pixels * target.image_step + p % target.pixels
            for i in range(rows):
                memcpy(edge + i * width + p - p0, out + i * target.plane, n * sizeof(real))
            p += n
    outer(<int> rows, <int> (width // size.vl), depth, weight, ldw, 1, panel, width, edge, width, mode, bias)
    p = p0
    while p < p1:
        n = min(p1 - p, target.pixels - p % target.pixels)
        out = y + p // target.pixels * target.image_step + p % target.pixels
        for i in range(rows):
            memcpy(out + i * target.plane, edge + i * width + p - p0, n * sizeof(real))
        p += n


cdef int forward(const Forward *f, const real *x, const real *weight, const real *bias, real *y) noexcept nogil:
    cdef int64_t task, tasks = f.g.batch_boxes * f.g.image_boxes * f.g.groups * f.cout_parts
    cdef int threads = threads_for(operations(&f.g)), failed = 0
    for task in prange(tasks, num_threads=threads, schedule="dynamic"):
        failed |= forward_task(f, task, x, weight, bias, y)
    return failed


cdef double operations(const Geometry *g) noexcept nogil:
    return 2.0 * g.batch * g.groups * g.cout * g.depth * g.out_pixels


cdef class ConvForward(Kernel):
    """y = the cross-correlation of x with weight, plus bias, then ReLU, where asked for.

    x (N, groups * cin, *in), weight (groups * cout, cin, *k), bias (groups * cout,) or None,
    y (N, groups * cout, *out); pad is what goes before each axis, the rest follows from y's shape.
    """
    cdef object arrays
    cdef const void *x
    cdef const void *weight
    cdef const void *bias
    cdef void *y
    cdef bint double_
    cdef Forward f

    def __init__(self, x, weight, bias, y, stride, pad, dilation, int64_t groups, bint relu=False):
        self.x = address(x)
        self.weight = address(weight)
        self.bias = NULL if bias is None else address(bias)
        self.y = address(y)
        self.double_ = is_double(y)
        cdef Geometry *g = &self.f.g
        set_geometry(g, x.shape, y.shape, weight.shape[2:], stride, pad, dilation, groups)
        set_boxes(g, 512, False)
        row_at = np.empty(g.depth, np.int64)
        self.f.row_at = <int64_t *> address(row_at)
        set_rows(g, self.f.row_at)
        self.arrays = (x, weight, bias, y, row_at)
        self.f.relu = relu
        self.f.cout_parts = channel_parts(g.batch_boxes * g.image_boxes * groups, g.cout)

    cdef int execute(self) except -1:
        cdef int failed
        with nogil:
            if self.double_:
                failed = forward(&self.f, <const double *> self.x, <const double *> self.weight,
                                 <const double *> self.bias, <double *> self.y)
            else:
                failed = forward(&self.f, <const float *> self.x, <const float *> self.weight,
                                 <const float *> self.bias, <float *> self.y)
        if failed:
            raise MemoryError("ConvForward: no memory for the packed panels")
        return 0


cdef int64_t channel_parts(int64_t tasks, int64_t channels):
    """Parts to cut the channels into when there are few tasks otherwise."""
    if tasks >= TASKS or tasks == 0:
        return 1
    return max(1, min(parts_of(TASKS, tasks), channels // 16))


# --- input gradient -----------------------------------------------------------------------------

cdef struct InputGrad:
    Geometry g
    int64_t *row_at
    int64_t channel_parts       # parts that the input channels of a group are cut into
    bint relu


cdef void pack_weight(const InputGrad *f, const real *weight, real *packed) noexcept nogil:
    """weight (groups * cout, depth) -> for each group and tile of rows of its transpose: (cout, rows)."""
    cdef const Geometry *g = &f.g
    cdef TileSize size = tile_size(packed)
    cdef int64_t job, group, part, r0, r1, tile, tiles, i0, i1, co, i
    for job in range(g.groups * f.channel_parts):
        group = job // f.channel_parts
        part = job % f.channel_parts
        r0 = part_start(g.cin, f.channel_parts, part) * g.taps
        r1 = part_start(g.cin, f.channel_parts, part + 1) * g.taps
        tiles = parts_of(r1 - r0, size.mr)
        for tile in range(tiles):
            i0 = r0 + part_start(r1 - r0, tiles, tile)
            i1 = r0 + part_start(r1 - r0, tiles, tile + 1)
            for co in range(g.cout):
                for i in range(i0, i1):
                    packed[(group * g.depth + i0) * g.cout + co * (i1 - i0) + i - i0] = (
                        weight[(group * g.cout + co) * g.depth + i])


cdef int input_grad_task(const InputGrad *f, int64_t task, const real *dy, const real *dy_end,
                         const real *packed, const real *bias, real *dx) noexcept nogil:
    """Some channels of dx of one group and image: dx is filled, then each box adds its share."""
    cdef const Geometry *g = &f.g
    cdef int64_t part = task % f.channel_parts, group = task // f.channel_parts % g.groups
    cdef int64_t image = task // (f.channel_parts * g.groups)
    cdef int64_t c0 = part_start(g.cin, f.channel_parts, part), c1 = part_start(g.cin, f.channel_parts, part + 1)
    cdef int64_t channel = group * g.cin + c0, i, c, count = (c1 - c0) * g.channel_step
    cdef real *out = dx + (image * g.groups * g.cin + channel) * g.in_pixels
    cdef real *view = out
    cdef real value
    cdef Box box
    for c in range(c1 - c0):
        value = bias[channel + c] if bias != NULL else 0
        for i in range(g.in_pixels):
            out[c * g.in_pixels + i] = value
    if not g.in_place:
        view = scratch_of(VIEW, count, dx)
        if view == NULL:
            return OUT_OF_MEMORY
        memset(view, 0, count * sizeof(real))
    for i in range(g.image_boxes):
        box = box_of(g, image * g.image_boxes + i)
        if add_box(f, &box, c1 - c0, dy + (image * g.groups + group) * g.cout * g.out_pixels + box.out_at, dy_end,
                   packed + (group * g.depth + c0 * g.taps) * g.cout,
                   view + box.start[0] * g.step[0] + box.start[1] * g.step[1] + box.start[2]) != 0:
            return OUT_OF_MEMORY
    if not g.in_place:
        add_out(g, c1 - c0, view, out)
    if f.relu:
        for i in range((c1 - c0) * g.in_pixels):
            if out[i] < 0:
                out[i] = 0
    return 0


cdef int add_box(const InputGrad *f, const Box *box, int64_t channels, const real *dy, const real *dy_end,
                 const real *packed, real *view) noexcept nogil:
    """cols (channels * taps, pixels) = transposed weight @ dy, then each row of cols added where it came from."""
    cdef const Geometry *g = &f.g
    cdef TileSize size = tile_size(view)
    cdef int64_t rows = channels * g.taps, vectors = parts_of(box.pixels, size.vl)
    cdef int64_t pitch = vectors * size.vl, panels = parts_of(vectors, size.nv), tiles = parts_of(rows, size.mr)
    cdef int64_t panel, tile, i0, i1, p0, p1, ldb, c, tap, d, h, columns, zero = 0
    cdef real *cols = scratch_of(PANELS, rows * pitch + g.cout * size.vl * size.nv, view)
    cdef real *edge = cols + rows * pitch
    cdef const real *b
    if cols == NULL:
        return OUT_OF_MEMORY
    for panel in range(panels):
        p0 = part_start(vectors, panels, panel) * size.vl
        p1 = part_start(vectors, panels, panel + 1) * size.vl
        b = dy + p0
        ldb = g.out_pixels
        if b + (g.cout - 1) * ldb + p1 - p0 > dy_end:       # the last vector would reach beyond the array
            columns = box.pixels - p0
            ldb = p1 - p0
            for c in range(g.cout):
                pack(1, b + c * g.out_pixels, &zero, 1, &zero, &columns, ldb, edge + c * ldb)
            b = edge
        for tile in range(tiles):
            i0 = part_start(rows, tiles, tile)
            i1 = part_start(rows, tiles, tile + 1)
            outer(<int> (i1 - i0), <int> ((p1 - p0) // size.vl), g.cout, packed + i0 * g.cout, 1, i1 - i0,
                  b, ldb, cols + i0 * pitch + p0, pitch, TILE_OVERWRITE, <const real *> NULL)
    # Channels run inside: a row must not be read again while its last addition is still on the way to memory.
    for tap in range(g.taps):
        for d in range(box.size[0]):
            for h in range(box.size[1]):
                add_rows(channels, box.size[2],
                         cols + tap * pitch + (d * box.size[1] + h) * box.size[2], g.taps * pitch,
                         view + f.row_at[tap] + d * g.step[0] + h * g.step[1], g.channel_step)
    return 0


cdef int input_grad(const InputGrad *f, const real *dy, const real *weight, const real *bias,
                    real *dx) noexcept nogil:
    cdef const Geometry *g = &f.g
    cdef int64_t task, tasks = g.batch * g.groups * f.channel_parts
    cdef int threads = threads_for(operations(g)), failed = 0
    cdef const real *dy_end = dy + g.batch * g.groups * g.cout * g.out_pixels
    cdef real *packed = scratch_of(SHARED, g.groups * g.depth * g.cout, dx)
    if packed == NULL:
        return OUT_OF_MEMORY
    pack_weight(f, weight, packed)
    for task in prange(tasks, num_threads=threads, schedule="dynamic"):
        failed |= input_grad_task(f, task, dy, dy_end, packed, bias, dx)
    return failed


cdef class ConvInputGrad(Kernel):
    """dx = the transposed convolution of dy with weight, plus bias, then ReLU, where asked for.

    dy (N, groups * cout, *out), weight (groups * cout, cin, *k), dx (N, groups * cin, *in),
    bias (groups * cin,) or None.  The gradient of ConvForward with respect to x, and the forward pass of the
    transposed convolution.
    """
    cdef object arrays
    cdef const void *dy
    cdef const void *weight
    cdef const void *bias
    cdef void *dx
    cdef bint double_
    cdef InputGrad f

    def __init__(self, dy, weight, dx, stride, pad, dilation, int64_t groups, bias=None, bint relu=False):
        self.dy = address(dy)
        self.weight = address(weight)
        self.bias = NULL if bias is None else address(bias)
        self.dx = address(dx)
        self.double_ = is_double(dx)
        cdef Geometry *g = &self.f.g
        set_geometry(g, dx.shape, dy.shape, weight.shape[2:], stride, pad, dilation, groups)
        set_view_of_whole_images(g, 512)
        row_at = np.empty(g.depth, np.int64)
        self.f.row_at = <int64_t *> address(row_at)
        set_rows(g, self.f.row_at)
        self.arrays = (dy, weight, bias, dx, row_at)
        self.f.relu = relu
        cdef int64_t in_cache = max(1, PANEL_BYTES // (g.taps * g.box_pixels * <int64_t> dx.itemsize))
        self.f.channel_parts = max(parts_of(g.cin, in_cache), min(g.cin, parts_of(TASKS, g.batch * groups + 1)))
        self.f.channel_parts = max(1, min(self.f.channel_parts, g.cin))

    cdef int execute(self) except -1:
        cdef int failed
        with nogil:
            if self.double_:
                failed = input_grad(&self.f, <const double *> self.dy, <const double *> self.weight,
                                    <const double *> self.bias, <double *> self.dx)
            else:
                failed = input_grad(&self.f, <const float *> self.dy, <const float *> self.weight,
                                    <const float *> self.bias, <float *> self.dx)
        if failed:
            raise MemoryError("ConvInputGrad: no memory for the columns")
        return 0


cdef void set_view_of_whole_images(Geometry *g, int64_t pixels) noexcept:
    """Boxes as in set_boxes, one image at most, over a view that holds the whole image."""
    cdef Geometry boxes = g[0]
    set_boxes(g, 0, True)
    set_boxes(&boxes, pixels, False)
    g.box = boxes.box
    g.boxes = boxes.boxes
    g.image_boxes = boxes.image_boxes
    g.box_pixels = boxes.box_pixels


# --- weight gradient ----------------------------------------------------------------------------

cdef struct WeightGrad:
    Geometry g
    int64_t *row_at
    int64_t chunks, depth_parts     # parts that the boxes, and the rows of dw transposed, are cut into
    bint bias


cdef int weight_grad_task(const WeightGrad *f, int64_t task, const real *dy, const real *x,
                          real *partial, real *partial_bias) noexcept nogil:
    """Rows k0 .. k1 of one chunk's and group's share of dw transposed: partial (depth, columns)."""
    cdef const Geometry *g = &f.g
    cdef TileSize size = tile_size(partial)
    cdef int64_t part = task % f.depth_parts, group = task // f.depth_parts % g.groups
    cdef int64_t chunk = task // (f.depth_parts * g.groups)
    cdef int64_t k0 = part_start(g.depth, f.depth_parts, part), k1 = part_start(g.depth, f.depth_parts, part + 1)
    cdef int64_t vectors = parts_of(g.cout, size.vl), columns = vectors * size.vl, boxes, i
    cdef Box box
    boxes = g.batch_boxes * g.image_boxes
    partial += (chunk * g.groups + group) * g.depth * columns
    partial_bias += (chunk * g.groups + group) * columns
    memset(partial + k0 * columns, 0, (k1 - k0) * columns * sizeof(real))
    if part == 0:
        memset(partial_bias, 0, columns * sizeof(real))
    for i in range(part_start(boxes, f.chunks, chunk), part_start(boxes, f.chunks, chunk + 1)):
        box = box_of(g, i)
        if add_weight_box(f, &box, group, k0, k1, dy, x, partial,
                          partial_bias if f.bias and part == 0 else NULL) != 0:
            return OUT_OF_MEMORY
    return 0


cdef int add_weight_box(const WeightGrad *f, const Box *box, int64_t group, int64_t k0, int64_t k1, const real *dy,
                        const real *x, real *partial, real *partial_bias) noexcept nogil:
    """One box's share: dy is transposed into panels (pixels, a few vectors of channels), x is read in place."""
    cdef const Geometry *g = &f.g
    cdef TileSize size = tile_size(partial)
    cdef int64_t vectors = parts_of(g.cout, size.vl), columns = vectors * size.vl
    cdef int64_t pixels = box.images * box.pixels, panels = parts_of(vectors, size.nv)
    cdef int64_t tiles = parts_of(k1 - k0, size.mr), panel, tile, c0, c1, i0, i1, image, width, i
    cdef const real *view = view_of(g, box, group, x)
    cdef real *packed = scratch_of(PANELS, pixels * size.vl * size.nv, partial)
    cdef int64_t *pixel_at = <int64_t *> scratch(TABLES, pixels * sizeof(int64_t))
    if view == NULL or packed == NULL or pixel_at == NULL:
        return OUT_OF_MEMORY
    set_pixels(g, box, pixel_at)
    for panel in range(panels):
        c0 = part_start(vectors, panels, panel) * size.vl
        c1 = part_start(vectors, panels, panel + 1) * size.vl
        width = c1 - c0
        if c1 > g.cout:
            for i in range(pixels):
                memset(packed + i * width + g.cout - c0, 0, (c1 - g.cout) * sizeof(real))
        for image in range(box.images):
            transpose(min(c1, g.cout) - c0, box.pixels,
                      dy + (((box.image + image) * g.groups + group) * g.cout + c0) * g.out_pixels + box.out_at,
                      g.out_pixels, packed + image * box.pixels * width, width)
        if partial_bias != NULL:
            sum_rows(pixels, width, packed, width, partial_bias + c0)
        for tile in range(tiles):
            i0 = k0 + part_start(k1 - k0, tiles, tile)
            i1 = k0 + part_start(k1 - k0, tiles, tile + 1)
            outer_at(<int> (i1 - i0), <int> (width // size.vl), pixels, view, f.row_at + i0, pixel_at,
                     packed, width, partial + i0 * columns + c0, columns, TILE_ADD)
    return 0


cdef void sum_chunks(const WeightGrad *f, int64_t row, real *partial, real *dw) noexcept nogil:
    """Row (group, k) of dw transposed: add up the chunks in order and write a column of dw (cout, depth)."""
    cdef const Geometry *g = &f.g
    cdef int64_t columns = parts_of(g.cout, tile_size(dw).vl) * tile_size(dw).vl
    cdef int64_t chunk, group = row // g.depth, k = row % g.depth
    cdef real *total = partial + row * columns
    for chunk in range(1, f.chunks):
        add_rows(1, columns, total + chunk * g.groups * g.depth * columns, 0, total, 0)
    transpose(1, g.cout, total, 0, dw + group * g.cout * g.depth + k, g.depth)


cdef int weight_grad(const WeightGrad *f, const real *dy, const real *x, real *dw, real *db) noexcept nogil:
    cdef const Geometry *g = &f.g
    cdef int64_t columns = parts_of(g.cout, tile_size(dw).vl) * tile_size(dw).vl
    cdef int64_t task, row, chunk, c, group, tasks = f.chunks * g.groups * f.depth_parts
    cdef int64_t rows = g.groups * g.depth
    cdef int threads = threads_for(operations(g)), failed = 0
    cdef real *partial = scratch_of(SHARED, f.chunks * (rows + g.groups) * columns, dw)
    cdef real *partial_bias = partial + f.chunks * rows * columns
    cdef real total
    if partial == NULL:
        return OUT_OF_MEMORY
    for task in prange(tasks, num_threads=threads, schedule="dynamic"):
        failed |= weight_grad_task(f, task, dy, x, partial, partial_bias)
    if failed:
        return failed
    for row in prange(rows, num_threads=threads, schedule="static"):
        sum_chunks(f, row, partial, dw)
    if f.bias:
        for group in range(g.groups):
            for c in range(g.cout):
                total = 0
                for chunk in range(f.chunks):
                    total = total + partial_bias[(chunk * g.groups + group) * columns + c]
                db[group * g.cout + c] = total
    return 0


cdef class ConvWeightGrad(Kernel):
    """dweight = the gradient of ConvForward with respect to its weight, and dbias to its bias, where given.

    dy (N, groups * cout, *out), x (N, groups * cin, *in), dweight (groups * cout, cin, *k),
    dbias (groups * cout,) or None.
    """
    cdef object arrays
    cdef const void *dy
    cdef const void *x
    cdef void *dw
    cdef void *db
    cdef bint double_
    cdef WeightGrad f

    def __init__(self, dy, x, dweight, dbias, stride, pad, dilation, int64_t groups):
        self.dy = address(dy)
        self.x = address(x)
        self.dw = address(dweight)
        self.db = NULL if dbias is None else address(dbias)
        self.double_ = is_double(dweight)
        cdef Geometry *g = &self.f.g
        set_geometry(g, x.shape, dy.shape, dweight.shape[2:], stride, pad, dilation, groups)
        set_boxes(g, 512, False)
        row_at = np.empty(g.depth, np.int64)
        self.f.row_at = <int64_t *> address(row_at)
        set_rows(g, self.f.row_at)
        self.arrays = (dy, x, dweight, dbias, row_at)
        self.f.bias = dbias is not None
        self.f.chunks = max(1, min(8, g.batch_boxes * g.image_boxes))
        self.f.depth_parts = max(1, min(parts_of(16, self.f.chunks * groups), g.depth // 32))

    cdef int execute(self) except -1:
        cdef int failed
        with nogil:
            if self.double_:
                failed = weight_grad(&self.f, <const double *> self.dy, <const double *> self.x,
                                     <double *> self.dw, <double *> self.db)
            else:
                failed = weight_grad(&self.f, <const float *> self.dy, <const float *> self.x,
                                     <float *> self.dw, <float *> self.db)
        if failed:
            raise MemoryError("ConvWeightGrad: no memory for the partial sums")
        return 0


# --- bias gradient ------------------------------------------------------------------------------

cdef void channel_sum(int64_t batch, int64_t channels, int64_t pixels, const real *dy, real *db) noexcept nogil:
    cdef int64_t c, image
    cdef real total
    for c in prange(channels, num_threads=threads_for(<double> batch * channels * pixels), schedule="static"):
        total = 0
        for image in range(batch):
            total = total + sum_values(pixels, dy + (image * channels + c) * pixels)
        db[c] = total


cdef class ChannelSum(Kernel):
    """dbias (C,) = the sum of dy (N, C, *out) over batch and space."""
    cdef object arrays
    cdef const void *dy
    cdef void *db
    cdef bint double_
    cdef int64_t batch, channels, pixels

    def __init__(self, dy, dbias):
        self.arrays = (dy, dbias)
        self.dy = address(dy)
        self.db = address(dbias)
        self.double_ = is_double(dbias)
        self.batch, self.channels = dy.shape[:2]
        self.pixels = 1
        for size in dy.shape[2:]:
            self.pixels *= size

    cdef int execute(self) except -1:
        with nogil:
            if self.double_:
                channel_sum(self.batch, self.channels, self.pixels, <const double *> self.dy, <double *> self.db)
            else:
                channel_sum(self.batch, self.channels, self.pixels, <const float *> self.dy, <float *> self.db)
        return 0


# --- im2col -------------------------------------------------------------------------------------

cdef struct Unfold:
    Geometry g
    int64_t *row_at


cdef int im2col_task(const Unfold *f, int64_t image, const real *x, real *cols) noexcept nogil:
    """One channel of one image: its view, then each patch row copied out, output row by output row."""
    cdef const Geometry *g = &f.g
    cdef Box box = box_of(g, image)
    cdef const real *view = view_of(g, &box, 0, x)
    cdef int64_t tap, d, h
    if view == NULL:
        return OUT_OF_MEMORY
    cols += image * g.taps * g.out_pixels
    for tap in range(g.taps):
        for d in range(g.out_size[0]):
            for h in range(g.out_size[1]):
                memcpy(cols, view + f.row_at[tap] + d * g.step[0] + h * g.step[1], g.out_size[2] * sizeof(real))
                cols += g.out_size[2]
    return 0


cdef int col2im_task(const Unfold *f, int64_t image, const real *cols, real *x) noexcept nogil:
    """One channel of one image: each patch row added into the view, then the view into x."""
    cdef const Geometry *g = &f.g
    cdef int64_t tap, d, h
    cdef real *view = x + image * g.in_pixels
    memset(view, 0, g.in_pixels * sizeof(real))
    if not g.in_place:
        view = scratch_of(VIEW, g.image_step, x)
        if view == NULL:
            return OUT_OF_MEMORY
        memset(view, 0, g.image_step * sizeof(real))
    cols += image * g.taps * g.out_pixels
    for tap in range(g.taps):
        for d in range(g.out_size[0]):
            for h in range(g.out_size[1]):
                add_rows(1, g.out_size[2], cols, 0, view + f.row_at[tap] + d * g.step[0] + h * g.step[1], 0)
                cols += g.out_size[2]
    if not g.in_place:
        add_out(g, 1, view, x + image * g.in_pixels)
    return 0


cdef int im2col(const Unfold *f, const real *x, real *cols) noexcept nogil:
    cdef int64_t image
    cdef int threads = threads_for(<double> f.g.batch * f.g.taps * f.g.out_pixels), failed = 0
    for image in prange(f.g.batch, num_threads=threads, schedule="static"):
        failed |= im2col_task(f, image, x, cols)
    return failed


cdef int col2im(const Unfold *f, const real *cols, real *x) noexcept nogil:
    cdef int64_t image
    cdef int threads = threads_for(<double> f.g.batch * f.g.taps * f.g.out_pixels), failed = 0
    for image in prange(f.g.batch, num_threads=threads, schedule="static"):
        failed |= col2im_task(f, image, cols, x)
    return failed


cdef set_unfold(Unfold *f, x, kernel_size, stride, pad, dilation, out_size):
    """Channels are images here, since each is unfolded by itself; returns the array that holds the table."""
    cdef Geometry *g = &f.g
    shape = (x.shape[0] * x.shape[1], 1, *x.shape[2:])
    set_geometry(g, shape, (shape[0], 1, *out_size), kernel_size, stride, pad, dilation, 1)
    set_boxes(g, 0, True)
    row_at = np.empty(g.depth, np.int64)
    f.row_at = <int64_t *> address(row_at)
    set_rows(g, f.row_at)
    return row_at


cdef class Im2col(Kernel):
    """cols (N, C * prod(kernel_size), prod(out_size)) = the patches of x (N, C, *in), as columns.

    Rows are ordered (channel, tap), columns by output pixel.
    """
    cdef object arrays
    cdef const void *x
    cdef void *cols
    cdef bint double_
    cdef Unfold f

    def __init__(self, x, cols, kernel_size, stride, pad, dilation, out_size):
        self.x = address(x)
        self.cols = address(cols)
        self.double_ = is_double(cols)
        self.arrays = (x, cols, set_unfold(&self.f, x, kernel_size, stride, pad, dilation, out_size))

    cdef int execute(self) except -1:
        cdef int failed
        with nogil:
            if self.double_:
                failed = im2col(&self.f, <const double *> self.x, <double *> self.cols)
            else:
                failed = im2col(&self.f, <const float *> self.x, <float *> self.cols)
        if failed:
            raise MemoryError("Im2col: no memory for a padded image")
        return 0


cdef class Col2im(Kernel):
    """x (N, C, *in) = the sum of the patches cols (N, C * prod(kernel_size), prod(out_size)): Im2col's adjoint."""
    cdef object arrays
    cdef const void *cols
    cdef void *x
    cdef bint double_
    cdef Unfold f

    def __init__(self, cols, x, kernel_size, stride, pad, dilation, out_size):
        self.cols = address(cols)
        self.x = address(x)
        self.double_ = is_double(x)
        self.arrays = (cols, x, set_unfold(&self.f, x, kernel_size, stride, pad, dilation, out_size))

    cdef int execute(self) except -1:
        cdef int failed
        with nogil:
            if self.double_:
                failed = col2im(&self.f, <const double *> self.cols, <double *> self.x)
            else:
                failed = col2im(&self.f, <const float *> self.cols, <float *> self.x)
        if failed:
            raise MemoryError("Col2im: no memory for a padded image")
        return 0
