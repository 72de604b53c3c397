"""Softmax, cross-entropy, mean squared error and sums, with their gradients.

Class scores are seen as (rows, classes, inner): `inner` is 1 for (N, C), and the pixels for (N, C, H, W).
With inner = 1 the classes of a position are contiguous, and a task is some such rows, one after the other;
else it is a block of neighbouring positions, class by class.  Losses are summed in double, task by task in
order.

Cross-entropy, for one position with scores x, p = softmax(x) and targets a:  loss = sum_c a_c (-log p_c),
gradient = p sum_c a_c - a.  The targets are  a = weight (keep labels + smoothing / classes), keep being
1 - smoothing; a label that is an index t stands for 1 at t, and takes the weight of t alone.  A term with a
target of 0 is 0, whatever the score and the weight: so is all of a position whose targets are all 0.
"""

from cython.parallel cimport prange
from libc.math cimport isfinite, log
from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

from convkit._kernels.chunks cimport CHUNK, add_aside, chunk_length, chunks_of, set_aside
from convkit._kernels.core cimport (
    OUT_OF_MEMORY, Kernel, address, is_double, micro, real, scratch, threads_for,
)
from convkit._kernels.rows cimport CK_MAP_ADD, CK_MAP_SUBTRACT

cdef enum:
    ROWS = 16      # rows of one task where inner is 1
    BLOCK = 512    # positions of one task where it is not

# The part of (rows, classes, inner) that one task works on: `positions` of them, `step` apart from class to
# class; `at` is the first one's place in the scores, `position` its place among the labels.
cdef struct Scores:
    int64_t rows
    int64_t classes
    int64_t inner

cdef struct Task:
    int64_t positions
    int64_t at
    int64_t position


cdef inline double operations(const Scores *s) noexcept nogil:
    return 16.0 * s.rows * s.classes * s.inner


cdef inline int64_t tasks_of(const Scores *s) noexcept nogil:
    if s.inner == 1:
        return (s.rows + ROWS - 1) // ROWS
    return s.rows * ((s.inner + BLOCK - 1) // BLOCK)


cdef inline Task task_of(const Scores *s, int64_t number) noexcept nogil:
    cdef Task task
    cdef int64_t blocks, row, first
    if s.inner == 1:
        task.position = number * ROWS
        task.positions = min(<int64_t>ROWS, s.rows - task.position)
        task.at = task.position * s.classes
    else:
        blocks = (s.inner + BLOCK - 1) // BLOCK
        row = number // blocks
        first = number % blocks * BLOCK
        task.position = row * s.inner + first
        task.positions = min(<int64_t>BLOCK, s.inner - first)
        task.at = row * s.classes * s.inner + first
    return task


# --- softmax -------------------------------------------------------------------------------------

cdef void softmax_row(int64_t classes, const real *x, real *y, bint logarithm) noexcept nogil:
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef real maximum
    cdef double total = rows.softmax_row(classes, x, y, &maximum)
    if logarithm:
        rows.log_probabilities(classes, maximum, <real>log(total), x, y)
    else:
        rows.scale(classes, <real>(1 / total), y, y)


cdef void softmax_across(
    const Scores *s, int64_t n, const real *x, real *y, real *maximum, real *total
) noexcept nogil:
    """y = exp(x - maximum) for n positions; leaves the maximum over the classes, and the sum of y."""
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef double aside[BLOCK]
    cdef int64_t c
    memset(total, 0, n * sizeof(real))
    if s.classes == 0:
        memset(maximum, 0, n * sizeof(real))
        return
    memcpy(maximum, x, n * sizeof(real))
    for c in range(1, s.classes):
        rows.maximum_across(n, x + c * s.inner, maximum)
    for c in range(s.classes):
        set_aside(c, n, total, aside)
        rows.exp_across(n, x + c * s.inner, maximum, y + c * s.inner, total)
    add_aside(s.classes, n, total, aside)


cdef int softmax_task(const Scores *s, const Task *t, const real *x, real *y, bint logarithm) noexcept nogil:
    cdef int64_t i, c, n = t.positions
    x += t.at
    y += t.at
    if s.inner == 1:
        for i in range(n):
            softmax_row(s.classes, x + i * s.classes, y + i * s.classes, logarithm)
        return 0
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef real *maximum = <real *>scratch(0, 2 * BLOCK * sizeof(real))
    if not maximum:
        return OUT_OF_MEMORY
    cdef real *total = maximum + BLOCK
    softmax_across(s, n, x, y, maximum, total)
    if logarithm:
        for i in range(n):
            total[i] = <real>log(total[i])
    for c in range(s.classes):
        if logarithm:
            rows.binary[CK_MAP_SUBTRACT](n, x + c * s.inner, maximum, y + c * s.inner)
            rows.binary[CK_MAP_SUBTRACT](n, y + c * s.inner, total, y + c * s.inner)
        else:
            rows.divide(n, y + c * s.inner, total, 1, y + c * s.inner)
    return 0


cdef int softmax_tasks(const Scores *s, const real *x, real *y, bint logarithm) noexcept nogil:
    cdef int64_t number
    cdef int failed = 0
    cdef Task task
    for number in prange(tasks_of(s), schedule="static", num_threads=threads_for(operations(s))):
        task = task_of(s, number)
        failed |= softmax_task(s, &task, x, y, logarithm)
    return failed


cdef int softmax_grad_task(
    const Scores *s, const Task *t, const real *y, const real *dy, real *dx, bint logarithm
) noexcept nogil:
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef int64_t i, c, at, n = t.positions
    if s.inner == 1:
        for i in range(n):
            at = t.at + i * s.classes
            if logarithm:
                rows.log_softmax_grad(s.classes, <real>rows.sum(s.classes, dy + at), y + at, dy + at, dx + at)
            else:
                rows.softmax_grad(
                    s.classes, <real>rows.dot(s.classes, y + at, dy + at), y + at, dy + at, dx + at
                )
        return 0
    cdef double aside[BLOCK]
    cdef real *total = <real *>scratch(0, BLOCK * sizeof(real))
    if not total:
        return OUT_OF_MEMORY
    memset(total, 0, n * sizeof(real))
    for c in range(s.classes):
        at = t.at + c * s.inner
        set_aside(c, n, total, aside)
        if logarithm:
            rows.binary[CK_MAP_ADD](n, total, dy + at, total)
        else:
            rows.dot_across(n, y + at, dy + at, total)
    add_aside(s.classes, n, total, aside)
    for c in range(s.classes):
        at = t.at + c * s.inner
        if logarithm:
            rows.log_softmax_grad_across(n, total, y + at, dy + at, dx + at)
        else:
            rows.softmax_grad_across(n, total, y + at, dy + at, dx + at)
    return 0


cdef int softmax_grad_tasks(
    const Scores *s, const real *y, const real *dy, real *dx, bint logarithm
) noexcept nogil:
    cdef int64_t number
    cdef int failed = 0
    cdef Task task
    for number in prange(tasks_of(s), schedule="static", num_threads=threads_for(operations(s))):
        task = task_of(s, number)
        failed |= softmax_grad_task(s, &task, y, dy, dx, logarithm)
    return failed


cdef class OverClasses(Kernel):
    """What all kernels over (rows, classes, inner) share."""
    cdef list arrays
    cdef bint double_
    cdef Scores scores

    cdef int bind(self, like, int64_t rows, int64_t classes, int64_t inner) except -1:
        self.arrays = []
        self.double_ = is_double(like)
        self.scores = Scores(rows, classes, inner)
        return 0

    cdef void *keep(self, array) except? NULL:
        """The address of an array that lives as long as the kernel; NULL for None."""
        self.arrays.append(array)
        return NULL if array is None else address(array)


cdef class SoftmaxForward(OverClasses):
    """y = softmax(x) over the classes, or its logarithm.  x and y (rows, classes, inner)."""
    cdef void *x
    cdef void *y
    cdef bint logarithm

    def __init__(self, x, y, rows, classes, inner, bint logarithm):
        self.bind(y, rows, classes, inner)
        self.x = self.keep(x)
        self.y = self.keep(y)
        self.logarithm = logarithm

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.double_:
            failed = softmax_tasks(&self.scores, <const double *>self.x, <double *>self.y, self.logarithm)
        else:
            failed = softmax_tasks(&self.scores, <const float *>self.x, <float *>self.y, self.logarithm)
        if failed:
            with gil:
                raise MemoryError
        return 0


cdef class SoftmaxGrad(OverClasses):
    """dx from the output y and dy: y (dy - sum y dy), or for the logarithm dy - exp(y) sum dy."""
    cdef void *y
    cdef void *dy
    cdef void *dx
    cdef bint logarithm

    def __init__(self, y, dy, dx, rows, classes, inner, bint logarithm):
        self.bind(dx, rows, classes, inner)
        self.y = self.keep(y)
        self.dy = self.keep(dy)
        self.dx = self.keep(dx)
        self.logarithm = logarithm

    cdef int execute(self) except -1 nogil:
        cdef int failed
        if self.double_:
            failed = softmax_grad_tasks(
                &self.scores, <const double *>self.y, <const double *>self.dy,
                <double *>self.dx, self.logarithm,
            )
        else:
            failed = softmax_grad_tasks(
                &self.scores, <const float *>self.y, <const float *>self.dy,
                <float *>self.dx, self.logarithm,
            )
        if failed:
            with gil:
                raise MemoryError
        return 0


# --- cross-entropy -------------------------------------------------------------------------------

# How targets come from labels: either indices (labels) or rows of probabilities (soft) is NULL.
cdef struct Targets:
    const int64_t *labels
    const void *soft
    const void *weight       # (classes,), or NULL for ones
    double smoothing
    bint ignores
    int64_t ignored


cdef inline bint counts(const Targets *targets, int64_t position) noexcept nogil:
    return not targets.labels or not targets.ignores or targets.labels[position] != targets.ignored


cdef inline double label_target(const Targets *targets, const real *weight, int64_t label) noexcept nogil:
    """The target that a position's label adds at its own class."""
    return (1 - targets.smoothing) * (weight[label] if weight else 1)


cdef inline void class_targets(
    const Scores *s, const Targets *targets, const real *weight, int64_t c, int64_t n, const real *soft,
    real *target,
) noexcept nogil:
    """The targets of class c at n positions, less what label_target gives."""
    cdef double class_weight = weight[c] if weight else 1
    cdef real keep = <real>(class_weight * (1 - targets.smoothing))
    cdef real smoothing = <real>(class_weight * targets.smoothing / s.classes) if targets.smoothing else 0
    if real is float:
        micro().rows_f32.targets(n, keep, smoothing, NULL, soft, target)
    else:
        micro().rows_f64.targets(n, keep, smoothing, NULL, soft, target)


cdef double smoothed_mass(const Scores *s, const Targets *targets, const real *weight) noexcept nogil:
    """What smoothing adds to a position's targets in all."""
    cdef int64_t c
    cdef double total = 0
    if targets.smoothing == 0:
        return 0
    for c in range(s.classes):
        total += weight[c] if weight else 1
    return targets.smoothing * total / s.classes


cdef double gain_of(
    const Scores *s, const Targets *targets, int64_t step, const real *x, const real *soft, double maximum,
    double log_total
) noexcept nogil:
    """sum_c a_c log p_c of one position, less what label_target gives: with care for terms of 0 * infinity.

    What is quicker adds them up, too, and is right unless that makes it infinite or NaN.
    """
    cdef const real *weight = <const real *>targets.weight
    cdef int64_t c
    cdef double gain = 0, target
    for c in range(s.classes):
        target = targets.smoothing / s.classes
        if soft:
            target += (1 - targets.smoothing) * soft[c * step]
        if weight and target != 0:
            target *= weight[c]
        if target != 0:
            gain += target * ((x[c * step] - maximum) - log_total)
    return gain


cdef int entropy_row(
    const Scores *s, const Targets *targets, const real *x, real *p, int64_t position, double *loss
) noexcept nogil:
    """p = softmax(x) of one contiguous row; adds its loss."""
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef const real *weight = <const real *>targets.weight
    cdef const real *soft = <const real *>targets.soft
    cdef int64_t label
    cdef real maximum
    cdef real *work
    cdef double own, gain
    cdef double total = rows.softmax_row(s.classes, x, p, &maximum)
    cdef double log_total = log(total)
    rows.scale(s.classes, <real>(1 / total), p, p)
    if not counts(targets, position):
        return 0
    if targets.labels:
        label = targets.labels[position]
        own = label_target(targets, weight, label)
        if own != 0:
            loss[0] += own * (log_total + (<double>maximum - x[label]))
        if targets.smoothing == 0:
            return 0
    work = <real *>scratch(0, 2 * s.classes * sizeof(real))
    if not work:
        return OUT_OF_MEMORY
    if soft:
        soft += position * s.classes
    rows.targets(
        s.classes, <real>(1 - targets.smoothing), <real>(targets.smoothing / s.classes), weight, soft, work
    )
    rows.log_probabilities(s.classes, maximum, <real>log_total, x, work + s.classes)
    gain = rows.dot(s.classes, work, work + s.classes)
    loss[0] -= gain if isfinite(gain) else gain_of(s, targets, 1, x, soft, maximum, log_total)
    return 0


cdef int entropy_across(
    const Scores *s, const Targets *targets, const Task *t, const real *x, real *p, double *loss
) noexcept nogil:
    """p = softmax(x) of a block of positions; adds their losses.  x and p begin at the block."""
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef const real *weight = <const real *>targets.weight
    cdef const real *soft = <const real *>targets.soft
    cdef real *maximum = <real *>scratch(0, 5 * BLOCK * sizeof(real))
    if not maximum:
        return OUT_OF_MEMORY
    cdef real *total = maximum + BLOCK
    cdef real *target = total + BLOCK
    cdef real *log_p = target + BLOCK
    cdef real *gains = log_p + BLOCK
    cdef double aside[BLOCK]
    cdef double label_share, gain
    cdef int64_t i, c, at, label, n = t.positions
    if soft:
        soft += t.at
    softmax_across(s, n, x, p, maximum, total)
    for c in range(s.classes):
        rows.divide(n, p + c * s.inner, total, 1, p + c * s.inner)
    for i in range(n):
        total[i] = <real>log(total[i])
    if targets.labels:
        for i in range(n):
            if counts(targets, t.position + i):
                label = targets.labels[t.position + i]
                label_share = label_target(targets, weight, label)
                if label_share != 0:
                    loss[0] += label_share * (total[i] + (<double>maximum[i] - x[label * s.inner + i]))
        if targets.smoothing == 0:
            return 0
    memset(gains, 0, n * sizeof(real))
    for c in range(s.classes):
        at = c * s.inner
        class_targets(s, targets, weight, c, n, soft + at if soft else NULL, target)
        rows.binary[CK_MAP_SUBTRACT](n, x + at, maximum, log_p)
        rows.binary[CK_MAP_SUBTRACT](n, log_p, total, log_p)
        set_aside(c, n, gains, aside)
        rows.dot_across(n, target, log_p, gains)
    add_aside(s.classes, n, gains, aside)
    for i in range(n):
        if counts(targets, t.position + i):
            gain = gains[i]
            if not isfinite(gain):
                gain = gain_of(s, targets, s.inner, x + i, soft + i if soft else NULL, maximum[i], total[i])
            loss[0] -= gain
    return 0


cdef int entropy_tasks(
    const Scores *s, const Targets *targets, const real *x, real *p, double *loss
) noexcept nogil:
    """p = softmax(x); loss = the sum of the positions' losses."""
    cdef int64_t number, i, tasks = tasks_of(s)
    cdef int failed = 0
    cdef Task task
    cdef double *partial = <double *>scratch(3, tasks * sizeof(double))
    loss[0] = 0
    if not partial:
        return OUT_OF_MEMORY
    for number in prange(tasks, schedule="static", num_threads=threads_for(operations(s))):
        task = task_of(s, number)
        partial[number] = 0
        if s.inner == 1:
            for i in range(task.positions):
                failed |= entropy_row(
                    s, targets, x + task.at + i * s.classes, p + task.at + i * s.classes,
                    task.position + i, &partial[number],
                )
        else:
            failed |= entropy_across(s, targets, &task, x + task.at, p + task.at, &partial[number])
    for number in range(tasks):
        loss[0] += partial[number]
    return failed


cdef int entropy_grad_row(
    const Scores *s, const Targets *targets, double factor, const real *p, real *dx, int64_t position
) noexcept nogil:
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef const real *weight = <const real *>targets.weight
    cdef const real *soft = <const real *>targets.soft
    cdef int64_t label = 0
    cdef double own = 0    # the target of the label itself
    cdef double mass
    cdef bint counted = factor != 0 and counts(targets, position)
    if counted and targets.labels:
        label = targets.labels[position]
        own = label_target(targets, weight, label)
        counted = own != 0 or targets.smoothing != 0
    if not counted:
        memset(dx, 0, s.classes * sizeof(real))
        return 0
    if targets.labels and targets.smoothing == 0:
        rows.scale(s.classes, <real>(factor * own), p, dx)
    else:
        target = <real *>scratch(0, s.classes * sizeof(real))
        if not target:
            return OUT_OF_MEMORY
        rows.targets(
            s.classes, <real>(1 - targets.smoothing), <real>(targets.smoothing / s.classes),
            weight, soft + position * s.classes if soft else NULL, target,
        )
        mass = own + rows.sum(s.classes, target)
        if mass == 0:
            rows.scale(s.classes, <real>-factor, target, dx)
        else:
            rows.entropy_grad(s.classes, <real>factor, <real>mass, p, target, dx)
    if targets.labels:
        dx[label] -= <real>(factor * own)
    return 0


cdef int entropy_grad_across(
    const Scores *s, const Targets *targets, double factor, const Task *t, const real *p, real *dx
) noexcept nogil:
    """The gradient for a block of positions; p and dx begin at the block."""
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef const real *weight = <const real *>targets.weight
    cdef const real *soft = <const real *>targets.soft
    cdef real *mass = <real *>scratch(0, 4 * BLOCK * sizeof(real))
    if not mass:
        return OUT_OF_MEMORY
    cdef real *factors = mass + BLOCK
    cdef real *own = factors + BLOCK
    cdef real *target = own + BLOCK
    cdef double aside[BLOCK]
    cdef int64_t i, c, at, label, n = t.positions
    cdef real smoothed = <real>smoothed_mass(s, targets, weight)
    for i in range(n):
        factors[i] = <real>factor if counts(targets, t.position + i) else 0
        own[i] = 0
        if targets.labels and counts(targets, t.position + i):
            label = targets.labels[t.position + i]
            own[i] = <real>label_target(targets, weight, label)
        mass[i] = own[i] + smoothed
    if soft:
        memset(mass, 0, n * sizeof(real))
        for c in range(s.classes):
            class_targets(s, targets, weight, c, n, soft + t.at + c * s.inner, target)
            set_aside(c, n, mass, aside)
            rows.binary[CK_MAP_ADD](n, mass, target, mass)
        add_aside(s.classes, n, mass, aside)
    for c in range(s.classes):
        at = c * s.inner
        class_targets(s, targets, weight, c, n, soft + t.at + at if soft else NULL, target)
        rows.entropy_grad_across(n, factors, mass, p + at, target, dx + at)
    if targets.labels:
        for i in range(n):
            if factors[i] != 0 and own[i] != 0:
                dx[targets.labels[t.position + i] * s.inner + i] -= factors[i] * own[i]
    return 0


cdef int entropy_grad_tasks(
    const Scores *s, const Targets *targets, double factor, const real *p, real *dx
) noexcept nogil:
    cdef int64_t number, i, at
    cdef int failed = 0
    cdef Task task
    for number in prange(tasks_of(s), schedule="static", num_threads=threads_for(operations(s))):
        task = task_of(s, number)
        if s.inner == 1:
            for i in range(task.positions):
                at = task.at + i * s.classes
                failed |= entropy_grad_row(s, targets, factor, p + at, dx + at, task.position + i)
        else:
            failed |= entropy_grad_across(s, targets, factor, &task, p + task.at, dx + task.at)
    return failed


cdef double weight_of_chunk(
    int64_t n, const int64_t *labels, int64_t classes, const Targets *targets, const real *weight,
    int64_t *wrong,
) noexcept nogil:
    """The sum of n labels' weights; `wrong` becomes the place of a label that is no class, or -1."""
    cdef int64_t i
    cdef double total = 0
    wrong[0] = -1
    for i in range(n):
        if targets.ignores and labels[i] == targets.ignored:
            continue
        if not 0 <= labels[i] < classes:
            wrong[0] = i
            return 0
        total += weight[labels[i]] if weight else 1
    return total


cdef double weight_of_labels(
    const Scores *s, const Targets *targets, const real *weight, int64_t *wrong
) except? -1 nogil:
    """weight_of_chunk for all labels."""
    cdef int64_t chunk, n = s.rows * s.inner, chunks = chunks_of(n)
    cdef double *partial = <double *>scratch(0, chunks * sizeof(double))
    cdef int64_t *wrongs = <int64_t *>scratch(1, chunks * sizeof(int64_t))
    if not (partial and wrongs):
        raise MemoryError
    for chunk in prange(chunks, schedule="static", num_threads=threads_for(4.0 * n)):
        partial[chunk] = weight_of_chunk(
            chunk_length(n, chunk), targets.labels + chunk * CHUNK, s.classes, targets, weight, &wrongs[chunk]
        )
    cdef double total = 0
    wrong[0] = -1
    for chunk in range(chunks):
        total += partial[chunk]
        if wrongs[chunk] >= 0:
            wrong[0] = chunk * CHUNK + wrongs[chunk]
            break
    return total


cdef class CrossEntropy(OverClasses):
    """What the four cross-entropy kernels share: their targets, and what the sum of losses is divided by."""
    cdef void *loss            # the loss, or the gradient of it
    cdef void *scores_in       # logits, or probabilities
    cdef void *scores_out      # probabilities, or the gradient of the logits
    cdef Targets targets

    cdef int bind_targets(self, labels, soft, weight, double label_smoothing, ignore_index) except -1:
        self.targets.labels = <const int64_t *>self.keep(labels)
        self.targets.soft = self.keep(soft)
        self.targets.weight = self.keep(weight)
        self.targets.smoothing = label_smoothing
        self.targets.ignores = ignore_index is not None
        self.targets.ignored = 0 if ignore_index is None else ignore_index
        return 0

    cdef double divisor(self) except? -1 nogil:
        """The weight of all positions: of their labels, or 1 each where labels are probabilities."""
        cdef int64_t wrong = -1
        cdef double total
        cdef const void *weight = self.targets.weight
        if not self.targets.labels:
            return <double>self.scores.rows * self.scores.inner
        if self.double_:
            total = weight_of_labels(&self.scores, &self.targets, <const double *>weight, &wrong)
        else:
            total = weight_of_labels(&self.scores, &self.targets, <const float *>weight, &wrong)
        if wrong >= 0:
            with gil:
                raise ValueError(
                    f"cross_entropy: label {self.targets.labels[wrong]} is none of the "
                    f"{self.scores.classes} classes (0 to {self.scores.classes - 1})"
                )
        return total

    cdef int forward(self) except -1 nogil:
        cdef double total, divisor = self.divisor()
        cdef int failed
        if self.double_:
            failed = entropy_tasks(
                &self.scores, &self.targets, <const double *>self.scores_in,
                <double *>self.scores_out, &total,
            )
            (<double *>self.loss)[0] = total / divisor
        else:
            failed = entropy_tasks(
                &self.scores, &self.targets, <const float *>self.scores_in,
                <float *>self.scores_out, &total,
            )
            (<float *>self.loss)[0] = <float>(total / divisor)
        if failed:
            with gil:
                raise MemoryError
        return 0

    cdef int backward(self) except -1 nogil:
        cdef double divisor = self.divisor()
        cdef double scale = (<double *>self.loss)[0] if self.double_ else (<float *>self.loss)[0]
        cdef double factor = scale / divisor if divisor != 0 else 0
        cdef int failed
        if self.double_:
            failed = entropy_grad_tasks(
                &self.scores, &self.targets, factor,
                <const double *>self.scores_in, <double *>self.scores_out,
            )
        else:
            failed = entropy_grad_tasks(
                &self.scores, &self.targets, factor,
                <const float *>self.scores_in, <float *>self.scores_out,
            )
        if failed:
            with gil:
                raise MemoryError
        return 0


cdef class CrossEntropyForward(CrossEntropy):
    """loss = the mean of -log softmax(logits) at the labels; probabilities = softmax(logits).

    logits and probabilities (rows, classes, inner), labels int64 (rows, inner), loss (1,), weight (classes,)
    or None.  The mean is over the labels other than ignore_index (None: over all), weighted by their classes;
    of no label it is NaN.  A label outside of the classes raises ValueError before anything is written.
    """
    def __init__(
        self, logits, labels, loss, probabilities, rows, classes, inner, label_smoothing, weight, ignore_index
    ):
        self.bind(logits, rows, classes, inner)
        self.scores_in = self.keep(logits)
        self.scores_out = self.keep(probabilities)
        self.loss = self.keep(loss)
        self.bind_targets(labels, None, weight, label_smoothing, ignore_index)

    cdef int execute(self) except -1 nogil:
        return self.forward()


cdef class CrossEntropyGrad(CrossEntropy):
    """dlogits from the probabilities that CrossEntropyForward saved; scale[0] is the gradient of the loss.

    Zero where no label counts.
    """
    def __init__(
        self, probabilities, labels, scale, dlogits, rows, classes, inner, label_smoothing, weight,
        ignore_index,
    ):
        self.bind(dlogits, rows, classes, inner)
        self.scores_in = self.keep(probabilities)
        self.scores_out = self.keep(dlogits)
        self.loss = self.keep(scale)
        self.bind_targets(labels, None, weight, label_smoothing, ignore_index)

    cdef int execute(self) except -1 nogil:
        return self.backward()


cdef class ProbabilityCrossEntropyForward(CrossEntropy):
    """CrossEntropyForward where labels are probabilities (rows, classes, inner); a mean over positions."""
    def __init__(self, logits, labels, loss, probabilities, rows, classes, inner, label_smoothing, weight):
        self.bind(logits, rows, classes, inner)
        self.scores_in = self.keep(logits)
        self.scores_out = self.keep(probabilities)
        self.loss = self.keep(loss)
        self.bind_targets(None, labels, weight, label_smoothing, None)

    cdef int execute(self) except -1 nogil:
        return self.forward()


cdef class ProbabilityCrossEntropyGrad(CrossEntropy):
    """CrossEntropyGrad where labels are probabilities (rows, classes, inner)."""
    def __init__(self, probabilities, labels, scale, dlogits, rows, classes, inner, label_smoothing, weight):
        self.bind(dlogits, rows, classes, inner)
        self.scores_in = self.keep(probabilities)
        self.scores_out = self.keep(dlogits)
        self.loss = self.keep(scale)
        self.bind_targets(None, labels, weight, label_smoothing, None)

    cdef int execute(self) except -1 nogil:
        return self.backward()


# --- mean squared error and sums -----------------------------------------------------------------

cdef double total_over(int64_t n, const real *a, const real *b) except? -1 nogil:
    """The sum of a, or of (a - b)^2 where b is given."""
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef int64_t chunk, at, chunks = chunks_of(n)
    cdef double *partial = <double *>scratch(3, chunks * sizeof(double))
    if not partial:
        raise MemoryError
    for chunk in prange(chunks, schedule="static", num_threads=threads_for(4.0 * n)):
        at = chunk * CHUNK
        if b:
            partial[chunk] = rows.sum_squared_differences(chunk_length(n, chunk), a + at, b + at)
        else:
            partial[chunk] = rows.sum(chunk_length(n, chunk), a + at)
    cdef double total = 0
    for chunk in range(chunks):
        total += partial[chunk]
    return total


cdef void difference(int64_t n, double factor, const real *a, const real *b, real *out) noexcept nogil:
    if real is float:
        rows = &micro().rows_f32
    else:
        rows = &micro().rows_f64
    cdef int64_t chunk, at
    for chunk in prange(chunks_of(n), schedule="static", num_threads=threads_for(4.0 * n)):
        at = chunk * CHUNK
        rows.scaled_difference(chunk_length(n, chunk), <real>factor, a + at, b + at, out + at)


cdef class MeanSquaredErrorForward(Kernel):
    """loss = mean((a - b)^2); NaN for empty arrays.  a and b of one shape, loss (1,)."""
    cdef object arrays
    cdef void *a
    cdef void *b
    cdef void *loss
    cdef int64_t n
    cdef bint double_

    def __init__(self, a, b, loss):
        self.arrays = (a, b, loss)
        self.a = address(a)
        self.b = address(b)
        self.loss = address(loss)
        self.n = a.size
        self.double_ = is_double(a)

    cdef int execute(self) except -1 nogil:
        if self.double_:
            (<double *>self.loss)[0] = (
                total_over(self.n, <const double *>self.a, <const double *>self.b) / self.n
            )
        else:
            (<float *>self.loss)[0] = <float>(
                total_over(self.n, <const float *>self.a, <const float *>self.b) / self.n
            )
        return 0


cdef class MeanSquaredErrorGrad(Kernel):
    """da = scale[0] * 2 (a - b) / n; the gradient of b is its negative."""
    cdef object arrays
    cdef void *a
    cdef void *b
    cdef void *scale
    cdef void *da
    cdef int64_t n
    cdef bint double_

    def __init__(self, a, b, scale, da):
        self.arrays = (a, b, scale, da)
        self.a = address(a)
        self.b = address(b)
        self.scale = address(scale)
        self.da = address(da)
        self.n = a.size
        self.double_ = is_double(a)

    cdef int execute(self) except -1 nogil:
        cdef double factor = (<double *>self.scale)[0] if self.double_ else (<float *>self.scale)[0]
        factor = 2 * factor / self.n
        if self.double_:
            difference(self.n, factor, <const double *>self.a, <const double *>self.b, <double *>self.da)
        else:
            difference(self.n, factor, <const float *>self.a, <const float *>self.b, <float *>self.da)
        return 0


cdef class SumAll(Kernel):
    """out[0] = the sum of x."""
    cdef object arrays
    cdef void *x
    cdef void *out
    cdef int64_t n
    cdef bint double_

    def __init__(self, x, out):
        self.arrays = (x, out)
        self.x = address(x)
        self.out = address(out)
        self.n = x.size
        self.double_ = is_double(x)

    cdef int execute(self) except -1 nogil:
        if self.double_:
            (<double *>self.out)[0] = total_over(self.n, <const double *>self.x, <const double *>NULL)
        else:
            (<float *>self.out)[0] = <float>total_over(self.n, <const float *>self.x, <const float *>NULL)
        return 0
