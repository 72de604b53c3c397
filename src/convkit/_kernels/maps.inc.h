/* Activations with constants p and q, for one REAL: value and slope of each side by side, free of branches, so that
   the loops become vector code (but for the two that call the C library: the exact GELU and softplus). */
#ifndef CK_MAPS_ONCE
#define CK_MAPS_ONCE
#include <math.h>

/* Klambauer et al. 2017, equation 14: to 17 digits. */
#define SELU_SCALE 1.0507009873554804934
#define SELU_ALPHA 1.6732632423543772848
#define SQRT_HALF 0.70710678118654752440
#define INV_SQRT_2PI 0.39894228040143267794
#define SQRT_2_OVER_PI 0.79788456080286535588
#define GELU_CUBE 0.044715
#endif

/* exp(x) - 1 for x <= 0, exact to the last bits near 0; -1 long before `lowest`. */
ALWAYS_INLINE REAL NAME(expm1_below)(REAL x)
{
    const REAL lowest = (REAL)-60;
    REAL r;
    x = x < lowest ? lowest : x;
    REAL power = NAME(power_of_two)(NAME(reduce)(x, &r));
    return power * NAME(expm1_reduced)(r) + (power - 1);
}

ALWAYS_INLINE REAL NAME(erfc_of)(REAL x) { return sizeof(REAL) == 8 ? (REAL)erfc(x) : (REAL)erfcf((float)x); }

ALWAYS_INLINE REAL NAME(log1p_of)(REAL x) { return sizeof(REAL) == 8 ? (REAL)log1p(x) : (REAL)log1pf((float)x); }

ALWAYS_INLINE REAL NAME(clamp)(REAL x, REAL low, REAL high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

ALWAYS_INLINE REAL NAME(elu_of)(REAL x, REAL alpha, REAL scale)
{
    REAL below = scale * alpha * NAME(expm1_below)(x > 0 ? (REAL)0 : x);
    return x > 0 ? scale * x : below;
}

ALWAYS_INLINE REAL NAME(elu_slope)(REAL x, REAL alpha, REAL scale)
{
    REAL below = scale * alpha * NAME(exp_of)(x > 0 ? (REAL)0 : x);
    return x > 0 ? scale : below;
}

/* x Φ(x), Φ(x) = erfc(-x / √2) / 2 the distribution function of the normal distribution. */
ALWAYS_INLINE REAL NAME(gelu_of)(REAL x) { return (REAL)0.5 * x * NAME(erfc_of)(x * (REAL)-SQRT_HALF); }

ALWAYS_INLINE REAL NAME(gelu_slope)(REAL x)
{
    REAL density = (REAL)INV_SQRT_2PI * NAME(exp_of)((REAL)-0.5 * x * x);
    return (REAL)0.5 * NAME(erfc_of)(x * (REAL)-SQRT_HALF) + x * density;
}

/* What takes the place of Φ(x), (1 + tanh u) / 2 = σ(2u), which below 0 has no terms that cancel. */
ALWAYS_INLINE REAL NAME(gelu_tanh_share)(REAL x)
{
    return NAME(sigmoid_of)((REAL)(2 * SQRT_2_OVER_PI) * (x + (REAL)GELU_CUBE * x * x * x));
}

ALWAYS_INLINE REAL NAME(gelu_tanh_slope)(REAL x)
{
    REAL s = NAME(gelu_tanh_share)(x);
    REAL near = NAME(clamp)(x, -64, 64); /* beyond, s (1 - s) is 0, and x² may be infinite */
    REAL inner = (REAL)(2 * SQRT_2_OVER_PI) * (1 + 3 * (REAL)GELU_CUBE * near * near);
    return s + near * (s * (1 - s)) * inner;
}

ALWAYS_INLINE REAL NAME(silu_slope)(REAL x)
{
    REAL s = NAME(sigmoid_of)(x);
    return s * (1 + x * (1 - s));
}

/* log(1 + exp(p x)) / p, and x itself where p x > q. */
ALWAYS_INLINE REAL NAME(softplus_of)(REAL x, REAL p, REAL q)
{
    REAL t = p * x;
    REAL soft = ((t > 0 ? t : (REAL)0) + NAME(log1p_of)(NAME(exp_of)(t > 0 ? -t : t))) / p;
    return t > q ? x : soft;
}

ALWAYS_INLINE REAL NAME(softplus_slope)(REAL x, REAL p, REAL q)
{
    REAL t = p * x;
    return t > q ? (REAL)1 : NAME(sigmoid_of)(t);
}

ALWAYS_INLINE REAL NAME(hard_sigmoid)(REAL x) { return NAME(clamp)(x + 3, 0, 6) / 6; }

ALWAYS_INLINE REAL NAME(hard_swish_slope)(REAL x)
{
    REAL inside = x / 3 + (REAL)0.5;
    inside = x <= -3 ? (REAL)0 : inside;
    return x >= 3 ? (REAL)1 : inside;
}

#define ACTIVATION(name, value, slope)                                                                       \
    static void NAME(name)(int64_t n, REAL p, REAL q, const REAL *xs, REAL *ys)                              \
    {                                                                                                        \
        (void)p, (void)q;                                                                                    \
        INDEPENDENT                                                                                          \
        for (int64_t i = 0; i < n; i++) {                                                                    \
            REAL x = xs[i];                                                                                  \
            ys[i] = value;                                                                                   \
        }                                                                                                    \
    }                                                                                                        \
    static void NAME(name##_grad)(int64_t n, REAL p, REAL q, const REAL *xs, const REAL *dys, REAL *dxs)     \
    {                                                                                                        \
        (void)p, (void)q;                                                                                    \
        INDEPENDENT                                                                                          \
        for (int64_t i = 0; i < n; i++) {                                                                    \
            REAL x = xs[i];                                                                                  \
            (void)x;                                                                                         \
            dxs[i] = dys[i] * (slope);                                                                       \
        }                                                                                                    \
    }

ACTIVATION(leaky_relu, x > 0 ? x : p * x, x > 0 ? (REAL)1 : p)
ACTIVATION(elu, NAME(elu_of)(x, p, 1), NAME(elu_slope)(x, p, 1))
ACTIVATION(selu, NAME(elu_of)(x, (REAL)SELU_ALPHA, (REAL)SELU_SCALE),
           NAME(elu_slope)(x, (REAL)SELU_ALPHA, (REAL)SELU_SCALE))
ACTIVATION(gelu, NAME(gelu_of)(x), NAME(gelu_slope)(x))
ACTIVATION(gelu_by_tanh, x *NAME(gelu_tanh_share)(x), NAME(gelu_tanh_slope)(x))
ACTIVATION(silu, x * NAME(sigmoid_of)(x), NAME(silu_slope)(x))
ACTIVATION(softplus, NAME(softplus_of)(x, p, q), NAME(softplus_slope)(x, p, q))
ACTIVATION(hard_sigmoid_map, NAME(hard_sigmoid)(x), x > -3 && x < 3 ? (REAL)1 / 6 : (REAL)0)
ACTIVATION(hard_swish, x * NAME(hard_sigmoid)(x), NAME(hard_swish_slope)(x))
ACTIVATION(hard_tanh, NAME(clamp)(x, p, q), x > p && x < q ? (REAL)1 : (REAL)0)
ACTIVATION(shift, p *x + q, p)
#undef ACTIVATION

#ifndef MAPS_TABLE_f32
#define MAPS_OF(suffix)                                                                                      \
    {                                                                                                        \
        [CK_LEAKY_RELU] = leaky_relu##suffix, [CK_ELU] = elu##suffix, [CK_SELU] = selu##suffix,              \
        [CK_GELU] = gelu##suffix, [CK_GELU_TANH] = gelu_by_tanh##suffix, [CK_SILU] = silu##suffix,           \
        [CK_SOFTPLUS] = softplus##suffix, [CK_HARD_SIGMOID] = hard_sigmoid_map##suffix,                      \
        [CK_HARD_SWISH] = hard_swish##suffix, [CK_HARD_TANH] = hard_tanh##suffix,                            \
        [CK_SHIFT] = shift##suffix,                                                                          \
    }
#define MAPS_TABLE_f32 {.forward = MAPS_OF(_f32), .gradient = MAPS_OF(_grad_f32)}
#define MAPS_TABLE_f64 {.forward = MAPS_OF(_f64), .gradient = MAPS_OF(_grad_f64)}
#endif
