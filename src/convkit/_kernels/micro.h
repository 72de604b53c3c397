/* The table of micro-kernels: what one instruction set offers, with its block sizes beside it. */
#ifndef CK_MICRO_H
#define CK_MICRO_H

#include "micro_depthwise.h"
#include "micro_rows.h"
#include "micro_tile.h"

typedef struct {
    const char *name;
    ck_tile_f32 tile_f32;
    ck_tile_f64 tile_f64;
    ck_rows_f32 rows_f32;
    ck_rows_f64 rows_f64;
    ck_depthwise_f32 depthwise_f32;
    ck_depthwise_f64 depthwise_f64;
} ck_micro;

#endif
