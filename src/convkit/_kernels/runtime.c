#include "runtime.h"

#include <pthread.h>
#include <stdlib.h>
#ifdef _OPENMP
#include <omp.h>
#endif

/* --- instruction sets -------------------------------------------------------------------- */

extern const ck_micro ck_micro_baseline;
#ifdef CK_X86_LEVELS
extern const ck_micro ck_micro_avx2, ck_micro_avx512;
static const ck_micro *const levels[] = {&ck_micro_baseline, &ck_micro_avx2, &ck_micro_avx512};
#else
static const ck_micro *const levels[] = {&ck_micro_baseline};
#endif

static const ck_micro *chosen = &ck_micro_baseline;

int ck_level_count(void)
{
#ifdef CK_X86_LEVELS
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        return 1;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512bw"))
        return 2;
    return 3;
#else
    return 1;
#endif
}

const char *ck_level_name(int level) { return levels[level]->name; }
void ck_choose_level(int level) { chosen = levels[level]; }
const ck_micro *ck_chosen(void) { return chosen; }

const char *ck_compiler(void)
{
#ifdef __clang__
    return "Clang " __clang_version__;
#else
    return "GCC " __VERSION__;
#endif
}

/* --- threads ------------------------------------------------------------------------------ */

/* Atomic because Python's threads set and ask for them side by side. */
static _Atomic int threads = 1;

#ifdef _OPENMP
static int runtime_limit_at_import;
static _Atomic int team_started, serial_after_fork;

static void in_forked_child(void) { serial_after_fork = team_started; }

__attribute__((constructor)) static void watch_runtime(void)
{
    runtime_limit_at_import = omp_get_max_threads();
    pthread_atfork(NULL, NULL, in_forked_child);
}

int ck_has_openmp(void) { return 1; }

int ck_threads(void)
{
    if (serial_after_fork)
        return 1;
    int limit = omp_get_max_threads(), n = threads;
    if (limit < runtime_limit_at_import && limit < n)
        n = limit;
    if (n > omp_get_thread_limit())
        n = omp_get_thread_limit();
    if (n > 1 && !team_started)
        team_started = 1;
    return n;
}
#else
int ck_has_openmp(void) { return 0; }
int ck_threads(void) { return 1; }
#endif

void ck_set_threads(int n) { threads = n; }

/* --- scratch ------------------------------------------------------------------------------ */

typedef struct {
    void *memory[CK_SCRATCH_SLOTS];
    size_t bytes[CK_SCRATCH_SLOTS];
} scratch_t;

/* A build that looks for mistakes gets fresh memory of the exact size each time: a checker then sees every step beyond
   it, and every read of what an earlier call has left there. */
#ifdef CK_FRESH_SCRATCH
#define SERVES(has, wanted) 0
#define ROUNDED(bytes) (bytes)
#else
#define SERVES(has, wanted) ((has) >= (wanted))
#define ROUNDED(bytes) (((bytes) + 4096) & ~(size_t)4095)
#endif

static pthread_key_t scratch_key;
static __thread scratch_t *own_scratch;

static void free_scratch(void *p)
{
    scratch_t *scratch = p;
    for (int slot = 0; slot < CK_SCRATCH_SLOTS; slot++)
        free(scratch->memory[slot]);
    free(scratch);
}

__attribute__((constructor)) static void make_scratch_key(void) { pthread_key_create(&scratch_key, free_scratch); }

void *ck_scratch(int slot, size_t bytes)
{
    if (!own_scratch) {
        own_scratch = calloc(1, sizeof *own_scratch);
        if (!own_scratch)
            return NULL;
        pthread_setspecific(scratch_key, own_scratch);
    }
    if (!SERVES(own_scratch->bytes[slot], bytes) || !own_scratch->memory[slot]) {
        size_t rounded = ROUNDED(bytes);
        void *memory = NULL;
        free(own_scratch->memory[slot]);
        own_scratch->memory[slot] = NULL;
        own_scratch->bytes[slot] = 0;
        if (rounded < bytes || posix_memalign(&memory, 64, rounded))
            return NULL;
        own_scratch->memory[slot] = memory;
        own_scratch->bytes[slot] = rounded;
    }
    return own_scratch->memory[slot];
}
