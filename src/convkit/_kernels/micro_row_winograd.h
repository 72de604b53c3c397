/* Winograd's F(4, 5) along rows, see row_winograd.inc.h, on arrays in lanes (micro_lanes.h).

   A tile is 8 neighbouring pixels of an input row, as many points, and 4 pixels of an output row.  The transformed
   inputs of a column of tiles are (row, channel, point, lanes); the transformed weights of a tile of k output channels
   are (run of `together` points, kernel row, channel, point, k). */
#ifndef CK_MICRO_ROW_WINOGRAD_H
#define CK_MICRO_ROW_WINOGRAD_H

#include <stdint.h>

enum { CK_ROW_TAPS = 5, CK_ROW_OUTPUTS = 4, CK_ROW_POINTS = CK_ROW_TAPS + CK_ROW_OUTPUTS - 1 };

/* What becomes of the outputs of a tile: one row of them or two as they are, or two pooled by 2 x 2, to their mean or
   to the largest and its place. */
enum { ROW_ONE, ROW_TWO, ROW_MEAN, ROW_MAX, CK_ROW_ENDS };

#define CK_ROW_WINOGRAD_TABLE(real, name)                                                                   \
    typedef struct {                                                                                        \
        int most_channels, together; /* channels made by one tile; points at a time */                      \
        /* rows of one column of tiles, whose first pixel is (row, column) of each channel's plane; pixels  \
           outside are zeros */                                                                             \
        void (*input)(int64_t channels, int64_t rows, const real *x, int64_t x_step, int64_t in_rows,       \
                      int64_t in_columns, int64_t row, int64_t column, real *u);                            \
        /* one kernel row of k x depth kernels; the next points go pass_step further */     \
        void (*kernel)(int64_t k, int64_t depth, const real *w, int64_t row_step, int64_t depth_step,       \
                       int64_t tap_step, real *g, int64_t pass_step);                                       \
        /* y = the first `outputs` of a tile, of k channels y_step and rows y_row apart, from n transformed \
           inputs each, those of the second row u_row further; plus bias, then ReLU, as `mode` says; then   \
           `activate` of them, if not NULL */                                                               \
        void (*product)(int k, int end, int64_t n, const real *u, int64_t u_row, const real *g,             \
                        int64_t pass_step, int outputs, real *y, uint8_t *codes, int64_t y_step,            \
                        int64_t y_row, int mode, const real *bias,                                          \
                        void (*activate)(int64_t n, const real *x, real *y));                               \
    } name;

CK_ROW_WINOGRAD_TABLE(float, ck_row_winograd_f32)
CK_ROW_WINOGRAD_TABLE(double, ck_row_winograd_f64)

#endif
