/* Philox4x32-10: random words from a key and a counter, without state (Salmon et al., "Parallel random
   numbers: as easy as 1, 2, 3", SC 2011, section 3.3).

   Words come in groups of 64: lane l of group g runs the counter block 16 g + l, and its four words stand
   at places l, 16 + l, 32 + l and 48 + l.  So word i depends on i alone, and sixteen blocks fill vectors. */
#ifndef CK_PHILOX_H
#define CK_PHILOX_H

#include <stdint.h>

#include "micro_rows.h"

enum { PHILOX_LANES = 16, PHILOX_GROUP = 4 * PHILOX_LANES, PHILOX_ROUNDS = 10 };

static void philox_group(const ck_philox *stream, int64_t group, uint32_t words[PHILOX_GROUP])
{
    const uint64_t multiplier0 = 0xD2511F53, multiplier1 = 0xCD9E8D57;
    uint32_t *w0 = words, *w1 = w0 + PHILOX_LANES, *w2 = w1 + PHILOX_LANES, *w3 = w2 + PHILOX_LANES;
    uint32_t key0 = stream->key[0], key1 = stream->key[1];

    for (int l = 0; l < PHILOX_LANES; l++) {
        w0[l] = (uint32_t)(group * PHILOX_LANES + l);
        w1[l] = stream->counter[0];
        w2[l] = stream->counter[1];
        w3[l] = stream->counter[2];
    }
    for (int round = 0; round < PHILOX_ROUNDS; round++) {
        for (int l = 0; l < PHILOX_LANES; l++) {
            uint64_t product0 = multiplier0 * w0[l], product1 = multiplier1 * w2[l];
            w0[l] = (uint32_t)(product1 >> 32) ^ w1[l] ^ key0;
            w1[l] = (uint32_t)product1;
            w2[l] = (uint32_t)(product0 >> 32) ^ w3[l] ^ key1;
            w3[l] = (uint32_t)product0;
        }
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
}

#endif
