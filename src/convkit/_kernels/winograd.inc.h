/* The transforms of Winograd's F(2x2, 3x3) for one REAL, on pixels in lanes (Lavin & Gray 2016, section 4.1):

       Y = At [ (G g Gt) * (Bt d B) ] A      for a 4 x 4 input tile d, a 3 x 3 kernel g and 2 x 2 outputs Y

   and their adjoints, of which the gradients are made.  All take the 16 products' planes at `xi_step`. */

#define LANES (WIDE * VL)
#define LOAD(p) (*(const VEC *)(p))
#define STORE(p, v) (*(VEC *)(p) = (v))

/* Each works on four values `step` apart. */
ALWAYS_INLINE void NAME(apply_bt)(VEC *d, int step)
{
    const VEC d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step];
    d[0] = d0 - d2;
    d[step] = d1 + d2;
    d[2 * step] = d2 - d1;
    d[3 * step] = d1 - d3;
}

ALWAYS_INLINE void NAME(apply_b)(VEC *m, int step)
{
    const VEC m0 = m[0], m1 = m[step], m2 = m[2 * step], m3 = m[3 * step];
    m[step] = m1 - m2 + m3;
    m[2 * step] = m1 + m2 - m0;
    m[3 * step] = -m3;
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

/* d -> Bt d B */
static void NAME(winograd_input)(int64_t channels, int64_t tiles, const REAL *x, int64_t x_step,
                                 const int64_t *at, REAL *v, int64_t v_step, int64_t xi_step)
{
    FOR_TILES
    {
        VEC d[16];
        REAL *to = v + c * v_step + t * LANES + part;
        NAME(load_tile)(16, x + c * x_step + part, at + 16 * t, d);
        UNROLL
        for (int i = 0; i < 4; i++)
            NAME(apply_bt)(d + i, 4);
        UNROLL
        for (int i = 0; i < 4; i++)
            NAME(apply_bt)(d + 4 * i, 1);
        UNROLL
        for (int i = 0; i < 16; i++)
            STORE(to + i * xi_step, d[i]);
    }
}

/* x += B m Bt */
static void NAME(winograd_input_adjoint)(int64_t channels, int64_t tiles, const REAL *m, int64_t m_step,
                                         int64_t xi_step, const int64_t *at, REAL *x, int64_t x_step)
{
    FOR_TILES
    {
        VEC d[16];
        const REAL *from = m + c * m_step + t * LANES + part;
        REAL *to = x + c * x_step + part;
        const int64_t *place = at + 16 * t;
        UNROLL
        for (int i = 0; i < 16; i++)
            d[i] = LOAD(from + i * xi_step);
        UNROLL
        for (int i = 0; i < 4; i++)
            NAME(apply_b)(d + i, 4);
        UNROLL
        for (int i = 0; i < 4; i++)
            NAME(apply_b)(d + 4 * i, 1);
        if (NAME(is_whole)(place, 16)) {
            UNROLL
            for (int i = 0; i < 16; i++)
                STORE(to + place[i], LOAD(to + place[i]) + d[i]);
        } else {
            UNROLL
            for (int i = 0; i < 16; i++)
                if (place[i] >= 0)
                    STORE(to + place[i], LOAD(to + place[i]) + d[i]);
        }
    }
}

/* out = At m A, plus bias, then ReLU: one tile, in the order of its rows */
ALWAYS_INLINE void NAME(output_tile)(const REAL *m, int64_t xi_step, int mode, const REAL *bias, VEC *out)
{
    VEC half[2][4];
    UNROLL
    for (int j = 0; j < 4; j++) {
        const VEC m1 = LOAD(m + (4 + j) * xi_step), m2 = LOAD(m + (8 + j) * xi_step);
        half[0][j] = LOAD(m + j * xi_step) + m1 + m2;
        half[1][j] = m1 - m2 - LOAD(m + (12 + j) * xi_step);
    }
    UNROLL
    for (int i = 0; i < 2; i++) {
        out[2 * i] = half[i][0] + half[i][1] + half[i][2];
        out[2 * i + 1] = half[i][1] - half[i][2] - half[i][3];
    }
    UNROLL
    for (int i = 0; i < 4; i++) {
        if (mode & GATHER_BIAS)
            out[i] += *bias;
        if (mode & GATHER_RELU)
            out[i] = NAME(relu_vector)(out[i]);
    }
}

/* m -> At m A, plus bias, then ReLU */
static void NAME(winograd_output)(int64_t channels, int64_t tiles, const REAL *m, int64_t m_step,
                                  int64_t xi_step, const int64_t *at, REAL *y, int64_t y_step, int mode,
                                  const REAL *bias)
{
    FOR_TILES
    {
        VEC out[4];
        REAL *to = y + c * y_step + part;
        NAME(output_tile)(m + c * m_step + t * LANES + part, xi_step, mode, bias + c, out);
        UNROLL
        for (int i = 0; i < 4; i++)
            if (at[4 * t + i] >= 0)
                STORE(to + at[4 * t + i], out[i]);
    }
}

/* The same, each tile pooled: its mean, or its largest value and where that is. */
static void NAME(winograd_output_mean)(int64_t channels, int64_t tiles, const REAL *m, int64_t m_step,
                                       int64_t xi_step, const int64_t *at, REAL *y, int64_t y_step, int mode,
                                       const REAL *bias)
{
    FOR_TILES
    {
        VEC out[4];
        if (at[t] < 0)
            continue;
        NAME(output_tile)(m + c * m_step + t * LANES + part, xi_step, mode, bias + c, out);
        STORE(y + c * y_step + at[t] + part, (out[0] + out[1] + out[2] + out[3]) * (REAL)0.25);
    }
}

static void NAME(winograd_output_max)(int64_t channels, int64_t tiles, const REAL *m, int64_t m_step,
                                      int64_t xi_step, const int64_t *at, REAL *y, uint8_t *codes, int64_t y_step,
                                      int mode, const REAL *bias)
{
    FOR_TILES
    {
        VEC out[4];
        IVEC place = {0};
        const int64_t to = c * y_step + at[t] + part;
        if (at[t] < 0)
            continue;
        NAME(output_tile)(m + c * m_step + t * LANES + part, xi_step, mode, bias + c, out);
        VEC best = out[0];
        UNROLL
        for (int i = 1; i < 4; i++)
            NAME(take_larger)(out[i], i, &best, &place);
        STORE(y + to, best);
        if (codes)
            *(NAME(bytes) *)(codes + to) = __builtin_convertvector(place, NAME(bytes));
    }
}

/* y -> A y At */
static void NAME(winograd_output_adjoint)(int64_t channels, int64_t tiles, const REAL *y, int64_t y_step,
                                          const int64_t *at, REAL *m, int64_t m_step, int64_t xi_step)
{
    FOR_TILES
    {
        VEC from[4], half[4][2];
        REAL *to = m + c * m_step + t * LANES + part;
        NAME(load_tile)(4, y + c * y_step + part, at + 4 * t, from);
        UNROLL
        for (int j = 0; j < 2; j++) {
            half[0][j] = from[j];
            half[1][j] = from[j] + from[2 + j];
            half[2][j] = from[j] - from[2 + j];
            half[3][j] = -from[2 + j];
        }
        UNROLL
        for (int i = 0; i < 4; i++) {
            STORE(to + 4 * i * xi_step, half[i][0]);
            STORE(to + (4 * i + 1) * xi_step, half[i][0] + half[i][1]);
            STORE(to + (4 * i + 2) * xi_step, half[i][0] - half[i][1]);
            STORE(to + (4 * i + 3) * xi_step, -half[i][1]);
        }
    }
}
#undef FOR_TILES

/* g -> G g Gt, for n kernels w_step apart, whose results are neighbours */
static void NAME(winograd_kernel)(int64_t n, const REAL *w, int64_t w_step, REAL *u, int64_t xi_step)
{
    const REAL half = (REAL)0.5;
    for (int64_t k = 0; k < n; k++, w += w_step, u++) {
        REAL rows[4][3];
        for (int j = 0; j < 3; j++) {
            const REAL ends = half * (w[j] + w[6 + j]), middle = half * w[3 + j];
            rows[0][j] = w[j];
            rows[1][j] = ends + middle;
            rows[2][j] = ends - middle;
            rows[3][j] = w[6 + j];
        }
        for (int i = 0; i < 4; i++) {
            const REAL ends = half * (rows[i][0] + rows[i][2]), middle = half * rows[i][1];
            u[4 * i * xi_step] = rows[i][0];
            u[(4 * i + 1) * xi_step] = ends + middle;
            u[(4 * i + 2) * xi_step] = ends - middle;
            u[(4 * i + 3) * xi_step] = rows[i][2];
        }
    }
}

/* u -> Gt u G, for n neighbours, whose results are whole kernels one after the other */
static void NAME(winograd_kernel_adjoint)(int64_t n, const REAL *u, int64_t xi_step, REAL *w)
{
    const REAL half = (REAL)0.5;
    for (int64_t k = 0; k < n; k++, u++, w += 9) {
        REAL rows[3][4];
        for (int j = 0; j < 4; j++) {
            const REAL u1 = u[(4 + j) * xi_step], u2 = u[(8 + j) * xi_step];
            rows[0][j] = u[j * xi_step] + half * (u1 + u2);
            rows[1][j] = half * (u1 - u2);
            rows[2][j] = half * (u1 + u2) + u[(12 + j) * xi_step];
        }
        for (int i = 0; i < 3; i++) {
            w[3 * i] = rows[i][0] + half * (rows[i][1] + rows[i][2]);
            w[3 * i + 1] = half * (rows[i][1] - rows[i][2]);
            w[3 * i + 2] = half * (rows[i][1] + rows[i][2]) + rows[i][3];
        }
    }
}

#undef LANES
#undef LOAD
#undef STORE
