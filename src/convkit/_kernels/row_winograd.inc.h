/* Convolution by Winograd's F(4, 5) along rows, and by the direct sum along columns, for one REAL:

       Y = At [ sum over kernel rows and channels of (G g) * (Bt d) ]        for 8 inputs d and 4 outputs Y of a row

   takes 2/5 of the products.  Polynomials are interpolated at 0, 1, -1, 1/2, -1/2, 2, -2 and infinity (Lavin & Gray
   2016, section 4.1, for how).  The products of a point are a sum over all kernel rows and channels, long enough to
   stay in registers from beginning to end: two pairs of points at a time, or one where registers are few, for some
   channels and two output rows. */

#define LANES (WIDE * VL)
#define LOAD(p) (*(const VEC *)(p))
#define STORE(p, v) (*(VEC *)(p) = (v))

#define TAPS CK_ROW_TAPS
#define POINTS CK_ROW_POINTS

#ifndef CK_ROW_SIZES
#define CK_ROW_SIZES
#define ROW_CHANNELS 3
#define ROW_TOGETHER (VBYTES == 64 ? 4 : 2) /* points */
#endif

/* The squares of the points. */
#define A2 ((REAL)1)
#define B2 ((REAL)0.25)
#define C2 ((REAL)4)

/* The even and the odd part of d times the other two pairs of points. */
#define EVEN(s, t) (d[6] - (s + t) * d[4] + s * t * d[2])
#define ODD(s, t) (d[5] - (s + t) * d[3] + s * t * d[1])

/* Bt d, at 1, -1, 1/2, -1/2; 2, -2, 0, infinity */
ALWAYS_INLINE void NAME(row_input_tile)(const VEC *d, VEC *u)
{
    const VEC even_a = EVEN(B2, C2), odd_a = ODD(B2, C2);
    const VEC even_b = EVEN(A2, C2), odd_b = (REAL)0.5 * ODD(A2, C2);
    const VEC even_c = EVEN(A2, B2), odd_c = 2 * ODD(A2, B2);
    const REAL sum = A2 + B2 + C2, pairs = A2 * B2 + A2 * C2 + B2 * C2, all = A2 * B2 * C2;
    u[0] = even_a + odd_a;
    u[1] = even_a - odd_a;
    u[2] = even_b + odd_b;
    u[3] = even_b - odd_b;
    u[4] = even_c + odd_c;
    u[5] = even_c - odd_c;
    u[6] = d[6] - sum * d[4] + pairs * d[2] - all * d[0];
    u[7] = d[7] - sum * d[5] + pairs * d[3] - all * d[1];
}
#undef EVEN
#undef ODD

static void NAME(row_input)(int64_t channels, int64_t rows, const REAL *x, int64_t x_step, int64_t in_rows,
                            int64_t in_columns, int64_t row, int64_t column, REAL *u)
{
    const VEC zero = {0};
    for (int64_t r = row; r < row + rows; r++)
        for (int64_t c = 0; c < channels; c++, u += POINTS * LANES) {
            if (r < 0 || r >= in_rows) {
                memset(u, 0, POINTS * LANES * sizeof(REAL));
                continue;
            }
            const REAL *from = x + c * x_step + r * in_columns * LANES;
            for (int64_t part = 0; part < LANES; part += VL) {
                VEC d[POINTS], out[POINTS];
                if (column >= 0 && column + POINTS <= in_columns) {
                    UNROLL
                    for (int i = 0; i < POINTS; i++)
                        d[i] = LOAD(from + (column + i) * LANES + part);
                } else {
                    UNROLL
                    for (int i = 0; i < POINTS; i++)
                        d[i] = column + i >= 0 && column + i < in_columns ? LOAD(from + (column + i) * LANES + part)
                                                                          : zero;
                }
                NAME(row_input_tile)(d, out);
                UNROLL
                for (int i = 0; i < POINTS; i++)
                    STORE(u + i * LANES + part, out[i]);
            }
        }
}

/* The derivatives of the product of all (x - point), at each pair of points and at 0. */
#define AT_A (2 * A2 * (A2 - B2) * (A2 - C2))
#define AT_B (2 * B2 * (B2 - A2) * (B2 - C2))
#define AT_C (2 * C2 * (C2 - A2) * (C2 - B2))
#define AT_0 (-(A2 * B2 * C2))

/* G g, in the order of row_input_tile */
ALWAYS_INLINE void NAME(row_kernel_tile)(const REAL *g, REAL *out)
{
    const REAL even_a = g[0] + A2 * g[2] + A2 * A2 * g[4], odd_a = g[1] + A2 * g[3];
    const REAL even_b = g[0] + B2 * g[2] + B2 * B2 * g[4], odd_b = (REAL)0.5 * (g[1] + B2 * g[3]);
    const REAL even_c = g[0] + C2 * g[2] + C2 * C2 * g[4], odd_c = 2 * (g[1] + C2 * g[3]);
    out[0] = (even_a + odd_a) * (1 / AT_A);
    out[1] = (even_a - odd_a) * (1 / AT_A);
    out[2] = (even_b + odd_b) * (1 / AT_B);
    out[3] = (even_b - odd_b) * (1 / AT_B);
    out[4] = (even_c + odd_c) * (1 / AT_C);
    out[5] = (even_c - odd_c) * (1 / AT_C);
    out[6] = g[0] * (1 / AT_0);
    out[7] = g[4];
}

static void NAME(row_kernel)(int64_t k, int64_t depth, const REAL *w, int64_t row_step, int64_t depth_step,
                             int64_t tap_step, REAL *g, int64_t pass_step)
{
    for (int64_t c = 0; c < depth; c++, w += depth_step, g += ROW_TOGETHER * k)
        for (int64_t i = 0; i < k; i++) {
            REAL from[TAPS], out[POINTS];
            UNROLL
            for (int t = 0; t < TAPS; t++)
                from[t] = w[i * row_step + t * tap_step];
            NAME(row_kernel_tile)(from, out);
            UNROLL
            for (int p = 0; p < POINTS; p++)
                g[p / ROW_TOGETHER * pass_step + p % ROW_TOGETHER * k + i] = out[p];
        }
}

/* acc[i][r][p] = the sum of n products, for the points of one pass.  That they are in registers then keeps the compiler
   from a way of its own for n = 0, which would take multiplications and additions apart. */
ALWAYS_INLINE void NAME(row_sums)(const int k, const int rows, int64_t n, const REAL *u, int64_t u_row,
                                  const REAL *g, VEC (*acc)[2][ROW_TOGETHER])
{
    const VEC zero = {0};
    UNROLL
    for (int i = 0; i < k; i++)
        UNROLL
        for (int r = 0; r < rows; r++)
            UNROLL
            for (int p = 0; p < ROW_TOGETHER; p++)
                acc[i][r][p] = zero;
    for (int64_t j = 0; j < n; j++, u += POINTS * LANES, g += ROW_TOGETHER * k)
        UNROLL
        for (int p = 0; p < ROW_TOGETHER; p++) {
            VEC from[2];
            UNROLL
            for (int r = 0; r < rows; r++) {
                from[r] = LOAD(u + r * u_row + p * LANES);
                IN_REGISTER(from[r]);
            }
            UNROLL
            for (int i = 0; i < k; i++) {
                const VEC weight = g[p * k + i] - zero;
                UNROLL
                for (int r = 0; r < rows; r++)
                    acc[i][r][p] += weight * from[r];
            }
        }
    UNROLL
    for (int i = 0; i < k; i++)
        UNROLL
        for (int r = 0; r < rows; r++)
            UNROLL
            for (int p = 0; p < ROW_TOGETHER; p++)
                IN_REGISTER(acc[i][r][p]);
}

/* y = At m, pair of points by pair of points. */
ALWAYS_INLINE void NAME(row_outputs)(const int pair, VEC m0, VEC m1, VEC *y)
{
    const REAL point = pair == 0 ? (REAL)1 : pair == 1 ? (REAL)0.5 : (REAL)2, square = point * point;
    const VEC sum = m0 + m1, difference = m0 - m1;
    if (pair == 0) {
        y[0] = y[2] = sum;
        y[1] = y[3] = difference;
    } else if (pair < 3) {
        y[0] += sum;
        y[1] += point * difference;
        y[2] += square * sum;
        y[3] += point * square * difference;
    } else {
        y[0] += m0;
        y[3] += m1;
    }
}

/* Stores a tile of one channel, out[row][column]. */
ALWAYS_INLINE void NAME(row_end)(const int end, const int outputs, VEC (*out)[CK_ROW_OUTPUTS], REAL *y,
                                 uint8_t *codes, int64_t y_row)
{
    const int rows = end == ROW_TWO ? 2 : 1;
    if (end == ROW_ONE || end == ROW_TWO) {
        UNROLL
        for (int r = 0; r < rows; r++)
            UNROLL
            for (int i = 0; i < CK_ROW_OUTPUTS; i++)
                if (i < outputs)
                    STORE(y + r * y_row + i * LANES, out[r][i]);
        return;
    }
    UNROLL
    for (int i = 0; i < CK_ROW_OUTPUTS / 2; i++) {
        const VEC values[4] = {out[0][2 * i], out[0][2 * i + 1], out[1][2 * i], out[1][2 * i + 1]};
        if (i >= outputs)
            continue;
        if (end == ROW_MEAN) {
            STORE(y + i * LANES, (values[0] + values[1] + values[2] + values[3]) * (REAL)0.25);
            continue;
        }
        VEC best = values[0];
        IVEC place = {0};
        UNROLL
        for (int j = 1; j < 4; j++)
            if (codes)
                NAME(take_larger)(values[j], j, &best, &place);
            else
                best = NAME(larger_vector)(values[j], best);
        STORE(y + i * LANES, best);
        if (codes)
            *(NAME(bytes) *)(codes + i * LANES) = __builtin_convertvector(place, NAME(bytes));
    }
}

typedef void NAME(row_map_t)(int64_t n, const REAL *x, REAL *y);

/* Maps the first columns of the outputs of k channels, in a row of values: the loops above keep theirs in registers. */
ALWAYS_INLINE void NAME(row_activate)(const int k, const int rows, int columns, NAME(row_map_t) *map,
                                      VEC (*out)[2][CK_ROW_OUTPUTS])
{
    VEC values[CK_ROW_OUTPUTS * ROW_CHANNELS * 2];
#define FOR_OUTPUTS                                                                                         \
    UNROLL for (int o = 0; o < CK_ROW_OUTPUTS; o++)                                                         \
        UNROLL for (int i = 0; i < k * rows; i++)
    FOR_OUTPUTS
    values[o * k * rows + i] = out[i / rows][i % rows][o];
    map(columns * k * rows * VL, (const REAL *)values, (REAL *)values);
    FOR_OUTPUTS
    out[i / rows][i % rows][o] = values[o * k * rows + i];
#undef FOR_OUTPUTS
}

ALWAYS_INLINE void NAME(row_product_body)(const int k, const int end, int64_t n, const REAL *u, int64_t u_row,
                                          const REAL *g, int64_t pass_step, int outputs, REAL *y, uint8_t *codes,
                                          int64_t y_step, int64_t y_row, int mode, const REAL *bias,
                                          NAME(row_map_t) *activate)
{
    const int rows = end == ROW_ONE ? 1 : 2;
    for (int64_t part = 0; part < LANES; part += VL) {
        VEC acc[ROW_CHANNELS][2][ROW_TOGETHER], out[ROW_CHANNELS][2][CK_ROW_OUTPUTS];
        UNROLL
        for (int p = 0; p < POINTS; p += ROW_TOGETHER) {
            NAME(row_sums)(k, rows, n, u + p * LANES + part, u_row, g + p / ROW_TOGETHER * pass_step, acc);
            UNROLL
            for (int i = 0; i < k; i++)
                UNROLL
                for (int r = 0; r < rows; r++)
                    UNROLL
                    for (int q = 0; q < ROW_TOGETHER; q += 2)
                        NAME(row_outputs)((p + q) / 2, acc[i][r][q], acc[i][r][q + 1], out[i][r]);
        }
        UNROLL
        for (int i = 0; i < k; i++)
            UNROLL
            for (int r = 0; r < rows; r++)
                UNROLL
                for (int o = 0; o < CK_ROW_OUTPUTS; o++) {
                    if (mode & GATHER_BIAS)
                        out[i][r][o] += bias[i];
                    if (mode & GATHER_RELU)
                        out[i][r][o] = NAME(relu_vector)(out[i][r][o]);
                }
        if (activate)
            NAME(row_activate)(k, rows, end < ROW_MEAN ? outputs : 2 * outputs, activate, out);
        UNROLL
        for (int i = 0; i < k; i++) {
            uint8_t *places = codes ? codes + i * y_step + part : NULL;
            NAME(row_end)(end, outputs, out[i], y + i * y_step + part, places, y_row);
        }
    }
}

#define ROW_PARAMETERS                                                                                      \
    (int64_t n, const REAL *u, int64_t u_row, const REAL *g, int64_t pass_step, int outputs, REAL *y,       \
     uint8_t *codes, int64_t y_step, int64_t y_row, int mode, const REAL *bias, NAME(row_map_t) *activate)
#define ROW_PRODUCT(k, end)                                                                                 \
    static void NAME(row_product_##k##_##end) ROW_PARAMETERS                                                \
    {                                                                                                       \
        NAME(row_product_body)(k, end, n, u, u_row, g, pass_step, outputs, y, codes, y_step, y_row, mode,   \
                               bias, activate);                                                             \
    }
#define ROW_PRODUCTS(k)                                                                                     \
    ROW_PRODUCT(k, ROW_ONE) ROW_PRODUCT(k, ROW_TWO) ROW_PRODUCT(k, ROW_MEAN) ROW_PRODUCT(k, ROW_MAX)
#define ROW_NAMES(k)                                                                                        \
    {NAME(row_product_##k##_ROW_ONE), NAME(row_product_##k##_ROW_TWO), NAME(row_product_##k##_ROW_MEAN),    \
     NAME(row_product_##k##_ROW_MAX)}

typedef void NAME(row_product_t) ROW_PARAMETERS;

ROW_PRODUCTS(1) ROW_PRODUCTS(2) ROW_PRODUCTS(3)

static NAME(row_product_t) *const NAME(row_products)[ROW_CHANNELS][CK_ROW_ENDS] = {
    ROW_NAMES(1), ROW_NAMES(2), ROW_NAMES(3),
};

static void NAME(row_product)(int k, int end, int64_t n, const REAL *u, int64_t u_row, const REAL *g,
                              int64_t pass_step, int outputs, REAL *y, uint8_t *codes, int64_t y_step,
                              int64_t y_row, int mode, const REAL *bias, NAME(row_map_t) *activate)
{
    NAME(row_products)[k - 1][end](n, u, u_row, g, pass_step, outputs, y, codes, y_step, y_row, mode, bias,
                                   activate);
}

#ifndef ROW_WINOGRAD_TABLE_f32
#define ROW_WINOGRAD_TABLE(suffix)                                                                          \
    {                                                                                                       \
        .most_channels = ROW_CHANNELS, .together = ROW_TOGETHER, .input = row_input_##suffix,               \
        .kernel = row_kernel_##suffix, .product = row_product_##suffix,                                     \
    }
#define ROW_WINOGRAD_TABLE_f32 ROW_WINOGRAD_TABLE(f32)
#define ROW_WINOGRAD_TABLE_f64 ROW_WINOGRAD_TABLE(f64)
#endif

#undef ROW_PARAMETERS
#undef ROW_PRODUCT
#undef ROW_PRODUCTS
#undef ROW_NAMES
#undef AT_A
#undef AT_B
#undef AT_C
#undef AT_0
#undef A2
#undef B2
#undef C2
#undef TAPS
#undef POINTS
#undef LANES
#undef LOAD
#undef STORE
