/* A tile of a convolution that reads image rows where they are: runs of a few neighbouring pixels (32 bytes) are
   vectors, and what a kernel position takes from them is an unaligned load.  No panel is packed, which pays where
   few output channels would share one. */
#ifndef DIRECT_SIZES
#define DIRECT_SIZES
#if VBYTES == 64
#define DIRECT_M 8
#define DIRECT_P 3
#elif VBYTES == 32
#define DIRECT_M 6
#define DIRECT_P 2
#else
#define DIRECT_M 3
#define DIRECT_P 2
#endif
#endif

typedef REAL NAME(run) __attribute__((vector_size(CK_RUN_BYTES), aligned(sizeof(REAL)), may_alias));

ALWAYS_INLINE void NAME(direct_body)(const int m, const int runs, int64_t depth, const REAL *a, int64_t a_step,
                                     const REAL *const *b, const int64_t *b_at, REAL *const *c, int64_t c_step,
                                     int relu, const REAL *bias)
{
    NAME(run) acc[DIRECT_M][DIRECT_P];
    const NAME(run) zero = {0};
    UNROLL
    for (int i = 0; i < m; i++)
        UNROLL
        for (int p = 0; p < runs; p++)
            acc[i][p] = zero + (bias ? bias[i] : 0);
    for (int64_t k = 0; k < depth; k++) {
        NAME(run) bv[DIRECT_P];
        UNROLL
        for (int p = 0; p < runs; p++)
            bv[p] = *(const NAME(run) *)(b[p] + b_at[k]);
        UNROLL
        for (int i = 0; i < m; i++) {
            const NAME(run) weight = a[i * a_step + k] - zero;
            UNROLL
            for (int p = 0; p < runs; p++)
                acc[i][p] += weight * bv[p];
        }
    }
    UNROLL
    for (int i = 0; i < m; i++)
        UNROLL
        for (int p = 0; p < runs; p++) {
            const NAME(run) kept = relu ? (NAME(run))((~(acc[i][p] < zero)) & (typeof(acc[i][p] < zero))acc[i][p])
                                        : acc[i][p];
            *(NAME(run) *)(c[p] + i * c_step) = kept;
        }
}

#define DIRECT_TILE(mm, pp)                                                                                 \
    if (m == (mm) && runs == (pp)) {                                                                        \
        NAME(direct_body)(mm, pp, depth, a, a_step, b, b_at, c, c_step, relu, bias);                        \
        return;                                                                                             \
    }
#if DIRECT_P == 3
#define DIRECT_ROW(mm) DIRECT_TILE(mm, 1) DIRECT_TILE(mm, 2) DIRECT_TILE(mm, 3)
#else
#define DIRECT_ROW(mm) DIRECT_TILE(mm, 1) DIRECT_TILE(mm, 2)
#endif

static void NAME(direct)(int m, int runs, int64_t depth, const REAL *a, int64_t a_step, const REAL *const *b,
                         const int64_t *b_at, REAL *const *c, int64_t c_step, int relu, const REAL *bias)
{
    DIRECT_ROW(1)
    DIRECT_ROW(2)
    DIRECT_ROW(3)
#if DIRECT_M > 3
    DIRECT_ROW(4)
    DIRECT_ROW(5)
    DIRECT_ROW(6)
#endif
#if DIRECT_M > 6
    DIRECT_ROW(7)
    DIRECT_ROW(8)
#endif
}
#undef DIRECT_TILE
#undef DIRECT_ROW

#ifndef DIRECT_TABLE_f32
#define DIRECT_TABLE(suffix) {.rows = DIRECT_M, .runs = DIRECT_P, .tile = direct_##suffix}
#define DIRECT_TABLE_f32 DIRECT_TABLE(f32)
#define DIRECT_TABLE_f64 DIRECT_TABLE(f64)
#endif
