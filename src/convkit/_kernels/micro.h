/* The table of micro-kernels: what one instruction set offers, with its block sizes beside it. */
#ifndef CK_MICRO_H
#define CK_MICRO_H

#include "micro_direct.h"
#include "micro_maps.h"
#include "micro_norm.h"
#include "micro_lanes.h"
#include "micro_ceiling.h"
#include "micro_depthwise.h"
#include "micro_row_winograd.h"
#include "micro_rows.h"
#include "micro_tile.h"
#include "micro_winograd.h"

typedef struct {
    const char *name;
    ck_tile_f32 tile_f32;
    ck_tile_f64 tile_f64;
    ck_rows_f32 rows_f32;
    ck_rows_f64 rows_f64;
    ck_norm_f32 norm_f32;
    ck_norm_f64 norm_f64;
    ck_maps_f32 maps_f32;
    ck_maps_f64 maps_f64;
    ck_lanes_f32 lanes_f32;
    ck_lanes_f64 lanes_f64;
    ck_winograd_f32 winograd_f32[CK_WINOGRADS];
    ck_winograd_f64 winograd_f64[CK_WINOGRADS];
    ck_row_winograd_f32 row_winograd_f32;
    ck_row_winograd_f64 row_winograd_f64;
    ck_direct_f32 direct_f32;
    ck_direct_f64 direct_f64;
    ck_ceiling ceiling;
    ck_depthwise_f32 depthwise_f32;
    ck_depthwise_f64 depthwise_f64;
} ck_micro;

#endif
