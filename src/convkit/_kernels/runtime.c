#include "platform.inc.h" /* first, for what it asks of the system's headers */

#include "runtime.h"

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

int ck_level_count(void) { return 1 + x86_level(); }
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
static _Atomic int limited; /* whether there shall be no more than the calling thread and its group have cores */
static _Atomic int group_cores = INT_MAX;

void ck_set_default_threads(int most, int is_limited)
{
    threads = most;
    limited = is_limited;
}

void ck_set_group_cores(int n) { group_cores = n; }

#ifdef _OPENMP
/* The cores that the calling thread may run on, and no more than its control group gives. Asking the system for them
   costs as much as a small loop saves, so it is done ten times a second at most, unless `now` is wanted. */
static int cores(int now)
{
    static __thread int known;
    static __thread int64_t asked_at;
    int64_t time = milliseconds();
    if (now || !known || time - asked_at > 100) {
        asked_at = time;
        known = affine_cores();
    }
    return known < group_cores ? known : group_cores;
}

/* What the runtime's own limit is in this thread as long as nobody else has set it: what it was when we were loaded,
   or what ck_set_threads has told it in this thread. */
static int limit_at_import;
static __thread int limit_told;
static _Atomic int team_started, fork_is_safe, serial_after_fork;

static int untouched_limit(void) { return limit_told ? limit_told : limit_at_import; }

/* libgomp keeps the threads of a team for the next one. In a forked child they are gone, and it would wait for them
   for ever, be they ours or of a neighbour with the same libgomp: so the forking thread lets its own go before. OpenMP
   5.0 has a call for this; with an older runtime, kernels run serially in the child of a process with a team. */
#ifdef __ELF__
extern int pause_all(int kind) __asm__("omp_pause_resource_all") __attribute__((weak));
enum { PAUSE_SOFT = 1 };
static void before_fork(void) { fork_is_safe = pause_all && pause_all(PAUSE_SOFT) == 0; }
#else
static void before_fork(void) { fork_is_safe = 0; }
#endif

static void in_forked_child(void) { serial_after_fork |= team_started && !fork_is_safe; }

static void watch_runtime(void)
{
    limit_at_import = omp_get_max_threads();
    watch_forks(before_fork, in_forked_child);
}

int ck_has_openmp(void) { return 1; }

void ck_set_threads(int n)
{
    /* The runtime learns of it, so that others see it, and see us keep to what they set later. */
    if (omp_get_max_threads() == untouched_limit()) {
        omp_set_num_threads(n);
        limit_told = n;
    }
    threads = n;
    limited = 0;
}

static int allowed_threads(int now)
{
    if (serial_after_fork)
        return 1;
    int n = threads, limit = omp_get_max_threads(), have = limited ? cores(now) : INT_MAX;
    if (n > have)
        n = have;
    if (limit != untouched_limit() && n > limit)
        n = limit;
    if (n > omp_get_thread_limit())
        n = omp_get_thread_limit();
    return n;
}

int ck_threads_known(void) { return threads == 1 || omp_in_parallel() ? 1 : allowed_threads(0); }

int ck_threads(void)
{
    int n = ck_threads_known();
    if (n > 1 && !team_started)
        team_started = 1;
    return n;
}

int ck_threads_now(void) { return allowed_threads(1); }
#else
static void watch_runtime(void) {}
int ck_has_openmp(void) { return 0; }
void ck_set_threads(int n) { threads = n; }
int ck_threads_known(void) { return 1; }
int ck_threads(void) { return 1; }
int ck_threads_now(void) { return 1; }
#endif

int ck_group_is_due(int now)
{
#if defined(_OPENMP) && defined(__linux__)
    static _Atomic int64_t asked_at;
    int64_t time = milliseconds();
    if (limited && (now || time - asked_at > 1000)) {
        asked_at = time;
        return 1;
    }
#endif
    (void)now;
    return 0;
}

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

static __thread scratch_t *own_scratch;

static void free_scratch(void *p)
{
    scratch_t *scratch = p;
    for (int slot = 0; slot < CK_SCRATCH_SLOTS; slot++)
        free_aligned(scratch->memory[slot]);
    free(scratch);
}

void *ck_scratch(int slot, size_t bytes)
{
    if (!own_scratch) {
        own_scratch = calloc(1, sizeof *own_scratch);
        if (!own_scratch)
            return NULL;
        release_with_thread(own_scratch);
    }
    if (!SERVES(own_scratch->bytes[slot], bytes) || !own_scratch->memory[slot]) {
        size_t rounded = ROUNDED(bytes);
        free_aligned(own_scratch->memory[slot]);
        own_scratch->memory[slot] = NULL;
        own_scratch->bytes[slot] = 0;
        void *memory = rounded < bytes ? NULL : aligned_memory(rounded);
        if (!memory)
            return NULL;
        own_scratch->memory[slot] = memory;
        own_scratch->bytes[slot] = rounded;
    }
    return own_scratch->memory[slot];
}

/* --- the beginning ------------------------------------------------------------------------ */

void ck_start(void)
{
    when_threads_end(free_scratch);
    watch_runtime();
}
