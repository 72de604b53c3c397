"""The geometry of a convolution in one to three dimensions, and the view of its input that makes it plain.

A *view* of the input is the input itself or, where there is padding or a stride, a copy in scratch with the
padding filled in and each axis split by its phase modulo the stride.  In a view the value that output pixel p
takes from patch row k = (channel, tap) lies at row_at[k] + pixel_at[p], and the pixels of an output row are
neighbours.

Work is cut into *boxes* of output pixels (several small images, one image, or a part of one) by the size of
the problem alone, so that results do not depend on the number of threads.  One- and two-dimensional arrays
get leading axes of length one.
"""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from convkit._kernels.core cimport OUT_OF_MEMORY, real
from convkit._kernels.tile cimport (
    CK_MAX_VECTOR, CK_MAX_WIDTH, add_rows, pad_rows, part_start, parts_of, scratch_of, zip_parts,
)

cdef enum:
    # scratch slots; the first two are shared by all threads of a call, the others belong to one
    SHARED, WEIGHTS, VIEW, PANELS, TABLES
    BOX_PIXELS = 512        # output pixels of one task, about
    TASKS = 16              # tasks wanted of a large problem, for any number of threads
    FEWEST_TASKS = 4        # that small images may leave by sharing boxes


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


cdef inline set_geometry(Geometry *g, x_shape, y_shape, kernel_size, stride, pad, dilation, int64_t groups):
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
        if g.out_size[axis] == 1:
            g.stride[axis] = 1      # there is no second window; a huge stride would mean as many phases
    g.taps = g.kernel[0] * g.kernel[1] * g.kernel[2]
    g.depth = g.cin * g.taps
    g.in_pixels = g.in_size[0] * g.in_size[1] * g.in_size[2]
    g.out_pixels = g.out_size[0] * g.out_size[1] * g.out_size[2]


cdef inline void set_boxes(Geometry *g, int64_t pixels, int64_t vl, int64_t parts) noexcept:
    """Cut the output into boxes of about `pixels`, each image's part of a box one run in the output plane.

    Small images share a box, as many as leave the fewest lanes of its last vector of `vl` pixels empty, while
    there are tasks enough: a box makes `parts` tasks.
    """
    cdef int axis
    cdef int64_t room = pixels, images, waste, least = vl
    for axis in range(2, -1, -1):
        g.boxes[axis] = parts_of(g.out_size[axis], max(1, min(g.out_size[axis], room)))
        g.box[axis] = parts_of(g.out_size[axis], g.boxes[axis])
        room = room // g.box[axis] if g.boxes[axis] == 1 else 1
    g.image_boxes = g.boxes[0] * g.boxes[1] * g.boxes[2]
    g.box_pixels = g.box[0] * g.box[1] * g.box[2]
    g.images = 1
    if g.image_boxes == 1:
        for images in range(1, max(1, min(room, g.batch, g.batch * max(1, parts) // FEWEST_TASKS)) + 1):
            waste = -(images * g.box_pixels) % vl
            waste = (waste + vl) % vl // images
            if waste < least or waste == least and images <= g.batch // TASKS:
                g.images = images
                least = waste
    g.batch_boxes = parts_of(g.batch, g.images)


cdef inline void set_view(Geometry *g, bint whole_images) noexcept:
    """Lay out the view of one image under a box, or under all its boxes."""
    cdef int axis
    cdef int64_t reach
    g.in_place = True
    for axis in range(3):
        reach = (g.kernel[axis] - 1) * g.dilation[axis]
        g.phases[axis] = 1 if reach == 0 or g.dilation[axis] % g.stride[axis] == 0 else g.stride[axis]
        g.length[axis] = (g.out_size[axis] if whole_images else g.box[axis]) + reach // g.stride[axis]
        if g.stride[axis] > 1 or g.pad[axis] != 0 or g.out_size[axis] + reach > g.in_size[axis]:
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


cdef inline void set_rows(const Geometry *g, bint backwards, int64_t *row_at) noexcept:
    """row_at[(channel, kd, kh, kw)]: where in the view the patch row of the first output pixel lies.

    Backwards, a channel's taps come from the last to the first.
    """
    cdef int64_t channel, tap, rest, k = 0, at, offset
    cdef int axis
    for channel in range(g.cin):
        for tap in range(g.taps):
            at = channel * g.channel_step
            rest = g.taps - 1 - tap if backwards else tap
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
    box.image = part_start(g.batch, g.batch_boxes, index // g.image_boxes)
    box.images = part_start(g.batch, g.batch_boxes, index // g.image_boxes + 1) - box.image
    box.pixels = 1
    for axis in range(2, -1, -1):
        part = index % g.boxes[axis]
        index //= g.boxes[axis]
        box.start[axis] = part_start(g.out_size[axis], g.boxes[axis], part)
        box.size[axis] = part_start(g.out_size[axis], g.boxes[axis], part + 1) - box.start[axis]
        box.pixels *= box.size[axis]
    box.out_at = (box.start[0] * g.out_size[1] + box.start[1]) * g.out_size[2] + box.start[2]
    return box


cdef inline int64_t set_pixels(const Geometry *g, const Box *box, int64_t *pixel_at) noexcept nogil:
    """pixel_at[p]: where in the view the first patch row of a box's pixel p lies; returns their number."""
    cdef int64_t image, d, h, w, p = 0, row
    for image in range(box.images):
        for d in range(box.size[0]):
            for h in range(box.size[1]):
                row = image * g.image_step + d * g.step[0] + h * g.step[1]
                for w in range(box.size[2]):
                    pixel_at[p] = row + w
                    p += 1
    return p


cdef struct Pieces:
    # Runs of pixels that are neighbours in the view, one after the other in a panel
    int64_t count
    int64_t at[CK_MAX_WIDTH]
    int64_t length[CK_MAX_WIDTH]


cdef inline void set_pieces(const Geometry *g, const Box *box, int64_t p0, int64_t p1,
                            Pieces *pieces) noexcept nogil:
    """The pieces that make up pixels p0 .. p1 of a box."""
    cdef int64_t column = p0 % box.size[2], row = p0 // box.size[2]
    cdef int64_t h = row % box.size[1], d = row // box.size[1] % box.size[0]
    cdef int64_t image = row // (box.size[1] * box.size[0]), at, n, last = -1
    pieces.count = 0
    while p0 < p1:
        n = min(p1 - p0, box.size[2] - column)
        at = image * g.image_step + d * g.step[0] + h * g.step[1] + column
        if last >= 0 and at == pieces.at[last] + pieces.length[last]:
            pieces.length[last] += n
        else:
            last += 1
            pieces.at[last] = at
            pieces.length[last] = n
        p0 += n
        column = 0
        h += 1
        if h == box.size[1]:
            h = 0
            d += 1
        if d == box.size[0]:
            d = 0
            image += 1
    pieces.count = last + 1


# --- the view -----------------------------------------------------------------------------------

cdef inline const real *view_of(const Geometry *g, const Box *box, int64_t group, int64_t c0, int64_t c1,
                                const real *x) noexcept nogil:
    """The view of channels c0 .. c1 of a group for one box of x (batch, groups * cin, in_size).

    Row 0 is the first patch row of channel c0.  NULL without memory.
    """
    cdef real *view
    cdef int64_t image
    x += (box.image * g.groups + group) * g.cin * g.in_pixels + c0 * g.in_pixels
    if g.in_place:
        return x + box.start[0] * g.step[0] + box.start[1] * g.step[1] + box.start[2]
    view = scratch_of(VIEW, box.images * g.image_step, <real *> NULL)
    if view == NULL:
        return NULL
    for image in range(box.images):
        copy_in(g, box, c1 - c0, x + image * g.groups * g.cin * g.in_pixels, view + image * g.image_step)
    return view


cdef inline const real *view_end(const Geometry *g, const Box *box, const real *view,
                                 const real *x) noexcept nogil:
    """Where memory that may be read ends: scratch has a vector to spare."""
    if g.in_place:
        return x + g.batch * g.groups * g.cin * g.in_pixels
    return view + box.images * g.image_step + CK_MAX_VECTOR


cdef inline void copy_in(const Geometry *g, const Box *box, int64_t channels, const real *x,
                         real *view) noexcept nogil:
    """Pad some channels of one image and split them by phase."""
    cdef int64_t channel, pd, ph, d, z, y, lo, hi
    cdef int64_t s = g.stride[2], first = box.start[2] * s - g.pad[2], low = max(0, -first)
    cdef int64_t left = max(0, first), columns = max(0, min(g.in_size[2] - left, g.length[2] * s - low))
    memset(view, 0, channels * g.channel_step * sizeof(real))
    for channel in range(channels):
        for pd in range(g.phases[0]):
            for d in range(g.length[0]):
                z = (box.start[0] + d) * g.stride[0] + pd - g.pad[0]
                if not 0 <= z < g.in_size[0]:
                    continue
                for ph in range(g.phases[1]):
                    y = box.start[1] * g.stride[1] + ph - g.pad[1]
                    inside(g, 1, y, &lo, &hi)
                    pad_rows(hi - lo, columns,
                             x + ((channel * g.in_size[0] + z) * g.in_size[1] + y + lo * g.stride[1])
                             * g.in_size[2] + left, g.stride[1] * g.in_size[2], low, s, g.phases[2],
                             view + channel * g.channel_step + pd * g.phase_step[0] + d * g.step[0]
                             + ph * g.phase_step[1] + lo * g.step[1], g.step[1], g.phase_step[2])


cdef inline void inside(const Geometry *g, int axis, int64_t first, int64_t *lo, int64_t *hi) noexcept nogil:
    """The positions lo .. hi of a phase, at first + i * stride in the input, that lie inside of it."""
    cdef int64_t s = g.stride[axis], n = g.length[axis]
    lo[0] = min(n, max(0, (s - 1 - first) // s)) if first < 0 else 0
    hi[0] = max(lo[0], min(n, (g.in_size[axis] - first + s - 1) // s)) if first < g.in_size[axis] else lo[0]


cdef inline int add_out(const Geometry *g, int64_t channels, const real *view, real *x) noexcept nogil:
    """The adjoint of copy_in for whole images: add the view of `channels` channels to x."""
    cdef int64_t channel, pd, ph, d, z, y, h, lo, hi, i, s = g.stride[2]
    cdef int64_t covered = g.length[2] * s, columns = max(0, min(g.in_size[2], covered - g.pad[2]))
    cdef real *line = scratch_of(TABLES, covered, x)
    cdef const real *row
    cdef real *out
    if line == NULL:
        return OUT_OF_MEMORY
    inside(g, 2, -g.pad[2], &lo, &hi)
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
                        if s == 1:
                            add_rows(1, columns, row + g.pad[2], 0, out, 0)
                        elif g.phases[2] == s:
                            zip_parts(covered, s, row, g.phase_step[2], line)
                            add_rows(1, columns, line + g.pad[2], 0, out, 0)
                        else:
                            for i in range(lo, hi):
                                out[i * s - g.pad[2]] += row[i]
    return 0
