/* The loops of micro_ceiling.h for vectors of this instruction set. */

/* A multiply-add takes four cycles and two may start in each, so eight chains keep a core busy; twelve
   and the two operands fit in the sixteen registers that every level has. */
enum { CHAINS = 12 };

static float peak(int64_t rounds, float factor, float term)
{
    vec_f32 chain[CHAINS], factors = (vec_f32){} + factor, terms = (vec_f32){} + term;
    for (int i = 0; i < CHAINS; i++)
        chain[i] = (vec_f32){} + (float)i;
    for (int64_t round = 0; round < rounds; round++)
        for (int i = 0; i < CHAINS; i++)
            chain[i] = chain[i] * factors + terms;
    for (int i = 1; i < CHAINS; i++)
        chain[0] += chain[i];
    return chain[0][0];
}

static void triad(int64_t n, float factor, const float *RESTRICT a, const float *RESTRICT b, float *RESTRICT y)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i] + factor * b[i];
}
