/* Kernels over arrays whose innermost axis is the image: (blocks, channels, pixels, lanes), with as many images
   in a block as there are values in 64 bytes.  A vector then holds one pixel of several images, every lane is
   full whatever the number of channels, and no access needs to be aligned or packed.

   Steps and offsets count values; a pixel is CK_LANES of them. */
#ifndef CK_MICRO_LANES_H
#define CK_MICRO_LANES_H

#include <stdint.h>

enum {
    CK_PIXEL_BYTES = 64,
    CK_MAX_PIXELS = 3,      /* pixels of a gather tile, over all instruction sets */
    CK_MAX_SUMS = 32,       /* sums of a correlate tile */
    CK_NO_TAP = 255         /* code of a window without any value */
};

/* Asks for a line that is read soon; the place may lie beyond the array. */
static inline void ck_fetch(const void *place)
{
    __builtin_prefetch(place, 0, 2);
}

/* How a gather tile ends. */
enum { GATHER_BIAS = 1, GATHER_RELU = 2 };

/* One row of pooling windows.  Output pixel o reads the input pixels
   (row, column) = (rows .. , first[o] + tap * dilation), tap from low[o] up to high[o]. */
typedef struct {
    int64_t count;                  /* windows */
    int64_t rows, row_step;         /* input rows inside the windows; from one to the next, in values */
    int64_t row_code, row_codes;    /* code of the first row's tap 0; codes of a whole row of taps */
    int64_t dilation;
    int pairs;                      /* all windows are two neighbours in two rows, the next two the next window */
    int add;                        /* gradients: windows overlap, so add to x instead of storing */
    const int64_t *first, *low, *high;
} ck_window_row;

#define CK_LANES_TABLE(real, name)                                                                         \
    typedef struct {                                                                                       \
        int gather_rows, gather_pixels;     /* of the largest gather tile */                               \
        int correlate_m, correlate_n;       /* of the largest correlate tile */                            \
        /* c[p][i * c_step] = sum over t, k of a[(a_at[t] * depth + k) * m + i] * b[p][b_at[t] + k * b_step], \
           i < m, p < pixels, k < depth: all lanes of a pixel at once */                                   \
        void (*gather)(int m, int pixels, int64_t taps, int64_t depth, const real *a,                      \
                       const int64_t *a_at, const real *const *b, const int64_t *b_at, int64_t b_step,     \
                       real *const *c, int64_t c_step, int mode, const real *bias);                        \
        /* c[output[p]] = sum over t of a[a_at[t]] * b[base[p] + b_at[t]], p < count: all lanes of a pixel at once */ \
        void (*gather_single)(int64_t count, int64_t taps, const real *a, const int64_t *a_at, const real *b,\
                          const int64_t *b_at, const int64_t *base, real *c, const int64_t *output,        \
                          int mode, real bias);                                                            \
        /* sums[i * n + j] = sum over blocks, rows, columns and lanes of                                   \
           a[i * a_step + block * a_block + pixel] * b[b_at[j] + block * b_block + row_at[row] + column * b_column], \
           where pixel = row * columns + column, in pixels */                                              \
        void (*correlate)(int m, int n, int64_t blocks, int64_t rows, int64_t columns, const real *a,      \
                          int64_t a_step, int64_t a_block, const real *b, const int64_t *b_at,             \
                          int64_t b_block, const int64_t *row_at, int64_t b_column, real *sums);                   \
        /* y[o] = the largest value of window o, codes[o] = its first tap (codes may be NULL) */           \
        void (*max_row)(const ck_window_row *w, const real *x, real *y, uint8_t *codes);                   \
        /* y[o] = the sum of window o times scale[o] */                                                    \
        void (*mean_row)(const ck_window_row *w, const real *scale, const real *x, real *y);               \
        /* x[tap] = y[o] where codes[o] names the tap, else 0; or the same added */                                                  \
        void (*max_row_grad)(const ck_window_row *w, const real *y, const uint8_t *codes, real *x);        \
        /* x[every tap of window o] = y[o] * scale[o]; or the same added */                                                  \
        void (*mean_row_grad)(const ck_window_row *w, const real *scale, const real *y, real *x);          \
    } name;

CK_LANES_TABLE(float, ck_lanes_f32)
CK_LANES_TABLE(double, ck_lanes_f64)

#endif
