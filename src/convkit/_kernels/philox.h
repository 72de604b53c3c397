/* Philox4x32-10: random words from a key and a counter, without state (Salmon et al., "Parallel random
   numbers: as easy as 1, 2, 3", SC 2011, section 3.3).

   Words come in groups of 64: lane l of group g runs the counter block 16 g + l, and its four words stand
   at places l, 16 + l, 32 + l and 48 + l.  So word i depends on i alone, and sixteen blocks fill vectors. */
#ifndef CK_PHILOX_H
#define CK_PHILOX_H

#include <stdint.h>

#include "micro_rows.h"
#include "simd.h"

enum { PHILOX_LANES = 16, PHILOX_GROUP = 4 * PHILOX_LANES, PHILOX_ROUNDS = 10 };

static void philox_group(const ck_philox *stream, int64_t group, uint32_t *RESTRICT words)
{
    const uint64_t multiplier0 = 0xD2511F53, multiplier1 = 0xCD9E8D57;
    const uint32_t weyl0 = 0x9E3779B9, weyl1 = 0xBB67AE85;
    const ck_philox s = *stream;
    const uint32_t first = (uint32_t)(group * PHILOX_LANES);

    for (uint32_t l = 0; l < PHILOX_LANES; l++) {
        uint32_t w0 = first + l, w1 = s.counter[0], w2 = s.counter[1], w3 = s.counter[2];
#pragma GCC unroll 10
        for (uint32_t round = 0; round < PHILOX_ROUNDS; round++) {
            uint64_t product0 = multiplier0 * w0, product1 = multiplier1 * w2;
            w0 = (uint32_t)(product1 >> 32) ^ w1 ^ (s.key[0] + round * weyl0);
            w1 = (uint32_t)product1;
            w2 = (uint32_t)(product0 >> 32) ^ w3 ^ (s.key[1] + round * weyl1);
            w3 = (uint32_t)product0;
        }
        words[l] = w0;
        words[PHILOX_LANES + l] = w1;
        words[2 * PHILOX_LANES + l] = w2;
        words[3 * PHILOX_LANES + l] = w3;
    }
}

#endif
