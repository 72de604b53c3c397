"""Convolution, its two gradients, and im2col.

view.pxd makes every geometry a plain one: the value that output pixel p takes from patch row
k = (channel, tap) lies at X[row_at[k] + pixel_at[p]].  The three products are register tiles over those two tables:

    forward           Y[co][p]  = sum_k  W[co][k] X[row_at[k] + pixel_at[p]]
    input gradient    dX[row_at[k] + pixel_at[p]] += sum_co W[co][k] dY[co][p]
    weight gradient   dW[co][k] = sum_p  X[row_at[k] + pixel_at[p]] dY[co][p]

An input gradient that covers what the output covers is computed as a forward pass over dY instead, and where
each channel is a group of its own depthwise.pyx does the work.

No matrix of patches is ever written out: panels of a few vectors of pixels are packed as they are needed.
The products, and the order of their sums, depend on the problem's size alone, whoever computes them.
"""

import numpy as np

from cython.parallel cimport prange
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from convkit._kernels.depthwise import DepthwiseForward, DepthwiseInputGrad, DepthwiseWeightGrad

from convkit._kernels.core cimport Kernel, OUT_OF_MEMORY, address, is_double, real, scratch, threads_for
from convkit._kernels.tile cimport (
    CK_MAX_ROWS, CK_MAX_TILE, CK_MAX_VECTOR, TILE_ADD, TILE_FETCH, TILE_OVERWRITE, TILE_RELU, TILE_ROW_BIAS, TileSize,
    add_rows, outer, outer_at, pack, pack_matrix, part_start, parts_of, planes_sum, scratch_of, sum_rows, tile_size,
    transpose, zip_parts,
)
from convkit._kernels.view cimport (
    BOX_PIXELS, FEWEST_TASKS, PANELS, SHARED, TABLES, TASKS, VIEW, WEIGHTS, Box, Geometry, Pieces,
    add_out, box_of, set_boxes, set_geometry, set_pieces, set_pixels, set_rows, set_view, view_end, view_of,
)

cdef enum:
    K_BLOCK = 1024          # depth of one pass over k
    PANEL_BYTES = 524288    # packed panels in use at a time, for the second-level cache
    SUM_ROWS = 16           # rows of the weight gradient summed and transposed together
    PACKED_TOGETHER = 16    # output channels of a weight that is transposed
    PLACED_PIXELS = 1024    # of a box of windows side by side, about
    CHANNELS_PER_TASK = 48  # of the input gradient, at least, where few boxes make too few tasks,
    ROWS_PER_TASK = 128     # and so many rows of the weight gradient
    REACH = 64              # inputs for each output, beyond what the stride leaves out
    PACKED_ROWS = 32        # of all panels of a box before the next: what is read stays in order


cdef inline double operations(const Geometry *g) noexcept nogil:
    return 2.0 * g.batch * g.groups * g.cout * g.depth * g.out_pixels


cdef inline bint is_depthwise(const Geometry *g) noexcept:
    return g.groups > 1 and g.cin == 1 and g.cout == 1


cdef inline bint reaches_far(const Geometry *g) noexcept:
    """Whether windows are so much larger than the plane of outputs that sums over whole windows of it, for each input,
    would be sums of zeros around it."""
    cdef double stride = <double> g.stride[0] * g.stride[1] * g.stride[2]
    return g.in_pixels > REACH * stride * g.out_pixels


cdef int64_t vector_length(bint double_):
    return tile_size(<double *> NULL).vl if double_ else tile_size(<float *> NULL).vl


cdef row_table(const Geometry *g, bint backwards=False):
    """The array row_at of view.pxd."""
    table = np.empty(g.depth, np.int64)
    set_rows(g, backwards, <int64_t *> address(table))
    return table


# --- forward ------------------------------------------------------------------------------------

cdef struct Forward:
    Geometry g
    int64_t *row_at
    int64_t *weight_row     # where a group's weights of each output channel begin,
    int64_t *weight_at      # and those of each patch row, from there; NULL: one after the other
    int64_t passes          # that the patch rows are packed in
    int64_t tiles           # that the output channels of a group are cut into
    bint relu


cdef struct Job:
    # Some panels of a box, of one group: at present panels first .. last, each in a slot of the given size
    TileSize size
    Box box
    int64_t group
    int64_t pixels, vectors, panels     # of the box; its pixels are shared out over panels of whole vectors
    int64_t rounds                      # runs of panels that are packed at a time
    int64_t first, last
    int64_t slot
    int64_t k0, k1                      # patch rows packed at present
    int mode


cdef inline int64_t panel_start(const Job *job, int64_t panel) noexcept nogil:
    return part_start(job.vectors, job.panels, panel) * job.size.vl


cdef Job job_of(const Forward *f, int64_t number, real *any_) noexcept nogil:
    """Box and group number `number`, groups of a box being neighbours; as many panels at a time as the cache holds."""
    cdef Job job
    job.size = tile_size(any_)
    job.box = box_of(&f.g, number // f.g.groups)
    job.group = number % f.g.groups
    job.pixels = job.box.images * job.box.pixels
    job.vectors = parts_of(job.pixels, job.size.vl)
    job.panels = parts_of(job.vectors, job.size.nv)
    job.slot = parts_of(f.g.depth, f.passes) * job.size.nv * job.size.vl
    job.rounds = parts_of(job.panels, max(1, PANEL_BYTES // (job.slot * <int64_t> sizeof(real))))
    return job


cdef inline int64_t first_tile(const Forward *f, const Job *job, int64_t position) noexcept nogil:
    """The first tile of output channels whose work on the present panels begins at `position` or later.

    Positions count the products of a box: panels first .. last, times one tile of channels after the other.
    """
    cdef int64_t v0 = panel_start(job, job.first) // job.size.vl, v1 = panel_start(job, job.last) // job.size.vl
    return min(f.tiles, max(0, parts_of(position - v0 * f.tiles, v1 - v0)))


cdef inline void set_pass(const Forward *f, Job *job, int64_t k_pass, bint with_bias) noexcept nogil:
    job.k0 = part_start(f.g.depth, f.passes, k_pass)
    job.k1 = part_start(f.g.depth, f.passes, k_pass + 1)
    job.mode = TILE_ADD if k_pass > 0 else TILE_ROW_BIAS if with_bias else TILE_OVERWRITE
    if f.relu and k_pass + 1 == f.passes:
        job.mode |= TILE_RELU


cdef int forward_box(const Forward *f, int64_t number, int64_t from_, int64_t to, const real *x, const real *weight,
                     const real *bias, real *y) noexcept nogil:
    """One group for one box, from one position to another."""
    cdef const Geometry *g = &f.g
    cdef Job job = job_of(f, number, y)
    cdef int64_t round_, k_pass, tile0, tile1
    cdef const real *view = view_of(g, &job.box, job.group, 0, g.cin, x)
    cdef real *packed = scratch_of(PANELS, parts_of(job.panels, job.rounds) * job.slot, y)
    if view == NULL or packed == NULL:
        return OUT_OF_MEMORY
    for round_ in range(job.rounds):
        job.first = part_start(job.panels, job.rounds, round_)
        job.last = part_start(job.panels, job.rounds, round_ + 1)
        tile0 = first_tile(f, &job, from_)
        tile1 = first_tile(f, &job, to)
        for k_pass in range(f.passes if tile0 < tile1 else 0):
            set_pass(f, &job, k_pass, bias != NULL)
            if pack_panels(f, &job, view, view_end(g, &job.box, view, x), packed) != 0:
                return OUT_OF_MEMORY
            multiply_panels(f, &job, tile0, tile1, weight + job.group * g.cout * g.depth, bias, packed, y)
    return 0


cdef int pack_panels(const Forward *f, const Job *job, const real *view, const real *end,
                     real *packed) noexcept nogil:
    """The patch rows of a pass of each panel's pixels: (k, width)."""
    cdef int64_t panels = job.last - job.first, panel, k, n, p0, p1, width
    cdef Pieces *pieces = <Pieces *> scratch(TABLES, panels * sizeof(Pieces))
    if pieces == NULL:
        return OUT_OF_MEMORY
    for panel in range(panels):
        p0 = panel_start(job, job.first + panel)
        p1 = panel_start(job, job.first + panel + 1)
        set_pieces(&f.g, &job.box, p0, min(p1, job.pixels), &pieces[panel])
    k = job.k0
    while k < job.k1:
        n = min(PACKED_ROWS, job.k1 - k)
        for panel in range(panels):
            width = panel_start(job, job.first + panel + 1) - panel_start(job, job.first + panel)
            pack(n, view, f.row_at + k, pieces[panel].count, pieces[panel].at, pieces[panel].length, width,
                 packed + panel * job.slot + (k - job.k0) * width, end)
        k += n
    return 0


cdef void multiply_panels(const Forward *f, const Job *job, int64_t tile0, int64_t tile1, const real *weight,
                          const real *bias, const real *packed, real *y) noexcept nogil:
    """Tiles of output channels outside, whose weights stay in the first-level cache, and panels inside."""
    cdef int64_t tile, panel, i0, i1, channel
    for tile in range(tile0, tile1):
        i0 = part_start(f.g.cout, f.tiles, tile)
        i1 = part_start(f.g.cout, f.tiles, tile + 1)
        channel = job.group * f.g.cout + i0
        for panel in range(job.first, job.last):
            forward_tile(f, job, panel, i0, i1 - i0, weight, packed + (panel - job.first) * job.slot,
                         y + channel * f.g.out_pixels, bias + channel if bias != NULL else NULL)


cdef void forward_tile(const Forward *f, const Job *job, int64_t panel, int64_t i0, int64_t rows, const real *weight,
                       const real *packed, real *y, const real *bias) noexcept nogil:
    """A panel of some channels: straight to y when it is full and within one image, else by way of `edge`."""
    cdef const Geometry *g = &f.g
    cdef int64_t p0 = panel_start(job, panel), p1 = panel_start(job, panel + 1), width = p1 - p0
    cdef int64_t image = p0 // job.box.pixels, at = p0 % job.box.pixels
    cdef real edge[CK_MAX_TILE]
    if at + width <= job.box.pixels:
        multiply_tile(f, job, panel, i0, rows, width, weight, packed, y + image_at(g, &job.box, image) + at,
                      g.out_pixels, bias)
        return
    if job.mode & TILE_ADD:
        move_edge(g, job, p0, rows, width, y, edge, False)
    multiply_tile(f, job, panel, i0, rows, width, weight, packed, edge, width, bias)
    move_edge(g, job, p0, rows, width, y, edge, True)


cdef inline void multiply_tile(const Forward *f, const Job *job, int64_t panel, int64_t i0, int64_t rows, int64_t width,
                               const real *weight, const real *packed, real *out, int64_t ldo,
                               const real *bias) noexcept nogil:
    cdef int64_t depth = job.k1 - job.k0
    cdef int nv = <int> (width // job.size.vl)
    if f.weight_at == NULL:
        outer(<int> rows, nv, depth, weight + f.weight_row[i0] + job.k0, f.g.depth, 1, packed, width, out, ldo,
              job.mode, bias)
    else:
        outer_at(<int> rows, nv, depth, weight, f.weight_row + i0, f.weight_at + job.k0, packed, width, out, ldo,
                 job.mode | (TILE_FETCH if panel == job.first else 0), bias)


cdef inline int64_t image_at(const Geometry *g, const Box *box, int64_t image) noexcept nogil:
    return (box.image + image) * g.groups * g.cout * g.out_pixels + box.out_at


cdef void move_edge(const Geometry *g, const Job *job, int64_t p0, int64_t rows, int64_t width, real *y,
                    real *edge, bint to_y) noexcept nogil:
    """Copy a tile (rows, width) between `edge` and the images of y that its pixels belong to."""
    cdef int64_t p = p0, n, i, at, p1 = min(p0 + width, job.pixels)
    while p < p1:
        at = p % job.box.pixels
        n = min(p1 - p, job.box.pixels - at)
        at += image_at(g, &job.box, p // job.box.pixels)
        for i in range(rows):
            if to_y:
                memcpy(y + i * g.out_pixels + at, edge + i * width + p - p0, n * sizeof(real))
            else:
                memcpy(edge + i * width + p - p0, y + i * g.out_pixels + at, n * sizeof(real))
        p += n


cdef int forward_share(const Forward *f, int64_t share, int64_t shares, const real *x, const real *weight,
                       const real *bias, real *y) noexcept nogil:
    """One thread's share: from somewhere in one box to somewhere in another."""
    cdef const Geometry *g = &f.g
    cdef int64_t boxes = g.batch_boxes * g.image_boxes * g.groups
    cdef int64_t length = parts_of(g.images * g.box_pixels, tile_size(y).vl) * f.tiles      # positions of a box
    cdef int64_t from_ = part_start(boxes * length, shares, share), to = part_start(boxes * length, shares, share + 1)
    cdef int64_t number
    for number in range(from_ // length, parts_of(to, length)):
        if forward_box(f, number, from_ - number * length, to - number * length, x, weight, bias, y) != 0:
            return OUT_OF_MEMORY
    return 0


cdef int forward(const Forward *f, const real *x, const real *weight, const real *bias,
                 real *y) noexcept nogil:
    """All boxes, shared out evenly: a thread packs for itself, since panels would be slow to cross between caches."""
    cdef int64_t share
    cdef int threads = threads_for(operations(&f.g)), failed = 0
    if threads == 1:
        return forward_share(f, 0, 1, x, weight, bias, y)
    for share in prange(threads, num_threads=threads, schedule="static", chunksize=1):
        failed |= forward_share(f, share, threads, x, weight, bias, y)
    return failed


cdef set_forward(Forward *f, bint double_, bint relu, bint transposed=False):
    """Everything but the geometry; returns the arrays that it points into.

    Transposed, the weight is (cin, cout, taps), and its taps meet the input backwards.
    """
    cdef Geometry *g = &f.g
    set_boxes(g, BOX_PIXELS, vector_length(double_), FEWEST_TASKS)
    set_view(g, False)
    f.relu = relu
    f.passes = parts_of(g.depth, K_BLOCK)
    f.tiles = parts_of(g.cout, tile_size(<double *> NULL).mr if double_ else tile_size(<float *> NULL).mr)
    row_at = row_table(g, transposed)
    weight_row = np.arange(g.cout, dtype=np.int64) * (g.taps if transposed else g.depth)
    weight_at = np.zeros(0, np.int64)
    if transposed:
        weight_at = np.add.outer(np.arange(g.cin) * g.cout * g.taps, np.arange(g.taps)).astype(np.int64)
    f.row_at = <int64_t *> address(row_at)
    f.weight_row = <int64_t *> address(weight_row)
    f.weight_at = <int64_t *> address(weight_at) if transposed else NULL
    return row_at, weight_row, weight_at


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
    cdef Kernel depthwise
    cdef Forward f

    def __init__(self, x, weight, bias, y, stride, pad, dilation, int64_t groups, bint relu=False):
        self.x = address(x)
        self.weight = address(weight)
        self.bias = NULL if bias is None else address(bias)
        self.y = address(y)
        self.double_ = is_double(y)
        set_geometry(&self.f.g, x.shape, y.shape, weight.shape[2:], stride, pad, dilation, groups)
        if is_depthwise(&self.f.g):
            self.depthwise = DepthwiseForward(x, weight, bias, y, stride, pad, dilation, relu)
            return
        self.arrays = (x, weight, bias, y, set_forward(&self.f, self.double_, relu))

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.depthwise is not None:
            return self.depthwise.execute()
        if self.double_:
            failed = forward(&self.f, <const double *> self.x, <const double *> self.weight,
                             <const double *> self.bias, <double *> self.y)
        else:
            failed = forward(&self.f, <const float *> self.x, <const float *> self.weight,
                             <const float *> self.bias, <float *> self.y)
        if failed:
            with gil:
                raise MemoryError("ConvForward: no memory for the packed panels")
        return 0


# --- input gradient -----------------------------------------------------------------------------

cdef struct InputGrad:
    Geometry g                  # boxes of output pixels, over a view that holds whole images
    int64_t *row_at
    int64_t *plane_at           # where the output channels of a group begin
    int64_t channel_parts       # parts that the input channels of a group are cut into
    bint side_by_side           # windows meet no input twice and leave none out
    bint relu


cdef inline int64_t packed_at(const InputGrad *f, int64_t group, int64_t part) noexcept nogil:
    """Where a part's packed weight begins: a vector apart, since packing writes that much too far."""
    cdef int64_t rows = group * f.g.depth + part_start(f.g.cin, f.channel_parts, part) * f.g.taps
    return rows * f.g.cout + (group * f.channel_parts + part) * CK_MAX_VECTOR


cdef void pack_weight(const InputGrad *f, int64_t task, const real *weight, real *packed) noexcept nogil:
    """One part's rows of a group's transposed weight, tile by tile: each (cout, rows).

    Some output channels go to all tiles before the next do, since tiles share lines of the weight.  The last ones are
    copied exactly: a vector might reach into the next tile, which has begun.
    """
    cdef const Geometry *g = &f.g
    cdef int64_t group = task // f.channel_parts, part = task % f.channel_parts, tile, i0, i1, k0 = 0, k1
    cdef int64_t r0 = part_start(g.cin, f.channel_parts, part) * g.taps
    cdef int64_t r1 = part_start(g.cin, f.channel_parts, part + 1) * g.taps
    cdef int64_t tiles = parts_of(r1 - r0, tile_size(packed).mr)
    cdef const real *end = weight + g.groups * g.cout * g.depth
    packed += packed_at(f, group, part)
    weight += group * g.cout * g.depth
    while k0 < g.cout:
        k1 = min(k0 + PACKED_TOGETHER, g.cout)
        for tile in range(tiles):
            i0 = r0 + part_start(r1 - r0, tiles, tile)
            i1 = r0 + part_start(r1 - r0, tiles, tile + 1)
            pack_matrix(k1 - k0, i1 - i0, weight + k0 * g.depth + i0, g.depth, i1 - i0,
                        packed + (i0 - r0) * g.cout + k0 * (i1 - i0), end if k1 + CK_MAX_VECTOR <= g.cout else weight)
        k0 = k1


cdef int input_grad_task(const InputGrad *f, int64_t task, const real *dy, const real *packed,
                         const real *bias,
                         real *dx) noexcept nogil:
    """Some channels of one group of dx for some images: dx is filled, then each box adds its share."""
    cdef const Geometry *g = &f.g
    cdef int64_t part = task % f.channel_parts, group = task // f.channel_parts % g.groups
    cdef int64_t batch_box = task // (f.channel_parts * g.groups), i, image, view_step
    cdef int64_t c0 = part_start(g.cin, f.channel_parts, part), c1 = part_start(g.cin, f.channel_parts,
                                                                                part + 1)
    cdef int64_t channel = group * g.cin + c0
    cdef Box box = box_of(g, batch_box * g.image_boxes)
    cdef real *out = dx + (box.image * g.groups * g.cin + channel) * g.in_pixels
    cdef real *view = out
    bias = bias + channel if bias != NULL else NULL
    packed += packed_at(f, group, part)
    if f.side_by_side:
        return place_boxes(f, batch_box, c1 - c0, dy, group, packed, bias, out)
    for image in range(box.images):
        fill_channels(g, c1 - c0, bias, out + image * image_values(g))
    view_step = image_values(g)
    if not g.in_place:
        view_step = (c1 - c0) * g.channel_step
        view = scratch_of(VIEW, box.images * view_step, dx)
        if view == NULL:
            return OUT_OF_MEMORY
        memset(view, 0, box.images * view_step * sizeof(real))
    for i in range(g.image_boxes):
        box = box_of(g, batch_box * g.image_boxes + i)
        if add_box(f, &box, c1 - c0, dy, group, packed,
                   view + box.start[0] * g.step[0] + box.start[1] * g.step[1] + box.start[2], view_step) != 0:
            return OUT_OF_MEMORY
    for image in range(box.images):
        if not g.in_place and add_out(g, c1 - c0, view + image * view_step, out + image * image_values(g)) != 0:
            return OUT_OF_MEMORY
        if f.relu:
            relu_values((c1 - c0) * g.in_pixels, out + image * image_values(g))
    return 0


cdef inline int64_t image_values(const Geometry *g) noexcept nogil:
    return g.groups * g.cin * g.in_pixels


cdef void fill_channels(const Geometry *g, int64_t channels, const real *bias, real *out) noexcept nogil:
    cdef int64_t c, i
    if bias == NULL:
        memset(out, 0, channels * g.in_pixels * sizeof(real))
        return
    for c in range(channels):
        for i in range(g.in_pixels):
            out[c * g.in_pixels + i] = bias[c]


cdef void relu_values(int64_t n, real *values) noexcept nogil:
    cdef int64_t i
    for i in range(n):
        if values[i] < 0:
            values[i] = 0


cdef real *columns_of(const InputGrad *f, const Box *box, int64_t channels, const real *dy, int64_t group,
                      const real *packed, int mode, const real *bias, int64_t *row_step) noexcept nogil:
    """cols (channels * taps, pixels) = transposed weight @ dy, in scratch memory; NULL where there is none.

    With TILE_ROW_BIAS in the mode, plus the bias of each channel.
    """
    cdef const Geometry *g = &f.g
    cdef TileSize size = tile_size(<real *> packed)
    cdef int64_t rows = channels * g.taps, pixels = box.images * box.pixels, vectors = parts_of(pixels,
                                                                                                size.vl)
    cdef int64_t pitch = vectors * size.vl, panels = parts_of(vectors, size.nv), tiles = parts_of(rows,
                                                                                                  size.mr)
    cdef int64_t panel, tile, i0, i1, i, p0, p1, ldb
    cdef real row_bias[CK_MAX_ROWS]
    cdef real *cols = scratch_of(PANELS, rows * pitch + g.cout * size.vl * size.nv, <real *> packed)
    cdef const real *b
    row_step[0] = pitch
    if cols == NULL:
        return NULL
    for panel in range(panels):
        p0 = part_start(vectors, panels, panel) * size.vl
        p1 = part_start(vectors, panels, panel + 1) * size.vl
        b = grad_panel(f, box, dy, group, p0, p1, cols + rows * pitch, &ldb)
        for tile in range(tiles):
            i0 = part_start(rows, tiles, tile)
            i1 = part_start(rows, tiles, tile + 1)
            if mode & TILE_ROW_BIAS:
                for i in range(i0, i1):
                    row_bias[i - i0] = bias[i // g.taps]
            outer(<int> (i1 - i0), <int> ((p1 - p0) // size.vl), g.cout, packed + i0 * g.cout, 1, i1 - i0,
                  b, ldb, cols + i0 * pitch + p0, pitch, mode, row_bias)
    return cols


cdef int add_box(const InputGrad *f, const Box *box, int64_t channels, const real *dy, int64_t group,
                 const real *packed, real *view, int64_t view_step) noexcept nogil:
    """Each row of a box's columns added where it came from."""
    cdef int64_t pitch
    cdef const real *cols = columns_of(f, box, channels, dy, group, packed, TILE_OVERWRITE, <const real *> NULL,
                                       &pitch)
    if cols == NULL:
        return OUT_OF_MEMORY
    add_columns(f, box, channels, cols, pitch, view, view_step)
    return 0


cdef int place_boxes(const InputGrad *f, int64_t batch_box, int64_t channels, const real *dy, int64_t group,
                     const real *packed, const real *bias, real *out) noexcept nogil:
    """Some channels of some images, of which each value belongs to one window alone: nothing is added up."""
    cdef const Geometry *g = &f.g
    cdef int64_t i, pitch
    cdef int mode = (TILE_ROW_BIAS if bias != NULL else TILE_OVERWRITE) | (TILE_RELU if f.relu else 0)
    cdef Box box
    cdef const real *cols
    for i in range(g.image_boxes):
        box = box_of(g, batch_box * g.image_boxes + i)
        cols = columns_of(f, &box, channels, dy, group, packed, mode, bias, &pitch)
        if cols == NULL:
            return OUT_OF_MEMORY
        place_columns(g, &box, channels, cols, pitch, out)
    return 0


cdef void place_columns(const Geometry *g, const Box *box, int64_t channels, const real *cols, int64_t pitch,
                        real *out) noexcept nogil:
    """The columns of a kernel's row, one beside the other, are a row of inputs."""
    cdef int64_t image, c, kd, kh, d, h
    cdef const real *row
    cdef real *plane
    for image in range(box.images):
        for c in range(channels):
            plane = out + image * image_values(g) + c * g.in_pixels + box.start[2] * g.stride[2]
            for kd in range(g.kernel[0]):
                for kh in range(g.kernel[1]):
                    row = cols + (c * g.taps + (kd * g.kernel[1] + kh) * g.kernel[2]) * pitch + image * box.pixels
                    for d in range(box.size[0]):
                        for h in range(box.size[1]):
                            zip_parts(box.size[2] * g.stride[2], g.stride[2], row, pitch, plane
                                      + (((box.start[0] + d) * g.stride[0] + kd) * g.in_size[1]
                                         + (box.start[1] + h) * g.stride[1] + kh) * g.in_size[2])
                            row += box.size[2]


cdef const real *grad_panel(const InputGrad *f, const Box *box, const real *dy, int64_t group, int64_t p0,
                            int64_t p1, real *packed, int64_t *ldb) noexcept nogil:
    """Pixels p0 .. p1 of all channels of dy: in place where they lie in one image, else packed."""
    cdef const Geometry *g = &f.g
    cdef int64_t step = g.groups * g.cout * g.out_pixels, n, p = p0
    cdef Pieces pieces
    dy += (box.image * g.groups + group) * g.cout * g.out_pixels + box.out_at
    ldb[0] = g.out_pixels
    if p1 <= box.pixels:
        return dy + p0
    pieces.count = 0
    while p < min(p1, box.images * box.pixels):
        n = min(p1 - p, box.pixels - p % box.pixels)
        pieces.at[pieces.count] = p // box.pixels * step + p % box.pixels
        pieces.length[pieces.count] = n
        pieces.count += 1
        p += n
    ldb[0] = p1 - p0
    pack(g.cout, dy, f.plane_at, pieces.count, pieces.at, pieces.length, p1 - p0, packed,
         dy - (box.image * g.groups + group) * g.cout * g.out_pixels - box.out_at + g.batch * step)
    return packed


cdef void add_columns(const InputGrad *f, const Box *box, int64_t channels, const real *cols, int64_t pitch,
                      real *view, int64_t view_step) noexcept nogil:
    """Add every row of cols, output row by output row, to the view.

    Channels run inside: a row must not be read again while its last addition is still on the way to memory.
    """
    cdef const Geometry *g = &f.g
    cdef int64_t tap, image, d, h
    cdef const real *row
    for image in range(box.images):
        for tap in range(g.taps):
            row = cols + tap * pitch + image * box.pixels
            for d in range(box.size[0]):
                for h in range(box.size[1]):
                    add_rows(channels, box.size[2], row, g.taps * pitch,
                             view + image * view_step + f.row_at[tap] + d * g.step[0] + h * g.step[1],
                             g.channel_step)
                    row += box.size[2]


cdef int input_grad(const InputGrad *f, const real *dy, const real *weight, const real *bias,
                    real *dx) noexcept nogil:
    cdef const Geometry *g = &f.g
    cdef int64_t task, parts = g.groups * f.channel_parts
    cdef bint used_once = g.batch_boxes == 1
    cdef int threads = threads_for(operations(g)), failed = 0
    cdef real *packed = scratch_of(SHARED, packed_at(f, g.groups, 0), dx)
    if packed == NULL:
        return OUT_OF_MEMORY
    for task in prange(0 if used_once else parts, num_threads=threads, schedule="static"):
        pack_weight(f, task, weight, packed)
    for task in prange(g.batch_boxes * parts, num_threads=threads, schedule="dynamic"):
        if used_once:
            pack_weight(f, task, weight, packed)    # by the thread that reads it
        failed |= input_grad_task(f, task, dy, packed, bias, dx)
    return failed


cdef bint is_forward(const Geometry *g) noexcept:
    """Whether the gradient is as well the forward pass over dy: the same work, and no columns to add up."""
    return (g.stride[0] == 1 and g.stride[1] == 1 and g.stride[2] == 1
            and g.in_pixels <= 1.1 * g.out_pixels)


cdef bint lie_side_by_side(const Geometry *g) noexcept:
    """Whether each input is under one window, and under one place of it."""
    cdef int axis
    for axis in range(3):
        if g.kernel[axis] != g.stride[axis] or g.dilation[axis] != 1 or g.pad[axis] != 0:
            return False
        if g.in_size[axis] != g.out_size[axis] * g.stride[axis]:
            return False
    return True


cdef set_transposed(Forward *f, dy, dx, weight, pad, dilation, int64_t groups):
    reach = [(k - 1) * d for k, d in zip(weight.shape[2:], dilation)]
    pad = [most - low for most, low in zip(reach, pad)]
    set_geometry(&f.g, dy.shape, dx.shape, weight.shape[2:], [1] * len(pad), pad, dilation, groups)


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
    cdef Kernel depthwise
    cdef InputGrad f
    cdef bint is_forward
    cdef Forward transposed

    def __init__(self, dy, weight, dx, stride, pad, dilation, int64_t groups, bias=None, bint relu=False):
        self.dy = address(dy)
        self.weight = address(weight)
        self.bias = NULL if bias is None else address(bias)
        self.dx = address(dx)
        self.double_ = is_double(dx)
        cdef Geometry *g = &self.f.g
        set_geometry(g, dx.shape, dy.shape, weight.shape[2:], stride, pad, dilation, groups)
        if is_depthwise(g) and not reaches_far(g):
            self.depthwise = DepthwiseInputGrad(dy, weight, dx, stride, pad, dilation, bias, relu)
            return
        self.is_forward = is_forward(g)
        if self.is_forward:
            set_transposed(&self.transposed, dy, dx, weight, pad, dilation, groups)
            self.arrays = (dy, weight, bias, dx, set_forward(&self.transposed, self.double_, relu, True))
            return
        self.f.side_by_side = lie_side_by_side(g)
        set_boxes(g, PLACED_PIXELS if self.f.side_by_side else BOX_PIXELS, vector_length(self.double_),
                  g.cin // CHANNELS_PER_TASK)
        set_view(g, True)
        row_at = row_table(g)
        plane_at = np.arange(g.cout, dtype=np.int64) * g.out_pixels
        self.f.row_at = <int64_t *> address(row_at)
        self.f.plane_at = <int64_t *> address(plane_at)
        self.arrays = (dy, weight, bias, dx, row_at, plane_at)
        self.f.relu = relu
        cdef int64_t columns_bytes = g.taps * g.images * g.box_pixels * <int64_t> dx.itemsize
        cdef int64_t tasks = max(1, g.batch_boxes * groups)
        self.f.channel_parts = min(g.cin, max(parts_of(g.cin * columns_bytes, PANEL_BYTES), parts_of(TASKS,
                                                                                                     tasks)))

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.depthwise is not None:
            return self.depthwise.execute()
        if self.is_forward and self.double_:
            failed = forward(&self.transposed, <const double *> self.dy, <const double *> self.weight,
                             <const double *> self.bias, <double *> self.dx)
        elif self.is_forward:
            failed = forward(&self.transposed, <const float *> self.dy, <const float *> self.weight,
                             <const float *> self.bias, <float *> self.dx)
        elif self.double_:
            failed = input_grad(&self.f, <const double *> self.dy, <const double *> self.weight,
                                <const double *> self.bias, <double *> self.dx)
        else:
            failed = input_grad(&self.f, <const float *> self.dy, <const float *> self.weight,
                                <const float *> self.bias, <float *> self.dx)
        if failed:
            with gil:
                raise MemoryError("ConvInputGrad: no memory for the columns")
        return 0


# --- weight gradient ----------------------------------------------------------------------------

cdef struct WeightGrad:
    # Swapped, x and dy have changed places, which for a kernel of one tap gives dw the right way round
    Geometry g
    int64_t *row_at
    int64_t chunks, parts       # parts that the boxes, and the input channels, are cut into
    int64_t pitch               # of the rows of sums: for each patch row one of all output channels
    bint swapped, direct        # direct: the rows of sums are those of dw
    bint bias


cdef inline int64_t chunk_values(const WeightGrad *f) noexcept nogil:
    return f.g.groups * f.g.depth * f.pitch


cdef int weight_grad_task(const WeightGrad *f, int64_t task, const real *dy, const real *x, real *dw,
                          real *shared, real *shared_bias) noexcept nogil:
    """The patch rows of some channels of a group over one chunk of boxes."""
    cdef const Geometry *g = &f.g
    cdef int64_t part = task % f.parts, group = task // f.parts % g.groups
    cdef int64_t chunk = task // (f.parts * g.groups), boxes = g.batch_boxes * g.image_boxes
    cdef int64_t c0 = part_start(g.cin, f.parts, part), c1 = part_start(g.cin, f.parts, part + 1)
    cdef int64_t rows = (c1 - c0) * g.taps, first = part_start(boxes, f.chunks, chunk), i
    cdef real *sums
    cdef real *bias_sums = NULL
    cdef Box box
    if f.direct:
        sums = dw + (group * g.depth + c0 * g.taps) * f.pitch
    elif f.chunks == 1:
        sums = scratch_of(WEIGHTS, rows * f.pitch, dw)
    else:
        sums = shared + chunk * chunk_values(f) + (group * g.depth + c0 * g.taps) * f.pitch
    if sums == NULL:
        return OUT_OF_MEMORY
    if boxes == 0:
        memset(sums, 0, rows * f.pitch * sizeof(real))
    if f.bias and part == 0:
        bias_sums = shared_bias + (chunk * g.groups + group) * f.pitch
        memset(bias_sums, 0, f.pitch * sizeof(real))
    for i in range(first, part_start(boxes, f.chunks, chunk + 1)):
        box = box_of(g, i)
        if add_weight_box(f, &box, group, c0, c1, dy, x, TILE_ADD if i > first else TILE_OVERWRITE, sums,
                          bias_sums) != 0:
            return OUT_OF_MEMORY
    if f.chunks == 1 and not f.direct:
        write_rows(f, group, c0 * g.taps, rows, sums, dw)
    return 0


cdef int add_weight_box(const WeightGrad *f, const Box *box, int64_t group, int64_t c0, int64_t c1,
                        const real *dy, const real *x, int mode, real *sums, real *bias_sums) noexcept nogil:
    """One box's share: dy is transposed into panels (pixels, a few vectors of channels), x is read in place.

    Columns beyond cout hold whatever was in scratch: their products are never read.
    """
    cdef const Geometry *g = &f.g
    cdef TileSize size = tile_size(sums)
    cdef int64_t vectors = parts_of(g.cout, size.vl), rows = (c1 - c0) * g.taps
    cdef int64_t pixels = box.images * box.pixels, panels = parts_of(vectors, size.nv)
    cdef int64_t tiles = parts_of(rows, size.mr), panel, tile, from_, to, i0, i1, image, width, at
    cdef const real *view = view_of(g, box, group, c0, c1, x)
    cdef real *packed = scratch_of(PANELS, pixels * size.vl * size.nv, sums)
    cdef int64_t *pixel_at = <int64_t *> scratch(TABLES, pixels * sizeof(int64_t))
    if view == NULL or packed == NULL or pixel_at == NULL:
        return OUT_OF_MEMORY
    set_pixels(g, box, pixel_at)
    for panel in range(panels):
        from_ = part_start(vectors, panels, panel) * size.vl
        to = part_start(vectors, panels, panel + 1) * size.vl
        width = to - from_
        for image in range(box.images):
            at = (((box.image + image) * g.groups + group) * g.cout + from_) * g.out_pixels + box.out_at
            transpose(min(to, g.cout) - from_, box.pixels, dy + at, g.out_pixels,
                      packed + image * box.pixels * width, width)
        if bias_sums != NULL:
            sum_rows(pixels, width, packed, width, bias_sums + from_)
        for tile in range(tiles):
            i0 = part_start(rows, tiles, tile)
            i1 = part_start(rows, tiles, tile + 1)
            outer_at(<int> (i1 - i0), <int> (width // size.vl), pixels, view, f.row_at + i0, pixel_at,
                     packed, width, sums + i0 * f.pitch + from_, f.pitch, mode, <const real *> NULL)
    return 0


cdef void write_rows(const WeightGrad *f, int64_t group, int64_t k0, int64_t rows, const real *sums,
                     real *dw) noexcept nogil:
    """Rows k0 and on of a group: as they are, or as columns of dw."""
    cdef const Geometry *g = &f.g
    cdef int64_t i
    if not f.swapped:
        transpose(rows, g.cout, sums, f.pitch, dw + group * g.cout * g.depth + k0, g.depth)
        return
    for i in range(rows):
        memcpy(dw + (group * g.depth + k0 + i) * g.cout, sums + i * f.pitch, g.cout * sizeof(real))


cdef void sum_chunks(const WeightGrad *f, int64_t block, real *shared, real *dw) noexcept nogil:
    """Some rows of a group: the chunks added up in order."""
    cdef const Geometry *g = &f.g
    cdef int64_t blocks = parts_of(g.depth, SUM_ROWS), group = block // blocks, chunk
    cdef int64_t k0 = block % blocks * SUM_ROWS, rows = min(SUM_ROWS, g.depth - k0)
    cdef real *total = shared + (group * g.depth + k0) * f.pitch
    for chunk in range(1, f.chunks):
        add_rows(1, rows * f.pitch, total + chunk * chunk_values(f), 0, total, 0)
    write_rows(f, group, k0, rows, total, dw)


cdef int weight_grad(const WeightGrad *f, const real *dy, const real *x, real *dw, real *db) noexcept nogil:
    cdef const Geometry *g = &f.g
    cdef int64_t task, chunk, c, group, tasks = f.chunks * g.groups * f.parts
    cdef int64_t values = chunk_values(f) * f.chunks if f.chunks > 1 else 0
    cdef int threads = threads_for(operations(g)), failed = 0
    cdef real *shared = scratch_of(SHARED, values + f.chunks * g.groups * f.pitch, dw)
    cdef real *shared_bias = shared + values
    cdef real total
    if shared == NULL:
        return OUT_OF_MEMORY
    for task in prange(tasks, num_threads=threads, schedule="dynamic"):
        failed |= weight_grad_task(f, task, dy, x, dw, shared, shared_bias)
    if failed:
        return failed
    if f.chunks > 1:
        for task in prange(g.groups * parts_of(g.depth, SUM_ROWS), num_threads=threads, schedule="static"):
            sum_chunks(f, task, shared, dw)
    if f.bias:
        for group in range(g.groups):
            for c in range(g.cout):
                total = 0
                for chunk in range(f.chunks):
                    total = total + shared_bias[(chunk * g.groups + group) * f.pitch + c]
                db[group * g.cout + c] = total
    return 0


cdef int swapped_weight_grad(const WeightGrad *f, const real *dy, const real *x, real *dw,
                             real *db) noexcept nogil:
    cdef const Geometry *g = &f.g
    if db != NULL:
        channel_sum(g.batch, g.groups * g.cin, g.in_pixels, dy, db)
    return weight_grad(f, x, dy, dw, <real *> NULL)


cdef bint is_swapped(const Geometry *g) noexcept:
    """Whether to transpose x, of a kernel with one tap, rather than dy and the rows of sums."""
    cdef double pixels = <double> g.batch * g.out_pixels
    return g.in_place and g.taps == 1 and g.cin * pixels < g.cout * pixels + 1.5 * g.cin * g.cout


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
    cdef Kernel depthwise
    cdef WeightGrad f

    def __init__(self, dy, x, dweight, dbias, stride, pad, dilation, int64_t groups):
        self.dy = address(dy)
        self.x = address(x)
        self.dw = address(dweight)
        self.db = NULL if dbias is None else address(dbias)
        self.double_ = is_double(dweight)
        cdef Geometry *g = &self.f.g
        set_geometry(g, x.shape, dy.shape, dweight.shape[2:], stride, pad, dilation, groups)
        if is_depthwise(g):
            self.depthwise = DepthwiseWeightGrad(dy, x, dweight, dbias, stride, pad, dilation)
            return
        set_view(g, True)
        self.f.swapped = is_swapped(g)
        if self.f.swapped:
            set_geometry(g, dy.shape, x.shape, dweight.shape[2:], stride, pad, dilation, groups)
        self.f.bias = dbias is not None and not self.f.swapped
        self.arrays = (dy, x, dweight, dbias, self.share_out())

    cdef share_out(self):
        """Cut the work into tasks by the problem's size alone; returns the array that holds row_at."""
        cdef Geometry *g = &self.f.g
        cdef int64_t vl = vector_length(self.double_), most = max(1, g.depth // ROWS_PER_TASK)
        set_boxes(g, BOX_PIXELS, vl, most)
        set_view(g, False)
        self.f.parts = max(1, min(TASKS, g.cin, most))
        self.f.chunks = max(1, min(8, g.batch_boxes * g.image_boxes,
                                   parts_of(TASKS, self.f.parts * max(1, g.groups))))
        self.f.direct = self.f.swapped and self.f.chunks == 1 and g.cout % vl == 0
        self.f.pitch = g.cout if self.f.direct else parts_of(g.cout, vl) * vl + CK_MAX_VECTOR
        row_at = row_table(g)
        self.f.row_at = <int64_t *> address(row_at)
        return row_at

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.depthwise is not None:
            return self.depthwise.execute()
        if self.f.swapped and self.double_:
            failed = swapped_weight_grad(&self.f, <const double *> self.dy, <const double *> self.x,
                                         <double *> self.dw, <double *> self.db)
        elif self.f.swapped:
            failed = swapped_weight_grad(&self.f, <const float *> self.dy, <const float *> self.x,
                                         <float *> self.dw, <float *> self.db)
        elif self.double_:
            failed = weight_grad(&self.f, <const double *> self.dy, <const double *> self.x,
                                 <double *> self.dw, <double *> self.db)
        else:
            failed = weight_grad(&self.f, <const float *> self.dy, <const float *> self.x,
                                 <float *> self.dw, <float *> self.db)
        if failed:
            with gil:
                raise MemoryError("ConvWeightGrad: no memory for the partial sums")
        return 0


# --- bias gradient ------------------------------------------------------------------------------

cdef void channel_sum(int64_t batch, int64_t channels, int64_t pixels, const real *dy,
                      real *db) noexcept nogil:
    cdef int64_t c
    for c in prange(channels, num_threads=threads_for(<double> batch * channels * pixels), schedule="static"):
        db[c] = planes_sum(batch, channels * pixels, pixels, dy + c * pixels)


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

    cdef int execute(self) except -1 nogil:
        if self.double_:
            channel_sum(self.batch, self.channels, self.pixels, <const double *> self.dy,
                        <double *> self.db)
        else:
            channel_sum(self.batch, self.channels, self.pixels, <const float *> self.dy,
                        <float *> self.db)
        return 0


# --- im2col -------------------------------------------------------------------------------------

cdef struct Unfold:
    Geometry g
    int64_t *row_at


cdef int im2col_task(const Unfold *f, int64_t image, const real *x, real *cols) noexcept nogil:
    """One channel of one image: its view, then each patch row copied out, output row by output row."""
    cdef const Geometry *g = &f.g
    cdef Box box = box_of(g, image)
    cdef const real *view = view_of(g, &box, 0, 0, g.cin, x)
    cdef int64_t tap, d, h
    if view == NULL:
        return OUT_OF_MEMORY
    cols += image * g.taps * g.out_pixels
    for tap in range(g.taps):
        for d in range(g.out_size[0]):
            for h in range(g.out_size[1]):
                memcpy(cols, view + f.row_at[tap] + d * g.step[0] + h * g.step[1],
                       g.out_size[2] * sizeof(real))
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
        return add_out(g, 1, view, x + image * g.in_pixels)
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
    set_boxes(g, g.out_pixels, 1, 1)
    g.images = 1
    g.batch_boxes = g.batch
    set_view(g, True)
    row_at = row_table(g)
    f.row_at = <int64_t *> address(row_at)
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

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.double_:
            failed = im2col(&self.f, <const double *> self.x, <double *> self.cols)
        else:
            failed = im2col(&self.f, <const float *> self.x, <float *> self.cols)
        if failed:
            with gil:
                raise MemoryError("Im2col: no memory for a padded image")
        return 0


cdef class Col2im(Kernel):
    """x (N, C, *in) = cols (N, C * prod(kernel_size), prod(out_size)) added up; Im2col's adjoint."""
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

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.double_:
            failed = col2im(&self.f, <const double *> self.cols, <double *> self.x)
        else:
            failed = col2im(&self.f, <const float *> self.cols, <float *> self.x)
        if failed:
            with gil:
                raise MemoryError("Col2im: no memory for a padded image")
        return 0
