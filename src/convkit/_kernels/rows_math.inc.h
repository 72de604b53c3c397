/* Elementary functions of one REAL: scalar and free of branches, so that the loops around them become
   vector code.

   All rest on expm1 of a reduced argument: x = n ln 2 + r with |r| <= ln(2)/2, and
   expm1(r) = r + r^2 Q(r), Q fitted at Chebyshev nodes (relative error 2e-8 for float, 5e-19 for double).
   Adding 1.5 * 2^(mantissa bits) to a number rounds it to an integer, which then stands in the low bits. */

#define IS_DOUBLE (sizeof(REAL) == 8)
#define MANTISSA_BITS (IS_DOUBLE ? 52 : 23)
#define EXPONENT_BIAS (IS_DOUBLE ? 1023 : 127)
#define ROUNDER (IS_DOUBLE ? (REAL)0x1.8p52 : (REAL)0x1.8p23)
#define LOG2_E ((REAL)1.4426950408889634074)
/* ln 2 in two parts, the first short enough that n times it is exact. */
#define LN2_HIGH (IS_DOUBLE ? (REAL)0x1.62e42fefa38p-1 : (REAL)0x1.62e4p-1)
#define LN2_LOW (IS_DOUBLE ? (REAL)5.4979230187083711747e-14 : (REAL)1.4286068203094172321e-6)

typedef union {
    REAL value;
    IREAL bits;
} NAME(punned);

/* 2^n for an integer n given as a REAL, |n| below the exponent's bias. */
ALWAYS_INLINE REAL NAME(power_of_two)(REAL n)
{
    NAME(punned) u = {.value = n + ROUNDER};
    u.bits = (IREAL)((NAME(unsigned))(u.bits + EXPONENT_BIAS) << MANTISSA_BITS);
    return u.value;
}

/* expm1(r), |r| <= ln(2)/2. */
ALWAYS_INLINE REAL NAME(expm1_reduced)(REAL r)
{
    REAL q;
    if (IS_DOUBLE) {
        q = (REAL)2.0914717341716375952e-9;
        q = q * r + (REAL)2.5105259538448493419e-8;
        q = q * r + (REAL)2.7557273570102139673e-7;
        q = q * r + (REAL)2.7557255297969644392e-6;
        q = q * r + (REAL)2.4801587325605322782e-5;
        q = q * r + (REAL)1.9841269874901259234e-4;
        q = q * r + (REAL)1.3888888888883731828e-3;
        q = q * r + (REAL)8.3333333333261120526e-3;
        q = q * r + (REAL)4.1666666666666669767e-2;
        q = q * r + (REAL)0.16666666666666671008;
    } else {
        q = (REAL)1.39262134663e-3;
        q = q * r + (REAL)8.36320297158e-3;
        q = q * r + (REAL)4.16665544377e-2;
        q = q * r + (REAL)0.16666576846;
    }
    q = q * r + (REAL)0.5;
    return r + r * r * q;
}

/* The multiple n of ln 2 next to x; r is what is left. */
ALWAYS_INLINE REAL NAME(reduce)(REAL x, REAL *r)
{
    REAL n = (x * LOG2_E + ROUNDER) - ROUNDER;
    *r = (x - n * LN2_HIGH) - n * LN2_LOW;
    return n;
}

ALWAYS_INLINE REAL NAME(exp_of)(REAL x)
{
    /* Beyond these the result is 0 or infinite; a NaN passes both comparisons. */
    const REAL lowest = IS_DOUBLE ? (REAL)-746 : (REAL)-105, highest = IS_DOUBLE ? (REAL)710 : (REAL)89;
    REAL r;
    x = x < lowest ? lowest : x;
    x = x > highest ? highest : x;
    REAL n = NAME(reduce)(x, &r);
    /* 2^n in two factors: it may lie outside the normal numbers where the result does not. */
    REAL half = (n * (REAL)0.5 + ROUNDER) - ROUNDER;
    REAL scaled = (NAME(expm1_reduced)(r) + 1) * NAME(power_of_two)(half);
    return scaled * NAME(power_of_two)(n - half);
}

/* tanh |x| = t / (t + 2), t = expm1(2 |x|): exact to the last bits near 0, 1 from `one` on. */
ALWAYS_INLINE REAL NAME(tanh_of)(REAL x)
{
    const REAL one = IS_DOUBLE ? (REAL)20 : (REAL)10;
    REAL magnitude = x < 0 ? -x : x, r;
    magnitude = magnitude > one ? one : magnitude;
    REAL power = NAME(power_of_two)(NAME(reduce)(2 * magnitude, &r));
    REAL t = power * NAME(expm1_reduced)(r) + (power - 1);
    return (IS_DOUBLE ? (REAL)__builtin_copysign(t / (t + 2), x) : (REAL)__builtin_copysignf(t / (t + 2), x));
}

/* exp(x) for x <= 0, 0 where it is below the normal numbers: one factor 2^n then does. */
ALWAYS_INLINE REAL NAME(exp_below)(REAL x)
{
    const REAL lowest = IS_DOUBLE ? (REAL)-708.6 : (REAL)-87.6;
    REAL r, n = NAME(reduce)(x < lowest ? lowest : x, &r);
    REAL value = (NAME(expm1_reduced)(r) + 1) * NAME(power_of_two)(n);
    return x < lowest ? (REAL)0 : value;
}

/* Through exp(-|x|), which cannot overflow, so that small values keep all their bits. */
ALWAYS_INLINE REAL NAME(sigmoid_of)(REAL x)
{
    REAL e = NAME(exp_below)(x < 0 ? x : -x);
    return (x < 0 ? e : (REAL)1) / (1 + e);
}

ALWAYS_INLINE REAL NAME(sqrt_of)(REAL x)
{
    return IS_DOUBLE ? (REAL)__builtin_sqrt(x) : (REAL)__builtin_sqrtf((float)x);
}

#undef IS_DOUBLE
#undef MANTISSA_BITS
#undef EXPONENT_BIAS
#undef ROUNDER
#undef LOG2_E
#undef LN2_HIGH
#undef LN2_LOW
