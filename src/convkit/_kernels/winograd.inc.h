/* The transforms of Winograd's F(2x2, 3x3) and F(2x2, 5x5) for one REAL, on pixels in lanes:

       Y = At [ (G g Gt) * (Bt d B) ] A      for a tile d of inputs, a kernel g and 2 x 2 outputs Y

   and their adjoints, of which the gradients are made.  Polynomials are interpolated at 0, 1, -1 and infinity for 3 x 3
   (Lavin & Gray 2016, section 4.1), and for 5 x 5 at 0, P, -P, Q, -Q and infinity: with 3/4 and 3/2 rounding errors are
   a third of those with 1 and 2.  `side` is that of d, 4 or 6. */

#define LANES (WIDE * VL)
#define LOAD(p) (*(const VEC *)(p))
#define STORE(p, v) (*(VEC *)(p) = (v))

#define P ((REAL)0.75)
#define Q ((REAL)1.5)
#define P2 (P * P)
#define Q2 (Q * Q)
#define MOST_VALUES 36

/* Each works on `side` values `step` apart. */
ALWAYS_INLINE void NAME(apply_bt)(const int side, VEC *d, int step)
{
    const VEC d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step];
    if (side == 4) {
        d[0] = d0 - d2;
        d[step] = d1 + d2;
        d[2 * step] = d2 - d1;
        d[3 * step] = d1 - d3;
    } else {
        const VEC d4 = d[4 * step], d5 = d[5 * step];
        const VEC even_p = d4 - Q2 * d2, odd_p = P * d3 - P * Q2 * d1;
        const VEC even_q = d4 - P2 * d2, odd_q = Q * d3 - Q * P2 * d1;
        d[0] = P2 * Q2 * d0 - (P2 + Q2) * d2 + d4;
        d[step] = even_p + odd_p;
        d[2 * step] = even_p - odd_p;
        d[3 * step] = even_q + odd_q;
        d[4 * step] = even_q - odd_q;
        d[5 * step] = P2 * Q2 * d1 - (P2 + Q2) * d3 + d5;
    }
}

ALWAYS_INLINE void NAME(apply_b)(const int side, VEC *m, int step)
{
    const VEC m0 = m[0], m1 = m[step], m2 = m[2 * step], m3 = m[3 * step];
    if (side == 4) {
        m[step] = m1 - m2 + m3;
        m[2 * step] = m1 + m2 - m0;
        m[3 * step] = -m3;
    } else {
        const VEC m4 = m[4 * step], m5 = m[5 * step];
        const VEC even_p = m1 + m2, odd_p = P * (m1 - m2), even_q = m3 + m4, odd_q = Q * (m3 - m4);
        m[0] = P2 * Q2 * m0;
        m[step] = P2 * Q2 * m5 - Q2 * odd_p - P2 * odd_q;
        m[2 * step] = -(P2 + Q2) * m0 - Q2 * even_p - P2 * even_q;
        m[3 * step] = odd_p + odd_q - (P2 + Q2) * m5;
        m[4 * step] = m0 + even_p + even_q;
    }
}

/* The two outputs of `side` products. */
ALWAYS_INLINE void NAME(apply_at)(const int side, const VEC *m, int step, VEC *y0, VEC *y1)
{
    const VEC m0 = m[0], m1 = m[step], m2 = m[2 * step], m3 = m[3 * step];
    if (side == 4) {
        *y0 = m0 + m1 + m2;
        *y1 = m1 - m2 - m3;
    } else {
        const VEC m4 = m[4 * step];
        *y0 = m0 + (m1 + m2) + (m3 + m4);
        *y1 = P * (m1 - m2) + Q * (m3 - m4) + m[5 * step];
    }
}

ALWAYS_INLINE void NAME(apply_a)(const int side, VEC y0, VEC y1, VEC *m, int step)
{
    m[0] = y0;
    if (side == 4) {
        m[step] = y0 + y1;
        m[2 * step] = y0 - y1;
        m[3 * step] = -y1;
    } else {
        m[step] = y0 + P * y1;
        m[2 * step] = y0 - P * y1;
        m[3 * step] = y0 + Q * y1;
        m[4 * step] = y0 - Q * y1;
        m[5 * step] = y1;
    }
}

/* Whether all of a tile's values lie inside the plane: they do if the first and the last one do. */
ALWAYS_INLINE int NAME(is_whole)(const int64_t *at, int values)
{
    return at[0] >= 0 && at[values - 1] >= 0;
}

ALWAYS_INLINE void NAME(load_tile)(const int values, const REAL *x, const int64_t *at, VEC *d)
{
    const VEC zero = {0};
    if (NAME(is_whole)(at, values)) {
        UNROLL
        for (int i = 0; i < values; i++)
            d[i] = LOAD(x + at[i]);
    } else {
        UNROLL
        for (int i = 0; i < values; i++)
            d[i] = at[i] < 0 ? zero : LOAD(x + at[i]);
    }
}

/* Runs `tile(c, t, part)`: tiles inside channels, so that neighbours find their common values in the cache. */
#define FOR_TILES                                                                                           \
    for (int64_t c = 0; c < channels; c++)                                                                  \
        for (int64_t t = 0; t < tiles; t++)                                                                 \
            for (int64_t part = 0; part < LANES; part += VL)

/* Defines `name` for both sides by a body that takes `side` first. */
#define BY_SIDE(name, parameters, ...)                                                                      \
    static void NAME(name##_4) parameters { NAME(name##_body)(4, __VA_ARGS__); }                            \
    static void NAME(name##_6) parameters { NAME(name##_body)(6, __VA_ARGS__); }

/* d -> Bt d B */
ALWAYS_INLINE void NAME(winograd_input_body)(const int side, int64_t channels, int64_t tiles, const REAL *x,
                                             int64_t x_step, const int64_t *at, REAL *v, int64_t v_step,
                                             int64_t xi_step)
{
    FOR_TILES
    {
        VEC d[MOST_VALUES];
        REAL *to = v + c * v_step + t * LANES + part;
        NAME(load_tile)(side * side, x + c * x_step + part, at + side * side * t, d);
        UNROLL
        for (int i = 0; i < side; i++)
            NAME(apply_bt)(side, d + i, side);
        UNROLL
        for (int i = 0; i < side; i++)
            NAME(apply_bt)(side, d + side * i, 1);
        UNROLL
        for (int i = 0; i < side * side; i++)
            STORE(to + i * xi_step, d[i]);
    }
}
BY_SIDE(winograd_input,
        (int64_t channels, int64_t tiles, const REAL *x, int64_t x_step, const int64_t *at, REAL *v, int64_t v_step,
         int64_t xi_step),
        channels, tiles, x, x_step, at, v, v_step, xi_step)

/* x += B m Bt */
ALWAYS_INLINE void NAME(winograd_input_adjoint_body)(const int side, int64_t channels, int64_t tiles, const REAL *m,
                                                     int64_t m_step, int64_t xi_step, const int64_t *at, REAL *x,
                                                     int64_t x_step)
{
    FOR_TILES
    {
        VEC d[MOST_VALUES];
        const REAL *from = m + c * m_step + t * LANES + part;
        REAL *to = x + c * x_step + part;
        const int64_t *place = at + side * side * t;
        UNROLL
        for (int i = 0; i < side * side; i++)
            d[i] = LOAD(from + i * xi_step);
        UNROLL
        for (int i = 0; i < side; i++)
            NAME(apply_b)(side, d + i, side);
        UNROLL
        for (int i = 0; i < side; i++)
            NAME(apply_b)(side, d + side * i, 1);
        if (NAME(is_whole)(place, side * side)) {
            UNROLL
            for (int i = 0; i < side * side; i++)
                STORE(to + place[i], LOAD(to + place[i]) + d[i]);
        } else {
            UNROLL
            for (int i = 0; i < side * side; i++)
                if (place[i] >= 0)
                    STORE(to + place[i], LOAD(to + place[i]) + d[i]);
        }
    }
}
BY_SIDE(winograd_input_adjoint,
        (int64_t channels, int64_t tiles, const REAL *m, int64_t m_step, int64_t xi_step, const int64_t *at, REAL *x,
         int64_t x_step),
        channels, tiles, m, m_step, xi_step, at, x, x_step)

/* out = At m A, plus bias, then ReLU: one tile, in the order of its rows */
ALWAYS_INLINE void NAME(output_tile)(const int side, const REAL *m, int64_t xi_step, int mode, const REAL *bias,
                                     VEC *out)
{
    VEC half[2][6];
    UNROLL
    for (int j = 0; j < side; j++) {
        VEC column[6];
        UNROLL
        for (int i = 0; i < side; i++)
            column[i] = LOAD(m + (side * i + j) * xi_step);
        NAME(apply_at)(side, column, 1, &half[0][j], &half[1][j]);
    }
    UNROLL
    for (int i = 0; i < 2; i++)
        NAME(apply_at)(side, half[i], 1, &out[2 * i], &out[2 * i + 1]);
    UNROLL
    for (int i = 0; i < 4; i++) {
        if (mode & GATHER_BIAS)
            out[i] += *bias;
        if (mode & GATHER_RELU)
            out[i] = NAME(relu_vector)(out[i]);
    }
}

/* m -> At m A, plus bias, then ReLU */
ALWAYS_INLINE void NAME(winograd_output_body)(const int side, int64_t channels, int64_t tiles, const REAL *m,
                                              int64_t m_step, int64_t xi_step, const int64_t *at, REAL *y,
                                              int64_t y_step, int mode, const REAL *bias)
{
    FOR_TILES
    {
        VEC out[4];
        REAL *to = y + c * y_step + part;
        NAME(output_tile)(side, m + c * m_step + t * LANES + part, xi_step, mode, bias + c, out);
        UNROLL
        for (int i = 0; i < 4; i++)
            if (at[4 * t + i] >= 0)
                STORE(to + at[4 * t + i], out[i]);
    }
}
BY_SIDE(winograd_output,
        (int64_t channels, int64_t tiles, const REAL *m, int64_t m_step, int64_t xi_step, const int64_t *at, REAL *y,
         int64_t y_step, int mode, const REAL *bias),
        channels, tiles, m, m_step, xi_step, at, y, y_step, mode, bias)

/* The same, each tile pooled: its mean, or its largest value and where that is. */
ALWAYS_INLINE void NAME(winograd_output_mean_body)(const int side, int64_t channels, int64_t tiles, const REAL *m,
                                                   int64_t m_step, int64_t xi_step, const int64_t *at, REAL *y,
                                                   int64_t y_step, int mode, const REAL *bias)
{
    FOR_TILES
    {
        VEC out[4];
        if (at[t] < 0)
            continue;
        NAME(output_tile)(side, m + c * m_step + t * LANES + part, xi_step, mode, bias + c, out);
        STORE(y + c * y_step + at[t] + part, (out[0] + out[1] + out[2] + out[3]) * (REAL)0.25);
    }
}
BY_SIDE(winograd_output_mean,
        (int64_t channels, int64_t tiles, const REAL *m, int64_t m_step, int64_t xi_step, const int64_t *at, REAL *y,
         int64_t y_step, int mode, const REAL *bias),
        channels, tiles, m, m_step, xi_step, at, y, y_step, mode, bias)

ALWAYS_INLINE void NAME(winograd_output_max_body)(const int side, int64_t channels, int64_t tiles, const REAL *m,
                                                  int64_t m_step, int64_t xi_step, const int64_t *at, REAL *y,
                                                  uint8_t *codes, int64_t y_step, int mode, const REAL *bias)
{
    FOR_TILES
    {
        VEC out[4];
        IVEC place = {0};
        const int64_t to = c * y_step + at[t] + part;
        if (at[t] < 0)
            continue;
        NAME(output_tile)(side, m + c * m_step + t * LANES + part, xi_step, mode, bias + c, out);
        VEC best = out[0];
        UNROLL
        for (int i = 1; i < 4; i++)
            NAME(take_larger)(out[i], i, &best, &place);
        STORE(y + to, best);
        if (codes)
            *(NAME(bytes) *)(codes + to) = __builtin_convertvector(place, NAME(bytes));
    }
}
BY_SIDE(winograd_output_max,
        (int64_t channels, int64_t tiles, const REAL *m, int64_t m_step, int64_t xi_step, const int64_t *at, REAL *y,
         uint8_t *codes, int64_t y_step, int mode, const REAL *bias),
        channels, tiles, m, m_step, xi_step, at, y, codes, y_step, mode, bias)

/* y -> A y At */
ALWAYS_INLINE void NAME(winograd_output_adjoint_body)(const int side, int64_t channels, int64_t tiles, const REAL *y,
                                                      int64_t y_step, const int64_t *at, REAL *m, int64_t m_step,
                                                      int64_t xi_step)
{
    FOR_TILES
    {
        VEC from[4], half[6][2], row[6];
        REAL *to = m + c * m_step + t * LANES + part;
        NAME(load_tile)(4, y + c * y_step + part, at + 4 * t, from);
        UNROLL
        for (int j = 0; j < 2; j++)
            NAME(apply_a)(side, from[j], from[2 + j], &half[0][j], 2);
        UNROLL
        for (int i = 0; i < side; i++) {
            NAME(apply_a)(side, half[i][0], half[i][1], row, 1);
            UNROLL
            for (int j = 0; j < side; j++)
                STORE(to + (side * i + j) * xi_step, row[j]);
        }
    }
}
BY_SIDE(winograd_output_adjoint,
        (int64_t channels, int64_t tiles, const REAL *y, int64_t y_step, const int64_t *at, REAL *m, int64_t m_step,
         int64_t xi_step),
        channels, tiles, y, y_step, at, m, m_step, xi_step)
#undef FOR_TILES

/* The derivatives at P and Q of the product of all (x - point). */
#define AT_P (2 * P2 * (P2 - Q2))
#define AT_Q (2 * Q2 * (Q2 - P2))

/* Kernels are transformed EIGHT at a time, side by side in a vector. */
#define EIGHT NAME(part8)

ALWAYS_INLINE void NAME(apply_g)(const int side, const EIGHT *g, int step, EIGHT *out, int out_step)
{
    const REAL half = (REAL)0.5;
    const EIGHT g0 = g[0], g1 = g[step], g2 = g[2 * step];
    if (side == 4) {
        const EIGHT ends = half * (g0 + g2), middle = half * g1;
        out[0] = g0;
        out[out_step] = ends + middle;
        out[2 * out_step] = ends - middle;
        out[3 * out_step] = g2;
    } else {
        const EIGHT g3 = g[3 * step], g4 = g[4 * step];
        const EIGHT even_p = g0 + P2 * (g2 + P2 * g4), odd_p = P * (g1 + P2 * g3);
        const EIGHT even_q = g0 + Q2 * (g2 + Q2 * g4), odd_q = Q * (g1 + Q2 * g3);
        out[0] = g0 * (1 / (P2 * Q2));
        out[out_step] = (even_p + odd_p) * (1 / AT_P);
        out[2 * out_step] = (even_p - odd_p) * (1 / AT_P);
        out[3 * out_step] = (even_q + odd_q) * (1 / AT_Q);
        out[4 * out_step] = (even_q - odd_q) * (1 / AT_Q);
        out[5 * out_step] = g4;
    }
}

/* g -> G g Gt, for n <= 8 kernels of each channel, turned first so that those of a channel are vectors: a run of channels
   at a time, since vectors that have just been written in pieces are slow to be read.  Weights are asked for ahead. */
ALWAYS_INLINE void NAME(winograd_kernel_body)(const int side, int64_t n, int64_t channels, const REAL *w,
                                              int64_t w_step, int64_t channel_step, int half_turn, REAL *u,
                                              int64_t xi_step)
{
    enum { RUN = 8, AHEAD = 16 };
    const int taps = (side - 1) * (side - 1);
    EIGHT turned[RUN * 25] = {{0}};
    for (int64_t first = 0; first < channels; first += RUN) {
        const int64_t count = channels - first < RUN ? channels - first : RUN;
        for (int64_t c = 0; c < count; c++) {
            const REAL *from = w + (first + c) * channel_step;
            for (int64_t i = 0; i < n; i++)
                __builtin_prefetch(from + AHEAD * channel_step + i * w_step);
            NAME(transpose)(n, taps, from, w_step, (REAL *)(turned + c * taps), 8);
        }
        for (int64_t c = 0; c < count; c++) {
            EIGHT g[25], rows[30], out[MOST_VALUES];
            REAL *to = u + (first + c) * n;
            UNROLL
            for (int i = 0; i < taps; i++)
                g[i] = turned[c * taps + (half_turn ? taps - 1 - i : i)];
            UNROLL
            for (int j = 0; j < side - 1; j++)
                NAME(apply_g)(side, g + j, side - 1, rows + j, side - 1);
            UNROLL
            for (int i = 0; i < side; i++)
                NAME(apply_g)(side, rows + (side - 1) * i, 1, out + side * i, 1);
            UNROLL
            for (int i = 0; i < side * side; i++)
                if (n == 8)
                    *(EIGHT *)(to + i * xi_step) = out[i];
                else
                    memcpy(to + i * xi_step, &out[i], n * sizeof(REAL));
        }
    }
}
BY_SIDE(winograd_kernel,
        (int64_t n, int64_t channels, const REAL *w, int64_t w_step, int64_t channel_step, int half_turn, REAL *u,
         int64_t xi_step),
        n, channels, w, w_step, channel_step, half_turn, u, xi_step)
#undef EIGHT

ALWAYS_INLINE void NAME(apply_gt)(const int side, const VEC *u, int step, VEC *w, int w_step)
{
    const REAL half = (REAL)0.5;
    const VEC u0 = u[0], u1 = u[step], u2 = u[2 * step], u3 = u[3 * step];
    if (side == 4) {
        w[0] = u0 + half * (u1 + u2);
        w[w_step] = half * (u1 - u2);
        w[2 * w_step] = half * (u1 + u2) + u3;
    } else {
        const VEC u4 = u[4 * step], u5 = u[5 * step];
        const VEC even_p = (u1 + u2) * (1 / AT_P), odd_p = P * (u1 - u2) * (1 / AT_P);
        const VEC even_q = (u3 + u4) * (1 / AT_Q), odd_q = Q * (u3 - u4) * (1 / AT_Q);
        w[0] = u0 * (1 / (P2 * Q2)) + even_p + even_q;
        w[w_step] = odd_p + odd_q;
        w[2 * w_step] = P2 * even_p + Q2 * even_q;
        w[3 * w_step] = P2 * odd_p + Q2 * odd_q;
        w[4 * w_step] = P2 * P2 * even_p + Q2 * Q2 * even_q + u5;
    }
}

/* u -> Gt u G, for n neighbours, read by whole vectors; their results are whole kernels one after the other */
ALWAYS_INLINE void NAME(winograd_kernel_adjoint_body)(const int side, int64_t n, const REAL *u, int64_t xi_step,
                                                      REAL *w)
{
    const int taps = (side - 1) * (side - 1);
    for (int64_t first = 0; first < n; first += VL) {
        VEC sums[MOST_VALUES], rows[30], out[25];
        UNROLL
        for (int i = 0; i < side * side; i++)
            sums[i] = LOAD(u + i * xi_step + first);
        UNROLL
        for (int j = 0; j < side; j++)
            NAME(apply_gt)(side, sums + j, side, rows + j, side);
        UNROLL
        for (int i = 0; i < side - 1; i++)
            NAME(apply_gt)(side, rows + side * i, 1, out + (side - 1) * i, 1);
        NAME(transpose)(taps, n - first < VL ? n - first : VL, (const REAL *)out, VL, w + first * taps, taps);
    }
}
BY_SIDE(winograd_kernel_adjoint, (int64_t n, const REAL *u, int64_t xi_step, REAL *w), n, u, xi_step, w)
#undef BY_SIDE

#ifndef WINOGRAD_TABLE_f32
#define WINOGRAD_SIDE(side, suffix)                                                                         \
    {                                                                                                       \
        .input = winograd_input_##side##_##suffix,                                                          \
        .input_adjoint = winograd_input_adjoint_##side##_##suffix,                                          \
        .output = winograd_output_##side##_##suffix,                                                        \
        .output_mean = winograd_output_mean_##side##_##suffix,                                              \
        .output_max = winograd_output_max_##side##_##suffix,                                                \
        .output_adjoint = winograd_output_adjoint_##side##_##suffix,                                        \
        .kernel = winograd_kernel_##side##_##suffix,                                                        \
        .kernel_adjoint = winograd_kernel_adjoint_##side##_##suffix,                                        \
    }
#define WINOGRAD_TABLE_f32 {WINOGRAD_SIDE(4, f32), WINOGRAD_SIDE(6, f32)}
#define WINOGRAD_TABLE_f64 {WINOGRAD_SIDE(4, f64), WINOGRAD_SIDE(6, f64)}
#endif

#undef AT_P
#undef AT_Q
#undef P
#undef Q
#undef P2
#undef Q2
#undef MOST_VALUES
#undef LANES
#undef LOAD
#undef STORE
