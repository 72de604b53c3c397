/* Vectors of the instruction set this file is compiled for, as GCC/Clang vector types.

   VBYTES is the register width; `vector(real)` types are unaligned and may alias, so that a load is
   a plain dereference of a cast pointer.  A file with REAL defined gets
       vec       a vector of VL REALs              mask      what comparing two of them gives
   and defines its functions with NAME(x), which appends the dtype's suffix. */
#ifndef CK_SIMD_H
#define CK_SIMD_H

#include <stddef.h>
#include <stdint.h>

#if defined(__AVX512F__)
#define VBYTES 64
#elif defined(__AVX__)
#define VBYTES 32
#else
#define VBYTES 16
#endif

#define VL_F32 (VBYTES / 4)
#define VL_F64 (VBYTES / 8)

typedef float vec_f32 __attribute__((vector_size(VBYTES), aligned(4), may_alias));
typedef double vec_f64 __attribute__((vector_size(VBYTES), aligned(8), may_alias));
typedef int32_t ivec_f32 __attribute__((vector_size(VBYTES), aligned(4), may_alias));
typedef int64_t ivec_f64 __attribute__((vector_size(VBYTES), aligned(8), may_alias));

#define CK_CONCAT_(a, b) a##b
#define CK_CONCAT(a, b) CK_CONCAT_(a, b)
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define RESTRICT __restrict__

#endif
