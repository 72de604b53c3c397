/* Vectors of the instruction set this file is compiled for, as GCC/Clang vector types.

   VBYTES is the register width; `vector(real)` types are unaligned and may alias, so that a load is
   a plain dereference of a cast pointer.  A file with REAL defined gets
       vec       a vector of VL REALs              mask      what comparing two of them gives
   and defines its functions with NAME(x), which appends the dtype's suffix. */
#ifndef CK_SIMD_H
#define CK_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define VBYTES 64
#elif defined(__AVX__)
#define VBYTES 32
#else
#define VBYTES 16
#endif

#define VL_F32 (VBYTES / 4)
#define VL_F64 (VBYTES / 8)

#if defined(_WIN32) && !defined(__clang__)
#error "compile with Clang: GCC stores vectors on the stack as if it were aligned to them, which it is not on Windows"
#endif

typedef float vec_f32 __attribute__((vector_size(VBYTES), aligned(4), may_alias));
typedef double vec_f64 __attribute__((vector_size(VBYTES), aligned(8), may_alias));
typedef int32_t ivec_f32 __attribute__((vector_size(VBYTES), aligned(4), may_alias));
typedef int64_t ivec_f64 __attribute__((vector_size(VBYTES), aligned(8), may_alias));

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define CK_CONCAT_(a, b) a##b
#define CK_CONCAT(a, b) CK_CONCAT_(a, b)
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define RESTRICT __restrict__

/* Says that a loaded vector has changed, so that it stays in its register: a compiler may otherwise load it again for
   each use, which costs more than the use where loads are what there is least of. */
#if defined(__x86_64__)
#define IN_REGISTER(v) __asm__("" : "+v"(v))
#elif defined(__aarch64__)
#define IN_REGISTER(v) __asm__("" : "+w"(v))
#else
#define IN_REGISTER(v) ((void)0)
#endif

/* The sum of all lanes: of the two halves, of their halves, and so on. */
#ifdef __AVX512F__
ALWAYS_INLINE float lanes_sum_f32(vec_f32 v) { return _mm512_reduce_add_ps((__m512)v); }
ALWAYS_INLINE double lanes_sum_f64(vec_f64 v) { return _mm512_reduce_add_pd((__m512d)v); }
#else
#define LANES_SUM(suffix, real, lanes)                                                                     \
    ALWAYS_INLINE real lanes_sum_##suffix(vec_##suffix v)                                                  \
    {                                                                                                      \
        real lane[lanes];                                                                                  \
        memcpy(lane, &v, sizeof lane);                                                                     \
        for (int width = (lanes) / 2; width > 0; width /= 2)                                               \
            for (int i = 0; i < width; i++)                                                                \
                lane[i] += lane[i + width];                                                                \
        return lane[0];                                                                                    \
    }
LANES_SUM(f32, float, VL_F32)
LANES_SUM(f64, double, VL_F64)
#undef LANES_SUM
#endif

/* Running sums lose digits by the number of their terms: vectors of them go over so many values, and single ones have
   so many terms, before they are added to a double. */
enum { SUM_STRETCH = 16384, SUM_TERMS = 256 };

/* Loads and stores of the first n lanes, 0 < n <= VL, touching no others; the others load as zeros. */
#ifdef __AVX512F__
#define MASKED_LANES(suffix, real, mask, lanes, load, store)                                               \
    ALWAYS_INLINE vec_##suffix load_lanes_##suffix(int64_t n, const real *p)                               \
    {                                                                                                      \
        return (vec_##suffix)load((mask)(((uint32_t)1 << n) - 1), p);                                      \
    }                                                                                                      \
    ALWAYS_INLINE void store_lanes_##suffix(int64_t n, real *p, vec_##suffix v)                            \
    {                                                                                                      \
        store(p, (mask)(((uint32_t)1 << n) - 1), (lanes)v);                                                \
    }
MASKED_LANES(f32, float, __mmask16, __m512, _mm512_maskz_loadu_ps, _mm512_mask_storeu_ps)
MASKED_LANES(f64, double, __mmask8, __m512d, _mm512_maskz_loadu_pd, _mm512_mask_storeu_pd)
#else
#define MASKED_LANES(suffix, real)                                                                         \
    ALWAYS_INLINE vec_##suffix load_lanes_##suffix(int64_t n, const real *p)                               \
    {                                                                                                      \
        vec_##suffix v = {0};                                                                              \
        memcpy(&v, p, n * sizeof(real));                                                                   \
        return v;                                                                                          \
    }                                                                                                      \
    ALWAYS_INLINE void store_lanes_##suffix(int64_t n, real *p, vec_##suffix v)                            \
    {                                                                                                      \
        memcpy(p, &v, n * sizeof(real));                                                                   \
    }
MASKED_LANES(f32, float)
MASKED_LANES(f64, double)
#endif
#undef MASKED_LANES

#endif
