/* The micro-kernels of one instruction set: compiled once for each, with CK_LEVEL naming it.
   Serial, allocating nothing, knowing neither Python nor OpenMP. */
#include <math.h>

#include "micro.h"
#include "simd.h"

#define REAL float
#define IREAL int32_t
#define NAME(x) x##_f32
#define VEC vec_f32
#define IVEC ivec_f32
#define VL VL_F32
#include "tile.inc.h"
#include "rows.inc.h"
#include "norm.inc.h"
#include "maps.inc.h"
#include "lanes.inc.h"
#include "winograd.inc.h"
#include "row_winograd.inc.h"
#include "direct.inc.h"
#include "depthwise.inc.h"
#undef REAL
#undef IREAL
#undef NAME
#undef VEC
#undef IVEC
#undef VL

#define REAL double
#define IREAL int64_t
#define NAME(x) x##_f64
#define VEC vec_f64
#define IVEC ivec_f64
#define VL VL_F64
#include "tile.inc.h"
#include "rows.inc.h"
#include "norm.inc.h"
#include "maps.inc.h"
#include "lanes.inc.h"
#include "winograd.inc.h"
#include "row_winograd.inc.h"
#include "direct.inc.h"
#include "depthwise.inc.h"

#include "ceiling.inc.h"

#define STRING_(x) #x
#define STRING(x) STRING_(x)

const ck_micro CK_CONCAT(ck_micro_, CK_LEVEL) = {
    .name = STRING(CK_LEVEL),
    .tile_f32 = TILE_TABLE_f32,
    .tile_f64 = TILE_TABLE_f64,
    .rows_f32 = ROWS_TABLE_f32,
    .rows_f64 = ROWS_TABLE_f64,
    .norm_f32 = NORM_TABLE_f32,
    .norm_f64 = NORM_TABLE_f64,
    .maps_f32 = MAPS_TABLE_f32,
    .maps_f64 = MAPS_TABLE_f64,
    .lanes_f32 = LANES_TABLE_f32,
    .lanes_f64 = LANES_TABLE_f64,
    .winograd_f32 = WINOGRAD_TABLE_f32,
    .winograd_f64 = WINOGRAD_TABLE_f64,
    .row_winograd_f32 = ROW_WINOGRAD_TABLE_f32,
    .row_winograd_f64 = ROW_WINOGRAD_TABLE_f64,
    .direct_f32 = DIRECT_TABLE_f32,
    .direct_f64 = DIRECT_TABLE_f64,
    .ceiling = {2 * VL_F32 * CHAINS, peak, triad},
    .depthwise_f32 = DEPTHWISE_TABLE_f32,
    .depthwise_f64 = DEPTHWISE_TABLE_f64,
};
