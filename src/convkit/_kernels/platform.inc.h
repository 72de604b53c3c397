/* What runtime.c needs of the system, and what differs between systems: memory, the end of threads, forks, cores and
   instruction sets. */
#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <malloc.h>
#include <windows.h>
#else
#define _GNU_SOURCE /* affinity masks */
#include <pthread.h>
#include <sched.h>
#include <time.h>
#endif
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>

enum { CK_ALIGNMENT = 64 };

#ifdef _WIN32

static inline void *aligned_memory(size_t bytes) { return _aligned_malloc(bytes, CK_ALIGNMENT); }
static inline void free_aligned(void *memory) { _aligned_free(memory); }

static DWORD until_thread_ends;
static inline void when_threads_end(void (*release)(void *)) { until_thread_ends = FlsAlloc(release); }
static inline void release_with_thread(void *kept) { FlsSetValue(until_thread_ends, kept); }

static inline void watch_forks(void (*before)(void), void (*in_child)(void)) { (void)before, (void)in_child; }

static inline int64_t milliseconds(void) { return (int64_t)GetTickCount64(); }

/* A process that may run on all cores of its group of 64 may be given another group's, too. */
static inline int affine_cores(void)
{
    DWORD_PTR own, all;
    if (!GetProcessAffinityMask(GetCurrentProcess(), &own, &all) || own == all)
        return INT_MAX;
    return __builtin_popcountll(own);
}

#else

static inline void *aligned_memory(size_t bytes)
{
    void *memory = NULL;
    return posix_memalign(&memory, CK_ALIGNMENT, bytes) ? NULL : memory;
}
static inline void free_aligned(void *memory) { free(memory); }

/* Where the system has no key left, threads keep their memory until the process ends. */
static pthread_key_t until_thread_ends;
static int have_key;
static inline void when_threads_end(void (*release)(void *))
{
    have_key = !pthread_key_create(&until_thread_ends, release);
}
static inline void release_with_thread(void *kept)
{
    if (have_key)
        pthread_setspecific(until_thread_ends, kept);
}

static inline void watch_forks(void (*before)(void), void (*in_child)(void)) { pthread_atfork(before, NULL, in_child); }

#ifdef __linux__
static inline int64_t milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline int affine_cores(void)
{
    cpu_set_t mask;
    return sched_getaffinity(0, sizeof mask, &mask) ? INT_MAX : CPU_COUNT(&mask);
}
#else
static inline int64_t milliseconds(void) { return 0; } /* once is enough to learn that it is not known */
static inline int affine_cores(void) { return INT_MAX; }
#endif

#endif

/* 2 with AVX-512 as the micro-kernels use it, 1 with AVX2 and FMA, else 0. */
#if defined(CK_X86_LEVELS) && defined(_WIN32)
/* Not the compiler's builtin: what it calls is in a library that Microsoft's linker does not bring. */
static inline int x86_level(void)
{
    const uint32_t fma_and_xsave = 1u << 12 | 1u << 27, avx2 = 1u << 5;
    const uint32_t avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F, DQ, BW, VL */
    const uint32_t ymm_kept = 0x6, zmm_kept = 0xe6;                     /* by the system, when it switches threads */
    uint32_t a = 0, b, c, d, kept;
    __asm__("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
    if (a < 7)
        return 0;
    a = 1;
    __asm__("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
    if ((c & fma_and_xsave) != fma_and_xsave)
        return 0;
    __asm__("xgetbv" : "=a"(kept), "=d"(d) : "c"(0));
    a = 7, c = 0;
    __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if ((kept & ymm_kept) != ymm_kept || !(b & avx2))
        return 0;
    return (kept & zmm_kept) == zmm_kept && (b & avx512) == avx512 ? 2 : 1;
}
#elif defined(CK_X86_LEVELS)
static inline int x86_level(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return 0;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512bw"))
        return 1;
    return 2;
}
#else
static inline int x86_level(void) { return 0; }
#endif
