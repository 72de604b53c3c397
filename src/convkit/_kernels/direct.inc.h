/* A tile of a convolution that reads image rows where they are: runs of a few neighbouring pixels (32 bytes) are
   vectors, or halves of vectors, and what a kernel position takes from them are unaligned loads.  No panel is packed,
   which pays where few output channels would share one. */
#ifndef DIRECT_SIZES
#define DIRECT_SIZES
#if VBYTES == 64
#define DIRECT_M 6
#define DIRECT_P 4
#define DIRECT_TOGETHER 2
#elif VBYTES == 32
#define DIRECT_M 6
#define DIRECT_P 2
#define DIRECT_TOGETHER 1
#else
#define DIRECT_M 3
#define DIRECT_P 2
#define DIRECT_TOGETHER 1
#endif

/* Where runs fill a register, each sum is in one as soon as it is made: GCC would put all of a tap's products off to the
   end of the loop, and then has too few registers for them. */
#if VBYTES >= 32
#define RUNS_IN_REGISTER(v) IN_REGISTER(v)
#else
#define RUNS_IN_REGISTER(v) ((void)0)
#endif

/* ThreadSanitizer sees no vectors longer than 16 bytes, so its builds tell it of each run. */
#ifdef __has_feature
#if __has_feature(thread_sanitizer)
void __tsan_read_range(void *place, unsigned long bytes);
void __tsan_write_range(void *place, unsigned long bytes);
#define RUN_IS_READ(place) __tsan_read_range((void *)(place), CK_RUN_BYTES)
#define RUN_IS_WRITTEN(place) __tsan_write_range(place, CK_RUN_BYTES)
#endif
#endif
#ifndef RUN_IS_READ
#define RUN_IS_READ(place) ((void)0)
#define RUN_IS_WRITTEN(place) ((void)0)
#endif
#endif

typedef REAL NAME(run) __attribute__((vector_size(CK_RUN_BYTES), aligned(sizeof(REAL)), may_alias));
typedef REAL NAME(runs) __attribute__((vector_size(CK_RUN_BYTES * DIRECT_TOGETHER), aligned(sizeof(REAL)), may_alias));

#if DIRECT_TOGETHER == 2
ALWAYS_INLINE NAME(runs) NAME(load_runs)(const REAL *const *from, int64_t at)
{
    const __m512d low = _mm512_castpd256_pd512(_mm256_loadu_pd((const double *)(from[0] + at)));
    return (NAME(runs))_mm512_insertf64x4(low, _mm256_loadu_pd((const double *)(from[1] + at)), 1);
}

ALWAYS_INLINE void NAME(store_runs)(REAL *const *to, int64_t at, NAME(runs) values)
{
    _mm256_storeu_pd((double *)(to[0] + at), _mm512_castpd512_pd256((__m512d)values));
    _mm256_storeu_pd((double *)(to[1] + at), _mm512_extractf64x4_pd((__m512d)values, 1));
}
#else
ALWAYS_INLINE NAME(runs) NAME(load_runs)(const REAL *const *from, int64_t at)
{
    RUN_IS_READ(from[0] + at);
    return *(const NAME(run) *)(from[0] + at);
}

ALWAYS_INLINE void NAME(store_runs)(REAL *const *to, int64_t at, NAME(runs) values)
{
    RUN_IS_WRITTEN(to[0] + at);
    *(NAME(run) *)(to[0] + at) = values;
}
#endif

ALWAYS_INLINE void NAME(direct_body)(const int m, const int vectors, int64_t depth, const REAL *a, int64_t a_step,
                                     const REAL *const *b, const int64_t *b_at, REAL *const *c, int64_t c_step,
                                     int relu, const REAL *bias)
{
    NAME(runs) acc[DIRECT_M][DIRECT_P];
    const NAME(runs) zero = {0};
    UNROLL
    for (int i = 0; i < m; i++)
        UNROLL
        for (int p = 0; p < vectors; p++)
            acc[i][p] = zero + (bias ? bias[i] : 0);
    for (int64_t k = 0; k < depth; k++) {
        NAME(runs) bv[DIRECT_P];
        UNROLL
        for (int p = 0; p < vectors; p++)
            bv[p] = NAME(load_runs)(b + p * DIRECT_TOGETHER, b_at[k]);
        UNROLL
        for (int i = 0; i < m; i++) {
            const NAME(runs) weight = a[i * a_step + k] - zero;
            UNROLL
            for (int p = 0; p < vectors; p++) {
                acc[i][p] += weight * bv[p];
                RUNS_IN_REGISTER(acc[i][p]);
            }
        }
    }
    UNROLL
    for (int i = 0; i < m; i++)
        UNROLL
        for (int p = 0; p < vectors; p++) {
            const NAME(runs) kept = relu ? (NAME(runs))((~(acc[i][p] < zero)) & (typeof(acc[i][p] < zero))acc[i][p])
                                         : acc[i][p];
            NAME(store_runs)(c + p * DIRECT_TOGETHER, i * c_step, kept);
        }
}

#define DIRECT_TILE(mm, pp)                                                                                 \
    if (m == (mm) && vectors == (pp)) {                                                                     \
        NAME(direct_body)(mm, pp, depth, a, a_step, b, b_at, c, c_step, relu, bias);                        \
        return;                                                                                             \
    }
#if DIRECT_P == 4
#define DIRECT_ROW(mm) DIRECT_TILE(mm, 1) DIRECT_TILE(mm, 2) DIRECT_TILE(mm, 3) DIRECT_TILE(mm, 4)
#else
#define DIRECT_ROW(mm) DIRECT_TILE(mm, 1) DIRECT_TILE(mm, 2)
#endif

static void NAME(direct)(int m, int vectors, int64_t depth, const REAL *a, int64_t a_step, const REAL *const *b,
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
}
#undef DIRECT_TILE
#undef DIRECT_ROW

#ifndef DIRECT_TABLE_f32
#define DIRECT_TABLE(suffix) {.rows = DIRECT_M, .vectors = DIRECT_P, .together = DIRECT_TOGETHER, .tile = direct_##suffix}
#define DIRECT_TABLE_f32 DIRECT_TABLE(f32)
#define DIRECT_TABLE_f64 DIRECT_TABLE(f64)
#endif
