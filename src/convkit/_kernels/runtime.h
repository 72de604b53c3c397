/* What the drivers share: the chosen micro-kernels, the number of threads, scratch memory. */
#ifndef CK_RUNTIME_H
#define CK_RUNTIME_H

#include <stddef.h>
#include "micro.h"

/* Called once, when the module is imported, before all else. Not by the system's loader, which on Windows holds a lock
   that a runtime may wait for. */
void ck_start(void);

/* --- instruction sets -------------------------------------------------------------------- */
/* Levels built in and supported by this processor, worst first; `count` of them. */
int ck_level_count(void);
const char *ck_level_name(int level);
/* Choose a level; done once, when the module is imported. */
void ck_choose_level(int level);
const ck_micro *ck_chosen(void);

/* The compiler that built this, with its version. */
const char *ck_compiler(void);

/* --- threads ------------------------------------------------------------------------------ */
int ck_has_openmp(void);
void ck_set_threads(int n);
/* What holds until a number is set: so many, where `is_limited` is not 0 as many as the calling thread and its control
   group have cores, which may change, and at most so many. */
void ck_set_default_threads(int most, int is_limited);
/* Whether the caller shall find out how many cores the control group has, and tell: once a second, or `now`, while that
   makes a difference. */
int ck_group_is_due(int now);
void ck_set_group_cores(int n);
/* Threads the next parallel loop may use: the number set, less where the OpenMP runtime was limited since, one inside
   a parallel loop; cores are counted ten times a second. */
int ck_threads(void);
/* The same, asked by who will not begin a loop. */
int ck_threads_known(void);
/* The same at this very moment. */
int ck_threads_now(void);

/* --- scratch ------------------------------------------------------------------------------ */
/* 64-byte aligned memory of the calling thread, kept for its next call with the same slot and freed with
   the thread; NULL when there is none to be had.  A slot's content is lost when it grows. */
enum { CK_SCRATCH_SLOTS = 5 };
void *ck_scratch(int slot, size_t bytes);

#endif
